//! Whatever became of the bytes: an answer is right, or there is none.

use proptest::prelude::*;

use super::format::{FOOT_BYTES, HEAD_BYTES};
use super::*;
use crate::snapshot::bolt::tests::fuzz_config;

/// A state and its index in several blocks.
fn sample(seed: u64) -> (Model, Vec<u8>) {
    let state = random_state(&mut Numbers(seed), 70);
    let content = content(&state, SMALL.block);
    (Model::of(&state), content)
}

/// Asks all of `content`; says how often there was no answer.
fn ask(content: Vec<u8>, model: &Model) -> usize {
    match open(content) {
        Ok(index) => examine(&index, model),
        Err(error) => expect_words(&error),
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let (model, content) = sample(41);
    for at in 0..content.len() {
        let mut damaged = content.clone();
        damaged[at] ^= 1 << (at % 8);
        let opened = open(damaged);
        let is_outside = at < HEAD_BYTES || at >= content.len() - FOOT_BYTES;
        match opened {
            Ok(index) => {
                assert!(!is_outside, "{at}");
                // It is in one block, and the others can be used.
                assert!(index.check().is_err(), "{at}");
                if at % 97 == 0 {
                    assert!(examine(&index, &model) > 0);
                }
            }
            Err(error) => _ = expect_words(&error),
        }
    }
}

#[test]
fn every_cut_is_found() {
    let (_, content) = sample(42);
    for length in 0..content.len() {
        let error = open(content[..length].to_vec()).unwrap_err();
        assert!(
            matches!(error, Unusable::Damaged { .. }),
            "{length}: {error}"
        );
    }
    let mut longer = content.clone();
    longer.push(0);
    open(longer).unwrap_err();
    // A file that loses its end while it is open.
    let disk = CrashDisk::with_file(&path(), content.clone());
    let index = KeyIndex::open(&disk, &path(), OWNER).unwrap().unwrap();
    let file = disk
        .open(&path(), crate::host::OpenMode::ReadWrite)
        .unwrap();
    file.set_len(HEAD_BYTES as u64 + 3).unwrap();
    assert!(matches!(index.check(), Err(Unusable::Damaged { .. })));
}

#[test]
fn the_reason_is_given_in_words() {
    let (_, content) = sample(43);
    let reason = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = content.clone();
        change(&mut changed);
        open(changed)
            .and_then(|index| index.check())
            .unwrap_err()
            .to_string()
    };
    let foot = content.len() - FOOT_BYTES;
    for (change, words) in [
        (
            &(|c: &mut Vec<u8>| c[0] = 0) as &dyn Fn(&mut Vec<u8>),
            "does not begin as",
        ),
        (&|c| c[4] = 2, "it is of format 2"),
        (&|c| c[9] ^= 1, "checksum of its head"),
        (&|c| c[foot + 3] ^= 1, "checksum of its foot"),
        (&|c| c[foot - 1] ^= 1, "checksum of its directory"),
        (
            &|c| c[HEAD_BYTES + 2] ^= 1,
            "block 0: its checksum is wrong",
        ),
        (&|c| c.truncate(90), "too short"),
    ] {
        let said = reason(change);
        assert!(said.contains(words), "{said}");
    }
}

/// Two blocks of the same length and content, but not at the same place: each of them is believed only
/// where it was written.
#[test]
fn a_block_counts_only_at_its_place() {
    use super::format::checksum;
    let bytes = b"the same bytes";
    assert_ne!(checksum(100, bytes), checksum(200, bytes));
    assert_eq!(checksum(100, bytes), checksum(100, bytes));
}

#[test]
fn parts_of_two_indexes_do_not_go_together() {
    // The same keys at other revisions, so that all parts are as long as before.
    let build = |skipped: u64| {
        let mut state = State::new();
        (0..100 + skipped).for_each(|_| put(&mut state, "first"));
        let revision = state.revision();
        state.compact(revision).unwrap();
        while state.compact_step(100) {}
        for number in 0..40 {
            put(&mut state, format!("key/{number:03}"));
        }
        state
    };
    let (one, other) = (build(0), build(1));
    let contents = [content(&one, 64), content(&other, 64)];
    assert_eq!(contents[0].len(), contents[1].len());
    let model = Model::of(&one);
    let other = Model::of(&other);
    for at in 0..contents[0].len() {
        let mixed = [&contents[0][..at], &contents[1][at..]].concat();
        match open(mixed) {
            // All of it that counts is of one of them.
            Ok(index) if index.revision() == model.revision => {
                let unusable = examine(&index, &model);
                assert!(
                    unusable > 0 || contents[0][at..] == contents[1][at..],
                    "{at}"
                );
            }
            Ok(index) => {
                assert_eq!(contents[0][..at], contents[1][..at]);
                assert_eq!(examine(&index, &other), 0);
            }
            Err(error) => _ = expect_words(&error),
        }
    }
}

