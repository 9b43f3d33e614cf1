//! Space that is reserved and segments that are written over: what lies behind the last record is
//! told apart from a torn tail, and never read as records.

use super::*;
use crate::storage::{Fault, Space};

const RESERVED: Options = Options {
    segment_bytes: 8192,
    allocate_bytes: 4096,
    reserve_bytes: 0,
    spares: 0,
    keep: 0,
};

fn path_of(disk: &MemoryDisk, segment: u64) -> PathBuf {
    let files = disk.files();
    let prefix = format!("{segment:016x}-");
    let found = files.into_iter().find(|path| {
        let name = name(path);
        name.starts_with(&prefix) && name.ends_with(".wal")
    });
    found.unwrap()
}

fn spares(disk: &MemoryDisk) -> usize {
    let files = disk.files();
    let spare = |path: &&PathBuf| name(path).ends_with(".wal.spare");
    files.iter().filter(spare).count()
}

#[test]
fn reserved_space_is_no_torn_tail_and_anything_else_is() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk, RESERVED);
    log.append(&entries([entry(1, 1, 100)])).unwrap();
    log.sync().unwrap();
    log.mark_synced().unwrap();
    let records = log.active.length as usize;
    let path = path_of(&disk, 1);
    let (_, content) = disk.versions(&path);
    assert_eq!(content.len(), 4096);
    assert!(content[records..].iter().all(|byte| *byte == 0));

    let (_, recovered) = open(&disk.copy(), RESERVED).unwrap();
    assert_eq!(recovered.torn, None);
    assert_eq!(recovered.entries, [entry(1, 1, 100)]);
    for position in [records, records + 7, records + 8, 4095] {
        let left = disk.copy();
        let mut changed = content.clone();
        changed[position] = 1;
        left.replace(&path, changed);
        let (_, recovered) = open(&left, RESERVED).unwrap();
        let torn = recovered.torn.unwrap();
        assert_eq!(
            (torn.offset as usize, torn.bytes as usize),
            (records, 4096 - records)
        );
        assert_eq!(recovered.entries, [entry(1, 1, 100)]);
        let (_, again) = open(&left, RESERVED).unwrap();
        assert_eq!(again.torn, None);
    }
}

#[test]
fn space_is_reserved_in_steps_and_most_appends_reserve_none() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk, RESERVED);
    for index in 1..=20 {
        log.append(&entries([entry(index, 1, 100)])).unwrap();
        log.sync().unwrap();
    }
    let operations = disk.operations();
    let reserved = operations.iter().filter(|name| **name == "set_len").count();
    assert_eq!(reserved, 1, "{operations:?}");
}

#[test]
fn damage_before_reserved_space_is_refused() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk, RESERVED);
    // More than one segment, so that reserved space lies in the middle of the log as well.
    for index in 1..=100 {
        log.append(&entries([entry(index, 1, 100)])).unwrap();
        log.sync().unwrap();
    }
    log.mark_synced().unwrap();
    let last = log.active.name.segment;
    assert!(last >= 2);
    let in_last = log.active.length;
    for (segment, before) in [(1, log.sealed[0].length), (last, in_last - 32)] {
        let path = path_of(&disk, segment);
        let (_, content) = disk.versions(&path);
        for back in [1, 30, 100, 140] {
            let left = disk.copy();
            let mut changed = content.clone();
            changed[before as usize - back] ^= 0xff;
            left.replace(&path, changed.clone());
            let error = open(&left, RESERVED).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
            if back < 30 {
                // Within the padding, which is zeros already.
                continue;
            }
            // A record that is gone altogether looks like reserved space, and is missed all the same.
            changed[before as usize - back..before as usize].fill(0);
            left.replace(&path, changed);
            assert!(matches!(open(&left, RESERVED), Err(Error::Damaged { .. })));
        }
    }
}

#[test]
fn released_segments_are_written_over_and_their_records_never_come_back() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk, REUSED);
    let mut seen = 0;
    for index in 1..=60 {
        log.append(&entries([entry(index, 1, 150)])).unwrap();
        log.append(&commit(1, index)).unwrap();
        log.append(&mark(index, 1)).unwrap();
        log.sync().unwrap();
        log.release(index).unwrap();
        seen = seen.max(spares(&disk));
        let left = disk.copy();
        let (_, recovered) = open(&left, REUSED).unwrap();
        assert_eq!(recovered.snapshot.unwrap().index, index);
        assert_eq!((recovered.entries, recovered.torn), (Vec::new(), None));
        assert_eq!(spares(&left), 0, "a spare outlives a restart");
    }
    assert_eq!(seen, REUSED.spares);
    // Some segment in use was made of an older one: it is longer than what it was reserved.
    let operations = disk.operations();
    let created = operations.iter().filter(|name| **name == "create").count() as u64;
    assert!(created < log.active.name.segment, "{created} created");
}

#[test]
fn released_segments_stay_up_to_the_number_that_is_kept() {
    let keep = Options { keep: 4, ..SMALL };
    let disk = MemoryDisk::new();
    let mut log = create(&disk, keep);
    for index in 1..=40 {
        log.append(&entries([entry(index, 1, 150)])).unwrap();
        log.append(&commit(1, index)).unwrap();
        log.append(&mark(index, 1)).unwrap();
        log.release(index).unwrap();
    }
    assert_eq!(disk.files().len(), 4);
    let (_, recovered) = open(&disk.copy(), keep).unwrap();
    assert_eq!(recovered.snapshot.unwrap().index, 40);
}

