//! Who may do what to which keys.

use proptest::prelude::*;

use super::*;
use crate::api::proto::etcdserverpb::request_op::Request as Op;

fn readers() -> Builder {
    let mut builder = Builder::enabled();
    builder.role("r").unwrap();
    builder.role("w").unwrap();
    builder.grant("r", Type::Read, "a", "m").unwrap();
    builder.grant("w", Type::Write, "a", "c").unwrap();
    builder.user("reader", &["r"]).unwrap();
    builder.user("writer", &["w"]).unwrap();
    builder.user("both", &["r", "w"]).unwrap();
    builder
}

const DENIED: Result<(), Error> = Err(Error::PermissionDenied);

#[test]
fn who_asks_is_looked_at_first() {
    let builder = readers();
    let state = &builder.0;
    let nobody = Caller::default();
    assert_eq!(
        state.permit_range(&nobody, b"a", b""),
        Err(Error::UserEmpty)
    );
    let stranger = builder.caller("stranger");
    assert_eq!(state.permit_range(&stranger, b"a", b""), DENIED);
    let mut known_before = builder.caller("reader");
    state.permit_range(&known_before, b"a", b"").unwrap();
    known_before.revision -= 1;
    assert_eq!(
        state.permit_range(&known_before, b"a", b""),
        Err(Error::OldRevision)
    );
    // Root as well.
    let mut root = builder.caller(ROOT);
    state.permit_range(&root, b"\0", b"\0").unwrap();
    root.revision -= 1;
    assert_eq!(
        state.permit_range(&root, b"a", b""),
        Err(Error::OldRevision)
    );
    // With authentication off nobody is asked.
    State::new().permit_range(&nobody, b"a", b"").unwrap();
    State::new().permit_root(&nobody).unwrap();
}

#[test]
fn ranges_are_half_open_and_merge() {
    let mut builder = readers();
    let reader = builder.caller("reader");
    let permit = |state: &State, key: &[u8], end: &[u8]| state.permit_range(&reader, key, end);
    assert!(permit(&builder.0, b"a", b"").is_ok());
    assert!(permit(&builder.0, b"lzzz", b"").is_ok());
    assert_eq!(permit(&builder.0, b"m", b""), DENIED);
    assert!(permit(&builder.0, b"a", b"m").is_ok());
    assert_eq!(permit(&builder.0, b"a", b"m\0"), DENIED);
    assert_eq!(permit(&builder.0, b"b", b"\0"), DENIED);
    assert_eq!(permit(&builder.0, b"\0", b"b"), DENIED);
    assert_eq!(builder.0.permit(&reader, Access::Write, b"b", b""), DENIED);
    // What two roles permit side by side is permitted as one.
    builder.role("rest").unwrap();
    builder.grant("rest", Type::Read, "m", "\0").unwrap();
    builder.grant_role("reader", "rest").unwrap();
    let reader = builder.caller("reader");
    builder.0.permit_range(&reader, b"a", b"\0").unwrap();
    builder.0.permit_range(&reader, b"l", b"n").unwrap();
    builder.revoke("rest", "m", "\0").unwrap();
    let reader = builder.caller("reader");
    assert_eq!(builder.0.permit_range(&reader, b"l", b"n"), DENIED);
    builder.delete_role("r").unwrap();
    let reader = builder.caller("reader");
    assert_eq!(builder.0.permit_range(&reader, b"a", b""), DENIED);
}

#[test]
fn a_point_permits_no_open_range() {
    // A permission on one key once matched a watch on all keys from there on (GHSA-xg4h).
    let mut builder = Builder::enabled();
    builder.role("r").unwrap();
    builder.grant("r", Type::Read, "k", "").unwrap();
    builder.user("u", &["r"]).unwrap();
    let caller = builder.caller("u");
    builder.0.permit_range(&caller, b"k", b"").unwrap();
    builder.0.permit_range(&caller, b"k", b"k\0").unwrap();
    assert_eq!(builder.0.permit_range(&caller, b"k", b"\0"), DENIED);
    assert_eq!(builder.0.permit_range(&caller, b"k", b"l"), DENIED);
}

