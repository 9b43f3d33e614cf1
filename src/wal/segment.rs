//! The files of a log: their names, their order, and how one comes into being.
//!
//! A segment gets its final name only once its head is durable, so a name ending in `.wal` never
//! stands for a half-made file (unless the log never syncs). What a crash leaves under a `.tmp`
//! name was never part of the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Error;
use super::format::NUMBER_MAX;
use crate::host::{Disk, File, OpenMode, sync_parent};
use crate::storage::failed_sync;

const SUFFIX: &str = ".wal";
const UNFINISHED_SUFFIX: &str = ".wal.tmp";
const SPARE_SUFFIX: &str = ".wal.spare";
/// A file for the next segment in which nothing was ever written.
pub(super) const NEXT: &str = "next.wal.spare";

/// A segment's name: its place in the sequence and the index its first entry was expected to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    pub segment: u64,
    pub first_index: u64,
}

impl SegmentName {
    pub fn path(self, dir: &Path) -> PathBuf {
        dir.join(format!(
            "{:016x}-{:016x}{SUFFIX}",
            self.segment, self.first_index
        ))
    }

    fn parse(name: &str) -> Option<SegmentName> {
        let (segment, first_index) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        Some(SegmentName {
            segment: hexadecimal(segment)?,
            first_index: hexadecimal(first_index)?,
        })
    }
}

fn hexadecimal(text: &str) -> Option<u64> {
    let plain = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let number = plain.then(|| u64::from_str_radix(text, 16).ok()).flatten();
    number.filter(|number| *number <= NUMBER_MAX)
}

/// Where a released segment is kept.
pub(super) fn spare_path(path: &Path) -> PathBuf {
    path.with_extension("wal.spare")
}

/// Where a segment that should be there would be; its first index is not known.
pub(super) fn unknown_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:016x}-*{SUFFIX}"))
}

/// Whether `name` is that of a segment or pretends to be.
pub(super) fn is_segment(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

/// Whether `name` is that of a segment whose making was interrupted, or of a released one.
pub(super) fn is_leftover(name: &str) -> bool {
    name.ends_with(UNFINISHED_SUFFIX) || name.ends_with(SPARE_SUFFIX)
}

/// The segments in `dir` by their sequence. Refuses a `.wal` file with a name no writer gives, and
/// two that claim the same place.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<SegmentName>, Error> {
    let mut found: Vec<SegmentName> = Vec::new();
    for name in disk.list_dir(dir).map_err(Error::io("list", dir))? {
        if !is_segment(&name) {
            continue;
        }
        let refuse = |reason: &str| Error::Damaged {
            file: dir.join(&name),
            offset: 0,
            last_index: 0,
            reason: reason.to_owned(),
        };
        let parsed = SegmentName::parse(&name).ok_or_else(|| refuse("no segment has this name"))?;
        if found.iter().any(|other| other.segment == parsed.segment) {
            return Err(refuse("another segment has the same sequence number"));
        }
        found.push(parsed);
    }
    found.sort();
    Ok(found)
}

/// Removes what interrupted makings left behind, and the released segments that were kept: after a
/// power loss such a name may stand for the file of a segment that was made of it. Their names need
/// no durable removal: they are ignored wherever they turn up.
pub(super) fn remove_leftovers(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    for name in disk.list_dir(dir).map_err(Error::io("list", dir))? {
        if is_leftover(&name) {
            let path = dir.join(name);
            disk.remove_file(&path)
                .map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// How much of a new segment survives a power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    /// Nothing for certain: the log never syncs.
    No,
    /// Its content and not its name: only under the defect `no-directory-sync`.
    Nameless,
    /// All of it.
    Yes,
}

/// Makes a segment that begins with `head`, out of the released segment `spare` if there is one: its
/// old records are of another segment, and never pass for records of this one. What `durable` says of it holds when this returns.
pub(super) fn create(
    disk: &dyn Disk,
    dir: &Path,
    name: SegmentName,
    head: &[u8],
    durable: Durable,
    spare: Option<&Path>,
) -> Result<Arc<dyn File>, Error> {
    let path = name.path(dir);
    let unfinished = path.with_extension("wal.tmp");
    let mode = match spare {
        Some(spare) => {
            disk.rename(spare, &unfinished)
                .map_err(Error::io("rename", spare))?;
            OpenMode::ReadWrite
        }
        None => OpenMode::CreateNew,
    };
    let file = disk
        .open(&unfinished, mode)
        .map_err(Error::io("create", &unfinished))?;
    file.write_at(0, head)
        .map_err(Error::io("write", &unfinished))?;
    if durable != Durable::No {
        file.sync_data()
            .map_err(failed_sync)
            .map_err(Error::io("sync", &unfinished))?;
    }
    disk.rename(&unfinished, &path)
        .map_err(Error::io("rename", &unfinished))?;
    if durable == Durable::Yes {
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    }
    Ok(file)
}

/// Creates `dir` with its missing parents and makes every new name durable.
pub(super) fn create_dir(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    let mut made = Vec::new();
    // The root and the current directory have no name to be made durable.
    for ancestor in dir.ancestors().filter(|path| path.parent().is_some()) {
        if disk
            .exists(ancestor)
            .map_err(Error::io("look for", ancestor))?
        {
            break;
        }
        made.push(ancestor);
    }
    disk.create_dir_all(dir)
        .map_err(Error::io("create directory", dir))?;
    // The log's own directory is synced even when it was there already: whoever made it may have
    // died before its name was durable.
    if made.is_empty() && dir.parent().is_some() {
        made.push(dir);
    }
    for path in made.into_iter().rev() {
        sync_parent(disk, path).map_err(Error::io("sync parent of", path))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        let name = SegmentName {
            segment: 0x2a,
            first_index: NUMBER_MAX,
        };
        let path = name.path(Path::new("/wal"));
        assert_eq!(
            path.to_str(),
            Some("/wal/000000000000002a-7fffffffffffffff.wal")
        );
        let text = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(SegmentName::parse(text), Some(name));
        for wrong in [
            "000000000000002A-7fffffffffffffff.wal",
            "+00000000000002a-7fffffffffffffff.wal",
            "2a-1.wal",
            "000000000000002a.wal",
            "000000000000002a-7fffffffffffffff.wal.tmp",
            "ffffffffffffffff-0000000000000001.wal",
            "0000000000000001-8000000000000000.wal",
            "",
        ] {
            assert_eq!(SegmentName::parse(wrong), None, "{wrong}");
        }
    }
}
