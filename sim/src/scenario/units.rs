//! Quantities as people write them: durations (`"500us"`), rates (`"400/s"`), bandwidths
//! (`"100MB/s"`), fractions (`"0.5%"`).
//!
//! Reading is exact (integers all the way, no rounding through floating point) and what is written
//! reads back as the same value, because plans are replayed from their text.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// The longest duration a scenario may state: a year. Keeps all sums far from overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// The units of time, longest first, in nanoseconds.
const TIME_UNITS: &[(&str, u64)] = &[
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

/// Reads a duration such as `"500us"`, `"1.5s"`, `"2m"`.
///
/// # Errors
/// A sentence saying what is wrong and how to write it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_number(text);
    if number.is_empty() {
        return Err(
            "a duration is a number and a unit, such as \"500us\", \"4ms\" or \"60s\"".into(),
        );
    }
    if unit.is_empty() {
        return Err(format!(
            "a duration needs a unit: \"{text}s\" or \"{text}ms\"?"
        ));
    }
    let Some((_, scale)) = TIME_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!(
            "unknown unit of time \"{unit}\": known are ns, us, ms, s, m, h"
        ));
    };
    let nanoseconds = scaled(number, *scale)
        .ok_or_else(|| format!("\"{number}\" is not a number of \"{unit}\""))?;
    let duration = Duration::from_nanos(nanoseconds);
    if duration > DURATION_MAX {
        return Err("longer than a year".into());
    }
    Ok(duration)
}

/// Splits `"1.5ms"` into `"1.5"` and `"ms"`.
fn split_number(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// `number × scale` as an integer, exactly; `None` for what is no number or leaves a remainder.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let digits = number.replace('_', "");
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (digits.as_str(), ""),
    };
    if fraction.len() > 18 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let mut total = whole.checked_mul(scale)?;
    if !fraction.is_empty() {
        let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(scale);
        let divisor = 10u128.pow(u32::try_from(fraction.len()).ok()?);
        if part % divisor != 0 {
            return None;
        }
        total = total.checked_add(u64::try_from(part / divisor).ok()?)?;
    }
    Some(total)
}

/// Writes a duration so that [`parse_duration`] reads back the same: `"1.5s"`, `"250us"`.
pub fn format_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    for (unit, scale) in [("s", 1_000_000_000u128), ("ms", 1_000_000), ("us", 1_000)] {
        if nanoseconds >= scale {
            return format!("{}{unit}", decimal(nanoseconds, scale));
        }
    }
    if nanoseconds == 0 {
        "0s".into()
    } else {
        format!("{nanoseconds}ns")
    }
}

/// `value / scale` in decimal notation without trailing zeros; `scale` is a power of ten.
fn decimal(value: u128, scale: u128) -> String {
    let (whole, rest) = (value / scale, value % scale);
    if rest == 0 {
        return whole.to_string();
    }
    let width = scale.to_string().len() - 1;
    let fraction = format!("{rest:0width$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

/// A signed duration: a clock's offset from true time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offset {
    /// Nanoseconds ahead of true time; negative when behind.
    pub nanoseconds: i64,
}

impl Offset {
    /// Reads `"-12.5ms"` or `"3ms"`.
    ///
    /// # Errors
    /// As [`parse_duration`].
    pub fn parse(text: &str) -> Result<Offset, String> {
        let trimmed = text.trim();
        let (sign, magnitude) = match trimmed.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, trimmed.strip_prefix('+').unwrap_or(trimmed)),
        };
        let nanoseconds = i64::try_from(parse_duration(magnitude)?.as_nanos())
            .map_err(|_| "longer than a year".to_string())?;
        Ok(Offset {
            nanoseconds: sign * nanoseconds,
        })
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nanoseconds < 0 { "-" } else { "" };
        f.write_str(sign)?;
        f.write_str(&format_duration(Duration::from_nanos(
            self.nanoseconds.unsigned_abs(),
        )))
    }
}

/// So many per unit of time: `"400/s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many…
    pub count: u32,
    /// … in this time: one second, minute or hour.
    pub per: Duration,
}

impl Rate {
    /// How many per second.
    pub fn per_second(&self) -> f64 {
        f64::from(self.count) / self.per.as_secs_f64()
    }

