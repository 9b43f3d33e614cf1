//! Searches for an order, depth first: the search of Wing, Gong and Lowe.
//!
//! Changed in these ways: a read that is right is taken at once, with no other choice left open,
//! because moving it to the front of any order keeps the order valid; what was taken is a bit set
//! that begins at the oldest operation not taken, so that a situation is as large as the number of
//! operations in flight; states are persistent maps that share what they have in common; operations
//! of unknown outcome that ask for the same thing are interchangeable, and tried last. Situations
//! met before are compared exactly, so that equal hashes mislead nobody.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use im::OrdMap;

use crate::history::objects::{Access, ObjectOperation, Value};

/// The most situations remembered; beyond, the search gives up.
const SITUATIONS_MAX: usize = 2_000_000;
/// Bits in a word of a window.
const WORD: usize = u64::BITS as usize;

/// How a search ended.
pub(super) enum End {
    /// In this order of ids.
    Explained(Vec<u64>),
    /// No order explains the operations.
    Impossible,
    /// The budget ran out.
    Exhausted,
}

/// Which operations of known outcome were taken: all before a word boundary, and the bits after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Window {
    base: usize,
    words: VecDeque<u64>,
}

impl Window {
    fn has(&self, index: usize) -> bool {
        let Some(offset) = index.checked_sub(self.base * WORD) else {
            return true;
        };
        let word = self.words.get(offset / WORD).copied().unwrap_or(0);
        word >> (offset % WORD) & 1 == 1
    }

    fn take(&mut self, index: usize) {
        let Some(offset) = index.checked_sub(self.base * WORD) else {
            return;
        };
        let word = offset / WORD;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (offset % WORD);
        while self.words.front() == Some(&u64::MAX) {
            self.words.pop_front();
            self.base += 1;
        }
    }

    /// The first that was not taken.
    fn oldest(&self) -> usize {
        let first = self.words.front().copied().unwrap_or(0);
        self.base * WORD + first.trailing_ones() as usize
    }
}

/// What has been taken, and what the objects hold then.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Situation {
    window: Window,
    /// How many of each class of unknown outcome.
    used: OrdMap<usize, usize>,
    objects: OrdMap<Bytes, Value>,
}

/// Operations of unknown outcome that ask for the same thing, by invocation.
struct Class<'a> {
    accesses: &'a [Access],
    members: Vec<&'a ObjectOperation>,
}

#[derive(Clone, Copy)]
enum Next {
    Known(usize),
    Unknown(usize),
}

struct Frame {
    situation: Situation,
    trail: usize,
    candidates: Vec<(Next, OrdMap<Bytes, Value>)>,
}

/// A search over one set of operations.
pub(super) struct Search<'a> {
    initial: &'a Value,
    known: Vec<&'a ObjectOperation>,
    classes: Vec<Class<'a>>,
    now: Situation,
    trail: Vec<u64>,
    stack: Vec<Frame>,
    seen: BTreeMap<u64, Vec<Situation>>,
    situations: usize,
}

