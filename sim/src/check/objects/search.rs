//! What operations do to objects, as the search wants to know it.

use bytes::Bytes;
use im::OrdMap;

use crate::check::depth_first::{self, Model};
use crate::history::objects::{Access, ObjectOperation, Value};

/// What the objects hold.
type Objects = OrdMap<Bytes, Value>;
/// How a search ended; the steps are the ids of operations.
pub(super) type End = depth_first::End<u64>;

/// Searches for an order of `operations`, on objects that hold `initial` before anything is written.
pub(super) fn search(initial: &Value, operations: &[&ObjectOperation], steps: &mut u64) -> End {
    // What was not answered and changes nothing has no place in an order.
    let matters = |o: &&ObjectOperation| !(o.is_unknown() && o.is_read());
    let operations = operations.iter().copied().filter(matters);
    depth_first::Search::new(Moves { initial }, Objects::new(), operations).run(steps)
}

/// The moves of a search over objects.
struct Moves<'a> {
    initial: &'a Value,
}

impl Model for Moves<'_> {
    type Operation = ObjectOperation;
    type Request = [Access];
    type State = Objects;
    type Step = u64;

    fn timing(operation: &ObjectOperation) -> (u64, u64, Option<u64>) {
        (operation.id, operation.invoked, operation.returned)
    }

    fn request(operation: &ObjectOperation) -> &[Access] {
        &operation.accesses
    }

    fn is_read(operation: &ObjectOperation) -> bool {
        operation.is_read()
    }

    fn step(operation: &ObjectOperation) -> u64 {
        operation.id
    }

    fn answered(&self, objects: &Objects, operation: &ObjectOperation) -> Option<Objects> {
        execute(objects, self.initial, operation)
    }

    fn guessed(
        &self,
        objects: &Objects,
        operation: &ObjectOperation,
        found: &mut dyn FnMut(u64, Objects),
    ) -> u64 {
        if let Some(objects) = execute(objects, self.initial, operation) {
            found(operation.id, objects);
        }
        1
    }
}

/// What the objects hold after an operation; `None` when its answer does not fit.
fn execute(objects: &Objects, initial: &Value, operation: &ObjectOperation) -> Option<Objects> {
    let mut objects = objects.clone();
    let known = !operation.is_unknown();
    for access in &operation.accesses {
        let held = objects.get(access.key()).unwrap_or(initial);
        let new = match access {
            Access::Read(_, found) => {
                if known && found.as_ref().is_some_and(|found| found != held) {
                    return None;
                }
                continue;
            }
            Access::Swap(_, [from, to], swapped) => {
                let fits = from == held;
                if known && swapped.is_some_and(|swapped| swapped != fits) {
                    return None;
                }
                if !fits {
                    continue;
                }
                to.clone()
            }
            Access::Write(_, value) => value.clone(),
            Access::Append(_, element) => match held {
                Value::Nil => Value::One(element.clone()),
                Value::One(text) => Value::One([&text[..], &element[..]].concat().into()),
                Value::List(list) => {
                    let mut list = list.clone();
                    list.push(element.clone());
                    Value::List(list)
                }
            },
        };
        objects.insert(access.key().clone(), new);
    }
    Some(objects)
}
