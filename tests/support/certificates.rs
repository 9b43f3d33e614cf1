//! Certificates for tests, made when they are needed, and clients that use them.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

use std::fs;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A folder of files.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(TempDir::new().unwrap())
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        // By a rename, since a member that runs may read the file while it is written anew.
        let whole = self.path(&format!("{name}.new"));
        fs::write(&whole, content).unwrap();
        fs::rename(whole, &path).unwrap();
        path
    }

    /// Writes `issued` as files called `name`; the flags that name them. `prefix` is empty for
    /// clients' certificates and `peer-` for members'.
    pub fn certificate_flags(&self, prefix: &str, name: &str, issued: &Issued) -> Vec<String> {
        let certificate = self.write(&format!("{prefix}{name}.pem"), &issued.chain());
        let key = self.write(&format!("{prefix}{name}.key"), &issued.key_pem());
        vec![
            format!("--{prefix}cert-file={certificate}"),
            format!("--{prefix}key-file={key}"),
        ]
    }
}

/// Issues certificates.
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Issued {
    certificate: rcgen::Certificate,
    key: KeyPair,
    serial: SerialNumber,
}

impl Issued {
    pub fn chain(&self) -> String {
        self.certificate.pem()
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub fn der(&self) -> Vec<u8> {
        self.certificate.der().to_vec()
    }
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap();
        Authority {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn issue(&self, common_name: &str, names: &[&str]) -> Issued {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        let serial = SerialNumber::from_slice(&key.public_key_raw()[1..9]);
        params.serial_number = Some(serial.clone());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            certificate,
            key,
            serial,
        }
    }

    /// A list of revoked certificates, PEM.
    pub fn revoke(&self, revoked: &[&Issued]) -> String {
        let revoked = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: issued.serial.clone(),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A client that trusts this authority and shows a certificate, or none.
    pub fn client(&self, own: Option<&Issued>) -> Arc<ClientConfig> {
        let own: Vec<&Issued> = own.into_iter().collect();
        client_trusting(&self.pem(), &own)
    }
}

/// A client that trusts `pem` and shows the first of `own`, if any.
pub fn client_trusting(pem: &str, own: &[&Issued]) -> Arc<ClientConfig> {
    let builder = builder(pem, rustls::ALL_VERSIONS);
    Arc::new(match own.first() {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = vec![CertificateDer::from(own.der())];
            let key = PrivateKeyDer::from_pem_slice(own.key_pem().as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

/// A client without a certificate that speaks these versions only.
pub fn plain_client(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    Arc::new(builder(&authority.pem(), versions).with_no_client_auth())
}

fn builder(
    pem: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
}

/// Connects to `host:port` and shakes hands.
pub async fn connect(
    address: &str,
    client: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(client).connect(name, stream).await
}
