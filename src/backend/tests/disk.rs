//! A disk in memory that remembers every operation, so that a test can ask: what if the power had
//! failed right there?
//!
//! The fault model: what was synced stays. Of what was not, each 512-byte sector of a write and
//! each length change is kept or lost by itself, and of the names changed since the directory's
//! last sync a prefix is kept. Which, is drawn from a seed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::host::{Disk, File, OpenMode};

const SECTOR: usize = 512;

#[derive(Clone, Debug, PartialEq)]
enum Op {
    Write(usize, u64, Vec<u8>),
    SetLen(usize, u64),
    Sync(usize),
    Names(BTreeMap<PathBuf, usize>),
    SyncDir,
}

#[derive(Debug, Default)]
struct Inner {
    names: BTreeMap<PathBuf, usize>,
    /// The content of each file ever created, by number.
    contents: Vec<Vec<u8>>,
    log: Vec<Op>,
    /// Fail every operation from this one on.
    fail_from: Option<usize>,
    attempts: usize,
    /// Nothing can grow.
    packed: bool,
    /// The content a crashed disk began with.
    initial: Vec<Vec<u8>>,
    initial_names: BTreeMap<PathBuf, usize>,
}

/// A disk that can be crashed; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CrashDisk(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct CrashFile {
    disk: CrashDisk,
    number: usize,
}

/// A small generator of reproducible numbers (splitmix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

