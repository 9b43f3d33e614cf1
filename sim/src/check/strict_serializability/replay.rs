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
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use im::OrdMap;

use super::accounts::Accounts;
use super::assignment::Assignment;
use super::explain;
use super::gaps::{Evidence, Gaps};
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
struct Choice {
    situation: Situation,
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
struct Situation {
    revision: i64,
    keys: Keys,
    past: OrdMap<i64, Keys>,
}

/// The search.
pub(super) struct Replay<'p, 'a> {
    plan: &'p Plan<'a>,
    order: &'p Order,
    gaps: &'p Gaps,
    now: Situation,
    taken: Vec<Taken>,
    assignment: Assignment<'p>,
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
            },
            taken: Vec::new(),
            assignment: Assignment::new(gaps),
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
                    self.note(&failure);
                    if !self.go_back(failure) {
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
        let mut operations = self.assignment.operations();
        let mut fills = Vec::with_capacity(self.taken.len());
        for taken in &self.taken {
            let fill = match taken.expiry {
                Some(lease) => Some(Fill::Expiry(lease)),
                None => operations.next().map(Fill::Operation),
            };
            fills.extend(fill.map(|fill| (taken.revision, fill)));
        }
        End::Explained(fills)
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

    /// Whatever may have written the current revision.
    fn candidates(&mut self) -> Candidates {
        let revision = self.now.revision;
        let slot = usize::try_from(revision).unwrap_or(0);
        let deadline = self.order.deadlines[slot].at;
        if let Some(classes) = self.gaps.by_evidence(revision) {
            return self.candidates_by_evidence(classes, deadline);
        }
        let accounts = Accounts::new(self.plan, &self.now.keys, revision);
        let mut fillers = self.candidates_by_state(deadline, Some(&accounts));
        if fillers.is_empty() {
            // Going on shows which answer refutes them all.
            fillers = self.candidates_by_state(deadline, None);
        }
        let fixed = false;
        Candidates { fillers, fixed }
    }

    /// The candidates where a put of a known value was seen.
    fn candidates_by_evidence(&mut self, classes: &[usize], deadline: u64) -> Candidates {
        let revision = self.now.revision;
        let gaps = self.gaps;
        let mut fixed = true;
        let mut found: Vec<(usize, Vec<usize>, Vec<Record>)> = Vec::new();
        for number in classes {
            let class = &gaps.classes[*number];
            if !gaps.may_fill(*number, revision, deadline) {
                continue;
            }
            fixed &= gaps.shapes[class.shape].puts.is_some();
            if !gaps.is_open(class.shape, &self.now.keys) {
                continue;
            }
            self.steps += 1;
            let mut keys = self.now.keys.clone();
            let Some(records) = apply(&mut keys, &class.request, revision - 1) else {
                continue;
            };
            let evidence = gaps.evidence(revision);
            if evidence.is_some_and(|evidence| !evidence.allows(&records)) {
                continue;
            }
            match found.iter_mut().find(|(shape, ..)| *shape == class.shape) {
                Some((_, classes, _)) => classes.push(*number),
                None => found.push((class.shape, vec![*number], records)),
            }
        }
        if found.len() > 1 {
            let accounts = Accounts::new(self.plan, &self.now.keys, revision);
            let refuted = |found: &(usize, Vec<usize>, Vec<Record>)| accounts.refute(&found.2);
            let count = found.len();
            if !found.iter().all(refuted) {
                found.retain(|found| !refuted(found));
            }
            fixed &= found.len() == count;
        }
        let fillers = found
            .into_iter()
            .map(|(shape, classes, _)| Filler::Shape(shape, classes))
            .collect();
        Candidates { fillers, fixed }
    }

    /// The candidates where nothing or little is known of the gap.
    fn candidates_by_state(
        &mut self,
        deadline: u64,
        accounts: Option<&Accounts<'_>>,
    ) -> Vec<Filler> {
        let revision = self.now.revision;
        let gaps = self.gaps;
        let evidence = gaps.evidence(revision);
        let allowed = |records: &[Record]| {
            evidence.is_none_or(|evidence| evidence.allows(records))
                && accounts.is_none_or(|accounts| !accounts.refute(records))
        };
        let mut found = Vec::new();
        for number in gaps.shapes_in(&self.now.keys) {
            let shape = &gaps.shapes[number];
            let puts = shape.puts.as_deref();
            if let (Some(puts), Some(accounts)) = (puts, accounts)
                && accounts.refute_puts(puts)
            {
                continue;
            }
            let able = |class: &&usize| gaps.may_fill(**class, revision, deadline);
            if !shape.classes.iter().any(|class| able(&class)) {
                continue;
            }
            self.steps += 1;
            let mut keys = self.now.keys.clone();
            if apply(&mut keys, &shape.request, revision - 1).is_some_and(|r| allowed(&r)) {
                let classes = shape.classes.iter().filter(able).copied().collect();
                found.push(Filler::Shape(number, classes));
            }
        }
        if self.plan.leases {
            let leases: BTreeSet<i64> = self.now.keys.values().map(|entry| entry.lease).collect();
            for lease in leases.into_iter().filter(|lease| *lease != 0) {
                self.steps += 1;
                if allowed(&expire(&mut self.now.keys.clone(), lease)) {
                    found.push(Filler::Expiry(lease));
                }
            }
        }
        found
    }

    /// Fills the current gap; or says which gaps have taken all the operations that could.
    fn take(&mut self, filler: &Filler, forced: bool) -> Result<(), BTreeSet<i64>> {
        let revision = self.now.revision;
        let mut expiry = None;
        match filler {
            Filler::Shape(shape, classes) => {
                let slot = usize::try_from(revision).unwrap_or(0);
                let deadline = self.order.deadlines[slot].at;
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
                        entry.value = value.clone();
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

    /// Takes the next candidate of the last choice; false when it has none left.
    fn take_next(&mut self) -> bool {
        loop {
            let Some(choice) = self.choices.last_mut() else {
                return false;
            };
            let Some(filler) = choice.candidates.get(choice.next).cloned() else {
                return false;
            };
            choice.next += 1;
            self.taken.truncate(choice.taken);
            self.assignment.truncate(choice.operations);
            self.now = choice.situation.clone();
            match self.take(&filler, false) {
                Ok(()) => return true,
                Err(gaps) => {
                    if let Some(choice) = self.choices.last_mut() {
                        choice.starved = true;
                        choice
                            .blame
                            .iter_mut()
                            .for_each(|blame| blame.extend(&gaps));
                    }
                }
            }
        }
    }

    /// Goes back to the last choice that matters and has a candidate left; false when there is none.
    fn go_back(&mut self, failure: Failure) -> bool {
        let mut starved = matches!(failure, Failure::Starved(_));
        let mut blame = match failure {
            Failure::Starved(blame) => blame,
            _ => None,
        };
        loop {
            if let Some(gaps) = &blame {
                let (keep, only_choices) = self.choices_to_blame(gaps);
                self.choices.truncate(keep);
                blame = blame.filter(|_| only_choices);
            }
            let Some(choice) = self.choices.last_mut() else {
                return false;
            };
            choice.starved |= starved;
            choice.blame = match (choice.blame.take(), blame) {
                (Some(mut known), Some(new)) => {
                    known.extend(&new);
                    Some(known)
                }
                _ => None,
            };
            if self.take_next() {
                return true;
            }
            let Some(mut choice) = self.choices.pop() else {
                return false;
            };
            self.taken.truncate(choice.taken);
            starved = choice.starved;
            blame = choice.blame.take().filter(|_| choice.fixed);
            if !starved && self.hopeless.len() < HOPELESS_MAX {
                let hash = choice.situation.hash();
                self.hopeless
                    .entry(hash)
                    .or_default()
                    .push(choice.situation);
            }
        }
    }

    /// How many choices there are up to the last that can change what these gaps took, and whether
    /// it is to blame for no more than its own gap. What followed from it, unless it was forced, may
    /// have followed from earlier choices just as well.
    fn choices_to_blame(&self, gaps: &BTreeSet<i64>) -> (usize, bool) {
        let mut end = self.taken.len();
        for (number, choice) in self.choices.iter().enumerate().rev() {
            let to_blame = |taken: &Taken| !taken.forced && gaps.contains(&taken.revision);
            let followed = self.taken.get(choice.taken + 1..end).unwrap_or(&[]);
            if followed.iter().any(to_blame) {
                return (number + 1, false);
            }
            if self.taken.get(choice.taken).is_some_and(to_blame) {
                return (number + 1, true);
            }
            end = choice.taken;
        }
        (0, true)
    }

    fn is_hopeless(&self) -> bool {
        self.hopeless
            .get(&self.now.hash())
            .is_some_and(|known| known.iter().any(|known| known.same(&self.now)))
    }

    fn note(&mut self, failure: &Failure) {
        let failure = match failure {
            Failure::Hopeless => return,
            Failure::Wrong(index, mismatch) => Failure::Wrong(*index, mismatch.clone()),
            Failure::NobodyWrote | Failure::Starved(_) => Failure::NobodyWrote,
        };
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
        let pairs: Vec<_> = evidence.into_iter().flat_map(Evidence::pairs).collect();
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
        hasher.finish()
    }

    fn same(&self, other: &Situation) -> bool {
        self.revision == other.revision
            && self.keys == other.keys
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
