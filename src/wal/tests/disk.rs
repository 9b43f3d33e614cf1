//! A disk in memory that knows what has been synced, can lose any of the rest, and can fail.
//!
//! Fault model: after a power loss each 512-byte sector of a file holds what it held after some
//! number of the writes since the last sync (each sector its own number); the file's length is any
//! length it went through, or one in between; and any of the names created, renamed or removed
//! since the last directory sync may be as before. A failing operation has no effect, except that
//! half of a failing write's data is written.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::host::{Disk, File, OpenMode};

pub const SECTOR: usize = 512;

/// What each operation costs; charged by a host that cares.
const WRITE_COST: Duration = Duration::from_micros(50);
pub const SYNC_COST: Duration = Duration::from_millis(10);

/// Small, seeded, good enough to pick fates.
#[derive(Clone, Debug)]
pub struct Draw(pub u64);

impl Draw {
    /// A number in `0..=most`.
    pub fn upto(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % (most as u64 + 1)) as usize
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write(offset, data) => {
                let end = *offset as usize + data.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset as usize..end].copy_from_slice(data);
            }
            Change::SetLen(length) => content.resize(*length as usize, 0),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    content: Vec<u8>,
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.content);
        self.unsynced.push(change);
    }

    fn after_power_loss(&self, draw: &mut Draw) -> Vec<u8> {
        let mut versions = vec![self.durable.clone()];
        for change in &self.unsynced {
            let mut next = versions.last().unwrap().clone();
            change.apply(&mut next);
            versions.push(next);
        }
        let lengths = || versions.iter().map(Vec::len);
        let (shortest, longest) = (lengths().min().unwrap(), lengths().max().unwrap());
        let length = match draw.upto(3) {
            0 => self.durable.len(),
            1 => self.content.len(),
            _ => shortest + draw.upto(longest - shortest),
        };
        // Mostly all-or-nothing, now and then each sector for itself.
        let fate = draw.upto(3);
        let mut content = vec![0; length];
        for (number, sector) in content.chunks_mut(SECTOR).enumerate() {
            let version = match fate {
                0 => 0,
                1 => versions.len() - 1,
                _ => draw.upto(versions.len() - 1),
            };
            let source = versions[version].iter().skip(number * SECTOR);
            for (to, from) in sector.iter_mut().zip(source) {
                *to = *from;
            }
        }
        content
    }
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
}

fn apply_name(names: &mut BTreeMap<PathBuf, usize>, change: &NameChange) {
    match change {
        NameChange::Link(path, inode) => _ = names.insert(path.clone(), *inode),
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        NameChange::Unlink(path) => _ = names.remove(path),
    }
}

#[derive(Clone, Debug, Default)]
struct Inner {
    dirs: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<NameChange>,
    inodes: Vec<Inode>,
    operations: Vec<&'static str>,
    fail_from: Option<usize>,
    record: bool,
    history: Vec<Inner>,
    largest_read: usize,
    synced_dirs: BTreeSet<PathBuf>,
    cost: Duration,
    /// No space can be reserved.
    full: bool,
    /// Nor can anything be made longer, or made.
    packed: bool,
}

impl Inner {
    /// Counts a changing operation, remembers the state before it, and fails it when it is due.
    fn operation(&mut self, name: &'static str) -> io::Result<()> {
        if self.record {
            let mut before = self.clone();
            before.history = Vec::new();
            before.record = false;
            self.history.push(before);
        }
        let number = self.operations.len();
        self.operations.push(name);
        self.cost += match name {
            "sync" | "sync_dir" => SYNC_COST,
            _ => WRITE_COST,
        };
        if self.fail_from.is_some_and(|from| number >= from) {
            return Err(io::Error::other("injected"));
        }
        Ok(())
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        let found = self.names.get(path).copied();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Inner>>);

impl MemoryDisk {
    pub fn new() -> Arc<MemoryDisk> {
        Arc::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// An independent disk with the same content, all of it durable.
    pub fn copy(&self) -> Arc<MemoryDisk> {
        let inner = self.inner().clone();
        let names = inner.names.clone();
        let content = |inode: &Inode| inode.content.clone();
        Self::with(&inner, names, inner.inodes.iter().map(content).collect())
    }

    fn with(
        old: &Inner,
        names: BTreeMap<PathBuf, usize>,
        contents: Vec<Vec<u8>>,
    ) -> Arc<MemoryDisk> {
        let inode = |content: Vec<u8>| Inode {
            durable: content.clone(),
            unsynced: Vec::new(),
            content,
        };
        Arc::new(MemoryDisk(Arc::new(Mutex::new(Inner {
            dirs: old.dirs.clone(),
            durable_names: names.clone(),
            names,
            inodes: contents.into_iter().map(inode).collect(),
            ..Inner::default()
        }))))
    }

    /// What might be left after a power loss now.
    pub fn after_power_loss(&self, draw: &mut Draw) -> Arc<MemoryDisk> {
        let inner = self.inner();
        let mut names = inner.durable_names.clone();
        for change in &inner.unsynced_names {
            if draw.upto(1) == 1 {
                apply_name(&mut names, change);
            }
        }
        let inodes = inner.inodes.iter();
        let contents = inodes.map(|inode| inode.after_power_loss(draw)).collect();
        Self::with(&inner, names, contents)
    }

    /// The durable and the current content of a file.
    pub fn versions(&self, path: &Path) -> (Vec<u8>, Vec<u8>) {
        let inner = self.inner();
        let inode = &inner.inodes[inner.inode(path).unwrap()];
        (inode.durable.clone(), inode.content.clone())
    }

    /// Replaces a file's content, durably.
    pub fn replace(&self, path: &Path, content: Vec<u8>) {
        let mut inner = self.inner();
        let inode = inner.inode(path).unwrap();
        inner.inodes[inode] = Inode {
            durable: content.clone(),
            unsynced: Vec::new(),
            content,
        };
    }

    /// Every file's path, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        self.inner().names.keys().cloned().collect()
    }

