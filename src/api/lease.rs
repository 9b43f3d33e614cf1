//! The Lease service: thin over [`Server`]'s leases.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::proto::etcdserverpb as pb;
use super::proto::etcdserverpb::lease_server::Lease;
use crate::server::Server;

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
    requests: &mut Streaming<pb::LeaseKeepAliveRequest>,
) -> Option<Result<pb::LeaseKeepAliveResponse, Status>> {
    let id = match requests.message().await {
        Ok(request) => request?.id,
        Err(status) => return Some(Err(status)),
    };
    // Taken before the renewal: if the lease is revoked later, then at a higher revision.
    let header = server.header(server.serializable().state.revision());
    let renewed = server.lease_renew(id).await.map_err(Status::from);
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
        let request = request.into_inner();
        let mut response = self.server.lease_grant(request.id, request.ttl).await?;
        let revision = response.header.map_or(0, |header| header.revision);
        response.header = Some(self.server.header(revision));
        Ok(Response::new(response))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let revision = self.server.lease_revoke(request.into_inner().id).await?;
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
        let start = Some((self.server.clone(), request.into_inner()));
        let answers = futures::stream::unfold(start, async |state| {
            let (server, mut requests) = state?;
            let answer = renew_next(&server, &mut requests).await?;
            // An error is the stream's last word.
            let next = answer.is_ok().then_some((server, requests));
            Some((answer, next))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let request = request.into_inner();
        let mut response = self.server.lease_times(request.id, request.keys).await?;
        let revision = response.header.map_or(0, |header| header.revision);
        response.header = Some(self.server.header(revision));
        Ok(Response::new(response))
    }

    async fn lease_leases(
        &self,
        _request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let state = &self.server.linearizable().await?.state;
        let leases = state.leases().iter();
        Ok(Response::new(pb::LeaseLeasesResponse {
            header: Some(self.server.header(state.revision())),
            leases: leases
                .map(|lease| pb::LeaseStatus { id: lease.id })
                .collect(),
        }))
    }
}
