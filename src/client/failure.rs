//! What the failure of a call means: that it had no effect, or that nobody knows.
//!
//! Calling a write failed that did take effect makes a checker report a violation that is none;
//! calling it unknown only costs the checker strength. So the table below is short, and everything
//! that is not in it is unknown.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};

use super::channel::TransportError;

/// What is known about a call that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureClass {
    /// The request never left this client: it has no effect and never will.
    NotSent,
    /// The server refused the request: it has no effect and never will.
    Rejected,
    /// The request may have taken effect, or may still do so, or never.
    Unknown,
}

/// A call that did not succeed.
#[derive(Clone, Debug)]
pub struct CallError {
    /// What is known about its effect.
    pub class: FailureClass,
    /// The server's answer, or this client's own account with the code `Unavailable` or
    /// `DeadlineExceeded`.
    pub status: Box<Status>,
}

impl CallError {
    /// Whether the call certainly had no effect.
    pub fn is_definite(&self) -> bool {
        self.class != FailureClass::Unknown
    }

    pub(super) fn not_sent(message: String) -> CallError {
        CallError {
            class: FailureClass::NotSent,
            status: Box::new(Status::unavailable(message)),
        }
    }

    pub(super) fn timed_out(limit: Duration) -> CallError {
        CallError {
            class: FailureClass::Unknown,
            status: Box::new(Status::deadline_exceeded(format!(
                "no answer within {limit:?}"
            ))),
        }
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> CallError {
        CallError {
            class: classify(&status),
            status: Box::new(status),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.class {
            FailureClass::NotSent => "not sent",
            FailureClass::Rejected => "rejected",
            FailureClass::Unknown => "outcome unknown",
        };
        let message = self.status.message();
        write!(f, "{class}: {message} ({:?})", self.status.code())
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.status)
    }
}

/// The start of every message that an etcd server, and vetcd's, puts into an error of its own.
/// Statuses made by gRPC libraries, this client's included, do not have it.
const SERVER_PREFIX: &str = "etcdserver: ";

/// Whether the token that came with the call is no longer good, and a new one may help.
pub(super) fn wants_new_token(status: &Status) -> bool {
    matches!(
        status.message(),
        "etcdserver: invalid auth token" | "etcdserver: revision of auth store is old"
    )
}

/// Whether a login failed because none is needed.
pub(super) fn is_auth_off(status: &Status) -> bool {
    status.message() == "etcdserver: authentication is not enabled"
}

/// What the failure `status` of a write says about its effect.
pub fn classify(status: &Status) -> FailureClass {
    if never_sent(status) {
        FailureClass::NotSent
    } else if refused(status.code(), status.message()) {
        FailureClass::Rejected
    } else {
        FailureClass::Unknown
    }
}

fn never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(TransportError::NotSent { .. }) = error.downcast_ref() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether the server refused the request before it changed anything.
fn refused(code: Code, message: &str) -> bool {
    let Some(reason) = message.strip_prefix(SERVER_PREFIX) else {
        // The server does not know the method: gRPC libraries answer with no message, or with one
        // of these two. An `Unimplemented` with another message may be about the response.
        return code == Code::Unimplemented
            && (message.is_empty()
                || message.starts_with("unknown service ")
                || message.starts_with("unknown method "));
    };
    match code {
        // Found when the request was checked, or when it was applied, before its first change.
        Code::InvalidArgument
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => true,
        // Answered before the request is proposed. The other message of this code, that the
        // database space is exceeded, also comes with a write that did take effect.
        Code::ResourceExhausted => reason == "too many requests",
        // Likewise; every other unavailability may come after the request was proposed.
        Code::Unavailable => reason == "no leader",
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::Aborted
        | Code::Internal
        | Code::DataLoss => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_table() {
        use Code::*;
        use FailureClass::{Rejected, Unknown as Unclear};
        let table = [
            (InvalidArgument, "etcdserver: key is not provided", Rejected),
            (
                InvalidArgument,
                "etcdserver: duplicate key given in txn request",
                Rejected,
            ),
            (NotFound, "etcdserver: requested lease not found", Rejected),
            (FailedPrecondition, "etcdserver: not leader", Rejected),
            (
                OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                Rejected,
            ),
            (PermissionDenied, "etcdserver: permission denied", Rejected),
            (Unauthenticated, "etcdserver: invalid auth token", Rejected),
            (Unimplemented, "", Rejected),
            (
                Unimplemented,
                "unknown service etcdserverpb.Lease",
                Rejected,
            ),
            (ResourceExhausted, "etcdserver: too many requests", Rejected),
            (Unavailable, "etcdserver: no leader", Rejected),
            // A write over the quota is applied and still answered so.
            (
                ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                Unclear,
            ),
            (Unavailable, "etcdserver: leader changed", Unclear),
            (Unavailable, "etcdserver: request timed out", Unclear),
            (Unavailable, "etcdserver: server stopped", Unclear),
            (Unavailable, "etcdserver: no leader, maybe", Unclear),
            (DataLoss, "etcdserver: corrupt cluster", Unclear),
            // What this client's gRPC library says about a response it cannot read.
            (
                OutOfRange,
                "Error, decoded message length too large: found 9 bytes",
                Unclear,
            ),
            (
                Unimplemented,
                "Content is compressed with `gzip` which isn't supported",
                Unclear,
            ),
            (Internal, "h2 protocol error: error reading a body", Unclear),
            (Cancelled, "operation was canceled", Unclear),
            (Unknown, "", Unclear),
            (DeadlineExceeded, "etcdserver: request timed out", Unclear),
        ];
        for (code, message, class) in table {
            assert_eq!(
                classify(&Status::new(code, message)),
                class,
                "{code:?} {message}"
            );
        }
    }

    #[test]
    fn a_transport_error_is_found_below_the_status() {
        let mut status = Status::unavailable("gone");
        assert_eq!(classify(&status), FailureClass::Unknown);
        status.set_source(Arc::new(TransportError::NotSent {
            endpoint: "a:1".into(),
        }));
        assert_eq!(classify(&status), FailureClass::NotSent);
    }
}
