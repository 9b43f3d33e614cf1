//! Strict serializability, and serializable reads.

use vetcd_sim::check::{
    Counterexample, KnownOrder, Options, Record, Verdict, serializable_reads,
    strict_serializability,
};
use vetcd_sim::history::*;

use crate::build::*;

fn good(operations: Vec<(u64, u64, Request, Outcome)>) {
    let history = history(operations);
    let verdict = strict_serializability::check(&history, &Options::default());
    assert!(verdict.is_ok(), "{verdict}");
}

fn bad(operations: Vec<(u64, u64, Request, Outcome)>) -> Counterexample {
    let history = history(operations);
    strict_serializability::check(&history, &Options::default())
        .violation()
        .unwrap()
}

fn ids(counterexample: &Counterexample) -> Vec<u64> {
    counterexample
        .operations
        .iter()
        .map(|witness| witness.id)
        .collect()
}

#[test]
fn an_empty_history_is_fine() {
    good(vec![]);
}

#[test]
fn two_writers_of_one_revision() {
    let first = (1, 2, put("k", "x"), wrote(2));
    good(vec![first.clone(), (3, 4, put("k", "y"), wrote(3))]);
    let found = bad(vec![first, (3, 4, put("k", "y"), wrote(2))]);
    assert_eq!(ids(&found), [0, 1]);
    assert!(
        found.summary.contains("two operations wrote revision 2"),
        "{found}"
    );
}

#[test]
fn real_time_against_revisions() {
    good(vec![
        (10, 15, put("k", "y"), wrote(3)),
        (12, 13, put("k", "x"), wrote(2)),
    ]);
    let found = bad(vec![
        (5201, 5202, put("k", "y"), wrote(3)),
        (5310, 5311, put("k", "x"), wrote(2)),
    ]);
    assert_eq!(ids(&found), [1, 0]);
    let text = found.to_string();
    assert!(
        text.contains("operation 1 before operation 0 by revision 2 < 3"),
        "{text}"
    );
    assert!(text.contains("operation 0 returned at 5.202 s"), "{text}");
    assert!(text.contains("operation 1 was called at 5.310 s"), "{text}");
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["operations"][0]["id"], 1);
    assert_eq!(json["operations"][0]["invoked"], 5_310_000_000_u64);
}

#[test]
fn a_stale_read() {
    let writes = vec![
        (1, 2, put("k", "x"), wrote(2)),
        (3, 4, put("k", "y"), wrote(3)),
    ];
    let with = |read: (u64, u64, Request, Outcome)| [writes.clone(), vec![read]].concat();
    good(with((5, 6, get("k"), saw(3, &[kv("k", "y", 2, 3, 2)]))));
    good(with((3, 6, get("k"), saw(2, &[kv("k", "x", 2, 2, 1)]))));
    // The header tells: revision 2 was seen after 3 had been acknowledged.
    let found = bad(with((5, 6, get("k"), saw(2, &[kv("k", "x", 2, 2, 1)]))));
    assert_eq!(ids(&found), [2, 1]);
    // The header lies: what it shows is not what revision 3 holds.
    let found = bad(with((5, 6, get("k"), saw(3, &[kv("k", "x", 2, 2, 1)]))));
    assert_eq!(ids(&found), [2, 1, 0]);
    assert_eq!(
        found.expected.as_deref(),
        Some("k = y (mod 3, create 2, version 2)")
    );
    assert_eq!(
        found.found.as_deref(),
        Some("k = x (mod 2, create 2, version 1)")
    );
    assert!(
        found
            .to_string()
            .contains("revision 3 was written by operation 1"),
        "{found}"
    );
    assert!(found.second_opinion.unwrap().contains("the data is wrong"));
}

#[test]
fn the_second_opinion_clears_the_data() {
    let writes = vec![
        (1, 2, put("k", "x"), wrote(2)),
        (3, 4, put("k", "y"), wrote(3)),
    ];
    let read = (5, 6, get("k"), saw(2, &[kv("k", "y", 2, 3, 2)]));
    let found = bad([writes, vec![read]].concat());
    assert!(
        found
            .second_opinion
            .as_ref()
            .unwrap()
            .contains("the revisions are wrong"),
        "{found}"
    );
}

