//! What there is to judge watches by: the record of revisions, and who wrote what when.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Options;
use crate::check::{KnownOrder, Record};
use crate::history::{Body, History, Nanoseconds, News, Operation, Request, Watch};

/// What is known of one revision.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) records: Vec<Record>,
    /// Whether nothing else was changed.
    pub(super) complete: bool,
    /// Whether `records` stand in the order of the changes.
    pub(super) ordered: bool,
}

/// What is known of the revisions of one line.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    pub(super) revisions: BTreeMap<i64, Changes>,
    /// The create revision and version that a put made, where everything that leads up to it is
    /// known; by revision and key.
    pub(super) lineage: BTreeMap<(i64, Bytes), (i64, i64)>,
}

impl Evidence {
    pub(super) fn add_known(&mut self, known: &KnownOrder) {
        for (revision, records) in &known.records {
            let complete = known.is_whole(*revision);
            let changes = Changes {
                records: records.clone(),
                complete,
                ordered: complete,
            };
            let stands = self.revisions.get(revision);
            if complete || stands.is_none_or(|changes| !changes.complete) {
                self.revisions.insert(*revision, changes);
            }
        }
    }

    /// Follows every key from write to write; from an empty store, where `new` says so.
    pub(super) fn trace(&mut self, new: bool) {
        // What keys hold; a key that is missing here is absent if everything is known.
        let mut held: BTreeMap<&Bytes, Option<(i64, i64)>> = BTreeMap::new();
        let (mut all_known, mut last) = (new, 1);
        for (revision, changes) in &self.revisions {
            if *revision != last + 1 || !changes.complete {
                held.clear();
                all_known = false;
            }
            last = *revision;
            if !changes.complete {
                continue;
            }
            for record in &changes.records {
                let absent = all_known.then_some(None);
                let before = held.get(&record.key).copied().or(absent);
                let after = match (&record.value, before) {
                    (None, _) => None,
                    (Some(_), None) => continue,
                    (Some(_), Some(before)) => {
                        let (create, version) = before.unwrap_or((*revision, 0));
                        let made = (create, version + 1);
                        self.lineage.insert((*revision, record.key.clone()), made);
                        Some(made)
                    }
                };
                held.insert(&record.key, after);
            }
        }
    }

    /// Takes in what the answer to a write says about its revision.
    pub(super) fn add_answered(&mut self, operation: &Operation) {
        let Some(response) = operation.response() else {
            return;
        };
        if !response.body.is_effect() {
            return;
        }
        let mut changes = Changes {
            complete: true,
            ordered: true,
            ..Changes::default()
        };
        gather(&operation.request, &response.body, &mut changes);
        let stands = self.revisions.get(&response.revision);
        if stands.is_none_or(|stands| !stands.complete && changes.complete) {
            self.revisions.insert(response.revision, changes);
        }
    }
}

/// The changes of an answered write.
pub(super) fn gather(request: &Request, body: &Body, changes: &mut Changes) {
    match (request, body) {
        (Request::Put(put), Body::Put(_)) => changes.records.push(Record {
            key: put.key.clone(),
            value: Some(put.value.clone()),
        }),
        (Request::Delete(delete), Body::Delete(done)) if done.deleted > 0 => {
            if delete.range_end.is_empty() {
                changes.records.push(Record {
                    key: delete.key.clone(),
                    value: None,
                });
            } else {
                changes.complete = false;
            }
        }
        (Request::Txn(txn), Body::Txn(done)) => {
            let branch = match done.succeeded {
                true => &txn.then,
                false => &txn.otherwise,
            };
            for (request, body) in branch.iter().zip(&done.responses) {
                gather(request, body, changes);
            }
        }
        _ => {}
    }
}

/// The times between losses, each with its evidence.
pub(super) struct Epochs {
    losses: Vec<Nanoseconds>,
    pub(super) evidence: Vec<Evidence>,
    /// The last revision there was in the end, where known.
    pub(super) last: Option<i64>,
}

