//! A file's bytes: sparse, in chunks, so that large files cost what was written to them, and copies
//! of a file what was written since.

use std::hash::Hasher;
use std::sync::Arc;

/// The unit of allocation. Bytes of a chunk that is missing are zero.
const CHUNK: usize = 16 * 1024;

/// The longest file, in bytes.
pub(super) const LENGTH_MAX: u64 = 1 << 36;

#[derive(Clone, Default)]
pub(super) struct Content {
    chunks: Vec<Option<Arc<[u8]>>>,
    length: u64,
}

/// The part of one chunk that a range of the file covers.
struct Piece {
    chunk: usize,
    within: std::ops::Range<usize>,
}

/// Splits `offset..offset + length` at chunk borders.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = Piece> {
    let mut position = offset;
    let end = offset + length as u64;
    std::iter::from_fn(move || {
        if position >= end {
            return None;
        }
        let chunk = (position / CHUNK as u64) as usize;
        let start = (position % CHUNK as u64) as usize;
        let count = (CHUNK - start).min((end - position) as usize);
        position += count as u64;
        Some(Piece {
            chunk,
            within: start..start + count,
        })
    })
}

impl Content {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Reads at `offset`; fewer bytes than asked only at the end.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let available = self.length.saturating_sub(offset);
        let count = available.min(buffer.len() as u64) as usize;
        let mut rest = &mut buffer[..count];
        for piece in pieces(offset, count) {
            let (part, after) = rest.split_at_mut(piece.within.len());
            match self.chunks.get(piece.chunk) {
                Some(Some(chunk)) => part.copy_from_slice(&chunk[piece.within]),
                _ => part.fill(0),
            }
            rest = after;
        }
        count
    }

    /// Reads what there is of `offset..offset + length`.
    pub(super) fn read_vec(&self, offset: u64, length: usize) -> Vec<u8> {
        let available = self.length.saturating_sub(offset).min(length as u64) as usize;
        let mut bytes = vec![0; available];
        self.read(offset, &mut bytes);
        bytes
    }

    /// Writes at `offset`, extending as needed.
    pub(super) fn write(&mut self, offset: u64, mut data: &[u8]) {
        assert!(
            offset + data.len() as u64 <= LENGTH_MAX,
            "callers bound the file's length"
        );
        self.length = self.length.max(offset + data.len() as u64);
        for piece in pieces(offset, data.len()) {
            if self.chunks.len() <= piece.chunk {
                self.chunks.resize_with(piece.chunk + 1, || None);
            }
            let chunk = self.chunks[piece.chunk].get_or_insert_with(|| vec![0; CHUNK].into());
            let (part, rest) = data.split_at(piece.within.len());
            Arc::make_mut(chunk)[piece.within].copy_from_slice(part);
            data = rest;
        }
    }

    /// Sets the length; new bytes are zero.
    pub(super) fn set_length(&mut self, length: u64) {
        assert!(length <= LENGTH_MAX, "callers bound the file's length");
        if length < self.length {
            let kept = length.div_ceil(CHUNK as u64) as usize;
            self.chunks.truncate(kept);
            let within = (length % CHUNK as u64) as usize;
            if within > 0
                && let Some(Some(last)) = self.chunks.get_mut(kept - 1)
            {
                Arc::make_mut(last)[within..].fill(0);
            }
        }
        self.length = length;
    }

    /// Feeds the bytes and the length to `hasher`; a hole and written zeros are told apart, which
    /// only makes equal contents look different.
    pub(super) fn hash(&self, hasher: &mut impl Hasher) {
        hasher.write_u64(self.length);
        for (index, chunk) in self.chunks.iter().enumerate() {
            if let Some(chunk) = chunk {
                hasher.write_usize(index);
                hasher.write(chunk);
            }
        }
    }

    /// The parts that are not holes: (offset, length).
    pub(super) fn written_ranges(&self) -> Vec<(u64, u64)> {
        let chunks = self.chunks.iter().enumerate();
        let present = chunks.filter(|(_, chunk)| chunk.is_some());
        let ranges = present.map(|(index, _)| {
            let start = (index * CHUNK) as u64;
            (start, self.length.saturating_sub(start).min(CHUNK as u64))
        });
        ranges.filter(|(_, length)| *length > 0).collect()
    }

    /// The parts at or after `offset` that are not holes: (offset, bytes).
    pub(super) fn written_after(&self, offset: u64) -> Vec<(u64, Vec<u8>)> {
        let first = (offset / CHUNK as u64) as usize;
        let chunks = self.chunks.iter().enumerate().skip(first);
        let present = chunks.filter_map(|(index, chunk)| Some((index, chunk.as_ref()?)));
        let parts = present.map(|(index, _)| {
            let start = offset.max((index * CHUNK) as u64);
            let end = ((index + 1) * CHUNK) as u64;
            (start, self.read_vec(start, (end - start) as usize))
        });
        parts.filter(|(_, bytes)| !bytes.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    #[test]
    fn content_behaves_like_a_plain_vector() {
        let mut draws = Stream::new(11, "content");
        let mut content = Content::default();
        let mut model: Vec<u8> = Vec::new();
        for _ in 0..3000 {
            let offset = draws.range(0..70_000);
            if draws.chance(0.1) {
                content.set_length(offset);
                model.resize(offset as usize, 0);
            } else {
                let mut data = vec![0; draws.range(1..5000) as usize];
                draws.fill(&mut data);
                content.write(offset, &data);
                let end = offset as usize + data.len();
                model.resize(model.len().max(end), 0);
                model[offset as usize..end].copy_from_slice(&data);
            }
            assert_eq!(content.length(), model.len() as u64);
            let from = draws.range(0..80_000);
            let mut buffer = vec![7; 20_000];
            let count = content.read(from, &mut buffer);
            let expected = model.get(from as usize..).unwrap_or(&[]);
            assert_eq!(&buffer[..count], &expected[..expected.len().min(20_000)]);
            let tail: usize = content
                .written_after(from)
                .iter()
                .map(|(_, bytes)| bytes.len())
                .sum();
            assert!(tail <= expected.len());
        }
    }

    #[test]
    fn a_hole_costs_nothing() {
        let mut content = Content::default();
        content.set_length(LENGTH_MAX);
        assert!(content.chunks.is_empty());
        assert_eq!(content.read_vec(1 << 30, 3), [0, 0, 0]);
    }
}
