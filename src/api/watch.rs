//! The Watch service: gRPC around [`crate::watch`].
//!
//! It is written by hand where tonic would generate it, for one reason: events arrive here encoded,
//! the same bytes for everybody who watches, and are copied into the response as they are.

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BufMut;
use prost::Message;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::gate::requires_leader;
use super::proto::etcdserverpb as pb;
use crate::server::{Credentials, Server};
use crate::watch::{Outgoing, Requests, Session};

/// Opens a stream of watches that answers `requests`, however they are transported.
///
/// Waits until the member's state is known to be the cluster's: after a permitted loss it might
/// otherwise tell of writes that the cluster has given up.
///
/// Whether the client may see what it wants to watch is decided as each watch is created, and not
/// again, as in etcd.
///
/// # Errors
/// `Unavailable` when there is no leader and one is required, or the member's state is not known to
/// be the cluster's in time; `FailedPrecondition` on a learner.
pub async fn open(
    server: &Arc<Server>,
    requests: Requests,
    credentials: Credentials,
    requires_leader: bool,
) -> Result<Session, Status> {
    server.wait_for_token(&credentials).await;
    let published = server.read(true).await?;
    let own = published.members.get(server.identity().member_id);
    if own.is_some_and(|member| member.is_learner) {
        let text = "etcdserver: rpc not supported for learner";
        return Err(Status::failed_precondition(text));
    }
    if requires_leader && server.raft_status().leader == 0 {
        return Err(Status::unavailable("etcdserver: no leader"));
    }
    let headers = server.clone();
    let permits = server.clone();
    Ok(Session::new(
        server.watches().clone(),
        server.host().clone(),
        server.watch_options(),
        move |revision| headers.header(revision),
        move |create| {
            let permitted = permits.permit_watch(&credentials, &create.key, &create.range_end);
            permitted.map_err(|error| go_text(&error.into()))
        },
        requests,
        requires_leader,
    ))
}

/// A status as etcd writes one into a text.
fn go_text(status: &Status) -> String {
    let code = status.code();
    format!("rpc error: code = {code:?} desc = {}", status.message())
}

/// Serves Watch from a [`Server`].
#[derive(Clone)]
pub struct WatchService {
    server: Arc<Server>,
    receive_bytes: usize,
}

impl WatchService {
    /// Serves `server`; a request may have `receive_bytes` at most.
    pub fn new(server: Arc<Server>, receive_bytes: usize) -> WatchService {
        WatchService {
            server,
            receive_bytes,
        }
    }
}

impl NamedService for WatchService {
    const NAME: &'static str = "etcdserverpb.Watch";
}

type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl StreamingService<pb::WatchRequest> for WatchService {
    type Response = Outgoing;
    type ResponseStream = Session;
    type Future = BoxFuture<Response<Session>, Status>;

    fn call(&mut self, request: Request<Streaming<pb::WatchRequest>>) -> Self::Future {
        let server = self.server.clone();
        let requires_leader = requires_leader(request.metadata().as_ref());
        let credentials = Credentials::of(&request);
        Box::pin(async move {
            let requests = Box::pin(request.into_inner());
            let session = open(&server, requests, credentials, requires_leader).await?;
            Ok(Response::new(session))
        })
    }
}

impl tower_service::Service<http::Request<tonic::body::Body>> for WatchService {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != "/etcdserverpb.Watch/Watch" {
                return Ok(Status::unimplemented("").into_http());
            }
            let limit = service.receive_bytes;
            let mut grpc = Grpc::new(SharedCodec::<pb::WatchRequest>::default())
                .max_decoding_message_size(limit)
                .max_encoding_message_size(usize::MAX);
            Ok(grpc.streaming(service, request).await)
        })
    }
}

/// Decodes `T`, encodes [`Outgoing`].
struct SharedCodec<T>(PhantomData<T>);

impl<T> Default for SharedCodec<T> {
    fn default() -> SharedCodec<T> {
        SharedCodec(PhantomData)
    }
}

impl<T: Message + Default + Send + 'static> Codec for SharedCodec<T> {
    type Encode = Outgoing;
    type Decode = T;
    type Encoder = SharedEncoder;
    type Decoder = ProstDecoder<T>;

    fn encoder(&mut self) -> SharedEncoder {
        SharedEncoder
    }

    fn decoder(&mut self) -> ProstDecoder<T> {
        ProstDecoder(PhantomData)
    }
}

struct SharedEncoder;

impl Encoder for SharedEncoder {
    type Item = Outgoing;
    type Error = Status;

    fn encode(&mut self, item: Outgoing, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        let head = item.head.encode(buffer);
        head.map_err(|error| Status::internal(error.to_string()))?;
        for event in &item.events {
            buffer.put_slice(event);
        }
        Ok(())
    }
}

struct ProstDecoder<T>(PhantomData<T>);

impl<T: Message + Default> Decoder for ProstDecoder<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        let decoded = T::decode(buffer);
        decoded
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
