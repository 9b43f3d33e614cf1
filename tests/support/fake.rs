//! A KV service that remembers nothing, to test the serving loop and the client by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::api::proto::etcdserverpb::kv_server::{Kv, KvServer};
use vetcd::api::proto::mvccpb::KeyValue;
use vetcd::api::serve::{ServeLimits, serve};
use vetcd::host::os::OsHost;
use vetcd::host::{Host, TaskHandle};

/// What the keys of a request ask the fake service to do.
pub const HANG: &[u8] = b"hang";
pub const NO_LEADER: &[u8] = b"no-leader";
#[allow(dead_code, reason = "each test file uses its part")]
pub const ECHO_SIZE: &[u8] = b"echo-size";

/// Answers a range with the key itself; hangs and fails where the key asks for it.
#[derive(Clone, Default)]
pub struct FakeKv {
    /// Puts that have begun.
    pub begun: Arc<AtomicUsize>,
    /// Puts that have ended, by an answer or by being dropped.
    pub ended: Arc<AtomicUsize>,
}

struct Ending(Arc<AtomicUsize>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tonic::async_trait]
impl Kv for FakeKv {
    async fn range(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let request = request.into_inner();
        let value = match &*request.key {
            ECHO_SIZE => Bytes::from(vec![7; request.limit as usize]),
            _ => request.key.clone(),
        };
        let kv = KeyValue {
            key: request.key,
            value,
            ..Default::default()
        };
        Ok(Response::new(pb::RangeResponse {
            count: 1,
            kvs: vec![kv],
            ..Default::default()
        }))
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let _ending = Ending(self.ended.clone());
        match &*request.get_ref().key {
            HANG => std::future::pending().await,
            NO_LEADER => Err(Status::unavailable("etcdserver: no leader")),
            _ => Ok(Response::new(pb::PutResponse {
                header: Some(pb::ResponseHeader {
                    revision: request.get_ref().value.len() as i64,
                    ..Default::default()
                }),
                prev_kv: None,
            })),
        }
    }

    async fn delete_range(
        &self,
        _: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn txn(&self, _: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn compact(
        &self,
        _: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        Ok(Response::new(Default::default()))
    }
}

/// A running fake server.
#[allow(dead_code, reason = "each test file uses its part")]
pub struct FakeServer {
    pub address: String,
    pub kv: FakeKv,
    pub stop: watch::Sender<bool>,
    pub ended: watch::Receiver<bool>,
    pub task: TaskHandle,
}

/// Starts a fake server on a free loopback port.
#[allow(dead_code, reason = "each test file uses its part")]
pub async fn start(host: &Arc<OsHost>, limits: ServeLimits) -> FakeServer {
    start_at(&(host.clone() as Arc<dyn Host>), "127.0.0.1:0", limits).await
}

/// Starts a fake server at `address` through tonic's router, as the real one does.
pub async fn start_at(host: &Arc<dyn Host>, address: &str, limits: ServeLimits) -> FakeServer {
    let listener = host.listen(address).await.unwrap();
    let address = listener.local_address();
    let kv = FakeKv::default();
    let service = KvServer::new(kv.clone()).max_decoding_message_size(64 << 20);
    let routes = tonic::service::Routes::new(service).prepare();
    let (stop, stopping) = watch::channel(false);
    let (end, ended) = watch::channel(false);
    let serving = serve(host.clone(), listener, routes, limits, stopping);
    let task = host.spawn(
        "fake",
        Box::pin(async move {
            serving.await;
            let _ = end.send(true);
        }),
    );
    FakeServer {
        address,
        kv,
        stop,
        ended,
        task,
    }
}
