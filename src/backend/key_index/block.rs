//! Entries as the bytes of a block, and back.

use bytes::Bytes;

use super::format::{Input, put_varint};
use super::{Entry, Version};
use crate::mvcc::{FIRST_REVISION, Revision};

/// How much a key can share with the one before it, bytes: what fits into one byte. It bounds what a
/// block comes to when it is decoded.
const SHARED_MAX: usize = u8::MAX as usize;
/// The word of a version has its step from this bit on.
const STEP_SHIFT: u32 = 2;
const HAS_SUB: u64 = 2;
const TOMBSTONE: u64 = 1;

/// How many bytes two keys have in common at their beginning.
pub(super) fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let pairs = one.iter().zip(other);
    pairs.take_while(|(one, other)| one == other).count()
}

/// Appends an entry. `previous` is the key before it in the same block. `None` for revisions that no
/// store has.
pub(super) fn put_entry(
    block: &mut Vec<u8>,
    previous: Option<&[u8]>,
    key: &[u8],
    versions: impl ExactSizeIterator<Item = Version>,
) -> Option<()> {
    let shared = previous.map_or(0, |previous| common_prefix(previous, key));
    let shared = shared.min(SHARED_MAX);
    block.push(shared as u8);
    put_varint(block, (key.len() - shared) as u64);
    block.extend_from_slice(&key[shared..]);
    put_varint(block, versions.len() as u64);
    let mut before = 0;
    for Version {
        revision: Revision { main, sub },
        tombstone,
    } in versions
    {
        let step = u64::try_from(main.checked_sub(before)?).ok()?;
        let sub = u64::try_from(sub).ok()?;
        if step > u64::MAX >> STEP_SHIFT {
            return None;
        }
        let has_sub = if sub > 0 { HAS_SUB } else { 0 };
        put_varint(block, step << STEP_SHIFT | has_sub | u64::from(tombstone));
        if sub > 0 {
            put_varint(block, sub);
        }
        before = main;
    }
    Some(())
}

/// What a block must be like to be believed, its checksum apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// No key is below.
    pub from: &'a [u8],
    /// All keys are below, if there is such a bound.
    pub before: Option<&'a [u8]>,
    pub entries: u64,
    pub versions: u64,
    /// No version is newer.
    pub revision: i64,
}

/// Reads a whole block; `visit` is told each key, and takes its versions where it wants them.
pub(super) fn read(
    block: &[u8],
    expected: Expected<'_>,
    mut wanted: impl FnMut(&[u8]) -> bool,
    mut found: impl FnMut(Entry),
) -> Result<(), &'static str> {
    const GARBLED: &str = "an entry is garbled";
    let mut input = Input(block);
    let mut key = Vec::new();
    let (mut entries, mut versions) = (0_u64, 0_u64);
    while !input.is_empty() {
        let shared = usize::from(input.byte().ok_or(GARBLED)?);
        let length = input.varint().ok_or(GARBLED)?;
        let suffix = input.bytes(length).ok_or(GARBLED)?;
        let kept = key.get(shared..).ok_or(GARBLED)?;
        if kept >= suffix && entries > 0 {
            return Err("its keys are out of order");
        }
        key.truncate(shared);
        key.extend_from_slice(suffix);
        let count = input.varint().ok_or(GARBLED)?;
        // Every version takes a byte at least, so this is what memory is asked for.
        if count == 0 || count > input.0.len() as u64 {
            return Err(GARBLED);
        }
        if entries == 0 && *key < *expected.from {
            return Err("it holds a key that belongs before it");
        }
        let mut list = wanted(&key).then(|| Vec::with_capacity(count as usize));
        read_versions(&mut input, count, expected.revision, |version| {
            if let Some(list) = &mut list {
                list.push(version);
            }
        })
        .ok_or("a key's versions are impossible")?;
        if let Some(versions) = list {
            found(Entry {
                key: Bytes::copy_from_slice(&key),
                versions,
            });
        }
        entries += 1;
        versions = versions.saturating_add(count);
    }
    if expected.before.is_some_and(|before| *key >= *before) {
        return Err("it holds a key that belongs behind it");
    }
    match (entries, versions) == (expected.entries, expected.versions) {
        true => Ok(()),
        false => Err("it does not hold as much as the directory says"),
    }
}

fn read_versions(
    input: &mut Input<'_>,
    count: u64,
    newest: i64,
    mut found: impl FnMut(Version),
) -> Option<()> {
    let mut before = Version {
        revision: Revision::ZERO,
        tombstone: false,
    };
    for _ in 0..count {
        let word = input.varint()?;
        let step = i64::try_from(word >> STEP_SHIFT).ok()?;
        let sub = match word & HAS_SUB {
            0 => 0,
            _ => i64::try_from(input.varint()?).ok().filter(|sub| *sub > 0)?,
        };
        let version = Version {
            revision: Revision {
                main: before.revision.main.checked_add(step)?,
                sub,
            },
            tombstone: word & TOMBSTONE != 0,
        };
        let possible = version.revision > before.revision
            && (FIRST_REVISION + 1..=newest).contains(&version.revision.main)
            && !(version.tombstone && before.tombstone);
        if !possible {
            return None;
        }
        found(version);
        before = version;
    }
    Some(())
}
