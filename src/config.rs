//! stub
#![allow(missing_docs)]
use std::path::*; use std::time::Duration; use crate::api::proto::vetcdpb; use crate::wal;
#[derive(Debug, thiserror::Error)] #[error("x")] pub struct Error;
#[derive(Clone)] pub struct Config { pub name: String, pub pre_vote: bool, pub snapshot_count: u64, pub snapshot_catchup_entries: u64, pub heartbeat_interval: u64, pub election_timeout: u64, pub backend_batch_interval: Duration, pub backend_batch_limit: usize, pub max_request_bytes: usize, pub max_txn_ops: usize, pub wal_segment_bytes: u64 }
pub struct Cluster { pub cluster_id: u64, pub member_id: u64, pub members: Vec<vetcdpb::ClusterMember> }
impl Config {
 pub fn validate(&self) -> Result<(), Error> {Err(Error)}
 pub fn client_addresses(&self) -> Result<Vec<String>, Error> {Err(Error)}
 pub fn peer_addresses(&self) -> Result<Vec<String>, Error> {Err(Error)}
 pub fn cluster(&self) -> Result<Cluster, Error> {Err(Error)}
 pub fn data_dir(&self) -> PathBuf {PathBuf::new()}
 pub fn initial_cluster_is_given(&self) -> bool {true}
 pub fn wal_sync(&self) -> wal::SyncPolicy {wal::SyncPolicy::None}
 pub fn advertise_client_urls(&self) -> Vec<String> {vec![]}
}
pub fn address_of(_: &str) -> Result<String, Error> {Err(Error)}
