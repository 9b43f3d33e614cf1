//! The flags as the command line reads them: names, defaults, help texts, and nothing more.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};

use super::auth_token::AuthToken;
use super::checks::Checks;
use super::duration;
use super::inert;
use super::operations::Operations;
use super::security::Security;
use super::urls::{InitialCluster, UrlList};
use crate::auth::password;
use crate::wal::SyncPolicy;

const AFTER_HELP: &str = "\
Every flag can also be set by an environment variable: ETCD_ and the flag's name in capitals, with _ \
for -. The command line wins. With --config-file, flags and variables other than that are ignored.";

/// The server's flags; [`Config::validate`] says what they must satisfy together.
///
/// Made by [`Config::from_arguments`] or [`Config::from_pairs`]. Flags with a meaning of their own
/// when absent are read through a method of the same name.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "vetcd",
    version,
    about = "A key-value server with etcd's v3 API",
    long_about = None,
    after_help = AFTER_HELP,
    args_override_self = true,
    max_term_width = 100
)]
pub struct Config {
    /// A YAML file with the flags' names and values; all other flags and variables are then ignored.
    #[arg(help_heading = "Member", long, value_name = "FILE")]
    pub(super) config_file: Option<PathBuf>,

    /// Human-readable name of this member.
    #[arg(
        help_heading = "Member",
        long,
        value_name = "NAME",
        default_value = "default"
    )]
    pub name: String,

    /// Path of the data directory [default: ${name}.etcd].
    #[arg(help_heading = "Member", long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,

    /// URLs to listen on for the other members.
    #[arg(
        help_heading = "Member",
        long,
        value_name = "URLS",
        default_value = "http://localhost:2380"
    )]
    pub(super) listen_peer_urls: UrlList,

    /// URLs to listen on for clients [default: http://localhost:2379].
    #[arg(help_heading = "Member", long, value_name = "URLS")]
    pub(super) listen_client_urls: Option<UrlList>,

    /// Time between the leader's heartbeats, milliseconds.
    #[arg(
        help_heading = "Member",
        long,
        value_name = "MS",
        default_value_t = 100
    )]
    pub heartbeat_interval: u64,

    /// Time without a heartbeat after which a member stands for election, milliseconds: at least 5
    /// heartbeats, at most 50000.
    #[arg(
        help_heading = "Member",
        long,
        value_name = "MS",
        default_value_t = 1000
    )]
    pub election_timeout: u64,

    /// Applied entries after which the log is compacted behind a snapshot.
    #[arg(
        help_heading = "Member",
        long,
        value_name = "ENTRIES",
        default_value_t = 10_000
    )]
    pub snapshot_count: u64,

    /// Entries kept behind a snapshot for slow followers.
    #[arg(
        help_heading = "Member",
        long,
        value_name = "ENTRIES",
        default_value_t = 5_000
    )]
    pub snapshot_catchup_entries: u64,

    /// Most operations in a transaction.
    #[arg(
        help_heading = "Member",
        long,
        value_name = "OPERATIONS",
        default_value_t = 128
    )]
    pub max_txn_ops: usize,

    /// Largest request accepted from a client, bytes.
    #[arg(
        help_heading = "Member",
        long,
        value_name = "BYTES",
        default_value_t = 1_572_864
    )]
    pub max_request_bytes: usize,

    /// Time between the progress notices that a quiet watch asked for, 100ms at least.
    #[arg(help_heading = "Member", long, alias = "experimental-watch-progress-notify-interval", value_name = "TIME", default_value = "10m", value_parser = duration::parse)]
    pub watch_progress_notify_interval: Duration,

    /// Size of the store beyond which writes are refused until space is made and the alarm is
    /// disarmed, bytes: 0 for 2 GiB, negative for no limit.
    #[arg(
        help_heading = "Member",
        long,
        value_name = "BYTES",
        default_value_t = 0,
        allow_hyphen_values = true
    )]
    pub quota_backend_bytes: i64,

    /// Longest time before the store's changes are committed to disk.
    #[arg(help_heading = "Member", long, value_name = "TIME", default_value = "500ms", value_parser = duration::parse)]
    pub backend_batch_interval: Duration,

    /// Most operations before the store's changes are committed to disk.
    #[arg(
        help_heading = "Member",
        long,
        value_name = "OPERATIONS",
        default_value_t = 10_000
    )]
    pub backend_batch_limit: usize,

    /// Size of the store from which on an index of its keys is kept beside it, bytes. With that a member
    /// serves clients before it has read its store.
    #[arg(help_heading = "Member", long, value_name = "BYTES", default_value_t = 64 << 20)]
    pub experimental_key_index_from_bytes: u64,

    /// Size at which the next segment of the log is begun, bytes.
    #[arg(help_heading = "Member", long, value_name = "BYTES", default_value_t = 64 << 20)]
    pub wal_segment_bytes: u64,

    /// Segments of the log that stay although a snapshot covers them, the one in use counted; 0 for
    /// all.
    #[arg(
        help_heading = "Member",
        long,
        value_name = "SEGMENTS",
        default_value_t = 5
    )]
    pub max_wals: usize,

    /// Most calls in progress on one client connection.
    #[arg(
        help_heading = "Member",
        long,
        value_name = "STREAMS",
        default_value_t = 10_000
    )]
    pub max_concurrent_streams: u32,

    /// Silence after which a client's connection is pinged, 0 for never.
    #[arg(help_heading = "Member", long, value_name = "TIME", default_value = "2h", value_parser = duration::parse)]
    pub grpc_keepalive_interval: Duration,

    /// Time after which a connection whose ping is unanswered is closed.
    #[arg(help_heading = "Member", long, value_name = "TIME", default_value = "20s", value_parser = duration::parse)]
    pub grpc_keepalive_timeout: Duration,

    /// This member's URLs for the other members.
    #[arg(
        help_heading = "Clustering",
        long,
        value_name = "URLS",
        default_value = "http://localhost:2380"
    )]
    pub(super) initial_advertise_peer_urls: UrlList,

    /// The members the cluster starts with, name=url,name=url [default: this member alone].
    #[arg(help_heading = "Clustering", long, value_name = "MEMBERS")]
    pub(super) initial_cluster: Option<InitialCluster>,

    /// Whether the cluster is new, or one that exists already.
    #[arg(
        help_heading = "Clustering",
        long,
        value_name = "STATE",
        default_value = "new"
    )]
    pub initial_cluster_state: ClusterState,

    /// Keeps clusters apart whose members have the same URLs.
    #[arg(
        help_heading = "Clustering",
        long,
        value_name = "TOKEN",
        default_value = "etcd-cluster"
    )]
    pub initial_cluster_token: String,

    /// This member's URLs for clients [default: http://localhost:2379].
    #[arg(help_heading = "Clustering", long, value_name = "URLS")]
    pub(super) advertise_client_urls: Option<UrlList>,

    /// Ask whether an election can be won before starting one.
    #[arg(help_heading = "Clustering", long, value_name = "BOOL", default_value = "true", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub pre_vote: bool,

    /// Refuse changes of the membership that would endanger the quorum.
    #[arg(help_heading = "Clustering", long, value_name = "BOOL", default_value = "true", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub strict_reconfig_check: bool,

    /// Most learners the cluster may have at a time.
    #[arg(
        help_heading = "Clustering",
        long,
        value_name = "MEMBERS",
        default_value_t = 1
    )]
    pub max_learners: u32,
    /// TLS.
    #[command(flatten)]
    pub security: Security,

    /// Health, metrics, logs, automatic compaction.
    #[command(flatten)]
    pub operations: Operations,

    /// Comparing members' stores; feature gates.
    #[command(flatten)]
    pub checks: Checks,

    /// When the log is made durable: always, batch:TIME, interval:TIME or none [default: always].
    #[arg(help_heading = "Durability", long, value_name = "POLICY")]
    pub(super) wal_sync: Option<SyncPolicy>,

    /// How linearizable reads are confirmed: read-index.
    #[arg(help_heading = "Durability", long, value_name = "MODE", default_value = "read-index", value_parser = read_mode)]
    pub read_mode: ReadMode,

    /// Save how much time long leases have left, so that a new leader does not start them anew.
    #[arg(help_heading = "Leases", long, value_name = "BOOL", default_value = "false", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub experimental_enable_lease_checkpoint: bool,

    /// Accepted; checkpoints are always kept over a restart.
    #[arg(help_heading = "Leases", long, value_name = "BOOL", default_value = "false", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub experimental_enable_lease_checkpoint_persist: bool,

    /// Time between two checkpoints of a lease.
    #[arg(help_heading = "Leases", long, value_name = "TIME", default_value = "5m", value_parser = duration::parse)]
    pub experimental_lease_checkpoint_interval: Duration,
    /// Make a cluster of this member alone from its data. Only after the other members are lost for
    /// good: what they had and this member has not is gone.
    #[arg(help_heading = "Unsafe", long, value_name = "BOOL", default_value = "false", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub force_new_cluster: bool,

    /// Tokens that clients get: simple, or jwt,sign-method=METHOD,priv-key=FILE,pub-key=FILE,ttl=TIME.
    #[arg(
        help_heading = "Auth",
        long,
        value_name = "KIND",
        default_value = "simple"
    )]
    pub auth_token: AuthToken,

    /// Time after which an unused simple token is forgotten, seconds.
    #[arg(help_heading = "Auth", long, value_name = "SECONDS", default_value_t = 300,
        value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub auth_token_ttl: u64,

    /// Cost of hashing a password, 4 to 31; one more doubles the work.
    #[arg(help_heading = "Auth", long, value_name = "COST", default_value_t = password::COST_DEFAULT,
        value_parser = clap::value_parser!(u32).range(i64::from(password::COST_MIN)..=i64::from(password::COST_MAX)))]
    pub bcrypt_cost: u32,

    /// Never sync the log: the same as --wal-sync none. A power loss may cost acknowledged writes.
    #[arg(help_heading = "Unsafe", long, value_name = "BOOL", default_value = "false", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub unsafe_no_fsync: bool,

    /// Least serious messages to log.
    #[arg(
        help_heading = "Logging",
        long,
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub log_level: LogLevel,

    /// How messages are written to the standard error stream.
    #[arg(
        help_heading = "Logging",
        long,
        value_name = "FORMAT",
        default_value = "json"
    )]
    pub log_format: LogFormat,

    /// What is to be logged about the flags themselves, once there is a log.
    #[arg(skip)]
    pub warnings: Vec<String>,
}

