//! What stands before the gRPC services on a client listener: it counts calls, and answers plain
//! HTTP (the JSON gateway, health, metrics, version) beside them.
//!
//! The gateway calls the same gRPC routes in this process, so that whatever checks and counts calls
//! does so for both. Request bodies are bounded before they are read.

mod body;
mod gateway;
mod health;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tower_service::Service;

use super::API_VERSION;
use super::gate::Gate;
use crate::metrics;
use crate::server::Server;

pub use body::FrontBody;
use body::Received;
pub use gateway::PATHS as GATEWAY_PATHS;

/// The gRPC services, behind what stands before all of them.
type Routes = Gate<tonic::service::Routes>;

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// gRPC and HTTP: the client URLs.
    All,
    /// gRPC, health and metrics: the client URLs where HTTP has URLs of its own.
    Grpc,
    /// HTTP alone.
    Http,
    /// Health and metrics alone.
    Metrics,
}

/// The service of a listener.
#[derive(Clone)]
pub struct Front {
    server: Arc<Server>,
    routes: Routes,
    serves: Serves,
    receive_bytes: usize,
    extensive: bool,
}

type Answering =
    Pin<Box<dyn Future<Output = Result<Response<FrontBody>, Infallible>> + Send + 'static>>;

impl Front {
    /// Puts HTTP before `routes`.
    pub fn new(
        server: Arc<Server>,
        routes: Routes,
        serves: Serves,
        limits: &super::Limits,
    ) -> Front {
        Front {
            server,
            routes,
            serves,
            receive_bytes: limits.receive_bytes,
            extensive: limits.extensive_metrics,
        }
    }

    fn grpc(&mut self, request: Request<Incoming>) -> Answering {
        let metrics = self.server.metrics().clone();
        let call = metrics.calls.get(request.uri().path()).cloned();
        if let Some(call) = &call {
            call.start();
            let version = request.headers().get("client-api-version");
            let version = version.and_then(|version| version.to_str().ok());
            metrics.calls.count_client(call, version);
        }
        let timed = self.extensive.then(|| self.server.host().clone());
        let timed = timed.map(|host| (host.now(), host));
        let request = request.map(|body| Received::new(body, call.clone(), metrics.clone()));
        let answering = self.routes.call(request);
        Box::pin(async move {
            let response = answering.await.unwrap_or_else(|never| match never {});
            Ok(FrontBody::counted(response, call, timed, metrics))
        })
    }

    async fn http(self, request: Request<Incoming>) -> Response<FrontBody> {
        let path = request.uri().path();
        let mut response = match path {
            _ if request.method() == Method::OPTIONS => text(StatusCode::OK, ""),
            "/health" | "/livez" | "/readyz" | "/metrics" | "/version" => {
                self.endpoint(&request).await
            }
            _ if path.starts_with("/livez/") || path.starts_with("/readyz/") => {
                self.endpoint(&request).await
            }
            _ if self.serves == Serves::Metrics || self.serves == Serves::Grpc => not_found(),
            _ if path.starts_with("/v3/") || path.starts_with("/v3beta/") => {
                gateway::answer(self.routes, request, self.receive_bytes).await
            }
            _ => not_found(),
        };
        // etcd lets any page in a browser ask, and so do we: who may do what is for auth to say.
        let headers = response.headers_mut();
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (
                header::ACCESS_CONTROL_ALLOW_METHODS,
                "POST, GET, OPTIONS, PUT, DELETE",
            ),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "accept, content-type, authorization",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    async fn endpoint(&self, request: &Request<Incoming>) -> Response<FrontBody> {
        if request.method() != Method::GET {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
            let headers = response.headers_mut();
            headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
            return response;
        }
        match request.uri().path() {
            "/health" => health::health(&self.server, request.uri()).await,
            "/version" => {
                let cluster = API_VERSION.rsplit_once('.').map_or("", |(minor, _)| minor);
                let body = format!(
                    "{{\"etcdserver\":\"{API_VERSION}\",\"etcdcluster\":\"{cluster}.0\",\
                     \"storage\":\"{}\"}}",
                    super::STORAGE_VERSION
                );
                respond(StatusCode::OK, "application/json", body)
            }
            "/metrics" => match metrics::render(&self.server).await {
                Ok(body) => respond(
                    StatusCode::OK,
                    "text/plain; version=0.0.4; charset=utf-8",
                    body,
                ),
                Err(reason) => text(StatusCode::INTERNAL_SERVER_ERROR, reason),
            },
            _ => health::probe(&self.server, request.uri()).await,
        }
    }
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<FrontBody>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Answering {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if is_grpc && matches!(self.serves, Serves::All | Serves::Grpc) {
            return self.grpc(request);
        }
        let front = self.clone();
        Box::pin(async move { Ok(front.http(request).await) })
    }
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<FrontBody> {
    let mut response = Response::new(FrontBody::whole(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<FrontBody> {
    let mut response = respond(status, "text/plain; charset=utf-8", body);
    if status != StatusCode::OK {
        let headers = response.headers_mut();
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
    }
    response
}

fn not_found() -> Response<FrontBody> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}
