//! The raft log as raft-rs reads it: in memory, from the last compaction on.
//!
//! Entries stand here from the moment raft hands them out for persisting; the WAL makes them
//! durable behind it. Memory is bounded by log compaction: entries up to `snapshot-catchup-entries`
//! behind the last compaction are kept for followers that lag a little.

use std::collections::VecDeque;
use std::sync::Arc;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::server::Published;

type Latest = dyn Fn() -> Option<Arc<Published>> + Send + Sync;

/// What raft-rs knows of the log.
pub struct LogStore {
    hard_state: HardState,
    conf_state: ConfState,
    /// Index and term of the entry before the first one kept.
    compacted: (u64, u64),
    entries: VecDeque<Entry>,
    /// Gives the store as applied so far, if it has been read, to offer it as a snapshot.
    latest: Box<Latest>,
}

impl LogStore {
    /// A log that starts behind `compacted` (index, term) and holds `entries`, which follow it
    /// without a gap.
    pub fn new(
        hard_state: HardState,
        conf_state: ConfState,
        compacted: (u64, u64),
        entries: Vec<Entry>,
        latest: impl Fn() -> Option<Arc<Published>> + Send + Sync + 'static,
    ) -> LogStore {
        for (offset, entry) in entries.iter().enumerate() {
            assert_eq!(
                entry.index,
                compacted.0 + 1 + offset as u64,
                "log has a gap"
            );
        }
        LogStore {
            hard_state,
            conf_state,
            compacted,
            entries: entries.into(),
            latest: Box::new(latest),
        }
    }

    /// Index of the last entry.
    pub fn last(&self) -> u64 {
        self.compacted.0 + self.entries.len() as u64
    }

    /// The term of the entry at `index`, if it is kept or the last one compacted.
    pub fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.compacted.0 {
            return Some(self.compacted.1);
        }
        let offset = index.checked_sub(self.compacted.0 + 1)?;
        Some(self.entries.get(offset as usize)?.term)
    }

    /// Appends entries; those at or behind the first one's index are replaced.
    pub fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else {
            return;
        };
        assert!(
            first.index > self.compacted.0 && first.index <= self.last() + 1,
            "entry {} does not follow a log of {}..={}",
            first.index,
            self.compacted.0 + 1,
            self.last()
        );
        self.entries
            .truncate((first.index - self.compacted.0 - 1) as usize);
        self.entries.extend(entries.iter().cloned());
    }

    /// Drops entries up to `index`, as far as it is kept.
    pub fn compact(&mut self, index: u64) {
        if index <= self.compacted.0 {
            return;
        }
        let term = self
            .term_of(index)
            .expect("the log is compacted only up to applied entries, which it holds");
        self.entries.drain(..(index - self.compacted.0) as usize);
        self.compacted = (index, term);
    }

    /// Replaces the whole log by an installed snapshot.
    pub fn reset_to(&mut self, snapshot: &Snapshot) {
        let metadata = snapshot.get_metadata();
        self.entries.clear();
        self.compacted = (metadata.index, metadata.term);
        self.conf_state = metadata.get_conf_state().clone();
    }

    /// Remembers the newest hard state.
    pub fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }
}

impl Storage for LogStore {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(
            self.hard_state.clone(),
            self.conf_state.clone(),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.compacted.0 {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let limit = max_size.into().unwrap_or(u64::MAX);
        let start = (low - self.compacted.0 - 1) as usize;
        let mut bytes = 0u64;
        let mut wanted = Vec::new();
        for entry in self
            .entries
            .range(start..(high - self.compacted.0 - 1) as usize)
        {
            bytes = bytes.saturating_add(approximate_size(entry));
            if bytes > limit && !wanted.is_empty() {
                break;
            }
            wanted.push(entry.clone());
        }
        Ok(wanted)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        self.term_of(index).ok_or_else(|| {
            if index < self.compacted.0 {
                StorageError::Compacted.into()
            } else {
                StorageError::Unavailable.into()
            }
        })
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.compacted.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let least = request_index.max(self.compacted.0);
        let Some(latest) = (self.latest)().filter(|latest| latest.index >= least) else {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        };
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = latest.index;
        metadata.term = latest.term;
        metadata.set_conf_state(super::convert::conf_state_from_wire(
            latest.conf_state.clone(),
        ));
        Ok(snapshot)
    }
}

/// The entry's size on the wire, closely enough for limits (bytes).
pub fn approximate_size(entry: &Entry) -> u64 {
    (entry.data.len() + entry.context.len() + 24) as u64
}
