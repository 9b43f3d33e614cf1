//! Every flag of the server, its environment variable, and what the flags must satisfy together.
//!
//! Flags have etcd's names and meanings. Each can also be set by an environment variable (`ETCD_`
//! and its name in capitals, `_` for `-`); the command line wins. The testbed hands flags over as
//! pairs, through the same parser. `--config-file` names a YAML file that stands in for all of
//! them. A flag that neither vetcd nor etcd has is an error, never ignored; etcd's that have nothing
//! to act on here are accepted with a warning ([`inert`]).
//!
//! ```
//! let config = vetcd::config::Config::from_pairs([("name", "a"), ("wal-sync", "batch:2ms")]).unwrap();
//! assert_eq!(config.wal_sync().to_string(), "batch:2ms");
//! assert_eq!(config.data_dir(), std::path::Path::new("a.etcd"));
//! ```

mod auth_token;
mod checks;
mod duration;
mod file;
mod flags;
mod identity;
mod inert;
mod operations;
mod security;
mod urls;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::proto::vetcdpb::ClusterMember;
use crate::api::serve::ServeLimits;
use crate::wal::SyncPolicy;

pub use auth_token::AuthToken;
pub use checks::{Check, Checks};
pub use flags::{ClusterState, Config, LogFormat, LogLevel, ReadMode};
pub use identity::{cluster_id, member_id, member_id_at};
pub use operations::{CompactionMode, MetricsDetail, Operations, Retention};
pub use security::{Security, TlsVersion};
pub use urls::{InitialCluster, MemberUrl, UrlList};

/// The longest election time-out, milliseconds; longer ones only look like a dead cluster.
const ELECTION_TIMEOUT_MAX: u64 = 50_000;
/// What a request may exceed `--max-request-bytes` by on the wire, for its envelope.
const REQUEST_ENVELOPE_BYTES: usize = 512 * 1024;
/// The largest `--max-request-bytes`: lengths inside the log and on the wire stay below 2³¹.
const REQUEST_BYTES_MAX: usize = 1 << 30;
/// The shortest time between progress notices (etcd's own minimum).
const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// What is taken where the flag is 0. Five times etcd's: no read waits for a commit of the store, the
/// log has what it lacks, and its syncs compete with the log's for the disk.
const BATCH_INTERVAL_DEFAULT: Duration = Duration::from_millis(500);
/// What etcd takes where a flag is 0.
const BATCH_LIMIT_DEFAULT: usize = 10_000;

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not an error: help or the version was asked for. Print it and end well.
    #[error("{0}")]
    Shown(String),
    /// A flag is unknown, or its value cannot be read.
    #[error("{0}")]
    Flag(String),
    /// An environment variable holds a value that cannot be read.
    #[error("environment variable {variable}: {reason}")]
    Environment {
        /// The variable.
        variable: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The configuration file cannot be used.
    #[error("--config-file {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The flags contradict each other, or a value is out of bounds.
    #[error("{0}")]
    Invalid(String),
}

/// The cluster that the flags describe.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its ID.
    pub cluster_id: u64,
    /// The ID of the member whose flags these are.
    pub member_id: u64,
    /// The initial members, by ID; their client URLs are not known yet.
    pub members: Vec<ClusterMember>,
}

