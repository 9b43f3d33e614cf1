//! The verifier's model of data alone: keys, values and leases, with no notion of revisions.
//!
//! Comparisons of versions and revisions are decided as far as a key's presence decides them: a
//! missing key has 0, a present one some positive number. Beyond that, what the server answered is
//! believed, and for a transaction of unknown outcome the step says what to assume. Reads of old
//! revisions are not looked at.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Model, in_range};
use crate::history::{
    Body, Compare, KeyValue, Operand, Operation, Range, RangeBody, Relation, Request, Txn,
};

type Keys = BTreeMap<Bytes, (Bytes, i64)>;

#[derive(Default)]
pub(super) struct Store {
    keys: Keys,
}

impl<'a> Model<'a> for Store {
    fn step(&mut self, operation: &'a Operation, branches: &[bool]) -> Result<(), String> {
        // Only a transaction within another must look back to before the writes of the outer one.
        let nested = |txn: &Txn| {
            txn.then
                .iter()
                .chain(&txn.otherwise)
                .any(|inner| matches!(inner, Request::Txn(_)))
        };
        let before = match &operation.request {
            Request::Txn(txn) if nested(txn) => Some(self.keys.clone()),
            _ => None,
        };
        let body = operation.response().map(|response| &response.body);
        self.execute(
            before.as_ref(),
            &operation.request,
            body,
            &mut branches.iter(),
        )
    }

    fn expire(&mut self, lease: i64) -> Result<(), String> {
        let before = self.keys.len();
        self.keys
            .retain(|_, (_, attached)| lease == 0 || *attached != lease);
        if self.keys.len() == before {
            Err("no key is attached".to_owned())
        } else {
            Ok(())
        }
    }
}

impl Store {
    fn execute(
        &mut self,
        before: Option<&Keys>,
        request: &Request,
        body: Option<&Body>,
        branches: &mut std::slice::Iter<'_, bool>,
    ) -> Result<(), String> {
        let differs = |what: &str| Err(format!("{what} differs"));
        match (request, body) {
            (Request::Range(range), Some(Body::Range(body))) => self.range(range, body),
            (Request::Range(_), None) => Ok(()),
            (Request::Put(put), None | Some(Body::Put(_))) => {
                let old = self
                    .keys
                    .insert(put.key.clone(), (put.value.clone(), put.lease));
                let Some(Body::Put(body)) = body else {
                    return Ok(());
                };
                let old = old.filter(|_| put.prev_kv);
                match (&old, &body.previous) {
                    (None, None) => Ok(()),
                    (Some(old), Some(kv)) if shows(&put.key, old, kv) => Ok(()),
                    _ => differs("the previous value"),
                }
            }
            (Request::Delete(delete), None | Some(Body::Delete(_))) => {
                let gone = |key: &Bytes| in_range(key, &delete.key, &delete.range_end);
                let mut old = Vec::new();
                self.keys.retain(|key, entry| {
                    if gone(key) {
                        old.push((key.clone(), entry.clone()));
                    }
                    !gone(key)
                });
                let Some(Body::Delete(body)) = body else {
                    return Ok(());
                };
                if body.deleted != i64::try_from(old.len()).unwrap_or(-1) {
                    return differs("the number of keys deleted");
                }
                if !delete.prev_kv {
                    old.clear();
                }
                let same = old
                    .iter()
                    .zip(&body.previous)
                    .all(|((k, e), kv)| shows(k, e, kv));
                if same && old.len() == body.previous.len() {
                    Ok(())
                } else {
                    differs("what was deleted")
                }
            }
            (Request::Txn(txn), None | Some(Body::Txn(_))) => self.txn(before, txn, body, branches),
            _ => differs("the kind of the answer"),
        }
    }

