//! The search itself: depth first over what may come next, with a memory of situations.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use im::OrdMap;

use super::model::{Data, Decisions};
use crate::check::certificate::Step;
use crate::history::{Operation, Request};

/// The most situations remembered; beyond, the search gives up.
const SITUATIONS_MAX: usize = 2_000_000;

/// How a search ended.
pub(super) enum End {
    /// In this order.
    Explained(Vec<Step>),
    /// No order explains the operations.
    Impossible,
    /// The budget ran out, or a bound was hit; the text says which.
    Exhausted(String),
}

/// Operations of unknown outcome that ask for the same thing, by invocation.
struct Class<'a> {
    request: &'a Request,
    members: Vec<&'a Operation>,
}

/// What has been taken so far, and the data that results.
#[derive(Clone, PartialEq)]
struct Situation {
    data: Data,
    /// Every operation of known outcome before this one has been taken; in order of invocation.
    oldest: usize,
    /// Those taken after it, ascending: no more than were in flight together.
    ahead: Vec<usize>,
    /// How many of each class were taken.
    used: OrdMap<usize, usize>,
}

/// What may come next.
#[derive(Clone)]
enum Next {
    Known(usize),
    Unknown(usize, Vec<bool>),
    Expiry(i64),
}

struct Frame {
    situation: Situation,
    trail: usize,
    candidates: Vec<(Next, Data)>,
}

/// A search over one set of operations.
pub(super) struct Machine<'a> {
    known: Vec<&'a Operation>,
    classes: Vec<Class<'a>>,
    now: Situation,
    trail: Vec<Step>,
    stack: Vec<Frame>,
    seen: BTreeMap<u64, Vec<Situation>>,
    situations: usize,
    deepest: Situation,
    incomplete: bool,
}

