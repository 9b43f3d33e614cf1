//! The slow and obvious judge: a plain model of the store, and every order tried.
//!
//! Written apart from the judges it is held against; it shares only the types of a history.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use vetcd_sim::check::KnownOrder;
use vetcd_sim::history::*;

/// Everything a store ever was: element `i` is the keys at revision `i + 1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Naive {
    pub states: Vec<BTreeMap<Bytes, Held>>,
    pub compacted: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    pub value: Bytes,
    pub create: i64,
    pub modified: i64,
    pub version: i64,
    pub lease: i64,
}

impl Held {
    fn kv(&self, key: &Bytes) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: self.value.clone(),
            create_revision: self.create,
            mod_revision: self.modified,
            version: self.version,
            lease: self.lease,
        }
    }
}

fn covers(key: &Bytes, start: &Bytes, end: &Bytes) -> bool {
    if end.is_empty() {
        key == start
    } else if end == &b"\0"[..] {
        key >= start
    } else {
        key >= start && key < end
    }
}

impl Naive {
    pub fn new() -> Naive {
        Naive {
            states: vec![BTreeMap::new()],
            compacted: 0,
        }
    }

    pub fn revision(&self) -> i64 {
        self.states.len() as i64
    }

    pub fn keys(&self) -> &BTreeMap<Bytes, Held> {
        self.states.last().unwrap()
    }

    pub fn at(&self, revision: i64) -> &BTreeMap<Bytes, Held> {
        &self.states[revision as usize - 1]
    }

    pub fn leases(&self) -> BTreeSet<i64> {
        self.keys()
            .values()
            .map(|held| held.lease)
            .filter(|lease| *lease != 0)
            .collect()
    }

    pub fn expire(&mut self, lease: i64) {
        let mut keys = self.keys().clone();
        keys.retain(|_, held| held.lease != lease);
        self.states.push(keys);
    }

    /// Executes a request; a refusal changes nothing.
    pub fn execute(&mut self, request: &Request) -> Result<Response, FailureClass> {
        if let Request::Compact(compact) = request {
            if compact.revision <= self.compacted {
                return Err(FailureClass::Compacted);
            }
            if compact.revision > self.revision() {
                return Err(FailureClass::FutureRevision);
            }
            self.compacted = compact.revision;
            return Ok(Response {
                revision: self.revision(),
                body: Body::Compact,
            });
        }
        let before = self.keys().clone();
        let mut keys = before.clone();
        let mut wrote = false;
        let body = self.run(request, &before, &mut keys, &mut wrote)?;
        if wrote {
            self.states.push(keys);
        }
        Ok(Response {
            revision: self.revision(),
            body,
        })
    }

    fn run(
        &self,
        request: &Request,
        before: &BTreeMap<Bytes, Held>,
        keys: &mut BTreeMap<Bytes, Held>,
        wrote: &mut bool,
    ) -> Result<Body, FailureClass> {
        let next = self.revision() + 1;
        match request {
            Request::Range(range) => {
                if range.revision > self.revision() {
                    return Err(FailureClass::FutureRevision);
                }
                if range.revision > 0 && range.revision < self.compacted {
                    return Err(FailureClass::Compacted);
                }
                let source = if range.revision > 0 {
                    &self.states[range.revision as usize - 1]
                } else {
                    keys
                };
                let mut kvs: Vec<KeyValue> = source
                    .iter()
                    .filter(|(key, _)| covers(key, &range.key, &range.range_end))
                    .map(|(key, held)| held.kv(key))
                    .collect();
                let count = kvs.len() as i64;
                let mut more = false;
                if range.count_only {
                    kvs.clear();
                } else if range.limit > 0 && count > range.limit {
                    kvs.truncate(range.limit as usize);
                    more = true;
                }
                if range.keys_only {
                    kvs.iter_mut().for_each(|kv| kv.value.clear());
                }
                Ok(Body::Range(RangeBody { kvs, more, count }))
            }
            Request::Put(put) => {
                *wrote = true;
                let old = keys.get(&put.key).cloned();
                let new = Held {
                    value: put.value.clone(),
                    create: old.as_ref().map_or(next, |old| old.create),
                    modified: next,
                    version: old.as_ref().map_or(1, |old| old.version + 1),
                    lease: put.lease,
                };
                keys.insert(put.key.clone(), new);
                let previous = old.filter(|_| put.prev_kv).map(|old| old.kv(&put.key));
                Ok(Body::Put(PutBody { previous }))
            }
            Request::Delete(delete) => {
                let gone: Vec<KeyValue> = keys
                    .iter()
                    .filter(|(key, _)| covers(key, &delete.key, &delete.range_end))
                    .map(|(key, held)| held.kv(key))
                    .collect();
                gone.iter().for_each(|kv| _ = keys.remove(&kv.key));
                *wrote |= !gone.is_empty();
                let deleted = gone.len() as i64;
                let previous = if delete.prev_kv { gone } else { vec![] };
                Ok(Body::Delete(DeleteBody { deleted, previous }))
            }
            Request::Txn(txn) => {
                let succeeded = txn.compare.iter().all(|compare| {
                    let mut found = before
                        .iter()
                        .filter(|(key, _)| covers(key, &compare.key, &compare.range_end))
                        .peekable();
                    match found.peek() {
                        None => holds(compare, None),
                        Some(_) => found.all(|(_, held)| holds(compare, Some(held))),
                    }
                });
                let list = if succeeded { &txn.then } else { &txn.otherwise };
                let mut responses = vec![];
                for request in list {
                    responses.push(self.run(request, before, keys, wrote)?);
                }
                Ok(Body::Txn(TxnBody {
                    succeeded,
                    responses,
                }))
            }
            Request::Compact(_) => panic!("compaction inside a transaction"),
        }
    }
}

