//! Writing keys: puts and deletes, alone or as parts of a transaction.

use std::sync::Arc;

use bytes::Bytes;

use super::{Error, Record, Revision, State, header};
use crate::api::proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
};
use crate::api::proto::mvccpb::KeyValue;

impl State {
    /// Writes a key.
    ///
    /// # Errors
    /// `LeaseNotFound`; `KeyNotFound` when `ignore_value` or `ignore_lease` meets no key.
    pub fn put(&mut self, request: &PutRequest) -> Result<PutResponse, Error> {
        self.check_lease(request)?;
        if needs_previous(request) && self.get_at(&request.key, self.revision).is_none() {
            return Err(Error::KeyNotFound);
        }
        let mut writer = Writer::new(self);
        let response = writer.put(request);
        writer.finish();
        Ok(response)
    }

    /// Deletes the keys of a range. A range that holds none changes nothing.
    pub fn delete_range(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let mut writer = Writer::new(self);
        let response = writer.delete_range(request);
        writer.finish();
        response
    }

    pub(super) fn check_lease(&self, request: &PutRequest) -> Result<(), Error> {
        if request.lease != 0 && !self.leases().contains(request.lease) {
            return Err(Error::LeaseNotFound);
        }
        Ok(())
    }
}

/// Whether a put takes something over from the key's present version, so that there must be one.
pub(super) fn needs_previous(request: &PutRequest) -> bool {
    request.ignore_value || request.ignore_lease
}

/// The writes of one request: they share a main revision and see each other.
pub(super) struct Writer<'a> {
    state: &'a mut State,
    /// The main revision that the writes get.
    next_revision: i64,
    /// How many records were written.
    written: i64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(state: &'a mut State) -> Writer<'a> {
        let next_revision = state.revision + 1;
        Writer {
            state,
            next_revision,
            written: 0,
        }
    }

    /// The state, including what was written so far.
    pub(super) fn state(&self) -> &State {
        self.state
    }

    /// The revision a reader among the writes sees: the new one as soon as something was written.
    pub(super) fn revision(&self) -> i64 {
        self.next_revision - i64::from(self.written == 0)
    }

    /// Writes a key; the request has passed every check.
    pub(super) fn put(&mut self, request: &PutRequest) -> PutResponse {
        let history = self.state.keys.get(&request.key);
        let previous = history.and_then(|history| history.visible_at(self.next_revision));
        assert!(
            previous.is_some() || !needs_previous(request),
            "a put that keeps a value or lease was let through without a previous version"
        );
        // One copy of each key is kept, and none of the request's buffer, which may be far larger.
        let key = match history.and_then(|history| history.newest()) {
            Some(newest) => newest.kv.key.clone(),
            None => Bytes::copy_from_slice(&request.key),
        };
        let previous = previous.map(|record| &record.kv);
        let kv = KeyValue {
            key,
            create_revision: previous.map_or(self.next_revision, |kv| kv.create_revision),
            mod_revision: self.next_revision,
            version: previous.map_or(0, |kv| kv.version) + 1,
            value: match previous {
                Some(kv) if request.ignore_value => kv.value.clone(),
                _ => Bytes::copy_from_slice(&request.value),
            },
            lease: match previous {
                Some(kv) if request.ignore_lease => kv.lease,
                _ => request.lease,
            },
        };
        let prev_kv = previous.filter(|_| request.prev_kv).cloned();
        self.append(kv, false);
        PutResponse {
            header: header(self.next_revision),
            prev_kv,
        }
    }

    /// Deletes the keys of a range, in key order.
    pub(super) fn delete_range(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let doomed: Vec<KeyValue> = self
            .state
            .visible(&request.key, &request.range_end, self.next_revision)
            .map(|record| record.kv.clone())
            .collect();
        for kv in &doomed {
            let tombstone = KeyValue {
                key: kv.key.clone(),
                mod_revision: self.next_revision,
                ..Default::default()
            };
            self.append(tombstone, true);
        }
        DeleteRangeResponse {
            header: header(self.revision()),
            deleted: i64::try_from(doomed.len()).unwrap_or(i64::MAX),
            prev_kvs: if request.prev_kv { doomed } else { Vec::new() },
        }
    }

    fn append(&mut self, kv: KeyValue, tombstone: bool) {
        let revision = Revision {
            main: self.next_revision,
            sub: self.written,
        };
        self.state.append(Arc::new(Record {
            revision,
            tombstone,
            kv,
        }));
        self.written += 1;
    }

    /// Ends the writes; returns the store's revision, which is new if anything was written.
    pub(super) fn finish(self) -> i64 {
        self.state.revision = self.revision();
        self.state.revision
    }
}
