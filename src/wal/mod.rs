//! The write-ahead log: every raft entry, vote and commit index, on disk before it counts.
//!
//! [`Log`] is the log itself, blocking and single-handed; [`Writer`] is the task that feeds it and
//! groups what it is given; [`SyncPolicy`] says when the disk is asked to make things durable and
//! what is promised for it. The log must never lose what it said was durable, never present
//! anything that was not written, and never repair damage by forgetting: a torn tail is cut, damage
//! below it is refused ([`Error::Damaged`]), and a failed write or sync is final.
//!
//! # The format
//!
//! A log is a directory of *segments*, `<sequence>-<first index>.wal`, both as 16 lower-case
//! hexadecimal digits. Sequence numbers have no gaps. The oldest segments are removed once a
//! snapshot covers them, or kept as `.wal.spare` to be written over by a later one. Names ending in
//! `.wal.tmp` or `.wal.spare` are to be ignored.
//!
//! A segment is a run of *records*, each starting at a multiple of 8 bytes: a header of 32 bytes,
//! a payload, and zeros up to the next multiple of 8. Integers are little-endian.
//!
//! | bytes | header field |
//! |---|---|
//! | 0..4 | `vWAL` |
//! | 4..8 | payload length, without the padding; at most 64 MiB |
//! | 8..16 | *synced*: this many bytes from the start of this segment, and all segments before it, were durable when the record was written; 0 claims nothing |
//! | 16 | kind: 1 segment head, 2 hard state, 3 entry, 4 snapshot mark, 5 synced |
//! | 17..20 | zeros |
//! | 20..24 | *previous*: bytes 28..32 of the record before, across segments; 0 in the very first |
//! | 24..28 | CRC-32C of the payload with its padding |
//! | 28..32 | CRC-32C of: the segment's sequence number (8 bytes), the record's offset in its file (8 bytes), bytes 0..28 |
//!
//! The records of a segment end at the end of its file or, where its head says so, before space that
//! is reserved for more. That is zeros, or whatever the older segment left that the file was made of;
//! none of it passes for a record of the new one, for a header's checksum names its segment.
//!
//! The chain of *previous* fields makes each record vouch for everything before it. That the
//! header's checksum takes in its place means that a header can be recognised on its own, whatever
//! happened to the bytes before it, and that bytes that were copied or left over never pass for a
//! record.
//!
//! Payloads are protocol buffers:
//!
//! - *segment head*, the first record of each segment and only there: 1 format (now 1), 2 the
//!   segment's sequence number, 3 first index (one past the last entry so far), 4 cluster id,
//!   5 member id, 6 hard state, 7 newest snapshot mark if any, 8 and 9 a position (sequence,
//!   offset) before which everything was durable, names included, 10 what may follow
//!   the segment's last record: 0 nothing, 1 zeros, 2 what an older segment left. It repeats the running state, so
//!   a log can be read from any segment on as far as a later snapshot mark makes up for the entries
//!   that are gone.
//! - *hard state*: 1 term, 2 vote, 3 commit index.
//! - *entry*: `vetcdpb.Entry`. An entry replaces all earlier ones with its index or a higher one.
//! - *snapshot mark*: 1 index, 2 term, 3 `vetcdpb.ConfState`, 4 the index of the last entry from
//!   here on. The state up to the mark's index is durable elsewhere; entries up to it, and entries
//!   after field 4, do not count any more. The commit index is at least the mark's.
//! - *synced*: empty. Written when the log falls idle after a sync, for its header's sake.
//!
//! # Which damage is a torn tail
//!
//! After a power loss, any 512-byte sector that was written and not yet synced may hold its old
//! content or zeros while later ones survive, and the file may be shorter. So an unreadable record
//! with readable ones after it may be perfectly legal, or a sign that durable bytes went bad; its
//! looks do not tell. What tells is the *synced* claim that every header carries. **Let P be the
//! highest position claimed by any header found in the log, readable from its predecessors or not,
//! and let D be the first position at which the log does not continue. If D lies before P, bytes
//! that were durable have changed: the log is damaged, and opening it fails. Otherwise no record at
//! D or after it is known to have been durable: that is a torn tail; it is cut at D, durably,
//! before anything is written.** A log whose oldest segment has no valid head, or whose records
//! pass their checksums and yet break the rules of a raft log, is damaged too.
//!
//! Reserved space is where the log ends, and no flaw: the head announces it, it holds what it may and
//! no record of this segment, and if there is a next segment, its
//! head's *previous* is that of the last record before. Durable records that turned to zeros are
//! noticed still, by a claim behind them or by the next segment's head.
//!
//! A position is (sequence, offset), so the rule covers missing and torn segments as well: a new
//! segment is begun only once the one before is durable, and says so, hence damage in any but the
//! last segment is refused (unless the log never syncs, [`SyncPolicy::None`], and so claims
//! nothing).
//!
//! The rule never refuses what a crash can legally leave, since a claim is written only after the
//! sync it speaks of. It cannot notice that the very last synced records went bad if nothing was
//! written after them; that is why an idle log ends in a *synced* record. What remains is damage
//! that strikes together with a power loss, in the moment between a sync and the next write.
//!
//! What an earlier process wrote and could not sync is readable and yet not on the disk: kernels take
//! pages for clean when their sync fails. So opening the log writes everything that is not proven to
//! be durable a second time, to the same place, before it syncs it.
//!
//! # What is synced how
//!
//! Content is synced with fdatasync ([`crate::host::File::sync_data`]), which is enough: it takes
//! along the length and whatever else is needed to read the bytes back, and nothing looks at times.
//! Space reserved ahead ([`Options::allocate_bytes`]) keeps even the length out of most syncs. Names
//! (a segment that is begun, removed or kept) are made durable by a sync of the directory.
//!
//! # Example
//! ```
//! use std::sync::Arc;
//! use vetcd::api::proto::vetcdpb::Entry;
//! use vetcd::host::os::OsDisk;
//! use vetcd::wal::{Batch, Log, Metadata, Options};
//!
//! let dir = tempfile::tempdir().unwrap();
//! let dir = dir.path().join("wal");
//! let disk = Arc::new(OsDisk);
//! let metadata = Metadata { cluster_id: 1, member_id: 2 };
//! let mut log = Log::create(disk.clone(), &dir, metadata, Options::default())?;
//! let entry = Entry { term: 1, index: 1, data: b"a".to_vec().into(), ..Default::default() };
//! log.append(&Batch { entries: vec![entry], ..Batch::default() })?;
//! log.sync()?;
//! drop(log);
//!
//! let (_log, recovered) = Log::open(disk, &dir, Options::default())?;
//! assert_eq!(recovered.entries.len(), 1);
//! # Ok::<(), vetcd::wal::Error>(())
//! ```