    /// Reads `"400/s"`, `"30/m"`.
    ///
    /// # Errors
    /// A sentence saying what is wrong and how to write it.
    pub fn parse(text: &str) -> Result<Rate, String> {
        let wanted = "a rate is a number per s, m or h, such as \"400/s\"";
        let (count, unit) = text.split_once('/').ok_or(wanted)?;
        let count: u32 = count.trim().replace('_', "").parse().map_err(|_| wanted)?;
        let per = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(wanted.into()),
        };
        if count == 0 {
            return Err("a rate of zero does nothing".into());
        }
        if count > 10_000_000 {
            return Err("more than 10000000 in one unit of time".into());
        }
        Ok(Rate {
            count,
            per: Duration::from_secs(per),
        })
    }

    /// The mean time between two.
    pub fn interval(&self) -> Duration {
        self.per / self.count.max(1)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            60 => "m",
            3600 => "h",
            _ => "s",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// Bytes per second on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// Bytes per second.
    pub bytes_per_second: u64,
}

/// The units of bandwidth, largest first, in bytes per second.
const BANDWIDTH_UNITS: &[(&str, u64)] = &[
    ("GB/s", 1_000_000_000),
    ("Gbit/s", 125_000_000),
    ("MB/s", 1_000_000),
    ("Mbit/s", 125_000),
    ("kB/s", 1_000),
    ("B/s", 1),
];

impl Bandwidth {
    /// Reads `"100MB/s"`, `"1Gbit/s"`.
    ///
    /// # Errors
    /// A sentence saying what is wrong and how to write it.
    pub fn parse(text: &str) -> Result<Bandwidth, String> {
        let wanted = "a bandwidth is a number and a unit (B/s, kB/s, MB/s, GB/s, Mbit/s, Gbit/s), \
                      such as \"100MB/s\"";
        let (number, unit) = split_number(text);
        let scale = BANDWIDTH_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or(wanted)?
            .1;
        match scaled(number, scale) {
            None => Err(wanted.into()),
            Some(0) => Err("a bandwidth of zero carries nothing: use a partition".into()),
            Some(bytes_per_second) => Ok(Bandwidth { bytes_per_second }),
        }
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let byte_units = BANDWIDTH_UNITS
            .iter()
            .filter(|(name, _)| name.ends_with("B/s"));
        for (unit, scale) in byte_units {
            if self.bytes_per_second.is_multiple_of(*scale) {
                return write!(f, "{}{unit}", self.bytes_per_second / scale);
            }
        }
        write!(f, "{}B/s", self.bytes_per_second)
    }
}

/// Reads a fraction of one: `"0.5%"`.
///
/// # Errors
/// A sentence saying what is wrong and how to write it.
pub fn parse_fraction(text: &str) -> Result<f64, String> {
    let wanted = "a fraction is a percentage such as \"0.5%\", or a number from 0 to 1";
    let number = text.trim().strip_suffix('%').ok_or(wanted)?;
    let percent: f64 = number.trim().parse().map_err(|_| wanted)?;
    check_fraction(percent / 100.0)
}

/// Accepts a number from 0 to 1.
///
/// # Errors
/// Anything else.
pub fn check_fraction(value: f64) -> Result<f64, String> {
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err("a fraction lies between 0 and 1 (0% and 100%)".into())
    }
}

macro_rules! serialize_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
serialize_as_text!(Offset, Rate, Bandwidth);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_exactly() {
        assert_eq!(parse_duration("500us").unwrap(), Duration::from_micros(500));
        assert_eq!(parse_duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(parse_duration("2m").unwrap(), Duration::from_secs(120));
        assert_eq!(parse_duration("10µs").unwrap(), Duration::from_micros(10));
        for wrong in [
            "",
            "s",
            "12",
            "1.s",
            "1.5ns",
            "1 fortnight",
            "-3s",
            "999999999h",
            "1e3s",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_quantities_round_trip() {
        for text in ["400/s", "30/m", "7/h"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        for text in ["100MB/s", "1GB/s", "1500B/s"] {
            assert_eq!(Bandwidth::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Bandwidth::parse("1Gbit/s").unwrap().to_string(), "125MB/s");
        assert_eq!(Offset::parse("-12.5ms").unwrap().to_string(), "-12.5ms");
        assert_eq!(parse_fraction("0.5%").unwrap(), 0.005);
        for wrong in ["400", "0/s", "x/s", "1/fortnight", "99999999999/s"] {
            assert!(Rate::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Bandwidth::parse("0MB/s").is_err());
        assert!(parse_fraction("101%").is_err());
        assert!(parse_fraction("NaN%").is_err());
    }

    proptest! {
        #[test]
        fn a_duration_reads_back(nanoseconds in 0..31_536_000_000_000_000u64) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
