//! Damaged files: refused with a clear error, or harmless.

use super::*;

/// A cleanly closed store with two commits, its content, and the states of the commits.
fn sample() -> (Vec<u8>, State, State) {
    let disk = CrashDisk::new();
    let mut numbers = Numbers(21);
    let mut state = State::new();
    let backend = Backend::open(disk.shared(), path()).unwrap();
    (0..80).for_each(|_| step(&mut state, &mut numbers));
    backend.commit(&state.take_changes(), &meta_at(1)).unwrap();
    let old = state.clone();
    (0..40).for_each(|_| step(&mut state, &mut numbers));
    backend.commit(&state.take_changes(), &meta_at(2)).unwrap();
    backend.close();
    (disk.content(path()).unwrap(), old, state)
}

/// Opens a store with this content; it must be refused as damaged or show one of the commits.
fn check(content: Vec<u8>, old: &State, new: &State) -> bool {
    let disk = CrashDisk::with_file(path(), content);
    let loaded = Backend::open(disk.shared(), path()).and_then(|backend| {
        let loaded = backend.load()?;
        Ok((loaded, backend))
    });
    match loaded {
        Ok((loaded, backend)) => {
            let index = loaded.meta.consistent_index;
            let state = if index == 1 { old } else { new };
            assert_same(&loaded.state, &loaded.meta, state, index);
            // Whatever is wrong elsewhere in the file may be found now, but not by a panic.
            let mut state = loaded.state;
            step(&mut state, &mut Numbers(3));
            _ = backend.commit(&state.take_changes(), &meta_at(9));
            true
        }
        Err(error @ Error::Damaged { .. }) => {
            assert!(error.to_string().contains(PATH));
            false
        }
        Err(error) => panic!("not called damage: {error}"),
    }
}

#[test]
fn every_flipped_byte_is_found_or_harmless() {
    let (content, old, new) = sample();
    let mut numbers = Numbers(22);
    let (mut found, mut harmless) = (0, 0);
    // All of the file's header, and a sample of the pages in use.
    let used: Vec<usize> = (0..content.len()).filter(|at| content[*at] != 0).collect();
    let spots = (0..400).map(|_| used[numbers.below(used.len() as u64) as usize]);
    for at in (0..320).chain(spots.collect::<Vec<_>>()) {
        let mut damaged = content.clone();
        damaged[at] ^= 1 << numbers.below(8);
        match check(damaged, &old, &new) {
            true => harmless += 1,
            false => found += 1,
        }
    }
    // Harmless are unused header bytes and pages of the past; the checks must have bitten.
    assert!(
        found > 100 && harmless > 0,
        "{found} found, {harmless} harmless"
    );
    for length in [0, 1, 100, 4096, content.len() / 2, content.len() - 1] {
        assert!(
            !check(content[..length].to_vec(), &old, &new),
            "length {length}"
        );
    }
    assert!(!check(vec![0; content.len()], &old, &new));
    assert!(!check(b"not a store".repeat(1000), &old, &new));
}

#[test]
fn a_missing_record_is_found() {
    let disk = CrashDisk::new();
    let backend = Backend::open(disk.shared(), path()).unwrap();
    let mut state = State::new();
    let mut numbers = Numbers(1);
    (0..80).for_each(|_| step(&mut state, &mut numbers));
    let mut changes = state.take_changes();
    backend.commit(&changes, &meta_at(1)).unwrap();
    let last = changes.records.pop().unwrap();
    let steal = |transaction: &mut redb::WriteTransaction| {
        let mut table = transaction.open_table(KEY)?;
        table.remove(&*last.revision_key().encode())?;
        Ok(())
    };
    backend.write(steal).unwrap();
    let error = backend.load().unwrap_err();
    assert!(error.to_string().contains("records are missing"), "{error}");
}

#[test]
fn removing_what_is_not_there_is_refused() {
    let disk = CrashDisk::new();
    let backend = Backend::open(disk.shared(), path()).unwrap();
    let mut changes = State::new().take_changes();
    changes.removed = vec![crate::mvcc::RevisionKey {
        revision: crate::mvcc::Revision { main: 5, sub: 0 },
        tombstone: false,
    }];
    let result = backend.commit(&changes, &meta_at(1));
    assert!(matches!(result, Err(Error::Damaged { .. })), "{result:?}");
    assert!(
        backend
            .commit(&State::new().take_changes(), &meta_at(1))
            .is_err()
    );
}
