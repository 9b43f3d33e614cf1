//! Watches: what they show is what was written, in order, once, whole, and all of it.
//!
//! | Guarantee | What would break it |
//! |---|---|
//! | created first | an event before the watch is said to be there, or after its end |
//! | filter | a key, a kind or a revision that was not asked for |
//! | ordered | an event older than one already shown |
//! | unique | the same event twice |
//! | atomic | one revision in two responses that are no fragments of one |
//! | reliable | a revision left out, or a part of it |
//! | resumable | the same, between the start revision and the first event |
//! | bookmarkable | an event at or below a revision that a header or a progress answer had passed |
//! | true | an event of what nobody wrote, or wrote later, or that the store tells otherwise |
//! | previous value | not what the key held, or missing without a compaction |
//! | agreement | two watches that are shown different things for one key and revision |
//! | cancelled rightly | an end that neither the client nor a compaction caused |
//! | caught up | a watch that has not seen everything when all has been quiet for long |
//!
//! The evidence is what members recorded in the end ([`KnownOrder`]) and, where they have compacted
//! it, the answers to clients' writes. Revisions that neither tells of (a write of unknown outcome,
//! compacted since) are not judged for completeness, and counted. After a loss that the setting
//! permits the store starts a second line of revisions: then a watch is judged against evidence
//! only if the whole of it, and the evidence, lies between two power losses.

mod agreement;
mod complete;
mod evidence;
mod lineage;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Counterexample, KnownOrder, Record, Verdict};
use crate::history::{
    History, Nanoseconds, News, Watch, WatchEvent, WatchResponse, display_seconds,
    display_short as short,
};
use agreement::Agreement;
use evidence::{Epochs, Evidence, Writers};

const GUARANTEE: &str = "watch";

/// What is known beside the history.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The members' own record of revisions.
    pub known_order: Option<&'a KnownOrder>,
    /// When power losses may have taken acknowledged writes.
    pub losses: &'a [Nanoseconds],
    /// All was quiet and healthy from long before to well after this time: watches opened by then
    /// and still open must have seen everything. `None` when that cannot be said.
    pub settled: Option<Nanoseconds>,
    /// What the server need not promise.
    pub leeway: Leeway,
}

/// What is less than vetcd's own promise, and no mistake of a server that promises no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Leeway {
    /// The header of events may be ahead of events that are still to come: etcd's shows the store's
    /// revision while a watch catches up, part by part. Progress alone is a promise there.
    pub headers_ahead: bool,
    /// Nobody asked how far streams have come: who has seen all that it wants has caught up.
    pub progress_unasked: bool,
}

impl Leeway {
    /// Whether every promise holds.
    pub fn is_none(&self) -> bool {
        *self == Leeway::default()
    }
}

/// How much was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Watches.
    pub watches: u64,
    /// Those that went on from another.
    pub resumed: u64,
    /// Events.
    pub events: u64,
    /// Progress answers and notices.
    pub progress: u64,
    /// Watches that a compaction cancelled.
    pub compacted: u64,
    /// Watches judged without evidence, because a permitted loss lies within them.
    pub across_losses: u64,
    /// Revisions shown to watches that are judged by evidence.
    pub revisions: u64,
    /// Those of them of which there is no complete evidence.
    pub revisions_not_checked: u64,
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            watches,
            resumed,
            events,
            progress,
            compacted,
            across_losses,
            revisions: _,
            revisions_not_checked,
        } = self;
        write!(
            f,
            "{watches} watches ({resumed} resumed, {compacted} compacted) were shown {events} events \
             and {progress} progress answers"
        )?;
        if *across_losses > 0 {
            write!(f, "; {across_losses} across a permitted loss")?;
        }
        if *revisions_not_checked > 0 {
            write!(f, "; {revisions_not_checked} revisions without evidence")?;
        }
        Ok(())
    }
}

