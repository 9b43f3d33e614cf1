//! Which keys a request looks at or changes.

use super::KeyRanges;
use crate::api::proto::etcdserverpb::TxnRequest;
use crate::api::proto::etcdserverpb::request_op::Request;

impl KeyRanges {
    /// Adds the keys that a request means by `key` and `range_end`.
    pub(crate) fn insert_request(&mut self, key: &[u8], range_end: &[u8]) {
        match range_end {
            b"" => self.insert_key(key),
            b"\0" => self.insert(key, None),
            end => self.insert(key, Some(end.to_vec())),
        }
    }

    /// Adds every key that a transaction may look at or change, whichever way its comparisons go.
    pub(crate) fn insert_txn(&mut self, txn: &TxnRequest) {
        for compare in &txn.compare {
            self.insert_request(&compare.key, &compare.range_end);
        }
        for operation in txn.success.iter().chain(&txn.failure) {
            match &operation.request {
                Some(Request::RequestRange(range)) => {
                    self.insert_request(&range.key, &range.range_end);
                }
                Some(Request::RequestPut(put)) => self.insert_key(&put.key),
                Some(Request::RequestDeleteRange(delete)) => {
                    self.insert_request(&delete.key, &delete.range_end);
                }
                Some(Request::RequestTxn(txn)) => self.insert_txn(txn),
                None => {}
            }
        }
    }
}
