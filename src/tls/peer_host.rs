//! A host that dials `https://host:port` by TLS and leaves everything else to the host beneath.
//!
//! The peer transport dials addresses and knows nothing of TLS: which of them need it stands in the
//! address.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::reload::Reloading;
use crate::defects::Defects;
use crate::host::{
    BoxFuture, Disk, Event, Host, Listener, Moment, ProcessUsage, Stream, TaskHandle,
};

/// See the module.
pub struct PeerHost {
    inner: Arc<dyn Host>,
    config: Arc<Reloading<ClientConfig>>,
}

impl PeerHost {
    pub(super) fn new(inner: Arc<dyn Host>, config: Arc<Reloading<ClientConfig>>) -> PeerHost {
        PeerHost { inner, config }
    }
}

impl Stream for TlsStream<Box<dyn Stream>> {
    fn peer_address(&self) -> String {
        self.get_ref().0.peer_address()
    }
}

/// The host in `host:port`, without an IPv6 address's brackets.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

impl Host for PeerHost {
    fn connect(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        let Some(address) = address.strip_prefix("https://") else {
            return self.inner.connect(address);
        };
        let connecting = self.inner.connect(address);
        let name = ServerName::try_from(host_of(address).to_owned());
        let config = self.config.clone();
        Box::pin(async move {
            let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let stream = connecting.await?;
            let connector = TlsConnector::from(config.current().await);
            let stream: Box<dyn Stream> = Box::new(connector.connect(name, stream).await?);
            Ok(stream)
        })
    }

    fn now(&self) -> Moment {
        self.inner.now()
    }
    fn wall_clock(&self) -> Duration {
        self.inner.wall_clock()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        self.inner.sleep(duration)
    }
    fn spawn(&self, name: &'static str, task: BoxFuture<()>) -> TaskHandle {
        self.inner.spawn(name, task)
    }
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        self.inner.blocking(work)
    }
    fn disk(&self) -> Arc<dyn Disk> {
        self.inner.disk()
    }
    fn listen(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Listener>>> {
        self.inner.listen(address)
    }
    fn fill_random(&self, buffer: &mut [u8]) {
        self.inner.fill_random(buffer)
    }
    fn boot_id(&self) -> String {
        self.inner.boot_id()
    }
    fn process_usage(&self) -> Option<ProcessUsage> {
        self.inner.process_usage()
    }
    fn observe(&self, event: Event) {
        self.inner.observe(event)
    }
    fn defects(&self) -> Defects {
        self.inner.defects()
    }
}