pub mod dump;
mod error;
mod format;
mod log;
mod open;
mod policy;
mod put_off;
mod reader;
mod recovery;
mod segment;
mod space;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;

use crate::api::proto::vetcdpb;

pub use error::Error;
pub use format::PAYLOAD_BYTES_MAX;
pub use log::{Log, LogStats, SyncPoint};
pub use policy::{LossWindow, SyncPolicy, parse_duration, show_duration};
pub use put_off::PutOff;
pub use recovery::read;
pub use writer::{Ack, Writer, WriterMetrics};

/// Whose log it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The cluster's id.
    pub cluster_id: u64,
    /// The member's id.
    pub member_id: u64,
}

/// What raft must remember beside its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The current term.
    pub term: u64,
    /// The member voted for in that term; 0 for none.
    pub vote: u64,
    /// The highest index known to be committed. A hint: it may lag and is learnt again.
    pub commit: u64,
}

/// "The state up to `index` is durable elsewhere": in the backend, or in a snapshot file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SnapshotMark {
    /// The index of the last entry the state contains.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The configuration as of that entry.
    pub conf_state: vetcdpb::ConfState,
}

/// What is appended in one go, in this order: the mark, the entries, the hard state.
///
/// The order is the one in which any prefix that survives a crash makes sense: a commit index never
/// points at an entry or a snapshot that is not in the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The entries, contiguous. The first may replace earlier ones that are not committed.
    pub entries: Vec<vetcdpb::Entry>,
    /// The new hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// A new snapshot mark, if there is one. When the log does not hold an entry with the mark's
    /// index and term, the mark stands for an installed snapshot and replaces the whole log.
    pub snapshot: Option<SnapshotMark>,
    /// The term or the vote changed: sync before the acknowledgement, whatever the policy, except
    /// [`SyncPolicy::None`]. Only the [`Writer`] looks at it.
    pub must_sync: bool,
    /// Set by a leader for its own entries; honoured only under the defect `ack-before-sync`.
    pub ack_early: bool,
}

/// How a log is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment that has reached this many bytes is closed and the next one begun. May vary from
    /// one opening to the next.
    pub segment_bytes: u64,
    /// Space is reserved so many bytes at a time, and never beyond a full segment and what is kept in
    /// reserve; 0 reserves nothing. May vary as well.
    pub allocate_bytes: u64,
    /// So much more space is kept reserved behind the last record, and in the next segment before it
    /// is begun, for a disk that runs full: see [`Log::is_short`]. Only beside `allocate_bytes`; 0
    /// keeps none. May vary as well.
    pub reserve_bytes: u64,
    /// So many released segments are kept, to be written over by later ones; 0 removes them all.
    pub spares: usize,
    /// Segments beyond this number are removed once they are released; up to it they stay.
    pub keep: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            allocate_bytes: 0,
            reserve_bytes: 0,
            spares: 0,
            keep: 0,
        }
    }
}

/// What a log held when it was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered {
    /// Whose log it is.
    pub metadata: Metadata,
    /// The last hard state; its commit index is between the mark's index and the last entry's.
    pub hard_state: HardState,
    /// The newest snapshot mark.
    pub snapshot: Option<SnapshotMark>,
    /// The entries after the newest mark, contiguous from the index after it (1 without a mark).
    pub entries: Vec<vetcdpb::Entry>,
    /// The torn tail that was cut, if there was one.
    pub torn: Option<TornTail>,
}

/// Un-synced bytes at the end of the log that a crash left unusable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment in which the tear begins.
    pub file: PathBuf,
    /// Where in that file.
    pub offset: u64,
    /// How many bytes were cut, later segments included.
    pub bytes: u64,
}

/// A place in the log, comparable across segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    segment: u64,
    offset: u64,
}
