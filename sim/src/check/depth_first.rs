//! Searches for an order of operations, depth first: the search of Wing, Gong and Lowe, for any
//! model of what operations do.
//!
//! At any time, any operation may come next that was invoked before every other remaining one
//! returned. Changed in these ways:
//!
//! - An answer that changes nothing is taken as soon as it is right, with no other choice left
//!   open: moving it to the front of any order keeps the order valid.
//! - What was taken is a bit set that begins at the oldest operation not taken, so that a situation
//!   is as large as the number of operations in flight. States are for the model to share.
//! - Operations of unknown outcome that ask for the same thing are interchangeable: the one invoked
//!   first is taken first. They are tried after all whose outcome is known.
//! - A situation is passed over when one was met before in which the same had happened at the cost
//!   of no more operations of unknown outcome: whatever order goes on from here goes on from there
//!   as well, and is no longer. So what hundreds of them might have done and nobody can tell apart
//!   is looked at once. Situations are compared exactly; equal hashes mislead nobody.
//! - What may come next is executed when its turn comes, not before.
//!
//! Work is counted in steps, one for each execution of an operation and each situation compared
//! with, so that a budget of them bounds the time.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use im::OrdMap;

/// The most situations remembered; beyond, the search gives up.
const SITUATIONS_MAX: usize = 2_000_000;
/// Bits in a word of a window.
const WORD: usize = u64::BITS as usize;

/// What operations do to a state.
pub(super) trait Model {
    /// What clients did.
    type Operation;
    /// What operations of unknown outcome ask for; those with the same are interchangeable.
    type Request: Ord + ?Sized;
    /// What operations change; cheap to clone.
    type State: Clone + PartialEq + Hash;
    /// What an order consists of.
    type Step;

    /// The operation's id, when it was invoked, and when it returned; `None` where its outcome is
    /// unknown.
    fn timing(operation: &Self::Operation) -> (u64, u64, Option<u64>);
    /// What the operation asks for.
    fn request(operation: &Self::Operation) -> &Self::Request;
    /// Whether the operation certainly changed nothing.
    fn is_read(operation: &Self::Operation) -> bool;
    /// Names an operation whose answer is known.
    fn step(operation: &Self::Operation) -> Self::Step;
    /// Executes an operation whose answer is known; `None` when another answer would have been
    /// right.
    fn answered(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;
    /// Calls `found` with everything that an operation of unknown outcome may have changed.
    /// Returns how many executions that took.
    fn guessed(
        &self,
        state: &Self::State,
        operation: &Self::Operation,
        found: &mut dyn FnMut(Self::Step, Self::State),
    ) -> u64;
    /// Calls `found` with everything that may change by itself. Returns how many executions that
    /// took.
    fn hidden(&self, _state: &Self::State, _found: &mut dyn FnMut(Self::Step, Self::State)) -> u64 {
        0
    }
}

/// How a search ended.
pub(super) enum End<S> {
    /// In this order.
    Explained(Vec<S>),
    /// No order explains the operations.
    Impossible,
    /// The budget ran out.
    Exhausted,
}

/// An operation of known outcome.
struct Known<'a, O> {
    invoked: u64,
    returned: u64,
    operation: &'a O,
}

/// Operations of unknown outcome that ask for the same thing, by invocation.
struct Class<'a, O> {
    members: Vec<(u64, &'a O)>,
}

/// Which operations of known outcome were taken: all before a word boundary, and the bits after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Window {
    base: usize,
    words: VecDeque<u64>,
    /// How many were taken.
    taken: usize,
}

/// What has been taken, and the state that results.
#[derive(Clone)]
struct Situation<S> {
    window: Window,
    /// How many of each class of unknown outcome.
    used: OrdMap<usize, usize>,
    state: S,
}

/// What is to be tried next in a situation.
enum Turn {
    /// The operation of known outcome at this place among those that may come next.
    Known(usize),
    /// This class of unknown outcome.
    Class(usize),
    /// What changes by itself.
    Hidden,
    Nothing,
}

/// A situation from which the search goes on.
struct Frame<S, T> {
    situation: Situation<S>,
    trail: usize,
    open: Vec<usize>,
    /// The least return among what remains: nothing invoked later may come next.
    least: u64,
    turn: Turn,
    /// What the last turn left to be tried; with the class it comes from.
    found: VecDeque<(Option<usize>, T, S)>,
}

/// What was met before: the states and windows with this hash, each with what was used of the
/// operations of unknown outcome, none of them more than another.
type Met<S> = Vec<(Window, S, Vec<OrdMap<usize, usize>>)>;

