//! The verifier of orders, and the search without revisions.

use vetcd_sim::check::certificate::{Certificate, Kind, Step, verify};
use vetcd_sim::check::{Options, Verdict, search};
use vetcd_sim::history::*;

use crate::build::*;

fn order(kind: Kind, ids: &[u64]) -> Certificate {
    let steps = ids.iter().map(|id| Step::Operation(*id)).collect();
    Certificate {
        kind,
        steps,
        statistics: Default::default(),
    }
}

#[test]
fn the_verifier_trusts_nothing() {
    let history = history(vec![
        (1, 2, put("k", "x"), wrote(2)),
        (1, 4, put("k", "y"), wrote(3)),
        (5, 6, get("k"), saw(3, &[kv("k", "y", 2, 3, 2)])),
        (1, 9, put("k", "never"), lost()),
        (7, 8, get("k"), saw(3, &[kv("k", "y", 2, 3, 2)])),
    ]);
    let check = |ids: &[u64]| verify(&history, &order(Kind::Revisions, ids));
    assert_eq!(check(&[0, 1, 2, 4]), Ok(()));
    for (ids, reason) in [
        (&[0, 1, 4][..], "operation 2 is not explained"),
        (&[0, 1, 2, 2], "operation 2 stands in the order twice"),
        (&[0, 1, 2, 7], "there is no operation 7"),
        (&[1, 0, 2, 4], "operation 1: revision 1 becomes 2"),
        (&[0, 2, 1, 4], "operation 2: revision 2 becomes 2"),
        (
            &[0, 1, 4, 2],
            "operation 2 returned before one ahead of it was invoked",
        ),
        (&[0, 3, 1, 2], "operation 1: revision 3 becomes 4"),
    ] {
        let found = check(ids).unwrap_err();
        assert!(found.contains(reason), "{ids:?}: {found}");
    }
    // An operation of unknown outcome may be put where nobody notices.
    assert_eq!(check(&[0, 1, 2, 4, 3]), Ok(()));
    assert!(verify(&history, &order(Kind::Data, &[1, 0, 2, 4])).is_err());
    assert_eq!(verify(&history, &order(Kind::Data, &[0, 1, 2, 4])), Ok(()));
}

/// An answer from a store without revisions.
fn value(value: &str) -> Outcome {
    match value {
        "" => saw(0, &[]),
        value => saw(0, &[kv("k", value, 0, 0, 0)]),
    }
}

fn judge(operations: Vec<(u64, u64, Request, Outcome)>) -> Verdict<Certificate> {
    search::check(&history(operations), &Options::default())
}

#[test]
fn registers_without_revisions() {
    let x = || (1, 2, put("k", "x"), wrote(0));
    let y = || (3, 4, put("k", "y"), wrote(0));
    assert!(judge(vec![x(), y(), (5, 6, get("k"), value("y"))]).is_ok());
    assert!(judge(vec![x(), y(), (3, 6, get("k"), value("x"))]).is_ok());
    let found = judge(vec![x(), y(), (5, 6, get("k"), value("x"))])
        .violation()
        .unwrap();
    assert!(found.to_string().contains("operation 2"), "{found}");
    // Two readers may not see two concurrent writes in opposite orders.
    let writes = || {
        vec![
            (1, 9, put("k", "x"), wrote(0)),
            (1, 9, put("k", "y"), wrote(0)),
        ]
    };
    let reads = |a: &str, b: &str, c: &str, d: &str| {
        vec![
            (2, 3, get("k"), value(a)),
            (4, 5, get("k"), value(b)),
            (6, 7, get("k"), value(c)),
            (8, 9, get("k"), value(d)),
        ]
    };
    assert!(judge([writes(), reads("x", "x", "y", "y")].concat()).is_ok());
    assert!(judge([writes(), reads("x", "y", "x", "y")].concat()).is_violation());
    assert!(judge([writes(), reads("", "y", "x", "x")].concat()).is_ok());
}

#[test]
fn unknown_outcomes_without_revisions() {
    let read = |v: &str| (5, 6, get("k"), value(v));
    let unknown = || (1, 9, put("k", "x"), lost());
    assert!(judge(vec![unknown(), read("x")]).is_ok());
    assert!(judge(vec![unknown(), read("")]).is_ok());
    assert!(judge(vec![unknown(), read("y")]).is_violation());
    assert!(judge(vec![(7, 9, put("k", "x"), lost()), read("x")]).is_violation());
    // It happens at most once.
    let gone = (7, 8, delete("k"), deleted(0, 1));
    let again = (9, 10, get("k"), value("x"));
    assert!(judge(vec![unknown(), read("x"), gone.clone()]).is_ok());
    assert!(judge(vec![unknown(), read("x"), gone, again]).is_violation());
    // A comparison of revisions may go either way when nobody saw how it went.
    let first = (1, 2, put("k", "a"), wrote(0));
    let swapped = (3, 9, swap("k", 5, "b"), lost());
    assert!(
        judge(vec![
            first.clone(),
            swapped.clone(),
            (5, 6, get("k"), value("b"))
        ])
        .is_ok()
    );
    assert!(judge(vec![first, swapped, (5, 6, get("k"), value("a"))]).is_ok());
}

