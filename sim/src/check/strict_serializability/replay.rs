//! Replays the revisions in order and judges every answer, choosing by backtracking where several
//! operations of unknown outcome may have filled a gap.
//!
//! The first pass is linear. A wrong choice shows at the next answer that looks at a key it touched;
//! the search then goes back to the last choice. A situation from which every choice failed is
//! remembered, with everything that later steps can depend on, and compared exactly.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use im::OrdMap;

use super::accounts::Accounts;
use super::explain;
use super::gaps::Gaps;
use super::order::Order;
use super::plan::{Index, Plan};
use crate::check::store::{Context, Keys, Mismatch, apply, expire, judge};
use crate::check::{Counterexample, Record};
use crate::history::display_short;

/// The most hopeless situations remembered; beyond, they are searched again when met again.
const HOPELESS_MAX: usize = 500_000;

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

#[derive(Clone, Copy)]
enum Filler {
    Class(usize),
    Expiry(i64),
}

enum Failure {
    Wrong(Index, Mismatch),
    NobodyWrote,
    /// The situation is known to be hopeless.
    Hopeless,
}

/// A gap with several candidates, and the state before it.
struct Choice {
    situation: Situation,
    fills: usize,
    candidates: Vec<Filler>,
    next: usize,
}

/// Everything that the steps from a gap on depend on.
#[derive(Clone)]
struct Situation {
    revision: i64,
    keys: Keys,
    past: OrdMap<i64, Keys>,
    /// Members used, by class, of those classes that may fill more than one gap.
    used_loose: OrdMap<usize, usize>,
}

