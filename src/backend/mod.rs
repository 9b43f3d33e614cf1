//! stub
#![allow(missing_docs)]
use std::path::*; use std::sync::Arc; use crate::host::*; use crate::api::proto::vetcdpb; use crate::mvcc::*;
#[derive(Debug, thiserror::Error)] #[error("x")] pub struct Error;
pub struct Backend; pub struct Loaded { pub state: State, pub meta: vetcdpb::BackendMeta }
pub struct Size { pub total_bytes: u64, pub in_use_bytes: u64 }
impl Backend {
 pub fn open(_: Arc<dyn Disk>, _: &Path) -> Result<Backend, Error> {Err(Error)}
 pub fn load(&self) -> Result<Loaded, Error> {Err(Error)}
 pub fn commit(&self, _: &Changes, _: &vetcdpb::BackendMeta) -> Result<(), Error> {Err(Error)}
 pub fn replace(_: Arc<dyn Disk>, _: &Path, _: &State, _: &vetcdpb::BackendMeta) -> Result<Backend, Error> {Err(Error)}
 pub fn size(&self) -> Result<Size, Error> {Err(Error)}
}
