//! One number for everything replicated that a member holds, to compare members by at equal applied
//! index. etcd's own hashes cover keys and values only; two members that agree on those and not on
//! who votes are worse off than two that disagree on a value.

use prost::Message;

use crate::api::proto::vetcdpb::BackendMeta;

use super::Published;

/// The hash of all replicated state: keys and values, the membership as clients and as raft know
/// it, removed members, alarms. Takes time in proportion to the records held.
pub fn state_hash(published: &Published) -> u64 {
    let keys = published.state.hash(0);
    let keys = keys.map_or(0, |hash| u64::from(hash.hash));
    let mut conf_state = published.conf_state.clone();
    conf_state.voters.sort_unstable();
    conf_state.learners.sort_unstable();
    let rest = BackendMeta {
        conf_state: Some(conf_state),
        members: published.members.to_wire(),
        removed_members: published.members.removed().collect(),
        alarms: published.alarms.to_wire(),
        ..Default::default()
    };
    keys << 32 | u64::from(crc32c::crc32c(&rest.encode_to_vec()))
}
