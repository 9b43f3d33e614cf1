//! A change of users, roles or permissions as the call that makes it.

use std::future::Future;

use tonic::{Response, Status};
use vetcd::api::proto::authpb::{self, permission::Type};
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::client::{CallError, Channel, Client, auth};

use crate::history::AuthAction;

async fn ask<T, F>(client: &mut Client, make: impl FnOnce(Channel) -> F) -> Result<(), CallError>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    client.call(make).await.map(|_| ())
}

/// Has one change made, once; `password` is for those that set one.
pub(super) async fn make(
    client: &mut Client,
    action: &AuthAction,
    password: &str,
) -> Result<(), CallError> {
    let password = password.to_owned();
    match action.clone() {
        AuthAction::Enable => {
            let request = pb::AuthEnableRequest {};
            ask(client, async |c| auth(c).auth_enable(request).await).await
        }
        AuthAction::Disable => {
            let request = pb::AuthDisableRequest {};
            ask(client, async |c| auth(c).auth_disable(request).await).await
        }
        AuthAction::AddUser { user: name } => {
            let request = pb::AuthUserAddRequest {
                name,
                password,
                ..Default::default()
            };
            ask(client, async |c| auth(c).user_add(request).await).await
        }
        AuthAction::DeleteUser { user: name } => {
            let request = pb::AuthUserDeleteRequest { name };
            ask(client, async |c| auth(c).user_delete(request).await).await
        }
        AuthAction::ChangePassword { user: name } => {
            let request = pb::AuthUserChangePasswordRequest {
                name,
                password,
                ..Default::default()
            };
            ask(client, async |c| {
                auth(c).user_change_password(request).await
            })
            .await
        }
        AuthAction::AddRole { role: name } => {
            let request = pb::AuthRoleAddRequest { name };
            ask(client, async |c| auth(c).role_add(request).await).await
        }
        AuthAction::DeleteRole { role } => {
            let request = pb::AuthRoleDeleteRequest { role };
            ask(client, async |c| auth(c).role_delete(request).await).await
        }
        AuthAction::GrantRole { user, role } => {
            let request = pb::AuthUserGrantRoleRequest { user, role };
            ask(client, async |c| auth(c).user_grant_role(request).await).await
        }
        AuthAction::RevokeRole { user: name, role } => {
            let request = pb::AuthUserRevokeRoleRequest { name, role };
            ask(client, async |c| auth(c).user_revoke_role(request).await).await
        }
        AuthAction::Grant {
            role: name,
            write,
            read,
            keys,
        } => {
            let kind = match (read, write) {
                (true, true) => Type::Readwrite,
                (false, true) => Type::Write,
                _ => Type::Read,
            };
            let perm = Some(authpb::Permission {
                perm_type: kind.into(),
                key: keys.key,
                range_end: keys.end,
            });
            let request = pb::AuthRoleGrantPermissionRequest { name, perm };
            ask(client, async |c| {
                auth(c).role_grant_permission(request).await
            })
            .await
        }
        AuthAction::Revoke { role, keys } => {
            let request = pb::AuthRoleRevokePermissionRequest {
                role,
                key: keys.key,
                range_end: keys.end,
            };
            ask(client, async |c| {
                auth(c).role_revoke_permission(request).await
            })
            .await
        }
        AuthAction::Use { .. } => unreachable!("the administrator makes changes"),
    }
}
