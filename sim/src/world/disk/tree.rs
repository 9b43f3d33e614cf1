//! Directories: the names as processes see them, the names that are durable, and between the two a
//! journal of changes that are not durable yet.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::WRITEBACK_AFTER;
use super::device::Stamp;
use super::file::FileNode;
use super::names::{Change, Dir, DirId, Entry, Names, Place, apply, parts};
use super::power::Fates;
use crate::world::timeline::nanos;

#[derive(Clone)]
enum Pending {
    Change {
        change: Change,
        stamp_ns: u64,
    },
    /// Covers changes of `dir` whose stamp is at most `start_ns`.
    Sync {
        dir: DirId,
        start_ns: u64,
        stamp_ns: u64,
    },
}

impl Pending {
    fn stamp_ns(&self) -> u64 {
        match self {
            Pending::Change { stamp_ns, .. } | Pending::Sync { stamp_ns, .. } => *stamp_ns,
        }
    }
}

pub(super) struct Tree {
    dirs: BTreeMap<DirId, Dir>,
    pending: Vec<Pending>,
    next_id: u64,
    /// Paths locked by the living process.
    locks: BTreeSet<String>,
}

impl Tree {
    pub(super) fn new() -> Tree {
        Tree {
            dirs: BTreeMap::from([(0, Dir::default())]),
            pending: Vec::new(),
            next_id: 1,
            locks: BTreeSet::new(),
        }
    }

    /// An independent tree with copies of all files.
    pub(super) fn copy(&self) -> Tree {
        let files: BTreeMap<u64, Arc<FileNode>> = self
            .all_files()
            .into_iter()
            .map(|(id, file)| (id, Arc::new(file.copy())))
            .collect();
        let entry = |entry: &Entry| match entry {
            Entry::File(file) => Entry::File(files[&file.id].clone()),
            Entry::Dir(dir) => Entry::Dir(*dir),
        };
        let names = |names: &Names| -> Names {
            let renewed = names.iter().map(|(name, of)| (name.clone(), entry(of)));
            renewed.collect()
        };
        let dir = |dir: &Dir| Dir {
            live: names(&dir.live),
            durable: names(&dir.durable),
        };
        let change = |change: &Change| match change {
            Change::Link { at, entry: of } => Change::Link {
                at: at.clone(),
                entry: entry(of),
            },
            Change::Unlink { at } => Change::Unlink { at: at.clone() },
            Change::Rename {
                from,
                to,
                entry: of,
            } => Change::Rename {
                from: from.clone(),
                to: to.clone(),
                entry: entry(of),
            },
        };
        let pending = self.pending.iter().map(|pending| match pending {
            Pending::Change {
                change: what,
                stamp_ns,
            } => Pending::Change {
                change: change(what),
                stamp_ns: *stamp_ns,
            },
            sync @ Pending::Sync { .. } => sync.clone(),
        });
        Tree {
            dirs: self.dirs.iter().map(|(id, of)| (*id, dir(of))).collect(),
            pending: pending.collect(),
            next_id: self.next_id,
            locks: self.locks.clone(),
        }
    }

    fn live(&self, dir: DirId) -> &Names {
        &self
            .dirs
            .get(&dir)
            .expect("a name leads to a directory that exists")
            .live
    }

