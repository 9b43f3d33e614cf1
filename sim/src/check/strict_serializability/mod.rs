//! Strict serializability: one order of all operations explains every answer and respects real
//! time.
//!
//! A store with revisions forces almost all of that order, so the judgement is a scan rather than
//! a search. [`plan`] puts every answered operation in the place its header revision demands: the
//! writer's slot of that revision, or among its readers. [`order`] holds the forced order against
//! real time. [`replay`] replays it and compares every field of every answer; revisions that no
//! answered operation wrote must be filled by operations of unknown outcome ([`gaps`]) or by the
//! end of a lease, and only there is anything searched. [`points`] writes down an explicit order,
//! and [`certificate`] replays that with a model of its own. Ok rests on that replay alone: a lie
//! in the headers can only lead to a violation or to no verdict.
//!
//! Why this is complete: in any valid order the store itself forces header revisions, so writers
//! are in the order of their revisions and every reader stands after its revision's writer and
//! before the next. Orders that differ only among the readers of one revision pass through the same
//! states, and the order of invocation never contradicts real time there. An operation of unknown
//! outcome has no return, so only its invocation binds it. And a forced order agrees with real time
//! exactly when no pair of operations contradicts it.
//!
//! Judged: linearizable reads, at old revisions too; puts; deletes; transactions; compactions that
//! succeeded; refusals that say "compacted" or "future revision". **Not judged**, and counted as
//! such: serializable reads ([`super::serializable_reads`] does that), all other refusals, the
//! header revision of compactions (an answer whose revision is taken at an unspecified moment), and
//! when leases end (that is a matter of clocks; here the end of a lease is a change that may happen
//! at any time while keys are attached to it). Compactions by the server itself must be recorded as
//! operations of unknown outcome, or "compacted" is taken for a lie. Where a refusal "compacted"
//! hangs on operations of unknown outcome in more than one way, or a transaction of unknown outcome
//! reads an old revision that was compacted some time, the verdict may be Undetermined.

use super::certificate::{self, Certificate, Kind, Statistics};
use super::{Options, Verdict, search};
use crate::history::History;

mod accounts;
mod assignment;
mod explain;
mod gaps;
mod order;
mod plan;
mod points;
mod replay;
mod roles;
mod verified;
mod witnesses;

use gaps::Gaps;
use order::Order;
use plan::{Plan, Unfit};
use replay::{End, Fill, Replay};

/// Judges a history.
pub fn check(history: &History, options: &Options<'_>) -> Verdict<Certificate> {
    let verdict = judge(history, options, false);
    match verdict {
        Verdict::Violation(mut counterexample) if options.second_opinion => {
            counterexample.second_opinion = Some(search::second_opinion(history, &counterexample));
            Verdict::Violation(counterexample)
        }
        verdict => verdict,
    }
}

/// Judges a history, serializable reads included when `with_serializable` says so.
pub(super) fn judge(
    history: &History,
    options: &Options<'_>,
    with_serializable: bool,
) -> Verdict<Certificate> {
    if let Err(problem) = history.check_the_rest() {
        return malformed(&problem);
    }
    let planned = Plan::new(&history.operations, options.known_order, with_serializable);
    let mut plan = match planned {
        Ok(plan) => plan,
        Err(Unfit::Malformed(problem)) => return malformed(&problem),
        Err(Unfit::Violation(counterexample)) => return Verdict::Violation(counterexample),
    };
    let order = match Order::new(&plan) {
        Ok(order) => order,
        Err(counterexample) => return Verdict::Violation(counterexample),
    };
    if let Some(counterexample) = plan.too_many_revisions.take() {
        return Verdict::Violation(counterexample);
    }
    let witnesses = std::mem::take(&mut plan.witnesses);
    let gaps = Gaps::new(&plan, witnesses, options.known_order);
    let mut replay = Replay::new(&plan, &order, &gaps);
    let steps_max = options
        .steps_max
        .saturating_add(history.operations.len() as u64);
    let fills = match replay.run(steps_max) {
        End::Explained(fills) => fills,
        End::Contradiction(counterexample) => return Verdict::Violation(counterexample),
        End::Exhausted => {
            return Verdict::Undetermined(format!(
                "no verdict within {steps_max} steps: {} operations of unknown outcome may have \
                 filled {} revisions without a definite writer in too many ways; the records of \
                 the final store would decide it",
                plan.unknown_writes.len(),
                plan.gaps
            ));
        }
    };
    let certain = replay.choices_made == 0;
    let statistics = statistics(&plan, &fills, replay.steps);
    let certificate = |steps| Certificate {
        kind: Kind::Revisions,
        steps,
        statistics,
    };
    if let Some(steps) = replay.verified.and_then(|verified| verified.finish(&fills)) {
        return Verdict::Ok(certificate(steps));
    }
    let steps = match points::order(&plan, &order, &fills, certain) {
        Ok(steps) => steps,
        Err(points::Problem::Violation(counterexample)) => {
            return Verdict::Violation(counterexample);
        }
        Err(points::Problem::Undetermined(reason)) => return Verdict::Undetermined(reason),
    };
    let certificate = certificate(steps);
    let reads_past = |(_, fill): &(i64, Fill)| match fill {
        Fill::Operation(index) => plan.reads_past(*index),
        Fill::Expiry(_) => false,
    };
    match certificate::verify(history, &certificate) {
        Ok(()) => Verdict::Ok(certificate),
        Err(_) if fills.iter().any(reads_past) => Verdict::Undetermined(
            "a transaction of unknown outcome reads an old revision that may have been compacted"
                .to_owned(),
        ),
        Err(problem) => {
            Verdict::Undetermined(format!("the order found does not stand up: {problem}"))
        }
    }
}

fn malformed(problem: &str) -> Verdict<Certificate> {
    Verdict::Undetermined(format!("malformed history: {problem}"))
}

fn statistics(plan: &Plan<'_>, fills: &[(i64, Fill)], steps: u64) -> Statistics {
    let operations = plan.operations.len() as u64;
    let unknown = plan.unknown;
    let expiries = fills
        .iter()
        .filter(|(_, fill)| matches!(fill, Fill::Expiry(_)))
        .count() as u64;
    Statistics {
        operations,
        judged: operations - unknown - plan.not_checked.serializable - plan.not_checked.failures,
        unknown,
        unknown_executed: fills.len() as u64 - expiries,
        lease_expiries: expiries,
        serializable_not_checked: plan.not_checked.serializable,
        failures_not_checked: plan.not_checked.failures,
        last_revision: plan.last,
        steps,
    }
}
