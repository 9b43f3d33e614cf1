//! Why a member cannot start from its data directory, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::backend;
use crate::raft;
use crate::server::apply;
use crate::storage::{Fault, REPLACE};
use crate::wal;

/// Why a member cannot start from its data directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot use data directory {}: {source}", path.display())]
    Io {
        /// What was worked on.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process uses the directory.
    #[error(
        "data directory {} is in use by another process: stop it first, or choose another --data-dir",
        .0.display()
    )]
    Locked(PathBuf),
    /// The directory was made by a different member or cluster.
    #[error(
        "data directory {} belongs to member {found_member:x} of cluster {found_cluster:x}, but the \
         flags describe member {wanted_member:x} of cluster {wanted_cluster:x}: choose another \
         --data-dir, or give the --name, --initial-cluster and --initial-cluster-token it was made with",
        path.display()
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster it belongs to.
        found_cluster: u64,
        /// The member it belongs to.
        found_member: u64,
        /// The cluster the flags describe.
        wanted_cluster: u64,
        /// The member the flags describe.
        wanted_member: u64,
    },
    /// There is a backend but no log.
    #[error(
        "{} holds a store but its log is missing: what it acknowledged may be lost. Put the log \
         back if it is elsewhere; otherwise {REPLACE}",
        .0.display()
    )]
    LogMissing(PathBuf),
    /// The log begins after what the backend holds.
    #[error(
        "the log begins after index {mark}, but the store in {} only reaches {backend}: entries \
         between them are missing: {REPLACE}",
        path.display()
    )]
    BackendBehind {
        /// The directory.
        path: PathBuf,
        /// Where the log begins.
        mark: u64,
        /// What the backend holds.
        backend: u64,
    },
    /// The log ends before what was applied from it.
    #[error(
        "the log in {} ends at index {last}, before index {backend} that the store holds: \
         acknowledged entries are missing: {REPLACE}",
        path.display()
    )]
    LogBehind {
        /// The directory.
        path: PathBuf,
        /// The log's last index.
        last: u64,
        /// What the backend holds.
        backend: u64,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Wal(#[from] wal::Error),
    /// The backend cannot be read.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// The member was removed from its cluster in an earlier life.
    #[error(transparent)]
    Removed(raft::Error),
    /// The directory is to make a new cluster, but its member is none any more.
    #[error("{} has no member {member:x} to make a new cluster of", path.display())]
    NoSuchMember {
        /// The directory.
        path: PathBuf,
        /// The member it belongs to.
        member: u64,
    },
    /// A snapshot that was received cannot be installed.
    #[error("{error}{advice}", error = .0, advice = advice(.0))]
    Install(#[from] apply::Error),
}

/// A snapshot's own error speaks to whoever chose the file; here nobody did.
fn advice(error: &apply::Error) -> String {
    match error {
        apply::Error::Snapshot(error) if error.fault() == Fault::Damaged => format!(": {REPLACE}"),
        _ => String::new(),
    }
}

impl Error {
    /// What it means for the member; `None` when the storage is not at fault.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Error::Io { source, .. } => Some(Fault::of_io(source)),
            Error::LogMissing(_) | Error::BackendBehind { .. } | Error::LogBehind { .. } => {
                Some(Fault::Damaged)
            }
            Error::Wal(error) => error.fault(),
            Error::Backend(error) => Some(error.fault()),
            Error::Install(error) => error.fault(),
            Error::Locked(_)
            | Error::OtherCluster { .. }
            | Error::Removed(_)
            | Error::NoSuchMember { .. } => None,
        }
    }
}

pub(in crate::server) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::Io {
        path: path.to_owned(),
        source,
    }
}
