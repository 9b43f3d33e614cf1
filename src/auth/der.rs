//! Just enough of PEM and DER to find the keys that [`ring`] wants in the files people have.
//!
//! Pure and bounded by the input; anything unexpected is `None`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// SEC 1's public key inside a private key: `[1]`, explicit.
const EXPLICIT_1: u8 = 0xa1;

/// The first block of a PEM file whose label is one of `labels`: its label and content.
pub(super) fn pem<'a>(text: &str, labels: &[&'a str]) -> Option<(&'a str, Vec<u8>)> {
    for label in labels {
        let (begin, end) = (
            format!("-----BEGIN {label}-----"),
            format!("-----END {label}-----"),
        );
        let Some((_, rest)) = text.split_once(&begin) else {
            continue;
        };
        let (body, _) = rest.split_once(&end)?;
        let body: String = body.split_whitespace().collect();
        return Some((label, STANDARD.decode(body).ok()?));
    }
    None
}

/// One element: its tag, its content, and what follows it.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = input.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits
                .iter()
                .fold(0usize, |sum, digit| sum << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn expect(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(input)?;
    (found == tag).then_some((content, rest))
}

/// The key inside a SubjectPublicKeyInfo.
pub(super) fn subject_public_key(input: &[u8]) -> Option<Vec<u8>> {
    let (outer, _) = expect(input, SEQUENCE)?;
    let (_algorithm, rest) = expect(outer, SEQUENCE)?;
    let (bits, _) = expect(rest, BIT_STRING)?;
    let (unused, key) = bits.split_first()?;
    (*unused == 0).then(|| key.to_vec())
}

/// The secret and the public point inside a SEC 1 elliptic-curve private key.
pub(super) fn sec1(input: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (outer, _) = expect(input, SEQUENCE)?;
    let (_version, rest) = expect(outer, INTEGER)?;
    let (secret, mut rest) = expect(rest, OCTET_STRING)?;
    loop {
        let (tag, content, after) = element(rest)?;
        if tag == EXPLICIT_1 {
            let (bits, _) = expect(content, BIT_STRING)?;
            let (_unused, point) = bits.split_first()?;
            return Some((secret.to_vec(), point.to_vec()));
        }
        rest = after;
    }
}

/// The key inside a PKCS #8 document.
pub(super) fn pkcs8(input: &[u8]) -> Option<Vec<u8>> {
    let (outer, _) = expect(input, SEQUENCE)?;
    let (_version, rest) = expect(outer, INTEGER)?;
    let (_algorithm, rest) = expect(rest, SEQUENCE)?;
    let (key, _) = expect(rest, OCTET_STRING)?;
    Some(key.to_vec())
}
