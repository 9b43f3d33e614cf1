//! Transactions: comparisons on the state before, then one branch of operations, whole or not at
//! all.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::check::sort_options;
use super::key_ranges::KeyRanges;
use super::write::{Writer, needs_previous};
use super::{Error, State, header};
use crate::api::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::api::proto::etcdserverpb::request_op::Request;
use crate::api::proto::etcdserverpb::response_op::Response;
use crate::api::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, ResponseHeader, ResponseOp, TxnRequest,
    TxnResponse,
};
use crate::api::proto::mvccpb::KeyValue;
use crate::defects::Defects;

/// Whether a transaction needs no log entry: both its branches hold ranges alone. As in etcd, a
/// nested transaction makes it a write, whatever it holds.
pub fn is_read_only(request: &TxnRequest) -> bool {
    let mut operations = request.success.iter().chain(&request.failure);
    operations.all(|operation| matches!(operation.request, Some(Request::RequestRange(_))))
}

impl State {
    /// Applies a transaction: every comparison, nested ones included, on the state before; then
    /// every check; then the operations in order, each seeing what the earlier ones wrote. All
    /// writes share one revision; without writes the revision stays.
    ///
    /// # Errors
    /// `Compacted`, `FutureRevision`, `InvalidSortOption`, `LeaseNotFound`, `KeyNotFound` of an
    /// operation on the taken path. The state is then unchanged.
    pub fn txn(&mut self, request: &TxnRequest, defects: &Defects) -> Result<TxnResponse, Error> {
        let branch = Branch::decide(self, request);
        Check::new(self).branch(&branch)?;
        if crate::defect!(defects, HalfTransaction) {
            let response = self.clone().execute(&branch);
            self.execute(&branch.first_half());
            return Ok(response);
        }
        Ok(self.execute(&branch))
    }

    /// Evaluates a transaction for which [`is_read_only`] holds.
    ///
    /// # Errors
    /// As [`State::txn`].
    pub fn read_only_txn(&self, request: &TxnRequest) -> Result<TxnResponse, Error> {
        assert!(
            is_read_only(request),
            "a transaction that may write must go through the log"
        );
        self.clone().txn(request, &Defects::default())
    }

    fn execute(&mut self, branch: &Branch<'_>) -> TxnResponse {
        let mut writer = Writer::new(self);
        let mut response = execute(&mut writer, branch);
        response.header = header(writer.finish());
        response
    }
}

/// A transaction whose comparisons are decided.
struct Branch<'a> {
    succeeded: bool,
    steps: Vec<Step<'a>>,
}