impl<'a> Search<'a> {
    pub(super) fn new(initial: &'a Value, operations: &[&'a ObjectOperation]) -> Search<'a> {
        let unknown = |operation: &&ObjectOperation| operation.is_unknown();
        let (unknown, mut known): (Vec<&ObjectOperation>, Vec<&ObjectOperation>) =
            operations.iter().copied().partition(unknown);
        known.sort_by_key(|operation| (operation.invoked, operation.id));
        let mut classes: BTreeMap<&[Access], Vec<&ObjectOperation>> = BTreeMap::new();
        for operation in unknown.into_iter().filter(|operation| !operation.is_read()) {
            let members = classes.entry(&operation.accesses).or_default();
            members.push(operation);
        }
        let class = |(accesses, mut members): (&'a [Access], Vec<&'a ObjectOperation>)| {
            members.sort_by_key(|operation| (operation.invoked, operation.id));
            Class { accesses, members }
        };
        Search {
            initial,
            known,
            classes: classes.into_iter().map(class).collect(),
            now: Situation {
                window: Window::default(),
                used: OrdMap::new(),
                objects: OrdMap::new(),
            },
            trail: Vec::new(),
            stack: Vec::new(),
            seen: BTreeMap::new(),
            situations: 0,
        }
    }

    /// Searches until there is an order, or none, or no budget.
    pub(super) fn run(&mut self, steps_left: &mut u64) -> End {
        loop {
            self.take_reads(steps_left);
            if self.now.window.oldest() >= self.known.len() {
                return End::Explained(std::mem::take(&mut self.trail));
            }
            if *steps_left == 0 || self.situations >= SITUATIONS_MAX {
                return End::Exhausted;
            }
            if self.is_new() {
                let candidates = self.candidates(steps_left);
                self.stack.push(Frame {
                    situation: self.now.clone(),
                    trail: self.trail.len(),
                    candidates,
                });
            }
            if !self.go_on() {
                return End::Impossible;
            }
        }
    }

    /// The operations that may come next by real time, and the least return of all that remain.
    fn open(&self) -> (Vec<usize>, u64) {
        let mut open = Vec::new();
        let mut least = u64::MAX;
        let oldest = self.now.window.oldest();
        for (index, operation) in self.known.iter().enumerate().skip(oldest) {
            if operation.invoked > least {
                break;
            }
            if !self.now.window.has(index) {
                open.push(index);
                least = least.min(operation.returned.unwrap_or(u64::MAX));
            }
        }
        (open, least)
    }

    fn take_reads(&mut self, steps_left: &mut u64) {
        loop {
            let before = self.trail.len();
            for index in self.open().0 {
                let operation = self.known[index];
                if !operation.is_read() {
                    continue;
                }
                *steps_left = steps_left.saturating_sub(1);
                if execute(&self.now.objects, self.initial, operation).is_some() {
                    self.now.window.take(index);
                    self.trail.push(operation.id);
                }
            }
            if self.trail.len() == before {
                return;
            }
        }
    }

    /// Everything that may come next and changes something, the best last.
    fn candidates(&self, steps_left: &mut u64) -> Vec<(Next, OrdMap<Bytes, Value>)> {
        let (open, least) = self.open();
        let mut found = Vec::new();
        for index in open {
            let operation = self.known[index];
            *steps_left = steps_left.saturating_sub(1);
            if !operation.is_read()
                && let Some(objects) = execute(&self.now.objects, self.initial, operation)
            {
                found.push((Next::Known(index), objects));
            }
        }
        for (number, class) in self.classes.iter().enumerate() {
            let used = self.now.used.get(&number).copied().unwrap_or(0);
            let Some(member) = class.members.get(used).filter(|next| next.invoked <= least) else {
                continue;
            };
            *steps_left = steps_left.saturating_sub(1);
            debug_assert_eq!(class.accesses, member.accesses);
            match execute(&self.now.objects, self.initial, member) {
                Some(objects) if objects != self.now.objects => {
                    found.push((Next::Unknown(number), objects));
                }
                _ => {}
            }
        }
        found.reverse();
        found
    }

    /// Whether this situation was not met before; it is from now on.
    fn is_new(&mut self) -> bool {
        let mut hasher = DefaultHasher::new();
        self.now.hash(&mut hasher);
        let known = self.seen.entry(hasher.finish()).or_default();
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
            let Some((next, objects)) = frame.candidates.pop() else {
                self.stack.pop();
                continue;
            };
            self.now = frame.situation.clone();
            self.now.objects = objects;
            let id = match next {
                Next::Known(index) => {
                    self.now.window.take(index);
                    self.known[index].id
                }
                Next::Unknown(class) => {
                    let used = self.now.used.get(&class).copied().unwrap_or(0);
                    self.now.used.insert(class, used + 1);
                    self.classes[class].members[used].id
                }
            };
            self.trail.push(id);
            return true;
        }
        false
    }
}

/// What the objects hold after an operation; `None` when its answer does not fit.
fn execute(
    objects: &OrdMap<Bytes, Value>,
    initial: &Value,
    operation: &ObjectOperation,
) -> Option<OrdMap<Bytes, Value>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_what_was_taken() {
        let mut window = Window::default();
        for index in (0..200).filter(|index| *index != 70) {
            window.take(index);
        }
        assert_eq!(window.oldest(), 70);
        assert!(window.has(3) && window.has(199) && !window.has(70) && !window.has(200));
        assert_eq!((window.base, window.words.len()), (1, 3));
        window.take(70);
        assert_eq!(window.oldest(), 200);
        assert_eq!((window.base, window.words.len()), (3, 1));
    }
}
