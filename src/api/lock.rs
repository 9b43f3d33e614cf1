//! The Lock service: thin over [`Server::lock`].

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::error::recipe_status;
use super::proto::etcdserverpb::DeleteRangeRequest;
use super::proto::v3lockpb::lock_server::Lock;
use super::proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use super::proto::vetcdpb::log_request;
use crate::mvcc::check;
use crate::server::{self, Credentials, LockError, Server};

/// Serves Lock from a [`Server`].
#[derive(Clone)]
pub struct LockService {
    server: Arc<Server>,
}

impl LockService {
    /// Serves `server`.
    pub fn new(server: Arc<Server>) -> LockService {
        LockService { server }
    }
}

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let caller = self.server.caller(&Credentials::of(&request)).await;
        let caller = caller.map_err(recipe_status)?;
        let LockRequest { name, lease } = request.into_inner();
        match self.server.lock(caller, &name, lease).await {
            Ok((key, revision)) => Ok(Response::new(LockResponse {
                header: Some(self.server.header(revision)),
                key,
            })),
            Err(LockError::Request(error)) => Err(recipe_status(error)),
            // etcd gives its recipes' own errors no code.
            Err(error @ LockError::SessionExpired) => Err(Status::unknown(error.to_string())),
        }
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let caller = self.server.caller(&Credentials::of(&request)).await;
        let caller = caller.map_err(recipe_status)?;
        let delete = DeleteRangeRequest {
            key: request.into_inner().key,
            ..Default::default()
        };
        check::check_delete_range(&delete).map_err(|error| recipe_status(error.into()))?;
        let deleting = self
            .server
            .propose_as(caller, log_request::Request::DeleteRange(delete));
        let deleting = deleting.await.map_err(recipe_status)?;
        let server::Response::DeleteRange(deleted) = deleting else {
            return Err(Status::internal("the log answered with something else"));
        };
        let revision = deleted.header.map_or(0, |header| header.revision);
        Ok(Response::new(UnlockResponse {
            header: Some(self.server.header(revision)),
        }))
    }
}
