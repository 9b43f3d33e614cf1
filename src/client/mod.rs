//! A small gRPC client on any host.
//!
//! [`Channel`] is one HTTP/2 connection; every generated client works on it. [`Client`] keeps one
//! channel to one of several endpoints, bounds every call by time, and tells its caller what a
//! failure means ([`FailureClass`]). It never repeats a call and never changes the endpoint by
//! itself: a hidden retry could apply a write twice, and would hide from a history what happened.

mod channel;
mod elections;
mod failure;
mod leases;
pub mod watch;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Response, Status};

use crate::api::proto::etcdserverpb as pb;
use crate::host::Host;
use crate::host::quiet::QuietSleep;

pub use channel::{Channel, ChannelBody, ConnectError, TransportError};
pub use elections::{ElectionClient, Observation, election};
pub use failure::{CallError, FailureClass, classify};
pub use leases::{LeaseClient, LockClient, lease, lock};
pub use watch::WatchStream;

/// The generated KV client on a [`Channel`].
pub type KvClient = pb::kv_client::KvClient<Channel>;
/// The generated cluster client on a [`Channel`].
pub type ClusterClient = pb::cluster_client::ClusterClient<Channel>;
/// The generated maintenance client on a [`Channel`].
pub type MaintenanceClient = pb::maintenance_client::MaintenanceClient<Channel>;

/// The generated auth client on a [`Channel`].
pub type AuthClient = pb::auth_client::AuthClient<Channel>;

/// How long a [`Client`] waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// For one call, once connected.
    pub call_timeout: Duration,
    /// For connecting.
    pub connect_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            call_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
        }
    }
}

/// A client of a cluster: one endpoint at a time, one call at a time.
pub struct Client {
    host: Arc<dyn Host>,
    endpoints: Vec<String>,
    current: usize,
    channel: Option<Channel>,
    options: ClientOptions,
    user: Option<User>,
}

/// Who a client is, and the token that says so once it has logged in.
struct User {
    name: String,
    password: String,
    token: Option<String>,
}

impl Client {
    /// A client that starts with the first of `endpoints` (`host:port`, or a URL of the scheme
    /// `http`) and connects on its first call.
    ///
    /// # Panics
    /// When `endpoints` is empty.
    pub fn new(host: Arc<dyn Host>, endpoints: Vec<String>, options: ClientOptions) -> Client {
        assert!(!endpoints.is_empty(), "a client needs an endpoint");
        Client {
            host,
            endpoints,
            current: 0,
            channel: None,
            options,
            user: None,
        }
    }

    /// From now on calls are made as `name`. The client logs in before its next call, and again
    /// after a call that was refused because the token is no longer good; that call is not repeated.
    pub fn set_user(&mut self, name: impl Into<String>, password: impl Into<String>) {
        self.user = Some(User {
            name: name.into(),
            password: password.into(),
            token: None,
        });
    }

    /// The endpoint that calls go to.
    pub fn endpoint(&self) -> &str {
        &self.endpoints[self.current]
    }

    /// Gives the connection up and turns to the next endpoint, after the last to the first.
    pub fn next_endpoint(&mut self) {
        self.disconnect();
        self.current = (self.current + 1) % self.endpoints.len();
    }

    /// Gives the connection up; the next call makes a new one to the same endpoint.
    pub fn disconnect(&mut self) {
        if let Some(channel) = self.channel.take() {
            channel.close();
        }
    }

    /// The connection to the current endpoint, made when there is none or it has been closed.
    ///
    /// # Errors
    /// [`FailureClass::NotSent`], when no connection came up in time.
    pub async fn channel(&mut self) -> Result<Channel, CallError> {
        if let Some(channel) = &self.channel
            && !channel.is_closed()
        {
            return Ok(channel.clone());
        }
        self.channel = None;
        let limit = self.options.connect_timeout;
        let connecting = Channel::connect(self.host.clone(), self.endpoint());
        let channel = match within(&*self.host, limit, connecting).await {
            Some(Ok(channel)) => channel,
            Some(Err(error)) => return Err(CallError::not_sent(error.to_string())),
            None => {
                let endpoint = self.endpoint();
                return Err(CallError::not_sent(format!(
                    "cannot connect to {endpoint} within {limit:?}"
                )));
            }
        };
        self.channel = Some(channel.clone());
        Ok(channel)
    }

    /// Makes one call on the current connection, within the call time-out.
    ///
    /// # Errors
    /// What the server answered, or what became of the call, with its class.
    pub async fn call<T, F>(&mut self, make: impl FnOnce(Channel) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let channel = self.channel_of_user().await?;
        let limit = self.options.call_timeout;
        match within(&*self.host, limit, make(channel)).await {
            Some(Ok(response)) => Ok(response.into_inner()),
            Some(Err(status)) => {
                if failure::wants_new_token(&status)
                    && let Some(user) = &mut self.user
                {
                    user.token = None;
                }
                Err(CallError::from(status))
            }
            None => Err(CallError::timed_out(limit)),
        }
    }