impl Config {
    /// Reads the command line `arguments` (without the program's name) and, for flags not given
    /// there, the environment; empty variables count as not set.
    ///
    /// # Errors
    /// The first flag or combination of flags that is wrong; [`Error::Shown`] for `--help`.
    pub fn from_arguments<A: Into<OsString>>(
        arguments: impl IntoIterator<Item = A>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Config, Error> {
        Config::from_sources(arguments, environment, |_| {
            Err(io::ErrorKind::Unsupported.into())
        })
    }

    /// As [`Config::from_arguments`], with `--config-file` read by `read`.
    ///
    /// # Errors
    /// As there, and when the file cannot be read or holds what is not understood.
    pub fn from_sources<A: Into<OsString>>(
        arguments: impl IntoIterator<Item = A>,
        environment: impl Fn(&str) -> Option<String>,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Config, Error> {
        let mut line = Vec::new();
        for flag in Config::known_flags() {
            let variable = environment_variable(&flag);
            if let Some(value) = environment(&variable).filter(|value| !value.is_empty()) {
                let argument = format!("--{flag}={value}");
                flags::parse([&argument]).map_err(|error| Error::Environment {
                    variable,
                    reason: brief(&error),
                })?;
                line.push(argument.into());
            }
        }
        // Behind the environment's: of a flag given twice the last counts.
        line.extend(arguments.into_iter().map(Into::into));
        let (config, matches) = flags::parse(&line).map_err(|error| {
            if error.use_stderr() {
                Error::Flag(brief(&error))
            } else {
                Error::Shown(error.to_string())
            }
        })?;
        match config
            .config_file
            .clone()
            .filter(|path| !path.as_os_str().is_empty())
        {
            Some(path) => Config::from_file(path, line.len() > 1, read),
            None => config.checked(&matches),
        }
    }

    fn from_file(
        path: PathBuf,
        others: bool,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Config, Error> {
        let wrong = |reason: String| {
            let path = path.clone();
            Error::File { path, reason }
        };
        let text = read(&path).map_err(|error| wrong(error.to_string()))?;
        let pairs = file::flags(&text, &Config::known_flags()).map_err(wrong)?;
        let mut config = Config::from_pairs(pairs).map_err(|error| wrong(error.to_string()))?;
        if others {
            let path = path.display();
            config.warnings.push(format!(
                "--config-file {path} is given: other flags and ETCD_ variables are ignored"
            ));
        }
        Ok(config)
    }

    /// Reads pairs of a flag's name, without dashes, and its value. The environment plays no part.
    ///
    /// # Errors
    /// As [`Config::from_arguments`].
    pub fn from_pairs<F, V>(pairs: impl IntoIterator<Item = (F, V)>) -> Result<Config, Error>
    where
        F: AsRef<str>,
        V: AsRef<str>,
    {
        let line: Vec<String> = pairs
            .into_iter()
            .map(|(flag, value)| format!("--{}={}", flag.as_ref(), value.as_ref()))
            .collect();
        let (config, matches) = flags::parse(&line).map_err(|error| Error::Flag(brief(&error)))?;
        config.checked(&matches)
    }

    /// The names of all flags, without dashes, sorted.
    pub fn known_flags() -> Vec<String> {
        let command = Config::parser();
        let mut names: Vec<String> = command
            .get_arguments()
            .flat_map(|argument| {
                let aliases = argument.get_all_aliases().unwrap_or_default();
                argument.get_long().into_iter().chain(aliases)
            })
            .filter(|name| !matches!(*name, "help" | "version"))
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }

    /// The parser of the command line, which completions and manual pages are made from.
    pub fn parser() -> clap::Command {
        flags::command()
    }

    /// Fills in what etcd means by 0 and by nothing, then validates.
    fn checked(mut self, matches: &clap::ArgMatches) -> Result<Config, Error> {
        self.warnings = inert::judge(matches)?;
        self.warnings.extend(self.checks.warnings());
        self.experimental_enable_lease_checkpoint |= self.checks.lease_checkpoint();
        self.security.normalize();
        if self.backend_batch_interval.is_zero() {
            self.backend_batch_interval = BATCH_INTERVAL_DEFAULT;
        }
        if self.backend_batch_limit == 0 {
            self.backend_batch_limit = BATCH_LIMIT_DEFAULT;
        }
        self.validate()?;
        self.warn_about_plain_urls();
        Ok(self)
    }

    fn warn_about_plain_urls(&mut self) {
        let mut warnings = Vec::new();
        for (flag, urls, peer) in [
            ("listen-client-urls", self.listen_client_urls(), false),
            ("listen-peer-urls", self.listen_peer_urls(), true),
        ] {
            let plain = |url| self.security.warn_about_plain(url, flag, peer);
            warnings.extend(urls.iter().filter_map(plain));
        }
        self.warnings.extend(warnings);
    }

    /// Whether the flags can be served together. The constructors have asked already; this is for
    /// configurations changed since.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn validate(&self) -> Result<(), Error> {
        if self.name.is_empty() || self.name.contains(['=', ',']) {
            return invalid(format!(
                "--name \"{}\" must not be empty nor contain = or ,",
                self.name
            ));
        }
        self.validate_times_and_sizes()?;
        self.validate_durability()?;
        self.security.validate()?;
        self.operations.validate()?;
        self.checks.validate()?;
        self.validate_urls()?;
        self.validate_cluster()
    }

    fn validate_times_and_sizes(&self) -> Result<(), Error> {
        let (heartbeat, election) = (self.heartbeat_interval, self.election_timeout);
        if heartbeat == 0 {
            return invalid("--heartbeat-interval must be longer than 0 ms".into());
        }
        if election > ELECTION_TIMEOUT_MAX {
            return invalid(format!(
                "--election-timeout ({election} ms) must not be longer than {ELECTION_TIMEOUT_MAX} ms"
            ));
        }
        if election < heartbeat.saturating_mul(5) {
            return invalid(format!(
                "--election-timeout ({election} ms) must be at least 5 times --heartbeat-interval \
                 ({heartbeat} ms)"
            ));
        }
        let interval = self.watch_progress_notify_interval;
        if interval < PROGRESS_INTERVAL_MIN {
            return invalid(format!(
                "--watch-progress-notify-interval ({interval:?}) must be at least \
                 {PROGRESS_INTERVAL_MIN:?}"
            ));
        }
        for (flag, value, least, most) in [
            ("snapshot-count", self.snapshot_count, 1, u64::MAX),
            ("max-txn-ops", self.max_txn_ops as u64, 1, u64::MAX),
            (
                "max-request-bytes",
                self.max_request_bytes as u64,
                1,
                REQUEST_BYTES_MAX as u64,
            ),
            ("wal-segment-bytes", self.wal_segment_bytes, 4096, 1 << 40),
            (
                "max-concurrent-streams",
                u64::from(self.max_concurrent_streams),
                1,
                u64::MAX,
            ),
        ] {
            if value < least {
                return invalid(format!("--{flag} ({value}) must be at least {least}"));
            }
            if value > most {
                return invalid(format!("--{flag} ({value}) must be at most {most}"));
            }
        }
        Ok(())
    }

    fn validate_durability(&self) -> Result<(), Error> {
        match self.wal_sync {
            Some(policy) if self.unsafe_no_fsync && policy != SyncPolicy::None => invalid(format!(
                "--unsafe-no-fsync means --wal-sync none and contradicts --wal-sync {policy}"
            )),
            _ => Ok(()),
        }
    }

    fn validate_urls(&self) -> Result<(), Error> {
        if self.listen_client_urls.is_some() && self.advertise_client_urls.is_none() {
            return invalid(
                "--advertise-client-urls is required when --listen-client-urls is given".into(),
            );
        }
        let mut taken: Vec<(&str, MemberUrl)> = Vec::new();
        for (flag, urls, peer) in [
            ("listen-client-urls", self.listen_client_urls(), false),
            ("listen-peer-urls", self.listen_peer_urls(), true),
            (
                "listen-client-http-urls",
                self.listen_client_http_urls(),
                false,
            ),
            ("listen-metrics-urls", self.listen_metrics_urls(), false),
        ] {
            for url in urls {
                self.security.check_url(&url, flag, peer)?;
                let same = taken.iter().find(|(_, other)| other.address == url.address);
                if let Some((other, _)) = same {
                    return invalid(format!("--{other} and --{flag} both have {}", url.address));
                }
                taken.push((flag, url));
            }
        }
        Ok(())
    }

    fn validate_cluster(&self) -> Result<(), Error> {
        let cluster = self.initial_cluster();
        let name = &self.name;
        let Some(own) = cluster.members().get(name) else {
            return invalid(format!(
                "--initial-cluster has no member named \"{name}\" (--name)"
            ));
        };
        let advertised = &self.initial_advertise_peer_urls;
        if own != advertised {
            return invalid(format!(
                "--initial-cluster gives \"{name}\" {own}, but --initial-advertise-peer-urls is \
                 {advertised}"
            ));
        }
        for url in cluster.members().values().flat_map(UrlList::urls) {
            self.security.check_url(url, "initial-cluster", true)?;
        }
        self.cluster().map(drop)
    }

    /// The URLs to serve clients on.
    pub fn listen_client_urls(&self) -> Vec<MemberUrl> {
        match &self.listen_client_urls {
            Some(urls) => urls.urls().to_vec(),
            None => default_client_urls().urls().to_vec(),
        }
    }

    /// The URLs to serve the other members on.
    pub fn listen_peer_urls(&self) -> Vec<MemberUrl> {
        self.listen_peer_urls.urls().to_vec()
    }

    /// The URLs that serve HTTP alone, if any; gRPC is then served on the client URLs alone.
    pub fn listen_client_http_urls(&self) -> Vec<MemberUrl> {
        operations::MaybeUrls::urls(&self.operations.listen_client_http_urls).to_vec()
    }

    /// The URLs that serve metrics and health alone.
    pub fn listen_metrics_urls(&self) -> Vec<MemberUrl> {
        operations::MaybeUrls::urls(&self.operations.listen_metrics_urls).to_vec()
    }

    /// The client URLs this member publishes, sorted.
    pub fn advertise_client_urls(&self) -> Vec<String> {
        let default = default_client_urls();
        let urls = self.advertise_client_urls.as_ref().unwrap_or(&default);
        urls.to_strings()
    }

    /// The cluster the flags describe, with the IDs etcd would give it.
    ///
    /// # Errors
    /// When this member is not in it, or two members have one ID.
    pub fn cluster(&self) -> Result<Cluster, Error> {
        let token = &self.initial_cluster_token;
        let initial = self.initial_cluster();
        let mut members: Vec<ClusterMember> = initial
            .members()
            .iter()
            .map(|(name, urls)| ClusterMember {
                id: member_id(&urls.to_strings(), token),
                name: name.clone(),
                peer_urls: urls.to_strings(),
                client_urls: Vec::new(),
                is_learner: false,
            })
            .collect();
        members.sort_by_key(|member| member.id);
        let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
        if ids.contains(&0) || ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return invalid(format!(
                "--initial-cluster-token \"{token}\" makes two members' IDs equal, or one 0: \
                 choose another"
            ));
        }
        let own = members.iter().find(|member| member.name == self.name);
        let Some(own) = own.map(|member| member.id) else {
            let name = &self.name;
            return invalid(format!(
                "--initial-cluster has no member named \"{name}\" (--name)"
            ));
        };
        Ok(Cluster {
            cluster_id: cluster_id(&ids),
            member_id: own,
            members,
        })
    }

    /// Whether the cluster was described, rather than left to be this member alone.
    pub fn initial_cluster_is_given(&self) -> bool {
        self.initial_cluster.is_some()
    }

    fn initial_cluster(&self) -> InitialCluster {
        self.initial_cluster.clone().unwrap_or_else(|| {
            InitialCluster::single(&self.name, self.initial_advertise_peer_urls.clone())
        })
    }

    /// The data directory: what was given, or the member's name and `.etcd`.
    pub fn data_dir(&self) -> PathBuf {
        match &self.data_dir {
            Some(path) => path.clone(),
            None => PathBuf::from(format!("{}.etcd", self.name)),
        }
    }

    /// When the log is synced.
    pub fn wal_sync(&self) -> SyncPolicy {
        match self.wal_sync {
            Some(policy) => policy,
            None if self.unsafe_no_fsync => SyncPolicy::None,
            None => SyncPolicy::Always,
        }
    }

    /// What the serving loop for clients allows them.
    pub fn serve_limits(&self) -> ServeLimits {
        let keepalive = self.grpc_keepalive_interval;
        ServeLimits {
            streams_max: self.max_concurrent_streams,
            keepalive_interval: (!keepalive.is_zero()).then_some(keepalive),
            keepalive_timeout: self.grpc_keepalive_timeout,
            ..ServeLimits::default()
        }
    }

    /// The largest gRPC message to accept from a client, bytes. A little more than
    /// `--max-request-bytes`, so that a request slightly too large gets etcd's own answer.
    pub fn grpc_receive_bytes_max(&self) -> usize {
        self.max_request_bytes + REQUEST_ENVELOPE_BYTES
    }
}

/// Where to connect to for a member's URL: `host:port`, or `https://host:port` where TLS is spoken,
/// which [`crate::tls::PeerHost`] understands.
///
/// # Errors
/// When it is not a URL of a member.
pub fn address_of(url: &str) -> Result<String, Error> {
    let url: MemberUrl = url.parse().map_err(Error::Invalid)?;
    Ok(match url.tls {
        true => url.to_string(),
        false => url.address,
    })
}

/// The name in `names` that `wrong` was probably meant to be.
fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const SIMILAR: f64 = 0.8;
    names
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(similarity, _)| *similarity > SIMILAR)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

fn default_client_urls() -> UrlList {
    "http://localhost:2379"
        .parse()
        .expect("the default is a URL")
}

/// The environment variable of `flag`.
pub fn environment_variable(flag: &str) -> String {
    format!("ETCD_{}", flag.to_ascii_uppercase().replace('-', "_"))
}

fn invalid<T>(message: String) -> Result<T, Error> {
    Err(Error::Invalid(message))
}

/// The parser's message without its decoration, in one line.
fn brief(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let end = text
        .find("\n\nUsage:")
        .or_else(|| text.find("\n\nFor more information"))
        .unwrap_or(text.len());
    let text = text[..end].replace("\n\n  tip: ", "; ");
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests;
