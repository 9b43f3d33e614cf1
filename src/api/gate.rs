//! What is refused whatever is asked for: by a learner, everything but the reads that need no
//! quorum; by a member that knows no leader, the calls that require one. And what waits: as long as a
//! member has not read its whole store, all calls that are not about single keys.
//!
//! One gate before all services, so that a new service cannot forget to ask. Only a learner's
//! `Range` has to be looked into, which the KV service does itself.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, Either, Ready, poll_fn, ready};
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use crate::server::{Refusal, RequestError, Server};

/// The calls that a learner answers.
const ANSWERED: [&str; 5] = [
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/Snapshot",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];

/// The calls that are answered before the whole store is read: about keys that they name, which the KV
/// service looks to, or about none.
const NEED_NO_STORE: [&str; 12] = [
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/DeleteRange",
    "/etcdserverpb.KV/Txn",
    // One that looks at the past waits inside.
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/etcdserverpb.Auth/Authenticate",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/MoveLeader",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];
/// The same for all calls of a service.
const SERVICE_NEEDS_NO_STORE: &str = "/etcdserverpb.Cluster/";

fn needs_store(path: &str) -> bool {
    !NEED_NO_STORE.contains(&path) && !path.starts_with(SERVICE_NEEDS_NO_STORE)
}

/// The metadata by which a client asks to be refused, rather than told what a member that is cut
/// off believes, and to have its streams ended, when there is no leader.
const REQUIRES_LEADER: (&str, &str) = ("hasleader", "true");

/// Whether a call with these headers requires a leader.
pub(super) fn requires_leader(headers: &http::HeaderMap) -> bool {
    let (name, value) = REQUIRES_LEADER;
    let given = headers.get(name);
    given.is_some_and(|given| given.as_bytes() == value.as_bytes())
}

/// Services behind the gate.
#[derive(Clone)]
pub struct Gate<S> {
    inner: S,
    server: Arc<Server>,
}

impl<S> Gate<S> {
    /// Puts a gate before `inner`.
    pub fn new(inner: S, server: Arc<Server>) -> Gate<S> {
        Gate { inner, server }
    }
}

impl<S> Gate<S> {
    /// Passes a call on once the store has been read.
    async fn call_later<B>(mut self, request: http::Request<B>) -> Result<S::Response, S::Error>
    where
        S: Service<http::Request<B>, Response = http::Response<Body>>,
    {
        if !self.server.whole().read().await {
            return Ok(Status::from(RequestError::Stopped).into_http());
        }
        poll_fn(|context| self.inner.poll_ready(context)).await?;
        self.inner.call(request).await
    }
}

impl<S, B> Service<http::Request<B>> for Gate<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<
        Ready<Result<S::Response, S::Error>>,
        Either<S::Future, BoxFuture<'static, Result<S::Response, S::Error>>>,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let refusal = if !ANSWERED.contains(&request.uri().path()) && self.server.is_learner() {
            Status::from(Refusal::LearnerRefuses)
        } else if requires_leader(request.headers()) && self.server.raft_status().leader == 0 {
            Status::unavailable("etcdserver: no leader")
        } else if !self.server.whole().is_read() && needs_store(request.uri().path()) {
            return Either::Right(Either::Right(Box::pin(self.clone().call_later(request))));
        } else {
            return Either::Right(Either::Left(self.inner.call(request)));
        };
        Either::Left(ready(Ok(refusal.into_http())))
    }
}
