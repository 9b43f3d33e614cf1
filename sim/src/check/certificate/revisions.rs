//! The verifier's model of the whole store: every version of every key.
//!
//! It borrows keys and values from the history, and compares answers where they lie.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{Model, in_range};
use crate::history::{
    Body, Compare, FailureClass, KeyValue, Operand, Operation, Outcome, Put, Range, RangeBody,
    Relation, Request,
};

/// What a key holds.
#[derive(Clone, Copy)]
struct Held<'a> {
    value: &'a Bytes,
    created: i64,
    modified: i64,
    version: i64,
    lease: i64,
}

/// What a key held from a revision on; `None` after it was removed.
type Version<'a> = (i64, Option<Held<'a>>);

/// Reads the newest version, those of the running transaction included.
const NEWEST: i64 = i64::MAX;

pub(super) struct Store<'a> {
    revision: i64,
    compacted: i64,
    /// Whether old revisions are looked at, so that no version may be dropped.
    remembers: bool,
    versions: BTreeMap<&'a Bytes, Vec<Version<'a>>>,
}

impl<'a> Model<'a> for Store<'a> {
    fn step(&mut self, operation: &'a Operation, _: &[bool]) -> Result<(), String> {
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
        let response = operation.response();
        let answered = self.execute(request, response.map(|r| &r.body), &mut changed);
        self.revision += i64::from(changed);
        match response {
            Some(response) if response.revision != self.revision => {
                Err(format!("revision {before} becomes {}", self.revision))
            }
            None if !changed => Err("it changes nothing here".to_owned()),
            _ => answered,
        }
    }

    fn expire(&mut self, lease: i64) -> Result<(), String> {
        let mut any = false;
        self.revision += 1;
        for versions in self.versions.values_mut() {
            if matches!(versions.last(), Some((_, Some(held))) if held.lease == lease) {
                Self::add(self.remembers, versions, (self.revision, None));
                any = true;
            }
        }
        if lease == 0 || !any {
            return Err(format!("no key is attached to lease {lease}"));
        }
        Ok(())
    }
}

