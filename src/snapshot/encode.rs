//! From a state to the stream.

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::{KIND_END, KIND_LEASE, KIND_META, KIND_PUT, KIND_TOMBSTONE, MAGIC, VERSION};
use crate::api::proto::vetcdpb::BackendMeta;
use crate::lease::Lease;
use crate::mvcc::{Record, Revision, State};

/// The size of the pieces the stream comes in, bytes; the last is shorter.
const CHUNK_BYTES: usize = 64 << 10;

/// Gives the snapshot of a state in pieces of 64 KiB. It holds one piece and one record at a time;
/// the state is a cheap clone that later writes do not touch.
#[derive(Debug)]
pub struct Encoder {
    state: State,
    /// What is encoded and not yet given out.
    buffer: BytesMut,
    /// The checksum of the stream up to the end of `buffer`.
    crc: u32,
    /// The leases still to encode, in this order.
    leases: std::vec::IntoIter<Lease>,
    /// The next record to encode is the first from here on.
    next: Revision,
    records: u64,
    ended: bool,
}

impl Encoder {
    /// Prepares the snapshot of `state`, to be installed with `meta`. The revisions inside `meta`
    /// are taken from the state.
    pub fn new(state: State, meta: BackendMeta) -> Encoder {
        let meta = BackendMeta {
            revision: state.revision(),
            compact_revision: state.compact_revision(),
            compact_finished: state.compact_finished(),
            leases: state.leases().len() as u64,
            ..meta
        };
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
        buffer.extend_from_slice(MAGIC);
        buffer.extend_from_slice(&VERSION.to_le_bytes());
        let mut encoder = Encoder {
            leases: state
                .leases()
                .iter()
                .copied()
                .collect::<Vec<_>>()
                .into_iter(),
            state,
            crc: crc32c::crc32c(&buffer),
            buffer,
            next: Revision::ZERO,
            records: 0,
            ended: false,
        };
        encoder.frame(KIND_META, &[], &meta.encode_to_vec());
        encoder
    }

    fn frame(&mut self, kind: u8, name: &[u8], content: &[u8]) {
        let length = 1 + name.len() + content.len();
        let length = u32::try_from(length).expect("a record is smaller than a request");
        let parts: [&[u8]; 4] = [&length.to_le_bytes(), &[kind], name, content];
        let append = |crc, part: &&[u8]| crc32c::crc32c_append(crc, part);
        let crc = parts.iter().fold(self.crc, append);
        self.buffer.extend_from_slice(parts[0]);
        self.buffer.extend_from_slice(&crc.to_le_bytes());
        for part in &parts[1..] {
            self.buffer.extend_from_slice(part);
        }
        self.crc = crc;
    }

    fn record(&mut self, record: &Record) {
        let kind = if record.tombstone {
            KIND_TOMBSTONE
        } else {
            KIND_PUT
        };
        let name = record.revision_key().encode();
        self.frame(kind, &name, &record.encode_value());
        self.records += 1;
        self.next = record.revision.next();
    }

    /// Encodes records until a piece is full or none is left.
    fn fill(&mut self) {
        while self.buffer.len() < CHUNK_BYTES
            && let Some(lease) = self.leases.next()
        {
            self.frame(KIND_LEASE, &[], &lease.to_wire().encode_to_vec());
        }
        let state = self.state.clone();
        let mut records = state.records_at_or_after(self.next);
        while self.buffer.len() < CHUNK_BYTES && !self.ended {
            match records.next() {
                Some(record) => self.record(record),
                None => {
                    self.frame(KIND_END, &[], &self.records.to_le_bytes());
                    self.ended = true;
                }
            }
        }
    }
}

impl Iterator for Encoder {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.fill();
        if self.buffer.is_empty() {
            return None;
        }
        let length = self.buffer.len().min(CHUNK_BYTES);
        Some(self.buffer.split_to(length).freeze())
    }
}
