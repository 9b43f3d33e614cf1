//! Replays the revisions in order and judges every answer, choosing by backtracking where several
//! operations of unknown outcome may have filled a gap.
//!
//! The first pass is linear. A wrong choice shows at the next answer that looks at a key it touched;
//! the search then goes back to the last choice. Where no operation is left for a gap, whatever was
//! chosen elsewhere, it goes back to the last choice that could free one, past those that could not.
//! A situation from which every choice failed is remembered, with everything that later steps can
//! depend on, and compared exactly; unless operations were wanting on the way, since what is left of
//! them is no part of it.

use std::collections::{BTreeMap, BTreeSet};

use im::OrdMap;

use super::assignment::Assignment;
use super::gaps::{Evidence, Gaps};
use super::order::Order;
use super::plan::{Index, Plan};
use super::verified::Verified;
use crate::check::Counterexample;
use crate::check::store::{Context, Keys, Mismatch, apply, expire, judge};

mod back;
mod candidates;
mod told;

/// How many revisions the verifier stays behind the search, so that it seldom follows in vain.
const FOLLOW_BEHIND: i64 = 256;
/// How many revisions it verifies at once. Together they fit into the processor's cache.
const FOLLOW_EVERY: i64 = 256;

/// What filled a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// An operation of unknown outcome.
    Operation(Index),
    /// The end of a lease, which removed the keys attached to it.
    Expiry(i64),
}

/// How a replay ended.
pub(super) enum End {
    /// Everything is explained, with these fillings of the gaps, ascending by revision.
    Explained(Vec<(i64, Fill)>),
    /// No choice explains everything.
    Contradiction(Box<Counterexample>),
    /// The budget ran out first.
    Exhausted,
}

/// One way to fill a gap.
#[derive(Clone)]
enum Filler {
    /// Something of this shape, out of these classes.
    Shape(usize, Vec<usize>),
    Expiry(i64),
}

enum Failure {
    Wrong(Index, Mismatch),
    NobodyWrote,
    /// Whatever fills the gap, its operations are taken; by these gaps, when that is the only reason.
    Starved(Option<BTreeSet<i64>>),
    /// The situation is known to be hopeless.
    Hopeless,
}

/// What was taken at a gap.
struct Taken {
    revision: i64,
    expiry: Option<i64>,
    /// Nothing else could have been taken, whatever was chosen before.
    forced: bool,
}

/// A gap with several candidates, and the state before it.
struct Choice<'p> {
    situation: Situation<'p>,
    taken: usize,
    operations: usize,
    candidates: Vec<Filler>,
    next: usize,
    /// The candidates are the same whatever was chosen before.
    fixed: bool,
    /// Operations were wanting somewhere after this choice.
    starved: bool,
    /// The gaps that took what was wanting, as long as that was the only reason to go back.
    blame: Option<BTreeSet<i64>>,
}

/// What may fill a gap, and whether that does not depend on earlier choices.
struct Candidates {
    fillers: Vec<Filler>,
    fixed: bool,
}

/// Everything that the steps from a gap on depend on, but for what is left of the operations.
#[derive(Clone)]
struct Situation<'p> {
    revision: i64,
    keys: Keys<'p>,
    past: OrdMap<i64, Keys<'p>>,
}

/// The search.
pub(super) struct Replay<'p, 'a> {
    plan: &'p Plan<'a>,
    order: &'p Order,
    gaps: &'p Gaps,
    now: Situation<'p>,
    taken: Vec<Taken>,
    assignment: Assignment<'p>,
    choices: Vec<Choice<'p>>,
    hopeless: BTreeMap<u64, Vec<Situation<'p>>>,
    /// Judgements made, over all branches.
    pub(super) steps: u64,
    /// How many gaps had more than one candidate, over all branches.
    pub(super) choices_made: u64,
    deepest: Option<(i64, Failure)>,
    /// What was verified already; `None` where that is for the end.
    pub(super) verified: Option<Verified<'p, 'a>>,
    /// The revision at which to verify the next.
    follow_at: i64,
}

/// What filled the gaps after the first that many, so many of them by operations.
fn fills(
    taken: &[Taken],
    assignment: &Assignment<'_>,
    (skipped, operations): (usize, usize),
) -> impl Iterator<Item = (i64, Fill)> {
    let mut operations = assignment.operations(operations);
    let taken = taken.get(skipped..).unwrap_or(&[]);
    taken.iter().filter_map(move |taken| {
        let fill = match taken.expiry {
            Some(lease) => Fill::Expiry(lease),
            None => Fill::Operation(operations.next()?),
        };
        Some((taken.revision, fill))
    })
}

impl<'p, 'a> Replay<'p, 'a> {
    pub(super) fn new(plan: &'p Plan<'a>, order: &'p Order, gaps: &'p Gaps) -> Replay<'p, 'a> {
        Replay {
            plan,
            order,
            gaps,
            now: Situation {
                revision: 1,
                keys: Keys::new(),
                past: OrdMap::new(),
            },
            taken: Vec::new(),
            assignment: Assignment::new(gaps),
            choices: Vec::new(),
            hopeless: BTreeMap::new(),
            steps: 0,
            choices_made: 0,
            deepest: None,
            verified: Verified::new(plan),
            follow_at: FOLLOW_BEHIND + FOLLOW_EVERY,
        }
    }