fn holds(compare: &Compare, held: Option<&Held>) -> bool {
    let order = match &compare.operand {
        Operand::Version(n) => held.map_or(0, |h| h.version).cmp(n),
        Operand::CreateRevision(n) => held.map_or(0, |h| h.create).cmp(n),
        Operand::ModRevision(n) => held.map_or(0, |h| h.modified).cmp(n),
        Operand::Lease(n) => held.map_or(0, |h| h.lease).cmp(n),
        Operand::Value(v) => match held {
            None => return false,
            Some(held) => held.value.cmp(v),
        },
    };
    match compare.relation {
        Relation::Equal => order.is_eq(),
        Relation::NotEqual => !order.is_eq(),
        Relation::Greater => order.is_gt(),
        Relation::Less => order.is_lt(),
    }
}

/// The revisions a request names.
fn named(request: &Request) -> Vec<i64> {
    match request {
        Request::Range(range) if range.revision > 0 => vec![range.revision],
        Request::Txn(txn) => txn
            .then
            .iter()
            .chain(&txn.otherwise)
            .flat_map(named)
            .collect(),
        _ => vec![],
    }
}

/// What one operation may do to a state: the states after it, none when it cannot come now.
fn successors(state: &Naive, operation: &Operation) -> Vec<Naive> {
    let mut next = state.clone();
    match &operation.outcome {
        Outcome::Unknown(_) => match next.execute(&operation.request) {
            Ok(_) if next != *state => vec![next],
            _ => vec![],
        },
        Outcome::Ok(expected) => match next.execute(&operation.request) {
            Ok(found) if found.body == expected.body => {
                let compaction = matches!(operation.request, Request::Compact(_));
                if compaction || found.revision == expected.revision {
                    vec![next]
                } else {
                    vec![]
                }
            }
            _ => vec![],
        },
        Outcome::Failed(failure) => {
            let holds = match (&operation.request, failure.class) {
                (Request::Compact(c), FailureClass::Compacted) => c.revision <= state.compacted,
                (Request::Compact(c), _) => c.revision > state.revision(),
                (r, FailureClass::Compacted) => named(r).iter().any(|n| *n < state.compacted),
                (r, _) => named(r).iter().any(|n| *n > state.revision()),
            };
            if holds { vec![next] } else { vec![] }
        }
    }
}

/// Whether some order explains the history. With `reads`, serializable reads take part as if they
/// had been invoked at the beginning of time.
pub fn explainable(history: &History, reads: bool, known: Option<&KnownOrder>) -> bool {
    let serializable = |o: &Operation| o.request.is_serializable();
    let mut operations: Vec<Operation> = history
        .operations
        .iter()
        .filter(|o| !serializable(o) || (reads && o.response().is_some()))
        .filter(|o| match &o.outcome {
            Outcome::Failed(failure) => {
                [FailureClass::Compacted, FailureClass::FutureRevision].contains(&failure.class)
            }
            _ => true,
        })
        .cloned()
        .collect();
    for operation in operations.iter_mut().filter(|o| serializable(o)) {
        operation.invoked = 0;
    }
    let mut seen = BTreeSet::new();
    let mut stack = vec![(0_u32, Naive::new())];
    while let Some((done, state)) = stack.pop() {
        if !seen.insert((done, state.clone())) {
            continue;
        }
        let left = |i: &usize| done & (1 << i) == 0;
        let open: Vec<usize> = (0..operations.len()).filter(left).collect();
        let unfinished = open.iter().filter(|i| !operations[**i].is_unknown());
        let Some(deadline) = unfinished.map(|i| operations[*i].returned.unwrap()).min() else {
            if known.is_none_or(|known| agrees(history, &state, known)) {
                return true;
            }
            // With the final store known, operations of unknown outcome may have to follow.
            push_next(&mut stack, &operations, &open, u64::MAX, done, &state);
            continue;
        };
        push_next(&mut stack, &operations, &open, deadline, done, &state);
    }
    false
}

fn push_next(
    stack: &mut Vec<(u32, Naive)>,
    operations: &[Operation],
    open: &[usize],
    deadline: u64,
    done: u32,
    state: &Naive,
) {
    for i in open.iter().filter(|i| operations[**i].invoked <= deadline) {
        for next in successors(state, &operations[*i]) {
            stack.push((done | 1 << i, next));
        }
    }
    for lease in state.leases() {
        let mut next = state.clone();
        next.expire(lease);
        stack.push((done, next));
    }
}

/// Whether the revisions that no operation of known outcome wrote hold what the final store says.
fn agrees(history: &History, state: &Naive, known: &KnownOrder) -> bool {
    let written: BTreeSet<i64> = history
        .operations
        .iter()
        .filter_map(|o| {
            o.response()
                .filter(|r| r.body.is_effect())
                .map(|r| r.revision)
        })
        .collect();
    state.revision() >= known.revision
        && (2..=known.revision)
            .filter(|revision| !written.contains(revision))
            .all(|revision| {
                let mut expected: Vec<_> = known.records[&revision].clone();
                expected.sort();
                expected == changes(state, revision)
            })
}

/// The records of one revision.
pub fn changes(state: &Naive, revision: i64) -> Vec<vetcd_sim::check::Record> {
    let (old, new) = (
        &state.states[revision as usize - 2],
        &state.states[revision as usize - 1],
    );
    let keys: BTreeSet<&Bytes> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| vetcd_sim::check::Record {
            key: key.clone(),
            value: new.get(key).map(|held| held.value.clone()),
        })
        .collect()
}
