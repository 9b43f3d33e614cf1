//! What a person reads about each kind of violation, word for word. `VETCD_GOLDEN=write` writes the
//! files anew.

use std::path::Path;

use vetcd_sim::check::{Options, serializable_reads, strict_serializability};
use vetcd_sim::history::*;

use crate::build::*;

type Line = (u64, u64, Request, Outcome);

/// Names, and operations that are wrong.
fn broken() -> Vec<(&'static str, Vec<Line>)> {
    let writes = || {
        vec![
            (5_100, 5_101, put("k", "x"), wrote(2)),
            (5_200, 5_201, put("k", "y"), wrote(3)),
        ]
    };
    let with = |line: Line| [writes(), vec![line]].concat();
    let x = || kv("k", "x", 2, 2, 1);
    let y = || kv("k", "y", 2, 3, 2);
    let both = Request::Txn(Txn {
        then: vec![put("k", "1"), put("l", "1")],
        ..Txn::default()
    });
    let done = || Body::Put(PutBody::default());
    vec![
        (
            "writes-against-time",
            vec![
                (5_200, 5_201, put("k", "y"), wrote(3)),
                (5_310, 5_311, put("k", "x"), wrote(2)),
            ],
        ),
        ("stale-read", with((5_310, 5_311, get("k"), saw(2, &[x()])))),
        (
            "read-of-the-future",
            with((5_000, 5_050, get("k"), saw(3, &[y()]))),
        ),
        (
            "wrong-value",
            with((5_310, 5_311, get("k"), saw(3, &[x()]))),
        ),
        (
            "value-from-nowhere",
            with((5_310, 5_311, get("k"), saw(3, &[kv("k", "z", 2, 3, 2)]))),
        ),
        ("lost-key", with((5_310, 5_311, get("k"), saw(3, &[])))),
        (
            "wrong-version",
            with((5_310, 5_311, get("k"), saw(3, &[kv("k", "y", 2, 3, 3)]))),
        ),
        (
            "revision-taken-twice",
            with((5_310, 5_311, put("l", "z"), wrote(3))),
        ),
        (
            "revision-nobody-wrote",
            with((5_310, 5_311, put("l", "z"), wrote(5))),
        ),
        (
            "executed-twice",
            vec![
                (5_100, 5_101, put("k", "x"), wrote(2)),
                (5_200, 5_201, get("k"), saw(3, &[kv("k", "x", 2, 3, 2)])),
                (5_200, 5_201, put("other", "z"), lost()),
            ],
        ),
        (
            "half-a-transaction",
            vec![
                (5_100, 5_101, both, branch(2, true, vec![done(), done()])),
                (5_200, 5_201, list(), saw(2, &[kv("k", "1", 2, 2, 1)])),
            ],
        ),
        (
            "comparison-decided-wrongly",
            with((
                5_310,
                5_311,
                swap("k", 2, "z"),
                branch(4, true, vec![done()]),
            )),
        ),
        (
            "nothing-deleted",
            with((5_310, 5_311, delete("k"), deleted(3, 0))),
        ),
        (
            "compacted-and-still-read",
            with((5_310, 5_311, compact(3), compacted(3)))
                .into_iter()
                .chain([(5_400, 5_401, get_at("k", 2), saw(3, &[x()]))])
                .collect(),
        ),
        (
            "never-compacted",
            with((
                5_310,
                5_311,
                get_at("k", 2),
                refused(FailureClass::Compacted),
            )),
        ),
        (
            "serializable-read-of-what-never-was",
            with((5_310, 5_311, get_serializable("k"), saw(3, &[x()]))),
        ),
        (
            "serializable-read-of-the-future",
            with((5_110, 5_111, get_serializable("k"), saw(3, &[y()]))),
        ),
    ]
}

fn told(operations: Vec<Line>) -> String {
    let mut history = history(operations);
    for operation in &mut history.operations {
        operation.member = Some(1 + operation.id as u32 % 3);
    }
    let options = Options::default();
    let found = match strict_serializability::check(&history, &options) {
        vetcd_sim::check::Verdict::Ok(certificate) => {
            serializable_reads::check(&history, &certificate, &options).violation()
        }
        verdict => verdict.violation(),
    };
    let found = found.unwrap();
    assert!(found.operations.len() <= 3, "{found}");
    let json = serde_json::to_value(&found).unwrap();
    let shown = json["operations"].as_array().unwrap();
    assert!(
        shown.iter().all(|operation| operation["member"].is_u64()),
        "{json}"
    );
    format!("{found}\n")
}

#[test]
fn each_violation_is_told_as_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checker_broken/stories.txt");
    let stories: String = broken()
        .into_iter()
        .map(|(name, operations)| format!("== {name}\n{}\n", told(operations)))
        .collect();
    #[allow(clippy::disallowed_methods, reason = "a file of the test's own")]
    if std::env::var("VETCD_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(&folder, &stories).unwrap();
    }
    assert_eq!(stories, std::fs::read_to_string(&folder).unwrap());
}
