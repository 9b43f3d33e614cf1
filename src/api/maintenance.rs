//! The Maintenance service: what a member says about itself, and its upkeep.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::error::store_status;
use super::proto::etcdserverpb as pb;
use super::proto::etcdserverpb::maintenance_server::Maintenance;
use super::{API_VERSION, STORAGE_VERSION};
use crate::host::HostExt;
use crate::server::{Credentials, DefragmentError, RequestError, Server, state_hash};

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
        errors.extend(published.alarms.to_wire().iter().map(alarm_text));
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
            db_size_quota: match self.server.quota() {
                Some(quota) => i64::try_from(quota).unwrap_or(i64::MAX),
                None => -1,
            },
            downgrade_info: Some(pb::DowngradeInfo::default()),
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
        let begun = self.server.host().now();
        let hashing = self
            .server
            .host()
            .run_blocking(move || state.hash(revision));
        let hash = hashing.await.ok_or(RequestError::Stopped)?;
        let hash = hash.map_err(|error| store_status(&error))?;
        let seconds = self.server.host().now().since(begun).as_secs_f64();
        let metrics = &self.server.metrics().upkeep;
        metrics.hash_revision_seconds.observe(seconds);
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
        let request = request.into_inner();
        match request.action() {
            pb::alarm_request::AlarmAction::Get => {
                self.server.require_user(&credentials).await?;
            }
            _ => {
                self.server.require_root(&credentials).await?;
            }
        }
        let alarms = self.server.alarm(request).await?;
        let revision = self.server.serializable().state.revision();
        Ok(Response::new(pb::AlarmResponse {
            header: Some(self.server.header(revision)),
            alarms,
        }))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.server.require_root(&Credentials::of(&request)).await?;
        self.server
            .move_leader(request.into_inner().target_id)
            .await?;
        // etcd leaves the header out here.
        Ok(Response::new(pb::MoveLeaderResponse { header: None }))
    }

    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.server.require_root(&Credentials::of(&request)).await?;
        match self.server.defragment().await {
            Ok(()) => Ok(Response::new(pb::DefragmentResponse { header: None })),
            Err(error @ DefragmentError::Stopped) => Err(Status::unavailable(error.to_string())),
            Err(error) => Err(Status::unknown(error.to_string())),
        }
    }

    async fn hash(
        &self,
        request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        self.server.require_root(&Credentials::of(&request)).await?;
        let published = self.server.serializable();
        let revision = published.state.revision();
        let begun = self.server.host().now();
        let hashing = self
            .server
            .host()
            .run_blocking(move || state_hash(&published));
        let hash = hashing.await.ok_or(RequestError::Stopped)?;
        let seconds = self.server.host().now().since(begun).as_secs_f64();
        self.server.metrics().upkeep.hash_seconds.observe(seconds);
        Ok(Response::new(pb::HashResponse {
            header: Some(self.server.header(revision)),
            // Both halves count: keys and values in one, all else in the other.
            hash: (hash >> 32) as u32 ^ hash as u32,
        }))
    }

    type SnapshotStream =
        tokio_stream::wrappers::ReceiverStream<Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.server.require_root(&Credentials::of(&request)).await?;
        // This member's own state, as in etcd: a snapshot can be had without a leader.
        let published = self.server.read(true).await?;
        let stream = super::snapshot_stream::start(&self.server, published);
        Ok(Response::new(stream))
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        self.server.require_root(&Credentials::of(&request)).await?;
        self.server.downgrade(request.get_ref()).await?;
        let revision = self.server.serializable().state.revision();
        Ok(Response::new(pb::DowngradeResponse {
            header: Some(self.server.header(revision)),
            version: API_VERSION.to_owned(),
        }))
    }
}

/// An alarm as etcd writes it into a member's status.
fn alarm_text(alarm: &pb::AlarmMember) -> String {
    let kind = alarm.alarm().as_str_name();
    match alarm.member_id {
        0 => format!("alarm:{kind} "),
        id => format!("memberID:{id} alarm:{kind} "),
    }
}
