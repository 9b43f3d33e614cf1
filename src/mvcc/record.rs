//! One version of one key, and the versions of a key in order.

use std::sync::Arc;

use prost::Message;

use super::{Revision, RevisionKey};
use crate::api::proto::mvccpb::KeyValue;

/// One version of one key, or the mark of its deletion.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When it was written.
    pub revision: Revision,
    /// Whether it marks the key's deletion.
    pub tombstone: bool,
    /// What was written. A tombstone has a key and a `mod_revision`, all else is zero.
    pub kv: KeyValue,
}

impl Record {
    /// The length of its key and value: about what it takes in a store.
    pub fn bytes(&self) -> u64 {
        (self.kv.key.len() + self.kv.value.len()) as u64
    }

    /// The record's name on disk.
    pub fn revision_key(&self) -> RevisionKey {
        RevisionKey {
            revision: self.revision,
            tombstone: self.tombstone,
        }
    }

    /// The record's content on disk, as etcd writes it: a tombstone's holds the key alone.
    pub fn encode_value(&self) -> Vec<u8> {
        if self.tombstone {
            let key_alone = KeyValue {
                key: self.kv.key.clone(),
                ..Default::default()
            };
            return key_alone.encode_to_vec();
        }
        self.kv.encode_to_vec()
    }

    /// Reads a record back from its name and content; `None` when the content is not one.
    pub fn decode(name: RevisionKey, value: &[u8]) -> Option<Record> {
        let mut kv = KeyValue::decode(value).ok()?;
        if name.tombstone {
            let key_alone = KeyValue {
                key: kv.key.clone(),
                ..Default::default()
            };
            if kv != key_alone {
                return None;
            }
            kv.mod_revision = name.revision.main;
        }
        Some(Record {
            revision: name.revision,
            tombstone: name.tombstone,
            kv,
        })
    }
}

/// The versions of one key, oldest first; never empty while in the index.
///
/// Persistent like the maps around it: appending to a history that a reader shares copies a few
/// nodes, not the versions.
#[derive(Clone, Debug)]
pub(super) struct KeyHistory {
    versions: im::Vector<Arc<Record>>,
}

impl KeyHistory {
    pub(super) fn new(first: Arc<Record>) -> KeyHistory {
        KeyHistory {
            versions: im::Vector::unit(first),
        }
    }

    pub(super) fn push(&mut self, record: Arc<Record>) {
        assert!(
            self.newest()
                .is_none_or(|newest| newest.revision < record.revision),
            "a key's versions must be written in order"
        );
        self.versions.push_back(record);
    }

    pub(super) fn newest(&self) -> Option<&Arc<Record>> {
        self.versions.last()
    }

    /// All records, oldest first.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Record>> {
        self.versions.iter()
    }

    /// The version that a read at main revision `at` sees; `None` when the key does not exist.
    pub(super) fn visible_at(&self, at: i64) -> Option<&Arc<Record>> {
        self.newest_at(at).filter(|record| !record.tombstone)
    }

    /// The newest record with a main revision of at most `at`, be it a tombstone.
    pub(super) fn newest_at(&self, at: i64) -> Option<&Arc<Record>> {
        let newest = self.newest()?;
        if newest.revision.main <= at {
            return Some(newest);
        }
        self.versions.get(self.first_after(at).checked_sub(1)?)
    }

    /// The records with a main revision of at least `revision`, oldest first.
    pub(super) fn from(&self, revision: i64) -> impl Iterator<Item = &Arc<Record>> {
        let first = self.first_after(revision.saturating_sub(1));
        (first..self.versions.len()).filter_map(|place| self.versions.get(place))
    }

    /// The place of the first record with a main revision above `at`.
    fn first_after(&self, at: i64) -> usize {
        let (mut low, mut high) = (0, self.versions.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.versions.get(middle) {
                Some(record) if record.revision.main <= at => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    /// The oldest version after main revision `after`.
    pub(super) fn after(&self, after: i64) -> Option<&Arc<Record>> {
        let (mut low, mut high) = (0, self.versions.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.versions.get(middle) {
                Some(record) if record.revision.main <= after => low = middle + 1,
                _ => high = middle,
            }
        }
        self.versions.get(low)
    }

    /// Removes the oldest record, which must be the one at `revision`. Returns whether none is
    /// left.
    pub(super) fn remove_oldest(&mut self, revision: Revision) -> bool {
        let oldest = self.versions.pop_front();
        assert!(
            oldest.is_some_and(|oldest| oldest.revision == revision),
            "compaction removes a key's versions from the oldest on"
        );
        self.versions.is_empty()
    }

    /// The revisions of all versions, for the tests.
    #[cfg(test)]
    pub(super) fn revisions(&self) -> Vec<Revision> {
        self.versions.iter().map(|record| record.revision).collect()
    }
}