#[test]
fn every_field_of_an_answer_counts() {
    let right = kv("k", "y", 2, 3, 2);
    let read = |kvs: &[KeyValue]| {
        vec![
            (1, 2, put("k", "x"), wrote(2)),
            (3, 4, put("k", "y"), wrote(3)),
            (5, 6, get("k"), saw(3, kvs)),
        ]
    };
    good(read(std::slice::from_ref(&right)));
    let wrong: [fn(&mut KeyValue); 6] = [
        |kv| kv.key = bytes("l"),
        |kv| kv.value = bytes("z"),
        |kv| kv.create_revision = 3,
        |kv| kv.mod_revision = 2,
        |kv| kv.version = 1,
        |kv| kv.lease = 9,
    ];
    for change in wrong {
        let mut kv = right.clone();
        change(&mut kv);
        assert_eq!(ids(&bad(read(&[kv])))[0], 2);
    }
    bad(read(&[]));
    bad(read(&[right.clone(), right.clone()]));
    let counted = |count, more| {
        let body = RangeBody {
            kvs: vec![right.clone()],
            more,
            count,
        };
        Outcome::Ok(Response {
            revision: 3,
            body: Body::Range(body),
        })
    };
    let writes = || {
        vec![
            (1, 2, put("k", "x"), wrote(2)),
            (3, 4, put("k", "y"), wrote(3)),
        ]
    };
    good([writes(), vec![(5, 6, get("k"), counted(1, false))]].concat());
    bad([writes(), vec![(5, 6, get("k"), counted(2, false))]].concat());
    bad([writes(), vec![(5, 6, get("k"), counted(1, true))]].concat());
    // A count that is right though the header is one too low: something is wrong.
    bad([writes(), vec![(5, 6, delete("k"), deleted(4, 2))]].concat());
    good([writes(), vec![(5, 6, delete("k"), deleted(4, 1))]].concat());
    good([writes(), vec![(5, 6, delete("j"), deleted(3, 0))]].concat());
    bad([writes(), vec![(5, 6, delete("k"), deleted(3, 0))]].concat());
    bad([writes(), vec![(5, 6, get("k"), wrote(4))]].concat());
}

#[test]
fn previous_values_are_judged() {
    let asking = Request::Put(Put {
        key: bytes("k"),
        value: bytes("y"),
        prev_kv: true,
        lease: 0,
    });
    let with = |previous: Option<KeyValue>| {
        let body = Body::Put(PutBody { previous });
        let second = (
            3,
            4,
            asking.clone(),
            Outcome::Ok(Response { revision: 3, body }),
        );
        vec![(1, 2, put("k", "x"), wrote(2)), second]
    };
    good(with(Some(kv("k", "x", 2, 2, 1))));
    bad(with(None));
    bad(with(Some(kv("k", "w", 2, 2, 1))));
}

#[test]
fn half_a_transaction() {
    let both = Request::Txn(Txn {
        then: vec![put("a", "1"), put("b", "1")],
        ..Txn::default()
    });
    let done = || branch(2, true, vec![Body::Put(PutBody::default()); 2]);
    let (a, b) = (kv("a", "1", 2, 2, 1), kv("b", "1", 2, 2, 1));
    let seen = |kvs: &[KeyValue]| vec![(1, 2, both.clone(), done()), (3, 4, list(), saw(2, kvs))];
    good(seen(&[a.clone(), b]));
    bad(seen(&[a]));
}

#[test]
fn a_comparison_decided_wrongly() {
    let first = (1, 2, put("k", "x"), wrote(2));
    let done = || branch(3, true, vec![Body::Put(PutBody::default())]);
    let not_done = || {
        let body = RangeBody {
            kvs: vec![kv("k", "x", 2, 2, 1)],
            more: false,
            count: 1,
        };
        branch(2, false, vec![Body::Range(body)])
    };
    good(vec![first.clone(), (3, 4, swap("k", 2, "y"), done())]);
    good(vec![first.clone(), (3, 4, swap("k", 9, "y"), not_done())]);
    bad(vec![first.clone(), (3, 4, swap("k", 9, "y"), done())]);
    bad(vec![first, (3, 4, swap("k", 2, "y"), not_done())]);
}