impl Inner {
    fn check_space(&self, file: usize, length: u64) -> io::Result<()> {
        match self.packed && length > self.contents[file].len() as u64 {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl CrashDisk {
    /// From now on, or not any more, nothing can be made longer.
    pub(crate) fn pack(&self, packed: bool) {
        self.inner().packed = packed;
    }

    pub(crate) fn new() -> CrashDisk {
        CrashDisk::default()
    }

    pub(crate) fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// How many changing operations were done.
    pub(crate) fn operations(&self) -> usize {
        self.inner().log.len()
    }

    /// How many operations of any kind were asked for.
    pub(crate) fn attempts(&self) -> usize {
        self.inner().attempts
    }

    /// Makes the next `after` changing operations succeed and everything later fail.
    pub(crate) fn fail_after(&self, after: usize) {
        let mut inner = self.inner();
        inner.fail_from = Some(inner.log.len() + after);
    }

    /// Whether two disks saw the same operations.
    pub(crate) fn same_history(&self, other: &CrashDisk) -> bool {
        self.inner().log == other.inner().log
    }

    /// A file's present content.
    pub(crate) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.inner();
        let number = inner.names.get(path)?;
        Some(inner.contents[*number].clone())
    }

    /// A disk that holds one file, durably.
    pub(crate) fn with_file(path: &Path, content: Vec<u8>) -> CrashDisk {
        let names = BTreeMap::from([(path.to_owned(), 0)]);
        CrashDisk::with(names, vec![content])
    }

    fn with(names: BTreeMap<PathBuf, usize>, contents: Vec<Vec<u8>>) -> CrashDisk {
        CrashDisk(Arc::new(Mutex::new(Inner {
            initial: contents.clone(),
            initial_names: names.clone(),
            names,
            contents,
            ..Default::default()
        })))
    }

    /// The disk as it may be after power fails when `operations` operations were done.
    pub(crate) fn crashed(&self, operations: usize, seed: u64) -> CrashDisk {
        let inner = self.inner();
        let mut draw = Numbers(seed);
        let mut durable = inner.initial.clone();
        durable.resize(inner.contents.len(), Vec::new());
        let mut pending: Vec<Op> = Vec::new();
        let mut names = inner.initial_names.clone();
        let mut pending_names: Vec<BTreeMap<PathBuf, usize>> = Vec::new();
        for op in &inner.log[..operations] {
            match op {
                Op::Names(after) => pending_names.push(after.clone()),
                Op::SyncDir => names = pending_names.drain(..).next_back().unwrap_or(names),
                Op::Sync(number) => {
                    pending.retain(|op| !settle(op, *number, &mut durable, || true))
                }
                op => pending.push(op.clone()),
            }
        }
        // Seed 0 loses everything that can be lost, seed 1 nothing.
        let mut keep = move || match seed {
            0 => false,
            1 => true,
            _ => draw.below(2) == 0,
        };
        for number in 0..durable.len() {
            pending.retain(|op| !settle(op, number, &mut durable, &mut keep));
        }
        for after in pending_names {
            if !keep() {
                break;
            }
            names = after;
        }
        CrashDisk::with(names, durable)
    }

    fn attempt(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.inner();
        inner.attempts += 1;
        if inner.fail_from.is_some_and(|from| inner.log.len() >= from) {
            return Err(io::Error::other("injected"));
        }
        Ok(inner)
    }

    fn rename_all(
        &self,
        change: impl FnOnce(&mut BTreeMap<PathBuf, usize>) -> bool,
    ) -> io::Result<()> {
        let mut inner = self.attempt()?;
        if !change(&mut inner.names) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let after = inner.names.clone();
        inner.log.push(Op::Names(after));
        Ok(())
    }
}

/// Applies `op` if it belongs to file `number`, sector by sector as `keep` says; says whether it
/// did.
fn settle(op: &Op, number: usize, durable: &mut [Vec<u8>], mut keep: impl FnMut() -> bool) -> bool {
    match op {
        Op::Write(file, offset, data) if *file == number => {
            let mut at = *offset as usize;
            let mut rest = &data[..];
            while !rest.is_empty() {
                let length = (SECTOR - at % SECTOR).min(rest.len());
                if keep() {
                    write(&mut durable[number], at, &rest[..length]);
                }
                at += length;
                rest = &rest[length..];
            }
            true
        }
        Op::SetLen(file, length) if *file == number => {
            if keep() {
                durable[number].resize(*length as usize, 0);
            }
            true
        }
        _ => false,
    }
}

fn write(content: &mut Vec<u8>, at: usize, data: &[u8]) {
    if content.len() < at + data.len() {
        content.resize(at + data.len(), 0);
    }
    content[at..at + data.len()].copy_from_slice(data);
}

impl Disk for CrashDisk {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let known = self.attempt()?.names.get(path).copied();
        let number = match (known, mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(number), _) => number,
            (None, OpenMode::Read | OpenMode::ReadWrite) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            (None, _) => {
                let number = self.inner().contents.len();
                self.rename_all(|names| names.insert(path.to_owned(), number).is_none())?;
                self.inner().contents.push(Vec::new());
                number
            }
        };
        Ok(Arc::new(CrashFile {
            disk: self.clone(),
            number,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_all(|names| match names.remove(from) {
            Some(number) => {
                names.insert(to.to_owned(), number);
                true
            }
            None => false,
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.rename_all(|names| names.remove(path).is_some())
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let inner = self.attempt()?;
        let names = inner
            .names
            .keys()
            .filter(|name| name.parent() == Some(path));
        let text = |name: &PathBuf| Some(name.file_name()?.to_string_lossy().into_owned());
        Ok(names.filter_map(text).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        // Directories are there as long as something is in them.
        let inner = self.attempt()?;
        Ok(inner.names.keys().any(|name| name.starts_with(path)))
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.attempt()?.log.push(Op::SyncDir);
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }
}

impl File for CrashFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let inner = self.disk.attempt()?;
        let content = &inner.contents[self.number];
        let start = content
            .len()
            .min(usize::try_from(offset).unwrap_or(usize::MAX));
        let length = buffer.len().min(content.len() - start);
        buffer[..length].copy_from_slice(&content[start..start + length]);
        Ok(length)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.attempt()?;
        inner.check_space(self.number, offset + data.len() as u64)?;
        inner
            .log
            .push(Op::Write(self.number, offset, data.to_vec()));
        write(&mut inner.contents[self.number], offset as usize, data);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.attempt()?.log.push(Op::Sync(self.number));
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut inner = self.disk.attempt()?;
        inner.check_space(self.number, length)?;
        inner.log.push(Op::SetLen(self.number, length));
        inner.contents[self.number].resize(length as usize, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.attempt()?.contents[self.number].len() as u64)
    }
}
