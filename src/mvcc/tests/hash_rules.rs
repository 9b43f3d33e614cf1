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

/// A store with five keys and a hundred revisions, deletions among them.
fn busy() -> State {
    let mut state = State::new();
    for round in 0..100 {
        let key = ["a", "b", "c", "d", "e"][round * 7 % 5];
        match round % 6 {
            5 => _ = state.delete_range(&delete(key, "")),
            _ => _ = state.apply_put(key, &format!("{round}")),
        }
    }
    state
}

#[test]
fn whoever_is_behind_in_compaction_can_answer_for_the_other() {
    let state = busy();
    for own in [-1, 10, 40] {
        let mut behind = state.clone();
        if own > 0 {
            behind.compact(own).unwrap();
            behind.compact_all(3);
        }
        for other in [41, 60, state.revision()] {
            let mut ahead = behind.clone();
            ahead.compact(other).unwrap();
            let unfinished = ahead.hash(0).unwrap();
            ahead.compact_all(7);
            let hash = ahead.hash(0).unwrap();
            assert_eq!(hash, unfinished);
            assert_eq!(behind.hash_as_compacted(0, other), Ok(hash));
            assert_ne!(behind.hash(0).unwrap().hash, hash.hash);
            // The other way round it cannot know, and says at which compaction it answers.
            assert_eq!(ahead.hash_as_compacted(0, own), Ok(hash));
        }
        assert_eq!(behind.hash_as_compacted(50, 51), Err(Error::Compacted));
        assert_eq!(behind.hash_as_compacted(0, 1000), Err(Error::Compacted));
    }
}

fn kept(state: &State) -> Vec<StateHash> {
    state.compact_hashes().copied().collect()
}

#[test]
fn a_finished_compaction_leaves_its_hash_whatever_its_pace() {
    let mut state = busy();
    let before = state.hash_as_compacted(40, 40).unwrap();
    state.compact(40).unwrap();
    assert_eq!(kept(&state), []);
    let mut slow = state.clone();
    slow.compact_step(3);
    slow.apply_put("a", "written meanwhile");
    slow.compact_all(1);
    // Cut off half-way, and begun again by a restart.
    let mut cut = state.clone();
    cut.compact_step(20);
    let mut restore = Restore::new();
    for record in cut.records_from(0) {
        restore.push(Record::clone(record)).unwrap();
    }
    let mut restarted = restore.finish(state.revision(), 40, -1).unwrap();
    restarted.compact_all(5);
    state.compact_all(1000);
    for state in [&state, &slow, &restarted] {
        assert_eq!(kept(state), [before]);
    }
    // One that is overtaken leaves none.
    let mut overtaken = slow.clone();
    overtaken.compact(50).unwrap();
    overtaken.compact_step(4);
    overtaken.compact(60).unwrap();
    overtaken.compact_all(9);
    let revisions: Vec<i64> = kept(&overtaken).iter().map(|hash| hash.revision).collect();
    assert_eq!(revisions, [40, 60]);
    for revision in 61..80 {
        overtaken.compact(revision).unwrap();
        overtaken.compact_all(9);
    }
    let revisions: Vec<i64> = kept(&overtaken).iter().map(|hash| hash.revision).collect();
    assert_eq!(revisions, (70..80).collect::<Vec<_>>());
}

#[test]
fn another_value_or_lease_gives_another_hash_of_the_compaction() {
    let after = |value: &str| {
        let mut state = State::new();
        state.apply_put("a", "1");
        state.apply_put("b", value);
        state.apply_put("c", "3");
        state.compact(3).unwrap();
        state.compact_all(2);
        kept(&state)
    };
    assert_eq!(after("2"), after("2"));
    assert_ne!(after("2"), after("3"));
}
