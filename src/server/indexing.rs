//! When the index of the store's keys is written.
//!
//! It lets a member with a large store serve clients before it has read all of it, see
//! [`super::reading`]. It has to be fresh: what is not in it is read at the start. So it is written
//! again, beside everything else, when enough has come since, and after every compaction, which takes
//! records away that it has. It is never needed: when it cannot be written, the member goes on without.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::apply::{Applier, Progress, Signal};
use super::boot::index_owner;
use crate::backend::{self, key_index};
use crate::host::HostExt;
use crate::mvcc::{Changes, State};

/// An index is written again when a sixteenth of the store's bytes is not in it.
const FRESH: u64 = 16;

/// What there is of an index, and whether it is worth a new one.
pub(super) struct Indexing {
    /// The smallest store that gets one (bytes of records).
    from_bytes: u64,
    /// Bytes of records that the index on disk does not have; `None`: it is of no use, or not there.
    missing: Option<u64>,
    /// One is being written. It has everything but so many bytes, or will be of no use.
    writing: Option<Option<u64>>,
    /// It could not be written, and is not tried again.
    gave_up: bool,
    is_wanted: Arc<AtomicBool>,
}

impl Indexing {
    /// `missing` says what the index on disk does not have, if there is one that can be used.
    pub(super) fn new(from_bytes: u64, missing: Option<u64>) -> Indexing {
        Indexing {
            from_bytes,
            missing,
            writing: None,
            gave_up: false,
            is_wanted: Arc::new(AtomicBool::new(true)),
        }
    }

    /// The store is replaced: its index is gone.
    pub(super) fn replaced(&mut self) {
        self.missing = None;
        self.writing = self.writing.map(|_| None);
    }

    /// Takes note of a commit of `changes`, which bring the store to `state`; whether it is `rebuilt` then,
    /// without its index. Whether the index is to be written once that is durable.
    pub(super) fn note(
        &mut self,
        changes: &Changes,
        state: &State,
        store_bytes: u64,
        rebuilt: bool,
    ) -> bool {
        self.missing = missing_after(self.missing, changes);
        self.writing = self.writing.map(|missing| missing_after(missing, changes));
        let is_settled = state.compact_finished() == state.compact_revision();
        let is_stale = self
            .missing
            .is_none_or(|missing| missing > (self.from_bytes / 4).max(store_bytes / FRESH));
        let can = !self.gave_up && self.writing.is_none() && !state.is_partial();
        can && is_settled && (is_stale || rebuilt) && store_bytes >= self.from_bytes
    }
}

impl Drop for Indexing {
    fn drop(&mut self) {
        self.is_wanted.store(false, Ordering::Relaxed);
    }
}

/// About the bytes that an index does not have any more after `changes`; it is of no use once something
/// that it has is removed.
fn missing_after(missing: Option<u64>, changes: &Changes) -> Option<u64> {
    let missing = missing.filter(|_| changes.removed.is_empty())?;
    let came = changes.records.iter().map(|record| record.bytes());
    Some(missing + came.sum::<u64>())
}

impl Applier {
    /// Writes the index of `state`, which the store holds durably.
    pub(super) fn write_index(&mut self, state: State, progress: &Progress) {
        self.indexing.writing = Some(Some(0));
        let (disk, is_wanted) = (self.host.disk(), self.indexing.is_wanted.clone());
        let path = key_index::path_beside(&self.options.path);
        let owner = index_owner(self.identity);
        let writing = self.host.run_blocking(move || {
            let go_on = || is_wanted.load(Ordering::Relaxed);
            key_index::write(&*disk, &path, owner, &state, &go_on)
        });
        let signals = progress.signals.clone();
        let task = async move {
            if let Some(written) = writing.await {
                let _ = signals.send(Signal::Indexed(written));
            }
        };
        self.host.spawn("index-keys", Box::pin(task));
    }

    /// Removes the index, if there is one.
    pub(super) async fn remove_index(&self) {
        let (disk, path) = (self.host.disk(), self.options.path.clone());
        let removing = self
            .host
            .run_blocking(move || backend::remove_index(&*disk, &path));
        if let Some(Err(error)) = removing.await {
            tracing::warn!(%error, "the index of the store's keys stays behind");
        }
    }

    pub(super) async fn on_indexed(&mut self, written: io::Result<bool>) {
        let missing = self.indexing.writing.take().flatten();
        match written {
            Ok(false) => {}
            Ok(true) => {
                self.indexing.missing = missing;
                if missing.is_none() {
                    // It is of a store that has been replaced since, or compacted.
                    self.remove_index().await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the index of the store's keys is not written any more");
                self.indexing.gave_up = true;
            }
        }
    }
}
