//! Report directories of etcd's robustness tests: `client-*/operations.json` and, as evidence about
//! operations of unknown outcome, `client-*/watch.json`. Both are JSON objects one after another.
//!
//! The reports leave out when a key was created and its lease, and replace long values by a hash:
//! such fields are not judged, and hashes are compared like values. Grants of leases and
//! defragmentations change no key and are left out. Revocations are left out too, because a lease
//! may also end by itself: a revision that removes all keys of a lease needs no operation here.
//! Reads of an old revision are served by any member, and judged like serializable reads.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Changes, Content, Format, Input, Model, ReadError, Recording};
use crate::history::objects::class_of;
use crate::history::{
    Body, Compact, Compare, Delete, DeleteBody, Failure, History, KeyValue, Operand, Operation,
    Outcome, Put, PutBody, Range, RangeBody, Relation, Request, Response, Txn, TxnBody,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    #[serde(default)]
    client_id: i64,
    input: Input_,
    call: i64,
    #[serde(default)]
    output: Option<Output>,
    #[serde(rename = "Return")]
    returned: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input_ {
    #[serde(rename = "Type")]
    kind: String,
    range: Option<RangeIn>,
    txn: Option<TxnIn>,
    compact: Option<CompactIn>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RangeIn {
    start: String,
    end: String,
    limit: i64,
    keys_only: bool,
    revision: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CompactIn {
    revision: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TxnIn {
    conditions: Option<Vec<Condition>>,
    operations_on_success: Option<Vec<OperationIn>>,
    operations_on_failure: Option<Vec<OperationIn>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Condition {
    key: String,
    #[serde(default)]
    expected_revision: i64,
    #[serde(default)]
    expected_version: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OperationIn {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(default)]
    range: RangeIn,
    #[serde(default)]
    put: PutIn,
    #[serde(default)]
    delete: DeleteIn,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PutIn {
    key: String,
    value: ValueOrHash,
    #[serde(rename = "LeaseID")]
    lease: i64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct DeleteIn {
    key: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ValueOrHash {
    value: String,
    hash: u32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Output {
    txn: Option<TxnOut>,
    range: Option<RangeOut>,
    client_error: String,
    error: String,
    persisted: bool,
    revision: i64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct TxnOut {
    failure: bool,
    results: Option<Vec<RangeOut>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RangeOut {
    #[serde(rename = "KVs")]
    kvs: Option<Vec<KeyOut>>,
    count: i64,
    deleted: i64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct KeyOut {
    key: String,
    value: ValueOrHash,
    mod_revision: i64,
    version: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Watch {
    responses: Option<Vec<WatchResponse>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WatchResponse {
    events: Option<Vec<Event>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    #[serde(rename = "Type")]
    kind: String,
    key: String,
    #[serde(default)]
    value: ValueOrHash,
    revision: i64,
}

impl ValueOrHash {
    /// A hash is written so that it cannot be a value: values that long have their hash instead.
    fn bytes(&self) -> Bytes {
        match self.hash {
            0 => Bytes::copy_from_slice(self.value.as_bytes()),
            hash => format!("value with FNV-1a hash {hash:08x}").into(),
        }
    }
}

pub(super) fn read(input: &Input) -> Result<Recording, ReadError> {
    let mut history = History::default();
    let mut changes = Changes::new();
    let mut left_out: BTreeMap<&'static str, usize> = BTreeMap::new();
    for (name, bytes) in &input.files {
        if name.ends_with("operations.json") {
            each::<Line>(name, bytes, |line| {
                let id = history.operations.len() as u64;
                match operation(id, line)? {
                    Ok(operation) => history.operations.push(operation),
                    Err(kind) => *left_out.entry(kind).or_default() += 1,
                }
                Ok(())
            })?;
        } else if name.ends_with("watch.json") {
            each::<Watch>(name, bytes, |watch| {
                collect(&watch, &mut changes);
                Ok(())
            })?;
        }
    }
    let mut notes = vec![
        "not recorded, so not judged: create revisions, leases of keys, contents of long values"
            .to_owned(),
    ];
    let left_out = left_out.into_iter();
    notes.extend(left_out.map(|(kind, count)| format!("left out: {count} of {kind}")));
    Ok(Recording {
        format: Format::Robustness,
        model: Model::Etcd,
        content: Content::Store(history, changes),
        notes,
    })
}

/// Reads objects one after another.
fn each<T: DeserializeOwned>(
    name: &str,
    bytes: &[u8],
    mut take: impl FnMut(T) -> Result<(), String>,
) -> Result<(), ReadError> {
    let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<T>();
    loop {
        let start = stream.byte_offset();
        let error = match stream.next() {
            None => return Ok(()),
            Some(Ok(value)) => match take(value) {
                Ok(()) => continue,
                Err(problem) => {
                    let text = String::from_utf8_lossy(&bytes[..start]);
                    ReadError::at(
                        &text,
                        text.len(),
                        format!("the object after this: {problem}"),
                    )
                }
            },
            Some(Err(error)) => ReadError {
                file: None,
                place: Some((error.line(), error.column())),
                problem: without_place(&error),
            },
        };
        return Err(error.within(name));
    }
}

fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(cut) => text[..cut].to_owned(),
        None => text,
    }
}

fn collect(watch: &Watch, changes: &mut Changes) {
    let responses = watch.responses.iter().flatten();
    for event in responses.flat_map(|response| response.events.iter().flatten()) {
        let value = (event.kind != "delete-operation").then(|| event.value.bytes());
        let change = (Bytes::copy_from_slice(event.key.as_bytes()), value);
        let known = changes.entry(event.revision).or_default();
        if event.revision > 1 && !known.contains(&change) {
            known.push(change);
        }
    }
    changes.remove(&0);
    changes.retain(|revision, _| *revision > 1);
}

/// The operation, or the kind of those that are left out.
fn operation(id: u64, line: Line) -> Result<Result<Operation, &'static str>, String> {
    let request = match (&line.input.kind[..], line.input.range, line.input.txn) {
        ("range", Some(range), _) => range_of(range),
        ("txn", _, Some(txn)) => Request::Txn(txn_of(txn)?),
        ("compact", ..) => match line.input.compact {
            Some(CompactIn { revision }) => Request::Compact(Compact { revision }),
            None => return Err("a compact without its revision".to_owned()),
        },
        ("leaseGrant", ..) => return Ok(Err("grants of leases")),
        ("leaseRevoke", ..) => return Ok(Err("revocations of leases")),
        ("defragment", ..) => return Ok(Err("defragmentations")),
        (other, ..) => return Err(format!("a request of unknown type {other:?}")),
    };
    let time = |at: i64| u64::try_from(at).map_err(|_| format!("a time of {at} ns"));
    let outcome = outcome_of(&request, line.output.unwrap_or_default())?;
    let returned = match &outcome {
        Outcome::Unknown(_) => None,
        _ => Some(time(line.returned)?),
    };
    let operation = Operation {
        id,
        client: u32::try_from(line.client_id).map_err(|_| "a ClientId that is none".to_owned())?,
        member: None,
        invoked: time(line.call)?,
        returned,
        request,
        outcome,
    };
    operation.check()?;
    Ok(Ok(operation))
}

fn range_of(range: RangeIn) -> Request {
    Request::Range(Range {
        key: range.start.into(),
        range_end: range.end.into(),
        limit: range.limit,
        revision: range.revision,
        serializable: range.revision != 0,
        keys_only: range.keys_only,
        count_only: false,
    })
}

fn txn_of(txn: TxnIn) -> Result<Txn, String> {
    let compare = |condition: Condition| Compare {
        key: condition.key.into(),
        range_end: Bytes::new(),
        relation: Relation::Equal,
        operand: match condition.expected_version {
            1.. => Operand::Version(condition.expected_version),
            _ => Operand::ModRevision(condition.expected_revision),
        },
    };
    let list = |operations: Option<Vec<OperationIn>>| {
        let operations = operations.unwrap_or_default().into_iter();
        operations.map(inner_of).collect::<Result<Vec<_>, _>>()
    };
    let conditions = txn.conditions.unwrap_or_default();
    Ok(Txn {
        compare: conditions.into_iter().map(compare).collect(),
        then: list(txn.operations_on_success)?,
        otherwise: list(txn.operations_on_failure)?,
    })
}

fn inner_of(operation: OperationIn) -> Result<Request, String> {
    Ok(match &operation.kind[..] {
        "range-operation" => range_of(operation.range),
        "put-operation" => Request::Put(Put {
            value: operation.put.value.bytes(),
            key: operation.put.key.into(),
            lease: operation.put.lease,
            prev_kv: false,
        }),
        "delete-operation" => Request::Delete(Delete {
            key: operation.delete.key.into(),
            ..Delete::default()
        }),
        other => return Err(format!("an operation of unknown type {other:?}")),
    })
}

fn outcome_of(request: &Request, output: Output) -> Result<Outcome, String> {
    if !output.client_error.is_empty() {
        return Ok(Outcome::Failed(Failure {
            class: class_of(&output.client_error),
            message: output.client_error,
        }));
    }
    if !output.error.is_empty() || output.persisted {
        return Ok(Outcome::Unknown(output.error));
    }
    let body = match (request, output.txn, output.range) {
        (Request::Range(_), _, Some(range)) => answer_of(request, range)?,
        (Request::Txn(txn), Some(answer), _) => {
            let requests = match answer.failure {
                true => &txn.otherwise,
                false => &txn.then,
            };
            let results = answer.results.unwrap_or_default();
            if results.len() != requests.len() {
                let (asked, found) = (requests.len(), results.len());
                return Err(format!("{found} results of {asked} operations"));
            }
            let answers = requests.iter().zip(results);
            Body::Txn(TxnBody {
                succeeded: !answer.failure,
                responses: answers
                    .map(|(request, result)| answer_of(request, result))
                    .collect::<Result<_, _>>()?,
            })
        }
        (Request::Compact(_), ..) => Body::Compact,
        _ => return Err("an output that does not answer the input".to_owned()),
    };
    Ok(Outcome::Ok(Response {
        revision: output.revision,
        body,
    }))
}

fn answer_of(request: &Request, result: RangeOut) -> Result<Body, String> {
    let key_value = |kv: KeyOut| KeyValue {
        value: kv.value.bytes(),
        key: kv.key.into(),
        create_revision: KeyValue::NOT_RECORDED,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: KeyValue::NOT_RECORDED,
    };
    Ok(match request {
        Request::Range(range) => Body::Range(RangeBody {
            kvs: result
                .kvs
                .unwrap_or_default()
                .into_iter()
                .map(key_value)
                .collect(),
            more: range.limit > 0 && result.count > range.limit,
            count: result.count,
        }),
        Request::Put(_) => Body::Put(PutBody::default()),
        Request::Delete(_) => Body::Delete(DeleteBody {
            deleted: result.deleted,
            previous: Vec::new(),
        }),
        _ => return Err("an output that does not answer the input".to_owned()),
    })
}
