//! The Lease service: thin over [`Server`]'s leases.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::proto::etcdserverpb as pb;
use super::proto::etcdserverpb::lease_server::Lease;
use crate::server::{Credentials, Server};

/// Serves Lease from a [`Server`].
#[derive(Clone)]
pub struct LeaseService {
    server: Arc<Server>,
}

impl LeaseService {
    /// Serves `server`.
    pub fn new(server: Arc<Server>) -> LeaseService {
        LeaseService { server }
    }
}

/// Answers the next renewal on a stream; `None` at the client's end of it.
async fn renew_next(
    server: &Arc<Server>,
    credentials: &Credentials,
    requests: &mut Streaming<pb::LeaseKeepAliveRequest>,
) -> Option<Result<pb::LeaseKeepAliveResponse, Status>> {
    let id = match requests.message().await {
        Ok(request) => request?.id,
        Err(status) => return Some(Err(status)),
    };
    // Taken before the renewal: if the lease is revoked later, then at a higher revision.
    let header = server.header(server.serializable().state.revision());
    let renewed = server.lease_renew(credentials, id).await;
    let renewed = renewed.map_err(Status::from);
    Some(renewed.map(|ttl| pb::LeaseKeepAliveResponse {
        header: Some(header),
        id,
        ttl,
    }))
}

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let caller = self.server.caller(&Credentials::of(&request)).await?;
        let request = request.into_inner();
        let granting = self.server.lease_grant(caller, request.id, request.ttl);
        let mut response = granting.await?;
        let revision = response.header.map_or(0, |header| header.revision);
        response.header = Some(self.server.header(revision));
        Ok(Response::new(response))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let caller = self.server.caller(&Credentials::of(&request)).await?;
        let id = request.into_inner().id;
        let revision = self.server.lease_revoke(caller, id).await?;
        Ok(Response::new(pb::LeaseRevokeResponse {
            header: Some(self.server.header(revision)),
        }))
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let credentials = Credentials::of(&request);
        let start = Some((self.server.clone(), credentials, request.into_inner()));
        let answers = futures::stream::unfold(start, async |state| {
            let (server, credentials, mut requests) = state?;
            let answer = renew_next(&server, &credentials, &mut requests).await?;
            // An error is the stream's last word.
            let next = answer.is_ok().then_some((server, credentials, requests));
            Some((answer, next))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = request.into_inner();
        let asking = self
            .server
            .lease_times(&credentials, request.id, request.keys);
        let mut response = asking.await?;
        let revision = response.header.map_or(0, |header| header.revision);
        response.header = Some(self.server.header(revision));
        Ok(Response::new(response))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let (ids, revision) = self.server.lease_ids(&Credentials::of(&request)).await?;
        let leases = ids.into_iter();
        Ok(Response::new(pb::LeaseLeasesResponse {
            header: Some(self.server.header(revision)),
            leases: leases.map(|id| pb::LeaseStatus { id }).collect(),
        }))
    }
}
