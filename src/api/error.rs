//! Errors as gRPC statuses with etcd's own codes and texts, which clients match on.

use tonic::{Code, Status};

use crate::auth;
use crate::mvcc;
use crate::server::RequestError;

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Status {
        match error {
            RequestError::Store(error) => store_status(&error),
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

/// The status for an error of the store.
pub fn store_status(error: &mvcc::Error) -> Status {
    let code = match error.code() {
        mvcc::Code::InvalidArgument => Code::InvalidArgument,
        mvcc::Code::NotFound => Code::NotFound,
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

/// The status for what vetcd does not do yet.
pub fn unimplemented(what: &str) -> Status {
    Status::unimplemented(format!("vetcd does not implement {what} yet"))
}
