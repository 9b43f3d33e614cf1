//! The verifier's model of the whole store: every version of every key.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{Model, in_range};
use crate::history::{
    Body, Compare, DeleteBody, FailureClass, KeyValue, Operand, Operation, Outcome, PutBody, Range,
    RangeBody, Relation, Request, TxnBody,
};

/// What a key held from a revision on; `None` after it was removed.
type Version = (i64, Option<KeyValue>);

/// Reads the newest version, those of the running transaction included.
const NEWEST: i64 = i64::MAX;

pub(super) struct Store {
    revision: i64,
    compacted: i64,
    versions: BTreeMap<Bytes, Vec<Version>>,
}

impl Default for Store {
    fn default() -> Store {
        Store {
            revision: 1,
            compacted: 0,
            versions: BTreeMap::new(),
        }
    }
}

impl Model for Store {
    fn step(&mut self, operation: &Operation, _: &[bool]) -> Result<(), String> {
        let request = &operation.request;
        if let Request::Compact(compact) = request {
            return self.compact(compact.revision, &operation.outcome);
        }
        if let Outcome::Failed(failure) = &operation.outcome {
            return match failure.class {
                FailureClass::Compacted if self.any_revision(request, &|r, s| r < s.compacted) => {
                    Ok(())
                }
                FailureClass::FutureRevision
                    if self.any_revision(request, &|r, s| r > s.revision) =>
                {
                    Ok(())
                }
                class => Err(format!("{class} is not true here")),
            };
        }
        let before = self.revision;
        let mut changed = false;
        let body = self.execute(request, &mut changed)?;
        self.revision += i64::from(changed);
        let Some(response) = operation.response() else {
            return if changed {
                Ok(())
            } else {
                Err("it changes nothing here".to_owned())
            };
        };
        if response.revision != self.revision {
            return Err(format!("revision {before} becomes {}", self.revision));
        }
        if !agrees(request, &body, &response.body) {
            return Err(format!("the answer here is {body}"));
        }
        Ok(())
    }

    fn expire(&mut self, lease: i64) -> Result<(), String> {
        let newest = |(key, versions): (&Bytes, &Vec<Version>)| {
            let kv = versions.last()?.1.as_ref()?;
            (kv.lease == lease).then(|| key.clone())
        };
        let attached: Vec<Bytes> = self.versions.iter().filter_map(newest).collect();
        if lease == 0 || attached.is_empty() {
            return Err(format!("no key is attached to lease {lease}"));
        }
        self.revision += 1;
        for key in attached {
            self.versions
                .entry(key)
                .or_default()
                .push((self.revision, None));
        }
        Ok(())
    }
}

impl Store {
    fn compact(&mut self, revision: i64, outcome: &Outcome) -> Result<(), String> {
        let accepted = revision > self.compacted && revision <= self.revision;
        match outcome {
            Outcome::Failed(failure) => match failure.class {
                FailureClass::Compacted if revision <= self.compacted => Ok(()),
                FailureClass::FutureRevision if revision > self.revision => Ok(()),
                class => Err(format!("{class} is not true here")),
            },
            Outcome::Ok(response) if response.body != Body::Compact => {
                Err("the answer's kind differs".to_owned())
            }
            _ if accepted => {
                self.compacted = revision;
                Ok(())
            }
            _ => Err(format!(
                "it would be refused: {} is compacted",
                self.compacted
            )),
        }
    }

    fn any_revision(&self, request: &Request, test: &dyn Fn(i64, &Store) -> bool) -> bool {
        match request {
            Request::Range(range) => range.revision > 0 && test(range.revision, self),
            Request::Txn(txn) => txn
                .then
                .iter()
                .chain(&txn.otherwise)
                .any(|r| self.any_revision(r, test)),
            _ => false,
        }
    }

    fn get(&self, key: &Bytes, revision: i64) -> Option<&KeyValue> {
        let versions = self.versions.get(key)?;
        if revision == NEWEST {
            return versions.last()?.1.as_ref();
        }
        let later = versions.partition_point(|version| version.0 <= revision);
        versions[..later].last()?.1.as_ref()
    }

    fn find(&self, start: &Bytes, end: &Bytes, revision: i64) -> Vec<KeyValue> {
        if end.is_empty() {
            return self.get(start, revision).into_iter().cloned().collect();
        }
        let from = (Bound::Included(start), Bound::Unbounded);
        let keys = self.versions.range::<Bytes, _>(from).map(|(key, _)| key);
        let keys = keys.take_while(|key| in_range(key, start, end));
        keys.filter_map(|key| self.get(key, revision).cloned())
            .collect()
    }

