//! What a learner refuses: everything but the reads that need no quorum.
//!
//! One gate before all services, so that a new service cannot forget to ask. Only a `Range` has to
//! be looked into, which the KV service does itself.

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
        if ANSWERED.contains(&request.uri().path()) || !self.server.is_learner() {
            return Either::Right(self.inner.call(request));
        }
        let refusal = Status::from(Refusal::LearnerRefuses);
        Either::Left(ready(Ok(refusal.into_http())))
    }
}
