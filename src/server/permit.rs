//! What each kind of log entry needs to be applied: the one table of permissions.
//!
//! A new kind of request gets its line here. What comes from the members themselves needs nothing.

use super::Published;
use crate::api::proto::vetcdpb::log_request::Request;
use crate::auth::{Access, Caller, Error};

/// Whether `caller` may have `request` applied to `current`.
///
/// # Errors
/// Why not; nothing is to be changed then.
pub fn permit(current: &Published, caller: &Caller, request: &Request) -> Result<(), Error> {
    let auth = &current.auth;
    if !auth.is_enabled() {
        return Ok(());
    }
    let keys_of = |lease: i64| current.state.lease_keys(lease).cloned().collect();
    match request {
        Request::Put(put) => auth.permit_put(caller, put, &keys_of),
        Request::DeleteRange(delete) => auth.permit_delete(caller, delete),
        Request::Txn(txn) => auth.permit_txn(caller, txn, &keys_of),
        Request::Compaction(_)
        | Request::MemberAdd(_)
        | Request::MemberRemove(_)
        | Request::MemberUpdate(_)
        | Request::MemberPromote(_)
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
        Request::LeaseGrant(_) => auth.permit_user(caller),
        Request::LeaseRevoke(revoke) => {
            auth.permit_user(caller)?;
            auth.permit_lease_keys(caller, Access::Write, revoke.id, &keys_of)
        }
        // The password has been checked.
        Request::Login(_)
        // What members find out by themselves.
        | Request::LeaseExpiry(_)
        | Request::LeaseCheckpoints(_)
        | Request::MemberAttributes(_)
        | Request::ChangeRefused(_)
        // A member raises one when the quota is reached; of clients it asks who they are before.
        | Request::Alarm(_) => Ok(()),
    }
}
