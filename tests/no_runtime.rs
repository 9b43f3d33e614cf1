//! The serving loop and the client must not need tokio's runtime: the simulation has none. Here they
//! run on threads that only poll, over pipes in memory; any call into tokio's runtime would panic.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "this host makes its tasks of threads"
)]

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::{mpsc, watch};
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::api::serve::ServeLimits;
use vetcd::client::{Client, ClientOptions, FailureClass};
use vetcd::host::{BoxFuture, Disk, Host, Listener, Moment, Stream, TaskHandle};

#[path = "support/fake.rs"]
mod fake;

/// A host whose tasks and sleeps are threads and whose network is pipes in this process.
struct ThreadHost {
    origin: Instant,
    listeners: Mutex<BTreeMap<String, mpsc::UnboundedSender<DuplexStream>>>,
}

impl Host for ThreadHost {
    fn now(&self) -> Moment {
        Moment(self.origin.elapsed())
    }

    fn wall_clock(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        let (ring, rung) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            std::thread::sleep(duration);
            let _ = ring.send(());
        });
        Box::pin(async move {
            let _ = rung.await;
        })
    }

    fn spawn(&self, _name: &'static str, task: BoxFuture<()>) -> TaskHandle {
        let (task, abort) = futures::future::abortable(task);
        std::thread::spawn(move || {
            let _ = block_on(task);
        });
        TaskHandle::new(move || abort.abort())
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        work();
        Box::pin(async {})
    }

    fn disk(&self) -> Arc<dyn Disk> {
        unreachable!("nothing here has a disk")
    }

    fn listen(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Listener>>> {
        let (sender, pipes) = mpsc::unbounded_channel();
        let address = address.to_owned();
        self.listeners
            .lock()
            .unwrap()
            .insert(address.clone(), sender);
        let listener: Box<dyn Listener> = Box::new(PipeListener { pipes, address });
        Box::pin(async move { Ok(listener) })
    }

    fn connect(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let listeners = self.listeners.lock().unwrap();
        let sent = listeners.get(address).map(|listener| listener.send(far));
        let connected: io::Result<Box<dyn Stream>> = match sent {
            Some(Ok(())) => Ok(Box::new(Pipe(near))),
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        };
        Box::pin(async move { connected })
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        buffer.fill(4);
    }

    fn boot_id(&self) -> String {
        "threads".to_owned()
    }
}

struct PipeListener {
    pipes: mpsc::UnboundedReceiver<DuplexStream>,
    address: String,
}

impl Listener for PipeListener {
    fn accept(&mut self) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + '_>> {
        Box::pin(async move {
            match self.pipes.recv().await {
                Some(pipe) => Ok(Box::new(Pipe(pipe)) as Box<dyn Stream>),
                None => std::future::pending().await,
            }
        })
    }

    fn local_address(&self) -> String {
        self.address.clone()
    }
}

struct Pipe(DuplexStream);

impl Stream for Pipe {
    fn peer_address(&self) -> String {
        "pipe".to_owned()
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

fn put(key: &'static [u8]) -> pb::PutRequest {
    pb::PutRequest {
        key: bytes::Bytes::from_static(key),
        ..Default::default()
    }
}

#[test]
fn calls_keepalive_timeouts_and_a_stop_need_no_runtime() {
    let host = Arc::new(ThreadHost {
        origin: Instant::now(),
        listeners: Mutex::default(),
    });
    let limits = ServeLimits {
        keepalive_interval: Some(Duration::from_millis(50)),
        opening_timeout: Duration::from_millis(100),
        drain: Duration::from_millis(500),
        ..ServeLimits::default()
    };
    let server = block_on(fake::start_at(
        &(host.clone() as Arc<dyn Host>),
        "a:1",
        limits,
    ));
    let options = ClientOptions {
        call_timeout: Duration::from_millis(300),
        ..ClientOptions::default()
    };
    let endpoints = vec!["b:1".to_owned(), "a:1".to_owned()];
    let mut client = Client::new(host.clone(), endpoints, options);

    let refused = block_on(client.put(put(b"k"))).unwrap_err();
    assert_eq!(refused.class, FailureClass::NotSent);
    client.next_endpoint();
    for _ in 0..20 {
        block_on(client.put(put(b"k"))).unwrap();
    }
    // Long enough for several pings of the server's.
    let hung = block_on(client.put(put(fake::HANG))).unwrap_err();
    assert_eq!(hung.class, FailureClass::Unknown);
    block_on(client.put(put(b"k"))).unwrap();

    server.stop.send(true).unwrap();
    let mut ended: watch::Receiver<bool> = server.ended.clone();
    block_on(ended.wait_for(|ended| *ended)).unwrap();
}
