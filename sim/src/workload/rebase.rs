//! A clean corner of a store that is in use: keys below a prefix of their own, and revisions counted
//! from the moment that work there began.
//!
//! Seen through a [`Rebase`], a live store looks like one that was empty at revision 1, as long as
//! nobody else writes to it. So the same judges serve it that judge stores made for the purpose.

use bytes::Bytes;
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::api::proto::mvccpb;

use crate::history::{
    Body, Compare, KeyValue, Leader, LeaseAnswer, LeaseOutcome, LeaseRequest, Operand, Outcome,
    Request,
};

/// Translates requests to the live store, and its answers back.
#[derive(Clone, Debug, Default)]
pub struct Rebase {
    /// Comes before every key.
    pub prefix: Bytes,
    /// What revisions are less than the store's own.
    pub revisions: i64,
}

impl Rebase {
    /// A corner of a store whose revision is `revision` now.
    pub fn new(prefix: Bytes, revision: i64) -> Rebase {
        Rebase {
            prefix,
            revisions: revision - 1,
        }
    }

    /// The end of the range of all keys with the prefix.
    pub fn prefix_end(&self) -> Bytes {
        let mut end = self.prefix.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return end.into();
            }
        }
        Bytes::from_static(b"\0")
    }

    fn key(&self, key: &Bytes) -> Bytes {
        [&self.prefix[..], &key[..]].concat().into()
    }

    fn range_end(&self, end: &Bytes) -> Bytes {
        match &end[..] {
            [] => Bytes::new(),
            [0] => self.prefix_end(),
            _ => self.key(end),
        }
    }

    fn revision(&self, revision: i64) -> i64 {
        match revision {
            1.. => revision.saturating_add(self.revisions),
            revision => revision,
        }
    }

    /// The request that the live store is sent.
    pub fn request(&self, request: &Request) -> Request {
        let mut request = request.clone();
        match &mut request {
            Request::Range(range) => {
                range.range_end = self.range_end(&range.range_end);
                range.key = self.key(&range.key);
                range.revision = self.revision(range.revision);
            }
            Request::Put(put) => put.key = self.key(&put.key),
            Request::Delete(delete) => {
                delete.range_end = self.range_end(&delete.range_end);
                delete.key = self.key(&delete.key);
            }
            Request::Txn(txn) => {
                txn.compare
                    .iter_mut()
                    .for_each(|compare| self.compare(compare));
                for inner in txn.then.iter_mut().chain(&mut txn.otherwise) {
                    *inner = self.request(inner);
                }
            }
            Request::Compact(compact) => compact.revision = self.revision(compact.revision),
        }
        request
    }

    fn compare(&self, compare: &mut Compare) {
        compare.range_end = self.range_end(&compare.range_end);
        compare.key = self.key(&compare.key);
        if let Operand::ModRevision(revision) | Operand::CreateRevision(revision) =
            &mut compare.operand
        {
            *revision = self.revision(*revision);
        }
    }

    /// What the answer of the live store means.
    pub fn outcome(&self, request: &Request, mut outcome: Outcome) -> Outcome {
        if let Outcome::Ok(response) = &mut outcome {
            response.revision -= self.revisions;
            // A member that lags behind may answer such a read from before the work began; the
            // corner was as empty then as at revision 1.
            if request.is_serializable() {
                response.revision = response.revision.max(1);
            }
            self.body(&mut response.body);
        }
        outcome
    }

    /// The request about a lease, a lock or an election that the live store is sent. Leases have no
    /// corner of their own: their IDs are the same on both sides.
    pub fn lease_request(&self, request: &LeaseRequest) -> LeaseRequest {
        let mut request = request.clone();
        match &mut request {
            LeaseRequest::Grant { .. }
            | LeaseRequest::Revoke { .. }
            | LeaseRequest::KeepAlive { .. }
            | LeaseRequest::TimeToLive { .. } => {}
            LeaseRequest::Lock { name, .. }
            | LeaseRequest::Campaign { name, .. }
            | LeaseRequest::Leader { name } => *name = self.key(name),
            LeaseRequest::Unlock { key } => *key = self.key(key),
            LeaseRequest::Proclaim { key, created, .. } | LeaseRequest::Resign { key, created } => {
                *key = self.key(key);
                *created = self.revision(*created);
            }
        }
        request
    }

    /// What the answer of the live store to such a request means.
    pub fn lease_outcome(&self, mut outcome: LeaseOutcome) -> LeaseOutcome {
        if let LeaseOutcome::Ok(answer) = &mut outcome {
            match answer {
                LeaseAnswer::Locked { key } => self.own_key(key),
                LeaseAnswer::Elected { key, created } => {
                    self.own_key(key);
                    *created -= self.revisions;
                }
                LeaseAnswer::Leads(leader) => self.leader(leader),
                _ => {}
            }
        }
        outcome
    }

    /// What it means that the live store names this leader.
    pub fn leader(&self, leader: &mut Leader) {
        self.own_key(&mut leader.key);
        leader.created -= self.revisions;
        leader.modified -= self.revisions;
    }

    /// The name of an election in the live store.
    pub fn election(&self, name: &Bytes) -> Bytes {
        self.key(name)
    }

    /// Makes of a request for a watch the one that the live store is sent.
    pub fn watch_request(&self, request: &mut pb::WatchCreateRequest) {
        request.range_end = self.range_end(&request.range_end);
        request.key = self.key(&request.key);
        request.start_revision = self.revision(request.start_revision);
    }

    /// Makes of the live store's response to a watch what it means.
    pub fn watch_response(&self, response: &mut pb::WatchResponse) {
        if let Some(header) = &mut response.header {
            // A member that lags behind may show one from before the work began; the corner was as
            // empty then as at revision 1.
            header.revision = (header.revision - self.revisions).max(1);
        }
        if response.compact_revision > 0 {
            response.compact_revision -= self.revisions;
        }
        for event in &mut response.events {
            for kv in event.kv.iter_mut().chain(&mut event.prev_kv) {
                self.live_key_value(kv);
            }
        }
    }

    /// As for [`KeyValue`]s; of a removed key only the last revision is told.
    fn live_key_value(&self, kv: &mut mvccpb::KeyValue) {
        self.own_key(&mut kv.key);
        kv.mod_revision -= self.revisions;
        if kv.create_revision != 0 {
            kv.create_revision -= self.revisions;
        }
    }

    /// A key without the prefix stays as it is.
    pub fn own_key(&self, key: &mut Bytes) {
        if key.starts_with(&self.prefix) {
            *key = key.slice(self.prefix.len()..);
        }
    }

    fn body(&self, body: &mut Body) {
        match body {
            Body::Range(body) => body.kvs.iter_mut().for_each(|kv| self.key_value(kv)),
            Body::Put(body) => body.previous.iter_mut().for_each(|kv| self.key_value(kv)),
            Body::Delete(body) => body.previous.iter_mut().for_each(|kv| self.key_value(kv)),
            Body::Txn(body) => body.responses.iter_mut().for_each(|body| self.body(body)),
            Body::Compact => {}
        }
    }

    /// A key without the prefix stays as it is: it should not be in the answer, and a judge shall
    /// say so.
    fn key_value(&self, kv: &mut KeyValue) {
        self.own_key(&mut kv.key);
        kv.create_revision -= self.revisions;
        kv.mod_revision -= self.revisions;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Range, RangeBody, Relation, Response, Txn};

    #[test]
    fn requests_and_answers_are_translated() {
        let rebase = Rebase::new(Bytes::from_static(b"p/"), 41);
        let range = Range {
            key: Bytes::from_static(b"a"),
            range_end: Bytes::from_static(b"\0"),
            revision: 3,
            ..Range::default()
        };
        let request = Request::Txn(Txn {
            compare: vec![Compare {
                key: Bytes::from_static(b"a"),
                range_end: Bytes::new(),
                relation: Relation::Equal,
                operand: Operand::ModRevision(2),
            }],
            then: vec![Request::Range(range)],
            otherwise: Vec::new(),
        });
        let Request::Txn(sent) = rebase.request(&request) else {
            panic!("another request");
        };
        assert_eq!(sent.compare[0].key, "p/a");
        assert_eq!(sent.compare[0].operand, Operand::ModRevision(42));
        let Request::Range(sent) = &sent.then[0] else {
            panic!("another request");
        };
        assert_eq!(
            (&sent.key[..], &sent.range_end[..]),
            (&b"p/a"[..], &b"p0"[..])
        );
        assert_eq!(sent.revision, 43);
        let kv = KeyValue {
            key: Bytes::from_static(b"p/a"),
            mod_revision: 42,
            create_revision: 42,
            ..KeyValue::default()
        };
        let body = Body::Range(RangeBody {
            kvs: vec![kv],
            ..RangeBody::default()
        });
        let answer = Outcome::Ok(Response { revision: 43, body });
        let Outcome::Ok(seen) = rebase.outcome(&request, answer) else {
            panic!("another outcome");
        };
        assert_eq!(seen.revision, 3);
        let Body::Range(body) = seen.body else {
            panic!("another body");
        };
        assert_eq!(
            (&body.kvs[0].key[..], body.kvs[0].mod_revision),
            (&b"a"[..], 2)
        );
    }

    #[test]
    fn watches_are_translated() {
        let rebase = Rebase::new(Bytes::from_static(b"p/"), 41);
        let mut everything = pb::WatchCreateRequest {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            start_revision: 1,
            ..Default::default()
        };
        rebase.watch_request(&mut everything);
        assert_eq!(everything.start_revision, 41);
        assert_eq!(&everything.range_end[..], b"p0");
        let mut from_now_on = pb::WatchCreateRequest::default();
        rebase.watch_request(&mut from_now_on);
        assert_eq!(from_now_on.start_revision, 0);

        let key_value = |create_revision, mod_revision| mvccpb::KeyValue {
            key: Bytes::from_static(b"p/a"),
            create_revision,
            mod_revision,
            ..Default::default()
        };
        let mut response = pb::WatchResponse {
            header: Some(pb::ResponseHeader {
                revision: 44,
                ..Default::default()
            }),
            events: vec![mvccpb::Event {
                kv: Some(key_value(0, 44)),
                prev_kv: Some(key_value(42, 43)),
                ..Default::default()
            }],
            ..Default::default()
        };
        rebase.watch_response(&mut response);
        let revisions = |kv: &Option<mvccpb::KeyValue>| {
            let kv = kv.as_ref().unwrap();
            assert_eq!(kv.key, "a");
            (kv.create_revision, kv.mod_revision)
        };
        assert_eq!(response.header.unwrap().revision, 4);
        assert_eq!(response.compact_revision, 0);
        assert_eq!(revisions(&response.events[0].kv), (0, 4));
        assert_eq!(revisions(&response.events[0].prev_kv), (2, 3));

        // A member that lags behind.
        let mut created = pb::WatchResponse {
            header: Some(pb::ResponseHeader {
                revision: 17,
                ..Default::default()
            }),
            created: true,
            ..Default::default()
        };
        rebase.watch_response(&mut created);
        assert_eq!(created.header.unwrap().revision, 1);
    }

    #[test]
    fn a_comparison_with_a_missing_key_stays_one() {
        let rebase = Rebase::new(Bytes::from_static(b"p/"), 41);
        assert_eq!(rebase.revision(0), 0);
    }
}
