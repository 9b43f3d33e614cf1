//! stub
#![allow(missing_docs)]
use std::path::*; use std::sync::Arc; use crate::host::*; use crate::api::proto::vetcdpb;
#[derive(Debug, Clone, thiserror::Error)] #[error("x")] pub struct Error;
#[derive(Clone,Copy,Debug)] pub struct Metadata { pub cluster_id: u64, pub member_id: u64 }
#[derive(Clone,Copy,Debug,Default)] pub struct HardState { pub term: u64, pub vote: u64, pub commit: u64 }
#[derive(Clone,Debug)] pub struct SnapshotMark { pub index: u64, pub term: u64, pub conf_state: vetcdpb::ConfState }
#[derive(Default)] pub struct Batch { pub entries: Vec<vetcdpb::Entry>, pub hard_state: Option<HardState>, pub snapshot: Option<SnapshotMark>, pub must_sync: bool, pub ack_early: bool }
#[derive(Clone,Copy,Debug)] pub struct Options { pub segment_bytes: u64 }
pub struct Log;
impl Log {
  pub fn create(_: Arc<dyn Disk>, _: &Path, _: Metadata, _: Options) -> Result<Log, Error> {Err(Error)}
  pub fn exists(_: &dyn Disk, _: &Path) -> Result<bool, Error> {Err(Error)}
  pub fn open(_: Arc<dyn Disk>, _: &Path, _: Options) -> Result<(Log, Recovered), Error> {Err(Error)}
  pub fn append(&mut self, _: &Batch) -> Result<(), Error> {Err(Error)}
  pub fn sync(&mut self) -> Result<(), Error> {Err(Error)}
}
#[derive(Debug)] pub struct TornTail;
pub struct Recovered { pub metadata: Metadata, pub hard_state: HardState, pub snapshot: Option<SnapshotMark>, pub entries: Vec<vetcdpb::Entry>, pub torn: Option<TornTail> }
#[derive(Clone,Copy,Debug,PartialEq)] pub enum SyncPolicy { Always, None }
impl SyncPolicy { pub fn keeps_acknowledged_writes_over_power_loss(&self) -> bool {true} }
pub enum Ack { Persisted { ticket: u64 }, Failed(Error) }
pub struct WriterMetrics;
pub struct Writer;
impl Writer {
  pub fn start(_: Arc<dyn Host>, _: Log, _: SyncPolicy, _: tokio::sync::mpsc::UnboundedSender<Ack>) -> Writer {Writer}
  pub fn append(&self, _: u64, _: Batch) {}
  pub fn release(&self, _: u64) {}
  pub fn queued_bytes(&self) -> u64 {0}
  pub fn metrics(&self) -> Arc<WriterMetrics> {Arc::new(WriterMetrics)}
}
