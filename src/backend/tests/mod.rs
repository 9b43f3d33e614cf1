//! Tests of the store on disk.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod busy;
mod crash;
mod damage;
pub(crate) mod disk;
mod full;
mod round_trip;
mod speed;

use super::*;
use crate::api::proto::etcdserverpb::{DeleteRangeRequest, PutRequest};
use crate::api::proto::vetcdpb::{AuthState, ClusterMember, ConfState};
use bytes::Bytes;
pub(crate) use disk::{CrashDisk, Numbers};

pub(super) const PATH: &str = "data/store";

pub(super) fn path() -> &'static Path {
    Path::new(PATH)
}

/// Metadata that is recognisably that of log index `index`.
pub(crate) fn meta_at(index: u64) -> BackendMeta {
    BackendMeta {
        consistent_index: index,
        term: index / 10,
        conf_state: Some(ConfState {
            voters: vec![1, 2, index],
            ..Default::default()
        }),
        members: vec![ClusterMember {
            id: index,
            name: format!("m{index}"),
            ..Default::default()
        }],
        cluster_id: 7,
        member_id: 8,
        ..Default::default()
    }
}

fn lease(numbers: &mut Numbers) -> i64 {
    i64::try_from(numbers.below(5)).unwrap() - 2
}

/// One random write, sometimes a deletion or a compaction.
pub(crate) fn step(state: &mut State, numbers: &mut Numbers) {
    let key = format!("key/{:02}", numbers.below(40));
    match numbers.below(15) {
        0 => {
            state.delete_range(&DeleteRangeRequest {
                key: Bytes::from(key),
                ..Default::default()
            });
        }
        1 => {
            let back = i64::try_from(numbers.below(20)).unwrap();
            // Refused when it is not above the last one.
            _ = state.compact(state.revision() - back);
        }
        2 => _ = state.compact_step(8),
        // Leases come, go with their keys, and are checkpointed; refusals are part of it.
        3 => {
            let index = numbers.below(1 << 40);
            _ = state.grant_lease(lease(numbers), 60, index);
        }
        4 => _ = state.revoke_lease(lease(numbers)),
        5 => {
            let id = lease(numbers);
            let granted = state
                .leases()
                .get(id)
                .map_or(0, |lease| lease.granted_index);
            state.checkpoint_lease(id, granted, 1 + i64::try_from(numbers.below(60)).unwrap());
        }
        _ => {
            let value = vec![b'v'; usize::try_from(numbers.below(300)).unwrap()];
            let id = lease(numbers);
            let request = PutRequest {
                key: Bytes::from(key),
                value: Bytes::from(value),
                lease: if state.leases().contains(id) { id } else { 0 },
                ..Default::default()
            };
            state.put(&request).unwrap();
        }
    }
}

/// Panics unless the loaded store is `state` at log index `index`.
pub(crate) fn assert_same(loaded: &State, meta: &BackendMeta, state: &State, index: u64) {
    let expected = BackendMeta {
        revision: state.revision(),
        compact_revision: state.compact_revision(),
        compact_finished: state.compact_finished(),
        leases: state.leases().len() as u64,
        ..meta_at(index)
    };
    assert_eq!(*meta, expected);
    assert!(same_records(loaded, state));
}

pub(crate) fn same_records(one: &State, other: &State) -> bool {
    one.revision() == other.revision()
        && one.compact_revision() == other.compact_revision()
        && one.compact_finished() == other.compact_finished()
        && one.records_from(0).eq(other.records_from(0))
        && one.leases().hash() == other.leases().hash()
}
