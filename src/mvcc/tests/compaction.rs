//! Compaction: what it refuses, what it keeps, and that its progress shows nowhere.

use super::*;

/// The names left, as text: `main.sub`, with a `t` for a tombstone.
fn left(state: &State) -> String {
    let text = |name: RevisionKey| {
        let mark = if name.tombstone { "t" } else { "" };
        format!("{}{mark}", name.revision)
    };
    state
        .names()
        .into_iter()
        .map(text)
        .collect::<Vec<_>>()
        .join(" ")
}

fn compacted(mut state: State, revision: i64) -> State {
    state.compact(revision).unwrap();
    state.compact_all(1);
    assert_eq!(state.compact_finished(), revision);
    state.check_maps();
    state
}

#[test]
fn revisions_that_are_refused() {
    let mut state = State::new();
    state.apply_put("a", "");
    assert_eq!(state.compact(3), Err(Error::FutureRevision));
    assert_eq!(state.compact(-1), Err(Error::Compacted));
    // Tried on etcd 3.5.1: 0 is accepted once.
    assert_eq!(state.compact(0), Ok(()));
    assert_eq!(state.compact(0), Err(Error::Compacted));
    assert_eq!(state.compact(2), Ok(()));
    assert_eq!(state.compact(2), Err(Error::Compacted));
    assert_eq!(state.compact(1), Err(Error::Compacted));
}

#[test]
fn the_newest_version_at_or_below_stays() {
    let mut state = State::new();
    state.apply_put("a", "2");
    state.apply_put("a", "3");
    state.apply_put("b", "4");
    state.apply_put("a", "5");
    assert_eq!(left(&compacted(state.clone(), 2)), "2.0 3.0 4.0 5.0");
    assert_eq!(left(&compacted(state.clone(), 4)), "3.0 4.0 5.0");
    assert_eq!(left(&compacted(state, 5)), "4.0 5.0");
}

#[test]
fn a_tombstone_stays_at_exactly_the_compaction_revision() {
    // Known bug 13 (#18089): a watch from the compaction revision must still see the deletion.
    let mut state = State::new();
    state.apply_put("a", "2");
    state.delete_range(&delete("a", "")); // 3
    state.apply_put("b", "4");
    let at = compacted(state.clone(), 3);
    assert_eq!(left(&at), "3.0t 4.0");
    assert_eq!(left(&compacted(at, 4)), "4.0");
    assert_eq!(left(&compacted(state, 4)), "4.0");
}

#[test]
fn the_revision_survives_the_compaction_of_everything() {
    // Known bugs 11 and 12 (#17780, #6567): the newest record may go, the revision may not.
    let mut state = State::new();
    state.apply_put("a", "2");
    state.delete_range(&delete("a", "")); // 3
    let state = compacted(state, 3).reloaded();
    assert_eq!((state.revision(), state.compact_revision()), (3, 3));
    assert_eq!(state.range(&range("a", "")).unwrap().count, 0);
    let mut state = state;
    assert_eq!(state.apply_put("a", "4"), 4);
    let kv = &state.range(&range("a", "")).unwrap().kvs[0];
    assert_eq!((kv.create_revision, kv.version), (4, 1));
    assert_eq!(left(&compacted(state, 4)), "4.0");
}

#[test]
fn two_versions_in_one_revision() {
    // etcd lets a put and an open-ended delete of the same key into one transaction.
    let mut state = State::new();
    let both = then(vec![op(put("b", "")), op(delete("a", "\0"))]);
    state.apply_txn(&both).unwrap();
    assert_eq!(left(&state), "2.0 2.1t");
    assert_eq!(left(&compacted(state, 2)), "2.1t");
}

