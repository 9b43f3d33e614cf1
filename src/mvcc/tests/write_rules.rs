//! Revisions, puts and deletes.

use super::*;

fn revision_of(header: Option<ResponseHeader>) -> i64 {
    header.unwrap().revision
}

#[test]
fn an_empty_store_is_at_revision_one() {
    let state = State::new();
    assert_eq!((state.revision(), state.compact_revision()), (1, -1));
    let response = state.range(&range("a", "")).unwrap();
    assert_eq!(revision_of(response.header), 1);
    assert_eq!((response.count, response.kvs.len()), (0, 0));
}

#[test]
fn every_put_makes_a_revision_even_of_an_equal_value() {
    let mut state = State::new();
    assert_eq!(state.apply_put("a", "1"), 2);
    assert_eq!(state.apply_put("a", "1"), 3);
    let kv = &state.range(&range("a", "")).unwrap().kvs[0];
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 3, 2));
}

#[test]
fn a_key_starts_over_after_its_deletion() {
    let mut state = State::new();
    state.apply_put("a", "1");
    state.apply_put("a", "2");
    let deleted = state.delete_range(&delete("a", ""));
    assert_eq!((deleted.deleted, revision_of(deleted.header)), (1, 4));
    assert_eq!(state.found(&range("a", "")), [""; 0]);
    assert_eq!(state.apply_put("a", "3"), 5);
    let kv = &state.range(&range("a", "")).unwrap().kvs[0];
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
}

#[test]
fn deleting_nothing_changes_nothing() {
    let mut state = State::new();
    state.apply_put("b", "");
    for request in [
        delete("a", ""),
        delete("c", "z"),
        delete("z", "a"),
        delete("c", "\0"),
    ] {
        let response = state.delete_range(&request);
        assert_eq!((response.deleted, revision_of(response.header)), (0, 2));
    }
    assert_eq!(state.revision(), 2);
}

#[test]
fn a_range_delete_takes_one_revision_and_a_sub_revision_per_key() {
    let mut state = State::new();
    for key in ["b", "a", "c"] {
        state.apply_put(key, key);
    }
    let request = DeleteRangeRequest {
        prev_kv: true,
        ..delete("a", "c")
    };
    let response = state.delete_range(&request);
    assert_eq!(response.deleted, 2);
    let previous: Vec<_> = response.prev_kvs.iter().map(|kv| &kv.value[..]).collect();
    assert_eq!(previous, [b"a", b"b"]);
    let tombstones: Vec<_> = state.records_from(5).collect();
    assert_eq!(tombstones.len(), 2);
    for (sub, (record, key)) in tombstones.into_iter().zip(["a", "b"]).enumerate() {
        assert!(record.tombstone);
        assert_eq!((record.revision.main, record.revision.sub), (5, sub as i64));
        assert_eq!(
            (record.kv.key.clone(), record.kv.mod_revision),
            (bytes(key), 5)
        );
    }
}

#[test]
fn the_previous_pair_is_given_when_asked_for() {
    let mut state = State::new();
    let request = PutRequest {
        prev_kv: true,
        ..put("a", "2")
    };
    assert_eq!(state.put(&request).unwrap().prev_kv, None);
    let previous = state.put(&request).unwrap().prev_kv.unwrap();
    assert_eq!((previous.value, previous.mod_revision), (bytes("2"), 2));
    assert_eq!(state.put(&put("a", "3")).unwrap().prev_kv, None);
}

#[test]
fn ignoring_value_or_lease_needs_a_key() {
    let mut state = State::new();
    let keep_value = PutRequest {
        ignore_value: true,
        ..put("a", "")
    };
    let keep_lease = PutRequest {
        ignore_lease: true,
        ..put("a", "new")
    };
    assert_eq!(state.put(&keep_value), Err(Error::KeyNotFound));
    assert_eq!(state.put(&keep_lease), Err(Error::KeyNotFound));
    assert_eq!(state.revision(), 1);

    state.set_known_leases(&[-5]);
    let with_lease = PutRequest {
        lease: -5,
        ..put("a", "old")
    };
    state.put(&with_lease).unwrap();
    let kv = |state: &State| state.range(&range("a", "")).unwrap().kvs[0].clone();
    state.put(&keep_lease).unwrap();
    assert_eq!((kv(&state).value, kv(&state).lease), (bytes("new"), -5));
    // A put without a lease detaches the key from its lease.
    state.put(&keep_value).unwrap();
    assert_eq!((kv(&state).value, kv(&state).lease), (bytes("new"), 0));
}

#[test]
fn an_unknown_lease_is_refused() {
    let mut state = State::new();
    let request = PutRequest {
        lease: 77,
        ignore_value: true,
        ..put("a", "")
    };
    // As etcd, which looks at the lease before the key.
    assert_eq!(state.put(&request), Err(Error::LeaseNotFound));
    assert_eq!(state.revision(), 1);
}

#[test]
fn a_stored_pair_does_not_keep_the_request_in_memory() {
    let mut state = State::new();
    let request = Bytes::from(vec![b'x'; 1000]);
    let small = PutRequest {
        key: request.slice(0..1),
        value: request.slice(1..3),
        ..Default::default()
    };
    state.put(&small).unwrap();
    drop(small);
    assert!(request.is_unique());
}
