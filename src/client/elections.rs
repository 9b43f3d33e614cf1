//! Elections.

use tonic::{Request, Streaming};

use super::{CallError, Channel, Client, within};
use crate::api::proto::v3electionpb as pb;

/// The generated election client on a [`Channel`].
pub type ElectionClient = pb::election_client::ElectionClient<Channel>;

/// Who leads, told for as long as the stream lasts. Dropping it ends it.
pub struct Observation {
    responses: Streaming<pb::LeaderResponse>,
}

impl Observation {
    /// The next leader, or the next that this one says; `None` when the server has ended the stream
    /// in order.
    ///
    /// # Errors
    /// How the stream broke, or why the server ended it.
    pub async fn next(&mut self) -> Result<Option<pb::LeaderResponse>, CallError> {
        self.responses.message().await.map_err(CallError::from)
    }
}

impl Client {
    /// Waits to be elected, at most as long as a call may take.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn campaign(
        &mut self,
        request: pb::CampaignRequest,
    ) -> Result<pb::CampaignResponse, CallError> {
        self.call(async |channel| election(channel).campaign(request).await)
            .await
    }

    /// Says something else as the leader.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn proclaim(
        &mut self,
        request: pb::ProclaimRequest,
    ) -> Result<pb::ProclaimResponse, CallError> {
        self.call(async |channel| election(channel).proclaim(request).await)
            .await
    }

    /// Asks who leads.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn leader(
        &mut self,
        request: pb::LeaderRequest,
    ) -> Result<pb::LeaderResponse, CallError> {
        self.call(async |channel| election(channel).leader(request).await)
            .await
    }

    /// Gives the lead up.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn resign(
        &mut self,
        request: pb::ResignRequest,
    ) -> Result<pb::ResignResponse, CallError> {
        self.call(async |channel| election(channel).resign(request).await)
            .await
    }

    /// Begins to observe who leads. The server may answer nothing until somebody does.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn observe(&mut self, request: pb::LeaderRequest) -> Result<Observation, CallError> {
        let channel = self.channel_of_user().await?;
        let limit = self.options.call_timeout;
        let mut client = election(channel);
        match within(&*self.host, limit, client.observe(Request::new(request))).await {
            Some(Ok(response)) => Ok(Observation {
                responses: response.into_inner(),
            }),
            Some(Err(status)) => Err(CallError::from(status)),
            None => Err(CallError::timed_out(limit)),
        }
    }
}

/// An election client.
pub fn election(channel: Channel) -> ElectionClient {
    ElectionClient::new(channel)
}
