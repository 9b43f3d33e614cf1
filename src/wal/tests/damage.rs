//! Damage below what the log proves to have been synced: refused, and named.

use super::disk::Draw;
use super::model::Model;
use super::*;

/// A log of several segments with a mark, all of it synced and said to be.
fn synced_log() -> (Arc<MemoryDisk>, Model) {
    let disk = MemoryDisk::new();
    let mut log = create(&disk, SMALL);
    let mut model = Model::new();
    for index in 1..=16 {
        let mut batch = entries([entry(index, 1, 70)]);
        if index % 4 == 0 {
            batch.hard_state = commit(1, index).hard_state;
            batch.snapshot = mark(index - 6.min(index - 1), 1).snapshot;
        }
        model.append(&batch);
        log.append(&batch).unwrap();
        log.sync().unwrap();
    }
    log.mark_synced().unwrap();
    model.sync();
    (disk, model)
}

const SYNCED_RECORD_BYTES: usize = 32;

/// The index of the last entry in a record that ends at or before `offset` of `file`.
fn last_entry_before(disk: &MemoryDisk, file: &Path, offset: u64) -> u64 {
    use crate::api::proto::vetcdpb;
    use crate::wal::format::{HEADER_BYTES, Kind};
    use crate::wal::reader::SegmentReader;
    use prost::Message;
    let mut last = 0;
    for path in disk.files().iter().filter(|path| path.as_path() <= file) {
        let segment = u64::from_str_radix(&name(path)[..16], 16).unwrap();
        let opened = crate::host::Disk::open(disk, path, crate::host::OpenMode::Read).unwrap();
        let mut reader = SegmentReader::new(opened, segment).unwrap();
        let mut at = 0;
        let end = if path == file {
            offset
        } else {
            reader.length()
        };
        while at < end {
            let (header, payload) = reader.record(at).unwrap().unwrap();
            if header.kind == Kind::Entry {
                last = vetcdpb::Entry::decode(payload).unwrap().index;
            }
            at += (HEADER_BYTES + header.padded_bytes()) as u64;
        }
    }
    last
}

#[test]
fn every_changed_byte_is_refused_and_named() {
    let (disk, model) = synced_log();
    let files = disk.files();
    assert!(files.len() >= 3);
    for file in &files {
        let (_, content) = disk.versions(file);
        for position in 0..content.len() {
            for flip in [0x01, 0x80, 0xff] {
                let left = disk.copy();
                let mut changed = content.clone();
                changed[position] ^= flip;
                left.replace(file, changed.clone());
                let in_synced_record =
                    Some(file) == files.last() && position >= content.len() - SYNCED_RECORD_BYTES;
                match open(&left, SMALL) {
                    Ok((_, recovered)) if in_synced_record => {
                        assert_eq!(&model::content(&recovered), model.now());
                    }
                    Err(Error::Damaged {
                        file: named,
                        offset,
                        last_index,
                        ..
                    }) => {
                        assert!(!in_synced_record);
                        assert_eq!(&named, file);
                        assert!(offset as usize <= position && position < offset as usize + 160);
                        assert_eq!(last_index, last_entry_before(&disk, file, offset));
                        assert_eq!(left.versions(file).1, changed, "the disk was changed");
                    }
                    other => panic!("{} {position} {flip:#x}: {other:?}", file.display()),
                }
            }
        }
    }
}

#[test]
fn the_error_names_file_offset_and_index() {
    let (disk, _) = synced_log();
    let file = disk.files().remove(1);
    let (_, mut content) = disk.versions(&file);
    content[200] ^= 1;
    disk.replace(&file, content);
    let text = open(&disk, SMALL).unwrap_err().to_string();
    assert!(text.contains(name(&file)), "{text}");
    assert!(text.contains("at byte "), "{text}");
    assert!(text.contains("after entry "), "{text}");
}

#[test]
fn a_zeroed_sector_below_the_synced_point_is_refused() {
    let (disk, _) = synced_log();
    for file in disk.files() {
        let (_, content) = disk.versions(&file);
        let mut start = 0;
        while start + disk::SECTOR <= content.len() {
            let left = disk.copy();
            let mut zeroed = content.clone();
            zeroed[start..start + disk::SECTOR].fill(0);
            left.replace(&file, zeroed);
            assert!(matches!(open(&left, SMALL), Err(Error::Damaged { .. })));
            start += disk::SECTOR;
        }
    }
}

