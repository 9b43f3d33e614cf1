//! What is refused whatever is asked for: by a learner, everything but the reads that need no
//! quorum; by a member that knows no leader, the calls that require one.
//!
//! One gate before all services, so that a new service cannot forget to ask. Only a learner's
//! `Range` has to be looked into, which the KV service does itself.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use crate::server::{Refusal, Server};

/// The calls that a learner answers.
const ANSWERED: [&str; 5] = [
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/Snapshot",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];

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

impl<S, B> Service<http::Request<B>> for Gate<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<S::Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let refusal = if !ANSWERED.contains(&request.uri().path()) && self.server.is_learner() {
            Status::from(Refusal::LearnerRefuses)
        } else if requires_leader(request.headers()) && self.server.raft_status().leader == 0 {
            Status::unavailable("etcdserver: no leader")
        } else {
            return Either::Right(self.inner.call(request));
        };
        Either::Left(ready(Ok(refusal.into_http())))
    }
}
