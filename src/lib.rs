//! vetcd: a key-value server with etcd's v3 API that can be vetted.
//!
//! The map, in the order a write travels: [`api`] (gRPC services) → [`server`] (propose, apply,
//! linearizable read) → [`raft`] (consensus and peer transport) → [`wal`] (the write-ahead log) →
//! [`mvcc`] (revisions, pure) → [`backend`] (the store on disk) and [`snapshot`] (the store as a
//! stream). [`watch`] tells clients what was written; [`auth`] (users and permissions, pure) says who
//! may do what. Everything that touches the outside goes through [`host`], so that the testbed can run
//! this same code on a virtual clock, a simulated network and a simulated disk. [`util`] is the offline
//! tool `vetcdutl`.

#![warn(missing_docs)]

pub mod api;
pub mod auth;
pub mod backend;
pub mod client;
pub mod config;
pub mod defects;
pub mod host;
pub mod lease;
pub mod metrics;
pub mod mvcc;
pub mod raft;
pub mod server;
pub mod snapshot;
pub mod storage;
pub mod tls;
pub mod util;
pub mod wal;
pub mod watch;
