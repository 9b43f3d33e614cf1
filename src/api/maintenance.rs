//! The Maintenance service: what a member says about itself.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::error::{store_status, unimplemented};
use super::proto::etcdserverpb as pb;
use super::proto::etcdserverpb::maintenance_server::Maintenance;
use super::{API_VERSION, STORAGE_VERSION};
use crate::host::HostExt;
use crate::server::{Credentials, RequestError, Server};

/// Serves Maintenance from a [`Server`].
#[derive(Clone)]
pub struct MaintenanceService {
    server: Arc<Server>,
}

impl MaintenanceService {
    /// Serves `server`.
    pub fn new(server: Arc<Server>) -> MaintenanceService {
        MaintenanceService { server }
    }
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        self.server.require_user(&Credentials::of(&request)).await?;
        let published = self.server.serializable();
        let raft = self.server.raft_status();
        let backend = self.server.backend();
        let size = self.server.host().run_blocking(move || backend.size());
        let size = size.await.ok_or(RequestError::Stopped)?;
        let size = size.map_err(|error| Status::internal(error.to_string()))?;
        let mut errors = Vec::new();
        if raft.leader == 0 {
            errors.push("etcdserver: no leader".to_owned());
        }
        let own = published.members.get(self.server.identity().member_id);
        Ok(Response::new(pb::StatusResponse {
            header: Some(self.server.header(published.state.revision())),
            version: API_VERSION.to_owned(),
            db_size: size.total_bytes as i64,
            leader: raft.leader,
            raft_index: raft.commit,
            raft_term: raft.term,
            raft_applied_index: published.index,
            errors,
            db_size_in_use: size.in_use_bytes as i64,
            is_learner: own.is_some_and(|member| member.is_learner),
            storage_version: STORAGE_VERSION.to_owned(),
            db_size_quota: 0,
            downgrade_info: None,
        }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        self.server.require_root(&Credentials::of(&request)).await?;
        let revision = request.into_inner().revision;
        let state = self.server.serializable().state.clone();
        let current = state.revision();
        let hashing = self
            .server
            .host()
            .run_blocking(move || state.hash(revision));
        let hash = hashing.await.ok_or(RequestError::Stopped)?;
        let hash = hash.map_err(|error| store_status(&error))?;
        Ok(Response::new(pb::HashKvResponse {
            header: Some(self.server.header(current)),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.revision,
        }))
    }

    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        let credentials = Credentials::of(&request);
        // No alarm can be raised yet, so there is none to list; clients ask before they judge
        // a member's health.
        if request.into_inner().action() != pb::alarm_request::AlarmAction::Get {
            self.server.require_root(&credentials).await?;
            return Err(unimplemented("raising and disarming alarms"));
        }
        self.server.require_user(&credentials).await?;
        let revision = self.server.serializable().state.revision();
        Ok(Response::new(pb::AlarmResponse {
            header: Some(self.server.header(revision)),
            alarms: Vec::new(),
        }))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.server.require_root(&Credentials::of(&request)).await?;
        Err(unimplemented("move-leader"))
    }

    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.server.require_root(&Credentials::of(&request)).await?;
        Err(unimplemented("defragmentation"))
    }

    async fn hash(
        &self,
        request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        self.server.require_root(&Credentials::of(&request)).await?;
        Err(unimplemented("hash of the whole backend"))
    }

    type SnapshotStream = tokio_stream::Empty<Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.server.require_root(&Credentials::of(&request)).await?;
        Err(unimplemented("snapshot streams"))
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        self.server.require_root(&Credentials::of(&request)).await?;
        Err(unimplemented("downgrades"))
    }
}
