//! Revisions without a definite writer, and which operations of unknown outcome may fill them.
//!
//! Operations that ask for the same thing are interchangeable and form a [`Class`]. Where nobody
//! looks at a value, it could as well be any other: such values are replaced by one ([`unseen`]), and
//! the classes that then are the same have one [`Shape`]. The search only chooses shapes. Which
//! operations stand behind them is a matter of [`super::assignment`], so that a value that is needed
//! later is never used up where another would do.
//!
//! A shape that compares the revision of a key with one number can only write while the key has that
//! revision. Such shapes are looked up by it, so that a gap costs nothing for the many that cannot
//! have filled it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::plan::{Index, Plan};
use super::witnesses::{Witnesses, revisions_compared};
use crate::check::KnownOrder;
use crate::check::known_order::Known;
use crate::check::store::Keys;
use crate::check::unseen::{Compared, any_keys_only, simplify};
use crate::history::{Body, Operand, Put, Relation, Request};

/// The most evidence kept for one revision, in observations.
const EVIDENCE_MAX: usize = 64;

/// Operations of unknown outcome that ask for the same thing.
pub(super) struct Class {
    /// What they ask for.
    pub(super) request: Request,
    /// The operations, by the time of their invocation.
    pub(super) members: Vec<Index>,
    /// When each was invoked.
    pub(super) calls: Vec<u64>,
    /// The shape of the request.
    pub(super) shape: usize,
    /// The only revision this class can have written: its content, which nobody else writes, was
    /// seen there.
    pinned: Option<i64>,
}

/// Classes that do the same, but for values that nobody looks at.
pub(super) struct Shape {
    /// What they ask for, with those values replaced.
    pub(super) request: Request,
    /// The classes that are not pinned.
    pub(super) classes: Vec<usize>,
    /// The keys it writes whatever the state, when it consists of nothing but puts.
    pub(super) puts: Option<Vec<Bytes>>,
    /// It can only write while this key was last written at this revision; 0 for a missing key.
    pub(super) guard: Option<(Bytes, i64)>,
}

/// What is known about the content of one gap.
#[derive(Default)]
pub(super) struct Evidence {
    /// Keys seen with this revision, and their values unless only the key was seen.
    pub(super) seen: BTreeSet<(Bytes, Option<Bytes>)>,
    /// All the records of this revision, ascending by key, when the final store told.
    pub(super) exact: Option<Vec<(Bytes, Option<Bytes>)>>,
}

/// All gaps and all that may fill them.
#[derive(Default)]
pub(super) struct Gaps {
    pub(super) classes: Vec<Class>,
    pub(super) shapes: Vec<Shape>,
    evidence: BTreeMap<i64, Evidence>,
    by_put: BTreeMap<(Bytes, Bytes), Vec<usize>>,
    /// Shapes without a guard, to be tried where there is no evidence of a put.
    unguarded: Vec<usize>,
    /// The other shapes, by their guard.
    guarded: BTreeMap<Bytes, BTreeMap<i64, Vec<usize>>>,
}

impl Gaps {
    pub(super) fn new(plan: &Plan<'_>, witnesses: Witnesses, known: Option<&KnownOrder>) -> Gaps {
        let mut gaps = Gaps::default();
        if plan.gaps == 0 {
            return gaps;
        }
        let (found, compared) = witnesses.finish(plan.operations, plan.with_serializable);
        gaps.collect_evidence(plan, &found, known);
        gaps.form_classes(plan, compared);
        gaps.pin();
        gaps
    }

    /// What is known about a gap's content.
    pub(super) fn evidence(&self, revision: i64) -> Option<&Evidence> {
        self.evidence.get(&revision)
    }

    /// The classes that may have filled a gap where a put of a known value was seen; `None` where
    /// none was.
    pub(super) fn by_evidence(&self, revision: i64) -> Option<&[usize]> {
        let put = self.evidence.get(&revision).and_then(Evidence::put)?;
        Some(self.by_put.get(&put).map_or(&[], Vec::as_slice))
    }

    /// The shapes that may write in a state.
    pub(super) fn shapes_in(&self, keys: &Keys<'_>) -> Vec<usize> {
        let mut found = self.unguarded.clone();
        for (key, by_revision) in &self.guarded {
            let modified = keys.get(key).map_or(0, |entry| entry.mod_revision);
            found.extend(by_revision.get(&modified).into_iter().flatten());
        }
        found
    }

