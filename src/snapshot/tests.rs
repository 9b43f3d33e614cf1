//! Tests of the snapshot stream and its files.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::api::proto::etcdserverpb::PutRequest;
use crate::api::proto::vetcdpb::BackendMeta;
use crate::backend::tests::{CrashDisk, Numbers, assert_same, meta_at, same_records, step};
use crate::host::Disk;
use crate::mvcc::State;
use crate::snapshot::bolt::tests::fuzz_config;

fn sample(seed: u64, steps: usize) -> State {
    let mut numbers = Numbers(seed);
    let mut state = State::new();
    (0..steps).for_each(|_| step(&mut state, &mut numbers));
    state
}

fn encoded(state: &State, meta: BackendMeta) -> Vec<u8> {
    Encoder::new(state.clone(), meta)
        .collect::<Vec<_>>()
        .concat()
}

fn decoded(pieces: &[&[u8]]) -> Result<(State, BackendMeta), Error> {
    let mut decoder = Decoder::new();
    pieces.iter().try_for_each(|piece| decoder.push(piece))?;
    decoder.finish()
}

#[test]
fn what_goes_in_comes_out_however_it_is_cut() {
    for (seed, steps) in [(0, 0), (1, 1), (2, 300), (3, 3000)] {
        let state = sample(seed, steps);
        let stream = encoded(&state, meta_at(9));
        let mut numbers = Numbers(seed);
        for most in [1, 7, 1000, 1 << 20] {
            let mut pieces = Vec::new();
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let length = rest.len().min(1 + numbers.below(most) as usize);
                let (piece, left) = rest.split_at(length);
                pieces.push(piece);
                rest = left;
            }
            let (mut loaded, meta) = decoded(&pieces).unwrap();
            assert_same(&loaded, &meta, &state, 9);
            assert_eq!(loaded.hash(0), state.hash(0));
            assert_eq!(loaded.pending_changes(), 0);
            // An unfinished compaction goes on where the stream ends up.
            let mut finished = state.clone();
            while finished.compact_step(100) {}
            while loaded.compact_step(3) {}
            assert!(same_records(&loaded, &finished));
        }
    }
}

#[test]
fn pieces_are_bounded_even_with_large_values() {
    let mut state = State::new();
    for number in 0..5 {
        let request = PutRequest {
            key: Bytes::from(vec![number]),
            value: Bytes::from(vec![number; 100_000 * usize::from(number)]),
            ..Default::default()
        };
        state.put(&request).unwrap();
    }
    let pieces: Vec<Bytes> = Encoder::new(state.clone(), meta_at(3)).collect();
    let (last, full) = pieces.split_last().unwrap();
    assert!(full.iter().all(|piece| piece.len() == 64 << 10));
    assert!((1..=64 << 10).contains(&last.len()));
    let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
    let (loaded, meta) = decoded(&pieces).unwrap();
    assert_same(&loaded, &meta, &state, 3);
}

#[test]
fn the_stream_is_that_of_the_moment_it_was_begun() {
    let mut state = sample(4, 500);
    let before = state.clone();
    let mut encoder = Encoder::new(state.clone(), meta_at(5));
    let first = encoder.next().unwrap();
    let mut numbers = Numbers(9);
    (0..500).for_each(|_| step(&mut state, &mut numbers));
    let rest: Vec<Bytes> = encoder.collect();
    let (loaded, _) = decoded(&[&first, &rest.concat()]).unwrap();
    assert!(same_records(&loaded, &before));
}

#[test]
fn every_flipped_bit_is_found() {
    let stream = encoded(&sample(5, 40), meta_at(2));
    for at in 0..stream.len() {
        for bit in [0, 3, 7] {
            let mut damaged = stream.clone();
            damaged[at] ^= 1 << bit;
            match decoded(&[&damaged]) {
                Err(Error::Foreign(_)) => assert!(at < HEADER_BYTES),
                Err(Error::Damaged { offset, .. }) => assert!(offset as usize <= at),
                // A length that grew waits for more.
                Err(Error::CutShort { offset }) => assert_eq!(offset as usize, stream.len()),
                Ok(_) => panic!("the flip at {at} went unseen"),
            }
        }
    }
}

#[test]
fn every_cut_is_found_and_so_is_anything_added() {
    let stream = encoded(&sample(6, 40), meta_at(2));
    for length in 0..stream.len() {
        let expected = Error::CutShort {
            offset: length as u64,
        };
        assert_eq!(decoded(&[&stream[..length]]).unwrap_err(), expected);
    }
    let offset = stream.len() as u64;
    match decoded(&[&stream, b"x"]).unwrap_err() {
        Error::Damaged { offset: found, .. } => assert_eq!(found, offset),
        other => panic!("{other}"),
    }
    // Nor does one stream follow another.
    assert!(decoded(&[&stream, &stream]).is_err());
}

