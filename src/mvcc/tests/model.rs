//! The naive model: the list of everything that ever happened, searched from end to end.
//!
//! It shares no code with the state machine but the protocol types and the error names. It never
//! forgets an event; compaction only moves the limit below which it refuses to read.

use super::*;
use crate::api::proto::etcdserverpb::compare::TargetUnion;
use crate::api::proto::etcdserverpb::response_op::Response;
use crate::api::proto::etcdserverpb::{
    DeleteRangeResponse, PutResponse, RangeResponse, ResponseOp,
};
use prost::Message;

#[derive(Clone, Debug)]
pub struct Event {
    pub at: Revision,
    pub key: Bytes,
    /// The value and lease put, or `None` for a deletion.
    pub put: Option<(Bytes, i64)>,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub events: Vec<Event>,
    pub revision: i64,
    pub compact_revision: i64,
    pub leases: Vec<i64>,
}

impl Model {
    pub fn new() -> Model {
        Model {
            events: vec![],
            revision: 1,
            compact_revision: -1,
            leases: vec![],
        }
    }

    /// The pair a read of `key` at `at` finds, computed from the key's whole life.
    pub fn get(&self, key: &[u8], at: i64) -> Option<KeyValue> {
        let mut now: Option<KeyValue> = None;
        for event in self
            .events
            .iter()
            .filter(|e| e.key == key && e.at.main <= at)
        {
            now = event.put.as_ref().map(|(value, lease)| KeyValue {
                key: event.key.clone(),
                create_revision: now.as_ref().map_or(event.at.main, |kv| kv.create_revision),
                mod_revision: event.at.main,
                version: now.as_ref().map_or(1, |kv| kv.version + 1),
                value: value.clone(),
                lease: *lease,
            });
        }
        now
    }

    fn scan(&self, key: &[u8], end: &[u8], at: i64) -> Vec<KeyValue> {
        let mut keys: Vec<&Bytes> = self.events.iter().map(|event| &event.key).collect();
        keys.sort();
        keys.dedup();
        let inside = |k: &&&Bytes| match end {
            b"" => ***k == *key,
            b"\0" => ***k >= *key,
            _ => ***k >= *key && ***k < *end,
        };
        let keys = keys.iter().filter(inside);
        keys.filter_map(|key| self.get(key, at)).collect()
    }

    fn header(revision: i64) -> Option<ResponseHeader> {
        header(revision)
    }

    pub fn range(&self, r: &RangeRequest, current: i64) -> Result<RangeResponse, Error> {
        let at = if r.revision <= 0 { current } else { r.revision };
        if at > current {
            return Err(Error::FutureRevision);
        }
        if at < self.compact_revision {
            return Err(Error::Compacted);
        }
        let mut kvs = self.scan(&r.key, &r.range_end, at);
        let mut response = RangeResponse {
            header: Self::header(current),
            count: kvs.len() as i64,
            ..Default::default()
        };
        if r.count_only {
            return Ok(response);
        }
        let filters = [
            r.min_mod_revision,
            r.max_mod_revision,
            r.min_create_revision,
            r.max_create_revision,
        ];
        // etcd: without an order, a limit cuts before sorting, even by another target than the key.
        if r.sort_order == 0 && filters == [0; 4] && r.limit > 0 {
            kvs.truncate(r.limit as usize + 1);
        }
        kvs.retain(|kv| r.min_mod_revision == 0 || kv.mod_revision >= r.min_mod_revision);
        kvs.retain(|kv| r.max_mod_revision == 0 || kv.mod_revision <= r.max_mod_revision);
        kvs.retain(|kv| r.min_create_revision == 0 || kv.create_revision >= r.min_create_revision);
        kvs.retain(|kv| r.max_create_revision == 0 || kv.create_revision <= r.max_create_revision);
        let descend = r.sort_order == 2;
        match r.sort_target {
            1 => kvs.sort_by_key(|kv| if descend { -kv.version } else { kv.version }),
            2 => kvs.sort_by_key(|kv| kv.create_revision * if descend { -1 } else { 1 }),
            3 => kvs.sort_by_key(|kv| kv.mod_revision * if descend { -1 } else { 1 }),
            4 if descend => kvs.sort_by_key(|kv| std::cmp::Reverse(kv.value.clone())),
            4 => kvs.sort_by_key(|kv| kv.value.clone()),
            _ if descend => kvs.reverse(),
            _ => {}
        }
        if r.limit > 0 && kvs.len() > r.limit as usize {
            kvs.truncate(r.limit as usize);
            response.more = true;
        }
        if r.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        response.kvs = kvs;
        Ok(response)
    }

    /// Records an event in the request whose first event would be at `self.revision + 1`.
    fn write(&mut self, key: Bytes, put: Option<(Bytes, i64)>) {
        let main = self.revision + 1;
        let sub = self
            .events
            .iter()
            .filter(|event| event.at.main == main)
            .count() as i64;
        let at = Revision { main, sub };
        self.events.push(Event { at, key, put });
    }

    /// The revision seen by a reader inside the running request.
    fn inner_revision(&self) -> i64 {
        let wrote = self
            .events
            .last()
            .is_some_and(|event| event.at.main > self.revision);
        self.revision + i64::from(wrote)
    }

    fn put(&mut self, r: &PutRequest) -> Result<PutResponse, Error> {
        if r.lease != 0 && !self.leases.contains(&r.lease) {
            return Err(Error::LeaseNotFound);
        }
        let old = self.get(&r.key, self.revision + 1);
        if old.is_none() && (r.ignore_value || r.ignore_lease) {
            return Err(Error::KeyNotFound);
        }
        let mut value = (r.value.clone(), r.lease);
        if r.ignore_value {
            value.0 = old.clone().unwrap().value;
        }
        if r.ignore_lease {
            value.1 = old.clone().unwrap().lease;
        }
        self.write(r.key.clone(), Some(value));
        Ok(PutResponse {
            header: Self::header(self.revision + 1),
            prev_kv: old.filter(|_| r.prev_kv),
        })
    }

