//! Bytes to records and back: the record header and the payloads. The format is described in the
//! [module's documentation](super).
//!
//! Nothing here touches a disk, and nothing here panics or allocates because of what the bytes say.

use prost::Message;

use super::{HardState, Metadata, Position, SnapshotMark};
use crate::api::proto::vetcdpb;

/// The format written by this version, repeated in every segment head.
pub(super) const FORMAT: u32 = 1;
/// The size of a record header.
pub(super) const HEADER_BYTES: usize = 32;
/// Records start at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
/// The largest payload, padding included. Far above the largest request, far below what would
/// hurt to allocate.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// No segment, index or term is higher: whoever reads one may add to it. A log gets nowhere near, and
/// what peers say is bounded lower still (`raft::guard`), so that it can be written.
pub(super) const NUMBER_MAX: u64 = u64::MAX / 2;

const MAGIC: [u8; 4] = *b"vWAL";
const CHECKED_BYTES: usize = HEADER_BYTES - 4;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The first record of every segment, and only there.
    SegmentHead = 1,
    HardState = 2,
    Entry = 3,
    SnapshotMark = 4,
    /// Nothing but its header's `synced` field.
    Synced = 5,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::SegmentHead,
            2 => Kind::HardState,
            3 => Kind::Entry,
            4 => Kind::SnapshotMark,
            5 => Kind::Synced,
            _ => return None,
        })
    }
}

/// A record's header, known to be whole and to belong where it was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub kind: Kind,
    /// Bytes of payload without padding.
    pub payload_bytes: usize,
    /// How many bytes of this segment were durable when the record was written; 0 when the writer
    /// vouched for none of them.
    pub synced: u64,
    /// The checksum of the record before; ties the records into a chain.
    pub previous: u32,
    payload_checksum: u32,
    /// This record's own checksum, the next one's `previous`.
    pub checksum: u32,
}

impl Header {
    /// Reads the header at `offset` of segment `segment`; `None` unless it is whole, was written
    /// at this very place, and is of a known kind and a possible size.
    pub fn decode(bytes: &[u8; HEADER_BYTES], segment: u64, offset: u64) -> Option<Header> {
        if bytes[..4] != MAGIC || bytes[17..20] != [0; 3] {
            return None;
        }
        let checksum = word(bytes, CHECKED_BYTES);
        if checksum != header_checksum(bytes, segment, offset) {
            return None;
        }
        let header = Header {
            kind: Kind::from_byte(bytes[16])?,
            payload_bytes: word(bytes, 4) as usize,
            synced: u64::from(word(bytes, 8)) | u64::from(word(bytes, 12)) << 32,
            previous: word(bytes, 20),
            payload_checksum: word(bytes, 24),
            checksum,
        };
        let sane = header.payload_bytes <= PAYLOAD_BYTES_MAX && header.synced <= offset;
        sane.then_some(header)
    }

    /// The payload's size on disk.
    pub fn padded_bytes(&self) -> usize {
        padded(self.payload_bytes)
    }

    /// Whether `payload`, padding included, is the one this header was written for.
    pub fn matches(&self, payload: &[u8]) -> bool {
        crc32c::crc32c(payload) == self.payload_checksum
    }
}

fn word(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Mixes in the record's place, so that bytes from elsewhere never pass for a record.
fn header_checksum(bytes: &[u8; HEADER_BYTES], segment: u64, offset: u64) -> u32 {
    let place = crc32c::crc32c(&segment.to_le_bytes());
    let place = crc32c::crc32c_append(place, &offset.to_le_bytes());
    crc32c::crc32c_append(place, &bytes[..CHECKED_BYTES])
}

fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// Where a record goes and what it follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub segment: u64,
    pub offset: u64,
    pub synced: u64,
    pub previous: u32,
}

