//! What clients see: the generated protocol types and the services over them.

mod auth;
mod cluster;
mod error;
mod kv;
mod maintenance;
pub mod serve;

use std::sync::Arc;

use tokio::sync::watch;

use crate::host::{Host, Listener};
use crate::server::Server;

use proto::etcdserverpb::auth_server::AuthServer;
use proto::etcdserverpb::cluster_server::ClusterServer;
use proto::etcdserverpb::kv_server::KvServer;
use proto::etcdserverpb::maintenance_server::MaintenanceServer;
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
}

/// Serves clients on `listener` until `stop` turns true.
pub async fn serve_clients(
    host: Arc<dyn Host>,
    listener: Box<dyn Listener>,
    server: Arc<Server>,
    limits: Limits,
    stop: watch::Receiver<bool>,
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
    let maintenance = MaintenanceServer::new(maintenance::MaintenanceService::new(server))
        .max_decoding_message_size(receive);
    let routes = tonic::service::Routes::new(kv)
        .add_service(auth)
        .add_service(cluster)
        .add_service(maintenance)
        .prepare();
    serve::serve(host, listener, routes, limits.serve, stop).await;
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
    /// Between vetcd's own members, and in its log.
    pub mod vetcdpb {
        tonic::include_proto!("vetcdpb");
    }
}
