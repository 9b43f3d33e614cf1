//! Revisions without a definite writer, and which operations of unknown outcome may fill them.
//!
//! Operations that ask for the same thing are interchangeable: the search tries one of each
//! [`Class`], the one invoked first. A value that no answer shows and no comparison looks at could
//! as well be any other, so it is replaced by [`wild`] before classes are formed and states
//! compared; many classes, and many states of the search, become one that way.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::plan::{Index, Plan};
use crate::check::KnownOrder;
use crate::check::known_order::Known;
use crate::history::{Operand, Put, Request, Txn};

/// The most evidence kept for one revision, in observations.
const EVIDENCE_MAX: usize = 64;

/// Operations of unknown outcome that ask for the same thing.
pub(super) struct Class {
    /// What they ask for, with values that cannot matter replaced.
    pub(super) request: Request,
    /// The operations, by the time of their invocation.
    pub(super) members: Vec<Index>,
    /// The only revision this class can have written: its content, which nobody else writes, was
    /// seen there.
    pinned: Option<i64>,
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
    evidence: BTreeMap<i64, Evidence>,
    by_put: BTreeMap<(Bytes, Bytes), Vec<usize>>,
    /// Classes that are not pinned, to be tried where there is no evidence of a put.
    loose: Vec<usize>,
}

/// Stands for every value that cannot matter.
fn wild() -> Bytes {
    Bytes::from_static(b"\0any value at all: nobody looks\0")
}

impl Gaps {
    pub(super) fn new(plan: &Plan<'_>, known: Option<&KnownOrder>) -> Gaps {
        let mut gaps = Gaps::default();
        if plan.gaps == 0 {
            return gaps;
        }
        gaps.collect_evidence(plan, known);
        gaps.form_classes(plan);
        gaps.pin();
        gaps
    }

    /// What is known about a gap's content.
    pub(super) fn evidence(&self, revision: i64) -> Option<&Evidence> {
        self.evidence.get(&revision)
    }

    /// The classes that may have filled a gap, as far as evidence tells.
    pub(super) fn candidates(&self, revision: i64) -> &[usize] {
        let put = self.evidence.get(&revision).and_then(Evidence::put);
        match put {
            Some(put) => self.by_put.get(&put).map_or(&[], Vec::as_slice),
            None => &self.loose,
        }
    }

    /// Whether a class may have filled a gap, as far as pinning tells.
    pub(super) fn may_fill(&self, class: usize, revision: i64) -> bool {
        self.classes[class]
            .pinned
            .is_none_or(|pinned| pinned == revision)
    }

    /// Whether a class may fill more than one gap.
    pub(super) fn is_loose(&self, class: usize) -> bool {
        self.classes[class].pinned.is_none()
    }

    fn collect_evidence(&mut self, plan: &Plan<'_>, known: Option<&KnownOrder>) {
        let is_gap =
            |revision: i64| (2..=plan.last).contains(&revision) && plan.writer(revision).is_none();
        for operation in plan.operations {
            let (Some(response), request) = (operation.response(), &operation.request) else {
                continue;
            };
            let values = !any_keys_only(request);
            // What a serializable read shows may be wrong without any harm to this guarantee.
            if request.is_serializable() && !plan.with_serializable {
                continue;
            }
            response.body.for_each_key_value(&mut |kv| {
                if is_gap(kv.mod_revision) {
                    let seen = &mut self.evidence.entry(kv.mod_revision).or_default().seen;
                    if seen.len() < EVIDENCE_MAX {
                        seen.insert((kv.key.clone(), values.then(|| kv.value.clone())));
                    }
                }
            });
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

    fn form_classes(&mut self, plan: &Plan<'_>) {
        let mut shown: BTreeSet<(Bytes, Bytes)> = BTreeSet::new();
        for evidence in self.evidence.values() {
            let exact = evidence.exact.iter().flatten();
            let pairs = exact.chain(&evidence.seen);
            shown.extend(pairs.filter_map(|(key, value)| Some((key.clone(), value.clone()?))));
        }
        // Where values are compared, or evidence was cut short, every value matters.
        let compared = plan
            .operations
            .iter()
            .any(|operation| compares_values(&operation.request))
            || self
                .evidence
                .values()
                .any(|evidence| evidence.seen.len() >= EVIDENCE_MAX);
        let matters = |put: &Put| compared || shown.contains(&(put.key.clone(), put.value.clone()));
        let mut by_request: BTreeMap<Request, Vec<Index>> = BTreeMap::new();
        for index in &plan.unknown_writes {
            let request = simplify(&plan.operation(*index).request, &matters);
            by_request.entry(request).or_default().push(*index);
        }
        for (request, mut members) in by_request {
            members.sort_by_key(|index| (plan.called(*index), *index));
            self.classes.push(Class {
                request,
                members,
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
            let pairs = evidence.exact.iter().flatten().chain(&evidence.seen);
            for (key, value) in pairs {
                let Some(value) = value else { continue };
                let writers = self.by_put.get(&(key.clone(), value.clone()));
                if let Some([only]) = writers.map(Vec::as_slice)
                    && self.classes[*only].members.len() == 1
                {
                    self.classes[*only].pinned.get_or_insert(*revision);
                }
            }
        }
        let loose = |number: &usize| self.classes[*number].pinned.is_none();
        self.loose = (0..self.classes.len()).filter(loose).collect();
    }
}

impl Evidence {
    /// A put that must have happened, if one is known with its value.
    fn put(&self) -> Option<(Bytes, Bytes)> {
        let mut pairs = self.exact.iter().flatten().chain(&self.seen);
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

/// The request without what cannot matter when nobody sees the answer.
fn simplify(request: &Request, matters: &impl Fn(&Put) -> bool) -> Request {
    match request {
        Request::Put(put) => {
            let value = if matters(put) {
                put.value.clone()
            } else {
                wild()
            };
            Request::Put(Put {
                value,
                prev_kv: false,
                ..put.clone()
            })
        }
        Request::Delete(delete) => {
            let mut delete = delete.clone();
            delete.prev_kv = false;
            Request::Delete(delete)
        }
        Request::Txn(txn) => {
            let simplify_all = |requests: &[Request]| {
                // A read matters only in so far as it may be refused.
                let kept = requests
                    .iter()
                    .filter(|r| !matches!(r, Request::Range(r) if r.revision <= 0));
                kept.map(|request| simplify(request, matters)).collect()
            };
            Request::Txn(Txn {
                compare: txn.compare.clone(),
                then: simplify_all(&txn.then),
                otherwise: simplify_all(&txn.otherwise),
            })
        }
        Request::Range(_) | Request::Compact(_) => request.clone(),
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

fn compares_values(request: &Request) -> bool {
    let Request::Txn(txn) = request else {
        return false;
    };
    txn.compare
        .iter()
        .any(|compare| matches!(compare.operand, Operand::Value(_)))
        || txn.then.iter().chain(&txn.otherwise).any(compares_values)
}

fn any_keys_only(request: &Request) -> bool {
    match request {
        Request::Range(range) => range.keys_only,
        Request::Txn(txn) => txn.then.iter().chain(&txn.otherwise).any(any_keys_only),
        _ => false,
    }
}
