//! The replicated half: which leases exist. Pure.

use std::sync::Arc;

use im::{OrdMap, OrdSet};
use prost::Message;

use super::TTL_MAX;
use crate::api::proto::vetcdpb::LeaseRecord;
use crate::mvcc::Error;

/// A granted lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its ID, never 0; negative ones are as good as others.
    pub id: i64,
    /// The TTL granted, seconds.
    pub ttl: i64,
    /// What was left of it at the last checkpoint, seconds; 0 for all of it.
    pub remaining_ttl: i64,
    /// The raft index of its grant: tells it from another lease that had the same ID.
    pub granted_index: u64,
}

impl Lease {
    /// What a new leader gives it, seconds.
    pub fn start_ttl(&self) -> i64 {
        match self.remaining_ttl {
            0 => self.ttl,
            left => left,
        }
    }

    /// Its stored form.
    pub fn to_wire(self) -> LeaseRecord {
        LeaseRecord {
            id: self.id,
            ttl: self.ttl,
            remaining_ttl: self.remaining_ttl,
            granted_index: self.granted_index,
        }
    }

    /// From its stored form.
    ///
    /// # Errors
    /// For what no member could have stored.
    pub fn from_wire(record: &LeaseRecord) -> Result<Lease, RestoreError> {
        let possible = record.id != 0
            && (1..=TTL_MAX).contains(&record.ttl)
            && (0..=record.ttl).contains(&record.remaining_ttl);
        if !possible {
            return Err(RestoreError(record.id));
        }
        Ok(Lease {
            id: record.id,
            ttl: record.ttl,
            remaining_ttl: record.remaining_ttl,
            granted_index: record.granted_index,
        })
    }
}

/// A lease that no member could have stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lease {0:x} is impossible, or doubled")]
pub struct RestoreError(pub i64);

/// What happened to the leases since the last look: the input of a backend commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Leases that are new or changed, by ID.
    pub stored: Vec<Lease>,
    /// Leases that are gone, by ID; some may never have been stored.
    pub removed: Vec<i64>,
    /// How many leases there are now.
    pub count: u64,
}

/// All leases, by ID. Cloning is O(1), every change O(log n).
#[derive(Clone, Debug, Default)]
pub struct Leases {
    all: OrdMap<i64, Arc<Lease>>,
    /// Touched since the last `take_changes`.
    touched: OrdSet<i64>,
}

impl Leases {
    /// One lease.
    pub fn get(&self, id: i64) -> Option<&Lease> {
        self.all.get(&id).map(Arc::as_ref)
    }

    /// Whether there is such a lease.
    pub fn contains(&self, id: i64) -> bool {
        self.all.contains_key(&id)
    }

    /// All leases, by ID.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.all.values().map(Arc::as_ref)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds a lease of `ttl` seconds, granted by the entry at raft `index`.
    ///
    /// # Errors
    /// `LeaseTtlTooLarge`; `LeaseExists`; `LeaseNotFound` for the ID 0, as in etcd.
    pub fn grant(&mut self, id: i64, ttl: i64, index: u64) -> Result<Lease, Error> {
        if id == 0 {
            return Err(Error::LeaseNotFound);
        }
        if ttl > TTL_MAX {
            return Err(Error::LeaseTtlTooLarge);
        }
        if self.contains(id) {
            return Err(Error::LeaseExists);
        }
        let lease = Lease {
            id,
            // Whoever proposed it has raised it to the minimum; this keeps the state possible.
            ttl: ttl.max(1),
            remaining_ttl: 0,
            granted_index: index,
        };
        self.store(lease);
        Ok(lease)
    }

    /// Removes a lease; its keys are the caller's business.
    pub(crate) fn remove(&mut self, id: i64) -> Option<Lease> {
        let lease = self.all.remove(&id)?;
        self.touched.insert(id);
        Some(*lease)
    }

    /// Notes how much of a lease's TTL is left; one that is gone, or granted anew, stays as it is.
    pub fn checkpoint(&mut self, id: i64, granted_index: u64, remaining_ttl: i64) {
        if let Some(lease) = self.get(id).copied()
            && lease.granted_index == granted_index
        {
            self.store(Lease {
                remaining_ttl: remaining_ttl.clamp(0, lease.ttl),
                ..lease
            });
        }
    }

    fn store(&mut self, lease: Lease) {
        self.all.insert(lease.id, Arc::new(lease));
        self.touched.insert(lease.id);
    }

