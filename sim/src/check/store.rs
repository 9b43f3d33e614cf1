//! The model of the store that the search runs on: what every request does and answers.
//!
//! States branch where it is not known which operation filled a revision, so the keys are held in a
//! persistent map that clones in constant time. Keys and values stay in the history: copying them
//! here would count references in memory that nothing else looks at.

use std::borrow::Borrow;
use std::fmt::Display;
use std::ops::Bound;

use bytes::Bytes;
use im::OrdMap;

use super::Record;
use crate::history::{
    Body, Compare, DeleteBody, KeyValue, Operand, Put, Range, RangeBody, Relation, Request, Txn,
    display_short,
};

/// What one key holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Entry<'a> {
    pub(crate) value: &'a Bytes,
    pub(crate) create_revision: i64,
    pub(crate) mod_revision: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

/// All keys at one revision.
pub(crate) type Keys<'a> = OrdMap<&'a Bytes, Entry<'a>>;

/// Where an answer differs from what the model says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// Which part of the answer.
    pub(crate) what: String,
    pub(crate) expected: String,
    pub(crate) found: String,
    /// The revisions of the writes that the two disagree about; 0 for none.
    pub(crate) revisions: [i64; 2],
}

impl Mismatch {
    fn new(what: impl Into<String>, expected: impl Display, found: impl Display) -> Mismatch {
        Mismatch {
            what: what.into(),
            expected: expected.to_string(),
            found: found.to_string(),
            revisions: [0; 2],
        }
    }

    fn of_key(
        what: &str,
        expected: Option<(&Bytes, &Entry<'_>)>,
        found: Option<&KeyValue>,
    ) -> Mismatch {
        let key = expected.map(|(key, _)| key).or(found.map(|kv| &kv.key));
        let key = key.map_or(String::new(), display_short);
        let expected = expected.map(|(key, entry)| entry.key_value(key));
        let text = |kv: Option<&KeyValue>| kv.map_or("nothing".to_owned(), ToString::to_string);
        let revision = |kv: Option<&KeyValue>| kv.map_or(0, |kv| kv.mod_revision);
        Mismatch {
            what: format!("{what} {key}"),
            expected: text(expected.as_ref()),
            found: text(found),
            revisions: [revision(expected.as_ref()), revision(found)],
        }
    }
}

impl<'a> Entry<'a> {
    fn new(put: &'a Put, revision: i64) -> Entry<'a> {
        Entry {
            value: &put.value,
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: put.lease,
        }
    }

    fn overwrite(&mut self, put: &'a Put, revision: i64) {
        self.value = &put.value;
        self.mod_revision = revision;
        self.version += 1;
        self.lease = put.lease;
    }

    pub(crate) fn key_value(&self, key: &Bytes) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: self.value.clone(),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }

    fn is(&self, key: &Bytes, shown: &KeyValue, keys_only: bool) -> bool {
        // A server that answers keys alone from its index does not know the lease.
        let recorded = |shown: i64| shown != KeyValue::NOT_RECORDED;
        let lease =
            self.lease == shown.lease || !recorded(shown.lease) || (keys_only && shown.lease == 0);
        let created =
            self.create_revision == shown.create_revision || !recorded(shown.create_revision);
        let value = if keys_only {
            shown.value.is_empty()
        } else {
            *self.value == shown.value
        };
        value
            && lease
            && self.mod_revision == shown.mod_revision
            && created
            && self.version == shown.version
            && *key == shown.key
    }
}

/// What a request is judged against besides the keys themselves.
pub(crate) struct Context<'c, 'a> {
    /// The revision before the request.
    pub(crate) before: i64,
    /// The revision of the response: `before` when nothing changes, `before + 1` otherwise.
    pub(crate) revision: i64,
    /// The keys at an older revision.
    pub(crate) past: &'c dyn Fn(i64) -> Option<Keys<'a>>,
}

/// Executes `request` on `keys` and compares every field of `answer`.
///
/// # Errors
/// The first difference. `keys` may then hold a part of the request's writes.
pub(crate) fn judge<'a>(
    keys: &mut Keys<'a>,
    request: &'a Request,
    answer: &Body,
    context: &Context<'_, 'a>,
) -> Result<(), Mismatch> {
    match (request, answer) {
        (Request::Range(range), Body::Range(body)) => judge_range(keys, range, body, context),
        (Request::Put(put), Body::Put(body)) => {
            let shown = body.previous.as_ref();
            let entry = keys.get_mut(&put.key);
            let previous = entry.as_deref().filter(|_| put.prev_kv);
            let same = match (previous, shown) {
                (Some(entry), Some(shown)) => entry.is(&put.key, shown, false),
                (None, None) => true,
                _ => false,
            };
            if !same {
                let expected = previous.map(|entry| (&put.key, entry));
                return Err(Mismatch::of_key("the previous value of", expected, shown));
            }
            match entry {
                Some(entry) => entry.overwrite(put, context.revision),
                None => drop(keys.insert(&put.key, Entry::new(put, context.revision))),
            }
            Ok(())
        }
        (Request::Delete(delete), Body::Delete(body)) => {
            let gone = remove(keys, &delete.key, &delete.range_end);
            judge_deleted(&gone, delete.prev_kv, body)
        }
        (Request::Txn(txn), Body::Txn(_)) => {
            // Only a transaction that may look back needs the state from before it.
            let looks_back = |inner: &Request| match inner {
                Request::Txn(_) => true,
                Request::Range(range) => range.revision > 0,
                _ => false,
            };
            let before = txn.then.iter().chain(&txn.otherwise).any(looks_back);
            let before = before.then(|| keys.clone());
            judge_txn(keys, before.as_ref(), txn, answer, context)
        }
        _ => Err(Mismatch::new("the answer's kind", request, answer)),
    }
}