    /// Whether the guard of a shape leaves it a chance.
    pub(super) fn is_open(&self, shape: usize, keys: &Keys<'_>) -> bool {
        let guard = self.shapes[shape].guard.as_ref();
        guard.is_none_or(|(key, revision)| {
            keys.get(key).map_or(0, |entry| entry.mod_revision) == *revision
        })
    }

    /// Whether a class may have filled a gap whose writer must have been invoked by `deadline`, as
    /// far as pinning tells.
    pub(super) fn may_fill(&self, class: usize, revision: i64, deadline: u64) -> bool {
        let class = &self.classes[class];
        class.pinned.is_none_or(|pinned| pinned == revision)
            && class.calls.first().is_some_and(|call| *call <= deadline)
    }

    fn collect_evidence(&mut self, plan: &Plan<'_>, found: &[Index], known: Option<&KnownOrder>) {
        let is_gap =
            |revision: i64| (2..=plan.last).contains(&revision) && plan.writer(revision).is_none();
        for operation in found.iter().map(|index| plan.operation(*index)) {
            let (Some(response), request) = (operation.response(), &operation.request) else {
                continue;
            };
            let values = !any_keys_only(request);
            let mut see = |revision: i64, key: &Bytes, value: Option<&Bytes>| {
                if is_gap(revision) {
                    let seen = &mut self.evidence.entry(revision).or_default().seen;
                    if seen.len() < EVIDENCE_MAX {
                        seen.insert((key.clone(), value.cloned()));
                    }
                }
            };
            response.body.for_each_key_value(&mut |kv| {
                see(kv.mod_revision, &kv.key, values.then_some(&kv.value));
                if kv.create_revision != kv.mod_revision {
                    see(kv.create_revision, &kv.key, None);
                }
            });
            if let (Request::Txn(txn), Body::Txn(body)) = (request, &response.body) {
                for (key, revision) in revisions_compared(txn, body) {
                    see(revision, key, None);
                }
            }
        }
        let Some(known) = known else { return };
        for revision in (2..=plan.last).filter(|revision| is_gap(*revision)) {
            let pair = |record: &crate::check::Record| (record.key.clone(), record.value.clone());
            match known.at(revision) {
                Known::Absent => {}
                Known::Some(records) => {
                    let seen = &mut self.evidence.entry(revision).or_default().seen;
                    let puts = records.iter().filter(|record| record.value.is_some());
                    seen.extend(puts.map(pair));
                }
                Known::All(records) => {
                    let mut exact: Vec<_> = records.iter().map(pair).collect();
                    exact.sort_unstable();
                    self.evidence.entry(revision).or_default().exact = Some(exact);
                }
            }
        }
    }

    fn form_classes(&mut self, plan: &Plan<'_>, mut compared: Compared) {
        // Where evidence was cut short, every value matters.
        let cut_short = |evidence: &Evidence| evidence.seen.len() >= EVIDENCE_MAX;
        compared.all |= self.evidence.values().any(cut_short);
        let mut shown: BTreeSet<(Bytes, Bytes)> = BTreeSet::new();
        for evidence in self.evidence.values() {
            let pairs = evidence.pairs();
            shown.extend(pairs.filter_map(|(key, value)| Some((key.clone(), value.clone()?))));
        }
        let matters = |put: &Put| compared.covers(&put.key);
        let matters_or_shown =
            |put: &Put| matters(put) || shown.contains(&(put.key.clone(), put.value.clone()));
        let mut by_request: BTreeMap<Request, Vec<Index>> = BTreeMap::new();
        for index in &plan.unknown_writes {
            let request = simplify(&plan.operation(*index).request, &matters_or_shown);
            by_request.entry(request).or_default().push(*index);
        }
        let mut shapes: BTreeMap<Request, usize> = BTreeMap::new();
        for (request, mut members) in by_request {
            members.sort_by_key(|index| (plan.called(*index), *index));
            let shape = simplify(&request, &matters);
            let next = self.shapes.len();
            let number = *shapes.entry(shape).or_insert_with_key(|shape| {
                self.shapes.push(Shape::new(shape));
                next
            });
            self.classes.push(Class {
                request,
                calls: members.iter().map(|index| plan.called(*index)).collect(),
                members,
                shape: number,
                pinned: None,
            });
        }
    }

