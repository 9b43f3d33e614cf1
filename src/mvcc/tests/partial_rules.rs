//! States of which only some keys are known. What they answer is in the differential test.

use super::*;

fn store() -> State {
    let mut store = State::new();
    for (key, value) in [("a", "1"), ("b", "2"), ("b", "3"), ("c", "4")] {
        store.apply_put(key, value);
    }
    store.take_changes();
    store
}

fn unread(store: &State) -> State {
    let leases = store.leases.clone();
    State::unread(
        store.revision,
        store.compact_revision,
        store.compact_finished,
        leases,
    )
}

fn keys(wanted: &[&str]) -> KeyRanges {
    let mut keys = KeyRanges::default();
    for key in wanted {
        keys.insert_key(key.as_bytes());
    }
    keys
}

fn records(store: &State, key: &str) -> Vec<Record> {
    store
        .versions_from(key.as_bytes(), 0)
        .map(|record| (**record).clone())
        .collect()
}

#[test]
fn a_key_is_known_once_it_is_learned_even_if_there_is_none() {
    let store = store();
    let mut state = unread(&store);
    assert!(state.is_partial() && !state.knows(&keys(&["b"])));
    state
        .learn(&keys(&["b", "bb"]), vec![records(&store, "b")])
        .unwrap();
    assert!(state.knows(&keys(&["b"])) && state.knows(&keys(&["bb"])));
    assert!(!state.knows(&keys(&["a"])));
    assert_eq!(state.range(&range("b", "")), store.range(&range("b", "")));
    let old = RangeRequest {
        revision: 3,
        ..range("b", "")
    };
    assert_eq!(state.range(&old), store.range(&old));
}

#[test]
fn what_is_learned_again_does_not_undo_what_was_written_since() {
    let store = store();
    let mut state = unread(&store);
    let learn = |state: &mut State| {
        state
            .learn(&keys(&["b"]), vec![records(&store, "b")])
            .unwrap()
    };
    learn(&mut state);
    state.apply_put("b", "new");
    learn(&mut state);
    assert_eq!(state.range(&range("b", "")).unwrap().kvs[0].value, "new");
}

#[test]
fn records_that_do_not_follow_each_other_are_refused() {
    let store = store();
    let b = records(&store, "b");
    for wrong in [
        vec![b[1].clone(), b[0].clone()],
        vec![b[0].clone(), b[0].clone()],
        vec![b[0].clone(), records(&store, "c")[0].clone()],
    ] {
        let mut state = unread(&store);
        assert!(state.learn(&keys(&["b"]), vec![wrong]).is_err());
        assert!(!state.knows(&keys(&["b"])));
    }
}

#[test]
fn a_store_that_says_otherwise_is_a_contradiction() {
    let whole = store();
    let contradicted = |learned: Vec<Vec<Record>>, wanted: &[&str]| {
        let mut state = unread(&whole);
        state.learn(&keys(wanted), learned).unwrap();
        state
            .complete(store())
            .err()
            .map(|contradiction| contradiction.0)
    };
    let b = records(&whole, "b");
    assert_eq!(contradicted(vec![b.clone()], &["b", "x"]), None);
    // An older version was taken for the newest; a key was not found; one was found that is not there.
    assert_eq!(
        contradicted(vec![b[..1].to_vec()], &["b"]),
        Some("b".into())
    );
    assert_eq!(contradicted(vec![], &["b"]), Some("b".into()));
    let mut other = b[0].clone();
    other.kv.key = "x".into();
    assert_eq!(contradicted(vec![vec![other]], &["x"]), Some("x".into()));
}

#[test]
fn a_store_read_later_has_what_was_written_meanwhile() {
    let mut later = store();
    let mut state = unread(&later);
    state
        .learn(&keys(&["a", "d"]), vec![records(&later, "a")])
        .unwrap();
    for (key, value) in [("a", "5"), ("d", "6"), ("a", "7")] {
        let revision = state.apply_put(key, value);
        if value == "5" {
            assert_eq!(later.apply_put(key, value), revision);
        }
    }
    let pending = state.clone().take_changes();
    state.complete(later).unwrap();
    state.check_maps();
    assert_eq!(state.take_changes(), pending);
    let mut expected = store();
    for (key, value) in [("a", "5"), ("d", "6"), ("a", "7")] {
        expected.apply_put(key, value);
    }
    assert_eq!(state.hash(0).unwrap(), expected.hash(0).unwrap());
}