enum Step<'a> {
    Range(&'a RangeRequest),
    Put(&'a PutRequest),
    DeleteRange(&'a DeleteRangeRequest),
    Txn(Branch<'a>),
    /// An operation without content; the API layer refuses it, the log might still hold one.
    Nothing,
}

impl<'a> Branch<'a> {
    fn decide(state: &State, request: &'a TxnRequest) -> Branch<'a> {
        let mut compares = request.compare.iter();
        let succeeded = compares.all(|compare| holds(state, compare));
        let operations = if succeeded {
            &request.success
        } else {
            &request.failure
        };
        let steps = operations
            .iter()
            .map(|operation| match &operation.request {
                Some(Request::RequestRange(range)) => Step::Range(range),
                Some(Request::RequestPut(put)) => Step::Put(put),
                Some(Request::RequestDeleteRange(delete)) => Step::DeleteRange(delete),
                Some(Request::RequestTxn(txn)) => Step::Txn(Branch::decide(state, txn)),
                None => Step::Nothing,
            })
            .collect();
        Branch { succeeded, steps }
    }

    /// The defect `HalfTransaction`: the later half of the operations is forgotten.
    fn first_half(mut self) -> Branch<'a> {
        self.steps.truncate(self.steps.len().div_ceil(2));
        self
    }
}

/// Whether a comparison holds. With a range it must hold for every key in it; a key that does not
/// exist, or a range without keys, compares as all zeros, and never by value.
fn holds(state: &State, compare: &Compare) -> bool {
    let mut visible = state
        .visible(&compare.key, &compare.range_end, state.revision)
        .peekable();
    if visible.peek().is_none() {
        let by_value = compare.target == CompareTarget::Value as i32;
        return !by_value && holds_for(compare, &KeyValue::default());
    }
    visible.all(|record| holds_for(compare, &record.kv))
}

/// Compares one pair. As in etcd, a target that is unknown compares as equal, a result that is
/// unknown always holds, and an operand of another kind than the target counts as zero.
fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    let operand = compare.target_union.as_ref();
    let number = |value: i64, operand: Option<&i64>| value.cmp(operand.unwrap_or(&0));
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => number(
            kv.version,
            match operand {
                Some(TargetUnion::Version(version)) => Some(version),
                _ => None,
            },
        ),
        Ok(CompareTarget::Create) => number(
            kv.create_revision,
            match operand {
                Some(TargetUnion::CreateRevision(revision)) => Some(revision),
                _ => None,
            },
        ),
        Ok(CompareTarget::Mod) => number(
            kv.mod_revision,
            match operand {
                Some(TargetUnion::ModRevision(revision)) => Some(revision),
                _ => None,
            },
        ),
        Ok(CompareTarget::Lease) => number(
            kv.lease,
            match operand {
                Some(TargetUnion::Lease(lease)) => Some(lease),
                _ => None,
            },
        ),
        Ok(CompareTarget::Value) => match operand {
            Some(TargetUnion::Value(value)) => kv.value.cmp(value),
            _ => kv.value[..].cmp(&[]),
        },
        Err(_) => std::cmp::Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}

/// Finds whatever would make an operation fail, before any of them runs.
///
/// It follows which keys exist as the operations go: etcd 3.5.1 looks at the state before alone,
/// and a transaction that deletes a key and then keeps its value (`ignore_value`) takes the whole
/// cluster down. Here it is refused with `KeyNotFound`.
struct Check<'a> {
    state: &'a State,
    deleted: KeyRanges,
    /// Keys put since they were deleted.
    put: BTreeSet<&'a [u8]>,
}

impl<'a> Check<'a> {
    fn new(state: &'a State) -> Check<'a> {
        Check {
            state,
            deleted: KeyRanges::default(),
            put: BTreeSet::new(),
        }
    }

    fn branch(&mut self, branch: &Branch<'a>) -> Result<(), Error> {
        for step in &branch.steps {
            match step {
                Step::Range(range) => self.range(range)?,
                Step::Put(put) => self.put(put)?,
                Step::DeleteRange(delete) => self.delete(delete),
                Step::Txn(nested) => self.branch(nested)?,
                Step::Nothing => {}
            }
        }
        Ok(())
    }

    /// Unlike outside a transaction, a negative revision is not the newest but compacted, once it
    /// is below the compaction revision (#13871).
    fn range(&self, request: &RangeRequest) -> Result<(), Error> {
        sort_options(request)?;
        if request.revision == 0 {
            return Ok(());
        }
        if request.revision > self.state.revision {
            return Err(Error::FutureRevision);
        }
        if request.revision < self.state.compact_revision {
            return Err(Error::Compacted);
        }
        Ok(())
    }

    fn put(&mut self, request: &'a PutRequest) -> Result<(), Error> {
        self.state.check_lease(request)?;
        if needs_previous(request) && !self.exists(&request.key) {
            return Err(Error::KeyNotFound);
        }
        self.put.insert(&request.key);
        Ok(())
    }

    fn exists(&self, key: &[u8]) -> bool {
        if self.put.contains(key) {
            return true;
        }
        let before = self.state.get_at(key, self.state.revision);
        before.is_some() && !self.deleted.contains(key)
    }

    fn delete(&mut self, request: &'a DeleteRangeRequest) {
        let key: &[u8] = &request.key;
        let end: &[u8] = &request.range_end;
        if end.is_empty() {
            self.put.remove(key);
            self.deleted.insert_key(key);
            return;
        }
        let open = end == b"\0";
        if !open && end <= key {
            return;
        }
        let upper = if open {
            Bound::Unbounded
        } else {
            Bound::Excluded(end)
        };
        let inside = (Bound::Included(key), upper);
        let forgotten: Vec<&[u8]> = self.put.range::<[u8], _>(inside).copied().collect();
        for key in forgotten {
            self.put.remove(key);
        }
        self.deleted.insert(key, (!open).then(|| end.to_vec()));
    }
}

/// Runs the operations of a checked branch. The responses inside carry a revision each, nested
/// transactions an empty header, as etcd's do; the caller sets the outermost header.
fn execute(writer: &mut Writer<'_>, branch: &Branch<'_>) -> TxnResponse {
    let mut responses = Vec::with_capacity(branch.steps.len());
    for step in &branch.steps {
        let response = match step {
            Step::Range(range) => {
                let response = writer.state().range_at(range, writer.revision());
                let response =
                    response.expect("a range in a transaction is checked before the first write");
                Some(Response::ResponseRange(response))
            }
            Step::Put(put) => Some(Response::ResponsePut(writer.put(put))),
            Step::DeleteRange(delete) => {
                Some(Response::ResponseDeleteRange(writer.delete_range(delete)))
            }
            Step::Txn(nested) => Some(Response::ResponseTxn(execute(writer, nested))),
            Step::Nothing => None,
        };
        responses.push(ResponseOp { response });
    }
    TxnResponse {
        header: Some(ResponseHeader::default()),
        succeeded: branch.succeeded,
        responses,
    }
}