    fn pin(&mut self) {
        for (number, class) in self.classes.iter().enumerate() {
            let mut puts = BTreeSet::new();
            collect_puts(&class.request, &mut puts);
            for put in puts {
                self.by_put.entry(put).or_default().push(number);
            }
        }
        for (revision, evidence) in &self.evidence {
            for (key, value) in evidence.pairs() {
                let Some(value) = value else { continue };
                let writers = self.by_put.get(&(key.clone(), value.clone()));
                if let Some([only]) = writers.map(Vec::as_slice)
                    && self.classes[*only].members.len() == 1
                {
                    self.classes[*only].pinned.get_or_insert(*revision);
                }
            }
        }
        for (number, class) in self.classes.iter().enumerate() {
            if class.pinned.is_none() {
                self.shapes[class.shape].classes.push(number);
            }
        }
        for (number, shape) in self.shapes.iter().enumerate() {
            match &shape.guard {
                _ if shape.classes.is_empty() => {}
                None => self.unguarded.push(number),
                Some((key, revision)) => {
                    let by_revision = self.guarded.entry(key.clone()).or_default();
                    by_revision.entry(*revision).or_default().push(number);
                }
            }
        }
    }
}

impl Shape {
    fn new(request: &Request) -> Shape {
        let mut puts = Vec::new();
        Shape {
            request: request.clone(),
            classes: Vec::new(),
            puts: only_puts(request, &mut puts).then_some(puts),
            guard: guard(request),
        }
    }
}

/// Whether a request does nothing but put, whatever the state; which keys.
fn only_puts(request: &Request, puts: &mut Vec<Bytes>) -> bool {
    match request {
        Request::Put(put) => {
            puts.push(put.key.clone());
            true
        }
        Request::Txn(txn) => {
            txn.compare.is_empty() && txn.then.iter().all(|request| only_puts(request, puts))
        }
        _ => false,
    }
}

/// The key and the revision it must have been written at last, for the request to write anything.
fn guard(request: &Request) -> Option<(Bytes, i64)> {
    let Request::Txn(txn) = request else {
        return None;
    };
    if txn.otherwise.iter().any(Request::may_write) {
        return None;
    }
    txn.compare.iter().find_map(|compare| {
        if !compare.range_end.is_empty() || compare.relation != Relation::Equal {
            return None;
        }
        match compare.operand {
            Operand::ModRevision(revision) => Some((compare.key.clone(), revision)),
            Operand::CreateRevision(0) | Operand::Version(0) => Some((compare.key.clone(), 0)),
            _ => None,
        }
    })
}

impl Evidence {
    /// What is known to have been written at which key; no value where only the key was seen, or
    /// where it was removed.
    pub(super) fn pairs(&self) -> impl Iterator<Item = &(Bytes, Option<Bytes>)> {
        self.exact.iter().flatten().chain(&self.seen)
    }

    /// A put that must have happened, if one is known with its value.
    fn put(&self) -> Option<(Bytes, Bytes)> {
        let mut pairs = self.pairs();
        pairs.find_map(|(key, value)| Some((key.clone(), value.clone()?)))
    }

    /// Whether writing `records` agrees with all that is known.
    pub(super) fn allows(&self, records: &[crate::check::Record]) -> bool {
        if let Some(exact) = &self.exact {
            let mut changes: Vec<_> = records
                .iter()
                .map(|record| (&record.key, &record.value))
                .collect();
            changes.sort_unstable();
            if !changes
                .into_iter()
                .eq(exact.iter().map(|(key, value)| (key, value)))
            {
                return false;
            }
        }
        self.seen.iter().all(|(key, value)| {
            records.iter().any(|record| {
                record.key == *key
                    && match (value, &record.value) {
                        (Some(value), Some(written)) => value == written,
                        (None, Some(_)) => true,
                        (_, None) => false,
                    }
            })
        })
    }
}

fn collect_puts(request: &Request, puts: &mut BTreeSet<(Bytes, Bytes)>) {
    match request {
        Request::Put(put) => _ = puts.insert((put.key.clone(), put.value.clone())),
        Request::Txn(txn) => {
            txn.then
                .iter()
                .chain(&txn.otherwise)
                .for_each(|request| collect_puts(request, puts));
        }
        _ => {}
    }
}
