//! Reading an index.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block;
use super::directory::Directory;
use super::format::{FOOT_BYTES, Flaw, Foot, HEAD_BYTES, Head, checksum};
use super::{Entry, Owner, Unusable};
use crate::host::{Disk, File, OpenMode};

/// An index open for reading. Holds the directory in memory; the rest is read as it is asked for, and
/// stays readable when another index has taken the file's place.
#[derive(Debug)]
pub struct KeyIndex {
    path: PathBuf,
    file: Arc<dyn File>,
    head: Head,
    foot: Foot,
    directory: Directory,
}

impl KeyIndex {
    /// Opens the index at `path`; `None` when there is none. Reads its head, its directory and its foot.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, of another member or of another format.
    pub fn open(disk: &dyn Disk, path: &Path, owner: Owner) -> Result<Option<KeyIndex>, Unusable> {
        let index = Self::open_any(disk, path)?;
        if let Some(found) = index.as_ref().map(KeyIndex::owner)
            && found != owner
        {
            let what = format!(
                "it is of member {:x} of cluster {:x}",
                found.member_id, found.cluster_id
            );
            let path = path.to_owned();
            return Err(Unusable::Foreign { path, what });
        }
        Ok(index)
    }

    /// [`KeyIndex::open`] whosever it is.
    ///
    /// # Errors
    /// When it cannot be read, is damaged or of another format.
    pub fn open_any(disk: &dyn Disk, path: &Path) -> Result<Option<KeyIndex>, Unusable> {
        let failed = |source| Unusable::Io {
            path: path.to_owned(),
            source,
        };
        let flawed = |flaw: Flaw| {
            let path = path.to_owned();
            match flaw {
                Flaw::Damage(what) => Unusable::Damaged {
                    path,
                    what: what.to_owned(),
                },
                Flaw::Version(version) => Unusable::Foreign {
                    path,
                    what: format!("it is of format {version}"),
                },
            }
        };
        let file = match disk.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let length = file.len().map_err(failed)?;
        let Some(foot_offset) = length
            .checked_sub(FOOT_BYTES as u64)
            .filter(|offset| *offset >= HEAD_BYTES as u64)
        else {
            return Err(flawed(Flaw::Damage("it is too short to be one")));
        };
        let short = || flawed(Flaw::Damage("it ends early"));
        let mut head_bytes = [0; HEAD_BYTES];
        let whole = read_whole(&*file, 0, &mut head_bytes).map_err(failed)?;
        whole.ok_or_else(short)?;
        let head = Head::decode(&head_bytes).map_err(flawed)?;
        let mut foot_bytes = [0; FOOT_BYTES];
        let whole = read_whole(&*file, foot_offset, &mut foot_bytes).map_err(failed)?;
        whole.ok_or_else(short)?;
        let foot = Foot::decode(&foot_bytes, &head_bytes, length).map_err(flawed)?;
        let directory = read_part(&*file, foot.directory_offset, foot.directory_bytes);
        let directory = directory.map_err(failed)?.ok_or_else(short)?;
        if checksum(foot.directory_offset, &directory) != foot.directory_checksum {
            let what = "the checksum of its directory is wrong";
            return Err(flawed(Flaw::Damage(what)));
        }
        let directory = Directory::decode(directory, &foot).map_err(|what| flawed(what.into()))?;
        Ok(Some(KeyIndex {
            path: path.to_owned(),
            file,
            head,
            foot,
            directory,
        }))
    }

    /// Whose it is.
    pub fn owner(&self) -> Owner {
        self.head.owner
    }

    /// The revision of the state that it was written from.
    pub fn revision(&self) -> i64 {
        self.head.revision
    }

    /// That state's compaction revision; −1 when it was never compacted.
    pub fn compact_revision(&self) -> i64 {
        self.head.compact_revision
    }

    /// How many keys it has, deleted ones that are not compacted away included.
    pub fn keys(&self) -> u64 {
        self.foot.keys
    }

    /// How many versions its keys have.
    pub fn versions(&self) -> u64 {
        self.foot.versions
    }

