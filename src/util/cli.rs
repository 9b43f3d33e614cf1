//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Works on vetcd's data directories and on snapshots while no member runs.
#[derive(Debug, Parser)]
#[command(name = "vetcdutl", version, disable_help_subcommand = true)]
pub(super) struct Cli {
    /// How results are written.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "simple"
    )]
    pub write_out: Format,

    #[command(subcommand)]
    pub command: Command,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Values in one line.
    Simple,
    /// Name and value, one a line.
    Fields,
    /// A JSON object.
    Json,
    /// A table.
    Table,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Snapshots, saved from vetcd or from etcd.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Give the unused space of a member's store back.
    Defrag {
        /// The data directory of a member that does not run.
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
    },
    /// The hash of all keys and their history, as HashKV gives it.
    Hashkv {
        /// A snapshot; instead of --data-dir.
        #[arg(conflicts_with = "data_dir", required_unless_present = "data_dir")]
        file: Option<PathBuf>,
        /// The data directory of a member that does not run.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// The last revision to hash; 0 for the newest.
        #[arg(long, value_name = "REVISION", default_value_t = 0,
            value_parser = clap::value_parser!(i64).range(0..))]
        rev: i64,
    },
    /// Write-ahead logs.
    #[command(subcommand)]
    Wal(WalCommand),
    /// Key indexes, which members keep beside their stores.
    #[command(subcommand)]
    KeyIndex(KeyIndexCommand),
    /// Print the version.
    Version,
    /// Print a completion script for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Manual,
}

#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    /// Check a snapshot, and print its hash, revision, number of keys, size and schema version.
    Status {
        /// The snapshot.
        file: PathBuf,
    },
    /// Make the data directory of a new cluster's member from a snapshot.
    Restore(RestoreFlags),
}

#[derive(Debug, Args)]
pub(super) struct RestoreFlags {
    /// The snapshot.
    pub file: PathBuf,
    /// The data directory to make; the member's name and `.etcd` if not given.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to put the log, if not into the data directory.
    #[arg(long, value_name = "DIR")]
    pub wal_dir: Option<PathBuf>,
    /// The member's name.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub name: String,
    /// All members of the new cluster: NAME=URL[,NAME=URL...].
    #[arg(
        long,
        value_name = "MEMBERS",
        default_value = "default=http://localhost:2380"
    )]
    pub initial_cluster: String,
    /// The new cluster's token; another than the old cluster's keeps the two apart.
    #[arg(long, value_name = "TOKEN", default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
    /// This member's peer URLs, as in --initial-cluster.
    #[arg(long, value_name = "URLS", default_value = "http://localhost:2380")]
    pub initial_advertise_peer_urls: String,
    /// Do not compare the file with its checksum; needed for one copied from a data directory.
    #[arg(long)]
    pub skip_hash_check: bool,
    /// How much to raise the revision by, so that clients never see one twice.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub bump_revision: u64,
    /// Taken for etcdutl's sake; nothing is mapped into memory here.
    #[arg(long, value_name = "BYTES", hide = true)]
    pub initial_memory_map_size: Option<u64>,
    /// Compact everything before the raised revision, so that watches start afresh.
    #[arg(long)]
    pub mark_compacted: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum WalCommand {
    /// Print a log's records, up to the first that cannot be read, and what is wrong there.
    Dump {
        /// A data directory, or a log's own.
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyIndexCommand {
    /// Check all of a key index, and print whose it is, its revisions and how much is in it.
    Status {
        /// A data directory, or the index's file.
        path: PathBuf,
    },
}
