//! Strict serializability of data alone, for histories without revisions or whose revisions are
//! not trusted.
//!
//! Nothing forces an order here, so one is searched for: at any time, any operation may come next
//! that was invoked before every other remaining one returned. This is the search of Wing, Gong and
//! Lowe, with these changes: where every operation has one key, each key is searched by itself
//! (orders of single keys always combine); an answer that changes nothing is taken as soon as it is
//! right, with no other choice left open, because moving it to the front of any order keeps the
//! order valid; what was taken is remembered relative to the oldest operation not taken, so that a
//! situation is as small as the number of operations in flight; and operations of unknown outcome
//! that ask for the same thing are interchangeable. Situations seen before are compared exactly, so
//! a collision of hashes can mislead nobody. Out of budget is Undetermined.
//!
//! Not judged: anything about revisions and versions (comparisons of them are believed, as far as
//! the presence of the key leaves it open), reads of old revisions, serializable reads, compactions
//! and refusals.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::certificate::{self, Certificate, Kind, Statistics, Step};
use super::{Counterexample, Options, Verdict};
use crate::history::{History, Operation, Outcome, Request, display_seconds};

mod machine;
mod model;

use machine::{End, Machine};
use model::{Data, Decisions};

const GUARANTEE: &str = "strict serializability of data";

/// A second opinion looks at no more operations than this.
const SECOND_OPINION_OPERATIONS_MAX: usize = 5_000;
/// A second opinion takes no more steps than this.
const SECOND_OPINION_STEPS_MAX: u64 = 200_000;
/// In a long history, a second opinion starts this many revisions before the conflict.
const SECOND_OPINION_REVISIONS: i64 = 200;

/// Judges a history, ignoring revisions.
pub fn check(history: &History, options: &Options<'_>) -> Verdict<Certificate> {
    if let Err(problem) = certificate::well_formed(history) {
        return Verdict::Undetermined(problem);
    }
    let judged: Vec<&Operation> = history.operations.iter().filter(|o| is_judged(o)).collect();
    let mut steps_left = options.steps_max.saturating_add(judged.len() as u64);
    let mut statistics = statistics(history, &judged);
    let budget = steps_left;
    let mut orders = Vec::new();
    for part in parts(&judged) {
        let machine = Machine::new(&part, Data::default());
        match solve(machine, &part, &mut steps_left) {
            Verdict::Ok(order) => orders.push(order),
            Verdict::Violation(counterexample) => return Verdict::Violation(counterexample),
            Verdict::Undetermined(reason) => return Verdict::Undetermined(reason),
        }
    }
    statistics.steps = budget - steps_left;
    let steps = merge(history, orders);
    let known = |step: &Step| matches!(step, Step::Operation(_) | Step::Branches(..));
    let explained = steps.iter().filter(|step| known(step)).count() as u64;
    statistics.unknown_executed = explained - statistics.judged;
    statistics.lease_expiries = steps.len() as u64 - explained;
    let certificate = Certificate {
        kind: Kind::Data,
        steps,
        statistics,
    };
    match certificate::verify(history, &certificate) {
        Ok(()) => Verdict::Ok(certificate),
        Err(problem) => {
            Verdict::Undetermined(format!("the order found does not stand up: {problem}"))
        }
    }
}

fn is_judged(operation: &Operation) -> bool {
    match (&operation.outcome, &operation.request) {
        (_, request) if request.is_serializable() => false,
        (Outcome::Failed(_), _) | (_, Request::Compact(_)) => false,
        (Outcome::Unknown(_), request) => request.may_write(),
        (Outcome::Ok(_), Request::Range(range)) => range.revision <= 0,
        (Outcome::Ok(_), _) => true,
    }
}

fn statistics(history: &History, judged: &[&Operation]) -> Statistics {
    let count = |test: &dyn Fn(&Operation) -> bool| {
        history
            .operations
            .iter()
            .filter(|operation| test(operation))
            .count() as u64
    };
    let unknown = count(&|operation| operation.is_unknown());
    let serializable = count(&|o| !o.is_unknown() && o.request.is_serializable());
    let known = judged
        .iter()
        .filter(|operation| !operation.is_unknown())
        .count() as u64;
    let operations = history.operations.len() as u64;
    Statistics {
        operations,
        judged: known,
        unknown,
        serializable_not_checked: serializable,
        failures_not_checked: operations - unknown - serializable - known,
        ..Statistics::default()
    }
}

fn solve(
    mut machine: Machine<'_>,
    part: &[&Operation],
    steps_left: &mut u64,
) -> Verdict<Vec<Step>> {
    match machine.run(steps_left) {
        End::Explained(order) => Verdict::Ok(order),
        End::Impossible => explain(&machine, part).into(),
        End::Exhausted(reason) => Verdict::Undetermined(reason),
    }
}

fn explain(machine: &Machine<'_>, part: &[&Operation]) -> Counterexample {
    let (taken, mut open) = machine.deepest();
    open.sort_by_key(|operation| operation.returned);
    let first = open.first().map_or(0, |operation| operation.id);
    let summary = format!("no order of the operations explains operation {first}");
    let reason = format!(
        "of {} operations, {taken} of known outcome can be put in order; then none of those in \
         flight can be next",
        part.len()
    );
    let start = Counterexample::new(GUARANTEE, summary).because(reason);
    open.into_iter().take(3).fold(start, Counterexample::with)
}

