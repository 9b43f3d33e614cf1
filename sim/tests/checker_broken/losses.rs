//! Lost writes, and what remains after them.

use vetcd_sim::check::after_loss::{self, until, without_lost};
use vetcd_sim::check::loss::{self, PowerLoss, Promise};
use vetcd_sim::check::{KnownOrder, Options, Record, Verdict};
use vetcd_sim::history::*;

use crate::build::*;

const MS: u64 = 1_000_000;

/// A store that wrote these keys and values from revision 2 on.
fn store(values: &[(&str, &str)]) -> KnownOrder {
    let record = |(key, value): &(&str, &str)| {
        vec![Record {
            key: bytes(key),
            value: Some(bytes(value)),
        }]
    };
    KnownOrder {
        compacted: 0,
        revision: values.len() as i64 + 1,
        records: (2..).zip(values.iter().map(record)).collect(),
        ..KnownOrder::default()
    }
}

fn power(at: u64) -> Vec<PowerLoss> {
    vec![PowerLoss {
        at: at * MS,
        members: vec![1, 2, 3],
    }]
}

/// Three writes, acknowledged at 2, 4 and 6 ms.
fn three() -> Vec<(u64, u64, Request, Outcome)> {
    vec![
        (1, 2, put("a", "1"), wrote(2)),
        (3, 4, put("b", "1"), wrote(3)),
        (5, 6, put("a", "2"), wrote(4)),
    ]
}

#[test]
fn what_is_there_is_not_lost() {
    let known = store(&[("a", "1"), ("b", "1"), ("a", "2")]);
    let report = loss::check(&history(three()), &known, &[], Promise::NeverLost)
        .ok()
        .unwrap();
    assert_eq!(
        (report.acknowledged, report.present, report.lost.len()),
        (3, 3, 0)
    );
}

#[test]
fn a_lost_write_against_every_promise() {
    let history = history(three());
    for known in [
        store(&[("a", "1"), ("b", "1")]),
        store(&[("a", "1"), ("b", "1"), ("c", "9")]),
    ] {
        let judge = |losses: &[PowerLoss], promise| loss::check(&history, &known, losses, promise);
        let found = judge(&power(9), Promise::NeverLost).violation().unwrap();
        assert_eq!(found.operations[0].id, 2, "{found}");
        assert!(found.to_string().contains("none may be lost"), "{found}");
        // Without a power loss no promise allows it; nor one from before.
        let found = judge(&[], Promise::LostAfterPowerLoss).violation().unwrap();
        assert!(
            found.to_string().contains("no power was lost after"),
            "{found}"
        );
        assert!(judge(&power(4), Promise::LostAfterPowerLoss).is_violation());
        let report = judge(&power(9), Promise::LostAfterPowerLoss).ok().unwrap();
        assert_eq!((report.lost.len(), report.worst_age), (1, 3 * MS));
        assert_eq!(report.lost[0].power_loss, Some(9 * MS));
        assert!(judge(&power(9), Promise::LostWithin(3 * MS)).is_ok());
        let found = judge(&power(9), Promise::LostWithin(3 * MS - 1))
            .violation()
            .unwrap();
        assert!(
            found
                .to_string()
                .contains("0.003 s before members [1, 2, 3] lost power"),
            "{found}"
        );
        // On its way when power was lost.
        let report = judge(&power(6), Promise::LostWithin(0)).ok().unwrap();
        assert_eq!(report.worst_age, 0);
    }
}

#[test]
fn a_write_seen_after_one_power_loss_was_lost_in_the_next() {
    let known = store(&[("a", "1"), ("b", "1")]);
    let mut operations = three();
    operations.push((11, 12, get("a"), saw(4, &[kv("a", "2", 2, 4, 2)])));
    let losses = [power(9), power(20)].concat();
    let report = loss::check(
        &history(operations),
        &known,
        &losses,
        Promise::LostAfterPowerLoss,
    )
    .ok()
    .unwrap();
    assert_eq!(report.lost[0].power_loss, Some(20 * MS));
    assert_eq!(report.worst_age, 14 * MS);
}

#[test]
fn compacted_revisions_are_counted_as_not_checked() {
    let mut known = store(&[("a", "1"), ("b", "1"), ("a", "2")]);
    known.compacted = 4;
    known.records.remove(&2);
    let history = history(three());
    let report = loss::check(&history, &known, &[], Promise::NeverLost)
        .ok()
        .unwrap();
    assert_eq!((report.present, report.not_checked), (2, 1));
    // What remains at a compacted revision still convicts.
    known.records.insert(
        2,
        vec![Record {
            key: bytes("a"),
            value: Some(bytes("other")),
        }],
    );
    assert!(loss::check(&history, &known, &[], Promise::NeverLost).is_violation());
}

#[test]
fn deletes_are_lost_too() {
    let operations = || {
        vec![
            (1, 2, put("a", "1"), wrote(2)),
            (3, 4, delete("a"), deleted(3, 1)),
        ]
    };
    let mut known = store(&[("a", "1")]);
    let judge =
        |known: &KnownOrder| loss::check(&history(operations()), known, &[], Promise::NeverLost);
    assert!(judge(&known).is_violation());
    known.revision = 3;
    known.records.insert(
        3,
        vec![Record {
            key: bytes("a"),
            value: None,
        }],
    );
    assert!(judge(&known).is_ok());
    known.records.insert(
        3,
        vec![Record {
            key: bytes("b"),
            value: None,
        }],
    );
    assert!(judge(&known).is_violation());
}