#[test]
fn what_was_read_after_a_failed_sync_is_on_the_disk_once_the_log_is_open() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk, SMALL);
    log.append(&entries([entry(1, 1, 100)])).unwrap();
    log.sync().unwrap();
    log.append(&entries([entry(2, 1, 100)])).unwrap();
    let before = disk.operations().len();
    disk.fail_from(Some(before));
    log.sync().unwrap_err();
    drop(log);
    disk.fail_from(None);
    // The kernel took the pages for clean: only bytes written from now on reach the disk.
    let (_, recovered) = open(&disk, SMALL).unwrap();
    assert_eq!(recovered.entries.len(), 2);
    let after = &disk.operations()[before + 1..];
    let write = after.iter().position(|name| *name == "write").unwrap();
    let sync = after.iter().position(|name| *name == "sync").unwrap();
    assert!(write < sync, "{after:?}");
}

#[test]
fn a_disk_too_full_to_reserve_space_is_no_failure() {
    let disk = MemoryDisk::new();
    disk.fill_up();
    let mut log = create(&disk, RESERVED);
    log.append(&entries([entry(1, 1, 100)])).unwrap();
    log.sync().unwrap();
    let (_, recovered) = open(&disk.after_power_loss(&mut disk::Draw(1)), RESERVED).unwrap();
    assert_eq!(recovered.entries, [entry(1, 1, 100)]);
}

/// What a log does with a reserve when nothing can grow any more.
const WITH_RESERVE: Options = Options {
    segment_bytes: 4096,
    allocate_bytes: 1024,
    reserve_bytes: 2048,
    spares: 0,
    keep: 0,
};

#[test]
fn a_full_disk_is_told_and_the_log_goes_on_in_its_reserve() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk, WITH_RESERVE);
    let space = Arc::new(Space::default());
    log.report_space(space.clone());
    log.append(&entries([entry(1, 1, 100)])).unwrap();
    log.sync().unwrap();
    assert!(!space.is_short());
    disk.pack(true);
    // Wherever in a segment the disk runs full, there is at least the reserve.
    let mut index = 1;
    while log.active.length < 2048 + 100 {
        index += 1;
        log.append(&entries([entry(index, 1, 100)])).unwrap();
        log.sync().unwrap();
    }
    assert!(log.is_short() && space.is_short());
    disk.pack(false);
    log.look_for_space().unwrap();
    assert!(!log.is_short() && !space.is_short());
    let (_, recovered) = open(&disk.after_power_loss(&mut disk::Draw(1)), WITH_RESERVE).unwrap();
    assert_eq!(recovered.entries.len() as u64, index);
}

#[test]
fn a_segment_whose_successor_finds_no_space_is_written_on() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk, WITH_RESERVE);
    let mut index = 0;
    while log.active.length < WITH_RESERVE.segment_bytes - 160 {
        index += 1;
        log.append(&entries([entry(index, 1, 100)])).unwrap();
    }
    log.sync().unwrap();
    disk.pack(true);
    let full = index;
    while log.active.length < WITH_RESERVE.segment_bytes + 1500 {
        index += 1;
        log.append(&entries([entry(index, 1, 100)])).unwrap();
        log.sync().unwrap();
    }
    assert_eq!(log.active.name.segment, 1);
    assert!(log.is_short());
    assert!(index > full + 8, "{index}");
    disk.pack(false);
    log.look_for_space().unwrap();
    assert!(!log.is_short());
    log.append(&entries([entry(index + 1, 1, 100)])).unwrap();
    log.sync().unwrap();
    assert_eq!(log.active.name.segment, 2);
    let (_, recovered) = open(&disk.after_power_loss(&mut disk::Draw(1)), WITH_RESERVE).unwrap();
    assert_eq!(recovered.entries.len() as u64, index + 1);
}

#[test]
fn a_reserve_that_is_used_up_ends_the_log_and_loses_nothing() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk, WITH_RESERVE);
    log.append(&entries([entry(1, 1, 100)])).unwrap();
    log.sync().unwrap();
    disk.pack(true);
    let mut synced = 1;
    let error = loop {
        let appended = log.append(&entries([entry(synced + 1, 1, 100)]));
        match appended.and_then(|()| log.sync()) {
            Ok(()) => synced += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.fault(), Some(Fault::Full));
    assert!(synced > 10, "{synced}");
    disk.pack(false);
    log.look_for_space().unwrap_err();
    assert!(
        log.append(&commit(1, 1)).is_err(),
        "a failed write is final"
    );
    let (_, recovered) = open(&disk.after_power_loss(&mut disk::Draw(1)), WITH_RESERVE).unwrap();
    assert_eq!(recovered.entries.len() as u64, synced);
}

#[test]
fn a_log_of_a_newer_format_is_refused_with_both_versions() {
    use crate::wal::format::{FORMAT, Kind, Place, SegmentHead, encode_record};
    let disk = MemoryDisk::new();
    create(&disk, SMALL);
    let path = path_of(&disk, 1);
    let head = SegmentHead {
        format: FORMAT + 1,
        segment: 1,
        first_index: 1,
        ..SegmentHead::default()
    };
    let place = Place {
        segment: 1,
        offset: 0,
        synced: 0,
        previous: 0,
    };
    let mut content = Vec::new();
    encode_record(&mut content, place, Kind::SegmentHead, &head).unwrap();
    disk.replace(&path, content.clone());
    let error = open(&disk, SMALL).unwrap_err();
    assert!(matches!(error, Error::Format { .. }));
    let text = error.to_string();
    assert!(
        text.contains("has log format 2; this version reads format 1"),
        "{text}"
    );
    assert_eq!(disk.versions(&path).1, content, "the disk was changed");
}
