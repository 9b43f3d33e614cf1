//! What clients saw: every operation they invoked, when, and what came back.
//!
//! This is the only thing the judges in [`crate::check`] look at, so it holds exactly what a
//! verdict may depend on, in plain types of its own, and nothing of the protocol that carried it.
//! Times are virtual nanoseconds since the start of the run, on one clock for all clients.
//!
//! The rule that keeps verdicts sound: a time-out, a broken connection, or any error that does not
//! prove that the operation had no effect is [`Outcome::Unknown`], never [`Outcome::Failed`]. One
//! trap among many: "database space exceeded" can be the answer to a write that was applied.
//!
//! [`lines`] reads and writes a history as one JSON object a line: operations, and watches as
//! `{"watch":{…}}`. [`mod@read`] reads what others recorded, and [`objects`] holds those histories
//! that know no revisions.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::check::Evidence;

mod auth;
mod display;
mod lease;
pub mod lines;
pub mod objects;
pub mod read;
pub mod text;
mod watch;

pub use auth::{AuthAction, AuthOutcome, AuthRecord, Keys, Need, needs};
pub(crate) use display::{seconds as display_seconds, short as display_short};
pub(crate) use lease::lease_name;
pub use lease::{
    Leader, LeaseAnswer, LeaseHistory, LeaseOperation, LeaseOutcome, LeaseRequest, Observation,
    Removal,
};
pub use lines::HistoryError;
pub use watch::{News, Watch, WatchEvent, WatchResponse};

/// Nanoseconds of virtual time since the start of the run.
pub type Nanoseconds = u64;

/// Everything the clients of one run invoked, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The operations; their [`Operation::id`]s are distinct.
    pub operations: Vec<Operation>,
    /// What watches saw; their [`Watch::id`]s are distinct.
    pub watches: Vec<Watch>,
    /// What was done about permissions, in the order in which it began.
    pub auth: Vec<AuthRecord>,
    /// What clients saw of leases, locks and elections.
    pub leases: LeaseHistory,
    /// What is known besides, of a run that was saved.
    pub evidence: Option<Box<Evidence>>,
}

/// One request of one client, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Distinct within the history.
    pub id: u64,
    /// The client that invoked it.
    pub client: u32,
    /// The member whose endpoint served it, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<u32>,
    /// When the request left the client.
    pub invoked: Nanoseconds,
    /// When the response reached the client; `None` when the outcome is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<Nanoseconds>,
    /// What was asked.
    pub request: Request,
    /// What came back.
    pub outcome: Outcome,
}

/// A request to the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Reads keys.
    Range(Range),
    /// Writes one key.
    Put(Put),
    /// Removes keys.
    Delete(Delete),
    /// Compares, then does one of two lists of requests at once.
    Txn(Txn),
    /// Forgets the past before a revision; not allowed inside a [`Request::Txn`].
    Compact(Compact),
}

/// Reads `key`, or the keys from `key` up to `range_end`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Range {
    /// The key, or the first key of the range.
    #[serde(with = "text")]
    pub key: Bytes,
    /// Empty for one key; a single zero byte for every key from `key` on; else the exclusive end.
    #[serde(with = "text", skip_serializing_if = "Bytes::is_empty")]
    pub range_end: Bytes,
    /// The most keys to return; 0 for all.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: i64,
    /// The revision to read at; 0 for the latest.
    #[serde(skip_serializing_if = "is_zero")]
    pub revision: i64,
    /// Whether any member may answer from what it happens to hold.
    #[serde(skip_serializing_if = "is_false")]
    pub serializable: bool,
    /// Whether values are left out of the answer.
    #[serde(skip_serializing_if = "is_false")]
    pub keys_only: bool,
    /// Whether only the count is answered.
    #[serde(skip_serializing_if = "is_false")]
    pub count_only: bool,
}

/// Writes `value` at `key`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Put {
    /// The key.
    #[serde(with = "text")]
    pub key: Bytes,
    /// The value.
    #[serde(with = "text")]
    pub value: Bytes,
    /// The lease to attach the key to; 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub lease: i64,
    /// Whether the answer carries what the key held before.
    #[serde(skip_serializing_if = "is_false")]
    pub prev_kv: bool,
}

/// Removes `key`, or the keys from `key` up to `range_end`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delete {
    /// The key, or the first key of the range.
    #[serde(with = "text")]
    pub key: Bytes,
    /// As in [`Range::range_end`].
    #[serde(with = "text", skip_serializing_if = "Bytes::is_empty")]
    pub range_end: Bytes,
    /// Whether the answer carries what was removed.
    #[serde(skip_serializing_if = "is_false")]
    pub prev_kv: bool,
}

/// Does `then` when every comparison holds, `otherwise` when one does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Txn {
    /// The comparisons, all of them evaluated before anything is written, nested ones included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compare: Vec<Compare>,
    /// Done in order when every comparison holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Request>,
    /// Done in order when one does not.
    #[serde(rename = "else", skip_serializing_if = "Vec::is_empty")]
    pub otherwise: Vec<Request>,
}

/// Forgets what was overwritten at or before `revision`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compact {
    /// The oldest revision that stays readable.
    pub revision: i64,
}

/// One comparison of a transaction. Over a range it must hold for every key in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// The key, or the first key of the range.
    #[serde(with = "text")]
    pub key: Bytes,
    /// As in [`Range::range_end`].
    #[serde(with = "text", default, skip_serializing_if = "Bytes::is_empty")]
    pub range_end: Bytes,
    /// What the key's field must be to the operand.
    pub relation: Relation,
    /// The field and what it is compared with.
    pub operand: Operand,
}

