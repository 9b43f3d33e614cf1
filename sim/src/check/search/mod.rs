//! Strict serializability of data alone, for histories without revisions or whose revisions are
//! not trusted.
//!
//! Nothing forces an order here, so one is searched for ([`super::depth_first`]). Where every
//! operation has one key, each key is searched by itself: orders of single keys always combine.
//! Values that nobody sees are taken to be one and the same ([`super::unseen`]). An answer that shows
//! what nobody asked to write is found without any search. Out of budget is Undetermined.
//!
//! Not judged: anything about revisions and versions (comparisons of them are believed, as far as
//! the presence of the key leaves it open), reads of old revisions, serializable reads, compactions
//! and refusals.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::certificate::{self, Certificate, Kind, Statistics, Step};
use super::depth_first::{End, Search};
use super::{Counterexample, Options, Verdict, unseen};
use crate::history::{Body, History, KeyValue, Operation, Outcome, Put, Request, display_short};

mod model;
mod moves;
mod opinion;

use model::Data;
use moves::Moves;
pub(super) use opinion::second_opinion;

const GUARANTEE: &str = "strict serializability of data";

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
    let reduced = unseen::without_unseen(&judged);
    let judged: Vec<&Operation> = reduced.iter().collect();
    for part in parts(&judged) {
        match solve(Data::default(), &part, &mut steps_left) {
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

fn solve(data: Data, part: &[&Operation], steps_left: &mut u64) -> Verdict<Vec<Step>> {
    if let Some(counterexample) = from_nowhere(&data, part) {
        return counterexample.into();
    }
    let mut search = Search::new(Moves::default(), data, part.iter().copied());
    match search.run(steps_left) {
        End::Explained(order) => Verdict::Ok(order),
        End::Impossible if search.model().incomplete() => Verdict::Undetermined(
            "a transaction has too many comparisons that may go either way".to_owned(),
        ),
        End::Impossible => explain(search.deepest(), part).into(),
        End::Exhausted => {
            Verdict::Undetermined("no order of the data found within the budget".to_owned())
        }
    }
}

/// An answer that shows a value which nobody asked to write.
fn from_nowhere(data: &Data, part: &[&Operation]) -> Option<Counterexample> {
    let held = data.keys.iter().map(|(key, held)| (key, &held.0));
    let mut written: BTreeSet<(&Bytes, &Bytes)> = held.collect();
    for operation in part {
        each_put(&operation.request, &mut |put| {
            written.insert((&put.key, &put.value));
        });
    }
    part.iter().find_map(|operation| {
        let mut lie = None;
        if let Some(response) = operation.response() {
            each_shown(&operation.request, &response.body, &mut |kv| {
                if !written.contains(&(&kv.key, &kv.value)) {
                    lie.get_or_insert(kv);
                }
            });
        }
        let kv = lie?;
        let summary = format!(
            "operation {} shows {} = {}, which nobody wrote",
            operation.id,
            display_short(&kv.key),
            display_short(&kv.value)
        );
        Some(Counterexample::new(GUARANTEE, summary).with(*operation))
    })
}

/// Calls `visit` with everything that a request may put.
fn each_put<'a>(request: &'a Request, visit: &mut impl FnMut(&'a Put)) {
    match request {
        Request::Put(put) => visit(put),
        Request::Txn(txn) => {
            for inner in txn.then.iter().chain(&txn.otherwise) {
                each_put(inner, visit);
            }
        }
        Request::Range(_) | Request::Delete(_) | Request::Compact(_) => {}
    }
}

/// Calls `visit` with what an answer shows of the present, values included.
fn each_shown<'a>(request: &Request, body: &'a Body, visit: &mut impl FnMut(&'a KeyValue)) {
    match (request, body) {
        (Request::Range(range), Body::Range(body)) if range.revision <= 0 && !range.keys_only => {
            body.kvs.iter().for_each(visit);
        }
        (Request::Put(_), Body::Put(body)) => body.previous.iter().for_each(visit),
        (Request::Delete(_), Body::Delete(body)) => body.previous.iter().for_each(visit),
        (Request::Txn(txn), Body::Txn(body)) => {
            let requests = match body.succeeded {
                true => &txn.then,
                false => &txn.otherwise,
            };
            for (request, body) in requests.iter().zip(&body.responses) {
                each_shown(request, body, visit);
            }
        }
        _ => {}
    }
}

fn explain((taken, mut open): (usize, Vec<&Operation>), part: &[&Operation]) -> Counterexample {
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
