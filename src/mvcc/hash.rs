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

use super::{Error, State};

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
        if revision > 0 && revision < self.compact_revision {
            return Err(Error::Compacted);
        }
        if revision > self.revision {
            return Err(Error::FutureRevision);
        }
        let revision = if revision == 0 {
            self.revision
        } else {
            revision
        };
        let mut hash = crc32c::crc32c(b"key");
        for (at, record) in &self.records {
            if at.main > revision {
                break;
            }
            if at.main <= self.compact_revision {
                let history = self.keys.get(&record.kv.key);
                let visible = history.and_then(|history| history.visible_at(revision));
                if visible.is_none_or(|visible| visible.revision != *at) {
                    continue;
                }
            }
            hash = crc32c::crc32c_append(hash, &record.revision_key().encode());
            hash = crc32c::crc32c_append(hash, &record.encode_value());
        }
        Ok(StateHash {
            hash,
            compact_revision: self.compact_revision,
            revision,
        })
    }
}
