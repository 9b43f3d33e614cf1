//! The Cluster service: who the members are, and changing that.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::proto::etcdserverpb as pb;
use super::proto::etcdserverpb::cluster_server::Cluster;
use crate::server::{Credentials, Server, to_api};

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
        let caller = self.server.require_root(&Credentials::of(&request)).await?;
        let request = request.into_inner();
        let adding = self
            .server
            .add_member(caller, &request.peer_ur_ls, request.is_learner);
        let (member, members) = adding.await?;
        Ok(Response::new(pb::MemberAddResponse {
            header: Some(self.server.header(0)),
            member: Some(to_api(&member)),
            members: members.to_api(),
        }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let caller = self.server.require_root(&Credentials::of(&request)).await?;
        let id = request.into_inner().id;
        let members = self.server.remove_member(caller, id).await?;
        Ok(Response::new(pb::MemberRemoveResponse {
            header: Some(self.server.header(0)),
            members: members.to_api(),
        }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let caller = self.server.require_root(&Credentials::of(&request)).await?;
        let request = request.into_inner();
        let updating = self
            .server
            .update_member(caller, request.id, &request.peer_ur_ls);
        Ok(Response::new(pb::MemberUpdateResponse {
            members: updating.await?.to_api(),
            header: Some(self.server.header(0)),
        }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let caller = self.server.require_root(&Credentials::of(&request)).await?;
        let id = request.into_inner().id;
        let members = self.server.promote_member(caller, id).await?;
        Ok(Response::new(pb::MemberPromoteResponse {
            header: Some(self.server.header(0)),
            members: members.to_api(),
        }))
    }
}
