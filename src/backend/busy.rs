//! A note beside the store's file that says whether its last sync may have failed.
//!
//! A process that dies of a failed sync leaves pages that its successor can read, that are not on the
//! disk, and that no later sync writes: the kernel took them for clean. So the note is set before the
//! store is written and cleared only when all is synced; a store that is found with the note set is
//! written again, every byte to its own place, before it is believed.
//!
//! The note is never synced. It needs to live exactly as long as those pages do, in the page cache: a
//! power loss takes both.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
use crate::host::{Disk, File, OpenMode};
use crate::storage::failed_sync;

const COPY_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Busy {
    path: PathBuf,
    note: Arc<dyn File>,
}

impl Busy {
    /// The note of the store at `path`.
    pub(super) fn of(disk: &dyn Disk, path: &Path) -> Result<Busy, Error> {
        let mut name = path.as_os_str().to_owned();
        name.push(".busy");
        let path = PathBuf::from(name);
        let note = disk
            .open(&path, OpenMode::OpenOrCreate)
            .map_err(Error::io(&path))?;
        Ok(Busy { path, note })
    }

    pub(super) fn is_set(&self) -> Result<bool, Error> {
        let mut byte = [0];
        let read = self.note.read_at(0, &mut byte);
        read.map_err(Error::io(&self.path))?;
        Ok(byte != [0])
    }

    pub(super) fn set(&self, busy: bool) -> Result<(), Error> {
        let written = self.note.write_at(0, &[u8::from(busy)]);
        written.map_err(Error::io(&self.path))
    }
}

/// Writes every byte of `file` to where it is already, and syncs.
pub(super) fn write_again(file: &dyn File) -> io::Result<()> {
    let length = file.len()?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut offset = 0;
    while offset < length {
        let read = file.read_at(offset, &mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_at(offset, &buffer[..read])?;
        offset += read as u64;
    }
    file.sync_data().map_err(failed_sync)
}