    fn find_dir(&self, parts: &[&str]) -> io::Result<DirId> {
        let mut dir = 0;
        for part in parts {
            dir = match self.live(dir).get(*part) {
                Some(Entry::Dir(next)) => *next,
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(dir)
    }

    /// The directory and name that `path` means.
    fn place(&self, path: &Path) -> io::Result<Place> {
        let parts = parts(path)?;
        let (name, parents) = parts.split_last().ok_or(io::ErrorKind::IsADirectory)?;
        Ok((self.find_dir(parents)?, (*name).to_owned()))
    }

    fn at(&self, place: &Place) -> Option<&Entry> {
        self.live(place.0).get(&place.1)
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<Arc<FileNode>> {
        match self.at(&self.place(path)?) {
            Some(Entry::File(file)) => Ok(file.clone()),
            Some(Entry::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn exists(&self, path: &Path) -> io::Result<bool> {
        if parts(path)?.is_empty() {
            return Ok(true);
        }
        match self.place(path) {
            Ok(place) => Ok(self.at(&place).is_some()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let dir = self.find_dir(&parts(path)?)?;
        Ok(self.live(dir).keys().cloned().collect())
    }

    pub(super) fn create_file(
        &mut self,
        path: &Path,
        stamp: Stamp,
        now_ns: u64,
    ) -> io::Result<Arc<FileNode>> {
        let at = self.place(path)?;
        if self.at(&at).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::new(FileNode::new(self.new_id()));
        self.push(
            Change::Link {
                at,
                entry: Entry::File(file.clone()),
            },
            stamp,
            now_ns,
        );
        Ok(file)
    }

    pub(super) fn create_dir_all(
        &mut self,
        path: &Path,
        stamp: Stamp,
        now_ns: u64,
    ) -> io::Result<()> {
        let mut dir = 0;
        for part in parts(path)? {
            dir = match self.live(dir).get(part) {
                Some(Entry::Dir(next)) => *next,
                Some(Entry::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
                None => {
                    let id = self.new_id();
                    self.dirs.insert(id, Dir::default());
                    let at = (dir, part.to_owned());
                    self.push(
                        Change::Link {
                            at,
                            entry: Entry::Dir(id),
                        },
                        stamp,
                        now_ns,
                    );
                    id
                }
            };
        }
        Ok(())
    }

    pub(super) fn rename(
        &mut self,
        from: &Path,
        to: &Path,
        stamp: Stamp,
        now_ns: u64,
    ) -> io::Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        let entry = self.at(&from).ok_or(io::ErrorKind::NotFound)?.clone();
        match (self.at(&to), &entry) {
            (Some(there), _) if there.is(&entry) => return Ok(()),
            (Some(Entry::Dir(dir)), Entry::Dir(_)) if self.live(*dir).is_empty() => {}
            (Some(Entry::Dir(_)), Entry::Dir(_)) => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            (Some(Entry::Dir(_)), _) => return Err(io::ErrorKind::IsADirectory.into()),
            (Some(Entry::File(_)), Entry::Dir(_)) => {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            _ => {}
        }
        if let Entry::Dir(moved) = entry
            && self.is_within(to.0, moved)
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.push(Change::Rename { from, to, entry }, stamp, now_ns);
        Ok(())
    }

    /// Whether `dir` is `ancestor` or below it.
    fn is_within(&self, dir: DirId, ancestor: DirId) -> bool {
        dir == ancestor
            || self.live(ancestor).values().any(|entry| match entry {
                Entry::Dir(child) => self.is_within(dir, *child),
                Entry::File(_) => false,
            })
    }

    pub(super) fn remove_file(&mut self, path: &Path, stamp: Stamp, now_ns: u64) -> io::Result<()> {
        let at = self.place(path)?;
        match self.at(&at) {
            Some(Entry::File(_)) => {}
            Some(Entry::Dir(_)) => return Err(io::ErrorKind::IsADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        self.push(Change::Unlink { at }, stamp, now_ns);
        Ok(())
    }

    /// A directory sync that will have succeeded at `stamp`.
    pub(super) fn sync(&mut self, path: &Path, stamp: Stamp, now_ns: u64) -> io::Result<()> {
        let dir = self.find_dir(&parts(path)?)?;
        self.prune(now_ns);
        self.pending.push(Pending::Sync {
            dir,
            start_ns: stamp.start_ns,
            stamp_ns: stamp.done_ns,
        });
        Ok(())
    }

    /// Takes the lock on `path`; false when it is held.
    pub(super) fn take_lock(&mut self, path: &Path) -> io::Result<bool> {
        Ok(self.locks.insert(parts(path)?.join("/")))
    }

    #[cfg(test)]
    pub(super) fn is_locked(&self, path: &Path) -> bool {
        parts(path).is_ok_and(|parts| self.locks.contains(&parts.join("/")))
    }

    pub(super) fn drop_lock(&mut self, path: &Path) {
        if let Ok(parts) = parts(path) {
            self.locks.remove(&parts.join("/"));
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn push(&mut self, change: Change, stamp: Stamp, now_ns: u64) {
        self.prune(now_ns);
        apply(&mut self.dirs, &change, |dir| &mut dir.live);
        self.pending.push(Pending::Change {
            change,
            stamp_ns: stamp.done_ns,
        });
    }

    /// Makes durable what syncs (or the file system's own journal) have written by `now_ns`.
    fn prune(&mut self, now_ns: u64) {
        let flushed_ns = now_ns.saturating_sub(nanos(WRITEBACK_AFTER));
        let mut durable = vec![false; self.pending.len()];
        let mut covered: BTreeMap<DirId, u64> = BTreeMap::new();
        for (index, pending) in self.pending.iter().enumerate().rev() {
            match pending {
                Pending::Sync {
                    dir,
                    start_ns,
                    stamp_ns,
                } if *stamp_ns <= now_ns => {
                    let widest = covered.entry(*dir).or_default();
                    *widest = (*widest).max(*start_ns);
                    durable[index] = true;
                }
                Pending::Sync { .. } => {}
                Pending::Change { change, stamp_ns } => {
                    let synced = covered
                        .iter()
                        .any(|(dir, start_ns)| change.touches(*dir) && stamp_ns <= start_ns);
                    durable[index] = synced || *stamp_ns < flushed_ns;
                }
            }
        }
        if !durable.contains(&true) {
            return;
        }
        for (pending, durable) in std::mem::take(&mut self.pending).into_iter().zip(durable) {
            match pending {
                Pending::Change { change, .. } if durable => {
                    apply(&mut self.dirs, &change, |dir| &mut dir.durable);
                }
                pending if durable => drop(pending),
                pending => self.pending.push(pending),
            }
        }
    }

    /// The process died at `now_ns`: changes with later stamps never happened.
    pub(super) fn settle(&mut self, now_ns: u64) {
        self.locks.clear();
        self.prune(now_ns);
        // A sync that is still pending ended with its process.
        self.pending.retain(|pending| {
            matches!(pending, Pending::Change { .. }) && pending.stamp_ns() <= now_ns
        });
        self.rebuild_live(|_| true);
    }

    /// Live names become the durable ones plus the pending changes that `survives`.
    fn rebuild_live(&mut self, mut survives: impl FnMut(usize) -> bool) {
        for dir in self.dirs.values_mut() {
            dir.live = dir.durable.clone();
        }
        for (index, pending) in self.pending.iter().enumerate() {
            if let Pending::Change { change, .. } = pending
                && survives(index)
            {
                apply(&mut self.dirs, change, |dir| &mut dir.live);
            }
        }
    }

    /// Power was lost at `now_ns`.
    pub(super) fn lose_power(&mut self, now_ns: u64, fates: &mut dyn Fates) {
        self.settle(now_ns);
        let survives = fates.names(self.pending.len());
        self.rebuild_live(|index| survives[index]);
        self.pending.clear();
        let reachable = self.reachable_dirs();
        self.dirs.retain(|id, _| reachable.contains(id));
        for dir in self.dirs.values_mut() {
            dir.durable = dir.live.clone();
        }
    }

    fn reachable_dirs(&self) -> BTreeSet<DirId> {
        let mut reached = BTreeSet::from([0]);
        let mut queue = vec![0];
        while let Some(dir) = queue.pop() {
            for entry in self.live(dir).values() {
                if let Entry::Dir(child) = entry
                    && reached.insert(*child)
                {
                    queue.push(*child);
                }
            }
        }
        reached
    }

    /// Every file that has a name, with its path, sorted.
    pub(super) fn live_files(&self) -> Vec<(String, Arc<FileNode>)> {
        let mut files = Vec::new();
        let mut queue = vec![(String::new(), 0)];
        while let Some((path, dir)) = queue.pop() {
            for (name, entry) in self.live(dir) {
                let path = match path.as_str() {
                    "" => name.clone(),
                    path => format!("{path}/{name}"),
                };
                match entry {
                    Entry::File(file) => files.push((path, file.clone())),
                    Entry::Dir(child) => queue.push((path, *child)),
                }
            }
        }
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        files
    }

    /// The directories that have a name, sorted.
    pub(super) fn live_dirs(&self) -> Vec<String> {
        let mut dirs = Vec::new();
        let mut queue = vec![(String::new(), 0)];
        while let Some((path, dir)) = queue.pop() {
            for (name, entry) in self.live(dir) {
                if let Entry::Dir(child) = entry {
                    queue.push((format!("{path}/{name}"), *child));
                }
            }
            dirs.push(path);
        }
        dirs.sort();
        dirs
    }

    /// Every file that has, had or may get a name, by identity.
    pub(super) fn all_files(&self) -> BTreeMap<u64, Arc<FileNode>> {
        let names = self
            .dirs
            .values()
            .flat_map(|dir| dir.live.values().chain(dir.durable.values()));
        let pending = self.pending.iter().filter_map(|pending| match pending {
            Pending::Change { change, .. } => match change {
                Change::Link { entry, .. } | Change::Rename { entry, .. } => Some(entry),
                Change::Unlink { .. } => None,
            },
            Pending::Sync { .. } => None,
        });
        let files = names.chain(pending).filter_map(|entry| match entry {
            Entry::File(file) => Some((file.id, file.clone())),
            Entry::Dir(_) => None,
        });
        files.collect()
    }
}
