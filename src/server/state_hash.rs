//! One number for everything replicated that a member holds, to compare members by at equal applied
//! index. etcd's own hashes cover keys and values only; two members that agree on those and not on
//! who votes are worse off than two that disagree on a value.

use prost::Message;

use crate::api::proto::vetcdpb::BackendMeta;

use super::Published;

/// The hash of all replicated state: keys and values (etcd's hash, at the newest revision), leases,
/// the membership as clients and as raft know it, removed members, alarms, users
/// and roles. Takes time in proportion
/// to the state: run it on a clone, aside.
pub fn state_hash(published: &Published) -> u64 {
    // Only an old revision can be refused, and 0 is the newest.
    let keys = published.state.hash(0).map_or(0, |hash| hash.hash);
    let mut conf_state = published.conf_state.clone();
    conf_state.voters.sort_unstable();
    conf_state.learners.sort_unstable();
    let small = BackendMeta {
        conf_state: Some(conf_state),
        members: published.members.to_wire(),
        removed_members: published.members.removed().collect(),
        alarms: published.alarms.to_wire(),
        auth: Some(published.auth.to_wire()),
        ..Default::default()
    };
    let small = crc32c::crc32c(&small.encode_to_vec());
    let rest = crc32c::crc32c_append(small, &published.state.leases().hash().to_be_bytes());
    u64::from(keys) << 32 | u64::from(rest)
}