fn judge_txn<'a>(
    keys: &mut Keys<'a>,
    before: Option<&Keys<'a>>,
    txn: &'a Txn,
    answer: &Body,
    context: &Context<'_, 'a>,
) -> Result<(), Mismatch> {
    let Body::Txn(body) = answer else {
        return Err(Mismatch::new("the answer's kind", "a transaction", answer));
    };
    let pre = before.unwrap_or(keys);
    let succeeded = txn.compare.iter().all(|compare| holds(pre, compare));
    if succeeded != body.succeeded {
        let revisions = txn.compare.iter().find_map(|c| pre.get(&c.key));
        let mut wrong = Mismatch::new("whether the comparisons hold", succeeded, body.succeeded);
        wrong.revisions[0] = revisions.map_or(0, |entry| entry.mod_revision);
        return Err(wrong);
    }
    let requests = if succeeded { &txn.then } else { &txn.otherwise };
    if requests.len() != body.responses.len() {
        let (expected, found) = (requests.len(), body.responses.len());
        return Err(Mismatch::new("the number of answers", expected, found));
    }
    for (request, response) in requests.iter().zip(&body.responses) {
        match (request, before) {
            (Request::Txn(inner), _) => judge_txn(keys, before, inner, response, context)?,
            // A read at the revision before never shows the transaction's own writes.
            (Request::Range(range), Some(before))
                if range.revision == context.before && range.revision > 0 =>
            {
                match response {
                    Body::Range(body) => judge_content(before, range, body)?,
                    _ => return Err(Mismatch::new("the answer's kind", request, response)),
                }
            }
            _ => judge(keys, request, response, context)?,
        }
    }
    Ok(())
}

fn judge_range(
    keys: &Keys<'_>,
    range: &Range,
    body: &RangeBody,
    context: &Context<'_, '_>,
) -> Result<(), Mismatch> {
    if range.revision > context.before {
        let what = "a read of a revision that is not there yet";
        let expected = format!("at most {}", context.before);
        return Err(Mismatch::new(what, expected, range.revision));
    }
    if range.revision <= 0 || range.revision == context.revision {
        return judge_content(keys, range, body);
    }
    match (context.past)(range.revision) {
        Some(past) => judge_content(&past, range, body),
        None => Err(Mismatch::new(
            "a read of the past",
            "a known revision",
            range.revision,
        )),
    }
}

fn judge_content(keys: &Keys<'_>, range: &Range, body: &RangeBody) -> Result<(), Mismatch> {
    let mut count = 0;
    let limit = match usize::try_from(range.limit) {
        Ok(limit) if limit > 0 => limit,
        _ => usize::MAX,
    };
    let shown_max = if range.count_only { 0 } else { limit };
    for (key, entry) in within(keys, &range.key, &range.range_end) {
        if count < shown_max {
            let shown = body.kvs.get(count);
            if !shown.is_some_and(|shown| entry.is(key, shown, range.keys_only)) {
                return Err(Mismatch::of_key("the key", Some((key, entry)), shown));
            }
        }
        count += 1;
    }
    if let Some(extra) = body.kvs.get(count.min(shown_max)) {
        return Err(Mismatch::of_key("the key", None, Some(extra)));
    }
    if i64::try_from(count) != Ok(body.count) {
        return Err(Mismatch::new("the count", count, body.count));
    }
    let more = !range.count_only && count > limit;
    if more != body.more {
        return Err(Mismatch::new("whether there is more", more, body.more));
    }
    Ok(())
}

