//! What can go wrong with the store's file, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::storage::{Fault, REPLACE};

/// A failure of the store's file. After one that concerns a write, the member must stop: nothing
/// more is written through that handle, and the log holds what the file does not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused.
    #[error("store {}: {source}", path.display())]
    Io {
        /// The store's file.
        path: PathBuf,
        /// The disk's error.
        source: io::Error,
    },
    /// The file cannot have been written by this program in full.
    #[error("store {} is damaged: {what}: {REPLACE}", path.display())]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// An earlier write failed, and nothing is written after that.
    #[error("store {}: closed after an earlier failure; restart the member", path.display())]
    Closed {
        /// The store's file.
        path: PathBuf,
    },
}

impl Error {
    /// What it means for the member.
    pub fn fault(&self) -> Fault {
        match self {
            Error::Io { source, .. } => Fault::of_io(source),
            Error::Damaged { .. } => Fault::Damaged,
            Error::Closed { .. } => Fault::Failed,
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
        move |source| Error::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// The same, where not even a lack of space leaves anything to go on with.
    pub(super) fn final_now(self) -> Error {
        match self {
            Error::Io { path, source } if Fault::of_io(&source) == Fault::Full => Error::Io {
                path,
                source: io::Error::other(source.to_string()),
            },
            other => other,
        }
    }

    pub(crate) fn damaged(path: &Path, what: impl ToString) -> Error {
        Error::Damaged {
            path: path.to_owned(),
            what: what.to_string(),
        }
    }

    /// Sorts redb's errors into the disk's and the file's.
    pub(super) fn from_redb(path: &Path, error: redb::Error) -> Error {
        match error {
            redb::Error::Io(source) => match source.kind() {
                // redb reports a bad magic number, and we a short read, as io errors.
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                    Error::damaged(path, source)
                }
                _ => Error::io(path)(source),
            },
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => Error::Closed {
                path: path.to_owned(),
            },
            other => Error::damaged(path, other),
        }
    }
}