/// A search over one set of operations.
pub(super) struct Search<'a, M: Model> {
    model: M,
    known: Vec<Known<'a, M::Operation>>,
    classes: Vec<Class<'a, M::Operation>>,
    now: Situation<M::State>,
    trail: Vec<M::Step>,
    stack: Vec<Frame<M::State, M::Step>>,
    met: BTreeMap<u64, Met<M::State>>,
    situations: usize,
    deepest: Window,
}

impl<'a, M: Model> Search<'a, M> {
    /// Prepares a search from `state` on.
    pub(super) fn new(
        model: M,
        state: M::State,
        operations: impl IntoIterator<Item = &'a M::Operation>,
    ) -> Search<'a, M> {
        let mut known = Vec::new();
        let mut classes: BTreeMap<&M::Request, Vec<(u64, &M::Operation)>> = BTreeMap::new();
        for operation in operations {
            match M::timing(operation) {
                (_, invoked, Some(returned)) => known.push(Known {
                    invoked,
                    returned,
                    operation,
                }),
                (_, invoked, None) => {
                    let members = classes.entry(M::request(operation)).or_default();
                    members.push((invoked, operation));
                }
            }
        }
        let id = |operation: &M::Operation| M::timing(operation).0;
        known.sort_by_key(|known| (known.invoked, id(known.operation)));
        let class = |mut members: Vec<(u64, &'a M::Operation)>| {
            members.sort_by_key(|(invoked, operation)| (*invoked, id(operation)));
            Class { members }
        };
        Search {
            model,
            known,
            classes: classes.into_values().map(class).collect(),
            now: Situation {
                window: Window::default(),
                used: OrdMap::new(),
                state,
            },
            trail: Vec::new(),
            stack: Vec::new(),
            met: BTreeMap::new(),
            situations: 0,
            deepest: Window::default(),
        }
    }

    /// Searches until there is an order, or none, or no budget.
    pub(super) fn run(&mut self, steps_left: &mut u64) -> End<M::Step> {
        loop {
            let (open, least) = self.take_reads(steps_left);
            if self.now.window.taken > self.deepest.taken {
                self.deepest.clone_from(&self.now.window);
            }
            if open.is_empty() {
                return End::Explained(std::mem::take(&mut self.trail));
            }
            if *steps_left == 0 || self.situations >= SITUATIONS_MAX {
                return End::Exhausted;
            }
            if self.is_new(steps_left) {
                self.stack.push(Frame {
                    situation: self.now.clone(),
                    trail: self.trail.len(),
                    open,
                    least,
                    turn: Turn::Known(0),
                    found: VecDeque::new(),
                });
            }
            if !self.go_on(steps_left) {
                return End::Impossible;
            }
        }
    }

    /// The model.
    pub(super) fn model(&self) -> &M {
        &self.model
    }

    /// The furthest point reached: how many operations of known outcome were taken, and which were
    /// in flight then.
    pub(super) fn deepest(&self) -> (usize, Vec<&'a M::Operation>) {
        let (open, _) = self.open(&self.deepest);
        let open = open.into_iter().map(|index| self.known[index].operation);
        (self.deepest.taken, open.collect())
    }

    /// The operations that may come next by real time, and the least return of all that remain.
    fn open(&self, window: &Window) -> (Vec<usize>, u64) {
        let mut open = Vec::new();
        let mut least = u64::MAX;
        for (index, known) in self.known.iter().enumerate().skip(window.oldest()) {
            if known.invoked > least {
                break;
            }
            if !window.has(index) {
                open.push(index);
                least = least.min(known.returned);
            }
        }
        (open, least)
    }

    /// Takes every answer that changes nothing and is right: there is no reason to wait. Returns
    /// what may come next then.
    fn take_reads(&mut self, steps_left: &mut u64) -> (Vec<usize>, u64) {
        loop {
            let (open, least) = self.open(&self.now.window);
            let before = self.trail.len();
            for index in &open {
                let operation = self.known[*index].operation;
                if !M::is_read(operation) {
                    continue;
                }
                *steps_left = steps_left.saturating_sub(1);
                if self.model.answered(&self.now.state, operation).is_some() {
                    self.now.window.take(*index);
                    self.trail.push(M::step(operation));
                }
            }
            if self.trail.len() == before {
                return (open, least);
            }
        }
    }

    /// Whether nothing as good as this situation was met before; it is from now on.
    fn is_new(&mut self, steps_left: &mut u64) -> bool {
        let Situation {
            window,
            used,
            state,
        } = &self.now;
        let mut hasher = DefaultHasher::new();
        (window, state).hash(&mut hasher);
        let met = self.met.entry(hasher.finish()).or_default();
        let same = met
            .iter_mut()
            .find(|(there, held, _)| there == window && held == state);
        let Some((_, _, ways)) = same else {
            met.push((window.clone(), state.clone(), vec![used.clone()]));
            self.situations += 1;
            return true;
        };
        *steps_left = steps_left.saturating_sub(ways.len() as u64);
        if ways.iter().any(|way| spares(way, used)) {
            return false;
        }
        let before = ways.len();
        ways.retain(|way| !spares(used, way));
        self.situations -= before - ways.len();
        ways.push(used.clone());
        self.situations += 1;
        true
    }

    /// Takes what is next to be tried in the last situation where there is anything; false when
    /// there is nothing.
    fn go_on(&mut self, steps_left: &mut u64) -> bool {
        while let Some(frame) = self.stack.last_mut() {
            if *steps_left == 0 {
                // There may be something, but it is not to be looked for.
                return true;
            }
            if let Some((class, step, state)) = frame.found.pop_front() {
                self.trail.truncate(frame.trail);
                self.now = frame.situation.clone();
                self.now.state = state;
                if let Some(class) = class {
                    let used = self.now.used.get(&class).copied().unwrap_or(0);
                    self.now.used.insert(class, used + 1);
                }
                self.trail.push(step);
                return true;
            }
            let state = &frame.situation.state;
            let mut cost = 0;
            match frame.turn {
                Turn::Known(at) => {
                    let Some(index) = frame.open.get(at).copied() else {
                        frame.turn = Turn::Class(0);
                        continue;
                    };
                    frame.turn = Turn::Known(at + 1);
                    let operation = self.known[index].operation;
                    if M::is_read(operation) {
                        continue;
                    }
                    *steps_left = steps_left.saturating_sub(1);
                    if let Some(state) = self.model.answered(state, operation) {
                        self.trail.truncate(frame.trail);
                        self.now = frame.situation.clone();
                        self.now.state = state;
                        self.now.window.take(index);
                        self.trail.push(M::step(operation));
                        return true;
                    }
                }
                Turn::Class(number) => {
                    let Some(class) = self.classes.get(number) else {
                        frame.turn = Turn::Hidden;
                        continue;
                    };
                    frame.turn = Turn::Class(number + 1);
                    let used = frame.situation.used.get(&number).copied().unwrap_or(0);
                    let in_time = |member: &&(u64, &M::Operation)| member.0 <= frame.least;
                    let Some((_, operation)) = class.members.get(used).filter(in_time) else {
                        continue;
                    };
                    let found = &mut frame.found;
                    cost = self.model.guessed(state, operation, &mut |step, changed| {
                        if changed != *state {
                            found.push_back((Some(number), step, changed));
                        }
                    });
                }
                Turn::Hidden => {
                    frame.turn = Turn::Nothing;
                    let found = &mut frame.found;
                    cost = self.model.hidden(state, &mut |step, changed| {
                        if changed != *state {
                            found.push_back((None, step, changed));
                        }
                    });
                }
                Turn::Nothing => drop(self.stack.pop()),
            }
            *steps_left = steps_left.saturating_sub(cost);
        }
        false
    }
}

/// Whether one way took no more of any class than another.
fn spares(way: &OrdMap<usize, usize>, other: &OrdMap<usize, usize>) -> bool {
    way.len() <= other.len()
        && way
            .iter()
            .all(|(class, count)| other.get(class).is_some_and(|more| count <= more))
}

impl Window {
    fn has(&self, index: usize) -> bool {
        let Some(offset) = index.checked_sub(self.base * WORD) else {
            return true;
        };
        let word = self.words.get(offset / WORD).copied().unwrap_or(0);
        word >> (offset % WORD) & 1 == 1
    }

    /// Takes one that was not taken.
    fn take(&mut self, index: usize) {
        let Some(offset) = index.checked_sub(self.base * WORD) else {
            return;
        };
        self.taken += 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_what_was_taken() {
        let mut window = Window::default();
        for index in (0..200).filter(|index| *index != 70) {
            window.take(index);
        }
        assert_eq!((window.oldest(), window.taken), (70, 199));
        assert!(window.has(3) && window.has(199) && !window.has(70) && !window.has(200));
        assert_eq!((window.base, window.words.len()), (1, 3));
        window.take(70);
        assert_eq!(window.oldest(), 200);
        assert_eq!((window.base, window.words.len()), (3, 1));
    }
}