/// Judges every watch of a history.
pub fn check(history: &History, options: &Options<'_>) -> Verdict<Statistics> {
    let mut statistics = Statistics::default();
    let mut agreement = Agreement::default();
    let epochs = Epochs::new(history, options);
    let writers = Writers::new(history, options.losses.is_empty());
    for watch in &history.watches {
        statistics.watches += 1;
        statistics.resumed += u64::from(watch.resumes.is_some());
        let epoch = epochs.of(watch);
        statistics.across_losses += u64::from(epoch.is_none());
        let mut judge = Judge {
            watch,
            writers: &writers,
            evidence: epoch.map(|epoch| &epochs.evidence[epoch]),
            leeway: options.leeway,
            statistics: &mut statistics,
            created: false,
            over: false,
            passed: None,
            shown: None,
            bookmark: 0,
            part: Vec::new(),
            now: watch.opened,
            about: Vec::new(),
        };
        let mut judged = watch.responses.iter().try_for_each(|r| judge.response(r));
        if judged.is_ok() && options.settled.is_some_and(|at| watch.opened <= at) {
            judged = judge.caught_up(&epochs);
        }
        if judged.is_ok()
            && let Some(epoch) = epoch
        {
            judged = agreement.add(watch, epoch);
        }
        if let Err(counterexample) = judged {
            return Verdict::Violation(counterexample);
        }
    }
    if statistics.revisions > 0 && statistics.revisions == statistics.revisions_not_checked {
        return Verdict::Undetermined(format!(
            "of none of the {} revisions shown is there complete evidence",
            statistics.revisions
        ));
    }
    Verdict::Ok(statistics)
}

type Judged = Result<(), Box<Counterexample>>;

/// `put k = x`, or `delete k`.
fn shown(record: &Record) -> String {
    match &record.value {
        Some(value) => format!("put {} = {}", short(&record.key), short(value)),
        None => format!("delete {}", short(&record.key)),
    }
}

#[allow(clippy::boxed_local, reason = "it is made and handed on in its box")]
fn instead(told: Box<Counterexample>, expected: String, found: String) -> Box<Counterexample> {
    Box::new(told.instead(expected, found))
}

/// Judges one watch, response by response.
struct Judge<'a> {
    watch: &'a Watch,
    writers: &'a Writers<'a>,
    /// `None` where a loss lies within the watch.
    evidence: Option<&'a Evidence>,
    leeway: Leeway,
    statistics: &'a mut Statistics,
    created: bool,
    over: bool,
    /// Everything up to here has been shown; `None` while it is not known where the watch starts.
    passed: Option<i64>,
    /// The revision of the last event.
    shown: Option<i64>,
    /// The highest revision that a header has shown.
    bookmark: i64,
    /// The events of the fragments so far.
    part: Vec<&'a WatchEvent>,
    /// When the response that is judged came.
    now: Nanoseconds,
    /// The revisions that it is judged by, to say who wrote them.
    about: Vec<i64>,
}

impl<'a> Judge<'a> {
    fn wrong(&self, guarantee: &str, what: impl fmt::Display) -> Box<Counterexample> {
        let summary = format!("{guarantee}: {what}");
        let mut told = Counterexample::new(GUARANTEE, summary).with(self.watch);
        let mut written = self.about.iter();
        if let Some(writer) = written.find_map(|revision| self.writers.wrote(*revision)) {
            told = told.with(writer);
        }
        told.because(format!(
            "{} {}",
            match self.over {
                true => "the last response came at",
                false => "the response at issue came at",
            },
            display_seconds(self.now)
        ))
        .into()
    }

    fn response(&mut self, response: &'a WatchResponse) -> Judged {
        self.now = response.at;
        self.about.clear();
        let at = display_seconds(response.at);
        if self.over {
            return Err(self.wrong("created first", format!("a response at {at} after the end")));
        }
        if let News::Ended(_) = response.news {
            self.over = true;
            return Ok(());
        }
        let refused = matches!(&response.news, News::Cancelled { .. });
        if !self.created && !refused && response.news != News::Created {
            let what = format!("a response at {at} before the watch is said to be there");
            return Err(self.wrong("created first", what));
        }
        let possible = self.writers.revision_max(response.at);
        if response.revision > possible {
            let what = format!(
                "a header at {at} shows revision {}, when at most {possible} can have been reached",
                response.revision
            );
            return Err(self.wrong("true", what));
        }
        match &response.news {
            News::Created => self.create(response),
            News::Events { events, more } => self.events(response, events, *more),
            News::Progress => self.progress(response),
            News::Cancelled { compacted, .. } => self.cancel(response, *compacted),
            News::Ended(_) => Ok(()),
        }
    }

    fn create(&mut self, response: &WatchResponse) -> Judged {
        if self.created {
            return Err(self.wrong("created first", "the watch is created twice"));
        }
        self.created = true;
        self.passed = Some(match self.watch.start {
            0 => response.revision,
            start => start - 1,
        });
        if self.watch.start == 0 {
            self.bookmark = response.revision;
        }
        Ok(())
    }

