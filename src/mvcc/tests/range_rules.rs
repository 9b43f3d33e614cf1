//! Ranges: ends, limits, counts, revisions, sorting, filters.

use super::*;
use crate::api::proto::etcdserverpb::range_request::{SortOrder, SortTarget};

/// a: 3 versions (2, 3, 4); b: 2 (5, 6); c: 1 (7).
fn three() -> State {
    let mut state = State::new();
    for (key, versions) in [("a", 3), ("b", 2), ("c", 1)] {
        for version in 0..versions {
            state.apply_put(key, &format!("v{version}"));
        }
    }
    state
}

fn sorted(target: SortTarget, order: SortOrder, limit: i64) -> RangeRequest {
    RangeRequest {
        sort_target: target as i32,
        sort_order: order as i32,
        limit,
        ..range("a", "d")
    }
}

#[test]
fn range_ends() {
    let mut state = three();
    state.apply_put("\0", "");
    let cases: [(&str, &str, &[&str]); 8] = [
        ("b", "", &["b"]),
        ("bb", "", &[]),
        ("a", "c", &["a", "b"]),
        ("b", "\0", &["b", "c"]),
        ("\0", "\0", &["\0", "a", "b", "c"]),
        ("c", "a", &[]),
        ("b", "b", &[]),
        ("aa", "bz", &["b"]),
    ];
    for (key, end, expected) in cases {
        assert_eq!(state.found(&range(key, end)), expected, "{key:?} {end:?}");
    }
}

#[test]
fn limit_more_and_count() {
    let state = three();
    for (limit, kvs, more) in [
        (0, 3, false),
        (1, 1, true),
        (2, 2, true),
        (3, 3, false),
        (-1, 3, false),
        (i64::MAX, 3, false),
    ] {
        let request = RangeRequest {
            limit,
            ..range("a", "z")
        };
        let response = state.range(&request).unwrap();
        assert_eq!(
            (response.kvs.len(), response.more),
            (kvs, more),
            "limit {limit}"
        );
        assert_eq!(response.count, 3);
    }
}

#[test]
fn count_only_and_keys_only() {
    let state = three();
    let count = state
        .range(&RangeRequest {
            count_only: true,
            limit: 1,
            ..range("a", "z")
        })
        .unwrap();
    assert_eq!((count.count, count.kvs.len(), count.more), (3, 0, false));
    let keys = state
        .range(&RangeRequest {
            keys_only: true,
            ..range("a", "z")
        })
        .unwrap();
    assert!(
        keys.kvs
            .iter()
            .all(|kv| kv.value.is_empty() && kv.version > 0)
    );
    assert_eq!(keys.kvs.len(), 3);
}

#[test]
fn filters_are_inclusive_and_do_not_change_the_count() {
    let state = three();
    let filtered = |min_mod, max_mod, min_create, max_create, limit| {
        let request = RangeRequest {
            min_mod_revision: min_mod,
            max_mod_revision: max_mod,
            min_create_revision: min_create,
            max_create_revision: max_create,
            limit,
            ..range("a", "z")
        };
        let response = state.range(&request).unwrap();
        assert_eq!(response.count, 3);
        (state.found(&request), response.more)
    };
    assert_eq!(filtered(6, 0, 0, 0, 0).0, ["b", "c"]);
    assert_eq!(filtered(0, 6, 0, 0, 0).0, ["a", "b"]);
    assert_eq!(filtered(0, 0, 5, 0, 0).0, ["b", "c"]);
    assert_eq!(filtered(0, 0, 0, 5, 0).0, ["a", "b"]);
    assert_eq!(filtered(6, 6, 5, 5, 0).0, ["b"]);
    // The limit counts what passed: "a" does not use it up.
    assert_eq!(filtered(6, 0, 0, 0, 1), (vec!["b".to_string()], true));
    assert_eq!(filtered(7, 0, 0, 0, 1), (vec!["c".to_string()], false));
}

