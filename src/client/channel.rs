//! One HTTP/2 connection that generated gRPC clients can call through.
//!
//! The connection lives as long as a clone of the [`Channel`], a call in progress or a response
//! body; with the last of them it is cut, and every task it had on the host ends. It is never
//! re-established: when it is closed, calls fail without being sent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::Status;

use crate::host::http::{HostExecutor, HostTimer};
use crate::host::{BoxFuture, Host, Stream};

/// Bytes the server may send on one stream before they are read.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
/// Bytes the server may send on the connection before they are read.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// All headers of one response together, bytes.
const HEADER_SIZE_MAX: u32 = 16 * 1024;
/// Streams opened before the server has said how many it allows; those above its limit would be
/// refused. The others wait for its first frame.
const STREAMS_AT_FIRST: usize = 1;
/// A connection with calls in progress and silent for this long is pinged.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// A ping unanswered for this long closes the connection.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection. Nothing has been sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint is not `host:port`, nor a URL of the scheme `http`.
    #[error("\"{endpoint}\" is not an endpoint: expected host:port or http://host:port")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// The network said no.
    #[error("{endpoint}: {source}")]
    Network {
        /// Where to.
        endpoint: String,
        /// What it said.
        source: io::Error,
    },
    /// The other side does not speak HTTP/2.
    #[error("{endpoint}: HTTP/2 handshake: {source}")]
    Handshake {
        /// Where to.
        endpoint: String,
        /// What went wrong.
        source: hyper::Error,
    },
}

/// What became of a call whose connection failed; the source of its [`Status`].
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The connection was closed before the request was handed to it.
    #[error("the connection to {endpoint} is closed, the request was not sent")]
    NotSent {
        /// Where to.
        endpoint: String,
    },
    /// The connection or the stream broke before the response: the request may have arrived.
    #[error("the connection to {endpoint} broke: {source}")]
    Broken {
        /// Where to.
        endpoint: String,
        /// How.
        source: hyper::Error,
    },
}

/// A cheaply cloned handle to one HTTP/2 connection.
#[derive(Clone)]
pub struct Channel {
    sender: http2::SendRequest<tonic::body::Body>,
    line: Arc<Line>,
    /// Goes with every request as the metadata `token`.
    token: Option<HeaderValue>,
}

/// What the clones, calls and response bodies of one connection share.
struct Line {
    endpoint: String,
    authority: Authority,
    cut: Arc<Cut>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.cut.cut();
    }
}

impl Channel {
    /// Connects to `endpoint`: `host:port`, or a URL of the scheme `http`.
    ///
    /// May hang as long as the network does; the caller bounds it.
    ///
    /// # Errors
    /// When the endpoint is malformed, the network refuses, or the handshake fails.
    pub async fn connect(host: Arc<dyn Host>, endpoint: &str) -> Result<Channel, ConnectError> {
        let endpoint = endpoint.strip_prefix("http://").unwrap_or(endpoint);
        let Some(authority) = authority(endpoint) else {
            let endpoint = endpoint.to_owned();
            return Err(ConnectError::Endpoint { endpoint });
        };
        let endpoint = endpoint.to_owned();
        let stream = match host.connect(&endpoint).await {
            Ok(stream) => stream,
            Err(source) => return Err(ConnectError::Network { endpoint, source }),
        };
        let cut = Arc::new(Cut::default());
        // Made before the handshake: if this future is dropped inside it, the line is cut.
        let line = Arc::new(Line {
            endpoint,
            authority,
            cut: cut.clone(),
        });
        let handshake = http2::Builder::new(HostExecutor::new(host.clone()))
            .timer(HostTimer::new(host.clone()))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADER_SIZE_MAX)
            .initial_max_send_streams(STREAMS_AT_FIRST)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .handshake(TokioIo::new(CuttableStream { stream, cut }));
        let (sender, connection) = match handshake.await {
            Ok(connected) => connected,
            Err(source) => {
                let endpoint = line.endpoint.clone();
                return Err(ConnectError::Handshake { endpoint, source });
            }
        };
        let endpoint = line.endpoint.clone();
        // Detached: it ends when the line is cut or the other side closes.
        drop(host.spawn(
            "client-connection",
            Box::pin(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(endpoint, %error, "client connection broke");
                }
            }),
        ));
        Ok(Channel {
            sender,
            line,
            token: None,
        })
    }

    /// Whether the connection is known to be closed: a call now would fail without being sent.
    pub fn is_closed(&self) -> bool {
        self.line.cut.is_cut() || self.sender.is_closed()
    }

    /// Cuts the connection at once. Calls in progress fail, their outcome unknown.
    pub fn close(&self) {
        self.line.cut.cut();
    }

    /// The same connection for the holder of `token`; one that no header can carry is left out.
    pub fn with_token(&self, token: &str) -> Channel {
        let mut token = HeaderValue::from_str(token).ok();
        if let Some(token) = &mut token {
            token.set_sensitive(true);
        }
        Channel {
            token,
            ..self.clone()
        }
    }

    /// The address the connection was made to (`host:port`).
    pub fn endpoint(&self) -> &str {
        &self.line.endpoint
    }

    /// Completes the target: generated clients give a path alone, HTTP/2 wants the rest too.
    fn complete(&self, uri: &mut Uri) {
        if uri.authority().is_none() {
            let path = uri.path_and_query().cloned();
            let mut parts = http::uri::Parts::default();
            parts.scheme = Some(Scheme::HTTP);
            parts.authority = Some(self.line.authority.clone());
            parts.path_and_query = Some(path.unwrap_or(PathAndQuery::from_static("/")));
            *uri = Uri::from_parts(parts).expect("scheme, authority and path make a URI");
        }
    }
}

