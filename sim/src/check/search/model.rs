//! The search's model of data alone, on a persistent map with a running hash.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use im::OrdMap;

use crate::check::store::{relates, within};
use crate::history::{
    Body, Compare, Delete, KeyValue, Operand, Put, Range, RangeBody, Relation, Request, Txn,
};

/// The most comparisons of one transaction that may each go either way.
const DECISIONS_MAX: usize = 12;

/// A value and its lease.
type Held = (Bytes, i64);

/// All keys, and a hash of them that each change updates.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    pub(super) keys: OrdMap<Bytes, Held>,
    hash: u64,
}

impl Hash for Data {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.hash);
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Data) -> bool {
        self.hash == other.hash && (self.keys.ptr_eq(&other.keys) || self.keys == other.keys)
    }
}

/// Outcomes of comparisons that revisions would decide, chosen by whoever searches.
#[derive(Clone, Debug, Default)]
pub(super) struct Decisions {
    pub(super) taken: Vec<bool>,
    at: usize,
    /// Whether there were more than [`DECISIONS_MAX`].
    pub(super) too_many: bool,
}

impl Decisions {
    fn next(&mut self) -> bool {
        if self.at == self.taken.len() {
            if self.at == DECISIONS_MAX {
                self.too_many = true;
                return false;
            }
            self.taken.push(false);
        }
        self.at += 1;
        self.taken[self.at - 1]
    }

    /// Moves on to the next combination; false after the last.
    pub(super) fn advance(&mut self) -> bool {
        self.taken.truncate(self.at);
        self.at = 0;
        while let Some(last) = self.taken.pop() {
            if !last {
                self.taken.push(true);
                return true;
            }
        }
        false
    }
}

impl Data {
    pub(super) fn put(&mut self, put: &Put) -> Option<Held> {
        let held = (put.value.clone(), put.lease);
        self.hash ^= entry_hash(&put.key, &held);
        let old = self.keys.insert(put.key.clone(), held);
        if let Some(old) = &old {
            self.hash ^= entry_hash(&put.key, old);
        }
        old
    }

    fn delete(&mut self, delete: &Delete) -> Vec<(Bytes, Held)> {
        let gone = within(&self.keys, &delete.key, &delete.range_end);
        let gone: Vec<_> = gone
            .map(|(key, held)| (key.clone(), held.clone()))
            .collect();
        self.drop_all(&gone);
        gone
    }

    fn drop_all(&mut self, gone: &[(Bytes, Held)]) {
        for (key, held) in gone {
            self.hash ^= entry_hash(key, held);
            self.keys.remove(key);
        }
    }

    /// Ends a lease.
    pub(super) fn expire(&mut self, lease: i64) {
        let attached = self.keys.iter().filter(|(_, held)| held.1 == lease);
        let gone: Vec<_> = attached
            .map(|(key, held)| (key.clone(), held.clone()))
            .collect();
        self.drop_all(&gone);
    }

    /// Executes a request, and says whether its answer, where one is known, is right.
    pub(super) fn execute(
        &mut self,
        request: &Request,
        body: Option<&Body>,
        decisions: &mut Decisions,
    ) -> bool {
        let before = matches!(request, Request::Txn(_)).then(|| self.keys.clone());
        self.step(&before.unwrap_or_default(), request, body, decisions)
    }

    fn step(
        &mut self,
        before: &OrdMap<Bytes, Held>,
        request: &Request,
        body: Option<&Body>,
        decisions: &mut Decisions,
    ) -> bool {
        match (request, body) {
            (Request::Range(range), Some(Body::Range(body))) => {
                range.revision > 0 || self.is_content(range, body)
            }
            (Request::Put(put), body @ (None | Some(Body::Put(_)))) => {
                let old = self.put(put);
                let Some(Body::Put(body)) = body else {
                    return true;
                };
                let old = old.filter(|_| put.prev_kv);
                old.is_some() == body.previous.is_some()
                    && old
                        .iter()
                        .zip(&body.previous)
                        .all(|(old, kv)| is_shown(&put.key, old, kv))
            }
            (Request::Delete(delete), body @ (None | Some(Body::Delete(_)))) => {
                let gone = self.delete(delete);
                let Some(Body::Delete(body)) = body else {
                    return true;
                };
                let shown = if delete.prev_kv { &gone[..] } else { &[] };
                i64::try_from(gone.len()) == Ok(body.deleted)
                    && shown.len() == body.previous.len()
                    && shown
                        .iter()
                        .zip(&body.previous)
                        .all(|((k, held), kv)| is_shown(k, held, kv))
            }
            (Request::Txn(txn), body @ (None | Some(Body::Txn(_)))) => {
                self.transact(before, txn, body, decisions)
            }
            (Request::Range(_), None) => true,
            _ => false,
        }
    }

