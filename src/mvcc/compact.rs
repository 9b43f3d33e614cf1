//! Compaction: forgetting the versions that no read at or after a revision can see.
//!
//! Scheduling is immediate and replicated: from then on reads below the revision are refused.
//! Removal is each member's own affair, a few records at a time; nothing observable depends on its
//! progress, and after a restart it starts over and comes to the same end.

use super::restore::NUMBER_MAX;
use super::{Error, Revision, RevisionKey, State, hash};

impl State {
    /// Schedules a compaction: reads below `revision` are refused from now on.
    /// [`State::compact_step`] then removes what became unreachable.
    ///
    /// # Errors
    /// `Compacted` when `revision` is not above the last one, `FutureRevision` when it has not
    /// happened.
    pub fn compact(&mut self, revision: i64) -> Result<(), Error> {
        if revision <= self.compact_revision {
            return Err(Error::Compacted);
        }
        if revision > self.revision {
            return Err(Error::FutureRevision);
        }
        self.compact_revision = revision;
        self.compact_cursor = Revision::ZERO;
        self.compact_hash = hash::empty();
        Ok(())
    }

    /// Raises the revision by `amount` and schedules the compaction of everything before, so that
    /// no revision a client may have seen is ever given to something else (`--bump-revision`).
    /// Only for a store that is being restored: its backend must be written anew. Returns whether
    /// there are so many revisions.
    pub fn bump_revision(&mut self, amount: u64) -> bool {
        let bumped = self.revision.checked_add_unsigned(amount);
        let Some(revision) = bumped.filter(|bumped| *bumped <= NUMBER_MAX) else {
            return false;
        };
        self.revision = revision;
        self.taken_revision = revision;
        self.compact_revision = revision;
        self.compact_cursor = Revision::ZERO;
        self.compact_hash = hash::empty();
        true
    }

    /// Examines up to `max_records` records of the scheduled compaction (at least one) and removes
    /// the superseded ones. Returns whether there is more to do.
    ///
    /// Of each key the newest version at or below the compaction revision stays. A tombstone stays
    /// only at exactly that revision, where a watch may still start and must see it (#18089).
    pub fn compact_step(&mut self, max_records: usize) -> bool {
        if self.compact_finished == self.compact_revision {
            return false;
        }
        let limit = max_records.max(1);
        let due: Vec<RevisionKey> = self
            .records_at_or_after(self.compact_cursor.next())
            .map(|record| record.revision_key())
            .take(limit)
            .take_while(|name| name.revision.main <= self.compact_revision)
            .collect();
        for &name in &due {
            if self.is_superseded(name) {
                self.remove(name);
            } else if !name.tombstone {
                let left = &self.records[&name.revision];
                self.compact_hash = hash::append(self.compact_hash, left);
            }
        }
        if let Some(last) = due.last() {
            self.compact_cursor = last.revision;
        }
        if due.len() < limit {
            self.compact_finished = self.compact_revision;
            self.keep_compact_hash();
        }
        self.compact_finished != self.compact_revision
    }

    fn is_superseded(&self, name: RevisionKey) -> bool {
        let record = &self.records[&name.revision];
        let history = self.keys.get(&record.kv.key);
        let newest = history
            .and_then(|history| history.newest_at(self.compact_revision))
            .expect("every record is in its key's history");
        newest.revision != name.revision
            || (name.tombstone && name.revision.main < self.compact_revision)
    }

    fn remove(&mut self, name: RevisionKey) {
        let record = self
            .records
            .remove(&name.revision)
            .expect("a record is removed once");
        let history = self
            .keys
            .get_mut(&record.kv.key)
            .expect("every record is in its key's history");
        if std::sync::Arc::make_mut(history).remove_oldest(name.revision) {
            self.keys.remove(&record.kv.key);
        }
        // What the backend was never given, it need not remove.
        if name.revision.main <= self.taken_revision {
            self.removed.push_back(name);
        }
    }
}
