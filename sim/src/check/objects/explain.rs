//! Counterexamples about objects: the operations that cannot all be right, and no more.
//!
//! To leave an operation out of an argument is only fair if the rest asks for less without it. A
//! read is dropped; a write is taken to be of unknown outcome, so that it may have happened at any
//! time from its call on, or never. What conflicts even so is to blame.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::GUARANTEE;
use super::search::{End, search};
use crate::check::{Counterexample, core};
use crate::history::objects::{Access, ObjectOperation, Value};
use crate::history::{display_seconds, display_short};

/// Steps that one question about a part of the operations may take.
const STEPS_MAX: u64 = 20_000;
/// How many values a read may be offered to find out what it should have found.
const OFFERS_MAX: usize = 32;

/// A read that found what nobody can have written, where values are written as a whole.
pub(super) fn from_nowhere(initial: &Value, part: &[&ObjectOperation]) -> Option<Counterexample> {
    let mut written: BTreeSet<(&Bytes, &Value)> = BTreeSet::new();
    for access in part.iter().flat_map(|operation| &operation.accesses) {
        match access {
            Access::Append(..) => return None,
            Access::Write(key, value) | Access::Swap(key, [_, value], _) => {
                written.insert((key, value));
            }
            Access::Read(..) => {}
        }
    }
    let lies = |access: &Access| match access {
        Access::Read(key, Some(found)) => found != initial && !written.contains(&(key, found)),
        _ => false,
    };
    let known = part.iter().filter(|operation| !operation.is_unknown());
    let liar = known
        .filter(|o| o.accesses.iter().any(lies))
        .min_by_key(|o| o.returned)?;
    Some(describe(initial, part, &[liar]))
}

/// Explains why no order of `part` exists.
pub(super) fn conflict(initial: &Value, part: &[&ObjectOperation]) -> Counterexample {
    let mut known: Vec<&ObjectOperation> =
        part.iter().copied().filter(|o| !o.is_unknown()).collect();
    known.sort_by_key(|operation| (operation.returned, operation.id));
    // What returned first and cannot be explained together with all before it ends the argument.
    let (mut fits, mut fails) = (0, known.len());
    while fails - fits > 1 {
        let middle = fits.midpoint(fails);
        match impossible(initial, part, &known[..middle]) {
            true => fails = middle,
            false => fits = middle,
        }
    }
    // Newest first: what is old is more likely to be let go.
    let blamed = core::shrink(known[..fails].to_vec(), |some| {
        impossible(initial, part, some)
    });
    describe(initial, part, &blamed)
}

/// Whether `certain` operations have no order, whatever became of all the others.
fn impossible(initial: &Value, part: &[&ObjectOperation], certain: &[&ObjectOperation]) -> bool {
    let relaxed = relax(part, certain);
    let relaxed: Vec<&ObjectOperation> = relaxed.iter().collect();
    let mut steps_left = STEPS_MAX + relaxed.len() as u64;
    matches!(search(initial, &relaxed, &mut steps_left), End::Impossible)
}

fn relax(part: &[&ObjectOperation], certain: &[&ObjectOperation]) -> Vec<ObjectOperation> {
    let accesses = || part.iter().flat_map(|operation| &operation.accesses);
    let plain = accesses().all(|a| matches!(a, Access::Read(..) | Access::Write(..)));
    let found: BTreeSet<(&Bytes, &Value)> = certain
        .iter()
        .flat_map(|operation| &operation.accesses)
        .filter_map(|access| match access {
            Access::Read(key, Some(found)) => Some((key, found)),
            _ => None,
        })
        .collect();
    // What nobody finds might as well not be written, unless a swap fails because of it.
    let matters = |access: &Access| match access {
        Access::Write(key, value) => !plain || found.contains(&(key, value)),
        Access::Read(..) => false,
        Access::Append(..) | Access::Swap(..) => true,
    };
    let ids: BTreeSet<u64> = certain.iter().map(|operation| operation.id).collect();
    let end = certain
        .iter()
        .filter_map(|operation| operation.returned)
        .max();
    let mut relaxed = Vec::new();
    for operation in part {
        if ids.contains(&operation.id) {
            relaxed.push((*operation).clone());
        } else if operation.accesses.iter().any(matters) && Some(operation.invoked) <= end {
            relaxed.push(uncertain(operation));
        }
    }
    relaxed
}

/// The same operation, had nobody heard of it again.
fn uncertain(operation: &ObjectOperation) -> ObjectOperation {
    let mut operation = operation.clone();
    operation.returned = None;
    for access in &mut operation.accesses {
        if let Access::Swap(_, _, swapped) = access {
            *swapped = None;
        }
    }
    operation
}