    fn delete(&mut self, r: &DeleteRangeRequest) -> DeleteRangeResponse {
        let old = self.scan(&r.key, &r.range_end, self.revision + 1);
        for kv in &old {
            self.write(kv.key.clone(), None);
        }
        DeleteRangeResponse {
            header: Self::header(self.inner_revision()),
            deleted: old.len() as i64,
            prev_kvs: if r.prev_kv { old } else { vec![] },
        }
    }

    fn holds(&self, c: &Compare) -> bool {
        let kvs = self.scan(&c.key, &c.range_end, self.revision);
        let compare = |kv: &KeyValue| {
            let ordering = match c.target_union.clone().unwrap() {
                TargetUnion::Version(v) => kv.version.cmp(&v),
                TargetUnion::CreateRevision(v) => kv.create_revision.cmp(&v),
                TargetUnion::ModRevision(v) => kv.mod_revision.cmp(&v),
                TargetUnion::Lease(v) => kv.lease.cmp(&v),
                TargetUnion::Value(v) => kv.value.cmp(&v),
            };
            match c.result {
                0 => ordering.is_eq(),
                1 => ordering.is_gt(),
                2 => ordering.is_lt(),
                _ => ordering.is_ne(),
            }
        };
        match (kvs.is_empty(), &c.target_union) {
            (true, Some(TargetUnion::Value(_))) => false,
            (true, _) => compare(&KeyValue::default()),
            (false, _) => kvs.iter().all(compare),
        }
    }

    fn run(&mut self, before: &Model, r: &TxnRequest) -> Result<TxnResponse, Error> {
        let succeeded = r.compare.iter().all(|c| before.holds(c));
        let mut responses = vec![];
        for op in if succeeded { &r.success } else { &r.failure } {
            let response = match op.request.as_ref().unwrap() {
                Request::RequestRange(r) => {
                    if r.revision > before.revision {
                        return Err(Error::FutureRevision);
                    }
                    if r.revision != 0 && r.revision < self.compact_revision {
                        return Err(Error::Compacted);
                    }
                    Response::ResponseRange(self.range(r, self.inner_revision())?)
                }
                Request::RequestPut(r) => Response::ResponsePut(self.put(r)?),
                Request::RequestDeleteRange(r) => Response::ResponseDeleteRange(self.delete(r)),
                Request::RequestTxn(r) => Response::ResponseTxn(self.run(before, r)?),
            };
            responses.push(ResponseOp {
                response: Some(response),
            });
        }
        Ok(TxnResponse {
            header: Self::header(0),
            succeeded,
            responses,
        })
    }

    /// Applies one operation; whatever fails leaves no trace.
    fn atomically<T>(
        &mut self,
        work: impl FnOnce(&mut Model) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let before = self.clone();
        match work(self) {
            Ok(response) => {
                self.revision = self.inner_revision();
                Ok(response)
            }
            Err(error) => {
                *self = before;
                Err(error)
            }
        }
    }

    pub fn apply_put(&mut self, r: &PutRequest) -> Result<PutResponse, Error> {
        self.atomically(|model| model.put(r))
    }

    pub fn apply_delete(&mut self, r: &DeleteRangeRequest) -> DeleteRangeResponse {
        self.atomically(|model| Ok(model.delete(r))).unwrap()
    }

    pub fn apply_txn(&mut self, r: &TxnRequest) -> Result<TxnResponse, Error> {
        let before = self.clone();
        let mut response = self.atomically(|model| model.run(&before, r))?;
        response.header = Self::header(self.revision);
        Ok(response)
    }

    pub fn compact(&mut self, revision: i64) -> Result<(), Error> {
        if revision <= self.compact_revision {
            return Err(Error::Compacted);
        }
        if revision > self.revision {
            return Err(Error::FutureRevision);
        }
        self.compact_revision = revision;
        Ok(())
    }

    /// The records a finished compaction leaves.
    pub fn names(&self) -> Vec<RevisionKey> {
        let limit = self.compact_revision;
        let stays = |event: &&Event| {
            let newer = |other: &Event| {
                other.key == event.key && other.at > event.at && other.at.main <= limit
            };
            event.at.main > limit
                || (!self.events.iter().any(newer)
                    && (event.put.is_some() || event.at.main == limit))
        };
        let name = |event: &Event| RevisionKey {
            revision: event.at,
            tombstone: event.put.is_none(),
        };
        self.events.iter().filter(stays).map(name).collect()
    }

    /// The hash by its definition, over all events.
    pub fn hash(&self, revision: i64) -> u32 {
        let mut text = b"key".to_vec();
        for (position, event) in self.events.iter().enumerate() {
            let superseded = self.events[position + 1..]
                .iter()
                .any(|later| later.key == event.key && later.at.main <= revision);
            let old = event.at.main <= self.compact_revision;
            if event.at.main > revision || old && (superseded || event.put.is_none()) {
                continue;
            }
            let mut kv = KeyValue {
                key: event.key.clone(),
                ..Default::default()
            };
            text.extend(event.at.main.to_be_bytes());
            text.push(b'_');
            text.extend(event.at.sub.to_be_bytes());
            match &event.put {
                None => text.push(b't'),
                Some(_) => {
                    let mut upto = self.clone();
                    upto.events.truncate(position + 1);
                    kv = upto.get(&event.key, event.at.main).unwrap();
                }
            }
            text.extend(kv.encode_to_vec());
        }
        crc32c::crc32c(&text)
    }
}
