//! What each kind of log entry needs to be applied: the one table of permissions.
//!
//! A new kind of request gets its line here. What comes from the members themselves needs nothing.

use bytes::Bytes;

use super::Published;
use crate::api::proto::vetcdpb::log_request::Request;
use crate::auth::{Caller, Error};

/// Whether `caller` may have `request` applied to `current`.
///
/// # Errors
/// Why not; nothing is to be changed then.
pub fn permit(current: &Published, caller: &Caller, request: &Request) -> Result<(), Error> {
    let auth = &current.auth;
    if !auth.is_enabled() {
        return Ok(());
    }
    // No key is attached to a lease before there are leases.
    let keys_of = |_lease: i64| Vec::<Bytes>::new();
    match request {
        Request::Put(put) => auth.permit_put(caller, put, &keys_of),
        Request::DeleteRange(delete) => auth.permit_delete(caller, delete),
        Request::Txn(txn) => auth.permit_txn(caller, txn, &keys_of),
        Request::Compaction(_)
        | Request::AuthEnable(_)
        | Request::AuthDisable(_)
        | Request::UserAdd(_)
        | Request::UserDelete(_)
        | Request::UserChangePassword(_)
        | Request::UserGrantRole(_)
        | Request::UserRevokeRole(_)
        | Request::RoleAdd(_)
        | Request::RoleDelete(_)
        | Request::RoleGrantPermission(_)
        | Request::RoleRevokePermission(_) => auth.permit_root(caller),
        // The password has been checked.
        Request::Login(_) | Request::MemberAttributes(_) => Ok(()),
    }
}
