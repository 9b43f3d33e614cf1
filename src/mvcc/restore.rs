//! Building a state from its records, as read from the backend or a snapshot.
//!
//! The records come from a disk or a peer, so nothing is taken on trust: whatever could not have
//! been written by this code is refused.

use std::sync::Arc;

use bytes::Bytes;
use im::OrdMap;

use crate::api::proto::vetcdpb::LeaseRecord;
use crate::lease::{self, Leases};

use super::record::KeyHistory;
use super::{FIRST_REVISION, NEVER_COMPACTED, Record, Revision, State};

/// No store lives long enough to reach this; a number above it is damage, and adding to one below
/// it cannot overflow.
pub(super) const NUMBER_MAX: i64 = i64::MAX / 2;

/// Takes the records of a store in revision order and makes a [`State`] of them.
#[derive(Debug, Default)]
pub struct Restore {
    /// In revision order.
    records: Vec<Arc<Record>>,
    leases: Leases,
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
    /// When the record is none, or not above the one before. Whether it can follow its key's earlier
    /// versions is seen at the end.
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
        self.records.push(Arc::new(record));
        self.last = Some(found);
        Ok(())
    }

    /// Adds a lease.
    ///
    /// # Errors
    /// When it is none, or there already.
    pub fn push_lease(&mut self, lease: &LeaseRecord) -> Result<(), lease::RestoreError> {
        self.leases.restore(lease)
    }

    /// Ends the records. `revision`, `compact_revision` and `compact_finished` are the store's,
    /// kept beside its records: records alone do not tell, since the newest may be compacted away
    /// (#17780). A compaction that had not finished is begun again by [`State::compact_step`].
    ///
    /// # Errors
    /// When the revisions cannot be those of a store with these records, or a record cannot follow
    /// the version before it of the same key.
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
        let mut state = State {
            leases: self.leases,
            ..State::new()
        };
        state.fill(self.records)?;
        state.revision = revision;
        state.compact_revision = compact_revision;
        state.compact_finished = compact_finished;
        state.taken_revision = revision;
        Ok(state)
    }
}

impl State {
    /// Takes the records of an empty store, in revision order. Boot time is made of this: looking
    /// each key up in a growing map would miss the caches at every comparison, so the records are
    /// put in the order of their keys first.
    fn fill(&mut self, mut records: Vec<Arc<Record>>) -> Result<(), RestoreError> {
        let mut keys: Vec<(Bytes, KeyHistory)> = Vec::new();
        for (_, place) in by_key(&records) {
            let record = &mut records[place];
            let revision = record.revision;
            let impossible = |reason| RestoreError::Impossible { revision, reason };
            match keys.last_mut().filter(|(key, _)| *key == record.kv.key) {
                Some((key, history)) => {
                    if let Some(previous) = history.newest() {
                        check_successor(previous, record).map_err(impossible)?;
                    }
                    if let Some(unshared) = Arc::get_mut(record) {
                        // One copy of each key is kept.
                        unshared.kv.key = key.clone();
                    }
                    history.push(record.clone());
                }
                None => {
                    check_oldest(record).map_err(impossible)?;
                    keys.push((record.kv.key.clone(), KeyHistory::new(record.clone())));
                }
            }
        }
        for (key, history) in &keys {
            let lease = history.newest().map_or(0, |newest| newest.kv.lease);
            if lease != 0 {
                self.attached.insert((lease, key.clone()));
            }
        }
        let keys = keys.into_iter();
        self.keys = packed(keys.map(|(key, history)| (key, Arc::new(history))));
        let records = records.into_iter();
        self.records = packed(records.map(|record| (record.revision, record)));
        Ok(())
    }
}

/// The places of `records` by key, and by revision within a key. What is compared stands in the list
/// itself, as far as it is enough to tell two keys apart: the 16 bytes behind what all have in common.
fn by_key(records: &[Arc<Record>]) -> Vec<(u128, usize)> {
    let Some(first) = records.first().map(|record| &record.kv.key) else {
        return Vec::new();
    };
    let common = records.iter().fold(first.len(), |common, record| {
        let pairs = first[..common].iter().zip(&record.kv.key);
        pairs.take_while(|(a, b)| a == b).count()
    });
    let listed = records.iter().enumerate().map(|(place, record)| {
        let mut start = [0; 16];
        for (to, from) in start.iter_mut().zip(&record.kv.key[common..]) {
            *to = *from;
        }
        (u128::from_be_bytes(start), place)
    });
    let mut places: Vec<(u128, usize)> = listed.collect();
    places.sort_unstable_by(|a, b| {
        let key = |place: usize| &records[place].kv.key;
        let whole = || key(a.1).cmp(key(b.1)).then(a.1.cmp(&b.1));
        a.0.cmp(&b.0).then_with(whole)
    });
    places
}

/// A map of what comes in ascending order. Inserted like that it would leave the tree's nodes half
/// empty; every second entry first, and then those between, fills them.
fn packed<K: Ord + Clone, V: Clone>(ascending: impl Iterator<Item = (K, V)>) -> OrdMap<K, V> {
    let mut map = OrdMap::new();
    let mut between = Vec::with_capacity(ascending.size_hint().0 / 2);
    for (place, (key, value)) in ascending.enumerate() {
        match place % 2 {
            0 => _ = map.insert(key, value),
            _ => between.push((key, value)),
        }
    }
    map.extend(between);
    map
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
pub(super) fn check_successor(previous: &Record, record: &Record) -> Result<(), &'static str> {
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
