//! The store's state machine: revisions, keys, transactions, compaction. Pure.
//!
//! A [`State`] and a request give a new state and a response; nothing here knows of time, disk,
//! network or tasks, so every member that applies the same log holds the same state. What clients
//! can rely on is etcd's behaviour, rule by rule; where etcd's documentation and a running etcd
//! (3.5.1) disagree, the running one is followed and a test says so.
//!
//! **Structure.** Two persistent (copy-on-write) maps share their records: the key index
//! (key → the key's versions, oldest first) and the revision order (revision → record). Cloning a
//! state is O(1), so a reader takes a clone and reads it for as long as it likes while writes go
//! on; a write copies only the few nodes it touches that a reader still shares.
//!
//! **Values live in memory.** The [`crate::backend`] is the durable form, written in batches and
//! read once, at start. The consequence: a member needs memory for every version not yet
//! compacted, and a read never waits for the disk.
//!
//! **Applying never fails half-way.** Everything that can be refused is refused before the first
//! write of a request; after it, failure is a broken invariant and panics.

mod changes;
pub mod check;
mod compact;
mod error;
mod hash;
mod key_ranges;
mod leases;
mod range;
mod record;
mod restore;
mod revision;
#[cfg(test)]
mod tests;
mod txn;
mod write;

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use im::{OrdMap, OrdSet};

use crate::api::proto::etcdserverpb::ResponseHeader;
use crate::lease::Leases;

pub use changes::Changes;
pub use error::{Code, Error};
pub use hash::StateHash;
pub(crate) use key_ranges::KeyRanges;
use record::KeyHistory;
pub use record::Record;
pub use restore::{Restore, RestoreError};
pub use revision::{Revision, RevisionKey};
pub use txn::is_read_only;

/// The revision of an empty store; the first write makes the next one.
pub const FIRST_REVISION: i64 = 1;

/// The compaction revision of a store that was never compacted, as etcd reports it.
pub const NEVER_COMPACTED: i64 = -1;

/// Everything the store holds at one point of the log.
///
/// ```
/// use vetcd::api::proto::etcdserverpb::{PutRequest, RangeRequest};
/// use vetcd::mvcc::State;
///
/// let mut state = State::new();
/// let put = PutRequest { key: "a".into(), value: "1".into(), ..Default::default() };
/// assert_eq!(state.put(&put).unwrap().header.unwrap().revision, 2);
///
/// let before = state.clone(); // O(1); later writes do not show in it
/// state.put(&PutRequest { value: "2".into(), ..put }).unwrap();
/// let get = RangeRequest { key: "a".into(), ..Default::default() };
/// assert_eq!(before.range(&get).unwrap().kvs[0].value, "1");
/// assert_eq!(state.range(&get).unwrap().kvs[0].value, "2");
/// ```
#[derive(Clone, Debug)]
pub struct State {
    /// The versions of each key, oldest first; a key without versions has no entry.
    keys: OrdMap<Bytes, Arc<KeyHistory>>,
    /// The same records in the order they were written.
    records: OrdMap<Revision, Arc<Record>>,
    revision: i64,
    /// Reads below this revision are refused; set when a compaction is scheduled.
    compact_revision: i64,
    /// The last compaction revision whose superseded versions are all removed.
    compact_finished: i64,
    /// How far the running compaction has examined the records.
    compact_cursor: Revision,
    /// The hash of what the running compaction has left so far.
    compact_hash: u32,
    /// Those of finished ones.
    compact_hashes: Arc<Vec<StateHash>>,
    /// Records up to this main revision were handed out by `take_changes`.
    taken_revision: i64,
    /// Records handed out before and removed since the last `take_changes`.
    removed: im::Vector<RevisionKey>,
    leases: Leases,
    /// Lease and key of each live key that hangs on a lease; derived from the keys' versions.
    attached: OrdSet<(i64, Bytes)>,
}

impl Default for State {
    fn default() -> State {
        State::new()
    }
}