#[test]
fn a_closed_segment_may_neither_shrink_nor_grow_nor_vanish() {
    let (disk, model) = synced_log();
    let files = disk.files();
    for file in &files[..files.len() - 1] {
        let (_, content) = disk.versions(file);
        for length in (0..content.len()).chain([content.len() + 1, content.len() + 64]) {
            let left = disk.copy();
            let mut changed = content.clone();
            changed.resize(length, 0);
            left.replace(file, changed);
            let refused = open(&left, SMALL);
            assert!(
                matches!(&refused, Err(Error::Damaged { file: named, .. }) if named == file),
                "{refused:?}"
            );
        }
        let left = disk.copy();
        crate::host::Disk::remove_file(&*left, file).unwrap();
        match open(&left, SMALL) {
            // Without the oldest the log is whole: the mark covers all that was in it.
            Ok((_, recovered)) if *file == files[0] => {
                assert_eq!(&model::content(&recovered), model.now());
            }
            refused => assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}"),
        }
    }
    // Without any but the last, entries are missing that no mark covers.
    for file in &files[..files.len() - 1] {
        crate::host::Disk::remove_file(&*disk, file).unwrap();
    }
    let refused = open(&disk, SMALL).unwrap_err().to_string();
    assert!(refused.contains("are missing"), "{refused}");
}

#[test]
fn names_that_no_writer_gives_are_refused() {
    let (disk, _) = synced_log();
    let file = disk.files().remove(0);
    for wrong in [
        "x.wal",
        "0000000000000001-0000000000000009.wal",
        "0000000000000002-0000000000000009.wal",
    ] {
        let left = disk.copy();
        crate::host::Disk::rename(&*left, &file, &dir().join(wrong)).unwrap();
        assert!(matches!(open(&left, SMALL), Err(Error::Damaged { .. })));
    }
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let (disk, _) = synced_log();
    let other = MemoryDisk::new();
    let metadata = Metadata {
        member_id: 0xb2,
        ..METADATA
    };
    let mut log = Log::create(other.clone(), &dir(), metadata, SMALL).unwrap();
    for index in 1..=10 {
        log.append(&entries([entry(index, 1, 70)])).unwrap();
        log.sync().unwrap();
    }
    let file = disk.files().remove(1);
    let foreign = other.files().remove(1);
    disk.replace(&file, other.versions(&foreign).1);
    assert!(matches!(open(&disk, SMALL), Err(Error::Damaged { .. })));
}

#[test]
fn corrupt_lengths_cost_no_memory() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk, Options::default());
    log.append(&entries([entry(1, 1, 3 << 20)])).unwrap();
    let file = disk.files().remove(0);
    let (_, content) = disk.versions(&file);
    let second = (content.len() - (3 << 20)) & !511;

    // A true length, but the file is short of it.
    disk.replace(&file, content[..second + 1024].to_vec());
    let (_, recovered) = open(&disk, SMALL).unwrap();
    assert!(recovered.entries.is_empty() && recovered.torn.is_some());
    assert!(
        disk.largest_read() <= second + 1024,
        "{}",
        disk.largest_read()
    );

    // Lengths that no header's checksum stands for.
    for length in [u32::MAX, 1 << 31, 64 << 20] {
        let left = disk.copy();
        let mut content = disk.versions(&file).1;
        let start = content.len() - SYNCED_RECORD_BYTES;
        content[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
        left.replace(&file, content.clone());
        let (_, recovered) = open(&left, SMALL).unwrap();
        assert_eq!(recovered.torn.unwrap().offset, start as u64);
        assert!(left.largest_read() <= content.len());
    }
}

#[test]
fn arbitrary_damage_never_panics_and_never_invents() {
    let (disk, model) = synced_log();
    let files = disk.files();
    let mut draw = Draw(99);
    for _ in 0..4000 {
        let left = disk.copy();
        for _ in 0..=draw.upto(3) {
            let file = &files[draw.upto(files.len() - 1)];
            let (_, mut content) = left.versions(file);
            match draw.upto(3) {
                0 => content.truncate(draw.upto(content.len())),
                1 => content.extend((0..draw.upto(200)).map(|i| i as u8)),
                _ if content.is_empty() => {}
                2 => {
                    let from = draw.upto(content.len() - 1);
                    let count = draw.upto((content.len() - from).min(64) - 1);
                    for byte in &mut content[from..=from + count] {
                        *byte = draw.upto(255) as u8;
                    }
                }
                _ => {
                    // A piece of the log where it does not belong.
                    let from = draw.upto(content.len() - 1) & !7;
                    let to = draw.upto(content.len() - 1) & !7;
                    let count = (content.len() - from.max(to)).min(160);
                    content.copy_within(from..from + count, to);
                }
            }
            left.replace(file, content);
        }
        match open(&left, SMALL) {
            Ok((_, recovered)) => assert!(model.find(&recovered, 0).is_some(), "{recovered:?}"),
            Err(Error::Damaged { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