    fn events(
        &mut self,
        response: &'a WatchResponse,
        events: &'a [WatchEvent],
        more: bool,
    ) -> Judged {
        self.statistics.events += events.len() as u64;
        for event in events {
            self.event(response, event)?;
        }
        self.part.extend(events);
        if more {
            if !self.watch.fragment {
                return Err(self.wrong("atomic", "a fragment that was not asked for"));
            }
            return Ok(());
        }
        let whole = std::mem::take(&mut self.part);
        self.whole(&whole)?;
        let last = whole.last().map_or(0, |event| event.revision());
        if response.revision < last {
            let what = format!(
                "a header shows revision {} with an event of {last}",
                response.revision
            );
            return Err(self.wrong("bookmarkable", what));
        }
        if !self.leeway.headers_ahead {
            self.bookmark = self.bookmark.max(response.revision);
        }
        Ok(())
    }

    /// What holds for every event, whatever stands around it.
    fn event(&mut self, response: &WatchResponse, event: &WatchEvent) -> Judged {
        let revision = event.revision();
        self.about = vec![revision];
        if !self.watch.wants(&event.kv.key, event.deleted) {
            return Err(self.wrong("filter", format!("the {event} was not asked for")));
        }
        if revision < self.watch.start {
            let what = format!("the {event} is older than the start");
            return Err(self.wrong("filter", what));
        }
        if revision <= self.bookmark {
            let what = format!("the {event} follows a header of revision {}", self.bookmark);
            return Err(self.wrong("bookmarkable", what));
        }
        if revision > self.writers.revision_max(response.at) {
            let what = format!("the {event} is at a revision that cannot have been reached");
            return Err(self.wrong("true", what));
        }
        if !event.deleted {
            let written = (event.kv.key.clone(), event.kv.value.clone());
            match self.writers.puts.get(&written) {
                None => return Err(self.wrong("true", format!("nobody asked for the {event}"))),
                Some(invoked) if *invoked > response.at => {
                    let (at, invoked) = (display_seconds(response.at), display_seconds(*invoked));
                    let what = format!("the {event} came at {at} and was asked for at {invoked}");
                    return Err(self.wrong("true", what));
                }
                Some(_) => {}
            }
        }
        self.lineage(response, event)
    }

    fn progress(&mut self, response: &WatchResponse) -> Judged {
        self.statistics.progress += 1;
        let revision = response.revision;
        if !self.part.is_empty() {
            return Err(self.wrong("atomic", "progress in the middle of fragments"));
        }
        if revision < self.bookmark || revision + 1 < self.watch.start {
            let what = format!("progress goes back to {revision} from {}", self.bookmark);
            return Err(self.wrong("bookmarkable", what));
        }
        self.nothing_left_out(revision)?;
        self.passed = self.passed.max(Some(revision));
        self.bookmark = self.bookmark.max(revision);
        Ok(())
    }

    fn cancel(&mut self, response: &WatchResponse, compacted: i64) -> Judged {
        self.over = true;
        if self.watch.cancelled.is_some() {
            return Ok(());
        }
        if compacted == 0 {
            return Err(self.wrong("cancelled rightly", "nobody asked and nothing is compacted"));
        }
        self.statistics.compacted += 1;
        let asked = self.writers.compactions.get(&compacted);
        if asked.is_none_or(|asked| *asked > response.at) {
            let what = format!("nobody asked to compact revision {compacted}");
            return Err(self.wrong("cancelled rightly", what));
        }
        if let Some(passed) = self.passed
            && compacted <= passed + 1
        {
            let what = format!(
                "the compaction of {compacted} took nothing, everything up to {passed} was shown"
            );
            return Err(self.wrong("cancelled rightly", what));
        }
        Ok(())
    }

    /// That an open watch has seen everything.
    fn caught_up(&mut self, epochs: &Epochs) -> Judged {
        let Some(last) = epochs.last else {
            return Ok(());
        };
        self.about = vec![last];
        if self.over || self.watch.cancelled.is_some() || self.passed >= Some(last) {
            return Ok(());
        }
        if self.leeway.progress_unasked && self.passed.is_some() {
            return self.nothing_left_out(last);
        }
        let what = match self.passed {
            None => "the watch was never created".to_owned(),
            Some(passed) => format!("the watch stands at revision {passed}, the store at {last}"),
        };
        let told = self.wrong("caught up", what);
        let found = format!("revision {}", self.passed.unwrap_or_default());
        Err(instead(told, format!("revision {last}"), found))
    }
}