/// Whether the cluster is being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ClusterState {
    /// All members start for the first time.
    New,
    /// This member joins a cluster that is running.
    Existing,
}

/// How a linearizable read makes sure that nothing newer has been acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// The leader asks a majority, each time.
    ReadIndex,
}

/// The least serious messages that are logged. etcd's levels above `error` mean the same here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    /// Every step.
    Debug,
    /// What an operator may want to know.
    Info,
    /// What an operator should know.
    Warn,
    /// What an operator must know.
    #[value(aliases = ["dpanic", "panic", "fatal"])]
    Error,
}

/// How log messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text for people.
    #[value(alias = "text")]
    Console,
}

/// The parser: vetcd's flags, and those of etcd's that do nothing here.
pub(super) fn command() -> clap::Command {
    inert::add_to(Config::command())
}

/// Reads flags (without the program's name) as they are; nothing is compared with anything.
pub(super) fn parse<A: Into<OsString> + Clone>(
    arguments: impl IntoIterator<Item = A>,
) -> Result<(Config, clap::ArgMatches), clap::Error> {
    let line = arguments.into_iter().map(Into::into);
    let line = std::iter::once(OsString::from("vetcd")).chain(line);
    let matches = command().try_get_matches_from(line)?;
    let config = Config::from_arg_matches(&matches)?;
    Ok((config, matches))
}

/// A boolean in any form that etcd takes.
pub(super) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

fn read_mode(text: &str) -> Result<ReadMode, String> {
    match text {
        "read-index" => Ok(ReadMode::ReadIndex),
        "lease" => Err("lease reads are not implemented yet, use read-index".to_owned()),
        _ => Err("expected read-index".to_owned()),
    }
}