fn put(key: &'static str, prev_kv: bool, lease: i64) -> pb::PutRequest {
    pb::PutRequest {
        key: key.into(),
        prev_kv,
        lease,
        ..Default::default()
    }
}

fn delete(key: &'static str, prev_kv: bool) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key.into(),
        prev_kv,
        ..Default::default()
    }
}

fn no_keys(_: i64) -> Vec<Bytes> {
    Vec::new()
}

#[test]
fn showing_the_old_value_is_reading() {
    let builder = readers();
    let (writer, both) = (builder.caller("writer"), builder.caller("both"));
    let state = &builder.0;
    state
        .permit_put(&writer, &put("b", false, 0), &no_keys)
        .unwrap();
    assert_eq!(
        state.permit_put(&writer, &put("b", true, 0), &no_keys),
        DENIED
    );
    state
        .permit_put(&both, &put("b", true, 0), &no_keys)
        .unwrap();
    state.permit_delete(&writer, &delete("b", false)).unwrap();
    assert_eq!(state.permit_delete(&writer, &delete("b", true)), DENIED);
    state.permit_delete(&both, &delete("b", true)).unwrap();
}

#[test]
fn a_lease_is_as_dear_as_all_its_keys() {
    let builder = readers();
    let keys_of = |lease: i64| match lease {
        1 => vec![Bytes::from("a"), Bytes::from("b")],
        2 => vec![Bytes::from("a"), Bytes::from("z")],
        _ => Vec::new(),
    };
    let (writer, root) = (builder.caller("writer"), builder.caller(ROOT));
    let state = &builder.0;
    state
        .permit_put(&writer, &put("b", false, 1), &keys_of)
        .unwrap();
    assert_eq!(
        state.permit_put(&writer, &put("b", false, 2), &keys_of),
        DENIED
    );
    state
        .permit_put(&root, &put("b", false, 2), &keys_of)
        .unwrap();
    let revoke = |caller, lease| state.permit_lease_keys(caller, Access::Write, lease, &keys_of);
    revoke(&writer, 1).unwrap();
    revoke(&writer, 3).unwrap();
    assert_eq!(revoke(&writer, 2), DENIED);
    // The member revokes what expires, whatever has changed since it looked.
    revoke(&Caller::member_itself(1), 2).unwrap();
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request),
    }
}

/// Every place of a transaction in which `b` may stand, nested and not.
fn everywhere(request: Op) -> Vec<pb::TxnRequest> {
    let success = pb::TxnRequest {
        success: vec![op(request.clone())],
        ..Default::default()
    };
    let failure = pb::TxnRequest {
        failure: vec![op(request)],
        ..Default::default()
    };
    let nest = |inner: &pb::TxnRequest| pb::TxnRequest {
        failure: vec![op(Op::RequestTxn(inner.clone()))],
        ..Default::default()
    };
    let nested = [nest(&success), nest(&nest(&failure))];
    [success, failure].into_iter().chain(nested).collect()
}