/// A stream of frames with right checksums.
fn forged(bodies: &[&[u8]]) -> Vec<u8> {
    let mut stream = MAGIC.to_vec();
    stream.extend(VERSION.to_le_bytes());
    let mut crc = crc32c::crc32c(&stream);
    for body in bodies {
        let length = (body.len() as u32).to_le_bytes();
        crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &length), body);
        stream.extend(length);
        stream.extend(crc.to_le_bytes());
        stream.extend_from_slice(body);
    }
    stream
}

#[test]
fn well_summed_nonsense_is_refused() {
    let meta = BackendMeta {
        revision: 3,
        compact_revision: -1,
        compact_finished: -1,
        ..meta_at(1)
    };
    let framed = |kind: u8, content: &[u8]| [&[kind], content].concat();
    let meta_frame = framed(KIND_META, &meta.encode_to_vec());
    let mut state = State::new();
    for key in ["a", "b"] {
        let key = Bytes::from(key);
        state
            .put(&PutRequest {
                key,
                ..Default::default()
            })
            .unwrap();
    }
    let records: Vec<Vec<u8>> = state
        .records_from(0)
        .map(|record| {
            framed(
                KIND_PUT,
                &[&record.revision_key().encode()[..], &record.encode_value()].concat(),
            )
        })
        .collect();
    let end = |count: u64| framed(KIND_END, &count.to_le_bytes());
    let check = |bodies: &[&[u8]]| decoded(&[&forged(bodies)]);
    let (m, a, b) = (&meta_frame[..], &records[0][..], &records[1][..]);
    let (loaded, _) = check(&[m, a, b, &end(2)]).unwrap();
    assert!(same_records(&loaded, &state));

    let wrong_kind = framed(KIND_TOMBSTONE, &a[1..]);
    let tombstone_with_value = {
        let mut body = framed(KIND_TOMBSTONE, &a[1..18]);
        body.push(b't');
        body.extend(&a[18..]);
        body
    };
    let cases: [&[&[u8]]; 11] = [
        &[a, b, &end(2)],
        &[m, m, a, b, &end(2)],
        &[m, a, b, &end(1)],
        &[m, a, b, &[KIND_END]],
        &[m, b, a, &end(2)],
        &[m, a, a, &end(2)],
        &[m, &wrong_kind, b, &end(2)],
        &[m, &tombstone_with_value, b, &end(2)],
        &[m, &[KIND_PUT], &end(1)],
        &[m, &[0x77], a, b, &end(2)],
        &[m, a, b, &end(2), &end(2)],
    ];
    for (number, bodies) in cases.into_iter().enumerate() {
        assert!(
            matches!(check(bodies), Err(Error::Damaged { .. })),
            "case {number}"
        );
    }
    // Metadata that contradicts the records.
    let low = BackendMeta {
        revision: 2,
        ..meta
    };
    let low = framed(KIND_META, &low.encode_to_vec());
    assert!(check(&[&low, a, b, &end(2)]).is_err());
    assert!(matches!(check(&[&[]]), Err(Error::Damaged { .. })));
}

#[test]
fn a_lying_length_allocates_nothing() {
    let mut stream = forged(&[]);
    stream.extend((BODY_BYTES_MAX as u32).to_le_bytes());
    stream.extend([0; 4]);
    assert!(matches!(decoded(&[&stream]), Err(Error::CutShort { .. })));
    let mut stream = forged(&[]);
    stream.extend(u32::MAX.to_le_bytes());
    stream.extend([0; 4]);
    assert!(matches!(decoded(&[&stream]), Err(Error::Damaged { .. })));
}

