//! A host's file as redb's storage.
//!
//! The first failure is final: once a write, a sync or a length change has failed, nothing is
//! written through this handle again, for the page cache can no longer be trusted to hold what it
//! said it took. The same latch is set when the owner lets go, which keeps redb's destructor from
//! doing disk work of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redb::StorageBackend;

use super::busy::Busy;
use crate::host::File;
use crate::storage::failed_sync;

/// A file given to redb.
#[derive(Clone, Debug)]
pub(super) struct StoreFile {
    file: Arc<dyn File>,
    busy: Option<Arc<Busy>>,
    closed: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
    /// The most bytes that it ever grew by at once, or tried to.
    wanted: Arc<AtomicU64>,
}

impl StoreFile {
    /// `busy` is told of each write beforehand.
    pub(super) fn new(file: Arc<dyn File>, busy: Option<Arc<Busy>>) -> StoreFile {
        StoreFile {
            file,
            busy,
            closed: Arc::default(),
            failed: Arc::default(),
            wanted: Arc::default(),
        }
    }

    /// Refuses every operation from now on.
    pub(super) fn shut(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether a write, a sync or a length change ever failed, be it one that redb kept to itself.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The most bytes that it ever grew by at once, or tried to.
    pub(super) fn wanted_bytes(&self) -> u64 {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Whether it was shut, by its owner or by a failure.
    pub(super) fn is_shut(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn open(&self) -> io::Result<&dyn File> {
        if self.closed.load(Ordering::Acquire) {
            return Err(io::Error::other(
                "the store's file is closed after a failure",
            ));
        }
        Ok(&*self.file)
    }

    /// Does something to the note, if there is one.
    fn noting(&self, what: impl FnOnce(&Busy) -> io::Result<()>) -> io::Result<()> {
        self.busy.as_deref().map_or(Ok(()), what)
    }

    fn latched<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
            self.shut();
        }
        result
    }
}

impl StorageBackend for StoreFile {
    fn len(&self) -> io::Result<u64> {
        self.open()?.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = self.open()?.read_at(offset, out)?;
        if read < out.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let file = self.open()?;
        // Space is reserved where the file grows: then it is here that a full disk says so, before
        // anything is written, and not in a write or a sync, after which nothing could be believed.
        let grown = match file.len() {
            Ok(length) if length < len => {
                self.wanted.fetch_max(len - length, Ordering::Relaxed);
                self.noting(|busy| busy.cover(len))
                    .and_then(|()| file.allocate(len))
            }
            Ok(_) => file.set_len(len),
            Err(error) => Err(error),
        };
        self.latched(grown)
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.open()?.sync_data();
        self.latched(synced.map_err(failed_sync))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let file = self.open()?;
        let noted = self.noting(|busy| busy.touch(offset, data.len()));
        self.latched(noted.and_then(|()| file.write_at(offset, data)))
    }
}