#[test]
fn sorting() {
    let state = three();
    use SortOrder::{Ascend, Descend, None};
    use SortTarget::{Create, Key, Mod, Value, Version};
    let cases: [(SortTarget, SortOrder, [&str; 3]); 8] = [
        (Key, None, ["a", "b", "c"]),
        (Key, Descend, ["c", "b", "a"]),
        (Version, None, ["c", "b", "a"]),
        (Version, Ascend, ["c", "b", "a"]),
        (Version, Descend, ["a", "b", "c"]),
        (Create, Descend, ["c", "b", "a"]),
        (Mod, Ascend, ["a", "b", "c"]),
        (Value, Ascend, ["c", "b", "a"]),
    ];
    for (target, order, expected) in cases {
        let request = sorted(target, order, 0);
        assert_eq!(state.found(&request), expected, "{target:?} {order:?}");
    }
}

#[test]
fn a_limit_with_sorting_cuts_after_the_sort_if_an_order_is_given() {
    let state = three();
    let found = |order| state.found(&sorted(SortTarget::Version, order, 1));
    assert_eq!(found(SortOrder::Ascend), ["c"]);
    // etcd 3.5.1 answers "b": without an order it looks at limit + 1 keys only, then sorts those.
    assert_eq!(found(SortOrder::None), ["b"]);
    // With a filter it looks at all of them.
    let filtered = RangeRequest {
        min_mod_revision: 1,
        ..sorted(SortTarget::Version, SortOrder::None, 1)
    };
    assert_eq!(state.found(&filtered), ["c"]);
}

#[test]
fn ties_stay_in_key_order_either_way() {
    let mut state = State::new();
    for key in ["c", "a", "b"] {
        state.apply_put(key, "same");
    }
    for order in [SortOrder::Ascend, SortOrder::Descend] {
        let request = sorted(SortTarget::Value, order, 0);
        assert_eq!(state.found(&request), ["a", "b", "c"]);
    }
}

#[test]
fn unknown_sort_options_are_refused() {
    let state = three();
    for (order, target) in [(7, 0), (0, 7), (-1, 0)] {
        let request = RangeRequest {
            sort_order: order,
            sort_target: target,
            ..range("a", "")
        };
        assert_eq!(state.range(&request), Err(Error::InvalidSortOption));
    }
}

#[test]
fn reading_at_a_revision() {
    let mut state = three();
    state.delete_range(&delete("a", "c"));
    let at = |state: &State, revision| {
        let request = RangeRequest {
            revision,
            ..range("a", "z")
        };
        state.range(&request).map(|response| {
            // The header tells where the store is, not where the read was.
            assert_eq!(response.header.unwrap().revision, state.revision());
            let text = |kv: &KeyValue| format!("{}{}", &kv.key.escape_ascii(), kv.version);
            assert_eq!(response.count, response.kvs.len() as i64);
            response.kvs.iter().map(text).collect::<Vec<_>>().join(" ")
        })
    };
    let expected = ["", "a1", "a2", "a3", "a3 b1", "a3 b2", "a3 b2 c1", "c1"];
    for (revision, expected) in (1..).zip(expected) {
        assert_eq!(at(&state, revision).unwrap(), expected);
    }
    assert_eq!(at(&state, 9), Err(Error::FutureRevision));
    // Tried on etcd 3.5.1: a negative revision reads the newest.
    assert_eq!(at(&state, 0).unwrap(), "c1");
    assert_eq!(at(&state, -7).unwrap(), "c1");

    state.compact(5).unwrap();
    for finished in [false, true] {
        assert_eq!(at(&state, 4), Err(Error::Compacted));
        assert_eq!(at(&state, 5).unwrap(), "a3 b1");
        assert_eq!(at(&state, -1).unwrap(), "c1");
        if !finished {
            state.compact_all(1);
        }
    }
}
