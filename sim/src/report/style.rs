//! Colours and numbers for people.

use std::time::Duration;

/// Whether output has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Use ANSI colours.
    pub color: bool,
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Good news.
    Good,
    /// Bad news.
    Bad,
    /// Worth a second look.
    Warn,
    /// A name.
    Name,
    /// Less important.
    Dim,
}

impl Style {
    /// No colours.
    pub const PLAIN: Style = Style { color: false };

    /// `text` in the colour of `tone`.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if !self.color {
            return text.to_string();
        }
        let code = match tone {
            Tone::Good => "1;32",
            Tone::Bad => "1;31",
            Tone::Warn => "1;33",
            Tone::Name => "1",
            Tone::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A line as cargo writes them: a word in the left margin, then the rest.
    pub fn line(self, tone: Tone, word: &str, rest: &str) -> String {
        format!("{} {rest}\n", self.paint(tone, &format!("{word:>12}")))
    }
}

/// `12345` -> `12,345`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A duration to three significant digits: `1.25ms`, `14.2s`.
pub fn rounded(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let (unit, scale) = match nanoseconds {
        0 => return "0s".into(),
        1..1_000 => return format!("{nanoseconds}ns"),
        1_000..1_000_000 => ("us", 1e3),
        1_000_000..1_000_000_000 => ("ms", 1e6),
        _ => ("s", 1e9),
    };
    format!("{}{unit}", significant(nanoseconds as f64 / scale))
}

/// A number to three significant digits, without trailing zeros.
pub fn significant(number: f64) -> String {
    let places = match number.abs() {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{number:.places$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    } else {
        text
    }
}

/// A moment of a run, in seconds with milliseconds: `12.431s`.
pub fn moment(at: Duration) -> String {
    format!("{}.{:03}s", at.as_secs(), at.subsec_millis())
}

/// `1 run`, `2 runs`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(rounded(Duration::from_nanos(1_254_999)), "1.25ms");
        assert_eq!(rounded(Duration::from_micros(999_999)), "1000ms");
        assert_eq!(rounded(Duration::from_secs(60)), "60s");
        assert_eq!(rounded(Duration::ZERO), "0s");
        assert_eq!(significant(146.2), "146");
        assert_eq!(significant(0.61), "0.61");
        assert_eq!(counted(1, "run"), "1 run");
        assert_eq!(counted(2000, "run"), "2,000 runs");
    }
}
