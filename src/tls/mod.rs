//! TLS over the host's streams: for clients, between members, in both worlds.
//!
//! rustls works on bytes, so TLS stands above [`Host`] and needs nothing of it but streams, the
//! wall clock (certificates expire) and its disk (certificates are files). [`listener`] wraps what
//! is accepted, [`PeerHost`] what is dialled. Files are looked at again when a connection comes, at
//! most once a second ([`reload`]): a renewed certificate or revocation list is in force without a
//! restart, and one that cannot be used is logged and leaves the old one in force.
//!
//! Keys, nonces and session secrets come from ring, not from [`Host::fill_random`]: with TLS a
//! simulation's bytes differ from run to run, though not their number or their time.

mod auto;
mod common_name;
mod listener;
mod peer_host;
mod reload;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::config::{Config, Security, TlsVersion};
use crate::host::Host;

pub use common_name::common_name;
pub use listener::listener;
pub use peer_host::{ByTls, PeerHost};
pub use reload::Reloading;
use verify::{Allowed, AnyServer, ClientVerifier, ServerVerifier};

/// Who a client has proven to be with its certificate: an extension of every request that came
/// over a connection on which client certificates are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate's common name; `None` when it has none.
    pub common_name: Option<String>,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the disk says.
        source: std::io::Error,
    },
    /// A file's content cannot be used.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificates, keys and settings do not go together.
    #[error("TLS: {0}")]
    Unusable(String),
    /// Reading was cut off; the process is going down.
    #[error("disk work did not finish")]
    Interrupted,
}

/// What is wrong with a choice of cipher suites, if anything.
///
/// # Errors
/// The first suite that is not known, with those that are.
pub fn check_cipher_suites(names: &[String]) -> Result<(), String> {
    let suites = rustls::crypto::ring::ALL_CIPHER_SUITES;
    let known: Vec<String> = suites.iter().copied().map(suite_name).collect();
    match names.iter().find(|name| !known.contains(name)) {
        Some(name) => Err(format!("\"{name}\" is not one of {}", known.join(", "))),
        None => Ok(()),
    }
}

/// A suite's name as the standard and etcd write it.
fn suite_name(suite: rustls::SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

/// What one side of TLS is made of, as the flags say it.
#[derive(Clone)]
struct Setup {
    host: Arc<dyn Host>,
    cert: PathBuf,
    key: PathBuf,
    /// Authorities of the other side's certificates.
    trusted: Option<PathBuf>,
    revoked: Option<PathBuf>,
    /// Whether to ask for and verify a certificate of whoever connects.
    verify_clients: bool,
    /// Whether to believe whoever is connected to: certificates were made without an authority.
    believe_servers: bool,
    allowed: Allowed,
    versions: Vec<&'static SupportedProtocolVersion>,
    suites: Vec<String>,
    protocols: &'static [&'static [u8]],
}

/// The server's side of TLS, as its files are now.
pub type ServerSide = Reloading<ServerConfig>;

/// The files' contents, in the order of [`Setup::paths`].
type Contents = Vec<Vec<u8>>;

impl Setup {
    fn new(host: &Arc<dyn Host>, security: &Security, cert: PathBuf, key: PathBuf) -> Setup {
        let mut versions = Vec::new();
        for (version, supported) in [
            (TlsVersion::Tls12, &rustls::version::TLS12),
            (TlsVersion::Tls13, &rustls::version::TLS13),
        ] {
            if (security.tls_min_version..=security.tls_max_version()).contains(&version) {
                versions.push(supported);
            }
        }
        Setup {
            host: host.clone(),
            cert,
            key,
            trusted: None,
            revoked: None,
            verify_clients: false,
            believe_servers: false,
            allowed: Allowed::Anyone,
            versions,
            suites: security.cipher_suites.clone(),
            protocols: &[],
        }
    }

