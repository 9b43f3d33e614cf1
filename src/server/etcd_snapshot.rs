//! This server's state as etcd's database, and back.
//!
//! Every replicated part of [`Published`] has its place here, in both directions: what is missing
//! from [`records`] is lost by `etcdctl snapshot save`, what is missing from [`adopt`] is lost by a
//! restore.

use super::Published;
use crate::api::STORAGE_VERSION;
use crate::snapshot::etcd_schema::Records;

/// Everything in `published` but keys and values.
pub fn records(published: &Published) -> Records {
    Records {
        members: published.members.to_wire(),
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
    /// Leases; their keys stay, but do not expire.
    pub leases: usize,
    /// Users and roles.
    pub users_and_roles: usize,
    /// Whether requests needed a user.
    pub auth_enabled: bool,
    /// Raised alarms.
    pub alarms: usize,
}

/// Takes over, into a state that has the keys and values already, what of `records` outlives a
/// restore: everything but the old cluster's members and its place in the old log.
pub fn adopt(records: &Records, published: &mut Published) -> LeftBehind {
    _ = published;
    LeftBehind {
        leases: records.leases.len(),
        users_and_roles: records.auth.users.len() + records.auth.roles.len(),
        auth_enabled: records.auth.enabled,
        alarms: records.alarms.len(),
    }
}
