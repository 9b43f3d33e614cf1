//! `--auto-tls` and `--peer-auto-tls`: certificates signed by themselves, made once and kept in the
//! data directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Error;
use crate::config::{Config, MemberUrl};
use crate::host::{Disk, Host, HostExt, OpenMode, sync_parent};

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Certificate and key to serve clients with, if any.
pub(super) async fn client_files(
    host: &Arc<dyn Host>,
    config: &Config,
) -> Result<Option<(PathBuf, PathBuf)>, Error> {
    let security = &config.security;
    match (&security.cert_file, &security.key_file) {
        (Some(cert), Some(key)) => Ok(Some((cert.clone(), key.clone()))),
        _ if security.auto_tls => {
            let urls = config.listen_client_urls();
            made(host, config, "client", &urls).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// Certificate and key to speak to members with, if any.
pub(super) async fn peer_files(
    host: &Arc<dyn Host>,
    config: &Config,
) -> Result<Option<(PathBuf, PathBuf)>, Error> {
    let security = &config.security;
    match (&security.peer_cert_file, &security.peer_key_file) {
        (Some(cert), Some(key)) => Ok(Some((cert.clone(), key.clone()))),
        _ if security.peer_auto_tls => {
            let urls = config.listen_peer_urls();
            made(host, config, "peer", &urls).await.map(Some)
        }
        _ => Ok(None),
    }
}

async fn made(
    host: &Arc<dyn Host>,
    config: &Config,
    kind: &str,
    urls: &[MemberUrl],
) -> Result<(PathBuf, PathBuf), Error> {
    // Where etcd keeps them.
    let directory = config.data_dir().join("fixtures").join(kind);
    let files = (directory.join("cert.pem"), directory.join("key.pem"));
    let mut names: Vec<String> = urls
        .iter()
        .filter_map(|url| url.address.rsplit_once(':'))
        .map(|(name, _)| name.trim_matches(['[', ']']).to_owned())
        .collect();
    names.push("localhost".to_owned());
    names.sort();
    names.dedup();
    let valid = YEAR * config.security.self_signed_cert_validity;
    let (disk, now) = (host.disk(), host.wall_clock());
    let (cert, key) = files.clone();
    host.run_blocking(move || {
        let there = |path: &Path| disk.exists(path).map_err(|e| file_error(path, e));
        if there(&cert)? && there(&key)? {
            return Ok(());
        }
        let (cert_pem, key_pem) = make(names, now, valid)?;
        disk.create_dir_all(&directory)
            .map_err(|error| file_error(&directory, error))?;
        // The certificate last: with both there, both are whole.
        write(&*disk, &key, key_pem.as_bytes())?;
        write(&*disk, &cert, cert_pem.as_bytes())
    })
    .await
    .unwrap_or(Err(Error::Interrupted))?;
    Ok(files)
}

fn make(names: Vec<String>, now: Duration, valid: Duration) -> Result<(String, String), Error> {
    let wrong = |error: rcgen::Error| Error::Unusable(error.to_string());
    let key = rcgen::KeyPair::generate().map_err(wrong)?;
    let mut parameters = rcgen::CertificateParams::new(names).map_err(wrong)?;
    let mut name = rcgen::DistinguishedName::new();
    name.push(rcgen::DnType::OrganizationName, "vetcd");
    parameters.distinguished_name = name;
    let at = |time: Duration| {
        time::OffsetDateTime::from_unix_timestamp(time.as_secs() as i64)
            .map_err(|error| Error::Unusable(error.to_string()))
    };
    parameters.not_before = at(now)?;
    parameters.not_after = at(now + valid)?;
    parameters.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let certificate = parameters.self_signed(&key).map_err(wrong)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let written = (|| {
        let mut building = path.as_os_str().to_owned();
        building.push(".tmp");
        let building = PathBuf::from(building);
        let file = disk.open(&building, OpenMode::OpenOrCreate)?;
        file.set_len(0)?;
        file.write_at(0, bytes)?;
        file.sync_data()?;
        disk.rename(&building, path)?;
        sync_parent(disk, path)
    })();
    written.map_err(|error| file_error(path, error))
}

fn file_error(path: &Path, source: std::io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}
