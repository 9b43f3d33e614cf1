//! The state hash: etcd's own values, and what it must and must not depend on.

use super::*;

#[test]
fn it_is_etcds_hash() {
    // Taken from etcd 3.5.1 with `etcdctl endpoint hashkv` after the same requests.
    let mut state = State::new();
    let hash = |state: &State| {
        let mut removed = state.clone();
        removed.compact_all(10);
        assert_eq!(
            removed.hash(0),
            state.hash(0),
            "depends on the progress of removal"
        );
        let hash = state.hash(0).unwrap();
        (hash.revision, hash.compact_revision, hash.hash)
    };
    assert_eq!(hash(&state), (1, -1, 1_084_519_789));
    state.apply_put("a", "1");
    state.apply_put("b", "2");
    state.apply_put("a", "3");
    state.delete_range(&delete("b", ""));
    let three = then(vec![
        op(put("c", "x")),
        op(put("d", "y")),
        op(delete("a", "")),
    ]);
    state.apply_txn(&three).unwrap();
    assert_eq!(hash(&state), (6, -1, 988_343_367));
    state.apply_put("c", "z");
    state.apply_put("e", "");
    state.compact(5).unwrap();
    assert_eq!(hash(&state), (8, 5, 2_674_023_258));
    state.compact(6).unwrap();
    assert_eq!(hash(&state), (8, 6, 345_798_476));
    state.apply_put("c", "w");
    assert_eq!(hash(&state), (9, 6, 1_273_232_148));
}

#[test]
fn it_is_taken_at_a_revision() {
    let mut state = State::new();
    state.apply_put("a", "1");
    let before = state.hash(0).unwrap();
    state.apply_put("a", "2");
    assert_ne!(state.hash(0).unwrap().hash, before.hash);
    assert_eq!(state.hash(2).unwrap(), before);
    assert_eq!(state.hash(4), Err(Error::FutureRevision));
    state.compact(3).unwrap();
    assert_eq!(state.hash(2), Err(Error::Compacted));
    assert_eq!(state.hash(3).unwrap().compact_revision, 3);
}

#[test]
fn all_deleted_and_half_removed_still_agree() {
    // Where etcd's own rule depends on the progress of removal.
    let mut state = State::new();
    state.apply_put("a", "1");
    state.apply_put("a", "2");
    state.delete_range(&delete("a", ""));
    state.apply_put("b", "");
    state.delete_range(&delete("b", ""));
    state.compact(5).unwrap();
    let mut half = state.clone();
    half.compact_step(2);
    let mut whole = half.clone();
    whole.compact_all(9);
    assert_eq!(state.hash(0), half.hash(0));
    assert_eq!(state.hash(0), whole.hash(0));
}
