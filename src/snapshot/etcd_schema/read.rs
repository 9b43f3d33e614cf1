//! From a database to a state and its records, or to a summary.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::{Records, bucket, entry};
use crate::mvcc::{FIRST_REVISION, NEVER_COMPACTED, Record, Restore, RestoreError};
use crate::mvcc::{RevisionKey, State};
use crate::snapshot::bolt::{self, Reader};

/// A database that cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is damaged or no database.
    #[error(transparent)]
    Database(#[from] bolt::Error),
    /// An entry is not what etcd writes.
    #[error("bucket \"{bucket}\": {what}")]
    Entry {
        /// The bucket.
        bucket: String,
        /// The entry and what is wrong with it.
        what: String,
    },
    /// The keys and values do not make a store.
    #[error("bucket \"key\": {0}")]
    Store(#[from] RestoreError),
    /// There is no bucket of keys.
    #[error("not an etcd database: it has no bucket \"key\"")]
    NoKeys,
}

/// What a database holds.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Keys and values, with nothing to report to a backend.
    pub state: State,
    /// Everything else.
    pub records: Records,
    /// Buckets that are none of etcd's; they were passed over.
    pub unknown_buckets: Vec<String>,
}

/// What is gathered from the `key` bucket and the compactions in `meta`.
#[derive(Default)]
struct Store {
    restore: Restore,
    revision: i64,
    scheduled: Option<i64>,
    finished: Option<i64>,
}

impl Store {
    fn key(&mut self, name: &[u8], value: &[u8]) -> Result<(), String> {
        let name = RevisionKey::decode(name).ok_or("its name is no revision")?;
        self.revision = self.revision.max(name.revision.main);
        if value.is_empty() {
            // The mark of a bumped revision.
            return Ok(());
        }
        let record = Record::decode(name, value).ok_or("its value is garbled")?;
        if record.kv.key.is_empty() {
            return Err("it has no key".to_owned());
        }
        self.restore.push(record).map_err(|error| error.to_string())
    }

    fn meta(&mut self, name: &[u8], value: &[u8]) -> Result<(), String> {
        let target = match name {
            entry::SCHEDULED_COMPACTION => &mut self.scheduled,
            entry::FINISHED_COMPACTION => &mut self.finished,
            _ => return Ok(()),
        };
        let name = RevisionKey::decode(value).ok_or("its value is no revision")?;
        *target = Some(name.revision.main);
        Ok(())
    }

    /// As etcd concludes: what is finished was scheduled, and what is compacted has happened.
    fn finish(self) -> Result<State, RestoreError> {
        let finished = self.finished.unwrap_or(NEVER_COMPACTED);
        let scheduled = self.scheduled.unwrap_or(NEVER_COMPACTED).max(finished);
        let revision = self.revision.max(scheduled).max(FIRST_REVISION);
        self.restore.finish(revision, scheduled, finished)
    }
}

/// Reads a whole database. Blocks.
///
/// # Errors
/// Damage, or content that no etcd writes.
pub fn read(reader: &Reader) -> Result<Contents, Error> {
    let mut store = Store::default();
    let mut records = Records::default();
    let mut unknown_buckets = Vec::new();
    let mut has_keys = false;
    let known = Records::default().buckets();
    for found in reader.buckets()? {
        let bucket = String::from_utf8_lossy(found.name()).into_owned();
        if bucket != bucket::KEY && !known.contains_key(bucket.as_str()) {
            unknown_buckets.push(bucket);
            continue;
        }
        has_keys |= bucket == bucket::KEY;
        let mut take = |name: &[u8], value: &[u8]| {
            let taken = match bucket.as_str() {
                bucket::KEY => store.key(name, value),
                bucket::META => store
                    .meta(name, value)
                    .and_then(|()| records.take(&bucket, name, value)),
                _ => records.take(&bucket, name, value),
            };
            taken.map_err(|what| format!("entry \"{}\": {what}", name.escape_ascii()))
        };
        match reader.for_each(&found, &mut take) {
            Err(bolt::Error::Refused(what)) => return Err(Error::Entry { bucket, what }),
            done => done?,
        }
    }
    if !has_keys {
        return Err(Error::NoKeys);
    }
    Ok(Contents {
        state: store.finish()?,
        records,
        unknown_buckets,
    })
}

/// A summary of a database, as `etcdutl snapshot status` gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// CRC-32C over all buckets' names, entries' names and values.
    pub hash: u32,
    /// The revision of the newest entry; 0 when there is none.
    pub revision: i64,
    /// The number of keys that exist at that revision.
    pub keys: u64,
    /// The database's size, bytes, unused pages included.
    pub bytes: u64,
    /// The schema's version; empty before 3.6.
    pub version: String,
}

/// Checks a database and sums it up. Holds 16 bytes a key. Blocks.
///
/// # Errors
/// Damage, or entries that no etcd writes.
pub fn status(reader: &Reader) -> Result<Status, Error> {
    reader.check()?;
    let mut hash = 0;
    let mut revision = 0;
    let mut version = String::new();
    // Keys by their digest: long ones would take more room.
    let mut keys = BTreeSet::new();
    for found in reader.buckets()? {
        hash = crc32c::crc32c_append(hash, found.name());
        let bucket = String::from_utf8_lossy(found.name()).into_owned();
        let mut take = |name: &[u8], value: &[u8]| {
            hash = crc32c::crc32c_append(hash, name);
            hash = crc32c::crc32c_append(hash, value);
            if bucket == bucket::META && name == entry::STORAGE_VERSION {
                version = String::from_utf8_lossy(value).into_owned();
            }
            if bucket != bucket::KEY {
                return Ok(());
            }
            let place = || format!("entry \"{}\"", name.escape_ascii());
            let decoded = RevisionKey::decode(name);
            let name = decoded.ok_or_else(|| format!("{}: no revision", place()))?;
            revision = name.revision.main;
            let record = Record::decode(name, value);
            let record = record.ok_or_else(|| format!("{}: garbled value", place()))?;
            let digest: [u8; 32] = Sha256::digest(&record.kv.key).into();
            let (digest, _) = digest.split_first_chunk::<16>().expect("32 bytes hold 16");
            match name.tombstone {
                true => drop(keys.remove(digest)),
                false => drop(keys.insert(*digest)),
            }
            Ok(())
        };
        match reader.for_each(&found, &mut take) {
            Err(bolt::Error::Refused(what)) => return Err(Error::Entry { bucket, what }),
            done => done?,
        }
    }
    Ok(Status {
        hash,
        revision,
        keys: keys.len() as u64,
        bytes: reader.bytes(),
        version,
    })
}
