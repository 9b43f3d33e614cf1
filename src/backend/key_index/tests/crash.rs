//! Power failures, disk errors and interruptions at every single operation of writing.

use std::cell::Cell;

use super::*;

/// A disk with the index of one state on it, that state, and one that goes on from it.
fn prepared() -> (CrashDisk, State, State) {
    let disk = CrashDisk::new();
    let mut numbers = Numbers(31);
    let old = random_state(&mut numbers, 60);
    assert!(write_small(&disk, &old).unwrap());
    let mut new = old.clone();
    (0..60).for_each(|_| change(&mut new, &mut numbers));
    (disk, old, new)
}

/// Which of the two states the index on `disk` is of; it must be whole, and no half of another be left
/// once the next one is written.
fn which(disk: &CrashDisk, old: &State, new: &State) -> Option<bool> {
    let index = KeyIndex::open(disk, &path(), OWNER).unwrap()?;
    let is_new = index.revision() == new.revision();
    let state = if is_new { new } else { old };
    assert_eq!(examine(&index, &Model::of(state)), 0);
    assert!(write_small(disk, new).unwrap());
    assert!(!disk.exists(&writing_path(&path())).unwrap());
    Some(is_new)
}

#[test]
fn a_crash_leaves_the_old_one_or_the_new_one() {
    let (disk, old, new) = prepared();
    let start = disk.operations();
    assert!(write_small(&disk, &new).unwrap());
    let mut seen = [0, 0];
    for operations in start..=disk.operations() {
        for seed in 0..8 {
            let found = which(&disk.crashed(operations, seed), &old, &new).unwrap();
            if operations == disk.operations() {
                assert!(found, "it was there when power failed");
            }
            seen[usize::from(found)] += 1;
        }
    }
    assert!(seen[0] > 100 && seen[1] > 8, "{seen:?}");
}

#[test]
fn a_crash_while_the_first_is_written_leaves_one_or_none() {
    let (_, old, new) = prepared();
    let disk = CrashDisk::new();
    assert!(write_small(&disk, &new).unwrap());
    let mut seen = [0, 0];
    for operations in 0..=disk.operations() {
        for seed in 0..8 {
            let found = which(&disk.crashed(operations, seed), &old, &new);
            assert_ne!(found, Some(false));
            seen[usize::from(found.is_some())] += 1;
        }
    }
    assert!(seen[0] > 100 && seen[1] > 8, "{seen:?}");
}

/// Power that fails after an unsynced rename would leave half a file: the crash disk does show it, so
/// that the tests above could fail.
#[test]
fn without_the_sync_a_crash_leaves_half_of_it() {
    let (_, _, state) = prepared();
    let whole = content(&state, SMALL.block);
    let disk = CrashDisk::new();
    let file = disk
        .open(&path(), crate::host::OpenMode::CreateNew)
        .unwrap();
    file.write_at(0, &whole).unwrap();
    disk.sync_dir(Path::new("data")).unwrap();
    let outcome = |seed| {
        let after = disk.crashed(disk.operations(), seed);
        KeyIndex::open(&after, &path(), OWNER).and_then(|index| index.unwrap().check())
    };
    assert!(outcome(1).is_ok());
    let outcomes = (2..60).map(outcome);
    let damaged = outcomes.filter(|one| matches!(one, Err(Unusable::Damaged { .. })));
    assert!(damaged.count() > 40);
}

#[test]
fn a_disk_error_is_reported_and_leaves_the_old_one_or_the_new_one() {
    let (disk, _, new) = prepared();
    let before = disk.operations();
    assert!(write_small(&disk, &new).unwrap());
    let needed = disk.operations() - before;
    assert!(needed > 10);
    for after in 0..needed {
        let (disk, old, new) = prepared();
        disk.fail_after(after);
        write_small(&disk, &new).unwrap_err();
        let operations = disk.operations();
        disk.fail_after(usize::MAX / 2);
        // Only the directory's sync, the last operation, comes after the rename.
        assert_eq!(which(&disk, &old, &new), Some(after + 1 == needed));
        for seed in 0..4 {
            which(&disk.crashed(operations, seed), &old, &new).unwrap();
        }
    }
}

#[test]
fn a_full_disk_is_reported_and_what_was_written_removed() {
    let (disk, old, new) = prepared();
    disk.pack(true);
    let error = write_small(&disk, &new).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(!disk.exists(&writing_path(&path())).unwrap());
    disk.pack(false);
    assert_eq!(which(&disk, &old, &new), Some(false));
}

#[test]
fn it_ends_when_it_is_told_to() {
    let asked = Cell::new(0);
    let count = || {
        asked.set(asked.get() + 1);
        true
    };
    let (disk, _, new) = prepared();
    assert!(write_sized(&disk, &path(), OWNER, &new, SMALL, &count).unwrap());
    let index = KeyIndex::open(&disk, &path(), OWNER).unwrap().unwrap();
    assert_eq!(asked.get(), index.blocks());
    for times in 0..index.blocks() {
        let (disk, old, new) = prepared();
        asked.set(0);
        let keep_going = || count() && asked.get() <= times;
        let written = write_sized(&disk, &path(), OWNER, &new, SMALL, &keep_going);
        assert!(!written.unwrap());
        assert_eq!(asked.get(), times + 1, "it is not asked again");
        assert!(!disk.exists(&writing_path(&path())).unwrap());
        assert_eq!(which(&disk, &old, &new), Some(false));
    }
}

#[test]
fn an_error_while_reading_is_the_disks() {
    let (disk, _, _) = prepared();
    let index = KeyIndex::open(&disk, &path(), OWNER).unwrap().unwrap();
    disk.fail_after(0);
    for error in [
        KeyIndex::open(&disk, &path(), OWNER)
            .map(|_| ())
            .unwrap_err(),
        index.entry(b"a").map(|_| ()).unwrap_err(),
        index.check().unwrap_err(),
    ] {
        assert!(matches!(error, Unusable::Io { .. }), "{error}");
        expect_words(&error);
    }
    assert!(remove(&disk, &path()).is_err());
    disk.fail_after(usize::MAX / 2);
    index.check().unwrap();
}