impl State {
    /// An empty store, at revision 1.
    pub fn new() -> State {
        State {
            keys: OrdMap::new(),
            records: OrdMap::new(),
            revision: FIRST_REVISION,
            compact_revision: NEVER_COMPACTED,
            compact_finished: NEVER_COMPACTED,
            compact_cursor: Revision::ZERO,
            compact_hash: hash::empty(),
            compact_hashes: Arc::default(),
            taken_revision: FIRST_REVISION,
            removed: im::Vector::new(),
            leases: Leases::default(),
            attached: OrdSet::new(),
        }
    }

    /// The revision of the last change; 1 when there was none.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The lowest revision that can be read; −1 when the store was never compacted.
    pub fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    /// The last compaction whose removals are complete; −1 for none.
    pub fn compact_finished(&self) -> i64 {
        self.compact_finished
    }

    /// The number of records held: versions and tombstones, compacted ones gone.
    pub fn record_count(&self) -> usize {
        self.records.len()
    }

    /// The record written last, if any is held.
    pub fn newest_record(&self) -> Option<&Arc<Record>> {
        self.records.get_max().map(|(_, record)| record)
    }

    /// The records with a main revision of at least `revision`, in the order they were written.
    ///
    /// Complete only from the compaction revision on: below it versions may be missing.
    pub fn records_from(&self, revision: i64) -> impl Iterator<Item = &Arc<Record>> {
        self.records_at_or_after(Revision {
            main: revision,
            sub: 0,
        })
    }

    /// The records at `start` or after it, in the order they were written.
    pub fn records_at_or_after(&self, start: Revision) -> impl Iterator<Item = &Arc<Record>> {
        self.records.range(start..).map(|(_, record)| record)
    }

    /// The version of `key` visible at `revision`, or `None` when it does not exist there or the
    /// revision is compacted. This is how a watch finds an event's previous value.
    pub fn get_at(&self, key: &[u8], revision: i64) -> Option<&Arc<Record>> {
        if revision < self.compact_revision {
            return None;
        }
        self.keys.get(key)?.visible_at(revision)
    }

    /// The first version of `key`, or its deletion, after `revision`, if it is still held.
    pub fn version_after(&self, key: &[u8], revision: i64) -> Option<&Arc<Record>> {
        self.keys.get(key)?.after(revision)
    }

    /// The records of `key` with a main revision of at least `revision`, oldest first; as complete
    /// as [`State::records_from`].
    pub fn versions_from(&self, key: &[u8], revision: i64) -> impl Iterator<Item = &Arc<Record>> {
        let history = self.keys.get(key);
        history
            .into_iter()
            .flat_map(move |history| history.from(revision))
    }

    /// The keys held, in order, each with its records, oldest first.
    pub(crate) fn histories(
        &self,
    ) -> impl Iterator<Item = (&Bytes, impl ExactSizeIterator<Item = &Arc<Record>>)> {
        self.keys.iter().map(|(key, history)| (key, history.iter()))
    }

    /// Adds a record to both maps. It must be the newest of all.
    fn append(&mut self, record: Record) {
        self.attach(&record);
        let record = Arc::new(record);
        if let Some(history) = self.keys.get_mut(&record.kv.key) {
            Arc::make_mut(history).push(record.clone());
        } else {
            let history = KeyHistory::new(record.clone());
            self.keys.insert(record.kv.key.clone(), Arc::new(history));
        }
        let replaced = self.records.insert(record.revision, record);
        assert!(replaced.is_none(), "a revision was given to two records");
    }

    /// The records visible at main revision `at` whose keys lie in the request's range, by key.
    fn visible<'a>(
        &'a self,
        key: &'a [u8],
        range_end: &'a [u8],
        at: i64,
    ) -> impl Iterator<Item = &'a Arc<Record>> {
        let one = range_end.is_empty().then(|| self.keys.get(key)).flatten();
        let end = match range_end {
            b"\0" => Bound::Unbounded,
            end => Bound::Excluded(end),
        };
        let is_range = !range_end.is_empty() && (range_end == b"\0" || key < range_end);
        let many = is_range.then(|| self.keys.range::<_, [u8]>((Bound::Included(key), end)));
        let many = many.into_iter().flatten().map(|(_, history)| history);
        one.into_iter()
            .chain(many)
            .filter_map(move |history| history.visible_at(at))
    }
}

/// A response header that carries a revision alone; the server fills in the rest.
fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision,
        ..Default::default()
    })
}