#[test]
fn every_corner_of_a_transaction_is_looked_at() {
    let builder = readers();
    let state = &builder.0;
    let (reader, writer) = (builder.caller("reader"), builder.caller("writer"));
    let both = builder.caller("both");
    let range = pb::RangeRequest {
        key: "b".into(),
        ..Default::default()
    };
    let cases = [
        (Op::RequestRange(range), true, false),
        (Op::RequestPut(put("b", false, 0)), false, true),
        (Op::RequestPut(put("b", true, 0)), false, false),
        (Op::RequestDeleteRange(delete("b", false)), false, true),
        (Op::RequestDeleteRange(delete("b", true)), false, false),
    ];
    for (request, by_reader, by_writer) in cases {
        for txn in everywhere(request.clone()) {
            let may = |caller| state.permit_txn(caller, &txn, &no_keys).is_ok();
            assert_eq!(may(&reader), by_reader, "{request:?} in {txn:?}");
            assert_eq!(may(&writer), by_writer, "{request:?} in {txn:?}");
            assert!(may(&both), "{request:?} in {txn:?}");
        }
    }
    let compare = pb::TxnRequest {
        compare: vec![pb::Compare {
            key: "b".into(),
            range_end: "c".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    state.permit_txn(&reader, &compare, &no_keys).unwrap();
    assert_eq!(state.permit_txn(&writer, &compare, &no_keys), DENIED);
    let nested = pb::TxnRequest {
        success: vec![op(Op::RequestTxn(compare))],
        ..Default::default()
    };
    assert_eq!(state.permit_txn(&writer, &nested, &no_keys), DENIED);
}

#[test]
fn users_see_themselves_and_their_roles() {
    let builder = readers();
    let state = &builder.0;
    let reader = builder.caller("reader");
    state.permit_user_get(&reader, "reader").unwrap();
    assert_eq!(state.permit_user_get(&reader, "writer"), DENIED);
    state.permit_role_get(&reader, "r").unwrap();
    assert_eq!(state.permit_role_get(&reader, "w"), DENIED);
    assert_eq!(state.permit_root(&reader), DENIED);
    state.permit_root(&builder.caller(ROOT)).unwrap();
    let nobody = Caller::default();
    for verdict in [
        state.permit_root(&nobody),
        state.permit_user(&nobody),
        state.permit_user_get(&nobody, ""),
        state.permit_role_get(&nobody, "r"),
    ] {
        assert_eq!(verdict, Err(Error::UserEmpty));
    }
    let stranger = builder.caller("stranger");
    assert_eq!(state.permit_root(&stranger), Err(Error::UserNotFound));
    state.permit_user(&stranger).unwrap();
}

fn key() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![Just('a'), Just('b'), Just('c')], 1..3)
        .prop_map(|letters| letters.into_iter().collect())
}

fn end() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("\0".to_owned()), key()]
}

fn holds(key: &[u8], end: &[u8], wanted: &[u8]) -> bool {
    match end {
        b"" => wanted == key,
        b"\0" => wanted >= key,
        end => wanted >= key && wanted < end,
    }
}

/// All keys of one to three letters, and the ones right behind them: enough to tell apart whatever
/// ranges with ends of two letters can differ in.
fn universe() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = vec![Vec::new()];
    for _ in 0..3 {
        let longer: Vec<Vec<u8>> = keys
            .iter()
            .flat_map(|key| {
                b"\0abcd"
                    .iter()
                    .map(|letter| [&key[..], &[*letter]].concat())
            })
            .collect();
        keys.extend(longer);
    }
    keys.retain(|key| !key.is_empty());
    keys.sort();
    keys.dedup();
    keys
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_range_is_permitted_when_each_of_its_keys_is(
        granted in proptest::collection::vec((key(), end()), 0..6),
        asked in (key(), end()),
    ) {
        let mut builder = Builder::enabled();
        builder.role("r").unwrap();
        builder.user("u", &["r"]).unwrap();
        let mut held = Vec::new();
        for (key, end) in granted {
            if builder.grant("r", Type::Read, &key, &end).is_ok() {
                held.push((key, end));
            }
        }
        let (key, end) = (asked.0.as_bytes(), asked.1.as_bytes());
        let inside = universe().into_iter().filter(|wanted| holds(key, end, wanted));
        let permitted = |wanted: &Vec<u8>| {
            held.iter().any(|(key, end)| holds(key.as_bytes(), end.as_bytes(), wanted))
        };
        let inverted = !end.is_empty() && end != b"\0" && end <= key;
        prop_assume!(!inverted);
        let mut wanted: Vec<Vec<u8>> = inside.collect();
        if end == b"\0" {
            wanted.push(b"zzz".to_vec());
        }
        let expected = wanted.iter().all(permitted);
        let got = builder.0.permit_range(&builder.caller("u"), key, end).is_ok();
        prop_assert_eq!(got, expected, "{:?} of {:?}", asked, held);
    }
}
