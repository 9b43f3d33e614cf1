//! What changed since the last look: the input of a backend commit.

use std::sync::Arc;

use super::{Record, Revision, RevisionKey, State};
use crate::lease;

/// The difference between two states of the store, as the backend needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes {
    /// New records, in revision order, that are still held.
    pub records: Vec<Arc<Record>>,
    /// Records that an earlier difference brought and that are gone since.
    pub removed: Vec<RevisionKey>,
    /// [`State::revision`] after the changes.
    pub revision: i64,
    /// [`State::compact_revision`] after the changes.
    pub compact_revision: i64,
    /// [`State::compact_finished`] after the changes.
    pub compact_finished: i64,
    /// Leases granted, checkpointed and revoked.
    pub leases: lease::Changes,
}

impl State {
    /// Everything that happened since the last call, which the caller must make durable in one
    /// piece. Its size is bounded by how often the caller asks. A state that was loaded, or built
    /// by [`super::Restore`], starts with nothing to report.
    pub fn take_changes(&mut self) -> Changes {
        let from = Revision {
            main: self.taken_revision + 1,
            sub: 0,
        };
        let new = self.records.range(from..);
        let changes = Changes {
            records: new.map(|(_, record)| record.clone()).collect(),
            removed: self.removed.iter().copied().collect(),
            revision: self.revision,
            compact_revision: self.compact_revision,
            compact_finished: self.compact_finished,
            leases: self.leases.take_changes(),
        };
        self.taken_revision = self.revision;
        self.removed.clear();
        changes
    }

    /// How many leases and removed records [`State::take_changes`] would report, and about how many
    /// main revisions as new: a caller that batches by size asks this.
    pub fn pending_changes(&self) -> usize {
        let new = usize::try_from(self.revision - self.taken_revision).unwrap_or(usize::MAX);
        new.saturating_add(self.removed.len())
            .saturating_add(self.leases.pending_changes())
    }
}