/// The search.
pub(super) struct Replay<'p, 'a> {
    plan: &'p Plan<'a>,
    order: &'p Order,
    gaps: &'p Gaps,
    now: Situation,
    fills: Vec<(i64, Filler, Index)>,
    used: Vec<usize>,
    choices: Vec<Choice>,
    hopeless: BTreeMap<u64, Vec<Situation>>,
    /// Judgements made, over all branches.
    pub(super) steps: u64,
    /// How many gaps had more than one candidate, over all branches.
    pub(super) choices_made: u64,
    deepest: Option<(i64, Failure)>,
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
                used_loose: OrdMap::new(),
            },
            fills: Vec::new(),
            used: vec![0; gaps.classes.len()],
            choices: Vec::new(),
            hopeless: BTreeMap::new(),
            steps: 0,
            choices_made: 0,
            deepest: None,
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
                    self.note(failure);
                    if !self.go_back() {
                        return End::Contradiction(self.contradiction());
                    }
                    filled = true;
                }
            }
            if self.steps > steps_max {
                return End::Exhausted;
            }
        }
    }

    fn explained(&self) -> End {
        let fill = |(revision, filler, index): &(i64, Filler, Index)| match filler {
            Filler::Class(_) => (*revision, Fill::Operation(*index)),
            Filler::Expiry(lease) => (*revision, Fill::Expiry(*lease)),
        };
        End::Explained(self.fills.iter().map(fill).collect())
    }

    /// The write of the current revision.
    fn fill(&mut self) -> Result<(), Failure> {
        if let Some(writer) = self.plan.writer(self.now.revision) {
            return self.judge(writer, self.now.revision - 1);
        }
        let candidates = self.candidates();
        match candidates[..] {
            [] => Err(Failure::NobodyWrote),
            [only] => {
                self.take(only);
                Ok(())
            }
            [first, ..] => {
                if self.is_hopeless() {
                    return Err(Failure::Hopeless);
                }
                self.choices_made += 1;
                let situation = self.now.clone();
                let fills = self.fills.len();
                self.choices.push(Choice {
                    situation,
                    fills,
                    candidates,
                    next: 1,
                });
                self.take(first);
                Ok(())
            }
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

    /// Whatever may have written the current revision.
    fn candidates(&mut self) -> Vec<Filler> {
        let revision = self.now.revision;
        let slot = usize::try_from(revision).unwrap_or(0);
        let deadline = self.order.deadlines[slot].at;
        let mut found: Vec<(Filler, Vec<Record>)> = Vec::new();
        for class in self.gaps.candidates(revision) {
            let Some(member) = self.gaps.classes[*class].members.get(self.used[*class]) else {
                continue;
            };
            if self.plan.called(*member) > deadline || !self.gaps.may_fill(*class, revision) {
                continue;
            }
            self.steps += 1;
            let mut keys = self.now.keys.clone();
            let request = &self.gaps.classes[*class].request;
            if let Some(records) = apply(&mut keys, request, revision - 1) {
                found.push((Filler::Class(*class), records));
            }
        }
        if self.plan.leases {
            let leases: BTreeSet<i64> = self.now.keys.values().map(|entry| entry.lease).collect();
            for lease in leases.into_iter().filter(|lease| *lease != 0) {
                self.steps += 1;
                found.push((
                    Filler::Expiry(lease),
                    expire(&mut self.now.keys.clone(), lease),
                ));
            }
        }
        if let Some(evidence) = self.gaps.evidence(revision) {
            found.retain(|(_, records)| evidence.allows(records));
        }
        if found.len() > 1 {
            let accounts = Accounts::new(self.plan, &self.now.keys, revision);
            let refuted = |(_, records): &(Filler, Vec<Record>)| accounts.refute(records);
            // When all are refuted, going on shows which answer refutes them.
            if !found.iter().all(refuted) {
                found.retain(|candidate| !refuted(candidate));
            }
        }
        found.into_iter().map(|(filler, _)| filler).collect()
    }

    fn take(&mut self, filler: Filler) {
        let revision = self.now.revision;
        let mut index = Index::MAX;
        match filler {
            Filler::Class(class) => {
                let used = &mut self.used[class];
                index = self.gaps.classes[class].members[*used];
                *used += 1;
                if self.gaps.is_loose(class) {
                    self.now.used_loose.insert(class, *used);
                }
                apply(
                    &mut self.now.keys,
                    &self.gaps.classes[class].request,
                    revision - 1,
                );
            }
            Filler::Expiry(lease) => _ = expire(&mut self.now.keys, lease),
        }
        self.fills.push((revision, filler, index));
    }

    /// Takes the next candidate of the last choice that has one; false when there is none.
    fn go_back(&mut self) -> bool {
        while let Some(mut choice) = self.choices.pop() {
            for (_, filler, _) in self.fills.drain(choice.fills..) {
                if let Filler::Class(class) = filler {
                    self.used[class] -= 1;
                }
            }
            self.now = choice.situation.clone();
            if let Some(filler) = choice.candidates.get(choice.next).copied() {
                choice.next += 1;
                self.choices.push(choice);
                self.take(filler);
                return true;
            }
            if self.hopeless.len() < HOPELESS_MAX {
                let hash = choice.situation.hash();
                self.hopeless
                    .entry(hash)
                    .or_default()
                    .push(choice.situation);
            }
        }
        false
    }

    fn is_hopeless(&self) -> bool {
        self.hopeless
            .get(&self.now.hash())
            .is_some_and(|known| known.iter().any(|known| known.same(&self.now)))
    }

    fn note(&mut self, failure: Failure) {
        if matches!(failure, Failure::Hopeless) {
            return;
        }
        if self
            .deepest
            .as_ref()
            .is_none_or(|(revision, _)| *revision < self.now.revision)
        {
            self.deepest = Some((self.now.revision, failure));
        }
    }

    fn contradiction(&self) -> Box<Counterexample> {
        let counterexample = match &self.deepest {
            Some((_, Failure::Wrong(index, mismatch))) => self.plan.wrong_answer(*index, mismatch),
            Some((revision, _)) => self.nobody_wrote(*revision),
            // Going back without a failure noted cannot happen: the first failure is noted.
            None => explain::start("no order explains the history"),
        };
        if self.choices_made == 0 {
            return counterexample.into();
        }
        let unknown = self.plan.unknown_writes.len();
        let reason = format!(
            "this is as far as any assignment of the {unknown} operations of unknown outcome to the \
             {} revisions without a definite writer goes",
            self.plan.gaps
        );
        counterexample.because(reason).into()
    }

    fn nobody_wrote(&self, revision: i64) -> Counterexample {
        let evidence = self.gaps.evidence(revision);
        let pairs: Vec<_> = evidence
            .into_iter()
            .flat_map(|evidence| evidence.exact.iter().flatten().chain(&evidence.seen))
            .collect();
        let shown = |value: &Option<Bytes>| value.as_ref().map_or("?".to_owned(), display_short);
        let content: BTreeSet<_> = pairs
            .iter()
            .map(|(key, value)| (display_short(key), shown(value)))
            .collect();
        let content: Vec<_> = content.into_iter().collect();
        let mut counterexample = self.plan.nobody_wrote(revision, &content);
        let twin = pairs
            .iter()
            .find_map(|(key, value)| self.plan.twins(revision, key, value.as_ref()?));
        if let Some((first, index)) = twin {
            let operation = self.plan.operation(index);
            counterexample = counterexample.with(operation).because(format!(
                "revision {revision} holds the content of operation {}, already at {first}: \
                 executed twice",
                operation.id
            ));
        }
        counterexample
    }
}

impl Situation {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.revision.hash(&mut hasher);
        self.keys.hash(&mut hasher);
        self.used_loose.hash(&mut hasher);
        hasher.finish()
    }

    fn same(&self, other: &Situation) -> bool {
        self.revision == other.revision
            && self.keys == other.keys
            && self.used_loose == other.used_loose
            && self.past.len() == other.past.len()
            && self
                .past
                .iter()
                .zip(other.past.iter())
                .all(|(mine, theirs)| {
                    mine.0 == theirs.0 && (mine.1.ptr_eq(theirs.1) || mine.1 == theirs.1)
                })
    }
}
