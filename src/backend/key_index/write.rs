//! Writing an index.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::block::put_entry;
use super::directory::{Described, put_block, separator};
use super::format::{Foot, HEAD_BYTES, Head, checksum};
use super::{Owner, Version, remove_if_there, writing_path};
use crate::host::{Disk, File, OpenMode, sync_parent};
use crate::mvcc::State;
use crate::storage::failed_sync;

/// How much is done at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// A block is ended when it has come to this many bytes. A key is looked for by reading one block;
    /// the directory, which is read whole and kept, has some 30 bytes for each.
    pub block: usize,
    /// Synced each time so many bytes were written: a sync of all of them at the end would keep the
    /// log's waiting.
    pub sync: u64,
}

const SIZES: Sizes = Sizes {
    block: 32 << 10,
    sync: 8 << 20,
};

/// Writes the index of `state`'s keys to `path`, in the place of the one that is there: beside it
/// first, synced, then renamed, so that a crash leaves the old one, the new one or none. Takes memory
/// for one block and for the directory. `keep_going` is asked before each block is written: if it says
/// no, what was written is removed, and the result is false.
///
/// # Errors
/// The disk's; the index that was there stays, unless it was the last sync, of the directory's names,
/// that failed.
pub fn write(
    disk: &dyn Disk,
    path: &Path,
    owner: Owner,
    state: &State,
    keep_going: &dyn Fn() -> bool,
) -> io::Result<bool> {
    write_sized(disk, path, owner, state, SIZES, keep_going)
}

/// [`write`] with other sizes.
pub(super) fn write_sized(
    disk: &dyn Disk,
    path: &Path,
    owner: Owner,
    state: &State,
    sizes: Sizes,
    keep_going: &dyn Fn() -> bool,
) -> io::Result<bool> {
    let writing = writing_path(path);
    remove_if_there(disk, &writing)?;
    let file = disk.open(&writing, OpenMode::CreateNew)?;
    let mut writer = Writer::new(file, sizes);
    let written = writer.write(owner, state, keep_going).and_then(|complete| {
        if complete {
            disk.rename(&writing, path)?;
        }
        Ok(complete)
    });
    match written {
        Ok(true) => sync_parent(disk, path).map_err(failed_sync)?,
        Ok(false) => disk.remove_file(&writing)?,
        // It only takes space; if it stays, the next one to write removes it.
        Err(_) => _ = disk.remove_file(&writing),
    }
    written
}

struct Writer<'a> {
    file: Arc<dyn File>,
    sizes: Sizes,
    offset: u64,
    unsynced: u64,
    /// The block at hand, what is in it, and what separates it from the one before.
    block: Vec<u8>,
    entries: u64,
    versions: u64,
    separator: &'a [u8],
    directory: Vec<u8>,
    /// What is in the blocks written.
    foot: Foot,
}

impl<'a> Writer<'a> {
    fn new(file: Arc<dyn File>, sizes: Sizes) -> Writer<'a> {
        Writer {
            file,
            sizes,
            offset: 0,
            unsynced: 0,
            block: Vec::new(),
            entries: 0,
            versions: 0,
            separator: &[],
            directory: Vec::new(),
            foot: Foot::default(),
        }
    }

    /// Writes and syncs all of it, unless `keep_going` ends it; says whether it did.
    fn write(
        &mut self,
        owner: Owner,
        state: &'a State,
        keep_going: &dyn Fn() -> bool,
    ) -> io::Result<bool> {
        let head = Head {
            owner,
            revision: state.revision(),
            compact_revision: state.compact_revision(),
        };
        let head = head.encode();
        self.append(&head)?;
        let mut last: Option<&[u8]> = None;
        for (key, records) in state.histories() {
            // A long entry gets a block of its own, so that it does not make others slow to read.
            let is_long = key.len() + records.len() >= self.sizes.block;
            if (is_long || self.block.len() >= self.sizes.block) && !self.end_block(keep_going)? {
                return Ok(false);
            }
            if self.entries == 0 {
                self.separator = separator(last, key);
            }
            self.entries += 1;
            self.versions += records.len() as u64;
            let previous = last.filter(|_| self.entries > 1);
            let versions = records.map(|record| Version {
                revision: record.revision,
                tombstone: record.tombstone,
            });
            put_entry(&mut self.block, previous, key, versions)
                .ok_or_else(|| io::Error::other("a revision that no store can have"))?;
            last = Some(key);
        }
        if !self.end_block(keep_going)? {
            return Ok(false);
        }
        self.finish(&head)?;
        Ok(true)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(self.offset, bytes)?;
        self.offset += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= self.sizes.sync {
            self.sync()?;
        }
        Ok(())
    }

    /// Writes the block at hand, if there is one. Returns whether to go on.
    fn end_block(&mut self, keep_going: &dyn Fn() -> bool) -> io::Result<bool> {
        if self.entries == 0 {
            return Ok(true);
        }
        if !keep_going() {
            return Ok(false);
        }
        let block = std::mem::take(&mut self.block);
        let described = Described {
            bytes: block.len() as u64,
            entries: self.entries,
            versions: self.versions,
            checksum: checksum(self.offset, &block),
        };
        put_block(&mut self.directory, self.separator, &described);
        self.append(&block)?;
        self.foot.blocks += 1;
        self.foot.keys += self.entries;
        self.foot.versions += self.versions;
        (self.entries, self.versions) = (0, 0);
        // A long one's memory is given back.
        if block.capacity() <= self.sizes.block * 4 {
            self.block = block;
            self.block.clear();
        }
        Ok(true)
    }

    fn finish(&mut self, head: &[u8; HEAD_BYTES]) -> io::Result<()> {
        let directory = std::mem::take(&mut self.directory);
        let foot = Foot {
            directory_offset: self.offset,
            directory_bytes: directory.len() as u64,
            directory_checksum: checksum(self.offset, &directory),
            ..self.foot
        };
        self.append(&directory)?;
        self.append(&foot.encode(head))?;
        self.sync()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.unsynced = 0;
        self.file.sync_data().map_err(failed_sync)
    }
}