    fn execute(&mut self, request: &Request, changed: &mut bool) -> Result<Body, String> {
        match request {
            Request::Range(range) => self.range(range),
            Request::Put(put) => {
                let old = self.get(&put.key, NEWEST).cloned();
                let revision = self.revision + 1;
                let new = KeyValue {
                    key: put.key.clone(),
                    value: put.value.clone(),
                    create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
                    mod_revision: revision,
                    version: old.as_ref().map_or(0, |old| old.version) + 1,
                    lease: put.lease,
                };
                self.versions
                    .entry(put.key.clone())
                    .or_default()
                    .push((revision, Some(new)));
                *changed = true;
                Ok(Body::Put(PutBody {
                    previous: old.filter(|_| put.prev_kv),
                }))
            }
            Request::Delete(delete) => {
                let old = self.find(&delete.key, &delete.range_end, NEWEST);
                for kv in &old {
                    let versions = self.versions.entry(kv.key.clone()).or_default();
                    versions.push((self.revision + 1, None));
                }
                *changed |= !old.is_empty();
                let deleted = i64::try_from(old.len()).unwrap_or(i64::MAX);
                let previous = if delete.prev_kv { old } else { Vec::new() };
                Ok(Body::Delete(DeleteBody { deleted, previous }))
            }
            Request::Txn(txn) => {
                let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
                let mut responses = Vec::new();
                for request in if succeeded { &txn.then } else { &txn.otherwise } {
                    responses.push(self.execute(request, changed)?);
                }
                Ok(Body::Txn(TxnBody {
                    succeeded,
                    responses,
                }))
            }
            Request::Compact(_) => Err("a compaction inside a transaction".to_owned()),
        }
    }

    fn range(&self, range: &Range) -> Result<Body, String> {
        let at = if range.revision > 0 {
            range.revision
        } else {
            NEWEST
        };
        if range.revision > self.revision {
            return Err(format!("revision {} is in the future", range.revision));
        }
        if range.revision > 0 && range.revision < self.compacted {
            return Err(format!("revision {} is compacted", range.revision));
        }
        let mut kvs = self.find(&range.key, &range.range_end, at);
        let count = kvs.len();
        let limit = usize::try_from(range.limit).unwrap_or(0);
        let more = limit > 0 && count > limit && !range.count_only;
        if more {
            kvs.truncate(limit);
        }
        if range.count_only {
            kvs.clear();
        }
        if range.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(Body::Range(RangeBody {
            kvs,
            more,
            count: i64::try_from(count).unwrap_or(i64::MAX),
        }))
    }

    /// Comparisons see the store as it was before the transaction.
    fn holds(&self, compare: &Compare) -> bool {
        let found = self.find(&compare.key, &compare.range_end, self.revision);
        if found.is_empty() {
            return compares(compare, &KeyValue::default(), false);
        }
        found.iter().all(|kv| compares(compare, kv, true))
    }
}

fn compares(compare: &Compare, kv: &KeyValue, exists: bool) -> bool {
    let ordering = match &compare.operand {
        Operand::Version(number) => kv.version.cmp(number),
        Operand::CreateRevision(number) => kv.create_revision.cmp(number),
        Operand::ModRevision(number) => kv.mod_revision.cmp(number),
        Operand::Lease(number) => kv.lease.cmp(number),
        Operand::Value(_) if !exists => return false,
        Operand::Value(value) => kv.value.cmp(value),
    };
    match compare.relation {
        Relation::Equal => ordering.is_eq(),
        Relation::NotEqual => ordering.is_ne(),
        Relation::Greater => ordering.is_gt(),
        Relation::Less => ordering.is_lt(),
    }
}

/// Whether an answer is the expected one. Keys alone may be shown without their lease.
fn agrees(request: &Request, expected: &Body, found: &Body) -> bool {
    match (request, expected, found) {
        (Request::Range(range), Body::Range(expected), Body::Range(found)) => {
            expected.count == found.count
                && expected.more == found.more
                && expected.kvs.len() == found.kvs.len()
                && expected
                    .kvs
                    .iter()
                    .zip(&found.kvs)
                    .all(|(kv, shown)| is_shown(kv, shown, range.keys_only))
        }
        (Request::Txn(txn), Body::Txn(expected), Body::Txn(found)) => {
            let requests = if expected.succeeded {
                &txn.then
            } else {
                &txn.otherwise
            };
            let answers = expected.responses.iter().zip(&found.responses);
            expected.succeeded == found.succeeded
                && expected.responses.len() == found.responses.len()
                && requests
                    .iter()
                    .zip(answers)
                    .all(|(r, (e, f))| agrees(r, e, f))
        }
        _ => expected == found,
    }
}

/// Whether a key is shown as it is, as far as its fields were recorded.
fn is_shown(kv: &KeyValue, shown: &KeyValue, keys_only: bool) -> bool {
    let mut kv = kv.clone();
    if shown.create_revision == KeyValue::NOT_RECORDED {
        kv.create_revision = KeyValue::NOT_RECORDED;
    }
    if shown.lease == KeyValue::NOT_RECORDED || (keys_only && shown.lease == 0) {
        kv.lease = shown.lease;
    }
    kv == *shown
}
