//! Leases and the keys that hang on them.
//!
//! A key's newest version names its lease. The index from a lease to its keys follows from that and
//! is kept up with every record, in [`State::attach`] alone, so it needs no place on disk: reading
//! the records back builds it again.

use bytes::Bytes;

use super::write::Writer;
use super::{Error, Record, State};
use crate::api::proto::etcdserverpb::DeleteRangeRequest;
use crate::lease::{Lease, Leases};

impl State {
    /// The leases.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// The keys attached to a lease, in order.
    pub fn lease_keys(&self, lease: i64) -> impl Iterator<Item = &Bytes> {
        self.attached
            .range((lease, Bytes::new())..)
            .take_while(move |(of, _)| *of == lease)
            .map(|(_, key)| key)
    }

    /// Grants a lease by the entry at raft `index`.
    ///
    /// # Errors
    /// As [`Leases::grant`].
    pub fn grant_lease(&mut self, id: i64, ttl: i64, index: u64) -> Result<Lease, Error> {
        self.leases.grant(id, ttl, index)
    }

    /// Notes how much of a lease's TTL is left, see [`Leases::checkpoint`].
    pub fn checkpoint_lease(&mut self, id: i64, granted_index: u64, remaining_ttl: i64) {
        self.leases.checkpoint(id, granted_index, remaining_ttl);
    }

    /// Removes a lease and deletes its keys: all in one revision, in key order, as etcd does. A
    /// lease without keys goes without a revision.
    ///
    /// # Errors
    /// `LeaseNotFound`.
    pub fn revoke_lease(&mut self, id: i64) -> Result<Lease, Error> {
        let lease = self.leases.remove(id).ok_or(Error::LeaseNotFound)?;
        let keys: Vec<Bytes> = self.lease_keys(id).cloned().collect();
        let mut writer = Writer::new(self);
        for key in keys {
            writer.delete_range(&DeleteRangeRequest {
                key,
                ..Default::default()
            });
        }
        writer.finish();
        Ok(lease)
    }

    /// Keeps the index up with a record about to become the newest of its key.
    pub(super) fn attach(&mut self, record: &Record) {
        let previous = self.keys.get(&record.kv.key);
        let previous = previous.and_then(|history| history.newest());
        let before = previous.map_or(0, |previous| previous.kv.lease);
        let after = record.kv.lease;
        if before == after {
            return;
        }
        let key = previous.map_or(&record.kv.key, |previous| &previous.kv.key);
        if before != 0 {
            self.attached.remove(&(before, key.clone()));
        }
        if after != 0 {
            self.attached.insert((after, record.kv.key.clone()));
        }
    }
}
