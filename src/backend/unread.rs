//! Reading some keys of a store before it is read as a whole.
//!
//! The store has its records by revision. Which of them belong to a key, a [`KeyIndex`] beside it says,
//! as of the revision it was written at; what was written since is read when the store is opened. So
//! opening takes as long as there is much that the index does not have, however large the store is.
//!
//! **Only what adds up is used**: the store's own count of its records must be those of the index and
//! those read since. After a compaction has removed some it is not, nor where an entry was lost; the
//! store is then read as a whole, which finds out what is wrong, if anything is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use redb::ReadableDatabase;

use super::codec::{self, Totals};
use super::key_index::{Entry, KeyIndex, Version};
use super::tables::{KEY, load_leases, read_meta};
use super::{Backend, Error};
use crate::lease::Leases;
use crate::mvcc::{KeyRanges, Record, Revision, RevisionKey, State};

/// With more records than this behind the index, and more than a quarter of all, reading all of them
/// first takes no longer.
const MOST_RECENT: u64 = 100_000;

/// An open store of which any key can be read.
#[derive(Debug)]
pub(crate) struct Unread {
    backend: Arc<Backend>,
    index: KeyIndex,
    /// What the index does not have, by key, in order.
    recent: BTreeMap<Bytes, Vec<Record>>,
}

impl Unread {
    /// Takes up `index`, which is of this store; `None` when it does not fit what the store holds. The
    /// state knows no key yet. Blocks, for as long as there is much that the index does not have.
    ///
    /// # Errors
    /// The disk's, or damage of what was read.
    pub(crate) fn open(
        backend: Arc<Backend>,
        index: KeyIndex,
    ) -> Result<Option<(Unread, State)>, Error> {
        let mut recent: BTreeMap<Bytes, Vec<Record>> = BTreeMap::new();
        let mut leases = Leases::default();
        let (mut read, mut leases_read, mut fault) = (0, 0, None);
        let (meta, totals) = backend.read(|database| {
            let transaction = database.begin_read()?;
            let (meta, totals) = read_meta(&transaction)?;
            let totals = totals.as_deref().and_then(Totals::decode);
            let expected = totals.and_then(|totals| {
                let expected = totals.records.checked_sub(index.versions())?;
                (expected <= MOST_RECENT.max(totals.records / 4)).then_some(expected)
            });
            let Some(expected) = expected else {
                return Ok((meta, None));
            };
            let table = transaction.open_table(KEY)?;
            for entry in table.range(&*first_after(index.revision())..)? {
                let (name, value) = entry?;
                read += 1;
                let record = codec::decode_record(name.value(), value.value());
                let Some(record) = record.filter(|_| read <= expected) else {
                    return Ok((meta, None));
                };
                let of_key = recent.entry(record.kv.key.clone()).or_default();
                of_key.push(record);
            }
            let push = |lease: &_| leases.restore(lease);
            fault = load_leases(&transaction, push, &mut leases_read)?;
            Ok((meta, Some(expected)))
        })?;
        let meta = meta.decode(&backend.path)?;
        let adds_up = totals == Some(read)
            && fault.is_none()
            && meta.leases == leases_read
            && meta.compact_revision >= index.compact_revision();
        if !adds_up {
            return Ok(None);
        }
        let state = State::unread(
            meta.revision,
            meta.compact_revision,
            meta.compact_finished,
            leases,
        );
        let unread = Unread {
            backend,
            index,
            recent,
        };
        Ok(Some((unread, state)))
    }

    /// About the bytes that the index does not have.
    pub(crate) fn recent_bytes(&self) -> u64 {
        let records = self.recent.values().flatten();
        records.map(Record::bytes).sum()
    }

    /// Every record of `keys`, key by key, oldest first; `None` when there are more than `limit`.
    /// Blocks.
    ///
    /// # Errors
    /// The disk's, or damage.
    pub(crate) fn read(
        &self,
        keys: &KeyRanges,
        limit: usize,
    ) -> Result<Option<Vec<Vec<Record>>>, Error> {
        let mut wanted = Vec::new();
        let mut left = limit;
        for (start, end) in keys.iter() {
            let entries = self.index.entries(start, end, left);
            let entries = entries.map_err(|error| Error::damaged(&self.backend.path, error))?;
            let Some(entries) = entries else {
                return Ok(None);
            };
            for (key, names) in self.with_recent(start, end, entries) {
                let recent = self.recent.get(&key).map_or(&[][..], |recent| recent);
                let Some(rest) = left.checked_sub(names.len() + recent.len()) else {
                    return Ok(None);
                };
                left = rest;
                wanted.push((key, names, recent));
            }
        }
        let mut histories = Vec::with_capacity(wanted.len());
        let mut lost = None;
        self.backend.read(|database| {
            let transaction = database.begin_read()?;
            let table = transaction.open_table(KEY)?;
            for (key, names, recent) in &wanted {
                let mut history = Vec::with_capacity(names.len() + recent.len());
                for name in names {
                    let encoded = name.encode();
                    let value = table.get(&*encoded)?;
                    let record = value.and_then(|v| codec::decode_record(&encoded, v.value()));
                    let Some(record) = record.filter(|record| record.kv.key == *key) else {
                        lost = Some(name.revision);
                        return Ok(());
                    };
                    history.push(record);
                }
                history.extend_from_slice(recent);
                histories.push(history);
            }
            Ok(())
        })?;
        match lost {
            Some(revision) => {
                let what = format!("record {revision} is missing or garbled");
                Err(Error::damaged(&self.backend.path, what))
            }
            None => Ok(Some(histories)),
        }
    }

    /// The keys of the index in a range and those that came later: each with what the index has of it.
    fn with_recent(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        entries: Vec<Entry>,
    ) -> BTreeMap<Bytes, Vec<RevisionKey>> {
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.recent.range::<[u8], _>((Bound::Included(start), end));
        let later: BTreeSet<&Bytes> = later.map(|(key, _)| key).collect();
        let mut keys: BTreeMap<Bytes, Vec<RevisionKey>> = entries
            .into_iter()
            .map(|entry| (entry.key, entry.versions.into_iter().map(name).collect()))
            .collect();
        for key in later {
            keys.entry(key.clone()).or_default();
        }
        keys
    }
}

fn name(version: Version) -> RevisionKey {
    RevisionKey {
        revision: version.revision,
        tombstone: version.tombstone,
    }
}

/// The name before which every record up to main revision `revision` stands.
fn first_after(revision: i64) -> impl std::ops::Deref<Target = [u8]> {
    let revision = Revision {
        main: revision.saturating_add(1),
        sub: 0,
    };
    let name = RevisionKey {
        revision,
        tombstone: false,
    };
    name.encode()
}
