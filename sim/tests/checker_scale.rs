//! Histories of ten thousand operations, from the generator of the benchmark: decided, whatever is
//! unknown, and not passed when one answer is wrong. How long it takes is the benchmark's business.

#![allow(clippy::unwrap_used)]

use vetcd_sim::check::{KnownOrder, Options, Verdict, certificate, strict_serializability};
use vetcd_sim::history::{Body, History, Outcome, Response};

#[path = "../benches/checker/generate.rs"]
mod generate;

use generate::{Shape, generate};

fn shape(clients: u64, unknown_per_mille: u64, values: u64) -> Shape {
    Shape {
        operations: 10_000,
        clients,
        unknown_per_mille,
        values,
        seed: 1,
    }
}

/// Passes the history with no more than a few judgements for each operation.
#[track_caller]
fn passes(history: &History, known: Option<&KnownOrder>) {
    let options = Options {
        known_order: known,
        steps_max: 3 * history.operations.len() as u64,
        ..Options::default()
    };
    let verdict = strict_serializability::check(history, &options);
    let Verdict::Ok(order) = verdict else {
        panic!("{verdict}");
    };
    certificate::verify(history, &order).unwrap();
}

#[test]
fn few_unknown_outcomes_are_no_effort() {
    for clients in [8, 1000] {
        let (history, known) = generate(shape(clients, 5, u64::MAX));
        passes(&history, None);
        passes(&history, Some(&known));
    }
}

/// Who wrote what cannot be told by values, and there is no record of the final store.
#[test]
fn five_percent_unknown_and_repeated_values_are_decided() {
    for clients in [8, 100, 1000] {
        for values in [1, 5, u64::MAX] {
            let (history, _) = generate(shape(clients, 50, values));
            passes(&history, None);
        }
    }
}

#[test]
fn one_wrong_version_is_found_among_unknown_outcomes() {
    let (mut history, _) = generate(shape(8, 20, 5));
    let mut operations = history.operations.iter_mut().rev();
    let read = operations.find_map(|operation| match &mut operation.outcome {
        Outcome::Ok(Response {
            body: Body::Range(body),
            ..
        }) => body.kvs.first_mut(),
        _ => None,
    });
    read.unwrap().version += 1;
    let verdict = strict_serializability::check(&history, &Options::default());
    assert!(verdict.is_violation(), "{verdict}");
}