impl<'a> Machine<'a> {
    /// Prepares a search from `data` on.
    pub(super) fn new(operations: &[&'a Operation], data: Data) -> Machine<'a> {
        let (unknown, mut known): (Vec<&Operation>, Vec<&Operation>) = operations
            .iter()
            .partition(|operation| operation.is_unknown());
        known.sort_by_key(|operation| (operation.invoked, operation.id));
        let mut classes: BTreeMap<&Request, Vec<&Operation>> = BTreeMap::new();
        for operation in unknown {
            classes
                .entry(&operation.request)
                .or_default()
                .push(operation);
        }
        let class = |(request, mut members): (&'a Request, Vec<&'a Operation>)| {
            members.sort_by_key(|operation| (operation.invoked, operation.id));
            Class { request, members }
        };
        let now = Situation {
            data,
            oldest: 0,
            ahead: Vec::new(),
            used: OrdMap::new(),
        };
        Machine {
            known,
            classes: classes.into_iter().map(class).collect(),
            deepest: now.clone(),
            now,
            trail: Vec::new(),
            stack: Vec::new(),
            seen: BTreeMap::new(),
            situations: 0,
            incomplete: false,
        }
    }

    /// Searches until there is an order, or none, or no budget.
    pub(super) fn run(&mut self, steps_left: &mut u64) -> End {
        loop {
            self.take_reads(steps_left);
            if self.now.progress() > self.deepest.progress() {
                self.deepest = self.now.clone();
            }
            if self.now.oldest == self.known.len() {
                return End::Explained(std::mem::take(&mut self.trail));
            }
            if *steps_left == 0 || self.situations >= SITUATIONS_MAX {
                return End::Exhausted("no order of the data found within the budget".to_owned());
            }
            if self.is_new() {
                let candidates = self.candidates(steps_left);
                let (situation, trail) = (self.now.clone(), self.trail.len());
                self.stack.push(Frame {
                    situation,
                    trail,
                    candidates,
                });
            }
            if !self.go_on() {
                if self.incomplete {
                    let reason = "a transaction has too many comparisons that may go either way";
                    return End::Exhausted(reason.to_owned());
                }
                return End::Impossible;
            }
        }
    }

    /// The furthest point reached: how many operations of known outcome were taken, and which were
    /// in flight then.
    pub(super) fn deepest(&self) -> (usize, Vec<&'a Operation>) {
        let (open, _) = self.open(&self.deepest);
        (
            self.deepest.progress(),
            open.into_iter().map(|index| self.known[index]).collect(),
        )
    }

    /// The operations that may come next by real time, and the least return of all that remain.
    fn open(&self, situation: &Situation) -> (Vec<usize>, u64) {
        let mut ahead = situation.ahead.iter().peekable();
        let mut open = Vec::new();
        let mut least = u64::MAX;
        for (index, operation) in self.known.iter().enumerate().skip(situation.oldest) {
            if operation.invoked > least {
                break;
            }
            if ahead.next_if(|taken| **taken == index).is_none() {
                open.push(index);
                least = least.min(operation.returned.unwrap_or(u64::MAX));
            }
        }
        (open, least)
    }

    /// Takes every answer that changes nothing and is right: there is no reason to wait.
    fn take_reads(&mut self, steps_left: &mut u64) {
        loop {
            let (open, _) = self.open(&self.now);
            let before = self.trail.len();
            for index in open {
                let operation = self.known[index];
                let body = operation.response().map(|response| &response.body);
                if body.is_none_or(crate::history::Body::is_effect) {
                    continue;
                }
                *steps_left = steps_left.saturating_sub(1);
                let mut data = self.now.data.clone();
                if data.execute(&operation.request, body, &mut Decisions::default()) {
                    self.now.take(index);
                    self.trail.push(Step::Operation(operation.id));
                }
            }
            if self.trail.len() == before {
                return;
            }
        }
    }

    /// Everything that may come next and changes the data.
    fn candidates(&mut self, steps_left: &mut u64) -> Vec<(Next, Data)> {
        let (open, least) = self.open(&self.now);
        let mut found = Vec::new();
        for index in open {
            let operation = self.known[index];
            let body = operation.response().map(|response| &response.body);
            if !body.is_some_and(crate::history::Body::is_effect) {
                continue;
            }
            *steps_left = steps_left.saturating_sub(1);
            let mut data = self.now.data.clone();
            if data.execute(&operation.request, body, &mut Decisions::default()) {
                found.push((Next::Known(index), data));
            }
        }
        for (number, class) in self.classes.iter().enumerate() {
            let used = self.now.used.get(&number).copied().unwrap_or(0);
            if class
                .members
                .get(used)
                .is_none_or(|member| member.invoked > least)
            {
                continue;
            }
            let mut decisions = Decisions::default();
            loop {
                *steps_left = steps_left.saturating_sub(1);
                let mut data = self.now.data.clone();
                let done = data.execute(class.request, None, &mut decisions);
                self.incomplete |= decisions.too_many;
                if done && data != self.now.data {
                    found.push((Next::Unknown(number, decisions.taken.clone()), data));
                }
                if !decisions.advance() {
                    break;
                }
            }
        }
        let leases: BTreeSet<i64> = self.now.data.keys.values().map(|held| held.1).collect();
        for lease in leases.into_iter().filter(|lease| *lease != 0) {
            let mut data = self.now.data.clone();
            data.expire(lease);
            found.push((Next::Expiry(lease), data));
        }
        // Taken from the back: operations of known outcome first, in order of invocation.
        found.reverse();
        found
    }

    /// Whether this situation was not met before; it is from now on.
    fn is_new(&mut self) -> bool {
        let known = self.seen.entry(self.now.hash()).or_default();
        let new = !known.contains(&self.now);
        if new {
            known.push(self.now.clone());
            self.situations += 1;
        }
        new
    }

    /// Takes the next candidate of the last situation that has one; false when there is none.
    fn go_on(&mut self) -> bool {
        while let Some(frame) = self.stack.last_mut() {
            self.trail.truncate(frame.trail);
            let Some((next, data)) = frame.candidates.pop() else {
                self.stack.pop();
                continue;
            };
            self.now = frame.situation.clone();
            self.now.data = data;
            match next {
                Next::Known(index) => {
                    self.now.take(index);
                    self.trail.push(Step::Operation(self.known[index].id));
                }
                Next::Unknown(class, branches) => {
                    let used = self.now.used.get(&class).copied().unwrap_or(0);
                    self.now.used.insert(class, used + 1);
                    let id = self.classes[class].members[used].id;
                    self.trail.push(match &branches[..] {
                        [] => Step::Operation(id),
                        _ => Step::Branches(id, branches),
                    });
                }
                Next::Expiry(lease) => self.trail.push(Step::Expiry(lease)),
            }
            return true;
        }
        false
    }
}

impl Situation {
    fn take(&mut self, index: usize) {
        let at = self.ahead.partition_point(|taken| *taken < index);
        self.ahead.insert(at, index);
        let mut passed = 0;
        while self.ahead.get(passed) == Some(&self.oldest) {
            self.oldest += 1;
            passed += 1;
        }
        self.ahead.drain(..passed);
    }

    /// How many operations of known outcome were taken.
    fn progress(&self) -> usize {
        self.oldest + self.ahead.len()
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.data.hash(), self.oldest, &self.ahead, &self.used).hash(&mut hasher);
        hasher.finish()
    }
}