    fn paths(&self) -> Vec<PathBuf> {
        let optional = [&self.trusted, &self.revoked];
        let mut paths = vec![self.cert.clone(), self.key.clone()];
        paths.extend(optional.into_iter().flatten().cloned());
        paths
    }

    fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = rustls::crypto::ring::default_provider();
        if !self.suites.is_empty() {
            // The choice is for TLS 1.2 alone, as in etcd.
            provider.cipher_suites.retain(|suite| {
                suite.tls13().is_some() || self.suites.contains(&suite_name(*suite))
            });
        }
        Arc::new(provider)
    }

    fn chain(&self, contents: &Contents) -> Result<Vec<CertificateDer<'static>>, Error> {
        certificates(&contents[0]).map_err(|reason| content(&self.cert, reason))
    }

    fn private_key(&self, contents: &Contents) -> Result<PrivateKeyDer<'static>, Error> {
        PrivateKeyDer::from_pem_slice(&contents[1])
            .map_err(|error| content(&self.key, format!("no private key: {error}")))
    }

    fn roots(&self, contents: &Contents) -> Result<Arc<RootCertStore>, Error> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.trusted {
            let authorities = certificates(&contents[2]).map_err(|reason| content(path, reason))?;
            for authority in authorities {
                roots
                    .add(authority)
                    .map_err(|error| content(path, error.to_string()))?;
            }
        }
        Ok(Arc::new(roots))
    }

    fn revocations(
        &self,
        contents: &Contents,
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
        let (Some(path), Some(bytes)) = (&self.revoked, contents.last()) else {
            return Ok(Vec::new());
        };
        if !bytes.starts_with(b"-----BEGIN") {
            return Ok(vec![CertificateRevocationListDer::from(bytes.clone())]);
        }
        CertificateRevocationListDer::pem_slice_iter(bytes)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| content(path, error.to_string()))
    }

    fn server_config(&self, contents: &Contents) -> Result<ServerConfig, Error> {
        let provider = self.provider();
        let time = Arc::new(HostTime(self.host.clone()));
        let builder = ServerConfig::builder_with_details(provider.clone(), time)
            .with_protocol_versions(&self.versions)
            .map_err(unusable)?;
        let builder = match self.verify_clients {
            false => builder.with_no_client_auth(),
            true => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(self.roots(contents)?, provider)
                        .with_crls(self.revocations(contents)?)
                        .only_check_end_entity_revocation()
                        .allow_unknown_revocation_status()
                        .build()
                        .map_err(|error| Error::Unusable(error.to_string()))?;
                let allowed = self.allowed.clone();
                builder.with_client_cert_verifier(Arc::new(ClientVerifier { verifier, allowed }))
            }
        };
        let mut config = builder
            .with_single_cert(self.chain(contents)?, self.private_key(contents)?)
            .map_err(|error| content(&self.cert, error.to_string()))?;
        config.alpn_protocols = self.protocols.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }

    fn client_config(&self, contents: &Contents) -> Result<ClientConfig, Error> {
        let provider = self.provider();
        let time = Arc::new(HostTime(self.host.clone()));
        let builder = ClientConfig::builder_with_details(provider.clone(), time)
            .with_protocol_versions(&self.versions)
            .map_err(unusable)?;
        let builder = match self.believe_servers {
            true => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyServer { provider })),
            false => {
                let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
                    self.roots(contents)?,
                    provider,
                )
                .with_crls(self.revocations(contents)?)
                .only_check_end_entity_revocation()
                .allow_unknown_revocation_status()
                .build()
                .map_err(|error| Error::Unusable(error.to_string()))?;
                let allowed = self.allowed.clone();
                let verifier = Arc::new(ServerVerifier { verifier, allowed });
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(verifier)
            }
        };
        builder
            .with_client_auth_cert(self.chain(contents)?, self.private_key(contents)?)
            .map_err(|error| content(&self.cert, error.to_string()))
    }

    async fn server(self) -> Result<Arc<Reloading<ServerConfig>>, Error> {
        let (host, paths) = (self.host.clone(), self.paths());
        let build = move |contents: &Contents| self.server_config(contents);
        Ok(Arc::new(Reloading::start(host, paths, build).await?))
    }

    async fn client(self) -> Result<Arc<Reloading<ClientConfig>>, Error> {
        let (host, paths) = (self.host.clone(), self.paths());
        let build = move |contents: &Contents| self.client_config(contents);
        Ok(Arc::new(Reloading::start(host, paths, build).await?))
    }
}

fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    match chain.is_empty() {
        true => Err("no certificate in PEM form".to_owned()),
        false => Ok(chain),
    }
}

fn content(path: &std::path::Path, reason: impl Into<String>) -> Error {
    Error::Content {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

fn unusable(error: rustls::Error) -> Error {
    Error::Unusable(error.to_string())
}

/// Certificates are valid by the host's clock.
struct HostTime(Arc<dyn Host>);

impl std::fmt::Debug for HostTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostTime")
    }
}

impl TimeProvider for HostTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.wall_clock()))
    }
}

/// What a member needs to speak TLS; each part is there when the flags give certificates for it.
#[derive(Clone, Default)]
pub struct Tls {
    clients: Option<Arc<ServerSide>>,
    /// As `clients`, but nobody is asked for a certificate.
    metrics: Option<Arc<ServerSide>>,
    peers: Option<Arc<ServerSide>>,
    dialling: Option<Arc<Reloading<ClientConfig>>>,
}

impl Tls {
    /// Reads the files that the flags name, and makes certificates where they ask for that.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub async fn start(host: &Arc<dyn Host>, config: &Config) -> Result<Tls, Error> {
        let security = &config.security;
        let mut tls = Tls::default();
        if let Some((cert, key)) = auto::client_files(host, config).await? {
            let plain = Setup {
                protocols: &[b"h2", b"http/1.1"],
                ..Setup::new(host, security, cert, key)
            };
            tls.metrics = Some(plain.clone().server().await?);
            let hostname = security.client_cert_allowed_hostname.clone();
            let verify_clients = security.trusted_ca_file.is_some();
            let setup = Setup {
                trusted: security.trusted_ca_file.clone(),
                revoked: security.client_crl_file.clone().filter(|_| verify_clients),
                verify_clients,
                allowed: Allowed::new(None, hostname)?,
                ..plain
            };
            tls.clients = Some(setup.server().await?);
        }
        if let Some((cert, key)) = auto::peer_files(host, config).await? {
            let name = security.peer_cert_allowed_cn.clone();
            let hostname = security.peer_cert_allowed_hostname.clone();
            let verify_clients = security.peer_trusted_ca_file.is_some();
            let setup = Setup {
                trusted: security.peer_trusted_ca_file.clone(),
                revoked: security.peer_crl_file.clone().filter(|_| verify_clients),
                verify_clients,
                believe_servers: !verify_clients,
                allowed: Allowed::new(name, hostname)?,
                ..Setup::new(host, security, cert, key)
            };
            tls.peers = Some(setup.clone().server().await?);
            tls.dialling = Some(setup.client().await?);
        }
        Ok(tls)
    }

    /// For listeners that serve clients.
    pub fn clients(&self) -> Option<Arc<ServerSide>> {
        self.clients.clone()
    }

    /// For listeners that serve metrics alone.
    pub fn metrics(&self) -> Option<Arc<ServerSide>> {
        self.metrics.clone()
    }

    /// For listeners that serve members.
    pub fn peers(&self) -> Option<Arc<ServerSide>> {
        self.peers.clone()
    }

    /// `host`, dialling `https://` addresses by TLS where the flags provide for it.
    pub fn peer_host(&self, host: &Arc<dyn Host>) -> Arc<dyn Host> {
        match &self.dialling {
            Some(config) => {
                let config = config.clone();
                Arc::new(PeerHost::new(host.clone(), ByTls { config }))
            }
            None => host.clone(),
        }
    }
}