/// The operations by key when each has just one, else all of them together.
fn parts<'a>(judged: &[&'a Operation]) -> Vec<Vec<&'a Operation>> {
    let mut by_key: BTreeMap<&Bytes, Vec<&'a Operation>> = BTreeMap::new();
    for operation in judged {
        match only_key(&operation.request) {
            Some(key) => by_key.entry(key).or_default().push(operation),
            None => return vec![judged.to_vec()],
        }
    }
    by_key.into_values().collect()
}

/// The one key a request is about; `None` when there are several, or a lease ties keys together.
fn only_key(request: &Request) -> Option<&Bytes> {
    match request {
        Request::Range(range) => range.range_end.is_empty().then_some(&range.key),
        Request::Put(put) => (put.lease == 0).then_some(&put.key),
        Request::Delete(delete) => delete.range_end.is_empty().then_some(&delete.key),
        Request::Txn(txn) => {
            let compared = txn
                .compare
                .iter()
                .map(|c| c.range_end.is_empty().then_some(&c.key));
            let inner = txn.then.iter().chain(&txn.otherwise).map(only_key);
            let mut keys = compared.chain(inner);
            let first = keys.next()??;
            keys.all(|key| key == Some(first)).then_some(first)
        }
        Request::Compact(_) => None,
    }
}

/// Combines the orders of single keys: each operation gets the earliest point its own order allows.
fn merge(history: &History, mut orders: Vec<Vec<Step>>) -> Vec<Step> {
    if orders.len() == 1 {
        return orders.pop().unwrap_or_default();
    }
    let invoked: BTreeMap<u64, u64> = history
        .operations
        .iter()
        .map(|operation| (operation.id, operation.invoked))
        .collect();
    let mut points = Vec::new();
    for order in orders {
        let mut point = 0;
        for step in order {
            if let Step::Operation(id) | Step::Branches(id, _) = &step {
                point = point.max(invoked.get(id).copied().unwrap_or(0));
            }
            points.push((point, step));
        }
    }
    points.sort_by_key(|(point, _)| *point);
    points.into_iter().map(|(_, step)| step).collect()
}

/// Judges the part of a history around a counterexample again, with revisions ignored: is the data
/// wrong, or only what is said about revisions?
pub(super) fn second_opinion(history: &History, counterexample: &Counterexample) -> String {
    let Some(end) = counterexample
        .operations
        .iter()
        .filter_map(|o| o.returned)
        .max()
    else {
        return "not judged: no operation of the counterexample returned".to_owned();
    };
    let mut window: Vec<Operation> = history
        .operations
        .iter()
        .filter(|o| o.invoked <= end && is_judged(o))
        .cloned()
        .collect();
    for operation in &mut window {
        if operation.returned.is_none_or(|returned| returned > end) {
            operation.outcome = Outcome::Unknown("after the window".to_owned());
        }
    }
    let mut data = Data::default();
    let mut from = String::new();
    if window.len() > SECOND_OPINION_OPERATIONS_MAX {
        let ids: Vec<u64> = counterexample
            .operations
            .iter()
            .map(|witness| witness.id)
            .collect();
        let Some((start, revision)) = cut(&mut window, &ids) else {
            return "not judged: too many operations lead up to the conflict".to_owned();
        };
        data = start;
        from = format!(" from revision {revision} on");
    }
    let window: Vec<&Operation> = window
        .iter()
        .filter(|operation| is_judged(operation))
        .collect();
    let mut steps_left = SECOND_OPINION_STEPS_MAX;
    let machine = Machine::new(&window, data);
    let what = format!(
        "{} operations{from} up to {}",
        window.len(),
        display_seconds(end)
    );
    match solve(machine, &window, &mut steps_left) {
        Verdict::Ok(_) => {
            format!("the data of {what} can be put in order: the revisions are wrong")
        }
        Verdict::Violation(_) => {
            format!("no order explains the data of {what} either: the data is wrong")
        }
        Verdict::Undetermined(_) => format!("no verdict on {what} within the budget"),
    }
}

/// Replaces the operations up to a revision some way before the conflict by the state they lead
/// to, if every revision so far has a writer of known outcome.
fn cut(window: &mut Vec<Operation>, ids: &[u64]) -> Option<(Data, i64)> {
    let revision = |operation: &Operation| operation.response().map(|response| response.revision);
    let conflict = window
        .iter()
        .filter(|operation| ids.contains(&operation.id));
    let last = conflict.filter_map(revision).min()? - SECOND_OPINION_REVISIONS;
    let is_writer = |o: &&Operation| o.response().is_some_and(|r| r.body.is_effect());
    let mut writers: Vec<&Operation> = window.iter().filter(is_writer).collect();
    writers.retain(|operation| revision(operation).is_some_and(|revision| revision <= last));
    writers.sort_by_key(|operation| revision(operation));
    let mut data = Data::default();
    for (expected, writer) in (2..=last).zip(&writers) {
        let body = writer.response().map(|response| &response.body);
        if revision(writer) != Some(expected)
            || !data.execute(&writer.request, body, &mut Decisions::default())
        {
            return None;
        }
    }
    if i64::try_from(writers.len()) != Ok(last - 1) {
        return None;
    }
    window.retain(|operation| revision(operation).is_none_or(|revision| revision > last));
    (window.len() <= SECOND_OPINION_OPERATIONS_MAX).then_some((data, last))
}
