//! What can go wrong with the log, and what the caller may still do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::storage::{Fault, REPLACE};

/// A failure of the write-ahead log.
///
/// Cloneable, because a log that failed once answers every later call with the same error.
#[derive(Clone, Debug, Error)]
pub enum Error {
    /// The disk refused an operation. What was written or synced since the last good sync cannot
    /// be trusted any more; the member must stop.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done, for example `"sync"`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The log is broken below a point that it proves to have been synced, or says something no
    /// writer writes. Nothing was changed on disk.
    #[error(
        "{} is damaged at byte {offset}, after entry {last_index}: {reason}; \
         this is no torn tail, so nothing was cut: {REPLACE}",
        file.display()
    )]
    Damaged {
        /// The damaged segment.
        file: PathBuf,
        /// The first byte of the first record that cannot be used.
        offset: u64,
        /// The raft index of the last entry before the damage; 0 when there is none.
        last_index: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The log was written in a format this version does not know.
    #[error("{} has log format {found}; this version reads format {known}", file.display())]
    Format {
        /// The segment.
        file: PathBuf,
        /// The format found.
        found: u32,
        /// The format this version writes and reads.
        known: u32,
    },
    /// There is no log in the directory.
    #[error("no write-ahead log in {}", .0.display())]
    Missing(PathBuf),
    /// A log cannot be created here, because the directory holds something already.
    #[error("{} is not empty: it holds {name}", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// One of the names in it.
        name: String,
    },
    /// The caller asked for something that breaks the rules of a raft log.
    #[error("refused to write to the log: {0}")]
    Invalid(String),
    /// The process is going down, or the disk work panicked.
    #[error("the log's writer stopped")]
    Stopped,
}

impl Error {
    /// What it means for the member; `None` when the storage is not at fault.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Error::Io { source, .. } => Some(Fault::of_io(source)),
            Error::Damaged { .. } | Error::Missing(_) => Some(Fault::Damaged),
            _ => None,
        }
    }

    /// Wraps what the disk said about `action` on `path`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io {
            action,
            path,
            source: Arc::new(source),
        }
    }
}
