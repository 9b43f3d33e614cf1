//! Transactions: comparisons, order, atomicity, revisions.

use super::*;
use crate::api::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::api::proto::etcdserverpb::response_op::Response;

fn compare(key: &str, result: CompareResult, operand: TargetUnion) -> Compare {
    let target = match operand {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    Compare {
        key: bytes(key),
        result: result as i32,
        target: target as i32,
        target_union: Some(operand),
        ..Default::default()
    }
}

fn holds(state: &State, compare: Compare) -> bool {
    let request = txn(vec![compare], vec![], vec![]);
    state.read_only_txn(&request).unwrap().succeeded
}

fn revisions(response: &TxnResponse) -> Vec<i64> {
    let header = |response: &Response| match response {
        Response::ResponseRange(r) => r.header.unwrap().revision,
        Response::ResponsePut(r) => r.header.unwrap().revision,
        Response::ResponseDeleteRange(r) => r.header.unwrap().revision,
        Response::ResponseTxn(r) => r.header.unwrap().revision,
    };
    let responses = response.responses.iter();
    responses
        .map(|op| header(op.response.as_ref().unwrap()))
        .collect()
}

#[test]
fn comparing_one_key() {
    let mut state = State::new();
    state.apply_put("a", "m"); // 2
    state.apply_put("a", "m"); // 3: created at 2, version 2, lease 0
    use CompareResult::{Equal, Greater, Less, NotEqual};
    use TargetUnion::{CreateRevision, Lease, ModRevision, Value, Version};
    let operands: [(fn(i64) -> TargetUnion, i64); 4] = [
        (Version, 2),
        (CreateRevision, 2),
        (ModRevision, 3),
        (Lease, 0),
    ];
    for (operand, actual) in operands {
        for (result, below, same, above) in [
            (Equal, false, true, false),
            (NotEqual, true, false, true),
            (Greater, true, false, false),
            (Less, false, false, true),
        ] {
            let found =
                [-1, 0, 1].map(|by| holds(&state, compare("a", result, operand(actual + by))));
            assert_eq!(
                found,
                [below, same, above],
                "{result:?} {:?}",
                operand(actual)
            );
        }
    }
    for (result, value, expected) in [
        (Equal, "m", true),
        (NotEqual, "m", false),
        (Greater, "a", true),
        (Less, "z", true),
        (Greater, "mm", false),
    ] {
        assert_eq!(
            holds(&state, compare("a", result, Value(bytes(value)))),
            expected
        );
    }
}

#[test]
fn a_missing_key_compares_as_zeros_but_never_by_value() {
    let state = State::new();
    use CompareResult::{Equal, Less, NotEqual};
    assert!(holds(&state, compare("a", Equal, TargetUnion::Version(0))));
    assert!(holds(
        &state,
        compare("a", Equal, TargetUnion::ModRevision(0))
    ));
    assert!(holds(
        &state,
        compare("a", Less, TargetUnion::CreateRevision(1))
    ));
    for result in [Equal, NotEqual, Less] {
        for value in ["", "x"] {
            assert!(!holds(
                &state,
                compare("a", result, TargetUnion::Value(bytes(value)))
            ));
        }
    }
}

#[test]
fn comparing_a_range() {
    let mut state = State::new();
    state.apply_put("a", "1");
    state.apply_put("b", "1");
    state.apply_put("b", "1");
    let over = |end: &str, result, operand| {
        let compare = Compare {
            range_end: bytes(end),
            ..compare("a", result, operand)
        };
        holds(&state, compare)
    };
    use CompareResult::{Equal, Greater};
    assert!(over("z", Greater, TargetUnion::Version(0)));
    assert!(!over("z", Greater, TargetUnion::Version(1)));
    assert!(over("b", Equal, TargetUnion::Version(1)));
    assert!(!over("\0", Equal, TargetUnion::Version(1)));
    assert!(over("\0", Equal, TargetUnion::Value(bytes("1"))));
    // A range without keys is like a missing key.
    assert!(over("Z", Equal, TargetUnion::Version(0)));
    assert!(!over("Z", Equal, TargetUnion::Value(bytes(""))));
}

#[test]
fn odd_comparisons_as_etcd_takes_them() {
    // Tried on etcd 3.5.1.
    let mut state = State::new();
    state.apply_put("a", "1");
    let base = compare("a", CompareResult::Equal, TargetUnion::Version(5));
    assert!(!holds(&state, base.clone()));
    assert!(holds(
        &state,
        Compare {
            result: 9,
            ..base.clone()
        }
    ));
    assert!(holds(
        &state,
        Compare {
            target: 9,
            ..base.clone()
        }
    ));
    // An operand of another kind counts as zero.
    let value = Some(TargetUnion::Value(bytes("x")));
    let kinds = Compare {
        target_union: value,
        ..base.clone()
    };
    assert!(!holds(&state, kinds.clone()));
    assert!(holds(
        &state,
        Compare {
            key: bytes("no"),
            ..kinds
        }
    ));
    let none = Compare {
        target_union: None,
        ..base
    };
    assert!(holds(
        &state,
        Compare {
            key: bytes("no"),
            ..none
        }
    ));
}

#[test]
fn comparisons_are_a_conjunction_and_choose_the_branch() {
    let mut state = State::new();
    let yes = compare("a", CompareResult::Equal, TargetUnion::Version(0));
    let no = compare("a", CompareResult::Equal, TargetUnion::Version(1));
    for (compares, expected) in [
        (vec![], true),
        (vec![yes.clone(), yes.clone()], true),
        (vec![yes, no], false),
    ] {
        let request = txn(
            compares,
            vec![op(put("then", ""))],
            vec![op(put("else", ""))],
        );
        let response = state.apply_txn(&request).unwrap();
        assert_eq!(response.succeeded, expected);
        let key = if expected { "then" } else { "else" };
        assert_eq!(
            state.range(&range(key, "")).unwrap().kvs[0].mod_revision,
            state.revision()
        );
    }
}

#[test]
fn operations_share_a_revision_and_see_each_other() {
    let mut state = State::new();
    state.apply_put("old", "");
    let request = then(vec![
        op(range("\0", "\0")),
        op(put("a", "1")),
        op(range("\0", "\0")),
        op(delete("old", "")),
        op(delete("none", "")),
        op(range("\0", "\0")),
    ]);
    let response = state.apply_txn(&request).unwrap();
    assert_eq!(response.header.unwrap().revision, 3);
    // Before the first write a reader inside sees the old revision.
    assert_eq!(revisions(&response), [2, 3, 3, 3, 3, 3]);
    let counts: Vec<i64> = response
        .responses
        .iter()
        .filter_map(|op| match op.response.as_ref().unwrap() {
            Response::ResponseRange(range) => Some(range.count),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [1, 2, 1]);
    let names: Vec<_> = state
        .records_from(3)
        .map(|record| record.revision.sub)
        .collect();
    assert_eq!(names, [0, 1]);
}

#[test]
fn a_transaction_without_a_change_keeps_the_revision() {
    let mut state = State::new();
    state.apply_put("a", "");
    for request in [
        then(vec![]),
        then(vec![op(delete("none", ""))]),
        then(vec![op(range("a", "")), op(then(vec![op(range("a", ""))]))]),
    ] {
        let response = state.apply_txn(&request).unwrap();
        assert_eq!(response.header.unwrap().revision, 2);
        assert_eq!(state.revision(), 2);
    }
}

#[test]
fn nested_comparisons_see_the_state_before() {
    let mut state = State::new();
    let unborn = compare("new", CompareResult::Equal, TargetUnion::Version(0));
    let nested = txn(
        vec![unborn],
        vec![op(range("new", ""))],
        vec![op(put("no", ""))],
    );
    let response = state
        .apply_txn(&then(vec![op(put("new", "1")), op(nested)]))
        .unwrap();
    let Some(Response::ResponseTxn(inner)) = &response.responses[1].response else {
        panic!("not a nested response");
    };
    assert!(inner.succeeded);
    // etcd 3.5.1 leaves the header of a nested response empty, not its operations'.
    assert_eq!(inner.header, Some(ResponseHeader::default()));
    assert_eq!(revisions(inner), [2]);
    let Some(Response::ResponseRange(range)) = &inner.responses[0].response else {
        panic!("not a range response");
    };
    assert_eq!(range.count, 1);
}

#[test]
fn a_failing_operation_fails_the_whole() {
    // Known bug 10: an error after the first write must not leave that write behind.
    let mut state = State::new();
    state.apply_put("a", "");
    state.apply_put("a", "");
    state.compact(3).unwrap();
    let future = RangeRequest {
        revision: 4,
        ..range("a", "")
    };
    let compacted = RangeRequest {
        revision: 2,
        ..range("a", "")
    };
    let unsorted = RangeRequest {
        sort_order: 9,
        ..range("a", "")
    };
    let missing = PutRequest {
        ignore_value: true,
        ..put("none", "")
    };
    let leased = PutRequest {
        lease: 5,
        ..put("a", "")
    };
    let failing = [
        (op(future), Error::FutureRevision),
        (op(compacted), Error::Compacted),
        (op(unsorted), Error::InvalidSortOption),
        (op(missing), Error::KeyNotFound),
        (op(leased), Error::LeaseNotFound),
    ];
    for (operation, error) in failing {
        let names = state.names();
        let first = vec![op(put("b", "")), operation.clone()];
        assert_eq!(state.apply_txn(&then(first.clone())), Err(error));
        assert_eq!(state.apply_txn(&then(vec![op(then(first))])), Err(error));
        assert_eq!((state.names(), state.revision()), (names, 3));
        // Not on the path, it does no harm.
        let elsewhere = txn(vec![], vec![], vec![operation]);
        assert_eq!(
            state
                .apply_txn(&elsewhere)
                .map(|response| response.succeeded),
            Ok(true)
        );
    }
}

#[test]
fn negative_revisions_inside_a_transaction() {
    // Tried on etcd 3.5.1: -1 is compacted once anything is, -2 always.
    let mut state = State::new();
    let at = |revision| {
        then(vec![op(RangeRequest {
            revision,
            ..range("a", "")
        })])
    };
    assert!(state.read_only_txn(&at(-1)).is_ok());
    assert_eq!(state.read_only_txn(&at(-2)), Err(Error::Compacted));
    state.compact(0).unwrap();
    assert_eq!(state.read_only_txn(&at(-1)), Err(Error::Compacted));
}

#[test]
fn keeping_the_value_of_a_key_deleted_before_is_refused() {
    // etcd 3.5.1 crashes here, on every member and on every restart.
    let mut state = State::new();
    state.apply_put("b", "keep");
    let keep = PutRequest {
        ignore_value: true,
        ..put("b", "")
    };
    let request = then(vec![op(delete("a", "\0")), op(keep.clone())]);
    assert_eq!(check::check_txn(&request, 128), Ok(()));
    assert_eq!(state.apply_txn(&request), Err(Error::KeyNotFound));
    assert_eq!(state.revision(), 2);
    // Put again in between, there is a value to keep.
    let again = then(vec![op(delete("a", "\0")), op(put("b", "new")), op(keep)]);
    state.apply_txn(&again).unwrap();
    let kv = &state.range(&range("b", "")).unwrap().kvs[0];
    assert_eq!(
        (&kv.value[..], kv.version, kv.create_revision),
        (&b"new"[..], 2, 3)
    );
}

#[test]
fn read_only_means_ranges_alone() {
    assert!(is_read_only(&then(vec![])));
    assert!(is_read_only(&txn(
        vec![],
        vec![op(range("a", ""))],
        vec![op(range("b", ""))]
    )));
    assert!(!is_read_only(&then(vec![op(put("a", ""))])));
    assert!(!is_read_only(&txn(
        vec![],
        vec![],
        vec![op(delete("a", ""))]
    )));
    assert!(!is_read_only(&then(vec![op(then(vec![]))])));
}

#[cfg(feature = "defects")]
#[test]
fn the_half_transaction_defect_forgets_the_second_half() {
    let defects = Defects::by_name(["half-transaction"]).unwrap();
    let request = then(["a", "b", "c", "d"].map(|key| op(put(key, ""))).to_vec());
    let (mut whole, mut half) = (State::new(), State::new());
    let expected = whole.apply_txn(&request).unwrap();
    assert_eq!(half.txn(&request, &defects).unwrap(), expected);
    assert_eq!(half.found(&range("a", "z")), ["a", "b"]);
    // A single operation is not halved.
    half.txn(&then(vec![op(put("z", ""))]), &defects).unwrap();
    assert_eq!(half.found(&range("z", "")), ["z"]);
}
