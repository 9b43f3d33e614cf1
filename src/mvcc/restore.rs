//! Building a state from its records, as read from the backend or a snapshot.
//!
//! The records come from a disk or a peer, so nothing is taken on trust: whatever could not have
//! been written by this code is refused.

use std::sync::Arc;

use crate::api::proto::vetcdpb::LeaseRecord;
use crate::lease;

use super::record::KeyHistory;
use super::{FIRST_REVISION, NEVER_COMPACTED, Record, Revision, State};

/// No store lives long enough to reach this; a number above it is damage, and adding to one below
/// it cannot overflow.
pub(super) const NUMBER_MAX: i64 = i64::MAX / 2;

/// Takes the records of a store in revision order and makes a [`State`] of them.
#[derive(Debug, Default)]
pub struct Restore {
    state: State,
    last: Option<Revision>,
}

/// Records that no store could have written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A record is not above the one before it.
    #[error("record {found} follows record {previous}")]
    OutOfOrder {
        /// The record before.
        previous: Revision,
        /// The record that should be above it.
        found: Revision,
    },
    /// A record's numbers contradict each other or the key's earlier versions.
    #[error("record {revision} is impossible: {reason}")]
    Impossible {
        /// The record.
        revision: Revision,
        /// What is wrong.
        reason: &'static str,
    },
    /// A lease is not one that a member could have stored.
    #[error(transparent)]
    Lease(#[from] lease::RestoreError),
    /// The store's revisions contradict its records or each other.
    #[error(
        "the store's revisions are impossible: at {revision}, compaction {compact_finished} of \
         {compact_revision} finished, last record {last:?}"
    )]
    Revisions {
        /// The store's revision.
        revision: i64,
        /// The scheduled compaction.
        compact_revision: i64,
        /// The finished compaction.
        compact_finished: i64,
        /// The newest record.
        last: Option<Revision>,
    },
}

impl Restore {
    /// Starts with an empty store.
    pub fn new() -> Restore {
        Restore::default()
    }

    /// Adds the next record.
    ///
    /// # Errors
    /// When the record cannot follow the ones before.
    pub fn push(&mut self, record: Record) -> Result<(), RestoreError> {
        let found = record.revision;
        if let Some(previous) = self.last
            && previous >= found
        {
            return Err(RestoreError::OutOfOrder { previous, found });
        }
        let impossible = |reason| RestoreError::Impossible {
            revision: found,
            reason,
        };
        let main = FIRST_REVISION + 1..=NUMBER_MAX;
        if !main.contains(&found.main) || !(0..=NUMBER_MAX).contains(&found.sub) {
            return Err(impossible("its revision is out of bounds"));
        }
        if record.kv.mod_revision != found.main {
            return Err(impossible("it was modified at another revision"));
        }
        self.state.append_restored(record).map_err(impossible)?;
        self.last = Some(found);
        Ok(())
    }

    /// Adds a lease.
    ///
    /// # Errors
    /// When it is none, or there already.
    pub fn push_lease(&mut self, lease: &LeaseRecord) -> Result<(), RestoreError> {
        Ok(self.state.leases.restore(lease)?)
    }

    /// Ends the records. `revision`, `compact_revision` and `compact_finished` are the store's,
    /// kept beside its records: records alone do not tell, since the newest may be compacted away
    /// (#17780). A compaction that had not finished is begun again by [`State::compact_step`].
    ///
    /// # Errors
    /// When the revisions cannot be those of a store with these records.
    pub fn finish(
        self,
        revision: i64,
        compact_revision: i64,
        compact_finished: i64,
    ) -> Result<State, RestoreError> {
        let newest = self.last.map_or(FIRST_REVISION, |last| last.main);
        let possible = (newest..=NUMBER_MAX).contains(&revision)
            && (NEVER_COMPACTED..=revision).contains(&compact_revision)
            && (NEVER_COMPACTED..=compact_revision).contains(&compact_finished);
        if !possible {
            return Err(RestoreError::Revisions {
                revision,
                compact_revision,
                compact_finished,
                last: self.last,
            });
        }
        let mut state = self.state;
        state.revision = revision;
        state.compact_revision = compact_revision;
        state.compact_finished = compact_finished;
        state.taken_revision = revision;
        Ok(state)
    }
}

impl State {
    /// [`State::append`] for a record that has yet to be judged. Boot time is made of these calls:
    /// each looks its key up once or, where the key is new, twice, and copies nothing.
    fn append_restored(&mut self, mut record: Record) -> Result<(), &'static str> {
        let (revision, lease) = (record.revision, record.kv.lease);
        let mut leased = 0;
        let record = match self.keys.get_mut(&record.kv.key) {
            Some(history) => {
                let previous = history.newest().ok_or("its key has no history")?;
                check_successor(previous, &record)?;
                leased = previous.kv.lease;
                // One copy of each key is kept.
                record.kv.key = previous.kv.key.clone();
                let record = Arc::new(record);
                Arc::make_mut(history).push(record.clone());
                record
            }
            None => {
                check_oldest(&record)?;
                let record = Arc::new(record);
                let history = KeyHistory::new(record.clone());
                self.keys.insert(record.kv.key.clone(), Arc::new(history));
                record
            }
        };
        if leased != lease {
            self.move_to_lease(&record.kv.key, leased, lease);
        }
        self.records.insert(revision, record);
        Ok(())
    }
}

/// Whether `record` can be the oldest version held of its key; older ones may be compacted.
fn check_oldest(record: &Record) -> Result<(), &'static str> {
    if record.tombstone {
        return Ok(());
    }
    let kv = &record.kv;
    if !(FIRST_REVISION + 1..=kv.mod_revision).contains(&kv.create_revision) {
        return Err("it was created after it was modified, or never");
    }
    if !(1..=NUMBER_MAX).contains(&kv.version) {
        return Err("its version is out of bounds");
    }
    Ok(())
}

/// Whether `record` can be the version right after `previous` of the same key.
fn check_successor(previous: &Record, record: &Record) -> Result<(), &'static str> {
    let (old, new) = (&previous.kv, &record.kv);
    let fits = match (previous.tombstone, record.tombstone) {
        (true, true) => return Err("it deletes a deleted key"),
        (false, true) => true,
        (true, false) => new.version == 1 && new.create_revision == record.revision.main,
        (false, false) => {
            new.version == old.version + 1 && new.create_revision == old.create_revision
        }
    };
    if !fits {
        return Err("it does not continue the key's earlier version");
    }
    Ok(())
}
