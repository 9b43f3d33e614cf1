//! The key index: which versions each key has, in a file beside the store, by key.
//!
//! The store's file is in the order of revisions, so that finding a key in it means reading all of
//! it. This file is in the order of keys and is read a block at a time, as it is needed. It holds no
//! values: the store does, under the revisions that are found here.
//!
//! **It is a cache.** It is written now and then from a clone of the state and says at which revision;
//! what came later is not in it. Nothing depends on its being there: one that is missing, damaged, of
//! another member or of an unknown format is not used, and [`Unusable`] says why. Whoever replaces the
//! store by another first [`remove`]s it.
//!
//! **It is believed or not, never half.** The end of the file has the checksum of a directory, and the
//! directory those of the blocks; a checksum covers where the bytes stand as well. An answer is given
//! from whole blocks whose checksums hold, so that what is not in it is certainly not in the index.
//!
//! ```text
//! file      = head block* directory foot
//! head      = "vKIX" version:u32(=1) cluster:u64 member:u64 revision:i64 compact:i64 crc:u32
//! block     = entry*                               entries by key, at least one
//! entry     = shared:u8 length:varint suffix       the key: so much of the one before, then this
//!             count:varint version*                oldest first, at least one
//! version   = word:varint [sub:varint]             word = step << 2 | has sub << 1 | tombstone
//! directory = (length:varint separator bytes:varint entries:varint versions:varint crc:u32)*
//! foot      = directory:u64 bytes:u64 blocks:u64 keys:u64 versions:u64 crc:u32 crc:u32
//! ```
//!
//! Numbers are little-endian. `docs/key-index-format.md` says the same for whoever writes a reader.
//!
//! **All methods block**: call them as disk work.

mod block;
mod directory;
mod format;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::host::{Disk, sync_parent};
use crate::mvcc::Revision;
use crate::storage::failed_sync;

pub use read::KeyIndex;
pub use write::write;

/// Whose index it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
}

/// One version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// When it was written.
    pub revision: Revision,
    /// Whether it marks the key's deletion.
    pub tombstone: bool,
}

/// A key and its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// Its versions, oldest first; never empty.
    pub versions: Vec<Version>,
}

/// Why an index is not used. None of it is a reason to stop: what it says can be had from the store.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The disk refused.
    #[error("key index {}: {source}", path.display())]
    Io {
        /// The index's file.
        path: PathBuf,
        /// The disk's error.
        source: io::Error,
    },
    /// It is not what was written, or not all of it.
    #[error("key index {} is damaged: {what}", path.display())]
    Damaged {
        /// The index's file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// It is another member's, or of a format that this version does not know.
    #[error("key index {} is not this member's: {what}", path.display())]
    Foreign {
        /// The index's file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
}

/// Where the index of the store at `store` is.
pub fn path_beside(store: &Path) -> PathBuf {
    with_suffix(store, ".keys")
}

/// Removes the index at `path` and what a crash left of one being written, durably; it is no failure
/// when there is none. To be done before the store is replaced.
///
/// # Errors
/// The disk's. The index may then still be there.
pub fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let mut removed = false;
    for path in [path, &writing_path(path)] {
        removed |= remove_if_there(disk, path)?;
    }
    match removed {
        true => sync_parent(disk, path).map_err(failed_sync),
        false => Ok(()),
    }
}

/// Whether there was one.
fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where an index is written before it takes its place.
fn writing_path(path: &Path) -> PathBuf {
    with_suffix(path, ".tmp")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
