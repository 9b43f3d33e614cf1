//! The serving loop: accepts a host's connections and answers HTTP/2 (gRPC) and HTTP/1.1 on them.
//!
//! The same loop runs in production and in the simulation. It must never touch tokio's runtime:
//! tasks, time and sockets come from the [`Host`]. What a client can make the server hold is bounded
//! by [`ServeLimits`]; a client that stays silent loses its connection.

use std::collections::BTreeMap;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_service::Service;

use crate::host::http::{HostExecutor, HostTimer};
use crate::host::quiet::QuietSleep;
use crate::host::{Host, HostExt, Identity, Listener, Stream, TaskHandle};
use crate::tls::ClientIdentity;

/// An error of a served service; it ends the HTTP stream.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long to wait before accepting again after accepting has failed (no file descriptors left).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Fewer bytes than the shortest thing a client may open with: HTTP/2's preface, or a request.
const OPENING_BYTES: usize = 24;

/// What one listener's clients may make the server hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeLimits {
    /// Connections at a time; more wait in the listener's backlog.
    pub connections_max: u32,
    /// HTTP/2 streams (calls in progress) on one connection; more wait at the client.
    pub streams_max: u32,
    /// Largest HTTP/2 frame accepted, bytes (16 384 ..= 16 777 215).
    pub frame_size_max: u32,
    /// All headers of one request together, bytes.
    pub header_size_max: u32,
    /// Bytes a client may send on one stream before the service has read them.
    pub stream_window: u32,
    /// Bytes a client may send on one connection before the services have read them.
    pub connection_window: u32,
    /// Bytes of responses held for one stream whose client does not read.
    pub send_buffer_max: usize,
    /// An HTTP/2 connection silent for this long is pinged; `None` never pings.
    pub keepalive_interval: Option<Duration>,
    /// A ping unanswered for this long closes the connection.
    pub keepalive_timeout: Duration,
    /// A new connection that has not opened its first request within this time is closed, and so
    /// is an HTTP/1.1 connection idle for this long.
    pub opening_timeout: Duration,
    /// After a stop, calls in progress have this long to end.
    pub drain: Duration,
}

impl Default for ServeLimits {
    fn default() -> ServeLimits {
        ServeLimits {
            connections_max: 10_000,
            streams_max: 10_000,
            frame_size_max: 16 * 1024,
            header_size_max: 16 * 1024,
            stream_window: 1024 * 1024,
            connection_window: 4 * 1024 * 1024,
            send_buffer_max: 1024 * 1024,
            keepalive_interval: Some(Duration::from_secs(2 * 60 * 60)),
            keepalive_timeout: Duration::from_secs(20),
            opening_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(2),
        }
    }
}

/// Serves `service` on `listener` until `stop` becomes true.
///
/// On a stop no connection is accepted any more, clients are told to go away, calls in progress get
/// [`ServeLimits::drain`] to end, and the rest is cut. Dropping the returned future cuts everything
/// at once. A `stop` whose sender is gone never comes.
pub async fn serve<S, B>(
    host: Arc<dyn Host>,
    mut listener: Box<dyn Listener>,
    service: S,
    limits: ServeLimits,
    mut stop: watch::Receiver<bool>,
) where
    S: Service<http::Request<Incoming>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let slots = Arc::new(Semaphore::new(limits.connections_max as usize));
    let connections = Connections::default();
    let server = Server {
        builder: builder(&host, &limits),
        service,
        host: host.clone(),
        opening_timeout: limits.opening_timeout,
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            accepted = next_connection(&mut listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, slot)) => connections.start(&server, stream, slot),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                host.sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    connections.go_away();
    let ended = slots.acquire_many(limits.connections_max);
    if host.timeout(limits.drain, ended).await.is_none() {
        tracing::info!("cutting connections whose calls did not end in time");
    }
}

/// Waits for a free slot, then for a connection to put in it.
async fn next_connection(
    listener: &mut Box<dyn Listener>,
    slots: &Arc<Semaphore>,
) -> io::Result<(Box<dyn Stream>, OwnedSemaphorePermit)> {
    let slot = slots
        .clone()
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    Ok((listener.accept().await?, slot))
}

/// Completes once `stop` is true; never, when nobody can set it any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn builder(host: &Arc<dyn Host>, limits: &ServeLimits) -> auto::Builder<HostExecutor> {
    let timer = HostTimer::new(host.clone());
    let mut builder = auto::Builder::new(HostExecutor::new(host.clone()));
    builder
        .http1()
        .timer(timer.clone())
        .auto_date_header(false)
        .header_read_timeout(limits.opening_timeout)
        .max_buf_size(limits.header_size_max as usize * 4);
    builder
        .http2()
        .timer(timer)
        .auto_date_header(false)
        .max_concurrent_streams(limits.streams_max)
        .max_frame_size(limits.frame_size_max)
        .max_header_list_size(limits.header_size_max)
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_send_buf_size(limits.send_buffer_max)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout);
    builder
}