#[test]
fn a_revision_that_nobody_wrote() {
    let found = bad(vec![(1, 2, put("k", "x"), wrote(3))]);
    assert!(
        found
            .summary
            .contains("no operation can have written revision 2"),
        "{found}"
    );
    // One cannot have written two.
    let unknown = (1, 9, put("l", "x"), lost());
    let found = bad(vec![(1, 2, put("k", "x"), wrote(4)), unknown]);
    let expected = "revision 4 was reached, but 2 revisions have no writer, and no more than 1 \
                    operation of unknown outcome can have written them";
    assert_eq!(found.summary, expected);
    // One of unknown outcome explains it, if it was invoked in time and wrote what was seen.
    let read = (5, 6, get("k"), saw(2, &[kv("k", "x", 2, 2, 1)]));
    good(vec![(1, 9, put("k", "x"), lost()), read.clone()]);
    let found = bad(vec![(1, 9, put("k", "y"), lost()), read.clone()]);
    assert!(
        found
            .summary
            .contains("no operation can have written revision 2"),
        "{found}"
    );
    assert!(found.to_string().contains("it holds k = x"), "{found}");
    bad(vec![(7, 9, put("k", "x"), lost()), read.clone()]);
    bad(vec![(1, 9, put("l", "x"), lost()), read]);
}

#[test]
fn executed_twice() {
    let operations = vec![
        (1, 2, put("k", "x"), wrote(2)),
        (3, 4, get("k"), saw(3, &[kv("k", "x", 2, 3, 2)])),
        (3, 4, put("other", "z"), lost()),
    ];
    let found = bad(operations);
    let text = found.to_string();
    assert!(
        text.contains("content of operation 0, already at 2: executed twice"),
        "{text}"
    );
}

#[test]
fn the_final_store_fills_gaps() {
    let record = |key: &str, value: &str| Record {
        key: bytes(key),
        value: Some(bytes(value)),
    };
    let mut known = KnownOrder {
        compacted: 0,
        revision: 3,
        ..KnownOrder::default()
    };
    known.records.insert(2, vec![record("k", "x")]);
    known.records.insert(3, vec![record("k", "y")]);
    let judge = |known: &KnownOrder, operations| {
        let options = Options {
            known_order: Some(known),
            ..Options::default()
        };
        strict_serializability::check(&history(operations), &options)
    };
    let unknown = |value| (1, 9, put("k", value), lost());
    let certificate = judge(&known, vec![unknown("y"), unknown("x")])
        .ok()
        .unwrap();
    assert_eq!(certificate.statistics.unknown_executed, 2);
    // What is in the store was written by somebody.
    let found = judge(&known, vec![unknown("y"), unknown("z")])
        .violation()
        .unwrap();
    assert!(
        found
            .to_string()
            .contains("because the final store says so"),
        "{found}"
    );
    let found = judge(&known, vec![unknown("y")]).violation().unwrap();
    assert!(
        found
            .to_string()
            .contains("no operation can have written revision 2"),
        "{found}"
    );
}

#[test]
fn leases_end_for_all_their_keys_at_once() {
    let attach = |key: &str| {
        Request::Put(Put {
            key: bytes(key),
            value: bytes("1"),
            lease: 7,
            prev_kv: false,
        })
    };
    let attached = |key: &str, at| KeyValue {
        lease: 7,
        ..kv(key, "1", at, at, 1)
    };
    let ends = |last: Outcome| {
        vec![
            (1, 2, attach("a"), wrote(2)),
            (1, 2, attach("b"), wrote(3)),
            (3, 4, put("c", "1"), wrote(4)),
            (5, 6, list(), last),
        ]
    };
    let c = || kv("c", "1", 4, 4, 1);
    good(ends(saw(4, &[attached("a", 2), attached("b", 3), c()])));
    good(ends(saw(5, &[c()])));
    bad(ends(saw(5, &[attached("b", 3), c()])));
    bad(ends(saw(5, &[attached("a", 2), attached("b", 3)])));
}

