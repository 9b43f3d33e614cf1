//! The log, open for writing: append, sync, mark, release. How it comes to be open is in
//! [`super::open`].
//!
//! Blocking and single-handed: one owner, no tasks, no clock. It never retries a failed write or
//! sync and never writes after one: from the first failure on, every call returns that error.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use prost::Message;

use super::error::Error;
use super::format::encode_record;
use super::format::{HardStateRecord, Kind, MarkRecord, Nothing, PAYLOAD_BYTES_MAX, Place, Tail};
use super::open::{begin_segment, tail};
use super::recovery::FoundSegment;
use super::segment::{Durable, SegmentName, spare_path};
use super::state::State;
use super::{Batch, Metadata, Options, Position};
use crate::defect;
use crate::defects::Defects;
use crate::host::{Disk, File};
use crate::storage::{self, Space};

/// A write buffer that grew beyond this is given back after use.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// A write-ahead log, open for writing.
pub struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    pub(super) metadata: Metadata,
    pub(super) state: State,
    /// The segments before the active one, oldest first.
    pub(super) sealed: VecDeque<FoundSegment>,
    pub(super) active: Active,
    /// Released segments to be written over.
    pub(super) spares: VecDeque<PathBuf>,
    /// The last record's checksum.
    pub(super) chain: u32,
    /// Whether the last record is a synced record.
    pub(super) ends_in_synced: bool,
    /// Everything before this is durable, as far as the log knows.
    pub(super) synced: Position,
    pub(super) never_sync: bool,
    pub(super) defects: Defects,
    pub(super) failed: Option<Error>,
    pub(super) stats: LogStats,
    /// Whether the last attempt to reserve space found none.
    pub(super) short: bool,
    pub(super) space: Arc<Space>,
}

/// The segment being written.
pub(super) struct Active {
    pub name: SegmentName,
    pub path: PathBuf,
    pub file: Arc<dyn File>,
    /// Bytes written.
    pub length: u64,
    /// The file's length: beyond `length` lies reserved space that holds no record.
    pub allocated: u64,
    pub tail: Tail,
    /// The segment head's share of them.
    pub head_bytes: u64,
    /// Bytes written up to the last record that matters; a synced record does not.
    pub content: u64,
    pub highest_index: u64,
    /// Records to be written at `length`.
    pub buffer: Vec<u8>,
}

impl Active {
    pub(super) fn end(&self) -> u64 {
        self.length + self.buffer.len() as u64
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("active", &self.active.path)
            .field("bytes", &self.active.length)
            .field("last_index", &self.state.last_index())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// What a log has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Entries appended.
    pub entries: u64,
    /// Bytes written, headers and padding included.
    pub bytes: u64,
    /// Syncs of a segment that succeeded.
    pub syncs: u64,
}

/// A sync that can run beside further writes; see [`Log::sync_point`].
#[derive(Clone, Debug)]
pub struct SyncPoint {
    file: Arc<dyn File>,
    path: PathBuf,
    position: Position,
}

impl SyncPoint {
    /// Makes everything durable that had been written when the point was taken. Blocks.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data().map_err(storage::failed_sync)
    }
}

impl Log {
    /// From now on nothing is synced, not even a segment that is full; the log then vouches for
    /// nothing, so that whatever a power loss leaves is a torn tail. For [`super::SyncPolicy::None`].
    pub fn never_sync(&mut self) {
        self.never_sync = true;
    }

    /// Builds deliberate mistakes in, for the testbed.
    pub fn choose_defects(&mut self, defects: Defects) {
        self.defects = defects;
    }

    /// Whether a new segment survives a power loss.
    fn durable(&self) -> Durable {
        match self.never_sync {
            true => Durable::No,
            false if defect!(self.defects, NoDirectorySync) => Durable::Nameless,
            false => Durable::Yes,
        }
    }

    /// Whose log it is.
    pub fn metadata(&self) -> Metadata {
        self.metadata
    }

    /// The index of the last entry, or of the mark when no entry follows it; 0 in a new log.
    pub fn last_index(&self) -> u64 {
        self.state.last_index()
    }

    /// What the log has done since it was opened.
    pub fn stats(&self) -> LogStats {
        self.stats
    }

    /// Writes a batch, without making it durable.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] when the batch breaks the rules of a raft log (a gap, a
    /// committed entry replaced, a commit index beyond the log, a mark that moves back) or an entry
    /// is larger than [`PAYLOAD_BYTES_MAX`]. Either is final.
    pub fn append(&mut self, batch: &Batch) -> Result<(), Error> {
        self.append_group(std::slice::from_ref(batch))
    }

