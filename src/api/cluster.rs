//! The Cluster service: who the members are.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::error::unimplemented;
use super::proto::etcdserverpb as pb;
use super::proto::etcdserverpb::cluster_server::Cluster;
use crate::server::Server;

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
        let published = self.server.read(!request.into_inner().linearizable).await?;
        Ok(Response::new(pb::MemberListResponse {
            // etcd leaves the revision out here, and etcdctl prints what it gets.
            header: Some(self.server.header(0)),
            members: published.members.to_api(),
        }))
    }

    async fn member_add(
        &self,
        _request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(unimplemented("member add"))
    }

    async fn member_remove(
        &self,
        _request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        Err(unimplemented("member remove"))
    }

    async fn member_update(
        &self,
        _request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        Err(unimplemented("member update"))
    }

    async fn member_promote(
        &self,
        _request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Err(unimplemented("member promote"))
    }
}