    fn transact(
        &mut self,
        before: &OrdMap<Bytes, Held>,
        txn: &Txn,
        body: Option<&Body>,
        decisions: &mut Decisions,
    ) -> bool {
        let decided = decide(before, &txn.compare);
        let (succeeded, responses) = match body {
            Some(Body::Txn(body)) => {
                if decided.is_some_and(|decided| decided != body.succeeded) {
                    return false;
                }
                (body.succeeded, Some(&body.responses))
            }
            _ => (decided.unwrap_or_else(|| decisions.next()), None),
        };
        let requests = if succeeded { &txn.then } else { &txn.otherwise };
        if responses.is_some_and(|responses| responses.len() != requests.len()) {
            return false;
        }
        requests.iter().enumerate().all(|(index, request)| {
            let body = responses.map(|responses| &responses[index]);
            self.step(before, request, body, decisions)
        })
    }

    fn is_content(&self, range: &Range, body: &RangeBody) -> bool {
        let limit = usize::try_from(range.limit).ok().filter(|limit| *limit > 0);
        let limit = if range.count_only {
            0
        } else {
            limit.unwrap_or(usize::MAX)
        };
        let mut count = 0;
        for (key, held) in within(&self.keys, &range.key, &range.range_end) {
            if count < limit {
                let Some(kv) = body.kvs.get(count) else {
                    return false;
                };
                let right = if range.keys_only {
                    *key == kv.key && kv.value.is_empty() && (kv.lease == 0 || kv.lease == held.1)
                } else {
                    is_shown(key, held, kv)
                };
                if !right {
                    return false;
                }
            }
            count += 1;
        }
        body.kvs.len() == count.min(limit)
            && body.more == (!range.count_only && count > limit)
            && i64::try_from(count) == Ok(body.count)
    }
}

fn is_shown(key: &Bytes, held: &Held, kv: &KeyValue) -> bool {
    *key == kv.key && held.0 == kv.value && held.1 == kv.lease
}

fn entry_hash(key: &Bytes, held: &Held) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, held).hash(&mut hasher);
    hasher.finish()
}

/// Whether all comparisons hold; `None` when revisions or versions would have to tell.
fn decide(keys: &OrdMap<Bytes, Held>, compares: &[Compare]) -> Option<bool> {
    let mut open = false;
    for compare in compares {
        let mut any = false;
        for (_, held) in within(keys, &compare.key, &compare.range_end) {
            any = true;
            match holds(compare, Some(held)) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => open = true,
            }
        }
        if !any && holds(compare, None) == Some(false) {
            return Some(false);
        }
    }
    if open { None } else { Some(true) }
}

/// A missing key has 0 in every number; a present one has a revision and a version of at least 1.
fn holds(compare: &Compare, held: Option<&Held>) -> Option<bool> {
    let relation = compare.relation;
    match (&compare.operand, held) {
        (Operand::Value(value), held) => {
            Some(held.is_some_and(|held| relates(relation, &held.0, value)))
        }
        (Operand::Lease(lease), held) => Some(relates(relation, &held.map_or(0, |h| h.1), lease)),
        (Operand::Version(n) | Operand::CreateRevision(n) | Operand::ModRevision(n), held) => {
            if held.is_none() {
                return Some(relates(relation, &0, n));
            }
            match relation {
                Relation::Equal if *n < 1 => Some(false),
                Relation::NotEqual | Relation::Greater if *n < 1 => Some(true),
                Relation::Less if *n <= 1 => Some(false),
                _ => None,
            }
        }
    }
}