proptest! {
    #![proptest_config(fuzz_config(300))]

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300), bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..6)) {
        prop_assert!(decoded(&[&noise]).is_err());
        let bodies: Vec<&[u8]> = bodies.iter().map(|body| &body[..]).collect();
        prop_assert!(decoded(&[&forged(&bodies)]).is_err());
    }

    /// Well summed frames of a real stream, with some changed, dropped or doubled.
    #[test]
    fn fuzz_mutated_streams(
        changes in proptest::collection::vec(
            (any::<prop::sample::Index>(), 0..3_u8, any::<prop::sample::Index>(), any::<u8>()),
            0..4,
        ),
    ) {
        let state = sample(5, 60);
        let meta = BackendMeta {
            revision: state.revision(),
            compact_revision: state.compact_revision(),
            compact_finished: state.compact_finished(),
            ..meta_at(4)
        };
        let framed = |kind: u8, content: &[u8]| [&[kind], content].concat();
        let mut bodies = vec![framed(KIND_META, &meta.encode_to_vec())];
        for record in state.records_from(0) {
            let kind = if record.tombstone { KIND_TOMBSTONE } else { KIND_PUT };
            let name = record.revision_key().encode();
            bodies.push(framed(kind, &[&name[..], &record.encode_value()].concat()));
        }
        let records = state.record_count() as u64;
        bodies.push(framed(KIND_END, &records.to_le_bytes()));
        let untouched = changes.is_empty();
        for (which, how, at, byte) in changes {
            let which = which.index(bodies.len());
            match how {
                0 => drop(bodies.remove(which)),
                1 => bodies.insert(which, bodies[which].clone()),
                _ => {
                    let at = at.index(bodies[which].len());
                    bodies[which][at] = byte;
                }
            }
        }
        let bodies: Vec<&[u8]> = bodies.iter().map(|body| &body[..]).collect();
        let result = decoded(&[&forged(&bodies)]);
        prop_assert!(!untouched || result.is_ok());
    }
}

#[test]
fn names() {
    assert_eq!(file_name(0x2a, 3), "000000000000002a-0000000000000003.snap");
    assert_eq!(
        parse_file_name(&file_name(u64::MAX, 0)),
        Some((u64::MAX, 0))
    );
    for other in [
        "",
        ".snap",
        "2a-3.snap",
        "000000000000002A-0000000000000003.snap",
        "+00000000000002a-0000000000000003.snap",
        "000000000000002a-0000000000000003.snap.tmp",
        "000000000000002a_0000000000000003.snap",
    ] {
        assert_eq!(parse_file_name(other), None, "{other}");
    }
}

#[test]
fn files_are_listed_newest_first_and_read_back() {
    let disk = CrashDisk::new();
    let directory = Path::new("snap");
    let state = sample(7, 200);
    let mut written = Vec::new();
    for index in [30, 4, 200] {
        written.push(write_file(&disk, directory, &state, &meta_at(index)).unwrap());
        // Writing it again is no error.
        write_file(&disk, directory, &state, &meta_at(index)).unwrap();
    }
    let listed = list(&disk, directory).unwrap();
    let indexes: Vec<u64> = listed.iter().map(|file| file.index).collect();
    assert_eq!(indexes, [200, 30, 4]);
    assert_eq!(listed[0].path, written[2]);
    assert_eq!(listed[0].term, 20);
    let (loaded, meta) = read_file(&disk, &listed[0].path).unwrap();
    assert_same(&loaded, &meta, &state, 200);
}

#[test]
fn a_damaged_file_is_named_with_the_offset() {
    let state = sample(8, 100);
    let mut content = encoded(&state, meta_at(1));
    let middle = content.len() / 2;
    content[middle] ^= 4;
    let path = Path::new("snap/x.snap");
    let error = read_file(&CrashDisk::with_file(path, content), path).unwrap_err();
    let FileError::Content {
        source: Error::Damaged { offset, .. },
        ..
    } = &error
    else {
        panic!("{error}");
    };
    let text = error.to_string();
    assert!(
        text.contains("snap/x.snap") && text.contains(&offset.to_string()),
        "{text}"
    );
    let missing = read_file(&CrashDisk::new(), path).unwrap_err();
    assert!(matches!(missing, FileError::Io { .. }), "{missing}");
}

#[test]
fn a_crash_leaves_a_whole_file_or_none() {
    let disk = CrashDisk::new();
    let directory = Path::new("snap");
    let state = sample(9, 1500);
    let path = write_file(&disk, directory, &state, &meta_at(6)).unwrap();
    let done = disk.operations();
    assert!(done >= 5);
    for operations in 0..=done {
        for seed in 0..20 {
            let after = disk.crashed(operations, seed);
            if after.exists(&path).unwrap() {
                let (loaded, meta) = read_file(&after, &path).unwrap();
                assert_same(&loaded, &meta, &state, 6);
            } else {
                assert!(operations < done, "it was said to be durable");
            }
            // Whatever was left does not stand in the way.
            write_file(&after, directory, &state, &meta_at(6)).unwrap();
        }
    }
    for after in 0..done {
        let disk = CrashDisk::new();
        disk.fail_after(after);
        let result = write_file(&disk, directory, &state, &meta_at(6));
        assert!(matches!(result, Err(FileError::Io { .. })), "{after}");
    }
}
