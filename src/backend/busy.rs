//! A note beside the store's file that says what of it may not have been synced.
//!
//! A process that dies of a failed sync leaves pages that its successor can read, that are not on the
//! disk, and that no later sync writes: the kernel took them for clean. So the note is set before the
//! store is written and cleared only when all is synced, and it names each part of the file before
//! that is written to; of a store that is found with the note set, those parts are written again, every
//! byte to its own place, before it is believed. That takes as long as much was being written, and not
//! as the store is large.
//!
//! The note is a flag (0: all is synced; anything but [`IN_PARTS`]: the whole file may not be) and behind
//! it a byte for each [`PART_BYTES`] of the file, which is not 0 if that part was written to. It is never
//! synced. It needs to live exactly as long as those pages do, in the page cache: a power loss takes
//! both.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::Error;
use crate::host::{Disk, File, OpenMode};
use crate::storage::failed_sync;

/// How much of the file is noted, and written again, as one.
const PART_BYTES: u64 = 1 << 20;
/// The flag of a note that names the parts.
const IN_PARTS: u8 = 2;
/// The longest note that is read: that of a store of 16 TiB.
const NOTE_BYTES_MAX: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Busy {
    path: PathBuf,
    note: Arc<dyn File>,
    /// What the note says: the flag and the parts.
    said: Mutex<Vec<u8>>,
}

impl Busy {
    /// The note of the store at `path`.
    pub(super) fn of(disk: &dyn Disk, path: &Path) -> Result<Busy, Error> {
        let mut name = path.as_os_str().to_owned();
        name.push(".busy");
        let path = PathBuf::from(name);
        let read = || {
            let note = disk.open(&path, OpenMode::OpenOrCreate)?;
            let length = usize::try_from(note.len()?).unwrap_or(usize::MAX);
            let mut said = vec![0; length.clamp(1, NOTE_BYTES_MAX)];
            note.read_at(0, &mut said)?;
            Ok((note, said))
        };
        let (note, said) = read().map_err(Error::io(&path))?;
        Ok(Busy {
            path,
            note,
            said: Mutex::new(said),
        })
    }

    /// Writes what may not be on the disk of the store's `file` to where it is already, and syncs.
    /// Returns how much that was (bytes), if the note was set.
    pub(super) fn write_again(&self, file: &dyn File) -> io::Result<Option<u64>> {
        let said = self.lock().clone();
        if said[0] == 0 {
            return Ok(None);
        }
        let length = file.len()?;
        let mut written = 0;
        let mut buffer = vec![0; PART_BYTES as usize];
        for (part, offset) in (0..length).step_by(PART_BYTES as usize).enumerate() {
            let touched = said.get(part + 1).is_some_and(|byte| *byte != 0);
            if said[0] == IN_PARTS && !touched {
                continue;
            }
            let bytes = PART_BYTES.min(length - offset);
            let content = &mut buffer[..bytes as usize];
            if file.read_at(offset, content)? < content.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_at(offset, content)?;
            written += bytes;
        }
        file.sync_data().map_err(failed_sync)?;
        Ok(Some(written))
    }

    /// Takes the space that the note of a store of `bytes` needs, so that a full disk is found out
    /// here and not when a commit is half written.
    pub(super) fn cover(&self, bytes: u64) -> io::Result<()> {
        let length = usize::try_from(1 + bytes.div_ceil(PART_BYTES)).map_err(io::Error::other)?;
        let mut said = self.lock();
        if said.len() < length {
            self.note.allocate(length as u64)?;
            said.resize(length, 0);
        }
        Ok(())
    }

    /// Says that the store is about to be written, nothing of it yet; or that all of it is synced.
    pub(super) fn set(&self, busy: bool) -> Result<(), Error> {
        let mut said = self.lock();
        let length = said.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        said.fill(0);
        said[0] = if busy { IN_PARTS } else { 0 };
        let written = self.note.write_at(0, &said[..length]);
        written.map_err(Error::io(&self.path))
    }

    /// Says that these `bytes` of the file are about to be written.
    pub(super) fn touch(&self, offset: u64, bytes: usize) -> io::Result<()> {
        let end = offset.saturating_add(bytes as u64);
        for part in offset / PART_BYTES..end.div_ceil(PART_BYTES) {
            let place = usize::try_from(part + 1).map_err(io::Error::other)?;
            let mut said = self.lock();
            let Some(byte) = said.get_mut(place) else {
                return Err(io::Error::other(
                    "a write behind what the store's note covers",
                ));
            };
            if *byte == 0 {
                self.note.write_at(place as u64, &[1])?;
                *byte = 1;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.said.lock().unwrap_or_else(|e| e.into_inner())
    }
}
