//! When the log is synced, and what is promised for it.
//!
//! What "acknowledged" means here: the writer told raft that the entries are persisted, and raft
//! went on as if they could not be forgotten. A disk that reports a sync it did not do is outside
//! every promise.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// When the log is synced in relation to the acknowledgement (`--wal-sync`).
///
/// | after … | `always`, `batch` | `interval` | `none` |
/// |---|---|---|---|
/// | the crash of any number of processes | nothing acknowledged is lost | nothing acknowledged is lost | nothing acknowledged is lost |
/// | power loss at one member | nothing acknowledged is lost | that member may forget entries it acknowledged within the window, never a vote | that member may forget any of its log, votes too, or refuse to start |
/// | power loss at all members at once | nothing acknowledged is lost | writes acknowledged within the window may be lost; what remains is consistent | any acknowledged writes may be lost, and members may disagree about what remains |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Write, sync, acknowledge. What was queued while one sync ran shares the next.
    ///
    /// Promise: once acknowledged, never forgotten, whatever loses power.
    #[default]
    Always,
    /// Wait up to this long for company, then write, sync, acknowledge. Fewer syncs, each write
    /// later by up to this long. A vote does not begin such a wait, and ends one only by its time.
    ///
    /// Promise: that of [`SyncPolicy::Always`].
    Batch(Duration),
    /// Write, acknowledge; sync in the background, beginning at most this long after the sync
    /// before began (or once that has ended, if it took longer).
    ///
    /// Promises: a process crash loses nothing, since the operating system has the data. A power
    /// loss can cost the member what it acknowledged during the last interval, and during the sync
    /// that was then running. When all members lose power at once, the cluster can lose the writes
    /// of that window. When one does, the cluster keeps every write that another majority still
    /// holds; but the member now stands for fewer entries than it acknowledged, so an acknowledged
    /// write is lost if the leader that is elected next needs that member's vote. Terms and votes
    /// are always synced first: no power loss makes two leaders in one term.
    Interval(Duration),
    /// Write, acknowledge, never sync, not even a full segment or one that is removed.
    ///
    /// Promises: a process crash loses nothing. After a power loss nothing is promised: a member
    /// may forget any part of its log however old, it may forget votes, so that two leaders in one
    /// term and members that disagree for ever are possible, and what is left of its log may be
    /// so incomplete that it refuses to start. What it does recover was written at some time.
    None,
}

/// How much acknowledged work a power loss can take from a member's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossWindow {
    /// None.
    None,
    /// What was acknowledged in the last so-long, plus the time the sync takes that covers it.
    AtMost(Duration),
    /// Anything.
    Unbounded,
}

impl SyncPolicy {
    /// Whether a member still has what it acknowledged after its process crashed and the operating
    /// system went on. All policies do: the write precedes the acknowledgement.
    pub fn keeps_acknowledged_writes_over_process_crash(&self) -> bool {
        true
    }

    /// Whether a member still has every entry it acknowledged after a power loss.
    pub fn keeps_acknowledged_writes_over_power_loss(&self) -> bool {
        self.loss_window() == LossWindow::None
    }

    /// Whether a member still has its term and its vote after a power loss. Without that, raft
    /// promises nothing at all.
    pub fn keeps_votes_over_power_loss(&self) -> bool {
        *self != SyncPolicy::None
    }

    /// Which acknowledged entries a power loss can take from a member's log.
    pub fn loss_window(&self) -> LossWindow {
        match self {
            SyncPolicy::Always | SyncPolicy::Batch(_) => LossWindow::None,
            SyncPolicy::Interval(interval) => LossWindow::AtMost(*interval),
            SyncPolicy::None => LossWindow::Unbounded,
        }
    }
}

impl fmt::Display for SyncPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyncPolicy::Always => f.write_str("always"),
            SyncPolicy::Batch(time) => write!(f, "batch:{}", show_duration(*time)),
            SyncPolicy::Interval(time) => write!(f, "interval:{}", show_duration(*time)),
            SyncPolicy::None => f.write_str("none"),
        }
    }
}

impl FromStr for SyncPolicy {
    type Err = String;

    /// Reads `always`, `batch:2ms`, `interval:100ms` or `none`.
    fn from_str(text: &str) -> Result<SyncPolicy, String> {
        let time = |text: &str| match parse_duration(text)? {
            Duration::ZERO => Err(format!("\"{text}\" must be longer than zero")),
            time => Ok(time),
        };
        match text.split_once(':') {
            None if text == "always" => Ok(SyncPolicy::Always),
            None if text == "none" => Ok(SyncPolicy::None),
            Some(("batch", text)) => Ok(SyncPolicy::Batch(time(text)?)),
            Some(("interval", text)) => Ok(SyncPolicy::Interval(time(text)?)),
            _ => Err(format!(
                "unknown sync policy \"{text}\": expected always, batch:<time>, interval:<time> \
                 or none, for example batch:2ms"
            )),
        }
    }
}

const UNITS: [(&str, u64); 4] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
];

/// Reads a whole number with a unit: `ns`, `us`, `ms` or `s`.
///
/// # Errors
/// A sentence for the user that repeats the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit);
    let (Some((_, nanoseconds)), true) = (unit, digits > 0) else {
        return Err(format!(
            "\"{text}\" is not a time: expected a whole number with ns, us, ms or s, for example \
             2ms"
        ));
    };
    let total = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(*nanoseconds));
    total
        .map(Duration::from_nanos)
        .ok_or_else(|| format!("\"{text}\" is too long a time"))
}

/// Shows a duration so that [`parse_duration`] reads it back: in the largest unit that leaves a
/// whole number.
pub fn show_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let unit = UNITS
        .iter()
        .rev()
        .find(|(_, size)| nanoseconds.is_multiple_of(u128::from(*size)));
    let (name, size) = unit.unwrap_or(&UNITS[0]);
    format!("{}{name}", nanoseconds / u128::from(*size))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_and_shown() {
        for text in [
            "always",
            "none",
            "batch:2ms",
            "interval:100ms",
            "batch:1500us",
        ] {
            assert_eq!(text.parse::<SyncPolicy>().unwrap().to_string(), text);
        }
        let policy: SyncPolicy = "interval:2000ms".parse().unwrap();
        assert_eq!(policy, SyncPolicy::Interval(Duration::from_secs(2)));
        assert_eq!(policy.to_string(), "interval:2s");
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "unknown sync policy \"\""),
            ("Always", "unknown sync policy"),
            ("always:2ms", "expected always, batch:<time>"),
            ("batch", "expected always, batch:<time>"),
            ("batch:", "\"\" is not a time"),
            ("batch:2", "\"2\" is not a time"),
            ("batch:-2ms", "\"-2ms\" is not a time"),
            ("batch:1.5ms", "is not a time"),
            ("batch:ms", "is not a time"),
            ("interval:0ms", "must be longer than zero"),
            ("interval:99999999999999999999s", "too long"),
            ("interval:99999999999s", "too long"),
        ] {
            let error = text.parse::<SyncPolicy>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn the_promises_follow_from_the_window() {
        let interval = SyncPolicy::Interval(Duration::from_millis(5));
        assert!(
            SyncPolicy::Batch(Duration::from_secs(1)).keeps_acknowledged_writes_over_power_loss()
        );
        assert!(!interval.keeps_acknowledged_writes_over_power_loss());
        assert!(interval.keeps_votes_over_power_loss());
        assert!(!SyncPolicy::None.keeps_votes_over_power_loss());
        assert_eq!(SyncPolicy::None.loss_window(), LossWindow::Unbounded);
    }
}
