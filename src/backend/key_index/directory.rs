//! The directory: what each block holds and where it stands.
//!
//! A block's *separator* is not above its own keys and above all keys before it; the first one's is
//! empty. So every key there can be belongs to exactly one block, and a separator is as short as the
//! keys at hand allow, however long they are.

use std::ops::Range;

use super::block::{Expected, common_prefix};
use super::format::{Foot, HEAD_BYTES, Input, put_varint};

/// What one block is.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// Where its separator stands among the directory's bytes.
    separator: Range<usize>,
    pub offset: u64,
    pub bytes: u64,
    pub entries: u64,
    pub versions: u64,
    pub checksum: u32,
}

/// The directory as it stands in the file, and where to find what in it.
#[derive(Debug)]
pub(super) struct Directory {
    bytes: Vec<u8>,
    blocks: Vec<Block>,
}

impl Directory {
    /// Reads the directory's bytes, whose checksum was found right.
    pub fn decode(bytes: Vec<u8>, foot: &Foot) -> Result<Directory, &'static str> {
        const GARBLED: &str = "its directory is garbled";
        let mut blocks: Vec<Block> = Vec::new();
        let mut input = Input(&bytes);
        let mut offset = HEAD_BYTES as u64;
        let (mut keys, mut versions) = (0_u64, 0_u64);
        while !input.is_empty() {
            let length = input.varint().ok_or(GARBLED)?;
            let start = bytes.len() - input.0.len();
            let separator = input.bytes(length).ok_or(GARBLED)?;
            let block = Block {
                separator: start..start + separator.len(),
                offset,
                bytes: input.varint().ok_or(GARBLED)?,
                entries: input.varint().ok_or(GARBLED)?,
                versions: input.varint().ok_or(GARBLED)?,
                checksum: input.checksum().ok_or(GARBLED)?,
            };
            let in_order = match blocks.last() {
                None => separator.is_empty(),
                Some(last) => bytes[last.separator.clone()] < *separator,
            };
            if !in_order || block.entries == 0 {
                return Err(GARBLED);
            }
            offset = offset.checked_add(block.bytes).ok_or(GARBLED)?;
            keys = keys.checked_add(block.entries).ok_or(GARBLED)?;
            versions = versions.checked_add(block.versions).ok_or(GARBLED)?;
            blocks.push(block);
        }
        // Blocks stand one behind the other from the head to the directory.
        let fits = offset == foot.directory_offset
            && blocks.len() as u64 == foot.blocks
            && keys == foot.keys
            && versions == foot.versions;
        match fits {
            true => Ok(Directory { bytes, blocks }),
            false => Err("its directory and its foot do not fit together"),
        }
    }

    /// All blocks, by key.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The place of the block that `key` belongs to; `None` when there are no blocks.
    pub fn holding(&self, key: &[u8]) -> Option<usize> {
        let after = self.blocks.partition_point(|b| self.separator(b) <= key);
        after.checked_sub(1)
    }

    /// The places of the blocks that keys from `start` on and before `end`, which is above, belong to.
    pub fn covering(&self, start: &[u8], end: Option<&[u8]>) -> Range<usize> {
        let first = self.holding(start).unwrap_or(0);
        let last = match end {
            Some(end) => self.blocks.partition_point(|b| self.separator(b) < end),
            None => self.blocks.len(),
        };
        first..last
    }

    fn separator(&self, block: &Block) -> &[u8] {
        &self.bytes[block.separator.clone()]
    }

    /// What the block at `place` must be like in an index of `revision`.
    pub fn expected(&self, place: usize, revision: i64) -> Option<Expected<'_>> {
        let block = self.blocks.get(place)?;
        let next = self.blocks.get(place + 1);
        Some(Expected {
            from: self.separator(block),
            before: next.map(|next| self.separator(next)),
            entries: block.entries,
            versions: block.versions,
            revision,
        })
    }
}

/// The shortest separator between `last`, the last key of a block, and `first`, the first of the next.
pub(super) fn separator<'a>(last: Option<&[u8]>, first: &'a [u8]) -> &'a [u8] {
    match last {
        // `first` is above `last`, so that it goes on where the two part.
        Some(last) => &first[..first.len().min(common_prefix(last, first) + 1)],
        None => &[],
    }
}

/// Appends what the directory says of a block; its offset follows from those before it.
pub(super) fn put_block(directory: &mut Vec<u8>, separator: &[u8], block: &Described) {
    put_varint(directory, separator.len() as u64);
    directory.extend_from_slice(separator);
    put_varint(directory, block.bytes);
    put_varint(directory, block.entries);
    put_varint(directory, block.versions);
    directory.extend_from_slice(&block.checksum.to_le_bytes());
}

/// What the directory says of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Described {
    pub bytes: u64,
    pub entries: u64,
    pub versions: u64,
    pub checksum: u32,
}