    /// The changing operations so far, by name.
    pub fn operations(&self) -> Vec<&'static str> {
        self.inner().operations.clone()
    }

    /// Lets the operation with this number (as in [`MemoryDisk::operations`]) and all later ones
    /// fail; `None` ends that.
    pub fn fail_from(&self, operation: Option<usize>) {
        self.inner().fail_from = operation;
    }

    /// From now on no space can be reserved, though what is written still fits.
    pub fn fill_up(&self) {
        self.inner().full = true;
    }

    /// From now on, or not any more, nothing can grow: neither by reserving space nor by writing.
    pub fn pack(&self, packed: bool) {
        let mut inner = self.inner();
        (inner.full, inner.packed) = (packed, packed);
    }

    /// From now on the disk's state before every changing operation is kept.
    pub fn record(&self) {
        self.inner().record = true;
    }

    /// Takes the states kept since the last call.
    pub fn take_history(&self) -> Vec<MemoryDisk> {
        let history = std::mem::take(&mut self.inner().history);
        let disk = |inner: Inner| MemoryDisk(Arc::new(Mutex::new(inner)));
        history.into_iter().map(disk).collect()
    }

    /// The largest buffer a read was asked to fill.
    pub fn largest_read(&self) -> usize {
        self.inner().largest_read
    }

    /// The directories that were ever synced.
    pub fn synced_dirs(&self) -> Vec<PathBuf> {
        self.inner().synced_dirs.iter().cloned().collect()
    }

    /// The time the operations since the last call would have taken.
    pub fn take_cost(&self) -> Duration {
        std::mem::take(&mut self.inner().cost)
    }
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.operation("create_dir_all")?;
        inner.dirs.extend(path.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut inner = self.inner();
        let existing = inner.inode(path);
        let inode = match (mode, existing) {
            (OpenMode::CreateNew, Ok(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (_, Ok(inode)) => inode,
            (OpenMode::Read | OpenMode::ReadWrite, Err(error)) => return Err(error),
            (OpenMode::CreateNew | OpenMode::OpenOrCreate, Err(_)) => {
                inner.operation("create")?;
                inner.inodes.push(Inode::default());
                let inode = inner.inodes.len() - 1;
                let change = NameChange::Link(path.to_path_buf(), inode);
                apply_name(&mut inner.names, &change);
                inner.unsynced_names.push(change);
                inode
            }
        };
        let disk = self.clone();
        Ok(Arc::new(MemoryFile { disk, inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.operation("rename")?;
        inner.inode(from)?;
        let change = NameChange::Rename(from.to_path_buf(), to.to_path_buf());
        apply_name(&mut inner.names, &change);
        inner.unsynced_names.push(change);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.operation("remove")?;
        inner.inode(path)?;
        let change = NameChange::Unlink(path.to_path_buf());
        apply_name(&mut inner.names, &change);
        inner.unsynced_names.push(change);
        Ok(())
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let inner = self.inner();
        let here = inner.names.keys().filter(|p| p.parent() == Some(path));
        let name = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(here.map(name).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let inner = self.inner();
        Ok(inner.names.contains_key(path) || inner.dirs.contains(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.operation("sync_dir")?;
        inner.synced_dirs.insert(path.to_path_buf());
        let of = |p: &Path| p.parent() == Some(path);
        let names = inner.names.iter().filter(|(p, _)| of(p));
        let durable: BTreeMap<_, _> = names.map(|(p, i)| (p.clone(), *i)).collect();
        inner.durable_names.retain(|p, _| !of(p));
        inner.durable_names.extend(durable);
        inner.unsynced_names.retain(|change| match change {
            NameChange::Link(p, _) | NameChange::Rename(p, _) | NameChange::Unlink(p) => !of(p),
        });
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    inode: usize,
}

impl File for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.disk.inner();
        inner.largest_read = inner.largest_read.max(buffer.len());
        let content = &inner.inodes[self.inode].content;
        let rest = content.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let grows = offset as usize + data.len() > inner.inodes[self.inode].content.len();
        if inner.packed && grows {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let outcome = inner.operation("write");
        let written = match outcome {
            Ok(()) => data,
            Err(_) => &data[..data.len() / 2],
        };
        inner.inodes[self.inode].change(Change::Write(offset, written.to_vec()));
        outcome
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.operation("sync")?;
        let inode = &mut inner.inodes[self.inode];
        inode.durable = inode.content.clone();
        inode.unsynced.clear();
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.operation("set_len")?;
        inner.inodes[self.inode].change(Change::SetLen(length));
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        if self.disk.inner().full && self.len()? < length {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match self.len()? < length {
            true => self.set_len(length),
            false => Ok(()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.inner().inodes[self.inode].content.len() as u64)
    }
}
