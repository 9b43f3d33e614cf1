//! What later answers say about a gap: which keys it cannot have touched, and which it must have.
//!
//! A key that is shown later as last written before the gap was not touched by it. One that is shown
//! in the life it has now has counted its writes since: its version then, less its version now, less
//! the writes by operations of known outcome, is how many of the gaps in between wrote it. None
//! means that this gap did not; as many as there are gaps means that it did. And a key that is still
//! in the same life was not removed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::plan::Plan;
use crate::check::Record;
use crate::check::store::Keys;
use crate::history::{Body, Request};

/// How many operations after a gap are looked at.
const LOOK_AHEAD: usize = 200;

/// What later answers say about a gap.
#[derive(Default)]
pub(super) struct Accounts<'a> {
    untouched: BTreeSet<&'a Bytes>,
    not_removed: BTreeSet<&'a Bytes>,
    written: BTreeSet<&'a Bytes>,
}

impl<'a> Accounts<'a> {
    /// Looks ahead from a gap at `revision`; `keys` is the state before it.
    pub(super) fn new(plan: &Plan<'a>, keys: &Keys<'_>, revision: i64) -> Accounts<'a> {
        let mut accounts = Accounts::default();
        let mut writes: BTreeMap<&Bytes, Vec<i64>> = BTreeMap::new();
        // How many gaps there are from this one up to each revision.
        let mut gaps: Vec<u64> = Vec::new();
        let mut seen = 0;
        for later in revision..=plan.last {
            let writer = plan.writer(later);
            let before = gaps.last().copied().unwrap_or(0);
            gaps.push(before + u64::from(writer.is_none()));
            if let Some(writer) = writer {
                let operation = plan.operation(writer);
                if let Some(response) = operation.response() {
                    each_put(&operation.request, &response.body, &mut |key| {
                        writes.entry(key).or_default().push(later);
                    });
                }
            }
            for index in writer.iter().chain(plan.readers(later)) {
                seen += 1;
                if plan.old_reads.contains_key(index) {
                    continue;
                }
                let response = plan.operation(*index).response();
                let Some(response) = response else { continue };
                response.body.for_each_key_value(&mut |kv| {
                    if kv.mod_revision < revision {
                        accounts.untouched.insert(&kv.key);
                        return;
                    }
                    let same_life = |create| create == kv.create_revision;
                    let Some(now) = keys.get(&kv.key).filter(|e| same_life(e.create_revision))
                    else {
                        return;
                    };
                    accounts.not_removed.insert(&kv.key);
                    let known = writes.get(&kv.key).map_or(&[][..], Vec::as_slice);
                    let known = known.partition_point(|at| *at <= kv.mod_revision);
                    let missing = kv.version - now.version;
                    let missing = u64::try_from(missing)
                        .ok()
                        .and_then(|n| n.checked_sub(known as u64));
                    let offset = usize::try_from(kv.mod_revision - revision).ok();
                    let between = offset.and_then(|offset| gaps.get(offset)).copied();
                    match (missing, between) {
                        (Some(0), Some(_)) => _ = accounts.untouched.insert(&kv.key),
                        (Some(missing), Some(between)) if missing == between => {
                            accounts.written.insert(&kv.key);
                        }
                        _ => {}
                    }
                });
            }
            if seen >= LOOK_AHEAD || later - revision > LOOK_AHEAD as i64 {
                break;
            }
        }
        accounts
    }

    /// Whether putting these keys, and touching no others, contradicts what is known.
    pub(super) fn refute_puts(&self, keys: &[Bytes]) -> bool {
        keys.iter().any(|key| self.untouched.contains(key))
            || !self.written.iter().all(|key| keys.contains(key))
    }

    /// Whether writing `records` contradicts what is known.
    pub(super) fn refute(&self, records: &[Record]) -> bool {
        let wrong = |record: &Record| {
            self.untouched.contains(&record.key)
                || (record.value.is_none() && self.not_removed.contains(&record.key))
        };
        let writes = |key: &Bytes| {
            let is_it = |record: &Record| record.key == *key && record.value.is_some();
            records.iter().any(is_it)
        };
        records.iter().any(wrong) || !self.written.iter().all(|key| writes(key))
    }
}

/// The keys that an answered request put.
fn each_put<'a>(request: &'a Request, body: &Body, visit: &mut impl FnMut(&'a Bytes)) {
    match (request, body) {
        (Request::Put(put), _) => visit(&put.key),
        (Request::Txn(txn), Body::Txn(body)) => {
            let requests = if body.succeeded {
                &txn.then
            } else {
                &txn.otherwise
            };
            for (request, body) in requests.iter().zip(&body.responses) {
                each_put(request, body, visit);
            }
        }
        _ => {}
    }
}