    /// Writes several batches in order, with one write (one more for each segment that fills up).
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_group(&mut self, batches: &[Batch]) -> Result<(), Error> {
        self.guarded(|log| {
            for batch in batches {
                log.batch(batch)?;
            }
            log.flush()
        })
    }

    /// Makes everything written so far durable. Does nothing when it is already, or under
    /// [`Log::never_sync`].
    ///
    /// # Errors
    /// [`Error::Io`]. It is final: after a failed sync the operating system may have dropped the
    /// data and still report success the next time.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.guarded(|log| match log.has_unsynced() && !log.never_sync {
            true => log.sync_active(),
            false => Ok(()),
        })
    }

    fn sync_active(&mut self) -> Result<(), Error> {
        let mut synced = self.active.file.sync_data();
        if synced.is_err() && defect!(self.defects, RetryFailedSync) {
            synced = self.active.file.sync_data();
        }
        synced
            .map_err(storage::failed_sync)
            .map_err(Error::io("sync", &self.active.path))?;
        self.stats.syncs += 1;
        self.synced = self.end();
        Ok(())
    }

    /// Whether something that matters was written and is not known to be durable.
    pub fn has_unsynced(&self) -> bool {
        let content = Position {
            segment: self.active.name.segment,
            offset: self.active.content,
        };
        self.synced < content
    }

    /// A sync of everything written so far, to be run by someone else while writes go on; `None`
    /// when there is nothing to sync. Its outcome must be told to [`Log::finish_sync`].
    pub fn sync_point(&self) -> Option<SyncPoint> {
        (self.has_unsynced() && !self.never_sync).then(|| SyncPoint {
            file: self.active.file.clone(),
            path: self.active.path.clone(),
            position: self.end(),
        })
    }

    /// Takes note of how `point`'s sync went.
    ///
    /// # Errors
    /// [`Error::Io`] when it failed; final.
    pub fn finish_sync(&mut self, point: &SyncPoint, outcome: io::Result<()>) -> Result<(), Error> {
        self.guarded(|log| {
            outcome.map_err(Error::io("sync", &point.path))?;
            log.stats.syncs += 1;
            // A segment that was closed meanwhile has been synced already, and more with it.
            log.synced = log.synced.max(point.position);
            Ok(())
        })
    }

    /// Leaves a record that says that everything before it is durable, so that damage to the last
    /// entries can be told from a torn tail. To be called when the log falls idle after a sync; does
    /// nothing when something is un-synced or the log says so already. The record itself is not
    /// synced: it is worth nothing by itself.
    ///
    /// # Errors
    /// [`Error::Io`]; final.
    pub fn mark_synced(&mut self) -> Result<(), Error> {
        self.guarded(|log| {
            if !log.can_mark_synced() {
                return Ok(());
            }
            log.encode(Kind::Synced, &Nothing {})?;
            log.ends_in_synced = true;
            let content = log.active.content;
            log.flush()?;
            log.active.content = content;
            Ok(())
        })
    }

    /// Whether [`Log::mark_synced`] would write something.
    pub fn can_mark_synced(&self) -> bool {
        !self.never_sync && !self.has_unsynced() && !self.ends_in_synced
    }

    /// Removes the oldest segments, as far as they hold no entry after `index` and none after the
    /// newest snapshot mark, and as there are more than [`Options::keep`]; returns how many. The mark is made durable first: once the segments
    /// are gone, it is what the log begins with.
    ///
    /// # Errors
    /// [`Error::Io`]; final.
    pub fn release(&mut self, index: u64) -> Result<usize, Error> {
        self.guarded(|log| log.try_release(index))
    }

    fn try_release(&mut self, index: u64) -> Result<usize, Error> {
        let limit = index.min(self.state.mark_index());
        let spent = |segment: &&FoundSegment| segment.highest_index <= limit;
        let count = self.sealed.iter().take_while(spent).count();
        let segments = self.sealed.len() + 1;
        let count = count.min(segments.saturating_sub(self.options.keep));
        if count == 0 || self.state.mark().is_none() {
            return Ok(0);
        }
        self.sync()?;
        for _ in 0..count {
            let Some(oldest) = self.sealed.front() else {
                break;
            };
            let path = oldest.name.path(&self.dir);
            if self.spares.len() < self.options.spares {
                let spare = spare_path(&path);
                let kept = self.disk.rename(&path, &spare);
                kept.map_err(Error::io("rename", &path))?;
                self.spares.push_back(spare);
            } else {
                let removed = self.disk.remove_file(&path);
                removed.map_err(Error::io("remove", &path))?;
            }
            // One by one: a crash must not be able to leave a gap in the sequence.
            if self.durable() == Durable::Yes {
                let synced = self.disk.sync_dir(&self.dir);
                synced.map_err(Error::io("sync", &self.dir))?;
            }
            self.sealed.pop_front();
        }
        Ok(count)
    }

    /// Runs one operation; its failure is the log's last.
    pub(super) fn guarded<T>(
        &mut self,
        operation: impl FnOnce(&mut Log) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        operation(self).inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn batch(&mut self, batch: &Batch) -> Result<(), Error> {
        if let Some(mark) = &batch.snapshot {
            self.make_room()?;
            let last_index = self.state.last_index_after(mark);
            let allowed = self.state.set_mark(mark.clone(), last_index);
            allowed.map_err(Error::Invalid)?;
            self.encode(Kind::SnapshotMark, &MarkRecord::new(mark, last_index))?;
        }
        for entry in &batch.entries {
            self.make_room()?;
            self.state.entry(entry).map_err(Error::Invalid)?;
            self.encode(Kind::Entry, entry)?;
            self.active.highest_index = self.active.highest_index.max(entry.index);
            self.stats.entries += 1;
        }
        if let Some(hard_state) = batch.hard_state {
            self.make_room()?;
            let allowed = self.state.set_hard_state(hard_state);
            allowed.map_err(Error::Invalid)?;
            self.encode(Kind::HardState, &HardStateRecord::from(hard_state))?;
        }
        Ok(())
    }

    fn end(&self) -> Position {
        Position {
            segment: self.active.name.segment,
            offset: self.active.length,
        }
    }

    /// Adds a record to the buffer.
    fn encode(&mut self, kind: Kind, payload: &impl Message) -> Result<(), Error> {
        let segment = self.active.name.segment;
        let place = Place {
            segment,
            offset: self.active.end(),
            synced: match self.synced.segment == segment {
                true => self.synced.offset,
                false => 0,
            },
            previous: self.chain,
        };
        let checksum = encode_record(&mut self.active.buffer, place, kind, payload);
        self.chain = checksum.ok_or_else(|| {
            let bytes = payload.encoded_len();
            Error::Invalid(format!(
                "a record of {bytes} bytes is too large: {PAYLOAD_BYTES_MAX} is the most"
            ))
        })?;
        self.ends_in_synced = false;
        Ok(())
    }

    /// Writes the buffer out.
    fn flush(&mut self) -> Result<(), Error> {
        if self.active.buffer.is_empty() {
            return Ok(());
        }
        self.allocate()?;
        let active = &mut self.active;
        let written = active.file.write_at(active.length, &active.buffer);
        written.map_err(Error::io("write", &active.path))?;
        active.length = active.end();
        active.allocated = active.allocated.max(active.length);
        active.content = active.length;
        self.stats.bytes += active.buffer.len() as u64;
        active.buffer.clear();
        active.buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    /// Begins the next segment when the active one is full.
    fn make_room(&mut self) -> Result<(), Error> {
        let end = self.active.end();
        if end < self.options.segment_bytes || end <= self.active.head_bytes {
            return Ok(());
        }
        // While the disk is full, whoever looks for space looks for this as well.
        if (self.short && self.spares.is_empty()) || !self.prepare_segment()? {
            return Ok(());
        }
        self.flush()?;
        let segment = self.active.name.segment + 1;
        let name = SegmentName {
            segment,
            first_index: self.state.last_index().saturating_add(1),
        };
        let mut before = self.synced;
        if !self.never_sync {
            // Even when only a synced record is not durable: the chain goes through it.
            if self.synced < self.end() {
                self.sync_active()?;
            }
            before = Position { segment, offset: 0 };
        }
        let spare = self.spares.pop_front();
        let (mut active, chain) = begin_segment(
            &*self.disk,
            &self.dir,
            self.metadata,
            &self.state,
            name,
            before,
            self.chain,
            self.durable(),
            tail(&self.options, spare.as_deref()),
            spare.as_deref(),
        )?;
        std::mem::swap(&mut self.active, &mut active);
        self.active.buffer = active.buffer;
        self.sealed.push_back(FoundSegment {
            name: active.name,
            highest_index: active.highest_index,
            length: active.length,
        });
        self.chain = chain;
        self.ends_in_synced = false;
        self.stats.bytes += self.active.length;
        if !self.never_sync {
            self.synced = self.end();
        }
        Ok(())
    }
}
