//! Power failures and disk errors at every single operation.

use super::*;

/// Which states the store may show when power fails after so many disk operations.
struct Milestone {
    operations: usize,
    index: u64,
    state: State,
}

/// Opens what a crash left and finds which of the two neighbouring commits it shows.
fn check_crash(disk: &CrashDisk, operations: usize, seed: u64, milestones: &[Milestone]) {
    let after = disk.crashed(operations, seed);
    let opened = Backend::open(after.shared(), path());
    let loaded = opened.and_then(|backend| backend.load());
    let loaded = loaded.unwrap_or_else(|error| panic!("op {operations} seed {seed}: {error}"));
    let done = milestones.iter().rposition(|m| m.operations <= operations);
    let candidates = match done {
        Some(done) => &milestones[done..milestones.len().min(done + 2)],
        None => &milestones[..1],
    };
    let index = loaded.meta.consistent_index;
    let found = candidates.iter().find(|m| m.index == index);
    let found = found.unwrap_or_else(|| panic!("op {operations} seed {seed}: index {index}"));
    if index > 0 {
        assert_same(&loaded.state, &loaded.meta, &found.state, index);
    }
}

#[test]
fn a_crash_shows_the_old_transaction_or_the_new_one() {
    crash_everywhere(Options::default());
}

#[test]
fn so_it_does_in_a_store_that_notes_which_pages_are_in_use() {
    crash_everywhere(QUICK);
}

/// As in a large store.
const QUICK: Options = Options {
    cache_bytes: 8 << 20,
    quick_repair_from_bytes: 1,
};

fn crash_everywhere(options: Options) {
    let disk = CrashDisk::new();
    let open = || Backend::open_with(&disk, path(), options).unwrap();
    let mut numbers = Numbers(11);
    let mut state = State::new();
    let mut milestones = Vec::new();
    let mut note = |operations, index, state: &State| {
        milestones.push(Milestone {
            operations,
            index,
            state: state.clone(),
        });
    };
    let mut backend = open();
    note(disk.operations(), 0, &state);
    for index in 1..14 {
        (0..20).for_each(|_| step(&mut state, &mut numbers));
        backend
            .commit(&state.take_changes(), &meta_at(index))
            .unwrap();
        note(disk.operations(), index, &state);
        // A restart with and without a clean close, then on with what was loaded.
        if index == 6 || index == 9 {
            if index == 6 {
                backend.close();
            } else {
                drop(backend);
            }
            backend = open();
            state = backend.load().unwrap().state;
        }
    }
    drop(backend);
    for operations in 0..=disk.operations() {
        for seed in 0..6 {
            check_crash(&disk, operations, seed, &milestones);
        }
    }
}

/// Walking the file ends with a commit of what was found. (How much is read says nothing here: redb
/// walks every file when it is built with debug assertions.)
#[test]
fn a_large_store_is_not_repaired_after_a_crash() {
    let writes = |options: Options| {
        let disk = CrashDisk::new();
        let backend = Backend::open_with(&disk, path(), options).unwrap();
        let mut state = State::new();
        for index in 1..3 {
            state.put(&PutRequest::default()).unwrap();
            let changes = state.take_changes();
            backend.commit(&changes, &meta_at(index)).unwrap();
        }
        drop(backend);
        let before = disk.operations();
        let backend = Backend::open_with(&disk, path(), options).unwrap();
        assert_eq!(backend.meta().unwrap().consistent_index, 2);
        disk.operations() - before
    };
    let (large, small) = (writes(QUICK), writes(Options::default()));
    assert!(large < small, "{large} {small}");
}

#[test]
fn a_crash_while_recovering_from_a_crash() {
    let disk = CrashDisk::new();
    let mut numbers = Numbers(12);
    let mut state = State::new();
    let backend = Backend::open(disk.shared(), path()).unwrap();
    let first = disk.operations();
    let mut commit = |index| {
        (0..20).for_each(|_| step(&mut state, &mut numbers));
        backend
            .commit(&state.take_changes(), &meta_at(index))
            .unwrap();
    };
    commit(1);
    let middle = disk.operations();
    commit(2);
    drop(backend);
    for operations in (first..disk.operations()).step_by(3) {
        let after = disk.crashed(operations, 2 + operations as u64);
        let index = {
            let backend = Backend::open(after.shared(), path()).unwrap();
            backend.load().unwrap().meta.consistent_index
        };
        assert!(index >= u64::from(operations >= middle));
        for again in 0..=after.operations() {
            for seed in 0..4 {
                let twice = after.crashed(again, seed);
                let backend = Backend::open(twice.shared(), path()).unwrap();
                assert_eq!(backend.load().unwrap().meta.consistent_index, index);
            }
        }
    }
}

