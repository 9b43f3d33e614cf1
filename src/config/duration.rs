//! Durations as etcd's flags write them: Go's `1h30m`, `1.5s`, `100ms`, `0`.

use std::time::Duration;

/// Units, the longest names first where one begins with another, with their nanoseconds.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3), // U+00B5
    ("μs", 1e3), // U+03BC
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 6e10),
    ("h", 3.6e12),
];

/// Longer than anything a flag could mean, and far from overflowing a clock.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Reads a duration that is not negative.
///
/// # Errors
/// A sentence for the user that repeats the text.
pub fn parse(text: &str) -> Result<Duration, String> {
    read(text).ok_or_else(|| {
        format!("\"{text}\" is not a time: expected numbers with units, for example 100ms or 1m30s")
    })
}

fn read(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() || text.is_empty() {
        let digits = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
            .count();
        let (number, tail) = rest.split_at(digits);
        // "." alone and "1.2.3" are not numbers, which `parse` says; it also reads "1." as Go does.
        let number: f64 = number.parse().ok()?;
        let unit_length = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        let (_, nanoseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let part = Duration::try_from_secs_f64(number * nanoseconds / 1e9).ok()?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    (total <= LONGEST).then_some(total)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn gos_forms_are_read() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("0s", 0),
            ("100ms", 100_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1m0.25s", 60_250_000_000),
            ("2us", 2_000),
            ("2µs", 2_000),
            ("7ns", 7),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            " ",
            "5",
            "ms",
            "-1s",
            "1 s",
            "1s ",
            "1d",
            ".s",
            "1.2.3s",
            "1e3s",
            "1s2",
            "999999999h",
            "nans",
            "infs",
            "1ſ",
            "١s",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("is not a time"), "{text}: {error}");
        }
    }
}
