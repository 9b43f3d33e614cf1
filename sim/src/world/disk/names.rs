//! Names and how they change: the parts of which the directory tree is made.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use super::file::FileNode;

/// A directory's identity; the root is zero.
pub(super) type DirId = u64;

#[derive(Clone)]
pub(super) enum Entry {
    File(Arc<FileNode>),
    Dir(DirId),
}

impl Entry {
    pub(super) fn is(&self, other: &Entry) -> bool {
        match (self, other) {
            (Entry::File(a), Entry::File(b)) => a.id == b.id,
            (Entry::Dir(a), Entry::Dir(b)) => a == b,
            _ => false,
        }
    }
}

pub(super) type Names = BTreeMap<String, Entry>;

#[derive(Default)]
pub(super) struct Dir {
    pub(super) live: Names,
    pub(super) durable: Names,
}

/// A name in a directory.
pub(super) type Place = (DirId, String);

#[derive(Clone)]
pub(super) enum Change {
    Link {
        at: Place,
        entry: Entry,
    },
    Unlink {
        at: Place,
    },
    Rename {
        from: Place,
        to: Place,
        entry: Entry,
    },
}

impl Change {
    pub(super) fn touches(&self, dir: DirId) -> bool {
        match self {
            Change::Link { at, .. } | Change::Unlink { at } => at.0 == dir,
            Change::Rename { from, to, .. } => from.0 == dir || to.0 == dir,
        }
    }
}

/// Applies `change` to one of the two views of the directories.
pub(super) fn apply(
    dirs: &mut BTreeMap<DirId, Dir>,
    change: &Change,
    view: impl Fn(&mut Dir) -> &mut Names,
) {
    // A directory that did not survive takes the changes in it along.
    let mut with = |dir: DirId, edit: &mut dyn FnMut(&mut Names)| {
        if let Some(dir) = dirs.get_mut(&dir) {
            edit(view(dir));
        }
    };
    match change {
        Change::Link { at, entry } => {
            with(at.0, &mut |names| {
                drop(names.insert(at.1.clone(), entry.clone()))
            });
        }
        Change::Unlink { at } => with(at.0, &mut |names| drop(names.remove(&at.1))),
        Change::Rename { from, to, entry } => {
            with(from.0, &mut |names| {
                if names.get(&from.1).is_some_and(|there| there.is(entry)) {
                    names.remove(&from.1);
                }
            });
            with(to.0, &mut |names| {
                drop(names.insert(to.1.clone(), entry.clone()))
            });
        }
    }
}

/// The names that `path` goes through; the root and `.` are nothing.
pub(super) fn parts(path: &Path) -> io::Result<Vec<&str>> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => parts.push(
                name.to_str()
                    .ok_or_else(|| invalid(format!("{path:?} is not valid UTF-8")))?,
            ),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(invalid(format!(
                    "{path:?} has a component that is not a name"
                )));
            }
        }
    }
    Ok(parts)
}
