//! This server's state as etcd's database, and back.
//!
//! Every replicated part of [`Published`] has its place here, in both directions: what is missing
//! from [`records`] is lost by `etcdctl snapshot save`, what is missing from [`adopt`] is lost by a
//! restore.

use prost::Message;

use super::Alarms;
use super::Published;
use crate::api::STORAGE_VERSION;
use crate::api::proto::{authpb, vetcdpb};
use crate::auth;
use crate::snapshot::etcd_schema::{AuthRecords, LeaseRecord, Records};

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
        auth: auth_records(published.auth.to_wire()),
        ..Records::default()
    }
}

/// Takes over, into a state that has the keys and values already, what of `records` outlives a
/// restore: everything but the old cluster's members and its place in the old log.
pub fn adopt(records: &Records, published: &mut Published) {
    published.alarms = Alarms::from_wire(records.alarms.iter().copied());
    let index = published.index;
    for lease in &records.leases {
        // etcd grants no lease that this refuses.
        if let Ok(granted) = published.state.grant_lease(lease.id, lease.ttl, index) {
            let left = lease.remaining_ttl.min(granted.ttl);
            published.state.checkpoint_lease(lease.id, index, left);
        }
    }
    published.auth = auth::State::from_wire(Some(auth_state(&records.auth)));
}

fn auth_records(auth: vetcdpb::AuthState) -> AuthRecords {
    let users = auth.users.into_iter();
    let roles = auth.roles.into_iter();
    AuthRecords {
        enabled: auth.enabled,
        revision: auth.revision,
        users: users
            .map(|user| (user.name.to_vec(), user.encode_to_vec()))
            .collect(),
        roles: roles
            .map(|role| (role.name.to_vec(), role.encode_to_vec()))
            .collect(),
    }
}

/// What cannot be read is left out: the reader of databases has refused it before.
fn auth_state(records: &AuthRecords) -> vetcdpb::AuthState {
    let users = records.users.values();
    let roles = records.roles.values();
    vetcdpb::AuthState {
        enabled: records.enabled,
        // 0 stands for the beginning, which counts as a change here.
        revision: records.revision.max(1),
        users: users
            .filter_map(|user| authpb::User::decode(&**user).ok())
            .collect(),
        roles: roles
            .filter_map(|role| authpb::Role::decode(&**role).ok())
            .collect(),
    }
}
