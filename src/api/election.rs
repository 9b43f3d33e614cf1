//! The Election service: thin over [`Server`]'s elections.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use tonic::{Request, Response, Status};

use super::error::recipe_status;
use super::proto::v3electionpb as pb;
use super::proto::v3electionpb::election_server::Election;
use crate::auth::Caller;
use crate::server::{Credentials, ElectionError, Server};

/// Serves Election from a [`Server`].
#[derive(Clone)]
pub struct ElectionService {
    server: Arc<Server>,
}

impl ElectionService {
    /// Serves `server`.
    pub fn new(server: Arc<Server>) -> ElectionService {
        ElectionService { server }
    }

    /// Who asks: somebody, where that matters. What he may do is decided with the transaction.
    async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let caller = self.server.require_user(&Credentials::of(request)).await;
        caller.map_err(recipe_status)
    }
}

fn status(error: ElectionError) -> Status {
    match error {
        ElectionError::Request(error) => recipe_status(error),
        // etcd gives its recipes' own errors no code.
        error => Status::unknown(error.to_string()),
    }
}

fn leader_key(leader: Option<pb::LeaderKey>) -> Result<pb::LeaderKey, Status> {
    leader.ok_or_else(|| Status::unknown("\"leader\" field must be provided"))
}

#[tonic::async_trait]
impl Election for ElectionService {
    async fn campaign(
        &self,
        request: Request<pb::CampaignRequest>,
    ) -> Result<Response<pb::CampaignResponse>, Status> {
        let caller = self.caller(&request).await?;
        let pb::CampaignRequest { name, lease, value } = request.into_inner();
        let won = self.server.campaign(caller, &name, lease, value).await;
        let won = won.map_err(status)?;
        Ok(Response::new(pb::CampaignResponse {
            header: Some(self.server.header(won.revision)),
            leader: Some(pb::LeaderKey {
                name,
                key: won.key,
                rev: won.created,
                lease: won.lease,
            }),
        }))
    }

    async fn proclaim(
        &self,
        request: Request<pb::ProclaimRequest>,
    ) -> Result<Response<pb::ProclaimResponse>, Status> {
        let caller = self.caller(&request).await?;
        let request = request.into_inner();
        let leader = leader_key(request.leader)?;
        let proclaiming = self.server.proclaim(
            &caller,
            &leader.key,
            leader.rev,
            leader.lease,
            request.value,
        );
        let revision = proclaiming.await.map_err(status)?;
        Ok(Response::new(pb::ProclaimResponse {
            header: Some(self.server.header(revision)),
        }))
    }

    async fn leader(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<pb::LeaderResponse>, Status> {
        let credentials = Credentials::of(&request);
        let name = request.into_inner().name;
        let elected = self.server.elected(&credentials, &name).await;
        let (kv, revision) = elected.map_err(status)?;
        Ok(Response::new(pb::LeaderResponse {
            header: Some(self.server.header(revision)),
            kv: Some(kv),
        }))
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<pb::LeaderResponse, Status>> + Send>>;

    async fn observe(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let credentials = Credentials::of(&request);
        let name = request.into_inner().name;
        let observing = self.server.observe_election(credentials, &name);
        let observation = observing.await.map_err(status)?;
        let start = Some((self.server.clone(), observation));
        let shown = futures::stream::unfold(start, async |state| {
            let (server, mut observation) = state?;
            match observation.next().await {
                Ok((kv, revision)) => {
                    let response = pb::LeaderResponse {
                        header: Some(server.header(revision)),
                        kv: Some(kv),
                    };
                    Some((Ok(response), Some((server, observation))))
                }
                Err(error) => Some((Err(status(error)), None)),
            }
        });
        Ok(Response::new(Box::pin(shown)))
    }

    async fn resign(
        &self,
        request: Request<pb::ResignRequest>,
    ) -> Result<Response<pb::ResignResponse>, Status> {
        let caller = self.caller(&request).await?;
        let leader = leader_key(request.into_inner().leader)?;
        let resigning = self.server.resign(&caller, &leader.key, leader.rev);
        let revision = resigning.await.map_err(status)?;
        Ok(Response::new(pb::ResignResponse {
            header: Some(self.server.header(revision)),
        }))
    }
}