fn after(
    operations: Vec<(u64, u64, Request, Outcome)>,
    known: &KnownOrder,
    losses: &[PowerLoss],
    promise: Promise,
) -> Verdict<after_loss::AfterLoss> {
    after_loss::check(
        &history(operations),
        known,
        losses,
        promise,
        &Options::default(),
    )
}

/// `three`, a read of the last; power lost at 9 ms; then another write takes its revision.
fn rolled_back() -> Vec<(u64, u64, Request, Outcome)> {
    let mut operations = three();
    operations.push((7, 8, get("a"), saw(4, &[kv("a", "2", 2, 4, 2)])));
    operations.push((11, 12, get("a"), saw(3, &[kv("a", "1", 2, 2, 1)])));
    operations.push((13, 14, put("c", "9"), wrote(4)));
    operations.push((
        15,
        16,
        list(),
        saw(
            4,
            &[
                kv("a", "1", 2, 2, 1),
                kv("b", "1", 3, 3, 1),
                kv("c", "9", 4, 4, 1),
            ],
        ),
    ));
    operations
}

#[test]
fn an_expected_loss_leaves_a_history_that_holds() {
    let known = store(&[("a", "1"), ("b", "1"), ("c", "9")]);
    let promise = Promise::LostAfterPowerLoss;
    let verdict = after(rolled_back(), &known, &power(9), promise);
    let done = verdict.ok().unwrap();
    assert_eq!(done.rolled_back, 2);
    let left = without_lost(&history(rolled_back()), &known, &power(9), promise);
    assert_eq!(left.dropped.into_iter().collect::<Vec<_>>(), [2, 3]);
    assert!(left.undecided.is_empty());
    // Where none may be lost, it is what it is.
    assert!(after(rolled_back(), &known, &power(9), Promise::NeverLost).is_violation());
    assert!(after(rolled_back(), &known, &[], promise).is_violation());
    assert!(
        after(
            rolled_back(),
            &known,
            &power(9),
            Promise::LostWithin(2 * MS)
        )
        .is_violation()
    );
    assert!(
        after(
            rolled_back(),
            &known,
            &power(9),
            Promise::LostWithin(3 * MS)
        )
        .is_ok()
    );
}

#[test]
fn a_loss_excuses_nothing_else() {
    let known = store(&[("a", "1"), ("b", "1"), ("c", "9")]);
    let judge = |operations| after(operations, &known, &power(9), Promise::LostAfterPowerLoss);
    // A read before the loss that was wrong even then.
    let mut operations = rolled_back();
    operations[3] = (7, 8, get("a"), saw(4, &[kv("a", "1", 2, 2, 1)]));
    let found = judge(operations).violation().unwrap();
    assert!(
        found
            .to_string()
            .contains("before power was lost at 0.009 s"),
        "{found}"
    );
    let mut operations = rolled_back();
    operations[3] = (7, 8, get("a"), saw(3, &[kv("a", "1", 2, 2, 1)]));
    assert!(judge(operations).is_violation());
    // A read after the loss that still sees what was lost.
    let mut operations = rolled_back();
    operations[4] = (11, 12, get("a"), saw(4, &[kv("a", "2", 2, 4, 2)]));
    assert!(judge(operations).is_violation());
    // A read after the loss that misses what was not lost.
    let mut operations = rolled_back();
    operations[4] = (11, 12, get("a"), saw(2, &[kv("a", "1", 2, 2, 1)]));
    assert!(judge(operations).is_violation());
    // Two writers of one revision after the loss.
    let mut operations = rolled_back();
    operations.push((15, 16, put("c", "9"), wrote(4)));
    assert!(judge(operations).is_violation());
}

#[test]
fn what_was_only_seen_may_be_lost_as_well() {
    // The write of revision 3 was never acknowledged, but it was seen, and then lost.
    let operations = || {
        vec![
            (1, 2, put("a", "1"), wrote(2)),
            (3, 9, put("a", "2"), lost()),
            (5, 6, get("a"), saw(3, &[kv("a", "2", 2, 3, 2)])),
            (11, 12, get("a"), saw(2, &[kv("a", "1", 2, 2, 1)])),
        ]
    };
    let known = store(&[("a", "1")]);
    assert!(after(operations(), &known, &power(9), Promise::LostAfterPowerLoss).is_ok());
    assert!(after(operations(), &known, &power(9), Promise::NeverLost).is_violation());
    assert!(after(operations(), &known, &power(9), Promise::LostWithin(2 * MS)).is_violation());
}

#[test]
fn in_flight_at_the_loss_belongs_to_either_line() {
    let known = store(&[("a", "1"), ("b", "1"), ("c", "9")]);
    let judge = |operations| after(operations, &known, &power(9), Promise::LostAfterPowerLoss);
    let mut operations = rolled_back();
    // Answered before the loss, but the answer arrived after it.
    operations[3] = (7, 10, get("a"), saw(4, &[kv("a", "2", 2, 4, 2)]));
    assert!(judge(operations).is_ok());
    // No write of this value is known on any line.
    let mut operations = rolled_back();
    operations[3] = (7, 10, get("a"), saw(4, &[kv("a", "3", 2, 4, 2)]));
    let verdict = judge(operations);
    assert!(matches!(verdict, Verdict::Undetermined(_)), "{verdict}");
}

#[test]
fn until_a_moment() {
    let mut operations = three();
    operations.push((7, 12, get("a"), saw(4, &[kv("a", "2", 2, 4, 2)])));
    operations.push((11, 12, put("c", "1"), wrote(5)));
    let before = until(&history(operations), 9 * MS);
    assert_eq!(before.operations.len(), 4);
    assert!(before.operations[3].is_unknown());
}