    /// How many blocks its keys are in.
    pub fn blocks(&self) -> u64 {
        self.foot.blocks
    }

    /// How much of it is read when it is opened, bytes.
    pub fn directory_bytes(&self) -> u64 {
        self.foot.directory_bytes + (HEAD_BYTES + FOOT_BYTES) as u64
    }

    /// The length of its file, bytes.
    pub fn file_bytes(&self) -> u64 {
        self.foot.directory_offset + self.foot.directory_bytes + FOOT_BYTES as u64
    }

    /// The entry of one key; `None` when it certainly has none. Reads one block.
    ///
    /// # Errors
    /// When the block cannot be read or is damaged.
    pub fn entry(&self, key: &[u8]) -> Result<Option<Entry>, Unusable> {
        let mut entry = None;
        if let Some(place) = self.directory.holding(key) {
            self.read_block(place, |found| found == key, |found| entry = Some(found))?;
        }
        Ok(entry)
    }

    /// All entries from `start` on and before `end` (`None`: to the last one), by key; `None` when
    /// there are more than `limit`. Reads the blocks that they are in or would be in.
    ///
    /// # Errors
    /// When one of those blocks cannot be read or is damaged.
    pub fn entries(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Option<Vec<Entry>>, Unusable> {
        let mut entries = Vec::new();
        if end.is_some_and(|end| end <= start) {
            return Ok(Some(entries));
        }
        let places = self.directory.covering(start, end);
        let blocks = &self.directory.blocks()[places.clone()];
        // Every key of those between the first and the last is asked for.
        let between = blocks.iter().skip(1).rev().skip(1);
        if between.map(|block| block.entries).sum::<u64>() > limit as u64 {
            return Ok(None);
        }
        let mut count = 0_usize;
        for place in places {
            let wanted = |key: &[u8]| {
                let inside = start <= key && end.is_none_or(|end| key < end);
                count += usize::from(inside);
                inside && count <= limit
            };
            self.read_block(place, wanted, |entry| entries.push(entry))?;
            if count > limit {
                return Ok(None);
            }
        }
        Ok(Some(entries))
    }

    /// Reads all of it and checks it.
    ///
    /// # Errors
    /// At the first block that cannot be read or is damaged.
    pub fn check(&self) -> Result<(), Unusable> {
        (0..self.directory.blocks().len())
            .try_for_each(|place| self.read_block(place, |_| false, |_| ()))
    }

    /// Reads and checks the block at `place`, as [`block::read`] does.
    fn read_block(
        &self,
        place: usize,
        wanted: impl FnMut(&[u8]) -> bool,
        found: impl FnMut(Entry),
    ) -> Result<(), Unusable> {
        let damaged = |what: &str| Unusable::Damaged {
            path: self.path.clone(),
            what: format!("block {place}: {what}"),
        };
        let expected = self.directory.expected(place, self.head.revision);
        let (Some(block), Some(expected)) = (self.directory.blocks().get(place), expected) else {
            return Err(damaged("there is no such block"));
        };
        let bytes = read_part(&*self.file, block.offset, block.bytes);
        let bytes = bytes.map_err(|source| Unusable::Io {
            path: self.path.clone(),
            source,
        })?;
        let bytes = bytes.ok_or_else(|| damaged("it ends early"))?;
        if checksum(block.offset, &bytes) != block.checksum {
            return Err(damaged("its checksum is wrong"));
        }
        block::read(&bytes, expected, wanted, found).map_err(damaged)
    }
}

/// Reads a part that is known to lie inside the file; `None` when it does not any more.
fn read_part(file: &dyn File, offset: u64, bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let Ok(length) = usize::try_from(bytes) else {
        return Ok(None);
    };
    let mut buffer = vec![0; length];
    let whole = read_whole(file, offset, &mut buffer)?;
    Ok(whole.map(|()| buffer))
}

fn read_whole(file: &dyn File, offset: u64, buffer: &mut [u8]) -> io::Result<Option<()>> {
    let read = file.read_at(offset, buffer)?;
    Ok((read == buffer.len()).then_some(()))
}
