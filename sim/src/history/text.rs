//! Bytes as readable JSON text: valid UTF-8 stands for itself, anything else is `hex:` and its
//! hexadecimal digits. Text that itself begins with `hex:` is written in hexadecimal, so that
//! reading gives back exactly what was written.
//!
//! For use as `#[serde(with = "text")]` on a [`Bytes`] field.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

const PREFIX: &str = "hex:";

/// Writes bytes as readable text.
pub fn encode(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with(PREFIX) => text.to_owned(),
        _ => {
            let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
            let digits = bytes
                .iter()
                .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
            PREFIX.chars().chain(digits).collect()
        }
    }
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// Says what is wrong with the hexadecimal digits.
pub fn decode(text: &str) -> Result<Bytes, String> {
    let Some(digits) = text.strip_prefix(PREFIX) else {
        return Ok(Bytes::copy_from_slice(text.as_bytes()));
    };
    let nibble = |digit: u8| {
        let value = char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok());
        value.ok_or_else(|| format!("'{}' is not a hexadecimal digit", char::from(digit)))
    };
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err("an odd number of hexadecimal digits".to_owned());
    }
    pairs
        .iter()
        .map(|[high, low]| Ok(nibble(*high)? << 4 | nibble(*low)?))
        .collect()
}

/// For serde.
pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with(PREFIX) => serializer.serialize_str(text),
        _ => serializer.serialize_str(&encode(bytes)),
    }
}

/// For serde.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.starts_with(PREFIX) {
        return decode(&text).map_err(D::Error::custom);
    }
    Ok(Bytes::from(text))
}

/// The same for bytes that may be missing.
pub mod optional {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    /// For serde.
    pub fn serialize<S: Serializer>(value: &Option<Bytes>, out: S) -> Result<S::Ok, S::Error> {
        value
            .as_ref()
            .map(|bytes| super::encode(bytes))
            .serialize(out)
    }

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Bytes>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| super::decode(&text))
            .transpose()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_round_trip() {
        for bytes in [
            &b""[..],
            b"key",
            b"\0",
            b"hex:",
            b"hex:zz",
            b"\xff\x00\x80",
            "schl\u{fc}ssel".as_bytes(),
        ] {
            assert_eq!(decode(&encode(bytes)).unwrap(), bytes, "{bytes:?}");
        }
        assert_eq!(encode(b"\xff\x01"), "hex:ff01");
    }

    #[test]
    fn bad_digits_are_refused() {
        assert!(decode("hex:1").unwrap_err().contains("odd"));
        assert!(decode("hex:1g").unwrap_err().contains("'g'"));
    }
}