#[test]
fn a_crash_while_replacing_shows_the_old_store_or_the_new_one() {
    let disk = CrashDisk::new();
    let mut numbers = Numbers(13);
    let mut old = State::new();
    (0..50).for_each(|_| step(&mut old, &mut numbers));
    let backend = Backend::open(disk.shared(), path()).unwrap();
    backend.commit(&old.take_changes(), &meta_at(1)).unwrap();
    drop(backend);
    let mut new = old.clone();
    (0..300).for_each(|_| step(&mut new, &mut numbers));
    let milestone = |operations, index, state: &State| Milestone {
        operations,
        index,
        state: state.clone(),
    };
    let start = disk.operations();
    drop(Backend::replace(disk.shared(), path(), &new, &meta_at(2)).unwrap());
    let milestones = [
        milestone(start, 1, &old),
        milestone(disk.operations(), 2, &new),
    ];
    for operations in start..=disk.operations() {
        for seed in 0..6 {
            check_crash(&disk, operations, seed, &milestones);
        }
    }
}

#[test]
fn a_disk_error_is_reported_and_final() {
    // For each operation of a commit: the commit fails, later ones fail too and write nothing,
    // dropping is silent, and what is on disk opens as the old or the new commit.
    let prepare = || {
        let disk = CrashDisk::new();
        let mut numbers = Numbers(14);
        let mut state = State::new();
        let backend = Backend::open(disk.shared(), path()).unwrap();
        (0..60).for_each(|_| step(&mut state, &mut numbers));
        backend.commit(&state.take_changes(), &meta_at(1)).unwrap();
        let old = state.clone();
        (0..60).for_each(|_| step(&mut state, &mut numbers));
        (disk, backend, old, state)
    };
    let (disk, backend, _, mut state) = prepare();
    let before = disk.operations();
    backend.commit(&state.take_changes(), &meta_at(2)).unwrap();
    let needed = disk.operations() - before;
    assert!(needed > 3);
    for after in 0..needed {
        let (disk, backend, old, mut state) = prepare();
        disk.fail_after(after);
        let result = backend.commit(&state.take_changes(), &meta_at(2));
        assert!(
            matches!(result, Err(Error::Io { .. })),
            "{after}: {result:?}"
        );
        assert!(result.unwrap_err().to_string().contains(PATH));
        let operations = disk.operations();
        // The disk works again; the store must not use it.
        disk.fail_after(usize::MAX / 2);
        step(&mut state, &mut Numbers(1));
        assert!(backend.commit(&state.take_changes(), &meta_at(3)).is_err());
        drop(backend);
        assert_eq!(
            disk.operations(),
            operations,
            "it went on writing after a failure"
        );
        let milestones = [(1, old), (2, state)].map(|(index, state)| Milestone {
            operations: 0,
            index,
            state,
        });
        let loaded = Backend::open(disk.crashed(operations, 7 + after as u64).shared(), path())
            .and_then(|backend| backend.load())
            .unwrap();
        assert!(
            milestones
                .iter()
                .any(|m| m.index == loaded.meta.consistent_index)
        );
        if loaded.meta.consistent_index == 1 {
            assert!(same_records(&loaded.state, &milestones[0].state));
        }
    }
}

#[test]
fn dropping_does_no_disk_work_and_bears_a_dead_disk() {
    let disk = CrashDisk::new();
    let mut numbers = Numbers(15);
    let mut state = State::new();
    let backend = Backend::open(disk.shared(), path()).unwrap();
    (0..60).for_each(|_| step(&mut state, &mut numbers));
    backend.commit(&state.take_changes(), &meta_at(1)).unwrap();
    let attempts = disk.attempts();
    drop(backend);
    assert_eq!(disk.attempts(), attempts);

    for closes in [false, true] {
        let backend = Backend::open(disk.shared(), path()).unwrap();
        disk.fail_after(0);
        match closes {
            true => backend.close(),
            false => drop(backend),
        }
        disk.fail_after(usize::MAX / 2);
    }
    let loaded = Backend::open(disk.shared(), path())
        .unwrap()
        .load()
        .unwrap();
    assert_same(&loaded.state, &loaded.meta, &state, 1);
}

#[test]
fn opening_reports_disk_errors_at_every_operation() {
    let whole = CrashDisk::new();
    drop(Backend::open(whole.shared(), path()).unwrap());
    for after in 0..whole.operations() {
        let disk = CrashDisk::new();
        disk.fail_after(after);
        let result = Backend::open(disk.shared(), path());
        assert!(
            matches!(result, Err(Error::Io { .. })),
            "{after}: {result:?}"
        );
        disk.fail_after(usize::MAX / 2);
        Backend::open(disk.shared(), path())
            .unwrap()
            .load()
            .unwrap();
    }
}

#[test]
fn a_store_whose_last_write_failed_is_written_again_when_it_is_opened() {
    let writes = |commit_fails: bool| {
        let disk = CrashDisk::new();
        let backend = Backend::open(disk.shared(), path()).unwrap();
        if commit_fails {
            disk.fail_after(3);
            let mut state = State::new();
            let changes = state.take_changes();
            let meta = BackendMeta::default();
            backend.commit(&changes, &meta).unwrap_err();
            disk.fail_after(usize::MAX / 2);
        }
        drop(backend);
        let before = disk.operations();
        Backend::open(disk.shared(), path())
            .unwrap()
            .load()
            .unwrap();
        disk.operations() - before
    };
    // A whole store of about 1 MiB is written in blocks of that size.
    let (after_success, after_failure) = (writes(false), writes(true));
    assert!(
        after_failure > after_success,
        "{after_failure} {after_success}"
    );
}
