//! Snapshots in files: `<index>-<term>.snap`, both in 16 hexadecimal digits, in one directory.
//!
//! A file is written under another name, synced, renamed, and its directory synced: a crash leaves
//! a whole snapshot or none under the final name (#22340).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Decoder, Encoder, Error};
use crate::api::proto::vetcdpb::BackendMeta;
use crate::host::{Disk, File, OpenMode, sync_parent};
use crate::mvcc::State;
use crate::storage::Fault;

const SUFFIX: &str = ".snap";
const READ_BYTES: usize = 64 << 10;

/// A snapshot file that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk refused.
    #[error("snapshot {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The disk's error.
        source: io::Error,
    },
    /// The file is not a whole snapshot.
    #[error("snapshot {}: {source}; use another snapshot", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: Error,
    },
}

impl FileError {
    /// What it means for the member.
    pub fn fault(&self) -> Fault {
        match self {
            FileError::Io { source, .. } => Fault::of_io(source),
            FileError::Content { .. } => Fault::Damaged,
        }
    }

    fn io(path: &Path) -> impl Fn(io::Error) -> FileError + '_ {
        |source| FileError::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// A snapshot in a directory, by its name; its content may still be damaged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotFile {
    /// The last log entry in it.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The file.
    pub path: PathBuf,
}

/// The name of the snapshot at a log position.
pub fn file_name(index: u64, term: u64) -> String {
    format!("{index:016x}-{term:016x}{SUFFIX}")
}

/// The index and term in a snapshot's name; `None` for any other name.
pub fn parse_file_name(name: &str) -> Option<(u64, u64)> {
    let (index, term) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let (index, term) = (number(index)?, number(term)?);
    // Only the one spelling: no signs, no capitals, all digits.
    (file_name(index, term) == name).then_some((index, term))
}

/// The snapshots in a directory, newest first.
///
/// # Errors
/// The disk's.
pub fn list(disk: &dyn Disk, directory: &Path) -> Result<Vec<SnapshotFile>, FileError> {
    let names = disk.list_dir(directory).map_err(FileError::io(directory))?;
    let mut files: Vec<SnapshotFile> = names
        .iter()
        .filter_map(|name| {
            let (index, term) = parse_file_name(name)?;
            let path = directory.join(name);
            Some(SnapshotFile { index, term, path })
        })
        .collect();
    files.sort_by(|a, b| b.cmp(a));
    Ok(files)
}

/// Writes the snapshot of `state` into `directory`, which exists, durably, under the name that
/// `meta`'s consistent index and term give. Returns its path. Blocks.
///
/// # Errors
/// The disk's; nothing is then left under the final name, unless only the last sync failed.
pub fn write_file(
    disk: &dyn Disk,
    directory: &Path,
    state: &State,
    meta: &BackendMeta,
) -> Result<PathBuf, FileError> {
    let name = file_name(meta.consistent_index, meta.term);
    let path = directory.join(&name);
    let writing = directory.join(name + ".tmp");
    write_content(disk, &writing, state, meta).map_err(FileError::io(&writing))?;
    let renamed = disk.rename(&writing, &path);
    renamed
        .and_then(|()| sync_parent(disk, &path))
        .map_err(FileError::io(&path))?;
    Ok(path)
}

fn write_content(
    disk: &dyn Disk,
    path: &Path,
    state: &State,
    meta: &BackendMeta,
) -> io::Result<()> {
    if disk.exists(path)? {
        // What a crash left of an earlier attempt.
        disk.remove_file(path)?;
    }
    let file = disk.open(path, OpenMode::CreateNew)?;
    let mut offset = 0;
    for chunk in Encoder::new(state.clone(), meta.clone()) {
        file.write_at(offset, &chunk)?;
        offset += chunk.len() as u64;
    }
    file.sync_data()
}

/// Reads a snapshot file. Blocks.
///
/// # Errors
/// The disk's, or where and how the content is damaged.
pub fn read_file(disk: &dyn Disk, path: &Path) -> Result<(State, BackendMeta), FileError> {
    let content = |source| FileError::Content {
        path: path.to_owned(),
        source,
    };
    let file: Arc<dyn File> = disk
        .open(path, OpenMode::Read)
        .map_err(FileError::io(path))?;
    let mut decoder = Decoder::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    loop {
        let read = file
            .read_at(offset, &mut buffer)
            .map_err(FileError::io(path))?;
        if read == 0 {
            return decoder.finish().map_err(content);
        }
        decoder.push(&buffer[..read]).map_err(content)?;
        offset += read as u64;
    }
}
