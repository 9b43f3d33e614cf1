//! This server's state as etcd's database, and back.
//!
//! Every replicated part of [`Published`] has its place here, in both directions: what is missing
//! from [`records`] is lost by `etcdctl snapshot save`, what is missing from [`adopt`] is lost by a
//! restore.

use super::Alarms;
use super::Published;
use crate::api::STORAGE_VERSION;
use crate::snapshot::etcd_schema::{LeaseRecord, Records};

/// Everything in `published` but keys and values.
pub fn records(published: &Published) -> Records {
    let leases = published.state.leases().iter();
    Records {
        leases: leases
            .map(|lease| LeaseRecord {
                id: lease.id,
                ttl: lease.ttl,
                remaining_ttl: lease.remaining_ttl,
            })
            .collect(),
        alarms: published.alarms.to_wire(),
        members: published.members.to_wire(),
        removed_members: published.members.removed().collect(),
        consistent_index: published.index,
        term: published.term,
        conf_state: Some(published.conf_state.clone()),
        // Without the cluster's version an etcd of any version may take the database over; it
        // agrees on one with its peers when it starts.
        cluster_version: None,
        storage_version: Some(STORAGE_VERSION.to_owned()),
        ..Records::default()
    }
}

/// What a database says that this server cannot keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftBehind {
    /// Users and roles.
    pub users_and_roles: usize,
    /// Whether requests needed a user.
    pub auth_enabled: bool,
}

/// Takes over, into a state that has the keys and values already, what of `records` outlives a
/// restore: everything but the old cluster's members and its place in the old log.
pub fn adopt(records: &Records, published: &mut Published) -> LeftBehind {
    published.alarms = Alarms::from_wire(records.alarms.iter().copied());
    let index = published.index;
    for lease in &records.leases {
        // etcd grants no lease that this refuses.
        if let Ok(granted) = published.state.grant_lease(lease.id, lease.ttl, index) {
            let left = lease.remaining_ttl.min(granted.ttl);
            published.state.checkpoint_lease(lease.id, index, left);
        }
    }
    LeftBehind {
        users_and_roles: records.auth.users.len() + records.auth.roles.len(),
        auth_enabled: records.auth.enabled,
    }
}
