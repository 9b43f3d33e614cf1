//! That the harness notices what it should: decoders with a mistake each, and one without.

use std::path::{Path, PathBuf};

use crate::harness::{Plan, Summary, Target, run};
use crate::mutate::{self, Draw};

/// A decoder under test.
struct Decoder {
    decode: fn(&[u8]) -> Result<String, String>,
}

impl Target for Decoder {
    fn name(&self) -> &'static str {
        "itself"
    }

    fn cases(&self) -> usize {
        0
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        vec![vec![3, 0, 0, 0, b'a', b'b', b'c']]
    }

    fn mutate(&mut self, draw: &mut Draw, seed: &[u8], other: &[u8]) -> Vec<u8> {
        mutate::bytes(draw, seed, other)
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        (self.decode)(input)
    }

    fn memory(&self, input: &[u8]) -> u64 {
        (1 << 20) + 4 * input.len() as u64
    }
}

fn fuzzed(decode: fn(&[u8]) -> Result<String, String>) -> (Result<Summary, String>, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        seed: 1,
        cases: 20_000,
        time: None,
        folder: folder.keep(),
    };
    let result = run(&mut Decoder { decode }, &plan);
    (result, plan.folder)
}

/// The input that failed, as it was kept.
fn kept(folder: &Path) -> Vec<u8> {
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let content = std::fs::read(files[0].as_ref().unwrap().path()).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    content[4..].to_vec()
}

#[test]
fn a_panic_on_one_byte_is_found_and_kept() {
    let (result, folder) = fuzzed(|input| match input.get(5) {
        Some(0xe7) => panic!("there are no such letters"),
        _ => Ok("read".to_owned()),
    });
    let message = result.unwrap_err();
    assert!(message.contains("there are no such letters"), "{message}");
    assert!(message.contains("VETCD_FUZZ_INPUT="), "{message}");
    assert_eq!(kept(&folder)[5], 0xe7);
}

#[test]
fn a_panic_that_somebody_catches_is_found() {
    let (result, folder) = fuzzed(|input| {
        let task = || assert!(input.len() < 9, "too long for a task");
        _ = std::panic::catch_unwind(task);
        Ok("read".to_owned())
    });
    let message = result.unwrap_err();
    assert!(message.contains("too long for a task"), "{message}");
    assert!(kept(&folder).len() >= 9);
}

#[test]
fn an_allocation_on_the_word_of_a_length_is_found() {
    let (result, folder) = fuzzed(|input| {
        let Some((length, content)) = input.split_first_chunk::<4>() else {
            return Ok("cut short".to_owned());
        };
        let length = u32::from_le_bytes(*length) as usize;
        let mut read = Vec::with_capacity(length);
        read.extend_from_slice(&content[..length.min(content.len())]);
        Ok(if read.len() == length {
            "read"
        } else {
            "cut short"
        }
        .to_owned())
    });
    let message = result.unwrap_err();
    assert!(message.contains("bytes at once"), "{message}");
    let (length, _) = kept(&folder)
        .split_first_chunk::<4>()
        .map(|(l, r)| (*l, r.len()))
        .unwrap();
    assert!(u32::from_le_bytes(length) > 1 << 20);
}

#[test]
fn a_broken_promise_is_found() {
    let (result, folder) = fuzzed(|input| match input.len() {
        0..40 => Ok("read".to_owned()),
        _ => Err("the member does not answer".to_owned()),
    });
    assert!(result.unwrap_err().contains("does not answer"));
    assert!(kept(&folder).len() >= 40);
}

#[test]
fn a_decoder_without_a_mistake_passes_and_the_same_seed_gives_the_same_inputs() {
    let decode: fn(&[u8]) -> Result<String, String> = |input| {
        let digest = crc32c::crc32c(input) % 8;
        Ok(["a", "b", "c", "d", "e", "f", "g", "h"][digest as usize].to_owned())
    };
    let (one, folder) = fuzzed(decode);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    let one = one.unwrap();
    let (other, other_folder) = fuzzed(decode);
    assert_eq!(one.outcomes.len(), 8);
    assert_eq!(one.outcomes, other.unwrap().outcomes);
    for folder in [folder, other_folder] {
        std::fs::remove_dir_all(folder).unwrap();
    }
}
