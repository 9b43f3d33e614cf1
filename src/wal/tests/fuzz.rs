//! Logs that anybody may have changed: no panic, no memory beyond what the files hold, and nothing
//! read that was not written. `VETCD_FUZZ_CASES` sets the number of cases.

use proptest::prelude::*;

use super::*;
use crate::host::Disk;
use crate::snapshot::bolt::tests::fuzz_config;
use crate::wal::dump::dump;

/// A log of several segments.
fn sample() -> Arc<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::default());
    let mut log = create(&disk, SMALL);
    for index in 1..=20 {
        log.append(&entries([entry(index, 1, index as usize * 5)]))
            .unwrap();
        log.append(&commit(1, index)).unwrap();
        log.sync().unwrap();
    }
    log.append(&mark(18, 1)).unwrap();
    log.sync().unwrap();
    disk
}

fn segments(disk: &MemoryDisk) -> Vec<PathBuf> {
    let names = disk.list_dir(&dir()).unwrap();
    names.into_iter().map(|name| dir().join(name)).collect()
}

proptest! {
    #![proptest_config(fuzz_config(600))]

    #[test]
    fn fuzz_mutated_logs(
        changes in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(),
             proptest::collection::vec(any::<u8>(), 1..40)),
            1..5,
        ),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let disk = sample();
        let paths = segments(&disk);
        prop_assert!(paths.len() > 3);
        for (which, at, bytes) in changes {
            let file = disk.open(&paths[which.index(paths.len())], crate::host::OpenMode::ReadWrite).unwrap();
            let at = at.index(file.len().unwrap() as usize) as u64;
            file.write_at(at, &bytes).unwrap();
        }
        if let Some(cut) = cut {
            let file = disk.open(&paths[paths.len() - 1], crate::host::OpenMode::ReadWrite).unwrap();
            let length = cut.index(file.len().unwrap() as usize) as u64;
            file.set_len(length).unwrap();
        }
        let mut listed = 0;
        _ = dump(&*disk, &dir(), &mut |_| { listed += 1; true });
        prop_assert!(listed < 200);
        if let Ok(recovered) = crate::wal::read(&*disk, &dir()) {
            for found in recovered.entries {
                let written = entry(found.index, 1, found.index as usize * 5);
                prop_assert_eq!(found, written);
            }
        }
        // What opens after that, opens again.
        if open(&disk, SMALL).is_ok() {
            prop_assert!(open(&disk, SMALL).is_ok());
        }
    }

    #[test]
    fn fuzz_noise(noise in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let disk = Arc::new(MemoryDisk::default());
        disk.create_dir_all(&dir()).unwrap();
        let path = dir().join("0000000000000001-0000000000000001.wal");
        let file = disk.open(&path, crate::host::OpenMode::CreateNew).unwrap();
        file.write_at(0, &noise).unwrap();
        prop_assert!(crate::wal::read(&*disk, &dir()).is_err());
        prop_assert!(!matches!(dump(&*disk, &dir(), &mut |_| false), Ok(None)));
    }
}
