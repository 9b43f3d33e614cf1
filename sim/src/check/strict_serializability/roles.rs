//! What an operation's answer says about its place.

use crate::history::{Body, Failure, FailureClass, Operation, Outcome, Request};

/// The place of one operation.
pub(super) enum Role {
    Writer(i64),
    Reader(i64),
    Compaction(i64),
    Compacted(i64),
    Future(i64),
    UnknownWrite,
    UnknownCompaction(i64),
    Serializable,
    Failure,
    /// Got an answer of another kind, or was told something about a revision that it did not name.
    Nonsense,
    Nothing,
}

pub(super) fn role(operation: &Operation, with_serializable: bool) -> Role {
    let serializable = operation.request.is_serializable();
    match (&operation.outcome, &operation.request) {
        (Outcome::Unknown(_), Request::Compact(compact)) if compact.revision > 0 => {
            Role::UnknownCompaction(compact.revision)
        }
        (Outcome::Unknown(_), request) if request.may_write() => Role::UnknownWrite,
        (Outcome::Unknown(_), _) => Role::Nothing,
        (Outcome::Ok(response), Request::Compact(compact)) if compact.revision > 0 => {
            match response.body {
                Body::Compact => Role::Compaction(compact.revision),
                _ => Role::Nonsense,
            }
        }
        (Outcome::Ok(_), Request::Compact(_)) => Role::Failure,
        (Outcome::Ok(_), _) if serializable && !with_serializable => Role::Serializable,
        (Outcome::Ok(response), _) if response.body.is_effect() => Role::Writer(response.revision),
        (Outcome::Ok(response), _) => Role::Reader(response.revision),
        (Outcome::Failed(_), _) if serializable => Role::Serializable,
        (Outcome::Failed(failure), request) => failed(failure, request),
    }
}

/// What a refusal says about the state, if anything.
fn failed(failure: &Failure, request: &Request) -> Role {
    if ![FailureClass::Compacted, FailureClass::FutureRevision].contains(&failure.class) {
        return Role::Failure;
    }
    let asked = revisions_asked(request);
    let (oldest, newest) = match (asked.iter().min(), asked.iter().max()) {
        _ if names_no_possible_revision(request) => return Role::Failure,
        (Some(oldest), Some(newest)) => (*oldest, *newest),
        _ => return Role::Nonsense,
    };
    let compaction = matches!(request, Request::Compact(_));
    match failure.class {
        FailureClass::Compacted if compaction => Role::Compacted(oldest),
        FailureClass::Compacted => Role::Compacted(oldest + 1),
        _ => Role::Future(newest),
    }
}

/// Whether a request names a revision that no store can have; how it is refused is not judged.
fn names_no_possible_revision(request: &Request) -> bool {
    match request {
        Request::Range(range) => range.revision < 0,
        Request::Compact(compact) => compact.revision <= 0,
        Request::Txn(txn) => txn
            .then
            .iter()
            .chain(&txn.otherwise)
            .any(names_no_possible_revision),
        Request::Put(_) | Request::Delete(_) => false,
    }
}

/// The explicit revisions that a request names.
pub(super) fn revisions_asked(request: &Request) -> Vec<i64> {
    match request {
        Request::Range(range) if range.revision > 0 => vec![range.revision],
        Request::Compact(compact) if compact.revision > 0 => vec![compact.revision],
        Request::Txn(txn) => txn
            .then
            .iter()
            .chain(&txn.otherwise)
            .flat_map(revisions_asked)
            .collect(),
        _ => Vec::new(),
    }
}

/// The number of puts in a request that attach a key to a lease.
pub(super) fn lease_puts(request: &Request) -> usize {
    match request {
        Request::Put(put) => usize::from(put.lease != 0),
        Request::Txn(txn) => txn.then.iter().chain(&txn.otherwise).map(lease_puts).sum(),
        _ => 0,
    }
}

/// A serializable read shows the past: it was true at some time before it was invoked, too.
pub(super) fn called(operation: &Operation) -> u64 {
    if operation.request.is_serializable() {
        0
    } else {
        operation.invoked
    }
}

/// When an operation has taken effect at the latest.
pub(super) fn returned(operation: &Operation) -> u64 {
    match operation.outcome {
        Outcome::Unknown(_) => u64::MAX,
        _ => operation.returned.unwrap_or(u64::MAX),
    }
}