/// The authority `host:port`; `None` when it is anything else.
fn authority(endpoint: &str) -> Option<Authority> {
    let authority: Authority = endpoint.parse().ok()?;
    let port = authority.port_u16().is_some();
    (port && !authority.host().is_empty() && !authority.as_str().contains('@')).then_some(authority)
}

impl tower_service::Service<Request<tonic::body::Body>> for Channel {
    type Response = Response<ChannelBody>;
    type Error = Status;
    type Future = BoxFuture<Result<Response<ChannelBody>, Status>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // A closed connection is told by `call`.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<tonic::body::Body>) -> Self::Future {
        let line = self.line.clone();
        if line.cut.is_cut() {
            return Box::pin(async move { Err(line.not_sent()) });
        }
        self.complete(request.uri_mut());
        if let Some(token) = &self.token {
            request.headers_mut().insert("token", token.clone());
        }
        let sent = self.sender.try_send_request(request);
        Box::pin(async move {
            match sent.await {
                Ok(response) => Ok(response.map(|body| ChannelBody { body, _line: line })),
                Err(mut error) => match error.take_message() {
                    // Handed back: it never reached the connection.
                    Some(_) => Err(line.not_sent()),
                    None => Err(line.broken(error.into_error())),
                },
            }
        })
    }
}

impl Line {
    fn not_sent(&self) -> Status {
        let endpoint = self.endpoint.clone();
        unavailable(TransportError::NotSent { endpoint })
    }

    fn broken(&self, source: hyper::Error) -> Status {
        let endpoint = self.endpoint.clone();
        unavailable(TransportError::Broken { endpoint, source })
    }
}

fn unavailable(error: TransportError) -> Status {
    let mut status = Status::unavailable(error.to_string());
    status.set_source(Arc::new(error));
    status
}

/// A response's body; it keeps its connection up.
pub struct ChannelBody {
    body: Incoming,
    _line: Arc<Line>,
}

impl Body for ChannelBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Cuts a [`CuttableStream`] from outside.
#[derive(Default)]
struct Cut {
    done: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Cut {
    fn cut(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.reader.wake();
        self.writer.wake();
    }

    fn is_cut(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }

    /// Lets `waker` know of the cut; an error when it has happened.
    fn check(&self, waker: &AtomicWaker, cx: &Context<'_>) -> io::Result<()> {
        waker.register(cx.waker());
        if self.is_cut() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// A stream that fails as soon as it is cut. hyper keeps the stream in a task of its own that
/// outlives its handles while the other side does not answer; failing the stream ends it.
struct CuttableStream {
    stream: Box<dyn Stream>,
    cut: Arc<Cut>,
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.cut.check(&self.cut.reader, cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.cut.check(&self.cut.writer, cx)?;
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.cut.check(&self.cut.writer, cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut.check(&self.cut.writer, cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut.check(&self.cut.writer, cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn endpoints() {
        for good in [
            "127.0.0.1:2379",
            "localhost:1",
            "[::1]:2379",
            "member-1.sim:2379",
        ] {
            assert_eq!(
                authority(good).map(|a| a.to_string()).as_deref(),
                Some(good)
            );
        }
        for bad in [
            "",
            "localhost",
            ":2379",
            "a:b",
            "me@a:1",
            "a:1/path",
            "https://a:1",
            "a:99999",
        ] {
            assert!(authority(bad).is_none(), "{bad}");
        }
    }
}
