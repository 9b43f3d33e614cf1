//! The Cluster service: who the members are.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::error::unimplemented;
use super::proto::etcdserverpb as pb;
use super::proto::etcdserverpb::cluster_server::Cluster;
use crate::server::{Credentials, Server};

/// Serves Cluster from a [`Server`].
#[derive(Clone)]
pub struct ClusterService {
    server: Arc<Server>,
}

impl ClusterService {
    /// Serves `server`.
    pub fn new(server: Arc<Server>) -> ClusterService {
        ClusterService { server }
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        self.server.require_user(&Credentials::of(&request)).await?;
        let published = self.server.read(!request.into_inner().linearizable).await?;
        Ok(Response::new(pb::MemberListResponse {
            // etcd leaves the revision out here, and etcdctl prints what it gets.
            header: Some(self.server.header(0)),
            members: published.members.to_api(),
        }))
    }

    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        self.server.require_root(&Credentials::of(&request)).await?;
        Err(unimplemented("member add"))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.server.require_root(&Credentials::of(&request)).await?;
        Err(unimplemented("member remove"))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        self.server.require_root(&Credentials::of(&request)).await?;
        Err(unimplemented("member update"))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.server.require_root(&Credentials::of(&request)).await?;
        Err(unimplemented("member promote"))
    }
}
