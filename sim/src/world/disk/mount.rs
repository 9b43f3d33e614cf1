//! The disk in the hands of one life of a process: `host::Disk` and `host::File`.
//!
//! Every operation checks that the life is not over, takes its time from the device, and gives its
//! effect that time's stamp.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vetcd::host::{Disk, File, OpenMode};

use super::SimDisk;
use super::content::LENGTH_MAX;
use super::device::{Cost, Stamp, input_output_error};
use super::file::{Change, FileNode};
use crate::world::node::Life;
use crate::world::trace::hash_bytes;

/// Kinds of operations in the trace.
mod operation {
    pub(super) const WRITE: u64 = 1;
    pub(super) const SET_LENGTH: u64 = 2;
    pub(super) const SYNC: u64 = 3;
    pub(super) const CREATE: u64 = 4;
    pub(super) const RENAME: u64 = 5;
    pub(super) const REMOVE: u64 = 6;
    pub(super) const MAKE_DIR: u64 = 7;
    pub(super) const SYNC_DIR: u64 = 8;
    pub(super) const LOCK: u64 = 9;
}

#[derive(Clone)]
pub(super) struct Mount {
    disk: SimDisk,
    /// None on a bench, whose process never dies by itself.
    life: Option<Life>,
}

impl Mount {
    pub(super) fn new(disk: SimDisk, life: Option<Life>) -> Mount {
        Mount { disk, life }
    }

    fn charge(&self, cost: Cost) -> io::Result<Stamp> {
        if let Some(life) = &self.life {
            life.check()?;
        }
        self.disk.on_tape(cost);
        self.disk.device().charge(cost)
    }

    /// Charges an operation on names, and traces it.
    fn name_operation(&self, operation: u64, path: &Path) -> io::Result<(Stamp, u64)> {
        let stamp = self.charge(Cost::Write)?;
        let hash = hash_bytes(path.as_os_str().as_encoded_bytes());
        self.disk.note(operation, stamp.done_ns, hash);
        Ok((stamp, self.disk.0.timeline.now_ns()))
    }

    fn open_file(&self, path: &Path, file: Arc<FileNode>, mode: OpenMode) -> Arc<dyn File> {
        let writable = mode != OpenMode::Read;
        Arc::new(SimFile {
            mount: self.clone(),
            file,
            writable,
            path: path.to_owned(),
        })
    }

    /// Fails when `extra` more bytes do not fit on the disk.
    fn check_capacity(&self, extra: u64) -> io::Result<()> {
        let Some(capacity) = self.disk.device().capacity else {
            return Ok(());
        };
        let files = self.disk.tree().live_files();
        let used: u64 = files.iter().map(|(_, file)| file.length()).sum();
        match extra > 0 && used.saturating_add(extra) > capacity {
            true => {
                self.disk.device().counters.full += 1;
                Err(io::ErrorKind::StorageFull.into())
            }
            false => Ok(()),
        }
    }
}

