//! What is asked of an index is answered as the state would.

use proptest::prelude::*;

use super::*;
use crate::snapshot::bolt::tests::fuzz_config;

/// Everything, in blocks of several sizes.
fn examine_all(state: &State) {
    let model = Model::of(state);
    for block in [1, 64, 1 << 20] {
        let index = open(content(state, block)).unwrap();
        assert_eq!(examine(&index, &model), 0);
        assert!(index.blocks() <= index.keys());
        if block == 1 {
            assert_eq!(index.blocks(), index.keys(), "a block each");
        }
    }
}

proptest! {
    #![proptest_config(fuzz_config(40))]

    #[test]
    fn any_state_is_found_again(seed in any::<u64>(), changes in 0_u64..150) {
        examine_all(&random_state(&mut Numbers(seed), changes));
    }
}

#[test]
fn an_empty_store_has_an_index_without_blocks() {
    let index = open(content(&State::new(), 64)).unwrap();
    assert_eq!((index.keys(), index.blocks(), index.revision()), (0, 0, 1));
    assert_eq!(index.entry(b"a").unwrap(), None);
    assert_eq!(index.entries(b"", None, 0).unwrap(), Some(Vec::new()));
    examine_all(&State::new());
}

#[test]
fn keys_of_any_length_and_many_versions() {
    let mut state = State::new();
    for length in [0, 1, 254, 255, 256, 257, 511, 70_000, 1_500_000] {
        put(&mut state, vec![b'k'; length]);
        put(&mut state, [&vec![b'k'; length][..], b"z"].concat());
    }
    for _ in 0..20_000 {
        put(&mut state, "busy");
    }
    put(&mut state, "later");
    let disk = CrashDisk::new();
    assert!(write(&disk, &path(), OWNER, &state, &|| true).unwrap());
    let index = KeyIndex::open(&disk, &path(), OWNER).unwrap().unwrap();
    let model = Model::of(&state);
    for (key, versions) in &model.keys {
        assert_eq!(index.entry(key).unwrap().unwrap().versions, *versions);
    }
    let all = index.entries(b"", None, usize::MAX).unwrap().unwrap();
    assert_eq!(all, model.entries(b"", None));
    // What is long stands by itself: what is beside it is found without reading it.
    let attempts = disk.attempts();
    index.entry(b"later").unwrap().unwrap();
    assert_eq!(disk.attempts() - attempts, 1);
    assert!(index.blocks() > 5);
    // The directory names as much of a long key as tells it from the one before, which here is all.
    assert!(index.directory_bytes() < 1_700_000);
}

#[test]
fn a_single_key_costs_one_read_and_opening_a_few() {
    let mut state = State::new();
    for number in 0..20_000 {
        put(&mut state, format!("/registry/pods/default/{number:08}"));
    }
    let disk = CrashDisk::new();
    assert!(write(&disk, &path(), OWNER, &state, &|| true).unwrap());
    let attempts = disk.attempts();
    let index = KeyIndex::open(&disk, &path(), OWNER).unwrap().unwrap();
    assert_eq!(
        disk.attempts() - attempts,
        5,
        "open, length, head, foot, directory"
    );
    let size = disk.content(&path()).unwrap().len() as u64;
    assert!(index.blocks() > 3);
    assert!(index.directory_bytes() < 92 + index.blocks() * 48);
    assert!(size < 20_000 * 12, "{size}");
    for key in [
        "",
        "/registry/pods/default/00012345",
        "/registry/pods/default/0001234x",
        "~",
    ] {
        let attempts = disk.attempts();
        let found = index.entry(key.as_bytes()).unwrap();
        assert_eq!(found.is_some(), key.ends_with("345"));
        assert_eq!(disk.attempts() - attempts, 1, "{key}");
    }
    // That there are too many is seen from the directory where it can be.
    let attempts = disk.attempts();
    assert_eq!(index.entries(b"", None, 100).unwrap(), None);
    assert_eq!(disk.attempts() - attempts, 0);
}

#[test]
fn another_one_in_its_place_does_not_disturb_readers() {
    let disk = CrashDisk::new();
    let mut numbers = Numbers(3);
    let mut state = random_state(&mut numbers, 60);
    assert!(KeyIndex::open(&disk, &path(), OWNER).unwrap().is_none());
    assert!(write_small(&disk, &state).unwrap());
    let (old, old_model) = (
        KeyIndex::open(&disk, &path(), OWNER).unwrap().unwrap(),
        Model::of(&state),
    );
    (0..60).for_each(|_| change(&mut state, &mut numbers));
    assert!(write_small(&disk, &state).unwrap());
    let new = KeyIndex::open(&disk, &path(), OWNER).unwrap().unwrap();
    assert_eq!(examine(&old, &old_model), 0);
    assert_eq!(examine(&new, &Model::of(&state)), 0);
}

#[test]
fn another_members_is_not_used() {
    let disk = CrashDisk::new();
    let state = random_state(&mut Numbers(4), 20);
    assert!(write_small(&disk, &state).unwrap());
    for other in [
        Owner {
            cluster_id: 9,
            ..OWNER
        },
        Owner {
            member_id: 9,
            ..OWNER
        },
    ] {
        let error = KeyIndex::open(&disk, &path(), other).unwrap_err();
        assert!(matches!(error, Unusable::Foreign { .. }), "{error}");
        assert!(
            error.to_string().contains("of member 8 of cluster 7"),
            "{error}"
        );
    }
    let index = KeyIndex::open_any(&disk, &path()).unwrap().unwrap();
    assert_eq!(index.owner(), OWNER);
}

#[test]
fn removing_takes_what_is_there() {
    let disk = CrashDisk::new();
    let writing = writing_path(&path());
    remove(&disk, &path()).unwrap();
    assert!(write_small(&disk, &random_state(&mut Numbers(5), 20)).unwrap());
    disk.open(&writing, crate::host::OpenMode::CreateNew)
        .unwrap();
    remove(&disk, &path()).unwrap();
    assert!(!disk.exists(&path()).unwrap() && !disk.exists(&writing).unwrap());
    // Whatever power loss comes.
    for seed in 0..20 {
        let after = disk.crashed(disk.operations(), seed);
        assert!(KeyIndex::open(&after, &path(), OWNER).unwrap().is_none());
    }
}
