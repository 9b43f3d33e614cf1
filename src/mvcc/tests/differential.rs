//! Random histories, applied to the state machine and to the model: every answer must be equal.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;

use super::model::Model;
use super::*;
use crate::api::proto::etcdserverpb::compare::TargetUnion;

#[derive(Clone, Debug)]
enum Step {
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Range(RangeRequest),
    /// So many revisions back from the newest.
    Compact(i64),
    /// Examine so many records of the scheduled compaction.
    Remove(usize),
    Commit,
    Restart,
    /// Start again, and read a key when it is asked for.
    RestartUnread,
    Leases(Vec<i64>),
}

fn key() -> impl Strategy<Value = Bytes> {
    select(vec!["a", "ab", "abc", "b", "b\0", "c", "\x01", "zz"]).prop_map(bytes)
}

fn range_end() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => Just(Bytes::new()),
        2 => Just(bytes("\0")),
        3 => key(),
    ]
}

fn value() -> impl Strategy<Value = Bytes> {
    select(vec!["", "x", "y", "zzzz"]).prop_map(bytes)
}

fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 3 => 1..30i64, 1 => -3..0i64]
}

fn put_request() -> impl Strategy<Value = PutRequest> {
    let lease = prop_oneof![6 => Just(0), 1 => Just(7), 1 => Just(-8)];
    (key(), value(), lease, any::<bool>(), 0..8u8).prop_map(|(key, value, lease, prev_kv, keep)| {
        let (ignore_value, ignore_lease) = (keep == 0 || keep == 2, keep == 1 || keep == 2);
        PutRequest {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: if ignore_lease { 0 } else { lease },
            prev_kv,
            ignore_value,
            ignore_lease,
        }
    })
}

fn delete_request() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), range_end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

fn range_request() -> impl Strategy<Value = RangeRequest> {
    let filter = || prop_oneof![5 => Just(0), 1 => 1..20i64];
    (
        (key(), range_end(), revision(), -1..4i64),
        (0..3, 0..5, 0..6u8),
        (filter(), filter(), filter(), filter()),
    )
        .prop_map(|(what, how, filters)| RangeRequest {
            key: what.0,
            range_end: what.1,
            revision: what.2,
            limit: what.3,
            sort_order: how.0,
            sort_target: how.1,
            keys_only: how.2 == 0,
            count_only: how.2 == 1,
            min_mod_revision: filters.0,
            max_mod_revision: filters.1,
            min_create_revision: filters.2,
            max_create_revision: filters.3,
            serializable: false,
        })
}

fn compare() -> impl Strategy<Value = Compare> {
    (key(), range_end(), 0..4, 0..5, 0..12i64, value()).prop_map(
        |(key, range_end, result, target, number, value)| Compare {
            result,
            target,
            key,
            range_end,
            target_union: Some(match target {
                0 => TargetUnion::Version(number % 4),
                1 => TargetUnion::CreateRevision(number),
                2 => TargetUnion::ModRevision(number),
                3 => TargetUnion::Value(value),
                _ => TargetUnion::Lease(number % 8),
            }),
        },
    )
}

fn txn_request() -> impl Strategy<Value = TxnRequest> {
    let leaf = prop_oneof![
        put_request().prop_map(op),
        delete_request().prop_map(op),
        range_request().prop_map(op),
    ];
    let operation = leaf.prop_recursive(2, 12, 4, |inner| {
        let list = || proptest::collection::vec(inner.clone(), 0..4);
        (compares(), list(), list()).prop_map(|(c, s, f)| op(txn(c, s, f)))
    });
    let list = || proptest::collection::vec(operation.clone(), 0..5);
    (compares(), list(), list()).prop_map(|(c, s, f)| txn(c, s, f))
}

fn compares() -> impl Strategy<Value = Vec<Compare>> {
    proptest::collection::vec(compare(), 0..3)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => put_request().prop_map(Step::Put),
        3 => delete_request().prop_map(Step::Delete),
        4 => txn_request().prop_map(Step::Txn),
        6 => range_request().prop_map(Step::Range),
        2 => (-2..8i64).prop_map(Step::Compact),
        3 => (0..5usize).prop_map(Step::Remove),
        2 => Just(Step::Commit),
        1 => Just(Step::Restart),
        2 => Just(Step::RestartUnread),
        1 => select(vec![vec![], vec![7], vec![7, -8]]).prop_map(Step::Leases),
    ]
}

/// The state machine, the model, and what a backend would hold.
struct Pair {
    state: State,
    model: Model,
    stored: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The store at the start, as long as it has not been read as a whole.
    unread: Option<State>,
}

