//! A state of which only some keys are known: what a member serves while it reads its store.
//!
//! A partial state has the revisions and the leases of the whole one, and of some keys everything that
//! a read at or after the compaction revision can see. **Who asks it about other keys gets a wrong
//! answer**: ask [`State::knows`] first. It takes puts, deletes and transactions of keys it knows, and
//! grants of leases. What needs the whole (compaction, revoking a lease, hashes, the past of a watch)
//! waits for [`State::complete`].

use std::sync::Arc;

use bytes::Bytes;

use super::record::KeyHistory;
use super::restore::check_successor;
use super::{KeyRanges, Record, RestoreError, State};
use crate::lease::Leases;

/// What was known of some keys is not what the store says of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store says otherwise about key {}", .0.escape_ascii())]
pub struct Contradiction(pub Bytes);

impl State {
    /// A state of which no key is known. The revisions are the store's, see [`super::Restore::finish`].
    pub fn unread(
        revision: i64,
        compact_revision: i64,
        compact_finished: i64,
        leases: Leases,
    ) -> State {
        State {
            known: Some(Arc::default()),
            leases,
            revision,
            taken_revision: revision,
            compact_revision,
            compact_finished,
            ..State::new()
        }
    }

    /// Whether there are keys that this state does not know.
    pub fn is_partial(&self) -> bool {
        self.known.is_some()
    }

    /// Whether everything about `keys` is known.
    pub(crate) fn knows(&self, keys: &KeyRanges) -> bool {
        let known = self.known.as_deref();
        known.is_none_or(|known| keys.iter().all(|(start, end)| known.covers(start, end)))
    }

    /// Takes in `keys`: of each the records that a read can still see, in their order. Of keys that
    /// were known before, nothing changes.
    ///
    /// # Errors
    /// When a record cannot follow the one before it; the state is then as before.
    pub(crate) fn learn(
        &mut self,
        keys: &KeyRanges,
        histories: Vec<Vec<Record>>,
    ) -> Result<(), RestoreError> {
        let Some(known) = &self.known else {
            return Ok(());
        };
        let mut learned = Vec::with_capacity(histories.len());
        for records in histories {
            let mut records = records.into_iter();
            let Some(first) = records.next().filter(|r| !known.contains(&r.kv.key)) else {
                continue;
            };
            let mut newest = Arc::new(first);
            let mut history = KeyHistory::new(newest.clone());
            for mut record in records {
                let revision = record.revision;
                let impossible = |reason| RestoreError::Impossible { revision, reason };
                if record.kv.key != newest.kv.key || revision <= newest.revision {
                    return Err(impossible("it does not belong behind the record before it"));
                }
                check_successor(&newest, &record).map_err(impossible)?;
                record.kv.key = newest.kv.key.clone();
                newest = Arc::new(record);
                history.push(newest.clone());
            }
            learned.push((newest.kv.key.clone(), Arc::new(history)));
        }
        for (key, history) in learned {
            self.keys.insert(key, history);
        }
        if let Some(known) = &mut self.known {
            Arc::make_mut(known).extend(keys.clone());
        }
        Ok(())
    }

    /// Makes the state whole: `store` is what the store held when it was read, at the revision where
    /// this one began or at one it has come through since.
    ///
    /// # Errors
    /// When the store contradicts what was known of some key: then the answers given from it were
    /// wrong, or the store is damaged.
    pub(crate) fn complete(&mut self, store: State) -> Result<(), Contradiction> {
        let Some(known) = &self.known else {
            return Ok(());
        };
        let upto = store.revision;
        for (key, history) in &self.keys {
            let own = history.newest_at(upto).filter(|record| !record.tombstone);
            if own != store.visible_at_end(key) {
                return Err(Contradiction(key.clone()));
            }
        }
        for (start, end) in known.iter() {
            let end = end.unwrap_or(b"\0");
            let mut visible = store.visible(start, end, upto);
            if let Some(record) = visible.find(|record| !self.keys.contains_key(&record.kv.key)) {
                return Err(Contradiction(record.kv.key.clone()));
            }
        }
        let partial = std::mem::replace(self, store);
        for record in partial.records_from(upto + 1) {
            self.append(record.clone());
        }
        self.revision = partial.revision;
        self.taken_revision = partial.taken_revision;
        self.leases = partial.leases;
        Ok(())
    }

    fn visible_at_end(&self, key: &[u8]) -> Option<&Arc<Record>> {
        self.keys.get(key)?.visible_at(self.revision)
    }
}
