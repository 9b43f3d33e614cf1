//! The judges against brute force, on small random histories: they must agree in both directions.
//!
//! `VETCD_FUZZ_CASES` sets the number of cases of each judge, `VETCD_FUZZ_SEED` another stream of
//! them, `VETCD_MUTATIONS` the number of long histories with one lie. Every night:
//! `VETCD_FUZZ_CASES=1000000 VETCD_MUTATIONS=1000 cargo test --release -p vetcd-sim --test
//! checker_fuzz -- --nocapture`.

#![allow(clippy::unwrap_used)]

mod cases;
mod data;
mod mutation;
mod naive;
mod watches;

use std::cell::Cell;

use proptest::prelude::{Strategy, TestCaseError};
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use vetcd_sim::check::after_loss;
use vetcd_sim::check::loss::{self, PowerLoss, Promise};
use vetcd_sim::check::{
    Options, Verdict, certificate, search, serializable_reads, strict_serializability, watch,
};
use vetcd_sim::history::History;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[derive(Default)]
struct Counts {
    explained: Cell<u32>,
    refuted: Cell<u32>,
    undetermined: Cell<u32>,
}

fn count(cell: &Cell<u32>) {
    cell.set(cell.get() + 1);
}

/// How many cases of each judge are looked at where nothing else is asked for.
const CASES: u64 = 50_000;

/// Runs `judge` on many cases; it returns the verdict and what brute force says.
fn fuzz<P: std::fmt::Debug, T>(
    name: &str,
    refuted_least: f64,
    plans: &impl Strategy<Value = P>,
    judge: impl Fn(&P) -> Option<(Verdict<T>, bool, History)>,
) -> Counts {
    let cases = u32::try_from(number("VETCD_FUZZ_CASES", CASES)).unwrap();
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number("VETCD_FUZZ_SEED", 1).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let counts = Counts::default();
    let result = TestRunner::new_with_rng(config, rng).run(plans, |plan| {
        let Some((verdict, explainable, history)) = judge(&plan) else {
            return Ok(());
        };
        let lines = || -> String {
            let operations = history.operations.iter();
            let watches = history.watches.iter();
            operations
                .map(|operation| format!("\n{operation}"))
                .chain(watches.map(|watch| format!("\n{watch:#?}")))
                .collect()
        };
        match verdict {
            Verdict::Undetermined(reason) => {
                assert!(!reason.contains("stand up"), "{reason}{}", lines());
                count(&counts.undetermined);
            }
            Verdict::Ok(_) if explainable => count(&counts.explained),
            Verdict::Violation(_) if !explainable => count(&counts.refuted),
            Verdict::Ok(_) => {
                let reason = format!("passed, but nothing explains it{}", lines());
                return Err(TestCaseError::fail(reason));
            }
            Verdict::Violation(counterexample) => {
                let reason = format!("refuted, but valid: {counterexample}{}", lines());
                return Err(TestCaseError::fail(reason));
            }
        }
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, _)) => panic!("{name}: {reason}"),
        Err(TestError::Abort(reason)) => panic!("{name}: {reason}"),
    }
    let [explained, refuted, undetermined] =
        [&counts.explained, &counts.refuted, &counts.undetermined].map(Cell::get);
    println!("{name}: {explained} explained, {refuted} refuted, {undetermined} undetermined");
    // A fuzz that only ever sees one kind of history shows nothing.
    let all = explained + refuted + undetermined;
    assert!(
        undetermined * 50 < all,
        "{undetermined} of {all} undetermined"
    );
    let share = |part: u32| f64::from(part) / f64::from(all);
    assert!(
        share(explained) > 0.25 && share(refuted) >= refuted_least,
        "of {all} too few"
    );
    counts
}

#[test]
fn strict_serializability_agrees_with_brute_force() {
    let counts = fuzz("strict", 0.1, &cases::case(), |plan| {
        let (history, _) = plan.history();
        let options = Options {
            second_opinion: false,
            ..Options::default()
        };
        let verdict = strict_serializability::check(&history, &options);
        if let Verdict::Ok(certificate) = &verdict {
            certificate::verify(&history, certificate).unwrap();
        }
        let explainable = naive::explainable(&history, false, None);
        Some((verdict, explainable, history))
    });
    // Only compactions of unknown outcome may leave it open.
    let all = counts.explained.get() + counts.refuted.get() + counts.undetermined.get();
    assert!(counts.undetermined.get() * 200 < all);
}

#[test]
fn strict_serializability_with_the_final_store_agrees_with_brute_force() {
    fuzz("strict, final store known", 0.1, &cases::case(), |plan| {
        let (history, known) = plan.history();
        let options = Options {
            known_order: Some(&known),
            second_opinion: false,
            ..Options::default()
        };
        let verdict = strict_serializability::check(&history, &options);
        let explainable = naive::explainable(&history, false, Some(&known));
        Some((verdict, explainable, history))
    });
}

#[test]
fn serializable_reads_agree_with_brute_force() {
    fuzz("serializable reads", 0.1, &cases::case(), |plan| {
        let history = plan.history_with_doubtful_read();
        if !history
            .operations
            .iter()
            .any(|operation| operation.request.is_serializable())
        {
            return None;
        }
        let options = Options {
            second_opinion: false,
            ..Options::default()
        };
        let certificate = strict_serializability::check(&history, &options).ok()?;
        let verdict = serializable_reads::check(&history, &certificate, &options);
        let explainable = naive::explainable(&history, true, None);
        Some((verdict, explainable, history))
    });
}

#[test]
fn data_search_agrees_with_brute_force() {
    let counts = fuzz("data", 0.05, &cases::case(), |plan| {
        let (history, _) = plan.history();
        let verdict = search::check(&history, &Options::default());
        if let Verdict::Ok(certificate) = &verdict {
            certificate::verify(&history, certificate).unwrap();
        }
        let explainable = data::explainable(&history);
        Some((verdict, explainable, history))
    });
    assert_eq!(counts.undetermined.get(), 0);
}

#[test]
fn watches_agree_with_brute_force() {
    fuzz("watches", 0.1, &watches::plan(), |plan| {
        let case = plan.case();
        let options = watch::Options {
            known_order: Some(&case.known),
            settled: Some(u64::MAX),
            ..watch::Options::default()
        };
        let verdict = watch::check(&case.history, &options);
        Some((verdict, case.keeps_the_promise(), case.history))
    });
}

/// Clients saw a true history of a store that a power loss took back. No alarm may be raised, as
/// long as losses are allowed; and the order of what remains must be a good one.
#[test]
fn expected_losses_raise_no_false_alarm() {
    fuzz("after a loss", 0.0, &cases::case(), |plan| {
        let (history, known, at) = plan.history_with_loss();
        let losses = [PowerLoss {
            at,
            members: vec![1, 2, 3],
        }];
        let promise = Promise::LostAfterPowerLoss;
        let report = loss::check(&history, &known, &losses, promise);
        assert!(report.is_ok(), "{report}");
        let options = Options {
            second_opinion: false,
            ..Options::default()
        };
        let verdict = after_loss::check(&history, &known, &losses, promise, &options);
        if let Verdict::Ok(after) = &verdict {
            certificate::verify(&after.history, &after.certificate).unwrap();
        }
        Some((verdict, true, history))
    });
}
