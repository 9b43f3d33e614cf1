//! What the log does when nothing goes wrong, and when the disk says that something did.

use super::*;
use crate::host::os::OsDisk;
use crate::wal::PAYLOAD_BYTES_MAX;

#[test]
fn what_is_appended_is_recovered() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("a/b/wal");
    let disk = Arc::new(OsDisk);
    assert!(!Log::exists(&*disk, &dir).unwrap());
    let mut log = Log::create(disk.clone(), &dir, METADATA, Options::default()).unwrap();
    assert!(Log::exists(&*disk, &dir).unwrap());
    log.append(&entries([entry(1, 1, 10), entry(2, 1, 0)]))
        .unwrap();
    log.append(&commit(1, 2)).unwrap();
    log.sync().unwrap();
    drop(log);

    let (log, recovered) = Log::open(disk.clone(), &dir, Options::default()).unwrap();
    assert_eq!(recovered.metadata, METADATA);
    assert_eq!(recovered.entries, [entry(1, 1, 10), entry(2, 1, 0)]);
    let hard_state = HardState {
        term: 1,
        vote: 1,
        commit: 2,
    };
    assert_eq!(recovered.hard_state, hard_state);
    assert_eq!((recovered.snapshot, recovered.torn), (None, None));
    assert_eq!(log.last_index(), 2);
    assert!(!log.has_unsynced());
}

#[test]
fn a_log_is_created_only_where_nothing_is() {
    let disk = MemoryDisk::new();
    assert!(matches!(open(&disk, SMALL), Err(Error::Missing(_))));
    create(&disk, SMALL);
    let again = Log::create(disk.clone(), &dir(), METADATA, SMALL);
    let Err(error @ Error::NotEmpty { .. }) = again else {
        panic!("created over a log")
    };
    let text = error.to_string();
    assert!(
        text.contains("0000000000000001-0000000000000001.wal"),
        "{text}"
    );
}

#[test]
fn the_directories_made_for_a_log_are_durable() {
    let disk = MemoryDisk::new();
    create(&disk, SMALL);
    assert_eq!(
        disk.synced_dirs(),
        ["/", "/data", "/data/wal"].map(PathBuf::from)
    );
}

#[test]
fn segments_fill_up_and_are_released_once_a_mark_covers_them() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk, SMALL);
    for index in 1..=20 {
        log.append(&entries([entry(index, 1, 100)])).unwrap();
    }
    log.append(&commit(1, 20)).unwrap();
    let before = disk.files().len();
    assert!(before >= 5, "{before} segments");
    assert_eq!(log.release(20).unwrap(), 0, "released without a mark");

    log.append(&mark(15, 1)).unwrap();
    let released = log.release(8).unwrap();
    assert!(released >= 1);
    assert_eq!(disk.files().len(), before - released);
    log.release(u64::MAX).unwrap();
    let (_, recovered) = open(&disk.after_power_loss(&mut disk::Draw(1)), SMALL).unwrap();
    let indexes: Vec<_> = recovered.entries.iter().map(|e| e.index).collect();
    assert_eq!(indexes, [16, 17, 18, 19, 20]);
    assert_eq!(recovered.snapshot.unwrap().index, 15);
    assert_eq!(recovered.hard_state.commit, 20);
}

#[test]
fn an_installed_snapshot_replaces_the_log() {
    for (installed, keeps) in [(mark(3, 1), 2), (mark(3, 2), 0), (mark(9, 2), 0)] {
        let disk = MemoryDisk::new();
        let mut log = create(&disk, SMALL);
        log.append(&entries((1..=5).map(|index| entry(index, 1, 50))))
            .unwrap();
        log.append(&installed).unwrap();
        let next = log.last_index() + 1;
        let (_, recovered) = open(&disk.copy(), SMALL).unwrap();
        assert_eq!(recovered.entries.len(), keeps);
        assert_eq!(
            recovered.hard_state.commit,
            recovered.snapshot.unwrap().index
        );

        log.append(&entries([entry(next, 3, 5)])).unwrap();
        let (_, recovered) = open(&disk.copy(), SMALL).unwrap();
        assert_eq!(recovered.entries.last(), Some(&entry(next, 3, 5)));
        assert_eq!(recovered.entries.len(), keeps + 1);
    }
}