impl Disk for Mount {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let (stamp, now_ns) = self.name_operation(operation::MAKE_DIR, path)?;
        self.disk.tree().create_dir_all(path, stamp, now_ns)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.charge(Cost::Read)?;
        let found = self.disk.tree().file(path);
        let file = match (found, mode) {
            (Ok(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(file), _) => file,
            (Err(e), OpenMode::CreateNew | OpenMode::OpenOrCreate)
                if e.kind() == io::ErrorKind::NotFound =>
            {
                let (stamp, now_ns) = self.name_operation(operation::CREATE, path)?;
                self.disk.tree().create_file(path, stamp, now_ns)?
            }
            (Err(e), _) => return Err(e),
        };
        Ok(self.open_file(path, file, mode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (stamp, now_ns) = self.name_operation(operation::RENAME, to)?;
        self.disk.tree().rename(from, to, stamp, now_ns)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (stamp, now_ns) = self.name_operation(operation::REMOVE, path)?;
        self.disk.tree().remove_file(path, stamp, now_ns)
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        self.charge(Cost::Read)?;
        self.disk.tree().list(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.charge(Cost::Read)?;
        self.disk.tree().exists(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let stamp = self.charge(Cost::Sync(0))?;
        let hash = hash_bytes(path.as_os_str().as_encoded_bytes());
        self.disk.note(operation::SYNC_DIR, stamp.done_ns, hash);
        let (fails, lies) = {
            let mut device = self.disk.device();
            (device.sync_fails(), device.lies)
        };
        if fails {
            return Err(input_output_error("sync"));
        }
        match lies {
            true => self.disk.tree().list(path).map(|_| ()),
            false => self
                .disk
                .tree()
                .sync(path, stamp, self.disk.0.timeline.now_ns()),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.open(path, OpenMode::OpenOrCreate)?;
        let (_, _) = self.name_operation(operation::LOCK, path)?;
        match self.disk.tree().take_lock(path)? {
            true => Ok(Box::new(Lock {
                mount: self.clone(),
                path: path.to_owned(),
            })),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// Holds a lock until dropped; after its process died the lock is gone and dropping does nothing.
struct Lock {
    mount: Mount,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.mount.life.as_ref().is_none_or(Life::is_current) {
            self.mount.disk.tree().drop_lock(&self.path);
        }
    }
}

struct SimFile {
    mount: Mount,
    file: Arc<FileNode>,
    writable: bool,
    path: PathBuf,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SimFile {
    fn now_ns(&self) -> u64 {
        self.mount.disk.0.timeline.now_ns()
    }

    fn note(&self, operation: u64, stamp: Stamp, detail: u64) {
        let hash = detail.rotate_left(17) ^ self.file.id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.mount.disk.note(operation, stamp.done_ns, hash);
    }

    /// Checks that the file may grow or shrink to `length`, and charges a write.
    fn prepare_change(&self, length: u64) -> io::Result<Stamp> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if length > LENGTH_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let stamp = self.mount.charge(Cost::Write)?;
        if self.mount.disk.device().write_fails() {
            return Err(input_output_error("write"));
        }
        self.mount
            .check_capacity(length.saturating_sub(self.file.length()))?;
        Ok(stamp)
    }
}

impl File for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.mount.charge(Cost::Read)?;
        if self.mount.disk.device().read_fails() {
            return Err(input_output_error("read"));
        }
        Ok(self.file.read(offset, buffer))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(data.len() as u64);
        let stamp = self.prepare_change(end.max(offset))?;
        if data.is_empty() {
            return Ok(());
        }
        self.note(operation::WRITE, stamp, hash_bytes(data) ^ offset);
        self.mount.disk.device().counters.bytes += data.len() as u64;
        let change = Change::Write {
            offset,
            data: data.into(),
        };
        self.file.change(change, stamp, self.now_ns());
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let stamp = self.mount.charge(Cost::Sync(self.file.dirty_bytes()))?;
        self.note(operation::SYNC, stamp, 0);
        let (fails, lies, drops) = {
            let mut device = self.mount.disk.device();
            (device.sync_fails(), device.lies, device.failed_sync_drops)
        };
        let now_ns = self.now_ns();
        match (fails, lies) {
            (true, _) => {
                match drops {
                    true => self.file.drop_dirty(stamp, now_ns),
                    false => self.file.fail_sync(stamp, now_ns),
                }
                return Err(input_output_error("sync"));
            }
            (false, true) => self.file.pretend_sync(now_ns),
            (false, false) => self.file.sync(stamp, now_ns),
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let stamp = self.prepare_change(length)?;
        self.note(operation::SET_LENGTH, stamp, length);
        self.file
            .change(Change::SetLength(length), stamp, self.now_ns());
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.mount.charge(Cost::Read)?;
        Ok(self.file.length())
    }
}
