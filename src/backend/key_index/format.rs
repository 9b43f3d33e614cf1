//! Head, foot and the numbers between them as bytes.
//!
//! Nothing here touches a disk, and nothing here panics or allocates because of what the bytes say.

use super::Owner;
use crate::mvcc::{FIRST_REVISION, NEVER_COMPACTED};

/// The format written by this version.
pub(super) const VERSION: u32 = 1;
/// The size of the head.
pub(super) const HEAD_BYTES: usize = 44;
/// The size of the foot.
pub(super) const FOOT_BYTES: usize = 48;

const MAGIC: [u8; 4] = *b"vKIX";
const CRC_BYTES: usize = 4;

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// They are not what was written.
    Damage(&'static str),
    /// They are of a format with this number.
    Version(u32),
}

impl From<&'static str> for Flaw {
    fn from(what: &'static str) -> Flaw {
        Flaw::Damage(what)
    }
}

/// The checksum of `bytes` that stand at `offset` of the file.
pub(super) fn checksum(offset: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), bytes)
}

/// What is known before the first key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub owner: Owner,
    pub revision: i64,
    pub compact_revision: i64,
}

impl Head {
    pub fn encode(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.owner.cluster_id.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.owner.member_id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.revision.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.compact_revision.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    pub fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<Head, Flaw> {
        if bytes[..4] != MAGIC {
            return Err(Flaw::Damage("it does not begin as a key index does"));
        }
        let version = word(bytes, 4);
        if version != VERSION {
            return Err(Flaw::Version(version));
        }
        if !is_sealed(bytes) {
            return Err(Flaw::Damage("the checksum of its head is wrong"));
        }
        let head = Head {
            owner: Owner {
                cluster_id: number(bytes, 8),
                member_id: number(bytes, 16),
            },
            revision: number(bytes, 24).cast_signed(),
            compact_revision: number(bytes, 32).cast_signed(),
        };
        let possible = head.revision >= FIRST_REVISION
            && (NEVER_COMPACTED..=head.revision).contains(&head.compact_revision);
        match possible {
            true => Ok(head),
            false => Err(Flaw::Damage("its revisions are impossible")),
        }
    }
}

/// What is known when the last key is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Foot {
    /// Where the directory begins.
    pub directory_offset: u64,
    /// The directory's length.
    pub directory_bytes: u64,
    pub blocks: u64,
    pub keys: u64,
    pub versions: u64,
    pub directory_checksum: u32,
}

impl Foot {
    /// `head` as it stands in the file: the foot of one index does not fit the head of another.
    pub fn encode(self, head: &[u8; HEAD_BYTES]) -> [u8; FOOT_BYTES] {
        let mut bytes = [0; FOOT_BYTES];
        bytes[..8].copy_from_slice(&self.directory_offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.directory_bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.blocks.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.keys.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.versions.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.directory_checksum.to_le_bytes());
        let checksum = Self::seal(head, &bytes);
        bytes[44..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the foot of a file that is `file_bytes` long.
    pub fn decode(
        bytes: &[u8; FOOT_BYTES],
        head: &[u8; HEAD_BYTES],
        file_bytes: u64,
    ) -> Result<Foot, Flaw> {
        if word(bytes, 44) != Self::seal(head, bytes) {
            return Err(Flaw::Damage(
                "it is cut short, or the checksum of its foot is wrong",
            ));
        }
        let foot = Foot {
            directory_offset: number(bytes, 0),
            directory_bytes: number(bytes, 8),
            blocks: number(bytes, 16),
            keys: number(bytes, 24),
            versions: number(bytes, 32),
            directory_checksum: word(bytes, 40),
        };
        let end = foot.directory_offset.checked_add(foot.directory_bytes);
        let length = end.and_then(|end| end.checked_add(FOOT_BYTES as u64));
        if length != Some(file_bytes) || foot.directory_offset < HEAD_BYTES as u64 {
            return Err(Flaw::Damage("it is not as long as its foot says"));
        }
        Ok(foot)
    }

    /// Of the head without its own checksum: with it, all heads would come to the same.
    fn seal(head: &[u8; HEAD_BYTES], bytes: &[u8; FOOT_BYTES]) -> u32 {
        let head = crc32c::crc32c(&head[..HEAD_BYTES - CRC_BYTES]);
        crc32c::crc32c_append(head, &bytes[..FOOT_BYTES - CRC_BYTES])
    }
}

fn seal(bytes: &mut [u8; HEAD_BYTES]) {
    let checksum = crc32c::crc32c(&bytes[..HEAD_BYTES - CRC_BYTES]);
    bytes[HEAD_BYTES - CRC_BYTES..].copy_from_slice(&checksum.to_le_bytes());
}

fn is_sealed(bytes: &[u8; HEAD_BYTES]) -> bool {
    word(bytes, HEAD_BYTES - CRC_BYTES) == crc32c::crc32c(&bytes[..HEAD_BYTES - CRC_BYTES])
}

fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn number<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

/// Appends a number in groups of seven bits, lowest first; all but the last have the top bit set.
pub(super) fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// What is left to decode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn bytes(&mut self, length: u64) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }

    pub fn checksum(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }

    /// A number as [`put_varint`] writes it, in no other spelling.
    pub fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let group = u64::from(byte & 0x7f);
            if group << shift >> shift != group {
                return None;
            }
            number |= group << shift;
            if byte < 0x80 {
                return (byte > 0 || shift == 0).then_some(number);
            }
        }
        None
    }
}