    /// Replays everything, within a budget of judgements.
    pub(super) fn run(&mut self, steps_max: u64) -> End {
        let mut filled = true;
        loop {
            let slot = if filled { Ok(()) } else { self.fill() };
            match slot.and_then(|()| self.read()) {
                Ok(()) if self.now.revision == self.plan.last => return self.explained(),
                Ok(()) => {
                    self.now.revision += 1;
                    filled = false;
                }
                Err(failure) => {
                    self.note(&failure);
                    if !self.go_back(failure) {
                        return End::Contradiction(self.contradiction());
                    }
                    filled = true;
                }
            }
            if self.now.revision >= self.follow_at {
                self.follow();
            }
            if self.steps > steps_max {
                return End::Exhausted;
            }
        }
    }

    fn explained(&self) -> End {
        End::Explained(fills(&self.taken, &self.assignment, (0, 0)).collect())
    }

    /// Has what was explained a while ago verified. The search may go back and choose otherwise, but
    /// seldom goes back that far.
    fn follow(&mut self) {
        self.follow_at = self.now.revision + FOLLOW_EVERY;
        let Some(verified) = &mut self.verified else {
            return;
        };
        let until = self.now.revision - FOLLOW_BEHIND;
        let new = fills(&self.taken, &self.assignment, verified.filled());
        if !verified.go_on(until, new) {
            self.verified = None;
        }
    }

    /// The write of the current revision.
    fn fill(&mut self) -> Result<(), Failure> {
        if let Some(writer) = self.plan.writer(self.now.revision) {
            return self.judge(writer, self.now.revision - 1);
        }
        let Candidates { fillers, fixed } = self.candidates();
        match &fillers[..] {
            [] => return Err(Failure::NobodyWrote),
            [only] => {
                return self
                    .take(only, fixed)
                    .map_err(|gaps| Failure::Starved(fixed.then_some(gaps)));
            }
            _ if self.is_hopeless() => return Err(Failure::Hopeless),
            _ => {}
        }
        self.choices_made += 1;
        self.choices.push(Choice {
            situation: self.now.clone(),
            taken: self.taken.len(),
            operations: self.assignment.len(),
            candidates: fillers,
            next: 0,
            fixed,
            starved: false,
            blame: Some(BTreeSet::new()),
        });
        if self.take_next() {
            return Ok(());
        }
        match self.choices.pop() {
            Some(Choice {
                blame: Some(blame), ..
            }) if fixed => Err(Failure::Starved(Some(blame))),
            _ => Err(Failure::Starved(None)),
        }
    }

    /// The answers that saw the current revision.
    fn read(&mut self) -> Result<(), Failure> {
        let revision = self.now.revision;
        if self.plan.demanded.contains(&revision) {
            self.now.past.insert(revision, self.now.keys.clone());
        }
        let plan = self.plan;
        plan.readers(revision)
            .iter()
            .try_for_each(|index| self.judge(*index, revision))
    }

    fn judge(&mut self, index: Index, before: i64) -> Result<(), Failure> {
        self.steps += 1;
        let operation = self.plan.operation(index);
        let Some(response) = operation.response() else {
            return Ok(());
        };
        let past = &self.now.past;
        let past = |revision: i64| past.get(&revision).cloned();
        let context = Context {
            before,
            revision: self.now.revision,
            past: &past,
        };
        judge(
            &mut self.now.keys,
            &operation.request,
            &response.body,
            &context,
        )
        .map_err(|mismatch| Failure::Wrong(index, mismatch))
    }

    /// Fills the current gap; or says which gaps have taken all the operations that could.
    fn take(&mut self, filler: &Filler, forced: bool) -> Result<(), BTreeSet<i64>> {
        let revision = self.now.revision;
        let mut expiry = None;
        match filler {
            Filler::Shape(shape, classes) => {
                let deadline = self.order.deadline(revision);
                let assigned = self.assignment.push(revision, classes.clone(), deadline);
                assigned.map_err(|gaps| {
                    self.steps += gaps.len() as u64;
                    gaps.into_iter().collect::<BTreeSet<i64>>()
                })?;
                let request = &self.gaps.shapes[*shape].request;
                apply(&mut self.now.keys, request, revision - 1);
                // A value that was seen is that of any of these classes.
                let evidence = self.gaps.evidence(revision);
                for (key, value) in evidence.into_iter().flat_map(Evidence::pairs) {
                    if let (Some(entry), Some(value)) = (self.now.keys.get_mut(key), value)
                        && entry.mod_revision == revision
                    {
                        entry.value = value;
                    }
                }
            }
            Filler::Expiry(lease) => {
                expire(&mut self.now.keys, *lease);
                expiry = Some(*lease);
            }
        }
        self.taken.push(Taken {
            revision,
            expiry,
            forced,
        });
        Ok(())
    }
}