#[test]
fn a_batch_that_breaks_the_rules_writes_nothing_and_ends_the_log() {
    let too_large = entry(3, 1, PAYLOAD_BYTES_MAX);
    for (batch, reason) in [
        (entries([entry(4, 1, 1)]), "gap"),
        (entries([entry(1, 2, 1)]), "committed"),
        (commit(1, 3), "beyond the last entry"),
        (mark(0, 0), "only move forward"),
        (entries([too_large]), "too large"),
    ] {
        let disk = MemoryDisk::new();
        let mut log = create(&disk, SMALL);
        log.append(&entries([entry(1, 1, 1), entry(2, 1, 1)]))
            .unwrap();
        log.append(&mark(1, 1)).unwrap();
        let before = disk.operations().len();
        let error = log.append(&batch).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert!(log.sync().is_err());
        assert_eq!(disk.operations().len(), before);
        let (_, recovered) = open(&disk.copy(), SMALL).unwrap();
        assert_eq!(recovered.entries, [entry(2, 1, 1)]);
    }
}

#[test]
fn one_append_is_one_write() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk, Options::default());
    let before = disk.operations().len();
    let mut batch = entries((1..=9).map(|index| entry(index, 1, 300)));
    batch.hard_state = Some(HardState::default());
    log.append_group(&[batch, entries([entry(10, 1, 1)])])
        .unwrap();
    assert_eq!(disk.operations()[before..], ["write"]);
}

#[test]
fn after_a_failure_the_log_never_touches_the_disk_again() {
    let script = |log: &mut Log| -> Result<(), Error> {
        for index in 1..=12 {
            log.append(&entries([entry(index, 1, 100)]))?;
            log.sync()?;
            log.mark_synced()?;
        }
        log.append(&mark(12, 1))?;
        log.release(12)?;
        Ok(())
    };
    let whole = MemoryDisk::new();
    let mut log = create(&whole, SMALL);
    let first = whole.operations().len();
    script(&mut log).unwrap();
    let operations = whole.operations();
    let kinds: std::collections::BTreeSet<_> = operations[first..].iter().collect();
    assert_eq!(kinds.len(), 6, "{kinds:?}");

    for failing in first..operations.len() {
        let disk = MemoryDisk::new();
        let mut log = create(&disk, SMALL);
        disk.fail_from(Some(failing));
        let error = script(&mut log).unwrap_err().to_string();
        assert!(error.contains("injected"), "{error}");
        // The disk is well again; the log must not believe it.
        disk.fail_from(None);
        let count = disk.operations().len();
        assert_eq!(count, failing + 1);
        let same = |outcome: Result<(), Error>| assert_eq!(outcome.unwrap_err().to_string(), error);
        same(log.append(&entries([entry(1, 1, 1)])));
        same(log.sync());
        same(log.mark_synced());
        same(log.release(1).map(|_| ()));
        assert_eq!(disk.operations().len(), count);
        open(&disk.copy(), SMALL).unwrap();
    }
}

#[test]
fn a_failed_background_sync_ends_the_log() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk, SMALL);
    log.append(&entries([entry(1, 1, 1)])).unwrap();
    let point = log.sync_point().unwrap();
    disk.fail_from(Some(0));
    let outcome = point.sync();
    disk.fail_from(None);
    assert!(log.finish_sync(&point, outcome).is_err());
    assert!(log.sync().is_err());
}

#[test]
fn a_background_sync_covers_what_was_written_when_it_began() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk, SMALL);
    log.append(&entries([entry(1, 1, 1)])).unwrap();
    let point = log.sync_point().unwrap();
    log.append(&entries([entry(2, 1, 1)])).unwrap();
    log.finish_sync(&point, point.sync()).unwrap();
    assert!(log.has_unsynced());
    let point = log.sync_point().unwrap();
    // The segment fills up, and is synced by that, before the sync is done.
    log.append(&entries((3..20).map(|index| entry(index, 1, 100))))
        .unwrap();
    log.sync().unwrap();
    log.finish_sync(&point, point.sync()).unwrap();
    assert!(!log.has_unsynced());
    assert!(log.sync_point().is_none());
}
