//! Strict serializability (linearizability, where operations have one object) of histories without
//! revisions: registers, strings and lists that grow.
//!
//! Lists whose elements are unique tell the order of their writes, and [`lists`] decides them in
//! linear time. Everything else is searched for an order ([`search`]), object by object where every
//! operation has one: orders of single objects always combine. An Ok comes with an explicit order,
//! which [`verify`] replays with a model of its own. Of a violation, [`explain`] keeps only the
//! operations that cannot all be right. Out of budget is Undetermined.
//!
//! **Not judged**: reads whose result nobody wrote down.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use super::{Options, Verdict};
use crate::history::objects::{ObjectHistory, ObjectOperation};

mod explain;
mod lists;
mod search;
pub mod verify;

use search::{End, search};

const GUARANTEE: &str = "strict serializability";

/// A total order of operations that explains a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// The ids of the operations, in order. Those of unknown outcome that are missing never
    /// happened.
    pub steps: Vec<u64>,
    /// Operations in the history.
    pub operations: u64,
    /// Operations of known outcome, all of which the order explains.
    pub judged: u64,
    /// Objects.
    pub objects: u64,
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = self.operations - self.judged;
        let executed = self.steps.len() as u64 - self.judged;
        write!(
            f,
            "{} operations on {} objects explained by one order; of {unknown} of unknown outcome \
             {executed} were executed",
            self.judged, self.objects
        )
    }
}

/// Judges a history.
pub fn check(history: &ObjectHistory, options: &Options<'_>) -> Verdict<Certificate> {
    if let Err(problem) = history.check() {
        return Verdict::Undetermined(format!("malformed history: {problem}"));
    }
    let order = match lists::Lists::new(history) {
        Some(lists) => lists.judge(),
        None => searched(history, options),
    };
    let steps = match order {
        Verdict::Ok(steps) => steps,
        Verdict::Violation(counterexample) => return Verdict::Violation(counterexample),
        Verdict::Undetermined(reason) => return Verdict::Undetermined(reason),
    };
    let known = |operation: &&ObjectOperation| !operation.is_unknown();
    let accesses = history.operations.iter().flat_map(|o| &o.accesses);
    let mut keys: Vec<&Bytes> = accesses.map(|access| access.key()).collect();
    keys.sort_unstable();
    keys.dedup();
    let certificate = Certificate {
        steps,
        operations: history.operations.len() as u64,
        judged: history.operations.iter().filter(known).count() as u64,
        objects: keys.len() as u64,
    };
    match verify::verify(history, &certificate.steps) {
        Ok(()) => Verdict::Ok(certificate),
        Err(problem) => {
            Verdict::Undetermined(format!("the order found does not stand up: {problem}"))
        }
    }
}

/// Searches for an order, one part after another.
fn searched(history: &ObjectHistory, options: &Options<'_>) -> Verdict<Vec<u64>> {
    let mut steps_left = options
        .steps_max
        .saturating_add(history.operations.len() as u64);
    let mut orders = Vec::new();
    for part in parts(history) {
        if let Some(counterexample) = explain::from_nowhere(&history.initial, &part) {
            return counterexample.into();
        }
        match search(&history.initial, &part, &mut steps_left) {
            End::Explained(order) => orders.push(order),
            End::Impossible => return explain::conflict(&history.initial, &part).into(),
            End::Exhausted => {
                let reason = format!(
                    "no order of {} operations was found within the budget, nor that there is none",
                    part.len()
                );
                return Verdict::Undetermined(reason);
            }
        }
    }
    Verdict::Ok(merge(history, orders))
}

/// The operations by object when each has just one, else all of them together.
fn parts(history: &ObjectHistory) -> Vec<Vec<&ObjectOperation>> {
    let mut by_key: BTreeMap<&Bytes, Vec<&ObjectOperation>> = BTreeMap::new();
    for operation in &history.operations {
        let mut keys = operation.accesses.iter().map(|access| access.key());
        let Some(first) = keys.next() else { continue };
        if keys.any(|key| key != first) {
            return vec![history.operations.iter().collect()];
        }
        by_key.entry(first).or_default().push(operation);
    }
    let empty = |operation: &&ObjectOperation| operation.accesses.is_empty();
    let mut parts: Vec<_> = by_key.into_values().collect();
    parts.push(history.operations.iter().filter(empty).collect());
    parts
}

/// Combines the orders of single objects: each operation gets the earliest point that its own order
/// allows.
fn merge(history: &ObjectHistory, orders: Vec<Vec<u64>>) -> Vec<u64> {
    let called: BTreeMap<u64, u64> = history
        .operations
        .iter()
        .map(|o| (o.id, o.invoked))
        .collect();
    let mut points = Vec::new();
    for order in orders {
        let mut point = 0;
        for id in order {
            point = point.max(called.get(&id).copied().unwrap_or(0));
            points.push((point, id));
        }
    }
    points.sort_by_key(|(point, _)| *point);
    points.into_iter().map(|(_, id)| id).collect()
}