impl Pair {
    fn apply(&mut self, step: Step) {
        self.read_for(&step);
        match step {
            Step::Put(r) => assert_eq!(self.state.put(&r), self.model.apply_put(&r)),
            Step::Delete(r) => assert_eq!(self.state.delete_range(&r), self.model.apply_delete(&r)),
            Step::Txn(r) => {
                let before = self.state.clone();
                let response = self.state.apply_txn(&r);
                assert_eq!(response, self.model.apply_txn(&r));
                if response.is_err() {
                    assert_eq!(self.state.names(), before.names());
                }
                if is_read_only(&r) {
                    assert_eq!(before.read_only_txn(&r), response);
                    assert_eq!(self.state.revision(), before.revision());
                }
            }
            Step::Range(r) => {
                let expected = self.model.range(&r, self.model.revision);
                assert_eq!(self.state.range(&r), expected);
            }
            Step::Compact(back) => {
                let revision = self.model.revision - back;
                assert_eq!(self.state.compact(revision), self.model.compact(revision));
            }
            Step::Remove(records) => {
                self.state.compact_step(records);
            }
            Step::Commit => self.commit(),
            Step::Restart => {
                // What was not committed comes back from the log; here, commit first.
                self.commit();
                self.state = self.state.reloaded();
            }
            Step::RestartUnread => {
                self.commit();
                let store = self.state.reloaded();
                let leases = store.leases.clone();
                let (compacted, finished) = (store.compact_revision, store.compact_finished);
                self.state = State::unread(store.revision, compacted, finished, leases);
                self.unread = Some(store);
            }
            Step::Leases(leases) => {
                self.state.set_known_leases(&leases);
                self.model.leases = leases;
            }
        }
        assert_eq!(self.state.revision(), self.model.revision);
        assert_eq!(self.state.compact_revision(), self.model.compact_revision);
    }

    /// Reads what `step` needs of a store that was not read at the start.
    fn read_for(&mut self, step: &Step) {
        let Some(store) = &self.unread else {
            return;
        };
        let mut keys = KeyRanges::default();
        match step {
            Step::Put(r) => keys.insert_key(&r.key),
            Step::Delete(r) => keys.insert_request(&r.key, &r.range_end),
            Step::Range(r) => keys.insert_request(&r.key, &r.range_end),
            Step::Txn(r) => keys.insert_txn(r),
            Step::Commit => return,
            _ => return self.read(),
        }
        let wanted = store.histories().filter(|(key, _)| keys.contains(key));
        let records = wanted.map(|(_, records)| records.map(|r| (**r).clone()).collect());
        let was_known = self.state.knows(&keys);
        self.state.learn(&keys, records.collect()).unwrap();
        assert!(self.state.knows(&keys) && (!was_known || self.state.is_partial()));
    }

    fn read(&mut self) {
        if let Some(store) = self.unread.take() {
            self.state.complete(store).unwrap();
            assert!(!self.state.is_partial());
            self.state.check_maps();
        }
    }

    /// Applies the pending changes to the stored bytes; they must then be the state's.
    fn commit(&mut self) {
        let changes = self.state.take_changes();
        for name in changes.removed {
            assert!(self.stored.remove(&*name.encode().to_vec()).is_some());
        }
        for record in changes.records {
            let name = record.revision_key().encode().to_vec();
            assert!(self.stored.insert(name, record.encode_value()).is_none());
        }
        if self.state.is_partial() {
            return;
        }
        let records = self.state.records_from(0);
        let expected: BTreeMap<Vec<u8>, Vec<u8>> = records
            .map(|record| {
                (
                    record.revision_key().encode().to_vec(),
                    record.encode_value(),
                )
            })
            .collect();
        assert_eq!(self.stored, expected);
        let again = self.state.take_changes();
        assert!(again.records.is_empty() && again.removed.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..Default::default() })]

    #[test]
    fn answers_like_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        let mut pair = Pair { state: State::new(), model: Model::new(), stored: BTreeMap::new(), unread: None };
        let mut old: Vec<(State, Model)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            pair.apply(step);
            if number % 16 == 0 && pair.unread.is_none() {
                old.push((pair.state.clone(), pair.model.clone()));
            }
        }
        pair.read();
        pair.state.check_maps();

        // A reader's copy is not touched by what came after it.
        let all = range("\0", "\0");
        for (state, model) in old {
            assert_eq!(state.range(&all), model.range(&all, model.revision));
        }

        // The progress of removal shows nowhere, and neither does a restart.
        let mut compacted = pair.state.clone();
        compacted.compact_all(2);
        compacted.check_maps();
        if compacted.compact_revision() > 0 {
            assert_eq!(compacted.names(), pair.model.names());
        }
        for state in [&pair.state, &compacted, &pair.state.reloaded(), &compacted.reloaded()] {
            for revision in pair.model.compact_revision.max(1)..=pair.model.revision {
                let hash = state.hash(revision).unwrap();
                assert_eq!(hash.hash, pair.model.hash(revision));
                assert_eq!((hash.revision, hash.compact_revision), (revision, pair.model.compact_revision));
                let at = RangeRequest { revision, ..all.clone() };
                assert_eq!(state.range(&at), pair.model.range(&at, pair.model.revision));
            }
        }
    }

    #[test]
    fn key_ranges_are_the_union_of_what_was_added(
        added in proptest::collection::vec((key(), range_end()), 0..12),
        asked in key(),
    ) {
        let mut ranges = key_ranges::KeyRanges::default();
        let mut other = key_ranges::KeyRanges::default();
        let mut expected = false;
        for (number, (start, end)) in added.iter().enumerate() {
            let into = if number % 3 == 0 { &mut other } else { &mut ranges };
            match &end[..] {
                b"" => {
                    into.insert_key(start);
                    expected |= start == &asked;
                }
                b"\0" => {
                    into.insert(start, None);
                    expected |= asked >= *start;
                }
                end => {
                    into.insert(start, Some(end.to_vec()));
                    expected |= asked >= *start && &asked[..] < end;
                }
            }
        }
        ranges.extend(other);
        prop_assert_eq!(ranges.contains(&asked), expected);
    }
}
