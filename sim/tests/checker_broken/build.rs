//! Histories by hand. Times are in milliseconds.

use bytes::Bytes;
use vetcd_sim::history::*;

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// `key = value`, with its create and mod revisions and version.
pub fn kv(key: &str, value: &str, create: i64, modified: i64, version: i64) -> KeyValue {
    KeyValue {
        key: bytes(key),
        value: bytes(value),
        create_revision: create,
        mod_revision: modified,
        version,
        lease: 0,
    }
}

pub fn put(key: &str, value: &str) -> Request {
    Request::Put(Put {
        key: bytes(key),
        value: bytes(value),
        ..Put::default()
    })
}

pub fn get(key: &str) -> Request {
    Request::Range(Range {
        key: bytes(key),
        ..Range::default()
    })
}

pub fn list() -> Request {
    Request::Range(Range {
        key: bytes("a"),
        range_end: bytes("\0"),
        ..Range::default()
    })
}

pub fn get_at(key: &str, revision: i64) -> Request {
    Request::Range(Range {
        key: bytes(key),
        revision,
        ..Range::default()
    })
}

pub fn get_serializable(key: &str) -> Request {
    Request::Range(Range {
        key: bytes(key),
        serializable: true,
        ..Range::default()
    })
}

pub fn delete(key: &str) -> Request {
    Request::Delete(Delete {
        key: bytes(key),
        ..Delete::default()
    })
}

pub fn compact(revision: i64) -> Request {
    Request::Compact(Compact { revision })
}

/// Writes when the key's mod revision is the given one, else reads.
pub fn swap(key: &str, modified: i64, value: &str) -> Request {
    Request::Txn(Txn {
        compare: vec![Compare {
            key: bytes(key),
            range_end: Bytes::new(),
            relation: Relation::Equal,
            operand: Operand::ModRevision(modified),
        }],
        then: vec![put(key, value)],
        otherwise: vec![get(key)],
    })
}

pub fn wrote(revision: i64) -> Outcome {
    Outcome::Ok(Response {
        revision,
        body: Body::Put(PutBody::default()),
    })
}

pub fn saw(revision: i64, kvs: &[KeyValue]) -> Outcome {
    let body = RangeBody {
        kvs: kvs.to_vec(),
        more: false,
        count: kvs.len() as i64,
    };
    Outcome::Ok(Response {
        revision,
        body: Body::Range(body),
    })
}

pub fn deleted(revision: i64, deleted: i64) -> Outcome {
    let body = Body::Delete(DeleteBody {
        deleted,
        previous: vec![],
    });
    Outcome::Ok(Response { revision, body })
}

pub fn branch(revision: i64, succeeded: bool, responses: Vec<Body>) -> Outcome {
    Outcome::Ok(Response {
        revision,
        body: Body::Txn(TxnBody {
            succeeded,
            responses,
        }),
    })
}

pub fn compacted(revision: i64) -> Outcome {
    Outcome::Ok(Response {
        revision,
        body: Body::Compact,
    })
}

pub fn refused(class: FailureClass) -> Outcome {
    Outcome::Failed(Failure {
        class,
        message: String::new(),
    })
}

pub fn lost() -> Outcome {
    Outcome::Unknown("time-out".to_owned())
}

/// Operations 0, 1, 2, … from (invoked, returned, request, outcome).
pub fn history(operations: Vec<(u64, u64, Request, Outcome)>) -> History {
    let operation = |(id, (invoked, returned, request, outcome)): (u64, _)| Operation {
        id,
        client: id as u32,
        member: Some(1),
        invoked: invoked * 1_000_000,
        returned: match outcome {
            Outcome::Unknown(_) => None,
            _ => Some(returned * 1_000_000),
        },
        request,
        outcome,
    };
    History {
        operations: (0..).zip(operations).map(operation).collect(),
        ..History::default()
    }
}