/// Appends one record to `buffer` and returns its checksum; `None`, with `buffer` as it was, when
/// the payload is too large.
pub(super) fn encode_record(
    buffer: &mut Vec<u8>,
    place: Place,
    kind: Kind,
    payload: &impl Message,
) -> Option<u32> {
    let payload_bytes = payload.encoded_len();
    if payload_bytes > PAYLOAD_BYTES_MAX {
        return None;
    }
    let start = buffer.len();
    buffer.reserve(HEADER_BYTES + padded(payload_bytes));
    buffer.resize(start + HEADER_BYTES, 0);
    payload.encode_raw(buffer);
    buffer.resize(start + HEADER_BYTES + padded(payload_bytes), 0);
    let payload_checksum = crc32c::crc32c(&buffer[start + HEADER_BYTES..]);

    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
    header[8..16].copy_from_slice(&place.synced.to_le_bytes());
    header[16] = kind as u8;
    header[20..24].copy_from_slice(&place.previous.to_le_bytes());
    header[24..28].copy_from_slice(&payload_checksum.to_le_bytes());
    let checksum = header_checksum(&header, place.segment, place.offset);
    header[CHECKED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
    buffer[start..start + HEADER_BYTES].copy_from_slice(&header);
    Some(checksum)
}

/// The payload of [`Kind::SegmentHead`].
#[derive(Clone, PartialEq, Message)]
pub(super) struct SegmentHead {
    #[prost(uint32, tag = "1")]
    pub format: u32,
    #[prost(uint64, tag = "2")]
    pub segment: u64,
    /// The index after the log's last entry when the segment was begun.
    #[prost(uint64, tag = "3")]
    pub first_index: u64,
    #[prost(uint64, tag = "4")]
    pub cluster_id: u64,
    #[prost(uint64, tag = "5")]
    pub member_id: u64,
    #[prost(message, required, tag = "6")]
    pub hard_state: HardStateRecord,
    #[prost(message, optional, tag = "7")]
    pub mark: Option<MarkRecord>,
    /// Everything before this position was durable when the segment was begun.
    #[prost(uint64, tag = "8")]
    pub synced_segment: u64,
    #[prost(uint64, tag = "9")]
    pub synced_offset: u64,
    /// What may follow the segment's last record in its file.
    #[prost(enumeration = "Tail", tag = "10")]
    pub tail: i32,
}

/// What may follow the last record of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Tail {
    /// Nothing: the file ends there.
    Nothing = 0,
    /// Reserved space: zeros.
    Zeros = 1,
    /// Whatever the older segment left that the file was made of, but no record of this one.
    Leftovers = 2,
}

impl SegmentHead {
    pub fn metadata(&self) -> Metadata {
        Metadata {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
        }
    }

    pub fn synced(&self) -> Position {
        Position {
            segment: self.synced_segment,
            offset: self.synced_offset,
        }
    }
}

/// The payload of [`Kind::HardState`].
#[derive(Clone, PartialEq, Message)]
pub(super) struct HardStateRecord {
    #[prost(uint64, tag = "1")]
    pub term: u64,
    #[prost(uint64, tag = "2")]
    pub vote: u64,
    #[prost(uint64, tag = "3")]
    pub commit: u64,
}

impl From<HardState> for HardStateRecord {
    fn from(state: HardState) -> Self {
        HardStateRecord {
            term: state.term,
            vote: state.vote,
            commit: state.commit,
        }
    }
}

impl From<HardStateRecord> for HardState {
    fn from(record: HardStateRecord) -> Self {
        HardState {
            term: record.term,
            vote: record.vote,
            commit: record.commit,
        }
    }
}

/// The payload of [`Kind::SnapshotMark`].
#[derive(Clone, PartialEq, Message)]
pub(super) struct MarkRecord {
    #[prost(uint64, tag = "1")]
    pub index: u64,
    #[prost(uint64, tag = "2")]
    pub term: u64,
    #[prost(message, required, tag = "3")]
    pub conf_state: vetcdpb::ConfState,
    /// The index of the log's last entry once the mark counts: the mark's own when it stands for
    /// a snapshot that replaced the log. Not used in a segment head.
    #[prost(uint64, tag = "4")]
    pub last_index: u64,
}

impl MarkRecord {
    pub fn new(mark: &SnapshotMark, last_index: u64) -> MarkRecord {
        MarkRecord {
            index: mark.index,
            term: mark.term,
            conf_state: mark.conf_state.clone(),
            last_index,
        }
    }
}

impl From<MarkRecord> for SnapshotMark {
    fn from(record: MarkRecord) -> Self {
        SnapshotMark {
            index: record.index,
            term: record.term,
            conf_state: record.conf_state,
        }
    }
}

/// The payload of [`Kind::Synced`].
#[derive(Clone, PartialEq, Message)]
pub(super) struct Nothing {}