/// Something that happens to bytes.
#[derive(Clone, Debug)]
enum Mishap {
    Flip(prop::sample::Index, u8),
    Overwrite(prop::sample::Index, Vec<u8>),
    Cut(prop::sample::Index),
    /// Bytes from one place stand at another as well.
    Copy(prop::sample::Index, prop::sample::Index, usize),
    Swap(prop::sample::Index, prop::sample::Index, usize),
    /// Zeros where a sector was not written.
    Zero(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
    /// From there on it is another index.
    Other(prop::sample::Index),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    use prop::sample::Index;
    let noise = || prop::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, bits)| Mishap::Flip(at, bits)),
        (any::<Index>(), noise()).prop_map(|(at, bytes)| Mishap::Overwrite(at, bytes)),
        any::<Index>().prop_map(Mishap::Cut),
        (any::<Index>(), any::<Index>(), 1..200_usize).prop_map(|(a, b, n)| Mishap::Copy(a, b, n)),
        (any::<Index>(), any::<Index>(), 1..200_usize).prop_map(|(a, b, n)| Mishap::Swap(a, b, n)),
        (any::<Index>(), 1..600_usize).prop_map(|(at, n)| Mishap::Zero(at, n)),
        (any::<Index>(), noise()).prop_map(|(at, bytes)| Mishap::Insert(at, bytes)),
        any::<Index>().prop_map(Mishap::Other),
    ]
}

fn happen(content: &mut Vec<u8>, mishap: &Mishap, other: &[u8]) {
    let length = content.len();
    if length == 0 {
        return;
    }
    match mishap {
        Mishap::Flip(at, bits) => content[at.index(length)] ^= bits,
        Mishap::Overwrite(at, bytes) => {
            let cells = content.iter_mut().skip(at.index(length));
            cells.zip(bytes).for_each(|(cell, byte)| *cell = *byte);
        }
        Mishap::Cut(at) => content.truncate(at.index(length)),
        Mishap::Copy(from, to, count) => {
            let count = (*count).min(length);
            let (from, to) = (from.index(length - count + 1), to.index(length - count + 1));
            content.copy_within(from..from + count, to);
        }
        Mishap::Swap(one, other, count) => {
            let count = (*count).min(length);
            let (one, other) = (
                one.index(length - count + 1),
                other.index(length - count + 1),
            );
            (0..count).for_each(|at| content.swap(one + at, other + at));
        }
        Mishap::Zero(at, count) => {
            let cells = content.iter_mut().skip(at.index(length)).take(*count);
            cells.for_each(|cell| *cell = 0);
        }
        Mishap::Insert(at, bytes) => {
            let at = at.index(length);
            content.splice(at..at, bytes.iter().copied());
        }
        Mishap::Other(at) => {
            // Before that it would be all of it.
            let at = at.index(length).max(HEAD_BYTES);
            let rest = other.get(at..).unwrap_or_default();
            content.truncate(at);
            content.extend_from_slice(rest);
        }
    }
}

proptest! {
    #![proptest_config(fuzz_config(300))]

    #[test]
    fn spoilt_files_never_lie(
        seed in 0_u64..6,
        mishaps in prop::collection::vec(mishap(), 1..4),
    ) {
        let (model, whole) = sample(seed);
        let (_, other) = sample(seed + 100);
        let mut spoilt = whole.clone();
        mishaps.iter().for_each(|mishap| happen(&mut spoilt, mishap, &other));
        let unusable = ask(spoilt.clone(), &model);
        // And what was changed was noticed.
        prop_assert_eq!(unusable == 0, spoilt == whole);
    }

    #[test]
    fn arbitrary_bytes_are_no_index(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
        with_head in any::<bool>(),
    ) {
        if with_head {
            let (_, whole) = sample(1);
            bytes.splice(0..0, whole[..HEAD_BYTES].iter().copied());
        }
        prop_assert!(open(bytes).is_err());
    }
}
