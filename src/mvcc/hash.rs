//! A checksum of the store's content at a revision, to compare members by.
//!
//! It is etcd's `HashKV` bit for bit: a CRC-32C over the bucket name `key` and then, in revision
//! order, each record's name and content as etcd stores them. Records above the compaction revision
//! all count; of those at or below it, only the ones still visible at the hashed revision, for the
//! others may or may not be removed yet. So members that agree give the same hash at the same
//! revision and compaction revision, however far their own removal is and whether they got here by
//! log, restart or snapshot.
//!
//! One difference from etcd: when no key at all is visible, etcd counts every record it still has,
//! which depends on the progress of removal; here the rule holds then too.

use std::sync::Arc;

use super::{Error, Record, State};

/// How many hashes of finished compactions are kept.
const KEPT_COMPACTIONS: usize = 10;

/// The checksum and what it covers. Compare hashes only where both revisions are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateHash {
    /// The checksum.
    pub hash: u32,
    /// The compaction revision it was taken at; −1 for never compacted.
    pub compact_revision: i64,
    /// The last revision it covers.
    pub revision: i64,
}

impl State {
    /// The hash of everything up to `revision`; 0 means the newest. Takes time in proportion to
    /// the records held: run it on a clone, aside.
    ///
    /// # Errors
    /// `Compacted`, `FutureRevision`.
    pub fn hash(&self, revision: i64) -> Result<StateHash, Error> {
        self.hash_as_compacted(revision, self.compact_revision)
    }

    /// The hash that this store will give at `revision` once it is compacted at `compact_revision`;
    /// at its own compaction revision, where that is higher. Of two members at different
    /// compactions the one behind can so answer for the other's.
    ///
    /// # Errors
    /// As [`State::hash`]; `Compacted` also for a compaction revision above `revision`.
    pub fn hash_as_compacted(
        &self,
        revision: i64,
        compact_revision: i64,
    ) -> Result<StateHash, Error> {
        let revision = match revision {
            0 => self.revision,
            _ => revision,
        };
        let compact_revision = compact_revision.max(self.compact_revision);
        if revision > 0 && revision < compact_revision {
            return Err(Error::Compacted);
        }
        if revision > self.revision {
            return Err(Error::FutureRevision);
        }
        let mut hash = empty();
        for (at, record) in &self.records {
            if at.main > revision {
                break;
            }
            if at.main <= compact_revision {
                let history = self.keys.get(&record.kv.key);
                let visible = history.and_then(|history| history.visible_at(revision));
                if visible.is_none_or(|visible| visible.revision != *at) {
                    continue;
                }
            }
            hash = append(hash, record);
        }
        Ok(StateHash {
            hash,
            compact_revision,
            revision,
        })
    }

    /// The hashes that were taken when compactions were complete, oldest first: each of what was
    /// visible at the compaction's revision, which is what it leaves of the revisions up to it. A
    /// compaction that is overtaken by the next one has none. A restart forgets them.
    pub fn compact_hashes(&self) -> impl DoubleEndedIterator<Item = &StateHash> {
        self.compact_hashes.iter()
    }

    /// Notes the hash of the compaction that has just been finished.
    pub(super) fn keep_compact_hash(&mut self) {
        let hashes = Arc::make_mut(&mut self.compact_hashes);
        hashes.push(StateHash {
            hash: self.compact_hash,
            compact_revision: self.compact_revision,
            revision: self.compact_revision,
        });
        let surplus = hashes.len().saturating_sub(KEPT_COMPACTIONS);
        hashes.drain(..surplus);
    }
}

/// The hash of a store without records.
pub(super) fn empty() -> u32 {
    crc32c::crc32c(b"key")
}

/// The hash with one more record in it.
pub(super) fn append(hash: u32, record: &Record) -> u32 {
    let hash = crc32c::crc32c_append(hash, &record.revision_key().encode());
    crc32c::crc32c_append(hash, &record.encode_value())
}
