//! Errors as gRPC statuses with etcd's own codes and texts, which clients match on.

use tonic::{Code, Status};

use crate::auth;
use crate::mvcc;
use crate::server::{Refusal, RequestError};

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Status {
        match error {
            RequestError::Store(error) => store_status(&error),
            RequestError::Refused(refusal) => refusal.into(),
            RequestError::Auth(error) => auth_status(error),
            RequestError::TooLarge => Status::new(Code::InvalidArgument, error.to_string()),
            RequestError::TooManyRequests => {
                Status::new(Code::ResourceExhausted, error.to_string())
            }
            RequestError::Timeout | RequestError::Stopped => {
                Status::new(Code::Unavailable, error.to_string())
            }
        }
    }
}

/// The status for an error inside a lock or an election. etcd's services for these call etcd like a
/// client does and lose the code of a refusal on the way: only its text remains.
pub fn recipe_status(error: RequestError) -> Status {
    match error {
        RequestError::Store(error) => Status::unknown(error.message()),
        error => error.into(),
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        let code = match refusal {
            Refusal::MemberNotFound => Code::NotFound,
            Refusal::BadUrls | Refusal::DowngradeFormat | Refusal::DowngradeTarget => {
                Code::InvalidArgument
            }
            Refusal::Unhealthy | Refusal::ChangePending => Code::Unavailable,
            Refusal::NoSpace => Code::ResourceExhausted,
            Refusal::Corrupt => Code::DataLoss,
            // Codes that etcd does not map.
            Refusal::TransferTimeout | Refusal::UnknownMethod => Code::Unknown,
            Refusal::MemberExists
            | Refusal::PeerUrlExists
            | Refusal::TooManyLearners
            | Refusal::NotLearner
            | Refusal::LearnerNotReady
            | Refusal::NotEnoughStarted
            | Refusal::NotLeader
            | Refusal::BadTransferee
            | Refusal::LearnerRefuses
            | Refusal::NoDowngrade => Code::FailedPrecondition,
        };
        Status::new(code, refusal.to_string())
    }
}

/// The status for an error of the store.
pub fn store_status(error: &mvcc::Error) -> Status {
    let code = match error.code() {
        mvcc::Code::InvalidArgument => Code::InvalidArgument,
        mvcc::Code::NotFound => Code::NotFound,
        mvcc::Code::FailedPrecondition => Code::FailedPrecondition,
        mvcc::Code::OutOfRange => Code::OutOfRange,
    };
    Status::new(code, error.message())
}

/// The status for a refusal of authentication or permission.
pub fn auth_status(error: auth::Error) -> Status {
    let code = match error.code() {
        auth::Code::InvalidArgument => Code::InvalidArgument,
        auth::Code::PermissionDenied => Code::PermissionDenied,
        auth::Code::FailedPrecondition => Code::FailedPrecondition,
        auth::Code::Unauthenticated => Code::Unauthenticated,
    };
    Status::new(code, error.to_string())
}