/// What every connection of one serving loop shares.
struct Server<S> {
    builder: auto::Builder<HostExecutor>,
    service: S,
    host: Arc<dyn Host>,
    opening_timeout: Duration,
}

/// The connections being served; dropping it cuts them.
#[derive(Default)]
struct Connections {
    started: AtomicUsize,
    live: Arc<Live>,
}

type Live = Mutex<BTreeMap<usize, LiveConnection>>;

/// A connection that is being served.
struct LiveConnection {
    /// `None` between the connection's start and its task's.
    task: Option<TaskHandle>,
    /// Tells it to go away. Each connection has its own: of several that wait for one value tokio
    /// wakes them in an order drawn from a counter of the process.
    stop: watch::Sender<bool>,
}

impl Connections {
    fn start<S, B>(&self, server: &Server<S>, stream: Box<dyn Stream>, slot: OwnedSemaphorePermit)
    where
        S: Service<http::Request<Incoming>, Response = http::Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let (stop, stopping) = watch::channel(false);
        lock(&self.live).insert(number, LiveConnection { task: None, stop });
        let entry = LiveEntry {
            number,
            live: self.live.clone(),
            _slot: slot,
        };
        let received = Arc::new(AtomicUsize::new(0));
        let peer = stream.peer_address();
        let service = Identified {
            service: server.service.clone(),
            identity: stream.identity(),
        };
        let opening = Opening {
            received: received.clone(),
            limit: QuietSleep::new(server.host.sleep(server.opening_timeout)),
        };
        let connection = server
            .builder
            .serve_connection(
                TokioIo::new(CountedStream { stream, received }),
                TowerToHyperService::new(service),
            )
            .into_owned();
        let task = server.host.spawn(
            "http-connection",
            Box::pin(async move {
                let _entry = entry;
                match drive(connection, opening, stopping).await {
                    Ok(()) => tracing::trace!(peer, "connection ended"),
                    Err(error) => tracing::debug!(peer, error, "connection broke"),
                }
            }),
        );
        // The task may already have ended, and its entry with it.
        if let Some(place) = lock(&self.live).get_mut(&number) {
            place.task = Some(task);
        }
    }

    /// Tells every client to go away, the oldest connection first.
    fn go_away(&self) {
        for connection in lock(&self.live).values() {
            connection.stop.send_replace(true);
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        // Taken out first: a task that ends inside `abort` removes its entry under the same lock.
        let tasks = std::mem::take(&mut *lock(&self.live));
        for task in tasks
            .values()
            .filter_map(|connection| connection.task.as_ref())
        {
            task.abort();
        }
    }
}

/// A live connection's place in [`Connections`] and among the permitted ones.
struct LiveEntry {
    number: usize,
    live: Arc<Live>,
    _slot: OwnedSemaphorePermit,
}

impl Drop for LiveEntry {
    fn drop(&mut self) {
        lock(&self.live).remove(&self.number);
    }
}

fn lock(live: &Live) -> MutexGuard<'_, BTreeMap<usize, LiveConnection>> {
    live.lock().unwrap_or_else(|e| e.into_inner())
}

/// The time a connection has to open its first request.
struct Opening {
    received: Arc<AtomicUsize>,
    limit: QuietSleep,
}

/// Drives one connection to its end, telling it when to go away.
async fn drive<S, B>(
    connection: auto::Connection<
        'static,
        TokioIo<CountedStream>,
        TowerToHyperService<Identified<S>>,
        HostExecutor,
    >,
    mut opening: Opening,
    mut stop: watch::Receiver<bool>,
) -> Result<(), BoxError>
where
    S: Service<http::Request<Incoming>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let mut connection = pin!(connection);
    let mut stopping = false;
    let mut opened = false;
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => return result,
            () = stopped(&mut stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut opening.limit, if !opened => {
                opened = true;
                if opening.received.load(Ordering::Relaxed) < OPENING_BYTES {
                    return Err("opened no request in time".into());
                }
            }
        }
    }
}

/// A service whose requests carry who their connection's client has proven to be.
#[derive(Clone)]
struct Identified<S> {
    service: S,
    identity: Option<Identity>,
}

impl<S: Service<http::Request<Incoming>>> Service<http::Request<Incoming>> for Identified<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Incoming>) -> S::Future {
        if let Some(identity) = &self.identity
            && let Some(common_name) = identity.common_name()
        {
            let common_name = common_name.map(str::to_owned);
            request
                .extensions_mut()
                .insert(ClientIdentity { common_name });
        }
        self.service.call(request)
    }
}

/// A stream that counts, up to [`OPENING_BYTES`], what it has received.
struct CountedStream {
    stream: Box<dyn Stream>,
    received: Arc<AtomicUsize>,
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let received = self.received.load(Ordering::Relaxed);
        if received < OPENING_BYTES {
            let now = received.saturating_add(buffer.filled().len() - before);
            self.received.store(now, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
