//! The flags of TLS, and what they must satisfy together.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::flags::go_bool;
use super::{Error, MemberUrl, invalid};

/// TLS towards clients and between members, as the flags describe it; [`crate::tls`] acts on it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Security")]
pub struct Security {
    /// The server's certificate chain towards clients, PEM.
    #[arg(long, value_name = "FILE")]
    pub cert_file: Option<PathBuf>,

    /// The key of --cert-file, PEM.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Accept only clients with a certificate of --trusted-ca-file; its common name is their user.
    #[arg(long, value_name = "BOOL", default_value = "false", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub client_cert_auth: bool,

    /// Authorities whose client certificates are accepted, PEM.
    #[arg(long, value_name = "FILE")]
    pub trusted_ca_file: Option<PathBuf>,

    /// Client certificates that are revoked, PEM.
    #[arg(long, value_name = "FILE")]
    pub client_crl_file: Option<PathBuf>,

    /// Accept only client certificates that are valid for this host name.
    #[arg(long, value_name = "HOSTNAME")]
    pub client_cert_allowed_hostname: Option<String>,

    /// Serve clients with a certificate made at the first start, kept in the data directory.
    #[arg(long, value_name = "BOOL", default_value = "false", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub auto_tls: bool,

    /// This member's certificate chain towards the other members, PEM.
    #[arg(long, value_name = "FILE")]
    pub peer_cert_file: Option<PathBuf>,

    /// The key of --peer-cert-file, PEM.
    #[arg(long, value_name = "FILE")]
    pub peer_key_file: Option<PathBuf>,

    /// Accept only members with a certificate of --peer-trusted-ca-file.
    #[arg(long, value_name = "BOOL", default_value = "false", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub peer_client_cert_auth: bool,

    /// Authorities whose members' certificates are accepted, PEM.
    #[arg(long, value_name = "FILE")]
    pub peer_trusted_ca_file: Option<PathBuf>,

    /// Members' certificates that are revoked, PEM.
    #[arg(long, value_name = "FILE")]
    pub peer_crl_file: Option<PathBuf>,

    /// Accept only members whose certificate has this common name.
    #[arg(long, value_name = "NAME")]
    pub peer_cert_allowed_cn: Option<String>,

    /// Accept only members whose certificate is valid for this host name.
    #[arg(long, value_name = "HOSTNAME")]
    pub peer_cert_allowed_hostname: Option<String>,

    /// Speak TLS between members with certificates made at the first start. It hides what is said
    /// and proves nothing about who says it.
    #[arg(long, value_name = "BOOL", default_value = "false", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub peer_auto_tls: bool,

    /// Years that certificates made by --auto-tls and --peer-auto-tls are valid.
    #[arg(long, value_name = "YEARS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub self_signed_cert_validity: u32,

    /// The oldest version of TLS to speak: TLS1.2 or TLS1.3.
    #[arg(long, value_name = "VERSION", default_value = "TLS1.2", value_parser = tls_version)]
    pub tls_min_version: TlsVersion,

    /// The newest version of TLS to speak: TLS1.2 or TLS1.3 [default: the newest].
    #[arg(long, value_name = "VERSION", value_parser = optional_tls_version)]
    pub(super) tls_max_version: Option<MaxVersion>,

    /// Cipher suites of TLS 1.2 to offer, separated by commas [default: all that are safe].
    #[arg(long, value_name = "SUITES", value_delimiter = ',')]
    pub cipher_suites: Vec<String>,
}

/// A version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

/// `--tls-max-version`, which may be given empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MaxVersion(Option<TlsVersion>);

fn tls_version(text: &str) -> Result<TlsVersion, String> {
    match text {
        "" | "TLS1.2" => Ok(TlsVersion::Tls12),
        "TLS1.3" => Ok(TlsVersion::Tls13),
        _ => Err("expected TLS1.2 or TLS1.3".to_owned()),
    }
}

fn optional_tls_version(text: &str) -> Result<MaxVersion, String> {
    match text {
        "" => Ok(MaxVersion(None)),
        _ => tls_version(text).map(|version| MaxVersion(Some(version))),
    }
}

impl Security {
    /// The newest version of TLS to speak.
    pub fn tls_max_version(&self) -> TlsVersion {
        match self.tls_max_version {
            Some(MaxVersion(Some(version))) => version,
            _ => TlsVersion::Tls13,
        }
    }

    /// Whether clients can be served by TLS.
    pub fn has_client_tls(&self) -> bool {
        self.cert_file.is_some() || self.auto_tls
    }

    /// Whether members can speak TLS to each other.
    pub fn has_peer_tls(&self) -> bool {
        self.peer_cert_file.is_some() || self.peer_auto_tls
    }

