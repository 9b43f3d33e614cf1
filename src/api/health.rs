//! gRPC's standard health service: whether this member serves.
//!
//! As etcd, it answers for the server as a whole (the empty name) and knows no other service. A
//! member that runs serves: whether its cluster has a leader is what `/health` and `/readyz` tell.

use std::pin::Pin;

use tonic::{Request, Response, Status};

use super::proto::health::health_check_response::ServingStatus;
use super::proto::health::health_server::Health;
use super::proto::health::{HealthCheckRequest, HealthCheckResponse};

/// Serves Health.
#[derive(Clone, Default)]
pub struct HealthService;

type Statuses = Pin<Box<dyn futures::Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

fn answer(status: ServingStatus) -> HealthCheckResponse {
    let mut response = HealthCheckResponse::default();
    response.set_status(status);
    response
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match request.into_inner().service.is_empty() {
            true => Ok(Response::new(answer(ServingStatus::Serving))),
            false => Err(Status::not_found("unknown service")),
        }
    }

    type WatchStream = Statuses;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Statuses>, Status> {
        let status = match request.into_inner().service.is_empty() {
            true => ServingStatus::Serving,
            false => ServingStatus::ServiceUnknown,
        };
        // The status never changes while the member runs, and its end ends the stream.
        let first = futures::stream::once(std::future::ready(Ok(answer(status))));
        let never = futures::stream::pending();
        Ok(Response::new(Box::pin(futures::StreamExt::chain(
            first, never,
        ))))
    }
}
