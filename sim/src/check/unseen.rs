//! What nobody sees does not matter: values that no answer shows and no comparison looks at.
//!
//! An operation of unknown outcome that writes such a value might as well write any other. With all
//! of them replaced by one, operations that differ in nothing else ask for the same thing, and the
//! states they lead to are the same, so that a search has fewer of both to tell apart. What explains
//! the answers with one value explains them with the other.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::history::{Operand, Operation, Put, Request, Txn};

/// Stands for every value that cannot matter.
fn wild() -> Bytes {
    Bytes::from_static(b"\0any value at all: nobody looks\0")
}

/// The request without what cannot matter when nobody sees the answer.
pub(super) fn simplify(request: &Request, matters: &impl Fn(&Put) -> bool) -> Request {
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

/// The most ranges of keys whose comparisons by value are told apart.
const COMPARED_MAX: usize = 64;

/// The keys whose values are compared by anyone.
#[derive(Default)]
pub(super) struct Compared {
    /// All keys, as far as anybody knows.
    pub(super) all: bool,
    ranges: BTreeSet<(Bytes, Bytes)>,
}

impl Compared {
    /// Adds what a request compares.
    pub(super) fn collect(&mut self, request: &Request) {
        let Request::Txn(txn) = request else { return };
        for compare in &txn.compare {
            if matches!(compare.operand, Operand::Value(_)) && !self.all {
                let range = (compare.key.clone(), compare.range_end.clone());
                self.ranges.insert(range);
                self.all = self.ranges.len() > COMPARED_MAX;
            }
        }
        for inner in txn.then.iter().chain(&txn.otherwise) {
            self.collect(inner);
        }
    }

    /// Whether the value at a key may be compared.
    pub(super) fn covers(&self, key: &Bytes) -> bool {
        let within = |(start, end): &(Bytes, Bytes)| match &end[..] {
            [] => key == start,
            [0] => key >= start,
            _ => key >= start && key < end,
        };
        self.all || self.ranges.iter().any(within)
    }
}

/// Whether an answer may show keys without their values.
pub(super) fn any_keys_only(request: &Request) -> bool {
    match request {
        Request::Range(range) => range.keys_only,
        Request::Txn(txn) => txn.then.iter().chain(&txn.otherwise).any(any_keys_only),
        _ => false,
    }
}

/// The operations, those of unknown outcome without what nobody sees of them.
pub(super) fn without_unseen(operations: &[&Operation]) -> Vec<Operation> {
    let mut compared = Compared::default();
    let mut shown: BTreeSet<(&Bytes, &Bytes)> = BTreeSet::new();
    for operation in operations {
        compared.collect(&operation.request);
        if let Some(response) = operation.response() {
            let body = &response.body;
            body.for_each_key_value(&mut |kv| _ = shown.insert((&kv.key, &kv.value)));
        }
    }
    let matters = |put: &Put| compared.covers(&put.key) || shown.contains(&(&put.key, &put.value));
    let reduce = |operation: &&Operation| match operation.is_unknown() {
        true => Operation {
            request: simplify(&operation.request, &matters),
            ..(*operation).clone()
        },
        false => (*operation).clone(),
    };
    operations.iter().map(reduce).collect()
}