#[test]
fn compactions() {
    use FailureClass::{Compacted, FutureRevision};
    let writes = vec![
        (1, 2, put("k", "x"), wrote(2)),
        (3, 4, put("k", "y"), wrote(3)),
    ];
    let with = |more: Vec<(u64, u64, Request, Outcome)>| [writes.clone(), more].concat();
    let old = || saw(3, &[kv("k", "x", 2, 2, 1)]);
    let gone = || refused(Compacted);
    let compaction = |at, revision| (at, at + 1, compact(revision), compacted(3));
    good(with(vec![(5, 6, get_at("k", 2), old())]));
    good(with(vec![compaction(5, 2), (7, 8, get_at("k", 2), old())]));
    good(with(vec![compaction(5, 3), (7, 8, get_at("k", 2), gone())]));
    good(with(vec![compaction(5, 3), (4, 8, get_at("k", 2), old())]));
    bad(with(vec![compaction(5, 3), (7, 8, get_at("k", 2), old())]));
    bad(with(vec![(7, 8, get_at("k", 2), gone())]));
    bad(with(vec![compaction(9, 3), (7, 8, get_at("k", 2), gone())]));
    bad(with(vec![compaction(5, 2), (7, 8, get_at("k", 2), gone())]));
    bad(with(vec![compaction(5, 3), (7, 8, get("k"), gone())]));
    // Order among compactions.
    good(with(vec![compaction(5, 2), compaction(7, 3)]));
    bad(with(vec![compaction(5, 3), compaction(7, 2)]));
    bad(with(vec![compaction(5, 3), compaction(7, 3)]));
    good(with(vec![compaction(5, 3), (7, 8, compact(3), gone())]));
    bad(with(vec![compaction(5, 2), (7, 8, compact(3), gone())]));
    // The future.
    good(with(vec![(5, 6, get_at("k", 4), refused(FutureRevision))]));
    bad(with(vec![(5, 6, get_at("k", 3), refused(FutureRevision))]));
    good(with(vec![(2, 6, get_at("k", 3), refused(FutureRevision))]));
    bad(with(vec![(5, 6, compact(2), refused(FutureRevision))]));
    bad(vec![
        (1, 2, compact(2), compacted(1)),
        (3, 4, put("k", "x"), wrote(2)),
    ]);
    // One of unknown outcome explains a refusal, but not before it was invoked.
    good(with(vec![
        (5, 9, compact(3), lost()),
        (7, 8, get_at("k", 2), gone()),
    ]));
    bad(with(vec![
        (9, 9, compact(3), lost()),
        (7, 8, get_at("k", 2), gone()),
    ]));
    // Having explained it, it holds for everyone.
    let after = (9, 10, get_at("k", 2), old());
    bad(with(vec![
        (5, 9, compact(3), lost()),
        (7, 8, get_at("k", 2), gone()),
        after,
    ]));
}

#[test]
fn out_of_budget_is_no_pass() {
    // Twenty writes of unknown outcome to one key that nobody reads until the end.
    let mut operations: Vec<_> = (0..20).map(|n| (1, 9, swap("k", n, "v"), lost())).collect();
    operations.push((5, 6, put("other", "1"), wrote(12)));
    operations.push((7, 8, get("k"), saw(12, &[kv("k", "never", 2, 11, 10)])));
    let options = Options {
        steps_max: 3,
        ..Options::default()
    };
    let verdict = strict_serializability::check(&history(operations.clone()), &options);
    let decided = strict_serializability::check(&history(operations), &Options::default());
    assert!(decided.is_violation(), "{decided}");
    assert!(
        matches!(verdict, Verdict::Undetermined(_) | Verdict::Violation(_)),
        "{verdict}"
    );
    // Ten gaps, twelve different ways to fill each: far beyond ten steps.
    let mut operations: Vec<_> = (0..12)
        .map(|n| (1, 9, put(&format!("key {n}"), "v"), lost()))
        .collect();
    operations.push((5, 6, put("other", "1"), wrote(12)));
    operations.push((7, 8, get("key 3"), saw(12, &[kv("key 3", "v", 3, 3, 2)])));
    let options = Options {
        steps_max: 100,
        ..Options::default()
    };
    let verdict = strict_serializability::check(&history(operations), &options);
    assert!(matches!(verdict, Verdict::Undetermined(_)), "{verdict}");
}

