//! The judge of objects against one that tries every order. `VETCD_FUZZ_CASES` sets the number of
//! histories, `VETCD_FUZZ_SEED` draws others.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use vetcd_sim::check::objects::verify::verify;
use vetcd_sim::check::{Options, Verdict, objects};
use vetcd_sim::history::objects::{Access, ObjectHistory, ObjectOperation, Value};

/// Kind, key, value, time before and after, fate, what is falsified.
type Plan = (u8, u8, u8, u8, u8, u8, u8);

type Objects = BTreeMap<Bytes, Value>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Registers,
    Strings,
    Lists,
    /// Elements that more than one operation appends: the order of a list does not tell writers.
    RepeatingLists,
}

fn initial(kind: Kind) -> Value {
    match kind {
        Kind::Registers => Value::Nil,
        Kind::Strings => Value::One(Bytes::new()),
        Kind::Lists | Kind::RepeatingLists => Value::List(Vec::new()),
    }
}

/// Does an access and says what it should find; written for this test alone.
fn step(kind: Kind, objects: &mut Objects, access: &Access) -> Access {
    let start = initial(kind);
    let held = objects.get(access.key()).cloned().unwrap_or(start);
    let mut set = |key: &Bytes, value: Value| drop(objects.insert(key.clone(), value));
    match access {
        Access::Read(key, _) => Access::Read(key.clone(), Some(held)),
        Access::Write(key, value) => {
            set(key, value.clone());
            access.clone()
        }
        Access::Append(key, element) => {
            match held {
                Value::List(mut list) => {
                    list.push(element.clone());
                    set(key, Value::List(list));
                }
                Value::One(text) => {
                    let mut longer = text.to_vec();
                    longer.extend_from_slice(element);
                    set(key, Value::One(longer.into()));
                }
                Value::Nil => set(key, Value::One(element.clone())),
            }
            access.clone()
        }
        Access::Swap(key, [from, to], _) => {
            let fits = held == *from;
            if fits {
                set(key, to.clone());
            }
            Access::Swap(key.clone(), [from.clone(), to.clone()], Some(fits))
        }
    }
}

fn text(number: u8) -> Bytes {
    Bytes::from(number.to_string())
}

fn build(kind: Kind, plans: &[Plan]) -> ObjectHistory {
    let mut objects = Objects::new();
    let mut operations: Vec<ObjectOperation> = Vec::new();
    for (index, (what, key, value, before, after, fate, _)) in plans.iter().enumerate() {
        let key = |offset: u8| Bytes::from(vec![b'a' + (key + offset) % 2]);
        let small = |offset: u8| Value::One(text((value % 3 + offset) % 3));
        let element = match kind {
            Kind::Lists => text(index as u8 * 2 + value % 2),
            _ => text(value % 2),
        };
        let read = || Access::Read(key(0), None);
        let asked = match (kind, what % 8) {
            (Kind::Registers, 0..=2) => vec![read()],
            (Kind::Registers, 3 | 4) => vec![Access::Write(key(0), small(0))],
            (Kind::Registers, 5 | 6) => vec![Access::Swap(key(0), [small(0), small(1)], None)],
            (Kind::Registers, _) => vec![read(), Access::Write(key(1), small(0))],
            (Kind::Strings, 0..=3) => vec![read()],
            (Kind::Strings, 4..=6) => vec![Access::Append(key(0), element)],
            (Kind::Strings, _) => vec![Access::Write(key(0), small(0))],
            (_, 0 | 1) => vec![read()],
            (_, 2 | 3) => vec![Access::Append(key(0), element)],
            (_, 4) => vec![read(), Access::Append(key(0), element)],
            (_, 5) => vec![Access::Append(key(0), element), Access::Read(key(1), None)],
            (_, 6) => vec![
                Access::Append(key(0), element),
                read(),
                Access::Read(key(1), None),
            ],
            _ => vec![
                Access::Append(key(0), Bytes::from(format!("{}'", index))),
                Access::Append(key(1), element.clone()),
                Access::Append(key(0), element),
            ],
        };
        let point = 100 + 10 * index as u64;
        let unknown = fate % 8 < 2;
        let accesses = match fate % 8 {
            // Of unknown outcome, and never executed.
            0 => asked,
            1 => {
                let _ = asked
                    .iter()
                    .map(|a| step(kind, &mut objects, a))
                    .collect::<Vec<_>>();
                asked
            }
            _ => asked.iter().map(|a| step(kind, &mut objects, a)).collect(),
        };
        operations.push(ObjectOperation {
            id: index as u64,
            process: index as i64,
            invoked: point - u64::from(*before),
            returned: (!unknown).then_some(point + u64::from(*after)),
            accesses,
        });
    }
    falsify(plans, &mut operations);
    ObjectHistory {
        initial: initial(kind),
        operations,
    }
}