/// How a field must relate to the operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The field equals the operand.
    Equal,
    /// The field is greater than the operand.
    Greater,
    /// The field is less than the operand.
    Less,
    /// The field differs from the operand.
    NotEqual,
}

/// The field that is compared, and with what. A missing key has 0 in every number, and no value:
/// no comparison of its value holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operand {
    /// The number of writes since the key was created.
    Version(i64),
    /// The revision that created the key.
    CreateRevision(i64),
    /// The revision that wrote the key last.
    ModRevision(i64),
    /// The value.
    Value(#[serde(with = "text")] Bytes),
    /// The lease the key is attached to.
    Lease(i64),
}

/// What a client knows about the fate of its request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered.
    Ok(Response),
    /// Refused, and certainly without effect.
    Failed(Failure),
    /// May have taken effect, or may yet; the text says why it is not known.
    Unknown(String),
}

/// An answer: the store's revision, and the content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// The revision in the response's header.
    pub revision: i64,
    /// What was answered.
    pub body: Body,
}

/// The content of an answer; of the same kind as its request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Body {
    /// To a [`Range`].
    Range(RangeBody),
    /// To a [`Put`].
    Put(PutBody),
    /// To a [`Delete`].
    Delete(DeleteBody),
    /// To a [`Txn`].
    Txn(TxnBody),
    /// To a [`Compact`].
    Compact,
}

/// The answer to a [`Range`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RangeBody {
    /// The keys, ascending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left keys out.
    #[serde(skip_serializing_if = "is_false")]
    pub more: bool,
    /// How many keys the range holds, whatever the limit.
    pub count: i64,
}

/// The answer to a [`Put`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PutBody {
    /// What the key held before, when that was asked for and there was something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<KeyValue>,
}

/// The answer to a [`Delete`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeleteBody {
    /// How many keys were removed.
    pub deleted: i64,
    /// What they held, when that was asked for; ascending by key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<KeyValue>,
}

/// The answer to a [`Txn`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TxnBody {
    /// Whether every comparison held.
    pub succeeded: bool,
    /// One answer for each request of the list that was done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub responses: Vec<Body>,
}

/// A key and what the store holds for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyValue {
    /// The key.
    #[serde(with = "text")]
    pub key: Bytes,
    /// The value; empty when only keys were asked for.
    #[serde(with = "text", skip_serializing_if = "Bytes::is_empty")]
    pub value: Bytes,
    /// The revision that created the key.
    pub create_revision: i64,
    /// The revision that wrote the key last.
    pub mod_revision: i64,
    /// The number of writes since the key was created.
    pub version: i64,
    /// The lease the key is attached to; 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub lease: i64,
}

/// A definite refusal: the operation had no effect and will have none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// What kind of refusal; some say something about the store's state.
    pub class: FailureClass,
    /// The server's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The kinds of definite refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The revision asked for has been compacted. Says something about the state, and is judged.
    Compacted,
    /// The revision asked for is not there yet. Says something about the state, and is judged.
    FutureRevision,
    /// The request itself was at fault.
    InvalidArgument,
    /// The lease to attach to does not exist.
    LeaseNotFound,
    /// Any other refusal that proves that nothing was done.
    Rejected,
}

impl KeyValue {
    /// Stands in `create_revision` and `lease` where a foreign recorder left them out: not judged.
    pub const NOT_RECORDED: i64 = i64::MIN;
}

impl Operation {
    /// The answer, when there was one.
    pub fn response(&self) -> Option<&Response> {
        match &self.outcome {
            Outcome::Ok(response) => Some(response),
            _ => None,
        }
    }

    /// Whether the fate of the operation is unknown.
    pub fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_))
    }
}

impl Request {
    /// Whether any member may answer from what it happens to hold: a serializable read, or a
    /// transaction of nothing but such reads.
    pub fn is_serializable(&self) -> bool {
        let read = |request: &Request| matches!(request, Request::Range(r) if r.serializable);
        match self {
            Request::Txn(txn) => txn.then.iter().chain(&txn.otherwise).all(read),
            request => read(request),
        }
    }

    /// Whether the request could change the store's keys.
    pub fn may_write(&self) -> bool {
        match self {
            Request::Range(_) | Request::Compact(_) => false,
            Request::Put(_) | Request::Delete(_) => true,
            Request::Txn(txn) => txn
                .then
                .iter()
                .chain(&txn.otherwise)
                .any(Request::may_write),
        }
    }
}

impl Body {
    /// Whether the answer says that the store's keys were changed.
    pub fn is_effect(&self) -> bool {
        match self {
            Body::Range(_) | Body::Compact => false,
            Body::Put(_) => true,
            Body::Delete(body) => body.deleted > 0,
            Body::Txn(body) => body.responses.iter().any(Body::is_effect),
        }
    }

    /// Calls `visit` with every key and value the answer shows, in order.
    pub fn for_each_key_value<'a>(&'a self, visit: &mut impl FnMut(&'a KeyValue)) {
        match self {
            Body::Range(body) => body.kvs.iter().for_each(visit),
            Body::Put(body) => body.previous.iter().for_each(visit),
            Body::Delete(body) => body.previous.iter().for_each(visit),
            Body::Txn(body) => {
                for response in &body.responses {
                    response.for_each_key_value(visit);
                }
            }
            Body::Compact => {}
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !*flag
}
