//! The KV service: checks requests as etcd does, and hands them to the server.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::error::{auth_status, store_status};
use super::proto::etcdserverpb as pb;
use super::proto::etcdserverpb::kv_server::Kv;
use super::proto::vetcdpb::log_request;
use crate::mvcc::{self, KeyRanges, check};
use crate::server::{self, Credentials, Refusal, Server};

/// Serves KV from a [`Server`].
#[derive(Clone)]
pub struct KvService {
    server: Arc<Server>,
}

impl KvService {
    /// Serves `server`.
    pub fn new(server: Arc<Server>) -> KvService {
        KvService { server }
    }

    fn fill(&self, header: &mut Option<pb::ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = Some(self.server.header(revision));
    }
}

/// Whether every read of a read-only transaction may be served from local state.
fn is_serializable(request: &pb::TxnRequest) -> bool {
    let mut operations = request.success.iter().chain(&request.failure);
    operations.all(|operation| match &operation.request {
        Some(pb::request_op::Request::RequestRange(range)) => range.serializable,
        _ => false,
    })
}

fn unexpected(response: &server::Response) -> Status {
    Status::internal(format!(
        "the log answered with something else: {response:?}"
    ))
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = request.into_inner();
        if !request.serializable && self.server.is_learner() {
            return Err(Refusal::LearnerRefuses.into());
        }
        check::check_range(&request).map_err(|error| store_status(&error))?;
        self.server.metrics().server.ranges.inc();
        let serializable = request.serializable;
        let (published, caller) = self.server.read_as(&credentials, serializable).await?;
        let keys = |keys: &mut KeyRanges| keys.insert_request(&request.key, &request.range_end);
        let published = self.server.knowing(published, keys).await?;
        let permitted = published
            .auth
            .permit_range(&caller, &request.key, &request.range_end);
        permitted.map_err(auth_status)?;
        let mut response = published
            .state
            .range(&request)
            .map_err(|error| store_status(&error))?;
        self.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = request.into_inner();
        check::check_put(&request).map_err(|error| store_status(&error))?;
        let caller = self.server.caller(&credentials).await?;
        let request = log_request::Request::Put(request);
        self.server.check_quota(&request).await?;
        match self.server.propose_as(caller, request).await? {
            server::Response::Put(mut response) => {
                self.fill(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = request.into_inner();
        check::check_delete_range(&request).map_err(|error| store_status(&error))?;
        let request = log_request::Request::DeleteRange(request);
        let caller = self.server.caller(&credentials).await?;
        match self.server.propose_as(caller, request).await? {
            server::Response::DeleteRange(mut response) => {
                self.fill(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn txn(
        &self,
        request: Request<pb::TxnRequest>,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = request.into_inner();
        let limit = self.server.limits().txn_operations;
        check::check_txn(&request, limit).map_err(|error| store_status(&error))?;
        if mvcc::is_read_only(&request) {
            let serializable = is_serializable(&request);
            let (published, caller) = self.server.read_as(&credentials, serializable).await?;
            let keys = |keys: &mut KeyRanges| keys.insert_txn(&request);
            let published = self.server.knowing(published, keys).await?;
            let permitted = published
                .auth
                .permit_txn(&caller, &request, &|_| Vec::new());
            permitted.map_err(auth_status)?;
            let mut response = published
                .state
                .read_only_txn(&request)
                .map_err(|error| store_status(&error))?;
            self.fill(&mut response.header);
            return Ok(Response::new(response));
        }
        let caller = self.server.caller(&credentials).await?;
        let request = log_request::Request::Txn(request);
        self.server.check_quota(&request).await?;
        match self.server.propose_as(caller, request).await? {
            server::Response::Txn(mut response) => {
                self.fill(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let caller = self.server.caller(&Credentials::of(&request)).await?;
        let request = log_request::Request::Compaction(request.into_inner());
        self.server.propose_as(caller, request).await?;
        let revision = self.server.serializable().state.revision();
        Ok(Response::new(pb::CompactionResponse {
            header: Some(self.server.header(revision)),
        }))
    }
}