    /// Empty values mean that a flag is not given, as in etcd.
    pub(super) fn normalize(&mut self) {
        for path in [
            &mut self.cert_file,
            &mut self.key_file,
            &mut self.trusted_ca_file,
            &mut self.client_crl_file,
            &mut self.peer_cert_file,
            &mut self.peer_key_file,
            &mut self.peer_trusted_ca_file,
            &mut self.peer_crl_file,
        ] {
            path.take_if(|path| path.as_os_str().is_empty());
        }
        for text in [
            &mut self.client_cert_allowed_hostname,
            &mut self.peer_cert_allowed_cn,
            &mut self.peer_cert_allowed_hostname,
        ] {
            text.take_if(|text| text.is_empty());
        }
        self.cipher_suites.retain(|suite| !suite.is_empty());
    }

    /// The first contradiction.
    pub(super) fn validate(&self) -> Result<(), Error> {
        for (prefix, cert, key, auto) in [
            ("", &self.cert_file, &self.key_file, self.auto_tls),
            (
                "peer-",
                &self.peer_cert_file,
                &self.peer_key_file,
                self.peer_auto_tls,
            ),
        ] {
            if cert.is_some() != key.is_some() {
                let (given, missing) = match cert.is_some() {
                    true => ("cert", "key"),
                    false => ("key", "cert"),
                };
                return invalid(format!(
                    "--{prefix}{given}-file is given without --{prefix}{missing}-file"
                ));
            }
            if cert.is_some() && auto {
                return invalid(format!(
                    "--{prefix}cert-file and --{prefix}auto-tls contradict each other: drop one"
                ));
            }
        }
        for (flag, given, needs, there) in [
            (
                "client-cert-auth",
                self.client_cert_auth,
                "trusted-ca-file",
                self.trusted_ca_file.is_some(),
            ),
            (
                "client-crl-file",
                self.client_crl_file.is_some(),
                "client-cert-auth",
                self.client_cert_auth || self.trusted_ca_file.is_some(),
            ),
            (
                "client-cert-allowed-hostname",
                self.client_cert_allowed_hostname.is_some(),
                "client-cert-auth",
                self.client_cert_auth || self.trusted_ca_file.is_some(),
            ),
            (
                "peer-client-cert-auth",
                self.peer_client_cert_auth,
                "peer-trusted-ca-file",
                self.peer_trusted_ca_file.is_some(),
            ),
            (
                "peer-cert-file",
                self.peer_cert_file.is_some(),
                "peer-trusted-ca-file",
                self.peer_trusted_ca_file.is_some(),
            ),
            (
                "peer-crl-file",
                self.peer_crl_file.is_some(),
                "peer-trusted-ca-file",
                self.peer_trusted_ca_file.is_some(),
            ),
            (
                "peer-cert-allowed-cn",
                self.peer_cert_allowed_cn.is_some(),
                "peer-trusted-ca-file",
                self.peer_trusted_ca_file.is_some(),
            ),
            (
                "peer-cert-allowed-hostname",
                self.peer_cert_allowed_hostname.is_some(),
                "peer-trusted-ca-file",
                self.peer_trusted_ca_file.is_some(),
            ),
        ] {
            if given && !there {
                return invalid(format!("--{flag} needs --{needs}"));
            }
        }
        if self.peer_cert_allowed_cn.is_some() && self.peer_cert_allowed_hostname.is_some() {
            return invalid(
                "--peer-cert-allowed-cn and --peer-cert-allowed-hostname exclude each other".into(),
            );
        }
        if self.tls_min_version > self.tls_max_version() {
            return invalid("--tls-min-version is newer than --tls-max-version".into());
        }
        if !self.cipher_suites.is_empty() && self.tls_min_version == TlsVersion::Tls13 {
            return invalid(
                "--cipher-suites cannot be chosen when --tls-min-version is TLS1.3".into(),
            );
        }
        crate::tls::check_cipher_suites(&self.cipher_suites)
            .map_err(|problem| Error::Invalid(format!("--cipher-suites: {problem}")))
    }

    /// An error when a URL of `flag` needs TLS and the flags give none for it.
    pub(super) fn check_url(&self, url: &MemberUrl, flag: &str, peer: bool) -> Result<(), Error> {
        let (there, prefix) = match peer {
            true => (self.has_peer_tls(), "peer-"),
            false => (self.has_client_tls(), ""),
        };
        if url.tls && !there {
            return invalid(format!(
                "--{flag}: {url} needs --{prefix}cert-file and --{prefix}key-file, or \
                 --{prefix}auto-tls"
            ));
        }
        Ok(())
    }

    /// What will be served without the protection its flags may have been meant to give.
    pub(super) fn warn_about_plain(
        &self,
        url: &MemberUrl,
        flag: &str,
        peer: bool,
    ) -> Option<String> {
        let (there, prefix) = match peer {
            true => (self.has_peer_tls() || self.peer_client_cert_auth, "peer-"),
            false => (self.has_client_tls() || self.client_cert_auth, ""),
        };
        (there && !url.tls).then(|| {
            format!("--{flag}: {url} is served without TLS, although --{prefix}cert-file or the like is given")
        })
    }
}
