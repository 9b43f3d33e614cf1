//! Tests of the state machine: rule by rule, and against a naive model.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod check_rules;
mod compaction;
mod differential;
mod hash_rules;
mod large;
mod lease_rules;
mod model;
mod partial_rules;
mod range_rules;
mod txn_rules;
mod write_rules;

use super::*;
use crate::api::proto::etcdserverpb::request_op::Request;
use crate::api::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse,
};
use crate::api::proto::mvccpb::KeyValue;
use crate::defects::Defects;

pub(super) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(super) fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: bytes(key),
        value: bytes(value),
        ..Default::default()
    }
}

pub(super) fn delete(key: &str, range_end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: bytes(key),
        range_end: bytes(range_end),
        prev_kv: false,
    }
}

pub(super) fn range(key: &str, range_end: &str) -> RangeRequest {
    RangeRequest {
        key: bytes(key),
        range_end: bytes(range_end),
        ..Default::default()
    }
}

pub(super) fn op(request: impl Into<Request>) -> RequestOp {
    RequestOp {
        request: Some(request.into()),
    }
}

impl From<PutRequest> for Request {
    fn from(request: PutRequest) -> Request {
        Request::RequestPut(request)
    }
}

impl From<RangeRequest> for Request {
    fn from(request: RangeRequest) -> Request {
        Request::RequestRange(request)
    }
}

impl From<DeleteRangeRequest> for Request {
    fn from(request: DeleteRangeRequest) -> Request {
        Request::RequestDeleteRange(request)
    }
}

impl From<TxnRequest> for Request {
    fn from(request: TxnRequest) -> Request {
        Request::RequestTxn(request)
    }
}

pub(super) fn txn(
    compare: Vec<Compare>,
    success: Vec<RequestOp>,
    failure: Vec<RequestOp>,
) -> TxnRequest {
    TxnRequest {
        compare,
        success,
        failure,
    }
}

/// A transaction without comparisons.
pub(super) fn then(success: Vec<RequestOp>) -> TxnRequest {
    txn(vec![], success, vec![])
}

impl State {
    fn apply_put(&mut self, key: &str, value: &str) -> i64 {
        let response = self.put(&put(key, value)).unwrap();
        response.header.unwrap().revision
    }

    fn apply_txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, Error> {
        self.txn(request, &Defects::default())
    }

    /// The keys a request finds, as text.
    fn found(&self, request: &RangeRequest) -> Vec<String> {
        let response = self.range(request).unwrap();
        let text = |kv: KeyValue| String::from_utf8_lossy(&kv.key).into_owned();
        response.kvs.into_iter().map(text).collect()
    }

    /// Runs the scheduled compaction to its end, `step` records at a time.
    fn compact_all(&mut self, step: usize) {
        while self.compact_step(step) {}
    }

    /// The state as a member would hold it after a restart that lost nothing.
    pub(crate) fn reloaded(&self) -> State {
        let mut restore = Restore::new();
        for record in self.records_from(0) {
            let value = record.encode_value();
            let name = RevisionKey::decode(&record.revision_key().encode()).unwrap();
            restore.push(Record::decode(name, &value).unwrap()).unwrap();
        }
        for lease in self.leases.iter() {
            restore.push_lease(&lease.to_wire()).unwrap();
        }
        restore
            .finish(self.revision, self.compact_revision, self.compact_finished)
            .unwrap()
    }

    /// Lets puts name these leases and no others.
    pub(crate) fn set_known_leases(&mut self, ids: &[i64]) {
        let mut leases = crate::lease::Leases::default();
        for id in ids {
            if !leases.contains(*id) {
                leases.grant(*id, 10, 1).unwrap();
            }
        }
        self.leases = leases;
    }

    /// The names of all records held.
    pub(crate) fn names(&self) -> Vec<RevisionKey> {
        self.records_from(0)
            .map(|record| record.revision_key())
            .collect()
    }

    /// Panics when the two maps disagree.
    fn check_maps(&self) {
        let mut by_key: Vec<Revision> = Vec::new();
        for (key, history) in &self.keys {
            assert!(history.revisions().is_sorted(), "{key:?} is out of order");
            assert_eq!(history.newest().unwrap().kv.key, key);
            by_key.extend(history.revisions());
        }
        by_key.sort();
        let by_revision: Vec<Revision> = self.records.keys().copied().collect();
        assert_eq!(by_key, by_revision);
        let live = self.keys.values().filter_map(|history| history.newest());
        let mut attached: Vec<(i64, Bytes)> = live
            .filter(|record| record.kv.lease != 0)
            .map(|record| (record.kv.lease, record.kv.key.clone()))
            .collect();
        attached.sort();
        assert!(self.attached.iter().eq(&attached));
    }
}

#[test]
fn errors_have_etcds_texts_and_codes() {
    // From etcd's api/v3rpc/rpctypes/error.go.
    let expected = [
        (Error::EmptyKey, 3, "etcdserver: key is not provided"),
        (Error::KeyNotFound, 3, "etcdserver: key not found"),
        (Error::ValueProvided, 3, "etcdserver: value is provided"),
        (Error::LeaseProvided, 3, "etcdserver: lease is provided"),
        (
            Error::TooManyOperations,
            3,
            "etcdserver: too many operations in txn request",
        ),
        (
            Error::DuplicateKey,
            3,
            "etcdserver: duplicate key given in txn request",
        ),
        (
            Error::InvalidSortOption,
            3,
            "etcdserver: invalid sort option",
        ),
        (
            Error::Compacted,
            11,
            "etcdserver: mvcc: required revision has been compacted",
        ),
        (
            Error::FutureRevision,
            11,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        (
            Error::LeaseNotFound,
            5,
            "etcdserver: requested lease not found",
        ),
        (Error::LeaseExists, 9, "etcdserver: lease already exists"),
        (
            Error::LeaseTtlTooLarge,
            11,
            "etcdserver: too large lease TTL",
        ),
    ];
    assert_eq!(expected.map(|(error, ..)| error), Error::ALL);
    for (error, code, text) in expected {
        assert_eq!((error.code().number(), error.message()), (code, text));
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn revision_names_are_etcds_and_sort_like_revisions() {
    let name = RevisionKey {
        revision: Revision { main: 5, sub: 1 },
        tombstone: true,
    };
    assert_eq!(*name.encode(), *b"\0\0\0\0\0\0\0\x05_\0\0\0\0\0\0\0\x01t");
    assert_eq!(RevisionKey::decode(&name.encode()), Some(name));
    let put = RevisionKey {
        tombstone: false,
        ..name
    };
    assert_eq!(put.encode().len(), 17);
    assert_eq!(RevisionKey::decode(&put.encode()), Some(put));
    for damaged in [
        &b""[..],
        b"\0\0\0\0\0\0\0\x05_\0\0\0\0\0\0\0",
        b"\0\0\0\0\0\0\0\x05-\0\0\0\0\0\0\0\x01",
        b"\0\0\0\0\0\0\0\x05_\0\0\0\0\0\0\0\x01x",
        b"\xff\0\0\0\0\0\0\x05_\0\0\0\0\0\0\0\x01",
    ] {
        assert_eq!(RevisionKey::decode(damaged), None, "{damaged:?}");
    }
}
