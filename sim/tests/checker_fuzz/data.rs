//! The slow and obvious judge of data alone: every order tried, and every outcome of a comparison
//! that only revisions could decide.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use vetcd_sim::history::*;

type Keys = BTreeMap<Bytes, (Bytes, i64)>;

fn covers(key: &Bytes, start: &Bytes, end: &Bytes) -> bool {
    if end.is_empty() {
        key == start
    } else {
        key >= start && (end == &b"\0"[..] || key < end)
    }
}

/// Every state that a request may lead to from `keys`, given its answer where there is one.
fn outcomes(before: &Keys, keys: &Keys, request: &Request, body: Option<&Body>) -> Vec<Keys> {
    let mut next = keys.clone();
    let same_kind = matches!(
        (request, body),
        (_, None)
            | (Request::Range(_), Some(Body::Range(_)))
            | (Request::Put(_), Some(Body::Put(_)))
            | (Request::Delete(_), Some(Body::Delete(_)))
            | (Request::Txn(_), Some(Body::Txn(_)))
    );
    if !same_kind {
        return vec![];
    }
    let shown = |key: &Bytes, held: &(Bytes, i64)| (key.clone(), held.0.clone(), held.1);
    let seen = |kv: &KeyValue| (kv.key.clone(), kv.value.clone(), kv.lease);
    match request {
        Request::Range(range) => {
            let Some(Body::Range(body)) = body else {
                return vec![next];
            };
            if range.revision > 0 {
                return vec![next];
            }
            let mut expected: Vec<_> = keys
                .iter()
                .filter(|(key, _)| covers(key, &range.key, &range.range_end))
                .map(|(key, held)| shown(key, held))
                .collect();
            let count = expected.len() as i64;
            let mut more = false;
            if range.count_only {
                expected.clear();
            } else if range.limit > 0 && count > range.limit {
                more = true;
                expected.truncate(range.limit as usize);
            }
            if range.keys_only {
                expected.iter_mut().for_each(|kv| kv.1.clear());
            }
            let right = body.count == count
                && body.more == more
                && body.kvs.iter().map(seen).collect::<Vec<_>>() == expected;
            if right { vec![next] } else { vec![] }
        }
        Request::Put(put) => {
            let old = next.insert(put.key.clone(), (put.value.clone(), put.lease));
            let Some(Body::Put(body)) = body else {
                return vec![next];
            };
            let old = old.filter(|_| put.prev_kv).map(|old| shown(&put.key, &old));
            if body.previous.as_ref().map(seen) == old {
                vec![next]
            } else {
                vec![]
            }
        }
        Request::Delete(delete) => {
            let gone: Vec<_> = keys
                .iter()
                .filter(|(key, _)| covers(key, &delete.key, &delete.range_end))
                .map(|(key, held)| shown(key, held))
                .collect();
            gone.iter().for_each(|kv| _ = next.remove(&kv.0));
            let Some(Body::Delete(body)) = body else {
                return vec![next];
            };
            let previous: Vec<_> = body.previous.iter().map(seen).collect();
            let right = body.deleted == gone.len() as i64
                && previous == if delete.prev_kv { gone } else { vec![] };
            if right { vec![next] } else { vec![] }
        }
        Request::Txn(txn) => {
            let mut all = vec![];
            for branch in [true, false] {
                if !possible(before, &txn.compare, branch) {
                    continue;
                }
                let list = if branch { &txn.then } else { &txn.otherwise };
                let answers = match body {
                    Some(Body::Txn(body)) if body.succeeded != branch => continue,
                    Some(Body::Txn(body)) if body.responses.len() != list.len() => continue,
                    Some(Body::Txn(body)) => body.responses.iter().map(Some).collect(),
                    _ => vec![None; list.len()],
                };
                let mut states = vec![keys.clone()];
                for (request, body) in list.iter().zip(answers) {
                    let step = |keys: &Keys| outcomes(before, keys, request, body);
                    states = states.iter().flat_map(step).collect();
                }
                all.extend(states);
            }
            all
        }
        Request::Compact(_) => panic!("compaction inside a transaction"),
    }
}

/// Whether the conjunction can come out as `wanted`, revisions and versions of present keys being
/// any positive numbers.
fn possible(keys: &Keys, compares: &[Compare], wanted: bool) -> bool {
    // Each comparison of each key: may it be true, may it be false.
    let mut may: Vec<(bool, bool)> = vec![];
    for compare in compares {
        let found: Vec<_> = keys
            .iter()
            .filter(|(k, _)| covers(k, &compare.key, &compare.range_end))
            .collect();
        if found.is_empty() {
            may.push(truth(compare, None));
        }
        may.extend(found.iter().map(|(_, held)| truth(compare, Some(held))));
    }
    if wanted {
        may.iter().all(|may| may.0)
    } else {
        may.iter().any(|may| may.1)
    }
}

fn truth(compare: &Compare, held: Option<&(Bytes, i64)>) -> (bool, bool) {
    let related = |order: std::cmp::Ordering| match compare.relation {
        Relation::Equal => order.is_eq(),
        Relation::NotEqual => order.is_ne(),
        Relation::Greater => order.is_gt(),
        Relation::Less => order.is_lt(),
    };
    let sure = |holds: bool| (holds, !holds);
    match (&compare.operand, held) {
        (Operand::Value(_), None) => sure(false),
        (Operand::Value(value), Some(held)) => sure(related(held.0.cmp(value))),
        (Operand::Lease(lease), held) => sure(related(held.map_or(0, |held| held.1).cmp(lease))),
        (Operand::Version(n) | Operand::CreateRevision(n) | Operand::ModRevision(n), None) => {
            sure(related(0.cmp(n)))
        }
        (Operand::Version(n) | Operand::CreateRevision(n) | Operand::ModRevision(n), Some(_)) => {
            // Any number from 1 to beyond every operand in use.
            let fields = 1..=n.max(&0) + 2;
            let results: BTreeSet<bool> = fields.map(|field: i64| related(field.cmp(n))).collect();
            (results.contains(&true), results.contains(&false))
        }
    }
}

/// Whether some order explains the data.
pub fn explainable(history: &History) -> bool {
    let judged = |o: &&Operation| match (&o.outcome, &o.request) {
        (Outcome::Failed(_), _) | (_, Request::Compact(_)) => false,
        (Outcome::Ok(_), Request::Range(range)) if range.revision > 0 => false,
        (_, request) => !request.is_serializable(),
    };
    let operations: Vec<&Operation> = history.operations.iter().filter(judged).collect();
    let mut seen = BTreeSet::new();
    let mut stack = vec![(0_u32, Keys::new())];
    while let Some((done, keys)) = stack.pop() {
        if !seen.insert((done, keys.clone())) {
            continue;
        }
        let open: Vec<usize> = (0..operations.len())
            .filter(|i| done & (1 << i) == 0)
            .collect();
        let unfinished = open.iter().filter(|i| !operations[**i].is_unknown());
        let Some(deadline) = unfinished.map(|i| operations[*i].returned.unwrap()).min() else {
            return true;
        };
        for i in open
            .into_iter()
            .filter(|i| operations[*i].invoked <= deadline)
        {
            let body = operations[i].response().map(|response| &response.body);
            for next in outcomes(&keys, &keys, &operations[i].request, body) {
                stack.push((done | 1 << i, next));
            }
        }
        let leases: BTreeSet<i64> = keys
            .values()
            .map(|held| held.1)
            .filter(|l| *l != 0)
            .collect();
        for lease in leases {
            let mut next = keys.clone();
            next.retain(|_, held| held.1 != lease);
            stack.push((done, next));
        }
    }
    false
}