#[test]
fn malformed_histories_are_no_pass() {
    let mut twice = history(vec![
        (1, 2, put("k", "x"), wrote(2)),
        (3, 4, put("k", "y"), wrote(3)),
    ]);
    twice.operations[1].id = 0;
    let verdict = strict_serializability::check(&twice, &Options::default());
    assert!(matches!(verdict, Verdict::Undetermined(_)), "{verdict}");
    bad(vec![(1, 2, put("k", "x"), wrote(1))]);
    bad(vec![(1, 2, put("k", "x"), wrote(i64::MAX))]);
    bad(vec![(1, 2, get("k"), saw(0, &[]))]);
}

#[test]
fn many_keys() {
    // More keys than one node of the persistent map holds.
    let mut operations: Vec<_> = (0..500_u64)
        .map(|n| {
            let key = format!("a{:03}", n * 7 % 500);
            (n, n + 1, put(&key, "v"), wrote(n as i64 + 2))
        })
        .collect();
    let revision_of = |k: i64| (0..500).find(|n| n * 7 % 500 == k).unwrap() + 2;
    let kvs: Vec<KeyValue> = (0..500)
        .map(|k| kv(&format!("a{k:03}"), "v", revision_of(k), revision_of(k), 1))
        .collect();
    operations.push((600, 601, list(), saw(501, &kvs)));
    good(operations.clone());
    operations.pop();
    operations.push((600, 601, list(), saw(501, &kvs[1..])));
    bad(operations);
}

#[test]
fn the_second_opinion_starts_late_in_a_long_history() {
    let mut operations: Vec<_> = (0..6_000_u64)
        .map(|n| {
            (
                2 * n,
                2 * n + 1,
                put("k", &n.to_string()),
                wrote(n as i64 + 2),
            )
        })
        .collect();
    let stale = kv("k", "5998", 2, 6_000, 5_999);
    operations.push((20_000, 20_001, get("k"), saw(6_001, &[stale])));
    let found = bad(operations);
    let opinion = found.second_opinion.unwrap();
    assert!(opinion.contains("from revision 5800 on"), "{opinion}");
    assert!(opinion.contains("the data is wrong"), "{opinion}");
}

fn serializable(last: (u64, u64, Request, Outcome)) -> Verdict<serializable_reads::Statistics> {
    let writes = vec![
        (1, 2, put("k", "x"), wrote(2)),
        (3, 4, put("k", "y"), wrote(3)),
        (9, 10, put("k", "z"), wrote(4)),
        last,
    ];
    let history = history(writes);
    let options = Options::default();
    let certificate = strict_serializability::check(&history, &options)
        .ok()
        .unwrap();
    serializable_reads::check(&history, &certificate, &options)
}

#[test]
fn serializable_reads_may_be_old_but_not_wrong() {
    let get = || get_serializable("k");
    let stale = serializable((5, 6, get(), saw(2, &[kv("k", "x", 2, 2, 1)])))
        .ok()
        .unwrap();
    assert_eq!((stale.judged, stale.stale), (1, 1));
    let fresh = serializable((5, 6, get(), saw(3, &[kv("k", "y", 2, 3, 2)])))
        .ok()
        .unwrap();
    assert_eq!((fresh.judged, fresh.stale), (1, 0));
    // What it shows never was at that revision.
    let mixed = serializable((5, 6, get(), saw(3, &[kv("k", "x", 2, 2, 1)])))
        .violation()
        .unwrap();
    assert!(
        mixed.summary.contains("shows what revision 3 never was"),
        "{mixed}"
    );
    // What it shows had not been written yet.
    let future = serializable((5, 6, get(), saw(4, &[kv("k", "z", 2, 4, 3)])))
        .violation()
        .unwrap();
    assert!(future.summary.contains("before it was written"), "{future}");
    // There never was such a revision.
    assert!(serializable((5, 6, get(), saw(5, &[]))).is_violation());
}
