//! The Auth service: logins, users, roles and permissions.
//!
//! Changes go through the log and are permitted there. Questions are answered from a linearizable
//! read, where etcd writes a log entry for each. Passwords are hashed before they are proposed.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::error::auth_status;
use super::proto::etcdserverpb as pb;
use super::proto::etcdserverpb::auth_server::Auth;
use super::proto::vetcdpb::log_request::Request as Change;
use crate::server::{Credentials, Published, Server};

/// Serves Auth from a [`Server`].
#[derive(Clone)]
pub struct AuthService {
    server: Arc<Server>,
}

impl AuthService {
    /// Serves `server`.
    pub fn new(server: Arc<Server>) -> AuthService {
        AuthService { server }
    }

    /// Has the change made in the name of the caller.
    async fn change(
        &self,
        credentials: &Credentials,
        change: Change,
    ) -> Result<Option<pb::ResponseHeader>, Status> {
        let caller = self.server.caller(credentials).await?;
        self.server.propose_as(caller, change).await?;
        Ok(self.header(&self.server.serializable()))
    }

    fn header(&self, published: &Published) -> Option<pb::ResponseHeader> {
        Some(self.server.header(published.state.revision()))
    }
}

#[tonic::async_trait]
impl Auth for AuthService {
    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let request = request.into_inner();
        let authenticating = self.server.authenticate(&request.name, &request.password);
        let token = authenticating.await?;
        Ok(Response::new(pb::AuthenticateResponse {
            header: self.header(&self.server.serializable()),
            token,
        }))
    }

    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Result<Response<pb::AuthStatusResponse>, Status> {
        let credentials = Credentials::of(&request);
        let (published, caller) = self.server.read_as(&credentials, false).await?;
        let auth = &published.auth;
        auth.permit_root(&caller).map_err(auth_status)?;
        Ok(Response::new(pb::AuthStatusResponse {
            header: self.header(&published),
            enabled: auth.is_enabled(),
            auth_revision: auth.revision(),
        }))
    }

    async fn user_add(
        &self,
        request: Request<pb::AuthUserAddRequest>,
    ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        let credentials = Credentials::of(&request);
        // Before a stranger has us hash anything.
        self.server.require_user(&credentials).await?;
        let mut user = request.into_inner();
        let password = std::mem::take(&mut user.password);
        let no_password = user.options.is_some_and(|options| options.no_password);
        user.hashed_password = match no_password {
            true => String::new(),
            false => self.server.hash_password(password).await?,
        };
        let header = self.change(&credentials, Change::UserAdd(user)).await?;
        Ok(Response::new(pb::AuthUserAddResponse { header }))
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        let credentials = Credentials::of(&request);
        // Before a stranger has us hash anything.
        self.server.require_user(&credentials).await?;
        let mut user = request.into_inner();
        let password = std::mem::take(&mut user.password);
        // Nobody can log in with an empty password: no hash is kept for one.
        user.hashed_password = match password.is_empty() {
            true => String::new(),
            false => self.server.hash_password(password).await?,
        };
        let change = Change::UserChangePassword(user);
        let header = self.change(&credentials, change).await?;
        Ok(Response::new(pb::AuthUserChangePasswordResponse { header }))
    }

    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        let credentials = Credentials::of(&request);
        let name = request.into_inner().name;
        let (published, caller) = self.server.read_as(&credentials, false).await?;
        let auth = &published.auth;
        auth.permit_user_get(&caller, &name).map_err(auth_status)?;
        Ok(Response::new(pb::AuthUserGetResponse {
            header: self.header(&published),
            roles: auth.user_roles(&name).map_err(auth_status)?,
        }))
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Result<Response<pb::AuthUserListResponse>, Status> {
        let credentials = Credentials::of(&request);
        let (published, caller) = self.server.read_as(&credentials, false).await?;
        published.auth.permit_root(&caller).map_err(auth_status)?;
        Ok(Response::new(pb::AuthUserListResponse {
            header: self.header(&published),
            users: published.auth.user_names(),
        }))
    }

    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        let credentials = Credentials::of(&request);
        let name = request.into_inner().role;
        let (published, caller) = self.server.read_as(&credentials, false).await?;
        let auth = &published.auth;
        auth.permit_role_get(&caller, &name).map_err(auth_status)?;
        Ok(Response::new(pb::AuthRoleGetResponse {
            header: self.header(&published),
            perm: auth.role_permissions(&name).map_err(auth_status)?,
        }))
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        let credentials = Credentials::of(&request);
        let (published, caller) = self.server.read_as(&credentials, false).await?;
        published.auth.permit_root(&caller).map_err(auth_status)?;
        Ok(Response::new(pb::AuthRoleListResponse {
            header: self.header(&published),
            roles: published.auth.role_names(),
        }))
    }

    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Result<Response<pb::AuthEnableResponse>, Status> {
        let credentials = Credentials::of(&request);
        let change = Change::AuthEnable(request.into_inner());
        let header = self.change(&credentials, change).await?;
        Ok(Response::new(pb::AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Result<Response<pb::AuthDisableResponse>, Status> {
        let credentials = Credentials::of(&request);
        let change = Change::AuthDisable(request.into_inner());
        let header = self.change(&credentials, change).await?;
        Ok(Response::new(pb::AuthDisableResponse { header }))
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Result<Response<pb::AuthUserDeleteResponse>, Status> {
        let credentials = Credentials::of(&request);
        let change = Change::UserDelete(request.into_inner());
        let header = self.change(&credentials, change).await?;
        Ok(Response::new(pb::AuthUserDeleteResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Result<Response<pb::AuthUserGrantRoleResponse>, Status> {
        let credentials = Credentials::of(&request);
        let change = Change::UserGrantRole(request.into_inner());
        let header = self.change(&credentials, change).await?;
        Ok(Response::new(pb::AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<pb::AuthUserRevokeRoleResponse>, Status> {
        let credentials = Credentials::of(&request);
        let change = Change::UserRevokeRole(request.into_inner());
        let header = self.change(&credentials, change).await?;
        Ok(Response::new(pb::AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(
        &self,
        request: Request<pb::AuthRoleAddRequest>,
    ) -> Result<Response<pb::AuthRoleAddResponse>, Status> {
        let credentials = Credentials::of(&request);
        let change = Change::RoleAdd(request.into_inner());
        let header = self.change(&credentials, change).await?;
        Ok(Response::new(pb::AuthRoleAddResponse { header }))
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Result<Response<pb::AuthRoleDeleteResponse>, Status> {
        let credentials = Credentials::of(&request);
        let change = Change::RoleDelete(request.into_inner());
        let header = self.change(&credentials, change).await?;
        Ok(Response::new(pb::AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<pb::AuthRoleGrantPermissionResponse>, Status> {
        let credentials = Credentials::of(&request);
        let change = Change::RoleGrantPermission(request.into_inner());
        let header = self.change(&credentials, change).await?;
        Ok(Response::new(pb::AuthRoleGrantPermissionResponse {
            header,
        }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<pb::AuthRoleRevokePermissionResponse>, Status> {
        let credentials = Credentials::of(&request);
        let change = Change::RoleRevokePermission(request.into_inner());
        let header = self.change(&credentials, change).await?;
        Ok(Response::new(pb::AuthRoleRevokePermissionResponse {
            header,
        }))
    }
}
