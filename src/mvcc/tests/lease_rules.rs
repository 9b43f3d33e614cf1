//! What keys and leases have to do with each other. Compared with etcd 3.5.1.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn with_leases(ids: &[i64]) -> State {
    let mut state = State::new();
    for (id, index) in ids.iter().zip(2..) {
        state.grant_lease(*id, 10, index).unwrap();
    }
    state
}

fn attach(state: &mut State, key: &str, lease: i64) {
    let request = PutRequest {
        lease,
        ..put(key, "v")
    };
    state.put(&request).unwrap();
}

fn keys(state: &State, lease: i64) -> Vec<Bytes> {
    state.check_maps();
    state.lease_keys(lease).cloned().collect()
}

#[test]
fn a_key_hangs_on_the_lease_of_its_newest_version() {
    let mut state = with_leases(&[1, 2]);
    attach(&mut state, "b", 1);
    attach(&mut state, "a", 1);
    assert_eq!(keys(&state, 1), [bytes("a"), bytes("b")]);
    attach(&mut state, "a", 2);
    assert_eq!(keys(&state, 1), [bytes("b")]);
    assert_eq!(keys(&state, 2), [bytes("a")]);
    attach(&mut state, "a", 0);
    assert!(keys(&state, 2).is_empty());
    let delete = DeleteRangeRequest {
        key: bytes("b"),
        ..Default::default()
    };
    state.delete_range(&delete);
    assert!(keys(&state, 1).is_empty());
    // A transaction attaches as well.
    let with_lease = PutRequest {
        lease: 2,
        ..put("c", "v")
    };
    let txn = TxnRequest {
        success: vec![RequestOp {
            request: Some(Request::RequestPut(with_lease)),
        }],
        ..Default::default()
    };
    state.txn(&txn, &Defects::default()).unwrap();
    assert_eq!(keys(&state, 2), [bytes("c")]);
    assert_eq!(keys(&state.reloaded(), 2), [bytes("c")]);
}

#[test]
fn revoking_deletes_all_keys_in_one_revision_in_key_order() {
    let mut state = with_leases(&[-7, 8]);
    for key in ["c", "a", "b"] {
        attach(&mut state, key, -7);
    }
    attach(&mut state, "d", 8);
    assert_eq!(state.revision(), 5);
    state.revoke_lease(-7).unwrap();
    assert_eq!(state.revision(), 6);
    let deleted: Vec<_> = state
        .records_from(6)
        .map(|record| {
            assert!(record.tombstone);
            (record.revision.sub, record.kv.key.clone())
        })
        .collect();
    assert_eq!(deleted, [(0, bytes("a")), (1, bytes("b")), (2, bytes("c"))]);
    assert_eq!(keys(&state, 8), [bytes("d")]);
    assert_eq!(state.revoke_lease(-7), Err(Error::LeaseNotFound));
    // Without keys there is no revision.
    state.grant_lease(9, 10, 20).unwrap();
    state.revoke_lease(9).unwrap();
    assert_eq!(state.revision(), 6);
}

#[test]
fn a_put_with_a_revoked_lease_is_refused() {
    let mut state = with_leases(&[1]);
    state.revoke_lease(1).unwrap();
    let request = PutRequest {
        lease: 1,
        ..put("a", "v")
    };
    assert_eq!(state.put(&request), Err(Error::LeaseNotFound));
}

#[test]
fn leases_go_to_the_backend_as_a_difference() {
    let mut state = with_leases(&[1, 2, 3]);
    assert_eq!(state.pending_changes(), 3);
    let changes = state.take_changes().leases;
    assert_eq!((changes.stored.len(), changes.count), (3, 3));
    state.revoke_lease(2).unwrap();
    let changes = state.take_changes().leases;
    assert_eq!(
        (changes.stored.len(), changes.removed, changes.count),
        (0, vec![2], 2)
    );
    assert_eq!(state.pending_changes(), 0);
}
