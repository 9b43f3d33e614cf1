//! What a request must satisfy before it is proposed: the checks of etcd's API layer.
//!
//! Pure functions of the request; whether keys, leases and revisions exist is checked when the
//! request is applied. The same request is refused with the same error as by etcd, including the
//! corners where etcd is lenient (see [`check_txn`]).

use std::collections::BTreeSet;

use super::Error;
use super::key_ranges::KeyRanges;
use crate::api::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::api::proto::etcdserverpb::request_op::Request;
use crate::api::proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

/// etcd's default for the most operations in one transaction.
pub const DEFAULT_MAX_TXN_OPS: usize = 128;

/// Checks a range request.
///
/// # Errors
/// `EmptyKey`, `InvalidSortOption`.
pub fn check_range(request: &RangeRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    sort_options(request).map(|_| ())
}

/// The request's sort target and order.
pub(super) fn sort_options(request: &RangeRequest) -> Result<(SortTarget, SortOrder), Error> {
    let target = SortTarget::try_from(request.sort_target);
    let order = SortOrder::try_from(request.sort_order);
    match (target, order) {
        (Ok(target), Ok(order)) => Ok((target, order)),
        _ => Err(Error::InvalidSortOption),
    }
}

/// Checks a put request.
///
/// # Errors
/// `EmptyKey`, `ValueProvided`, `LeaseProvided`.
pub fn check_put(request: &PutRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Error::LeaseProvided);
    }
    Ok(())
}

/// Checks a delete request.
///
/// # Errors
/// `EmptyKey`.
pub fn check_delete_range(request: &DeleteRangeRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    Ok(())
}

/// Checks a transaction and everything nested in it.
///
/// A level counts the longest of its three lists; a nested transaction may use what its parents
/// left of `max_txn_ops`. No key may be put twice, or put and deleted, on a path that can be taken
/// whole: then and else of one nested transaction may put the same key.
///
/// Lenient as etcd is (tried on 3.5.1): the open end `"\0"` of a delete is taken literally, hence
/// as an empty range; and a nested put followed by a delete in a *later* nested transaction of the
/// same level passes, while the other order does not.
///
/// # Errors
/// `TooManyOperations`, `DuplicateKey`, `KeyNotFound` for an empty operation, and the errors of
/// the operations inside.
pub fn check_txn(request: &TxnRequest, max_txn_ops: usize) -> Result<(), Error> {
    check_operations(request, max_txn_ops)?;
    // After the operation count, so that the work below is bounded.
    check_duplicates(&request.success)?;
    check_duplicates(&request.failure)?;
    Ok(())
}

fn check_operations(request: &TxnRequest, max_txn_ops: usize) -> Result<(), Error> {
    let lists = [
        request.compare.len(),
        request.success.len(),
        request.failure.len(),
    ];
    let used = lists.into_iter().max().unwrap_or(0);
    let Some(left) = max_txn_ops.checked_sub(used) else {
        return Err(Error::TooManyOperations);
    };
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Error::EmptyKey);
    }
    for operation in request.success.iter().chain(&request.failure) {
        match &operation.request {
            Some(Request::RequestRange(range)) => check_range(range)?,
            Some(Request::RequestPut(put)) => check_put(put)?,
            Some(Request::RequestDeleteRange(delete)) => check_delete_range(delete)?,
            Some(Request::RequestTxn(txn)) => check_operations(txn, left)?,
            None => return Err(Error::KeyNotFound),
        }
    }
    Ok(())
}

/// What a list of operations writes.
type Writes<'a> = (BTreeSet<&'a [u8]>, KeyRanges);

/// Refuses a list of operations that writes a key twice; otherwise says what it writes.
fn check_duplicates(operations: &[RequestOp]) -> Result<Writes<'_>, Error> {
    let mut deleted = KeyRanges::default();
    for operation in operations {
        if let Some(Request::RequestDeleteRange(delete)) = &operation.request {
            if delete.range_end.is_empty() {
                deleted.insert_key(&delete.key);
            } else {
                deleted.insert(&delete.key, Some(delete.range_end.to_vec()));
            }
        }
    }
    let mut put: BTreeSet<&[u8]> = BTreeSet::new();
    for operation in operations {
        if let Some(Request::RequestTxn(txn)) = &operation.request {
            let (put_then, deleted_then) = check_duplicates(&txn.success)?;
            let (put_else, deleted_else) = check_duplicates(&txn.failure)?;
            let twice = |key: &&[u8]| put.contains(key) || deleted.contains(key);
            if put_then.iter().any(twice) || put_else.iter().any(twice) {
                return Err(Error::DuplicateKey);
            }
            put.extend(put_then);
            put.extend(put_else);
            deleted.extend(deleted_then);
            deleted.extend(deleted_else);
        }
    }
    for operation in operations {
        if let Some(Request::RequestPut(request)) = &operation.request {
            let key: &[u8] = &request.key;
            if deleted.contains(key) || !put.insert(key) {
                return Err(Error::DuplicateKey);
            }
        }
    }
    Ok((put, deleted))
}
