//! The common name of a certificate's subject, read from its DER form.
//!
//! rustls verifies certificates and shows nothing of them but their bytes. Of the many fields only
//! this one is wanted, so it is walked to: a few nested fields, each with a tag and a length.

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const EXPLICIT_VERSION: u8 = 0xa0;
/// The string types whose content is UTF-8 or a part of it: UTF8String, PrintableString, IA5String.
const STRINGS: [u8; 3] = [0x0c, 0x13, 0x16];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The subject's common name, the last one if there are several (as Go reads it); `None` when there
/// is none, or the bytes are no certificate.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let certificate = Reader(certificate).enter(SEQUENCE)?;
    let mut fields = Reader(certificate).enter_reader(SEQUENCE)?;
    if fields.0.first() == Some(&EXPLICIT_VERSION) {
        fields.next()?;
    }
    // Serial number, signature algorithm, issuer, validity.
    for _ in 0..4 {
        fields.next()?;
    }
    let mut names = fields.enter_reader(SEQUENCE)?;
    let mut found = None;
    while !names.0.is_empty() {
        let mut parts = names.enter_reader(SET)?;
        while !parts.0.is_empty() {
            let mut pair = parts.enter_reader(SEQUENCE)?;
            let (tag, name) = pair.next()?;
            let (kind, value) = pair.next()?;
            if tag == OBJECT_ID && name == COMMON_NAME && STRINGS.contains(&kind) {
                found = Some(std::str::from_utf8(value).ok()?.to_owned());
            }
        }
    }
    found
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next field's tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    fn enter(&mut self, expected: u8) -> Option<&'a [u8]> {
        let (tag, content) = self.next()?;
        (tag == expected).then_some(content)
    }

    fn enter_reader(&mut self, expected: u8) -> Option<Reader<'a>> {
        self.enter(expected).map(Reader)
    }
}