    /// Everything that happened since the last call.
    pub fn take_changes(&mut self) -> Changes {
        let touched = std::mem::take(&mut self.touched);
        let mut changes = Changes {
            count: self.all.len() as u64,
            ..Changes::default()
        };
        for id in touched {
            match self.get(id) {
                Some(lease) => changes.stored.push(*lease),
                None => changes.removed.push(id),
            }
        }
        changes
    }

    /// How many leases [`Leases::take_changes`] would report.
    pub fn pending_changes(&self) -> usize {
        self.touched.len()
    }

    /// Adds a stored lease while a state is read back.
    ///
    /// # Errors
    /// When no member could have stored it.
    pub fn restore(&mut self, record: &LeaseRecord) -> Result<(), RestoreError> {
        let lease = Lease::from_wire(record)?;
        match self.all.insert(lease.id, Arc::new(lease)) {
            None => Ok(()),
            Some(_) => Err(RestoreError(lease.id)),
        }
    }

    /// A checksum of all of it, to compare members by.
    pub fn hash(&self) -> u32 {
        let start = crc32c::crc32c(b"lease");
        self.iter().fold(start, |hash, lease| {
            crc32c::crc32c_append(hash, &lease.to_wire().encode_length_delimited_to_vec())
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn granted(ids: &[i64]) -> Leases {
        let mut leases = Leases::default();
        for (id, index) in ids.iter().zip(2..) {
            leases.grant(*id, 10, index).unwrap();
        }
        leases
    }

    #[test]
    fn grants_are_refused_as_etcd_refuses_them() {
        let mut leases = granted(&[5, -7]);
        assert_eq!(leases.grant(5, 10, 9), Err(Error::LeaseExists));
        assert_eq!(leases.grant(0, 10, 9), Err(Error::LeaseNotFound));
        assert_eq!(
            leases.grant(6, TTL_MAX + 1, 9),
            Err(Error::LeaseTtlTooLarge)
        );
        assert_eq!(leases.grant(6, TTL_MAX, 9).unwrap().ttl, TTL_MAX);
        assert_eq!(leases.grant(8, -3, 9).unwrap().ttl, 1);
        assert_eq!(leases.get(-7).unwrap().granted_index, 3);
    }

    #[test]
    fn changes_are_reported_once_and_as_they_ended() {
        let mut leases = granted(&[1, 2]);
        leases.remove(2);
        let changes = leases.take_changes();
        assert_eq!(changes.stored, [*leases.get(1).unwrap()]);
        assert_eq!((changes.removed, changes.count), (vec![2], 1));
        assert_eq!(leases.take_changes().stored, []);
        leases.checkpoint(1, 2, 4);
        assert_eq!(leases.take_changes().stored[0].remaining_ttl, 4);
    }

    #[test]
    fn a_checkpoint_of_an_earlier_grant_changes_nothing() {
        let mut leases = granted(&[1]);
        leases.remove(1);
        leases.grant(1, 30, 99).unwrap();
        leases.checkpoint(1, 2, 4);
        assert_eq!(leases.get(1).unwrap().start_ttl(), 30);
        leases.checkpoint(1, 99, 4);
        assert_eq!(leases.get(1).unwrap().start_ttl(), 4);
    }

    #[test]
    fn the_hash_tells_leases_apart() {
        let leases = granted(&[1, 2]);
        let mut fewer = leases.clone();
        fewer.remove(2);
        let mut checkpointed = leases.clone();
        checkpointed.checkpoint(2, 3, 4);
        assert_eq!(leases.hash(), granted(&[1, 2]).hash());
        assert_ne!(leases.hash(), fewer.hash());
        assert_ne!(leases.hash(), checkpointed.hash());
    }

    #[test]
    fn what_is_stored_comes_back_and_nothing_else() {
        let leases = granted(&[1, -2]);
        let mut again = Leases::default();
        for lease in leases.iter() {
            again.restore(&lease.to_wire()).unwrap();
        }
        assert_eq!(again.hash(), leases.hash());
        assert_eq!(again.take_changes().stored, []);
        let good = leases.get(1).unwrap().to_wire();
        assert!(again.restore(&good).is_err(), "doubled");
        for bad in [
            LeaseRecord { id: 0, ..good },
            LeaseRecord {
                id: 9,
                ttl: 0,
                ..good
            },
            LeaseRecord {
                id: 9,
                ttl: TTL_MAX + 1,
                ..good
            },
            LeaseRecord {
                id: 9,
                remaining_ttl: 11,
                ..good
            },
            LeaseRecord {
                id: 9,
                remaining_ttl: -1,
                ..good
            },
        ] {
            assert!(again.restore(&bad).is_err(), "{bad:?}");
        }
    }
}
