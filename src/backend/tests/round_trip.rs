//! What is committed is what is loaded.

use super::*;

#[test]
fn a_new_store_is_empty() {
    let disk = CrashDisk::new();
    let backend = Backend::open(disk.shared(), path()).unwrap();
    let loaded = backend.load().unwrap();
    let meta = BackendMeta {
        revision: 1,
        compact_revision: -1,
        compact_finished: -1,
        ..Default::default()
    };
    assert_eq!(loaded.meta, meta);
    assert!(same_records(&loaded.state, &State::new()));
    let size = backend.size().unwrap();
    assert_eq!(size.in_use_bytes, 0);
    // Simulated disks hold it in memory.
    assert!(size.total_bytes < 2 << 20, "{size:?}");
    drop(backend);
    Backend::open(disk.shared(), path())
        .unwrap()
        .load()
        .unwrap();
}

#[test]
fn commits_add_up_across_every_way_to_stop() {
    for seed in 0..8 {
        let disk = CrashDisk::new();
        let mut numbers = Numbers(seed);
        let mut state = State::new();
        let mut backend = Backend::open(disk.shared(), path()).unwrap();
        for index in 1..60 {
            for _ in 0..numbers.below(30) {
                step(&mut state, &mut numbers);
            }
            backend
                .commit(&state.take_changes(), &meta_at(index))
                .unwrap();
            match numbers.below(4) {
                0 => backend.close(),
                1 => drop(backend),
                _ => continue,
            }
            backend = Backend::open(disk.shared(), path()).unwrap();
            let loaded = backend.load().unwrap();
            assert_same(&loaded.state, &loaded.meta, &state, index);
            assert_eq!(loaded.state.hash(0), state.hash(0));
            state = loaded.state;
        }
        let names = state.records_from(0).map(|record| {
            let name = record.revision_key().encode();
            name.len() + codec::encode_record(&name, record).len()
        });
        let in_use: usize = names.sum();
        assert_eq!(backend.size().unwrap().in_use_bytes, in_use as u64);
    }
}

#[test]
fn replacing_installs_a_whole_state() {
    let disk = CrashDisk::new();
    let mut numbers = Numbers(3);
    let mut state = State::new();
    (0..500).for_each(|_| step(&mut state, &mut numbers));
    let old = Backend::open(disk.shared(), path()).unwrap();
    old.commit(&State::new().take_changes(), &meta_at(1))
        .unwrap();
    drop(old);
    let backend = Backend::replace(disk.shared(), path(), &state, &meta_at(44)).unwrap();
    let loaded = backend.load().unwrap();
    assert_same(&loaded.state, &loaded.meta, &state, 44);
    // It goes on from there.
    let mut state = loaded.state;
    step(&mut state, &mut numbers);
    backend.commit(&state.take_changes(), &meta_at(45)).unwrap();
    let loaded = backend.load().unwrap();
    assert_same(&loaded.state, &loaded.meta, &state, 45);
}

#[test]
fn a_stale_half_built_store_is_swept_away() {
    let disk = CrashDisk::with_file(&building_path(path()), b"half".to_vec());
    drop(Backend::open(disk.shared(), path()).unwrap());
    assert!(!disk.exists(&building_path(path())).unwrap());
}

#[test]
fn the_same_calls_write_the_same_bytes() {
    let run = || {
        let disk = CrashDisk::new();
        let mut numbers = Numbers(5);
        let mut state = State::new();
        let mut backend = Backend::open(disk.shared(), path()).unwrap();
        for index in 0..40 {
            (0..25).for_each(|_| step(&mut state, &mut numbers));
            backend
                .commit(&state.take_changes(), &meta_at(index))
                .unwrap();
            if index == 20 {
                drop(backend);
                backend = Backend::open(disk.shared(), path()).unwrap();
                state = backend.load().unwrap().state;
            }
        }
        backend.close();
        disk
    };
    assert!(run().same_history(&run()));
}

#[test]
fn values_of_many_pages() {
    let disk = CrashDisk::new();
    let options = Options {
        cache_bytes: 64 << 10,
        ..Options::default()
    };
    let backend = Backend::open_with(&disk, path(), options).unwrap();
    let mut state = State::new();
    for number in 0..20_usize {
        let request = PutRequest {
            key: Bytes::from(number.to_string()),
            value: Bytes::from(vec![b'x'; number * 77_777]),
            ..Default::default()
        };
        state.put(&request).unwrap();
    }
    backend.commit(&state.take_changes(), &meta_at(1)).unwrap();
    drop(backend);
    let loaded = Backend::open(disk.shared(), path())
        .unwrap()
        .load()
        .unwrap();
    assert_same(&loaded.state, &loaded.meta, &state, 1);
}

#[test]
fn users_stay_until_a_commit_brings_others() {
    let disk = CrashDisk::new();
    let mut state = State::new();
    let at = |index, revision: Option<u64>| BackendMeta {
        auth: revision.map(|revision| AuthState {
            revision,
            ..Default::default()
        }),
        ..meta_at(index)
    };
    let backend = Backend::open(disk.shared(), path()).unwrap();
    let revisions = [None, Some(2), None, Some(3), None];
    let expected = [None, Some(2), Some(2), Some(3), Some(3)];
    for (index, (brought, expected)) in (1..).zip(revisions.into_iter().zip(expected)) {
        let meta = at(index, brought);
        backend.commit(&state.take_changes(), &meta).unwrap();
        let loaded = backend.load().unwrap();
        assert_eq!(loaded.meta.auth.map(|auth| auth.revision), expected);
    }
    drop(backend);
    let again = Backend::open(disk.shared(), path()).unwrap();
    assert_eq!(again.load().unwrap().meta.auth, at(5, Some(3)).auth);
    // A snapshot brings its own, or none.
    let replaced = Backend::replace(disk.shared(), path(), &state, &at(9, None)).unwrap();
    assert_eq!(replaced.load().unwrap().meta.auth, None);
    let replaced = Backend::replace(disk.shared(), path(), &state, &at(9, Some(7))).unwrap();
    assert_eq!(replaced.load().unwrap().meta.auth, at(9, Some(7)).auth);
}