fn describe(
    initial: &Value,
    part: &[&ObjectOperation],
    blamed: &[&ObjectOperation],
) -> Counterexample {
    let names: Vec<String> = blamed.iter().map(|o| o.id.to_string()).collect();
    let summary = match &names[..] {
        [one] => format!("operation {one} cannot be explained"),
        [rest @ .., last] => format!(
            "operations {} and {last} cannot all be right",
            rest.join(", ")
        ),
        [] => "no order explains the operations".to_owned(),
    };
    let mut found = Counterexample::new(GUARANTEE, summary);
    for operation in blamed {
        found = found.with(*operation);
    }
    for pair in blamed.windows(2) {
        if let Some(returned) = pair[0].returned
            && returned < pair[1].invoked
        {
            found = found.because(format!(
                "operation {} before operation {} by real time: operation {} returned at {}, \
                 operation {} was called at {}",
                pair[0].id,
                pair[1].id,
                pair[0].id,
                display_seconds(returned),
                pair[1].id,
                display_seconds(pair[1].invoked)
            ));
        }
    }
    for operation in blamed {
        for access in &operation.accesses {
            if let Access::Read(key, Some(value)) = access
                && let Some(reason) = who_wrote(initial, part, operation.id, key, value)
            {
                found = found.because(reason);
            }
        }
    }
    match expected(initial, part, blamed) {
        Some((expected, seen)) => found.instead(expected, seen),
        None => found,
    }
}

/// Who can have written what an operation read.
fn who_wrote(
    initial: &Value,
    part: &[&ObjectOperation],
    id: u64,
    key: &Bytes,
    value: &Value,
) -> Option<String> {
    if value == initial {
        return None;
    }
    let writes = |access: &Access| match access {
        Access::Write(other, written) | Access::Swap(other, [_, written], _) => {
            other == key && written == value
        }
        Access::Append(other, end) => match value {
            Value::One(text) => other == key && !end.is_empty() && text.ends_with(end),
            Value::List(list) => other == key && list.last() == Some(end),
            Value::Nil => false,
        },
        Access::Read(..) => false,
    };
    let writers = part.iter().filter(|o| o.accesses.iter().any(writes));
    let writers: Vec<String> = writers.map(|o| o.id.to_string()).collect();
    Some(match &writers[..] {
        [] => format!(
            "operation {id} found {value} in {}, which no operation wrote",
            display_short(key)
        ),
        [one] => format!("what operation {id} found was written by operation {one}"),
        many if many.len() <= 4 => format!(
            "what operation {id} found was written by one of the operations {}",
            many.join(", ")
        ),
        _ => return None,
    })
}

/// What the last read among the blamed could have found, and what it found.
fn expected(
    initial: &Value,
    part: &[&ObjectOperation],
    blamed: &[&ObjectOperation],
) -> Option<(String, String)> {
    let is_read = |o: &&&ObjectOperation| matches!(o.accesses[..], [Access::Read(_, Some(_))]);
    let read = blamed.iter().rev().find(is_read)?;
    let [Access::Read(key, Some(seen))] = &read.accesses[..] else {
        return None;
    };
    let mut offers = vec![initial.clone()];
    for access in part.iter().flat_map(|operation| &operation.accesses) {
        let offer = match access {
            Access::Write(other, value)
            | Access::Swap(other, [_, value], _)
            | Access::Read(other, Some(value))
                if other == key =>
            {
                value
            }
            _ => continue,
        };
        if !offers.contains(offer) {
            offers.push(offer.clone());
        }
        if offers.len() > OFFERS_MAX {
            return None;
        }
    }
    let fits = |offer: &Value| {
        let mut relaxed = relax(part, blamed);
        for operation in relaxed.iter_mut().filter(|o| o.id == read.id) {
            operation.accesses = vec![Access::Read(key.clone(), Some(offer.clone()))];
        }
        let relaxed: Vec<&ObjectOperation> = relaxed.iter().collect();
        let mut steps_left = STEPS_MAX;
        matches!(
            search(initial, &relaxed, &mut steps_left),
            End::Explained(_)
        )
    };
    let fitting: Vec<String> = offers
        .iter()
        .filter(|o| fits(o))
        .map(ToString::to_string)
        .collect();
    match fitting.len() {
        0 => None,
        1..=4 => Some((fitting.join(" or "), seen.to_string())),
        more => Some((
            format!("one of {more} values, {} for one", fitting[0]),
            seen.to_string(),
        )),
    }
}