#[test]
fn it_resumes_after_a_restart_wherever_it_was() {
    // Known bug 14 (#19179): the end must not depend on how often it was interrupted.
    let mut state = State::new();
    for round in 0..4 {
        for key in ["a", "b", "c", "d"] {
            state.apply_put(key, &round.to_string());
        }
        state.delete_range(&delete("b", "d"));
    }
    state.compact(19).unwrap();
    let mut whole = state.clone();
    whole.compact_all(100);
    let hash = whole.hash(0).unwrap();
    for steps in 0..state.record_count() {
        let mut interrupted = state.clone();
        for _ in 0..steps {
            interrupted.compact_step(1);
        }
        let mut resumed = interrupted.reloaded();
        assert_eq!(resumed.hash(0).unwrap(), hash);
        resumed.compact_all(3);
        assert_eq!(resumed.names(), whole.names());
    }
}

#[test]
fn a_higher_compaction_takes_over() {
    let mut state = State::new();
    for value in 0..9 {
        state.apply_put("a", &value.to_string());
    }
    state.compact(5).unwrap();
    assert!(state.compact_step(2));
    state.compact(9).unwrap();
    assert_eq!(state.compact_finished(), -1);
    state.compact_all(2);
    assert_eq!(left(&state), "9.0 10.0");
    assert_eq!(state.compact_finished(), 9);
}

#[test]
fn a_step_is_bounded_and_reports_what_to_remove() {
    let mut state = State::new();
    for value in 0..5 {
        state.apply_put("a", &value.to_string());
    }
    assert_eq!(state.take_changes().records.len(), 5);
    state.apply_put("a", "new");
    state.compact(7).unwrap();
    assert!(state.compact_step(2));
    let changes = state.take_changes();
    assert_eq!(changes.removed.len(), 2);
    assert_eq!(changes.records.len(), 1);
    assert_eq!(
        (changes.compact_revision, changes.compact_finished),
        (7, -1)
    );
    assert!(state.compact_step(2));
    assert_eq!(state.pending_changes(), 2);
    while state.compact_step(2) {}
    let changes = state.take_changes();
    assert_eq!(changes.removed.len(), 3);
    assert_eq!((changes.compact_revision, changes.compact_finished), (7, 7));
    assert!(!state.compact_step(2));
}

#[test]
fn records_the_backend_never_saw_need_no_removal() {
    let mut state = State::new();
    for value in 0..5 {
        state.apply_put("a", &value.to_string());
    }
    state.compact(6).unwrap();
    state.compact_all(10);
    let changes = state.take_changes();
    assert_eq!((changes.records.len(), changes.removed.len()), (1, 0));
}

#[test]
fn impossible_records_are_refused() {
    let mut state = State::new();
    state.apply_put("a", "1");
    state.apply_put("a", "2");
    state.delete_range(&delete("a", ""));
    state.apply_put("a", "3");
    let records: Vec<Record> = state
        .records_from(0)
        .map(|record| (**record).clone())
        .collect();
    let restored = |records: &[Record], revision, scheduled, finished| {
        let mut restore = Restore::new();
        records
            .iter()
            .try_for_each(|record| restore.push(record.clone()))?;
        restore.finish(revision, scheduled, finished)
    };
    assert!(restored(&records, 5, -1, -1).is_ok());
    assert!(restored(&records, 9, 7, 3).is_ok());
    for (revision, scheduled, finished) in [
        (4, -1, -1),
        (5, 6, -1),
        (5, 3, 4),
        (5, -2, -2),
        (i64::MAX, -1, -1),
    ] {
        let result = restored(&records, revision, scheduled, finished);
        assert!(matches!(result, Err(RestoreError::Revisions { .. })));
    }
    let damage: [fn(&mut Vec<Record>); 10] = [
        |records| records.swap(0, 1),
        |records| records[1] = records[0].clone(),
        |records| _ = records.remove(2),
        |records| records[0].kv.version = 0,
        |records| records[0].kv.version = i64::MAX,
        |records| records[0].kv.create_revision = 3,
        |records| records[1].kv.create_revision = 3,
        |records| records[3].kv.version = 4,
        |records| records[3].kv.mod_revision = 4,
        |records| records[3].revision.main = i64::MAX,
    ];
    for (number, damage) in damage.into_iter().enumerate() {
        let mut records = records.clone();
        damage(&mut records);
        assert!(restored(&records, 5, -1, -1).is_err(), "damage {number}");
    }
}
