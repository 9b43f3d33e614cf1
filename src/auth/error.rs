//! Why authentication or permission is refused, in etcd's own words: clients compare the texts.

/// A refusal. Nothing has been changed by what was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Enabling needs the user `root`.
    #[error("etcdserver: root user does not exist")]
    RootUserNotExist,
    /// Enabling needs the user `root` to have the role `root`.
    #[error("etcdserver: root user does not have root role")]
    RootRoleNotExist,
    /// The user to add exists.
    #[error("etcdserver: user name already exists")]
    UserAlreadyExist,
    /// No user is named, or none has authenticated.
    #[error("etcdserver: user name is empty")]
    UserEmpty,
    /// There is no such user.
    #[error("etcdserver: user name not found")]
    UserNotFound,
    /// The role to add exists.
    #[error("etcdserver: role name already exists")]
    RoleAlreadyExist,
    /// There is no such role.
    #[error("etcdserver: role name not found")]
    RoleNotFound,
    /// No role is named.
    #[error("etcdserver: role name is empty")]
    RoleEmpty,
    /// User and password do not fit.
    #[error("etcdserver: authentication failed, invalid user ID or password")]
    AuthFailed,
    /// A grant without a permission.
    #[error("etcdserver: permission not given")]
    PermissionNotGiven,
    /// The user may not do that.
    #[error("etcdserver: permission denied")]
    PermissionDenied,
    /// The role to revoke was never granted.
    #[error("etcdserver: role is not granted to the user")]
    RoleNotGranted,
    /// The permission to revoke was never granted.
    #[error("etcdserver: permission is not granted to the role")]
    PermissionNotGranted,
    /// Authentication is off.
    #[error("etcdserver: authentication is not enabled")]
    NotEnabled,
    /// Users or roles have changed since the caller was recognised.
    #[error("etcdserver: revision of auth store is old")]
    OldRevision,
    /// The token is unknown, expired or forged.
    #[error("etcdserver: invalid auth token")]
    InvalidToken,
    /// What would leave nobody in charge, or a permission on no key.
    #[error("etcdserver: invalid auth management")]
    InvalidManagement,
}

/// The gRPC status codes that [`Error`] maps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// gRPC code 3.
    InvalidArgument,
    /// gRPC code 7.
    PermissionDenied,
    /// gRPC code 9.
    FailedPrecondition,
    /// gRPC code 16.
    Unauthenticated,
}

impl Error {
    /// The gRPC status code etcd sends with it.
    pub fn code(self) -> Code {
        match self {
            Error::PermissionDenied => Code::PermissionDenied,
            Error::InvalidToken => Code::Unauthenticated,
            Error::UserEmpty
            | Error::RoleEmpty
            | Error::AuthFailed
            | Error::PermissionNotGiven
            | Error::InvalidManagement
            | Error::OldRevision => Code::InvalidArgument,
            _ => Code::FailedPrecondition,
        }
    }
}