fn judge_deleted(
    gone: &[(&Bytes, Entry<'_>)],
    prev_kv: bool,
    body: &DeleteBody,
) -> Result<(), Mismatch> {
    if i64::try_from(gone.len()) != Ok(body.deleted) {
        let mut wrong = Mismatch::new("the number of keys deleted", gone.len(), body.deleted);
        wrong.revisions[0] = gone.first().map_or(0, |(_, entry)| entry.mod_revision);
        return Err(wrong);
    }
    let gone = if prev_kv { gone } else { &[] };
    for (index, (key, entry)) in gone.iter().enumerate() {
        let shown = body.previous.get(index);
        if !shown.is_some_and(|shown| entry.is(key, shown, false)) {
            return Err(Mismatch::of_key(
                "the deleted key",
                Some((key, entry)),
                shown,
            ));
        }
    }
    match body.previous.get(gone.len()) {
        Some(extra) => Err(Mismatch::of_key("the deleted key", None, Some(extra))),
        None => Ok(()),
    }
}

/// Executes `request`, whose answer nobody saw, at `before + 1`.
///
/// Returns the changes in the order they were made; `None` when the request changes nothing or is
/// refused, in which case `keys` is as it was.
pub(crate) fn apply<'a>(
    keys: &mut Keys<'a>,
    request: &'a Request,
    before: i64,
) -> Option<Vec<Record>> {
    let pre = keys.clone();
    let mut records = Vec::new();
    if execute(keys, &pre, request, before, &mut records) && !records.is_empty() {
        return Some(records);
    }
    *keys = pre;
    None
}

/// Returns whether the request is accepted.
fn execute<'a>(
    keys: &mut Keys<'a>,
    pre: &Keys<'a>,
    request: &'a Request,
    before: i64,
    records: &mut Vec<Record>,
) -> bool {
    match request {
        Request::Range(range) => range.revision <= before,
        Request::Compact(_) => true,
        Request::Put(put) => {
            write(keys, put, before + 1);
            records.push(Record {
                key: put.key.clone(),
                value: Some(put.value.clone()),
            });
            true
        }
        Request::Delete(delete) => {
            let gone = remove(keys, &delete.key, &delete.range_end);
            records.extend(gone.into_iter().map(|(key, _)| Record {
                key: key.clone(),
                value: None,
            }));
            true
        }
        Request::Txn(txn) => {
            let succeeded = txn.compare.iter().all(|compare| holds(pre, compare));
            let requests = if succeeded { &txn.then } else { &txn.otherwise };
            requests
                .iter()
                .all(|request| execute(keys, pre, request, before, records))
        }
    }
}

/// Removes every key attached to `lease`, ascending.
pub(crate) fn expire(keys: &mut Keys<'_>, lease: i64) -> Vec<Record> {
    let attached = keys.iter().filter(|(_, entry)| entry.lease == lease);
    let gone: Vec<&Bytes> = attached.map(|(key, _)| *key).collect();
    for key in &gone {
        keys.remove(*key);
    }
    let removed = |key: &Bytes| Record {
        key: key.clone(),
        value: None,
    };
    gone.into_iter().map(removed).collect()
}

fn write<'a>(keys: &mut Keys<'a>, put: &'a Put, revision: i64) {
    match keys.get_mut(&put.key) {
        Some(entry) => entry.overwrite(put, revision),
        None => drop(keys.insert(&put.key, Entry::new(put, revision))),
    }
}

fn remove<'a>(keys: &mut Keys<'a>, key: &Bytes, range_end: &Bytes) -> Vec<(&'a Bytes, Entry<'a>)> {
    if range_end.is_empty() {
        return keys.remove_with_key(key).into_iter().collect();
    }
    let gone: Vec<_> = within(keys, key, range_end)
        .map(|(key, entry)| (*key, entry.clone()))
        .collect();
    for (key, _) in &gone {
        keys.remove(*key);
    }
    gone
}

/// The keys of a range, ascending.
pub(crate) fn within<'k, K: Ord + Clone + Borrow<Bytes>, V: Clone>(
    keys: &'k OrdMap<K, V>,
    key: &'k Bytes,
    range_end: &'k Bytes,
) -> impl Iterator<Item = (&'k K, &'k V)> {
    let one = if range_end.is_empty() {
        keys.get_key_value(key)
    } else {
        None
    };
    let end = match &range_end[..] {
        [] => None,
        [0] => Some(Bound::Unbounded),
        _ if range_end > key => Some(Bound::Excluded(range_end)),
        _ => None,
    };
    let many = end.map(|end| keys.range::<_, Bytes>((Bound::Included(key), end)));
    one.into_iter().chain(many.into_iter().flatten())
}

/// Whether one comparison holds.
pub(crate) fn holds(keys: &Keys<'_>, compare: &Compare) -> bool {
    let mut any = false;
    for (_, entry) in within(keys, &compare.key, &compare.range_end) {
        any = true;
        if !holds_for(Some(entry), compare) {
            return false;
        }
    }
    any || holds_for(None, compare)
}

fn holds_for(entry: Option<&Entry<'_>>, compare: &Compare) -> bool {
    let number = |field: fn(&Entry<'_>) -> i64, operand: &i64| {
        relates(compare.relation, &entry.map_or(0, field), operand)
    };
    match &compare.operand {
        Operand::Version(operand) => number(|entry| entry.version, operand),
        Operand::CreateRevision(operand) => number(|entry| entry.create_revision, operand),
        Operand::ModRevision(operand) => number(|entry| entry.mod_revision, operand),
        Operand::Lease(operand) => number(|entry| entry.lease, operand),
        Operand::Value(operand) => {
            entry.is_some_and(|entry| relates(compare.relation, entry.value, operand))
        }
    }
}

/// Whether `left` has `relation` to `right`.
pub(crate) fn relates<T: Ord>(relation: Relation, left: &T, right: &T) -> bool {
    match relation {
        Relation::Equal => left == right,
        Relation::Greater => left > right,
        Relation::Less => left < right,
        Relation::NotEqual => left != right,
    }
}