    /// The connection, with the user's token where there is a user.
    async fn channel_of_user(&mut self) -> Result<Channel, CallError> {
        let channel = self.channel().await?;
        if self.user.is_some() {
            self.log_in(&channel).await?;
        }
        let token = self.user.as_ref().and_then(|user| user.token.as_deref());
        Ok(token.map_or_else(|| channel.clone(), |token| channel.with_token(token)))
    }

    /// Gets a token, unless there is one. While authentication is off none is needed.
    async fn log_in(&mut self, channel: &Channel) -> Result<(), CallError> {
        let Some(user) = self.user.as_mut().filter(|user| user.token.is_none()) else {
            return Ok(());
        };
        let request = pb::AuthenticateRequest {
            name: user.name.clone(),
            password: user.password.clone(),
        };
        let limit = self.options.call_timeout;
        let mut client = auth(channel.clone());
        let logging_in = within(&*self.host, limit, client.authenticate(request));
        match logging_in.await {
            Some(Ok(response)) => {
                user.token = Some(response.into_inner().token);
                Ok(())
            }
            Some(Err(status)) if failure::is_auth_off(&status) => Ok(()),
            // Whatever became of the login, the call itself was not sent.
            Some(Err(status)) => Err(CallError {
                class: FailureClass::NotSent,
                status: Box::new(status),
            }),
            None => Err(CallError::not_sent(format!(
                "cannot log in within {limit:?}"
            ))),
        }
    }

    /// Reads keys.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn range(
        &mut self,
        request: pb::RangeRequest,
    ) -> Result<pb::RangeResponse, CallError> {
        self.call(async |channel| kv(channel).range(request).await)
            .await
    }

    /// Writes a key.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn put(&mut self, request: pb::PutRequest) -> Result<pb::PutResponse, CallError> {
        self.call(async |channel| kv(channel).put(request).await)
            .await
    }

    /// Deletes keys.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn delete_range(
        &mut self,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, CallError> {
        self.call(async |channel| kv(channel).delete_range(request).await)
            .await
    }

    /// Runs a transaction.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn txn(&mut self, request: pb::TxnRequest) -> Result<pb::TxnResponse, CallError> {
        self.call(async |channel| kv(channel).txn(request).await)
            .await
    }

    /// Compacts the history of the keys.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn compact(
        &mut self,
        request: pb::CompactionRequest,
    ) -> Result<pb::CompactionResponse, CallError> {
        self.call(async |channel| kv(channel).compact(request).await)
            .await
    }

    /// Lists the members.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn member_list(
        &mut self,
        request: pb::MemberListRequest,
    ) -> Result<pb::MemberListResponse, CallError> {
        self.call(async |channel| cluster(channel).member_list(request).await)
            .await
    }

    /// Adds a member.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn member_add(
        &mut self,
        request: pb::MemberAddRequest,
    ) -> Result<pb::MemberAddResponse, CallError> {
        self.call(async |channel| cluster(channel).member_add(request).await)
            .await
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn member_promote(
        &mut self,
        request: pb::MemberPromoteRequest,
    ) -> Result<pb::MemberPromoteResponse, CallError> {
        self.call(async |channel| cluster(channel).member_promote(request).await)
            .await
    }

    /// Removes a member.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn member_remove(
        &mut self,
        request: pb::MemberRemoveRequest,
    ) -> Result<pb::MemberRemoveResponse, CallError> {
        self.call(async |channel| cluster(channel).member_remove(request).await)
            .await
    }

    /// Asks the current endpoint how it is.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn status(&mut self) -> Result<pb::StatusResponse, CallError> {
        self.call(async |channel| maintenance(channel).status(pb::StatusRequest {}).await)
            .await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.disconnect();
    }
}

/// A KV client that accepts responses of any size, as etcd's own clients do.
pub fn kv(channel: Channel) -> KvClient {
    KvClient::new(channel).max_decoding_message_size(usize::MAX)
}

/// A cluster client.
pub fn cluster(channel: Channel) -> ClusterClient {
    ClusterClient::new(channel).max_decoding_message_size(usize::MAX)
}

/// A maintenance client.
pub fn maintenance(channel: Channel) -> MaintenanceClient {
    MaintenanceClient::new(channel).max_decoding_message_size(usize::MAX)
}

/// An auth client.
pub fn auth(channel: Channel) -> AuthClient {
    AuthClient::new(channel).max_decoding_message_size(usize::MAX)
}

/// Awaits `future` for at most `limit` on the host's clock, polling the clock only when it rings.
async fn within<F: Future>(host: &dyn Host, limit: Duration, future: F) -> Option<F::Output> {
    let sleep = QuietSleep::new(host.sleep(limit));
    tokio::select! {
        biased;
        output = future => Some(output),
        () = sleep => None,
    }
}