impl<'a> Store<'a> {
    /// An empty store. One that does not remember only knows the newest revision and the one before.
    pub(super) fn new(remembers: bool) -> Store<'a> {
        Store {
            revision: 1,
            compacted: 0,
            remembers,
            versions: BTreeMap::new(),
        }
    }

    /// Adds what a key holds from the next revision on.
    fn add(remembers: bool, versions: &mut Vec<Version<'a>>, version: Version<'a>) {
        if !remembers
            && let Some(last) = versions.last().copied()
            && last.0 < version.0
        {
            versions.clear();
            versions.push(last);
        }
        versions.push(version);
    }

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

    fn any_revision(&self, request: &Request, test: &dyn Fn(i64, &Self) -> bool) -> bool {
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

    fn held_at(versions: &[Version<'a>], revision: i64) -> Option<Held<'a>> {
        if revision == NEWEST {
            return versions.last()?.1;
        }
        let later = versions.partition_point(|version| version.0 <= revision);
        versions[..later].last()?.1
    }

    /// Calls `visit` with what every key of a range held, ascending.
    fn each(
        &self,
        (start, end): (&Bytes, &Bytes),
        revision: i64,
        visit: &mut dyn FnMut(&'a Bytes, Held<'a>),
    ) {
        if end.is_empty() {
            let found = self.versions.get_key_value(start);
            if let Some((key, versions)) = found
                && let Some(held) = Self::held_at(versions, revision)
            {
                visit(key, held);
            }
            return;
        }
        let from = (Bound::Included(start), Bound::Unbounded);
        for (key, versions) in self.versions.range::<Bytes, _>(from) {
            if !in_range(key, start, end) {
                return;
            }
            if let Some(held) = Self::held_at(versions, revision) {
                visit(key, held);
            }
        }
    }

    /// Executes a request and compares its answer, where one is known.
    fn execute(
        &mut self,
        request: &'a Request,
        answer: Option<&Body>,
        changed: &mut bool,
    ) -> Result<(), String> {
        let differs = |what: &str| Err(format!("{what} differs here"));
        match (request, answer) {
            (Request::Range(range), answer @ (None | Some(Body::Range(_)))) => {
                let at = if range.revision > 0 {
                    range.revision
                } else {
                    NEWEST
                };
                if range.revision > self.revision {
                    return Err(format!("revision {at} is in the future"));
                }
                if range.revision > 0 && range.revision < self.compacted {
                    return Err(format!("revision {at} is compacted"));
                }
                match answer {
                    Some(Body::Range(body)) if !self.shows(range, at, body) => {
                        differs("what the range holds")
                    }
                    _ => Ok(()),
                }
            }
            (Request::Put(put), answer @ (None | Some(Body::Put(_)))) => {
                let old = self.put(put);
                *changed = true;
                let Some(Body::Put(body)) = answer else {
                    return Ok(());
                };
                match (old.filter(|_| put.prev_kv), &body.previous) {
                    (None, None) => Ok(()),
                    (Some(old), Some(shown)) if is_shown(&put.key, &old, shown, false) => Ok(()),
                    _ => differs("the previous value"),
                }
            }
            (Request::Delete(delete), answer @ (None | Some(Body::Delete(_)))) => {
                let mut old = Vec::new();
                self.each(
                    (&delete.key, &delete.range_end),
                    NEWEST,
                    &mut |key, held| {
                        old.push((key, held));
                    },
                );
                for (key, _) in &old {
                    let versions = self.versions.entry(key).or_default();
                    Self::add(self.remembers, versions, (self.revision + 1, None));
                }
                *changed |= !old.is_empty();
                let Some(Body::Delete(body)) = answer else {
                    return Ok(());
                };
                if Ok(body.deleted) != i64::try_from(old.len()) {
                    return differs("the number of keys deleted");
                }
                if !delete.prev_kv {
                    old.clear();
                }
                let mut pairs = old.iter().zip(&body.previous);
                let same = body.previous.len() == old.len()
                    && pairs.all(|((key, held), shown)| is_shown(key, held, shown, false));
                if same {
                    Ok(())
                } else {
                    differs("what was deleted")
                }
            }
            (Request::Txn(txn), answer @ (None | Some(Body::Txn(_)))) => {
                let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
                let requests = if succeeded { &txn.then } else { &txn.otherwise };
                let responses = match answer {
                    Some(Body::Txn(body)) if body.succeeded != succeeded => {
                        return differs("whether the comparisons hold");
                    }
                    Some(Body::Txn(body)) if body.responses.len() != requests.len() => {
                        return differs("the number of answers");
                    }
                    Some(Body::Txn(body)) => Some(&body.responses),
                    _ => None,
                };
                for (at, request) in requests.iter().enumerate() {
                    self.execute(request, responses.map(|all| &all[at]), changed)?;
                }
                Ok(())
            }
            (Request::Compact(_), _) => Err("a compaction inside a transaction".to_owned()),
            _ => differs("the kind of the answer"),
        }
    }

    fn put(&mut self, put: &'a Put) -> Option<Held<'a>> {
        let revision = self.revision + 1;
        let versions = self.versions.entry(&put.key).or_default();
        let old = versions.last().and_then(|version| version.1);
        let new = Held {
            value: &put.value,
            created: old.map_or(revision, |old| old.created),
            modified: revision,
            version: old.map_or(0, |old| old.version) + 1,
            lease: put.lease,
        };
        Self::add(self.remembers, versions, (revision, Some(new)));
        old
    }

    /// Whether a range is what the answer says.
    fn shows(&self, range: &Range, at: i64, body: &RangeBody) -> bool {
        let shown_max = match usize::try_from(range.limit) {
            _ if range.count_only => 0,
            Ok(limit) if limit > 0 => limit,
            _ => usize::MAX,
        };
        let (mut count, mut same) = (0, true);
        self.each((&range.key, &range.range_end), at, &mut |key, held| {
            if count < shown_max {
                let shown = body.kvs.get(count);
                same &= shown.is_some_and(|kv| is_shown(key, &held, kv, range.keys_only));
            }
            count += 1;
        });
        same && body.kvs.len() == count.min(shown_max)
            && body.more == (!range.count_only && count > shown_max)
            && Ok(body.count) == i64::try_from(count)
    }

    /// Comparisons see the store as it was before the transaction.
    fn holds(&self, compare: &Compare) -> bool {
        let (mut any, mut all) = (false, true);
        let range = (&compare.key, &compare.range_end);
        self.each(range, self.revision, &mut |_, held| {
            any = true;
            all &= compares(compare, Some(&held));
        });
        all && (any || compares(compare, None))
    }
}

/// A missing key has 0 in every number.
fn compares(compare: &Compare, held: Option<&Held<'_>>) -> bool {
    let number = |field: fn(&Held<'_>) -> i64| held.map_or(0, field);
    let ordering = match (&compare.operand, held) {
        (Operand::Version(operand), _) => number(|held| held.version).cmp(operand),
        (Operand::CreateRevision(operand), _) => number(|held| held.created).cmp(operand),
        (Operand::ModRevision(operand), _) => number(|held| held.modified).cmp(operand),
        (Operand::Lease(operand), _) => number(|held| held.lease).cmp(operand),
        (Operand::Value(_), None) => return false,
        (Operand::Value(value), Some(held)) => held.value.cmp(value),
    };
    match compare.relation {
        Relation::Equal => ordering.is_eq(),
        Relation::NotEqual => ordering.is_ne(),
        Relation::Greater => ordering.is_gt(),
        Relation::Less => ordering.is_lt(),
    }
}

/// Whether a key is shown as it is, as far as its fields were recorded. Keys alone may be shown
/// without their lease.
fn is_shown(key: &Bytes, held: &Held<'_>, shown: &KeyValue, keys_only: bool) -> bool {
    let recorded = |field: i64| field != KeyValue::NOT_RECORDED;
    let value_fits = if keys_only {
        shown.value.is_empty()
    } else {
        *held.value == shown.value
    };
    let lease_fits =
        held.lease == shown.lease || !recorded(shown.lease) || (keys_only && shown.lease == 0);
    *key == shown.key
        && value_fits
        && lease_fits
        && held.version == shown.version
        && held.modified == shown.mod_revision
        && (held.created == shown.create_revision || !recorded(shown.create_revision))
}