#[test]
fn keys_are_searched_apart_and_orders_combined() {
    let mut operations = vec![];
    for n in 0..40 {
        let key = format!("k{n}");
        operations.push((n, 100 + n, put(&key, "x"), wrote(0)));
        operations.push((n, 100 + n, put(&key, "y"), wrote(0)));
        operations.push((200 + n, 300, get(&key), saw(0, &[kv(&key, "x", 0, 0, 0)])));
    }
    assert!(judge(operations).is_ok());
}

#[test]
fn out_of_budget_is_no_pass() {
    let mut operations: Vec<_> = (0..14)
        .map(|n| (1, 9, put("k", &n.to_string()), wrote(0)))
        .collect();
    operations.push((10, 11, get("k"), value("0")));
    operations.push((12, 13, get("k"), value("1")));
    let options = Options {
        steps_max: 100,
        ..Options::default()
    };
    let verdict = search::check(&history(operations), &options);
    assert!(matches!(verdict, Verdict::Undetermined(_)), "{verdict}");
}

#[test]
fn histories_survive_the_round_trip() {
    let mut history = history(vec![
        (1, 2, put("k", "x"), wrote(2)),
        (
            3,
            4,
            swap("k", 2, "y"),
            branch(3, true, vec![Body::Put(PutBody::default())]),
        ),
        (3, 4, list(), saw(3, &[kv("k", "y", 2, 3, 2)])),
        (5, 6, compact(3), compacted(3)),
        (7, 8, get_at("k", 2), refused(FailureClass::Compacted)),
        (7, 8, delete("k"), lost()),
    ]);
    if let Request::Put(put) = &mut history.operations[0].request {
        put.value = bytes::Bytes::from_static(b"\xff\x00binary");
    }
    let mut text = vec![];
    history.write(&mut text).unwrap();
    assert_eq!(History::read(&text[..]).unwrap(), history);
    let readable = String::from_utf8(text).unwrap();
    assert!(
        readable.contains(r#""key":"k","value":"hex:ff00"#),
        "{readable}"
    );
    assert_eq!(readable.lines().count(), 7);
}

#[test]
fn bad_files_are_refused_by_line() {
    let head = r#"{"format":"vetcd-history","version":1}"#;
    let good = r#"{"id":0,"client":0,"invoked":1,"returned":2,"request":{"op":"put","key":"k","value":"v"},"outcome":{"ok":{"revision":2,"body":{"op":"put"}}}}"#;
    assert_eq!(
        History::read(format!("{head}\n{good}\n").as_bytes())
            .unwrap()
            .operations
            .len(),
        1
    );
    let nested = r#"{"op":"txn","then":["#.repeat(100_000);
    let deep = format!(r#"{{"id":0,"client":0,"invoked":1,"request":{nested}"#);
    for (text, line, reason) in [
        (String::new(), 1, "no header"),
        ("{}".to_owned(), 1, "not the header"),
        (
            r#"{"format":"other","version":1}"#.to_owned(),
            1,
            "expected",
        ),
        (
            format!("{head}\n{good}\n\n{good}\n"),
            4,
            "a second operation with id 0",
        ),
        (format!("{head}\n{{\n"), 2, "EOF"),
        (
            format!(
                "{head}\n{}\n",
                good.replace("\"put\",\"key\"", "\"pat\",\"key\"")
            ),
            2,
            "pat",
        ),
        (
            format!(
                "{head}\n{}\n",
                good.replace("\"returned\":2", "\"returned\":0")
            ),
            2,
            "before",
        ),
        (
            format!("{head}\n{}\n", good.replace(",\"returned\":2", "")),
            2,
            "no time of return",
        ),
        (
            format!("{head}\n{}\n", good.replace("\"v\"", "\"hex:1\"")),
            2,
            "odd number",
        ),
        (
            format!("{head}\n{}\n", good.replace("\"value\"", "\"worth\"")),
            2,
            "worth",
        ),
        (format!("{head}\n{deep}\n"), 2, "recursion"),
    ] {
        let error = History::read(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("line {line}: ")), "{error}");
        assert!(error.contains(reason), "{error}");
    }
}
