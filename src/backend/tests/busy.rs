//! Of a store that was being written, what was written to is written again, and nothing else.

use std::path::Path;

use super::super::busy::Busy;
use super::disk::CrashDisk;
use crate::host::{Disk, OpenMode};

const MIB: u64 = 1 << 20;

/// What a start writes again of a store of 5.5 MiB, after `life` of the process before it (bytes).
fn written_again(life: impl FnOnce(&Busy)) -> Option<u64> {
    let (disk, path) = (CrashDisk::new(), Path::new("db"));
    let file = disk.open(path, OpenMode::CreateNew).unwrap();
    file.write_at(0, &vec![0x5a; 11 * MIB as usize / 2])
        .unwrap();
    let busy = Busy::of(&disk, path).unwrap();
    busy.cover(100 * MIB).unwrap();
    life(&busy);
    let again = Busy::of(&disk, path).unwrap();
    let written = again.write_again(&*file).unwrap();
    again.set(false).unwrap();
    let once_more = Busy::of(&disk, path).unwrap();
    assert_eq!(once_more.write_again(&*file).unwrap(), None);
    written
}

#[test]
fn what_was_written_to_is_written_again() {
    assert_eq!(written_again(|_| ()), None);
    assert_eq!(written_again(|busy| busy.set(true).unwrap()), Some(0));
    let across_two_parts = |busy: &Busy| {
        busy.set(true).unwrap();
        busy.touch(3 * MIB - 1, 2).unwrap();
    };
    assert_eq!(written_again(across_two_parts), Some(2 * MIB));
    let the_short_end = |busy: &Busy| {
        busy.set(true).unwrap();
        busy.touch(5 * MIB, 4096).unwrap();
    };
    assert_eq!(written_again(the_short_end), Some(MIB / 2));
    let behind_the_end = |busy: &Busy| {
        busy.set(true).unwrap();
        busy.touch(90 * MIB, 4096).unwrap();
    };
    assert_eq!(written_again(behind_the_end), Some(0));
}

#[test]
fn what_was_synced_since_is_not() {
    let synced = |busy: &Busy| {
        busy.set(true).unwrap();
        busy.touch(0, 4096).unwrap();
        busy.touch(4 * MIB, 4096).unwrap();
        busy.set(false).unwrap();
    };
    assert_eq!(written_again(synced), None);
    let and_then_another = |busy: &Busy| {
        synced(busy);
        busy.set(true).unwrap();
        busy.touch(2 * MIB, 4096).unwrap();
    };
    assert_eq!(written_again(and_then_another), Some(MIB));
}

#[test]
fn a_note_that_names_no_parts_means_the_whole_store() {
    let (disk, path) = (CrashDisk::new(), Path::new("db"));
    let file = disk.open(path, OpenMode::CreateNew).unwrap();
    file.write_at(0, &vec![0x5a; 3 * MIB as usize]).unwrap();
    let note = disk
        .open(Path::new("db.busy"), OpenMode::CreateNew)
        .unwrap();
    note.write_at(0, &[1]).unwrap();
    let busy = Busy::of(&disk, path).unwrap();
    assert_eq!(busy.write_again(&*file).unwrap(), Some(3 * MIB));
}

#[test]
fn a_note_without_space_for_a_part_stops_the_write() {
    let (disk, path) = (CrashDisk::new(), Path::new("db"));
    let busy = Busy::of(&disk, path).unwrap();
    busy.cover(3 * MIB).unwrap();
    busy.set(true).unwrap();
    busy.touch(2 * MIB, 4096).unwrap();
    busy.touch(3 * MIB - 1, 2).unwrap_err();
}
