//! What clients see: the generated protocol types and the services over them.

mod auth;
mod cluster;
pub mod descriptors;
mod election;
mod error;
mod gate;
mod health;
pub mod http;
mod kv;
mod lease;
mod lock;
mod maintenance;
pub mod serve;
mod snapshot_stream;
pub mod watch;

use std::sync::Arc;

use tokio::sync::watch as signal;

use crate::host::{Host, Listener};
use crate::server::Server;

use proto::etcdserverpb::auth_server::AuthServer;
use proto::etcdserverpb::cluster_server::ClusterServer;
use proto::etcdserverpb::kv_server::KvServer;
use proto::etcdserverpb::lease_server::LeaseServer;
use proto::etcdserverpb::maintenance_server::MaintenanceServer;
use proto::health::health_server::HealthServer;
use proto::v3electionpb::election_server::ElectionServer;
use proto::v3lockpb::lock_server::LockServer;
use serve::ServeLimits;

/// The etcd version whose API vetcd speaks; clients derive what they may use from it.
pub const API_VERSION: &str = "3.6.0";
/// The storage version that goes with it.
pub const STORAGE_VERSION: &str = "3.6.0";

/// How clients are served.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of connections and streams.
    pub serve: ServeLimits,
    /// The largest message that is taken from a client (bytes).
    pub receive_bytes: usize,
    /// Whether the time of each call is measured.
    pub extensive_metrics: bool,
}

/// Serves clients on `listener`, with what `serves` allows there, until `stop` turns true.
pub async fn serve_clients(
    host: Arc<dyn Host>,
    listener: Box<dyn Listener>,
    server: Arc<Server>,
    serves: http::Serves,
    limits: Limits,
    stop: signal::Receiver<bool>,
) {
    let receive = limits.receive_bytes;
    let kv = KvServer::new(kv::KvService::new(server.clone()))
        .max_decoding_message_size(receive)
        .max_encoding_message_size(usize::MAX);
    let cluster = ClusterServer::new(cluster::ClusterService::new(server.clone()))
        .max_decoding_message_size(receive);
    let auth = AuthServer::new(auth::AuthService::new(server.clone()))
        .max_decoding_message_size(receive)
        .max_encoding_message_size(usize::MAX);
    let lease = LeaseServer::new(lease::LeaseService::new(server.clone()))
        .max_decoding_message_size(receive)
        .max_encoding_message_size(usize::MAX);
    let lock =
        LockServer::new(lock::LockService::new(server.clone())).max_decoding_message_size(receive);
    let election = ElectionServer::new(election::ElectionService::new(server.clone()))
        .max_decoding_message_size(receive)
        .max_encoding_message_size(usize::MAX);
    let watch = watch::WatchService::new(server.clone(), receive);
    let maintenance = MaintenanceServer::new(maintenance::MaintenanceService::new(server.clone()))
        .max_decoding_message_size(receive);
    let routes = tonic::service::Routes::new(kv)
        .add_service(auth)
        .add_service(cluster)
        .add_service(lease)
        .add_service(lock)
        .add_service(election)
        .add_service(maintenance)
        .add_service(watch)
        .add_service(HealthServer::new(health::HealthService))
        .prepare();
    let gated = gate::Gate::new(routes, server.clone());
    let front = http::Front::new(server, gated, serves, &limits);
    serve::serve(host, listener, front, limits.serve, stop).await;
}

/// Generated protocol types; the definitions are in `src/api/proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::disallowed_types)]
pub mod proto {
    /// Users, roles and permissions.
    pub mod authpb {
        tonic::include_proto!("authpb");
    }
    /// Stored key-value pairs and events.
    pub mod mvccpb {
        tonic::include_proto!("mvccpb");
    }
    /// The v3 API.
    pub mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
    /// The Lock service.
    pub mod v3lockpb {
        tonic::include_proto!("v3lockpb");
    }
    /// The Election service.
    pub mod v3electionpb {
        tonic::include_proto!("v3electionpb");
    }
    /// gRPC's standard health service.
    pub mod health {
        tonic::include_proto!("grpc.health.v1");
    }
    /// Between vetcd's own members, and in its log.
    pub mod vetcdpb {
        tonic::include_proto!("vetcdpb");
    }
}
