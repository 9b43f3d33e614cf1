//! Why a request is refused, in etcd's own words: clients compare the texts.

/// A refusal. Each variant is one of etcd's errors; its text is what etcd's clients match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub enum Error {
    /// A request or a comparison names no key.
    EmptyKey,
    /// `ignore_value` or `ignore_lease` on a key that does not exist, or a transaction's operation
    /// is empty.
    KeyNotFound,
    /// A value together with `ignore_value`.
    ValueProvided,
    /// A lease together with `ignore_lease`.
    LeaseProvided,
    /// More operations in a transaction than allowed.
    TooManyOperations,
    /// A transaction writes one key twice.
    DuplicateKey,
    /// A sort order or target that does not exist.
    InvalidSortOption,
    /// The revision asked for is compacted.
    Compacted,
    /// The revision asked for has not happened.
    FutureRevision,
    /// The lease to attach or revoke does not exist.
    LeaseNotFound,
    /// The lease to grant exists.
    LeaseExists,
    /// A lease's TTL above [`crate::lease::TTL_MAX`].
    LeaseTtlTooLarge,
}

/// The gRPC status codes that [`Error`] maps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// gRPC code 3.
    InvalidArgument,
    /// gRPC code 5.
    NotFound,
    /// gRPC code 9.
    FailedPrecondition,
    /// gRPC code 11.
    OutOfRange,
}

impl Error {
    /// Every error, for tables.
    pub const ALL: [Error; 12] = [
        Error::EmptyKey,
        Error::KeyNotFound,
        Error::ValueProvided,
        Error::LeaseProvided,
        Error::TooManyOperations,
        Error::DuplicateKey,
        Error::InvalidSortOption,
        Error::Compacted,
        Error::FutureRevision,
        Error::LeaseNotFound,
        Error::LeaseExists,
        Error::LeaseTtlTooLarge,
    ];

    /// etcd's text for this error, as clients see it.
    pub fn message(self) -> &'static str {
        match self {
            Error::EmptyKey => "etcdserver: key is not provided",
            Error::KeyNotFound => "etcdserver: key not found",
            Error::ValueProvided => "etcdserver: value is provided",
            Error::LeaseProvided => "etcdserver: lease is provided",
            Error::TooManyOperations => "etcdserver: too many operations in txn request",
            Error::DuplicateKey => "etcdserver: duplicate key given in txn request",
            Error::InvalidSortOption => "etcdserver: invalid sort option",
            Error::Compacted => "etcdserver: mvcc: required revision has been compacted",
            Error::FutureRevision => "etcdserver: mvcc: required revision is a future revision",
            Error::LeaseNotFound => "etcdserver: requested lease not found",
            Error::LeaseExists => "etcdserver: lease already exists",
            Error::LeaseTtlTooLarge => "etcdserver: too large lease TTL",
        }
    }

    /// The gRPC status code etcd sends with it.
    pub fn code(self) -> Code {
        match self {
            Error::Compacted | Error::FutureRevision | Error::LeaseTtlTooLarge => Code::OutOfRange,
            Error::LeaseNotFound => Code::NotFound,
            Error::LeaseExists => Code::FailedPrecondition,
            _ => Code::InvalidArgument,
        }
    }
}

impl Code {
    /// The code's name as gRPC writes it.
    pub fn name(self) -> &'static str {
        match self {
            Code::InvalidArgument => "InvalidArgument",
            Code::NotFound => "NotFound",
            Code::FailedPrecondition => "FailedPrecondition",
            Code::OutOfRange => "OutOfRange",
        }
    }

    /// The code's number on the wire.
    pub fn number(self) -> i32 {
        match self {
            Code::InvalidArgument => 3,
            Code::NotFound => 5,
            Code::FailedPrecondition => 9,
            Code::OutOfRange => 11,
        }
    }
}
