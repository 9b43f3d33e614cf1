//! stub
#![allow(missing_docs)]
use crate::api::proto::etcdserverpb as pb; use crate::defects::Defects;
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)] #[error("x")] pub struct Error;
pub enum Code { InvalidArgument, NotFound, OutOfRange }
impl Error { pub fn message(&self) -> &'static str {""} pub fn code(&self) -> Code {Code::NotFound} }
#[derive(Clone)] pub struct State;
pub struct Changes;
pub struct StateHash { pub hash: u32, pub compact_revision: i64, pub revision: i64 }
impl State {
 pub fn new() -> State {State}
 pub fn revision(&self) -> i64 {0}
 pub fn compact_revision(&self) -> i64 {0}
 pub fn compact_finished(&self) -> i64 {0}
 pub fn range(&self, _: &pb::RangeRequest) -> Result<pb::RangeResponse, Error> {Err(Error)}
 pub fn put(&mut self, _: &pb::PutRequest) -> Result<pb::PutResponse, Error> {Err(Error)}
 pub fn delete_range(&mut self, _: &pb::DeleteRangeRequest) -> Result<pb::DeleteRangeResponse, Error> {Err(Error)}
 pub fn txn(&mut self, _: &pb::TxnRequest, _: &Defects) -> Result<pb::TxnResponse, Error> {Err(Error)}
 pub fn read_only_txn(&self, _: &pb::TxnRequest) -> Result<pb::TxnResponse, Error> {Err(Error)}
 pub fn compact(&mut self, _: i64) -> Result<(), Error> {Err(Error)}
 pub fn compact_step(&mut self, _: usize) -> bool {false}
 pub fn take_changes(&mut self) -> Changes {Changes}
 pub fn hash(&self, _: i64) -> Result<StateHash, Error> {Err(Error)}
}
pub mod check {
 use super::*;
 pub fn range(_: &pb::RangeRequest) -> Result<(), Error> {Err(Error)}
 pub fn put(_: &pb::PutRequest) -> Result<(), Error> {Err(Error)}
 pub fn delete_range(_: &pb::DeleteRangeRequest) -> Result<(), Error> {Err(Error)}
 pub fn txn(_: &pb::TxnRequest, _: usize) -> Result<(), Error> {Err(Error)}
 pub fn is_read_only(_: &pb::TxnRequest) -> bool {true}
 pub fn is_serializable(_: &pb::TxnRequest) -> bool {true}
}