impl Epochs {
    pub(super) fn new(history: &History, options: &Options<'_>) -> Epochs {
        let mut losses = options.losses.to_vec();
        losses.sort_unstable();
        let mut epochs = Epochs {
            evidence: vec![Evidence::default(); losses.len() + 1],
            losses,
            last: options.known_order.map(|known| known.revision),
        };
        for operation in &history.operations {
            let returned = operation.returned.unwrap_or(u64::MAX);
            if let Some(epoch) = epochs.within(operation.invoked, returned) {
                epochs.evidence[epoch].add_answered(operation);
            }
        }
        if let (Some(known), Some(last)) = (options.known_order, epochs.evidence.last_mut()) {
            last.add_known(known);
        }
        for (number, evidence) in epochs.evidence.iter_mut().enumerate() {
            evidence.trace(number == 0);
        }
        epochs
    }

    /// The epoch that holds both times.
    pub(super) fn within(&self, from: Nanoseconds, to: Nanoseconds) -> Option<usize> {
        let epoch = self.losses.partition_point(|loss| *loss <= from);
        let same = self.losses.partition_point(|loss| *loss <= to) == epoch;
        same.then_some(epoch)
    }

    /// The epoch in which the watch was opened and everything reached it.
    pub(super) fn of(&self, watch: &Watch) -> Option<usize> {
        let mut told = watch.responses.iter().rev();
        let last = told.find(|r| !matches!(r.news, News::Ended(_)));
        let last = last.map_or(watch.opened, |r| r.at);
        self.within(watch.opened, last)
    }
}

/// Who wrote what, and when.
pub(super) struct Writers<'a> {
    /// When each key's value was first asked to be written.
    pub(super) puts: BTreeMap<(Bytes, Bytes), Nanoseconds>,
    /// When writes of any kind were invoked, ascending.
    writes: Vec<Nanoseconds>,
    /// When compactions were invoked, by revision.
    pub(super) compactions: BTreeMap<i64, Nanoseconds>,
    /// Whether any key is attached to a lease.
    leases: bool,
    /// Who wrote each revision, where one thing is meant by a revision.
    by_revision: BTreeMap<i64, &'a Operation>,
}

impl<'a> Writers<'a> {
    /// `one_line` says whether a revision stands for one thing throughout.
    pub(super) fn new(history: &'a History, one_line: bool) -> Writers<'a> {
        let mut writers = Writers {
            puts: BTreeMap::new(),
            writes: Vec::new(),
            compactions: BTreeMap::new(),
            leases: false,
            by_revision: BTreeMap::new(),
        };
        for operation in &history.operations {
            writers.add(&operation.request, operation.invoked);
            if operation.request.may_write() {
                writers.writes.push(operation.invoked);
            }
            if let Some(response) = operation.response().filter(|_| one_line)
                && response.body.is_effect()
            {
                writers.by_revision.insert(response.revision, operation);
            }
        }
        writers.writes.sort_unstable();
        writers
    }

    pub(super) fn add(&mut self, request: &Request, at: Nanoseconds) {
        let earliest = |time: &mut Nanoseconds| *time = at.min(*time);
        match request {
            Request::Put(put) => {
                self.leases |= put.lease != 0;
                let written = (put.key.clone(), put.value.clone());
                self.puts.entry(written).and_modify(earliest).or_insert(at);
            }
            Request::Compact(compact) => {
                let revision = compact.revision;
                let entry = self.compactions.entry(revision);
                entry.and_modify(earliest).or_insert(at);
            }
            Request::Txn(txn) => {
                for request in txn.then.iter().chain(&txn.otherwise) {
                    self.add(request, at);
                }
            }
            Request::Range(_) | Request::Delete(_) => {}
        }
    }

    /// The highest revision there can have been at a time: every write invoked by then made one.
    /// Where leases are used, their ends make others.
    pub(super) fn revision_max(&self, at: Nanoseconds) -> i64 {
        if self.leases {
            return i64::MAX;
        }
        1 + self.writes.partition_point(|invoked| *invoked <= at) as i64
    }

    /// The operation that was told it wrote `revision`.
    pub(super) fn wrote(&self, revision: i64) -> Option<&'a Operation> {
        self.by_revision.get(&revision).copied()
    }

    /// Whether a compaction of `revision` or later was asked for by then.
    pub(super) fn compacted(&self, revision: i64, at: Nanoseconds) -> bool {
        let mut later = self.compactions.range(revision..);
        later.any(|(_, invoked)| *invoked <= at)
    }
}