fn falsify(plans: &[Plan], operations: &mut [ObjectOperation]) {
    for (index, plan) in plans.iter().enumerate() {
        let lie = plan.6;
        let later = operations.get(index + 1).cloned();
        let operation = &mut operations[index];
        let known = operation.returned.is_some();
        match lie {
            0 if known => {
                for access in &mut operation.accesses {
                    match access {
                        Access::Read(_, Some(Value::One(text))) if text.is_empty() => {
                            *text = Bytes::from_static(b"1");
                        }
                        Access::Read(_, Some(Value::List(list))) => _ = list.pop(),
                        Access::Read(_, Some(value)) => *value = Value::One(text(plan.2 % 3)),
                        Access::Swap(_, _, Some(done)) => *done = !*done,
                        _ => {}
                    }
                }
            }
            1 if known => {
                for access in &mut operation.accesses {
                    if let Access::Read(_, Some(Value::List(list))) = access {
                        list.reverse();
                    }
                }
            }
            2 => operation.invoked = operation.returned.unwrap_or(operation.invoked),
            3 if known => operation.returned = Some(operation.invoked),
            4 if known && later.as_ref().is_some_and(|l| l.returned.is_some()) => {
                // Two operations change places in time.
                let later = later.unwrap();
                let times = (operation.invoked, operation.returned);
                (operation.invoked, operation.returned) = (later.invoked, later.returned);
                (
                    operations[index + 1].invoked,
                    operations[index + 1].returned,
                ) = times;
            }
            _ => {}
        }
    }
}

fn explainable(kind: Kind, history: &ObjectHistory) -> bool {
    let operations = &history.operations;
    let mut seen = BTreeSet::new();
    let mut stack = vec![(0_u32, Objects::new())];
    while let Some((done, objects)) = stack.pop() {
        if !seen.insert((done, objects.clone())) {
            continue;
        }
        let open: Vec<usize> = (0..operations.len())
            .filter(|i| done & 1 << i == 0)
            .collect();
        let deadline = open.iter().filter_map(|i| operations[*i].returned).min();
        let Some(deadline) = deadline else {
            return true;
        };
        for i in open
            .into_iter()
            .filter(|i| operations[*i].invoked <= deadline)
        {
            let mut objects = objects.clone();
            let right = operations[i].accesses.iter().all(|access| {
                let found = step(kind, &mut objects, access);
                operations[i].returned.is_none() || found == *access
            });
            if right {
                stack.push((done | 1 << i, objects));
            }
        }
    }
    false
}

fn fuzz(kind: Kind, refuted_least: f64) {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap())
    };
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number("VETCD_FUZZ_SEED", 1).to_le_bytes());
    let config = Config {
        cases: u32::try_from(number("VETCD_FUZZ_CASES", 10_000)).unwrap(),
        failure_persistence: None,
        ..Config::default()
    };
    let operation = (
        any::<u8>(),
        0..2_u8,
        any::<u8>(),
        0..30_u8,
        0..30_u8,
        0..24_u8,
        0..40_u8,
    );
    let plans = prop::collection::vec(operation, 1..9);
    let (explained, refuted) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let result = TestRunner::new_with_rng(config, rng).run(&plans, |plans| {
        let history = build(kind, &plans);
        let lines = || -> String {
            history
                .operations
                .iter()
                .map(|operation| format!("\n{operation}"))
                .collect()
        };
        match (
            objects::check(&history, &Options::default()),
            explainable(kind, &history),
        ) {
            (Verdict::Ok(certificate), true) => {
                verify(&history, &certificate.steps).unwrap();
                explained.set(explained.get() + 1);
            }
            (Verdict::Violation(counterexample), false) => {
                prop_assert!(!counterexample.operations.is_empty(), "{}", counterexample);
                prop_assert!(
                    is_enough(kind, &history, &counterexample),
                    "{}{}",
                    counterexample,
                    lines()
                );
                refuted.set(refuted.get() + 1);
            }
            (verdict, truth) => {
                prop_assert!(false, "{} but explainable: {}{}", verdict, truth, lines());
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{kind:?}: {error}");
    }
    let (explained, refuted) = (f64::from(explained.get()), f64::from(refuted.get()));
    println!("{kind:?}: {explained} explained, {refuted} refuted");
    assert!(
        refuted / (explained + refuted) > refuted_least,
        "too few refuted"
    );
    assert!(
        explained / (explained + refuted) > 0.25,
        "too few explained"
    );
}

/// Whether the operations of a counterexample cannot all be right, whatever became of the others.
fn is_enough(
    kind: Kind,
    history: &ObjectHistory,
    counterexample: &vetcd_sim::check::Counterexample,
) -> bool {
    let blamed: Vec<u64> = counterexample
        .operations
        .iter()
        .map(|witness| witness.id)
        .collect();
    let mut relaxed = history.clone();
    for operation in &mut relaxed.operations {
        if !blamed.contains(&operation.id) {
            operation.returned = None;
        }
    }
    !explainable(kind, &relaxed)
}

#[test]
fn registers_agree_with_brute_force() {
    fuzz(Kind::Registers, 0.05);
}

#[test]
fn strings_agree_with_brute_force() {
    fuzz(Kind::Strings, 0.02);
}

#[test]
fn lists_agree_with_brute_force() {
    fuzz(Kind::Lists, 0.02);
}

#[test]
fn lists_whose_elements_repeat_agree_with_brute_force() {
    fuzz(Kind::RepeatingLists, 0.02);
}