    fn txn(
        &mut self,
        before: Option<&Keys>,
        txn: &Txn,
        body: Option<&Body>,
        branches: &mut std::slice::Iter<'_, bool>,
    ) -> Result<(), String> {
        let answer = match body {
            Some(Body::Txn(body)) => Some(body),
            _ => None,
        };
        let decided = conjunction(before.unwrap_or(&self.keys), &txn.compare);
        let succeeded = match (decided, answer) {
            (Some(decided), Some(answer)) if decided != answer.succeeded => {
                return Err(format!("whether the comparisons hold differs: {decided}"));
            }
            (Some(decided), _) => decided,
            (None, Some(answer)) => answer.succeeded,
            (None, None) => *branches
                .next()
                .ok_or("which branch was taken is not said")?,
        };
        let requests = if succeeded { &txn.then } else { &txn.otherwise };
        if answer.is_some_and(|answer| answer.responses.len() != requests.len()) {
            return Err("the number of answers differs".to_owned());
        }
        for (index, request) in requests.iter().enumerate() {
            let body = answer.map(|answer| &answer.responses[index]);
            self.execute(before, request, body, branches)?;
        }
        Ok(())
    }

    fn range(&self, range: &Range, body: &RangeBody) -> Result<(), String> {
        if range.revision > 0 {
            return Ok(());
        }
        let all: Vec<_> = self
            .keys
            .iter()
            .filter(|(key, _)| in_range(key, &range.key, &range.range_end))
            .collect();
        let limit = usize::try_from(range.limit).unwrap_or(0);
        let shown = match (range.count_only, limit) {
            (true, _) => 0,
            (false, 0) => all.len(),
            (false, limit) => all.len().min(limit),
        };
        let more = !range.count_only && shown < all.len();
        let same = body.kvs.len() == shown
            && all.iter().zip(&body.kvs).all(|((key, entry), kv)| {
                if range.keys_only {
                    **key == kv.key && kv.value.is_empty() && [0, entry.1].contains(&kv.lease)
                } else {
                    shows(key, entry, kv)
                }
            });
        if same && body.more == more && Ok(body.count) == i64::try_from(all.len()) {
            Ok(())
        } else {
            Err("what the range holds differs".to_owned())
        }
    }
}

fn shows(key: &Bytes, entry: &(Bytes, i64), kv: &KeyValue) -> bool {
    *key == kv.key && entry.0 == kv.value && entry.1 == kv.lease
}

/// Whether all comparisons hold; `None` when that depends on revisions or versions.
fn conjunction(keys: &Keys, compares: &[Compare]) -> Option<bool> {
    let mut all = Some(true);
    for compare in compares {
        let mut entries = keys
            .iter()
            .filter(|(key, _)| in_range(key, &compare.key, &compare.range_end))
            .map(|(_, entry)| Some(entry))
            .peekable();
        if entries.peek().is_none() {
            all = both(all, holds(compare, None));
        }
        for entry in entries {
            all = both(all, holds(compare, entry));
        }
    }
    all
}

fn both(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), right) => right,
        (None, _) => None,
    }
}

fn holds(compare: &Compare, entry: Option<&(Bytes, i64)>) -> Option<bool> {
    let relation = compare.relation;
    match (&compare.operand, entry) {
        (Operand::Value(_), None) => Some(false),
        (Operand::Value(value), Some(entry)) => Some(related(relation, entry.0.cmp(value))),
        (Operand::Lease(lease), entry) => Some(related(
            relation,
            entry.map_or(0, |entry| entry.1).cmp(lease),
        )),
        (
            Operand::Version(number)
            | Operand::CreateRevision(number)
            | Operand::ModRevision(number),
            None,
        ) => Some(related(relation, 0.cmp(number))),
        (
            Operand::Version(number)
            | Operand::CreateRevision(number)
            | Operand::ModRevision(number),
            Some(_),
        ) => match relation {
            // The field is at least 1.
            Relation::Equal => (*number < 1).then_some(false),
            Relation::NotEqual => (*number < 1).then_some(true),
            Relation::Greater => (*number < 1).then_some(true),
            Relation::Less => (*number <= 1).then_some(false),
        },
    }
}

fn related(relation: Relation, ordering: std::cmp::Ordering) -> bool {
    match relation {
        Relation::Equal => ordering.is_eq(),
        Relation::NotEqual => ordering.is_ne(),
        Relation::Greater => ordering.is_gt(),
        Relation::Less => ordering.is_lt(),
    }
}
