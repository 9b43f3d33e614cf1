//! A host that dials `https://host:port` by TLS and leaves everything else to the host beneath.
//!
//! The peer transport dials addresses and knows nothing of TLS: which of them need it stands in the
//! address.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::reload::Reloading;
use crate::host::layer::{Layer, Layered};
use crate::host::{BoxFuture, Host, Stream};

/// See the module.
pub type PeerHost = Layered<ByTls>;

/// Dials by TLS where the address says so.
pub struct ByTls {
    pub(super) config: Arc<Reloading<ClientConfig>>,
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

impl Layer for ByTls {
    fn connect(
        &self,
        inner: &Arc<dyn Host>,
        address: &str,
    ) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        let Some(address) = address.strip_prefix("https://") else {
            return inner.connect(address);
        };
        let connecting = inner.connect(address);
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
}
