//! Leases and locks.

use tonic::{Response, Status};

use super::{CallError, Channel, Client};
use crate::api::proto::etcdserverpb as pb;
use crate::api::proto::v3lockpb;

/// The generated lease client on a [`Channel`].
pub type LeaseClient = pb::lease_client::LeaseClient<Channel>;
/// The generated lock client on a [`Channel`].
pub type LockClient = v3lockpb::lock_client::LockClient<Channel>;

impl Client {
    /// Grants a lease.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn lease_grant(
        &mut self,
        request: pb::LeaseGrantRequest,
    ) -> Result<pb::LeaseGrantResponse, CallError> {
        self.call(async |channel| lease(channel).lease_grant(request).await)
            .await
    }

    /// Ends a lease and removes its keys.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn lease_revoke(
        &mut self,
        request: pb::LeaseRevokeRequest,
    ) -> Result<pb::LeaseRevokeResponse, CallError> {
        self.call(async |channel| lease(channel).lease_revoke(request).await)
            .await
    }

    /// Renews a lease once, on a stream of its own. A TTL of 0 means that there is no such lease.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn lease_keep_alive(
        &mut self,
        request: pb::LeaseKeepAliveRequest,
    ) -> Result<pb::LeaseKeepAliveResponse, CallError> {
        self.call(async |channel| {
            let requests = futures::stream::iter([request]);
            let answers = lease(channel).lease_keep_alive(requests).await?;
            match answers.into_inner().message().await? {
                Some(answer) => Ok(Response::new(answer)),
                None => Err(Status::unknown("the stream ended without an answer")),
            }
        })
        .await
    }

    /// Asks what a lease has left.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn lease_time_to_live(
        &mut self,
        request: pb::LeaseTimeToLiveRequest,
    ) -> Result<pb::LeaseTimeToLiveResponse, CallError> {
        self.call(async |channel| lease(channel).lease_time_to_live(request).await)
            .await
    }

    /// Waits for a lock, at most as long as a call may take.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn lock(
        &mut self,
        request: v3lockpb::LockRequest,
    ) -> Result<v3lockpb::LockResponse, CallError> {
        self.call(async |channel| lock(channel).lock(request).await)
            .await
    }

    /// Gives a lock back.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn unlock(
        &mut self,
        request: v3lockpb::UnlockRequest,
    ) -> Result<v3lockpb::UnlockResponse, CallError> {
        self.call(async |channel| lock(channel).unlock(request).await)
            .await
    }
}

/// A lease client that accepts responses of any size.
pub fn lease(channel: Channel) -> LeaseClient {
    LeaseClient::new(channel).max_decoding_message_size(usize::MAX)
}

/// A lock client.
pub fn lock(channel: Channel) -> LockClient {
    LockClient::new(channel)
}
