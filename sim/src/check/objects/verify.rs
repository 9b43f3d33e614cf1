//! Replays an order of operations on objects. Shares no code with what finds orders.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::history::objects::{Access, ObjectHistory, Value};

/// Replays an order.
///
/// # Errors
/// Says what does not hold: a step that is no operation or one twice, an operation of known outcome
/// that is missing, an order against real time, or an answer that differs.
pub fn verify(history: &ObjectHistory, steps: &[u64]) -> Result<(), String> {
    let by_id: BTreeMap<u64, _> = history.operations.iter().map(|o| (o.id, o)).collect();
    let mut done = BTreeSet::new();
    let mut objects: BTreeMap<&Bytes, Value> = BTreeMap::new();
    let mut latest_call = 0;
    for id in steps {
        let operation = by_id.get(id).ok_or(format!("there is no operation {id}"))?;
        if !done.insert(*id) {
            return Err(format!("operation {id} stands in the order twice"));
        }
        latest_call = latest_call.max(operation.invoked);
        if operation.returned.is_some_and(|at| at < latest_call) {
            return Err(format!(
                "operation {id} returned before one ahead of it was invoked"
            ));
        }
        for access in &operation.accesses {
            let object = objects.entry(access.key());
            let object = object.or_insert_with(|| history.initial.clone());
            // What was found while the outcome is unknown is nobody's knowledge.
            let known = operation.returned.is_some();
            let fits = match access {
                Access::Read(_, Some(found)) => !known || found == object,
                Access::Read(_, None) => true,
                Access::Write(_, value) => {
                    *object = value.clone();
                    true
                }
                Access::Append(_, element) => append(object, element),
                Access::Swap(_, [from, to], swapped) => {
                    let fits = object == from;
                    if fits {
                        *object = to.clone();
                    }
                    !known || swapped.is_none_or(|swapped| swapped == fits)
                }
            };
            if !fits {
                return Err(format!("operation {id}: {access} does not fit {object}"));
            }
        }
    }
    let missing = |id: &&u64| by_id[*id].returned.is_some() && !done.contains(*id);
    match by_id.keys().find(missing) {
        Some(id) => Err(format!("operation {id} is not explained")),
        None => Ok(()),
    }
}

fn append(object: &mut Value, element: &Bytes) -> bool {
    match object {
        Value::Nil => *object = Value::One(element.clone()),
        Value::One(text) => *object = Value::One([&text[..], &element[..]].concat().into()),
        Value::List(list) => list.push(element.clone()),
    }
    true
}
