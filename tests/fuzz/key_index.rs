//! The key index: damaged anywhere, and whole with content that vetcd did not write.
//!
//! A file is taken apart as `docs/key-index-format.md` says, changed, and put together again with
//! checksums that fit. Whatever it says then, it must say the same however it is asked.

use std::path::Path;

use vetcd::backend::key_index::{KeyIndex, Owner, write};
use vetcd::mvcc::State;

use crate::harness::{Target, fuzz};
use crate::mutate::{self, Draw, take_varint, varint};
use crate::snapshot::state;
use crate::world::MemoryDisk;

const PATH: &str = "/data/db.keys";
const HEAD: usize = 44;
const FOOT: usize = 48;
/// So many keys are looked for one by one.
const PROBES: usize = 20;

/// A block, and what the directory says of it.
#[derive(Clone, Debug, Default)]
struct Block {
    separator: Vec<u8>,
    content: Vec<u8>,
    entries: u64,
    versions: u64,
}

/// A file without what follows from the rest of it.
#[derive(Clone, Debug)]
struct Parts {
    /// Magic, format, cluster, member, revision, compaction.
    head: Vec<u8>,
    blocks: Vec<Block>,
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..)?.first_chunk::<8>()?;
    usize::try_from(u64::from_le_bytes(*bytes)).ok()
}

fn checksum(offset: usize, bytes: &[u8]) -> [u8; 4] {
    let offset = crc32c::crc32c(&(offset as u64).to_le_bytes());
    crc32c::crc32c_append(offset, bytes).to_le_bytes()
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn take_apart(file: &[u8]) -> Option<Parts> {
    let foot = file.get(file.len().checked_sub(FOOT)?..)?;
    let (start, length) = (number(foot, 0)?, number(foot, 8)?);
    let mut directory = file.get(start..)?.get(..length)?;
    let mut contents = file.get(HEAD..start)?;
    let mut blocks = Vec::new();
    while !directory.is_empty() {
        let length = take_varint(&mut directory)? as usize;
        let separator = take(&mut directory, length)?.to_vec();
        let length = take_varint(&mut directory)? as usize;
        blocks.push(Block {
            separator,
            content: take(&mut contents, length)?.to_vec(),
            entries: take_varint(&mut directory)?,
            versions: take_varint(&mut directory)?,
        });
        take(&mut directory, 4)?;
    }
    Some(Parts {
        head: file.get(..HEAD - 4)?.to_vec(),
        blocks,
    })
}

/// `spoil` may change the directory and the foot before their checksums are taken.
fn put_together(parts: &Parts, mut spoil: impl FnMut(&mut Vec<u8>)) -> Vec<u8> {
    let mut file = parts.head.clone();
    file.extend(crc32c::crc32c(&parts.head).to_le_bytes());
    let mut directory = Vec::new();
    for block in &parts.blocks {
        directory.extend(varint(block.separator.len() as u64));
        directory.extend(&block.separator);
        directory.extend(varint(block.content.len() as u64));
        directory.extend(varint(block.entries));
        directory.extend(varint(block.versions));
        directory.extend(checksum(file.len(), &block.content));
        file.extend(&block.content);
    }
    spoil(&mut directory);
    let sum = |of: fn(&Block) -> u64| parts.blocks.iter().map(of).fold(0, u64::wrapping_add);
    let mut foot = Vec::new();
    for number in [
        file.len() as u64,
        directory.len() as u64,
        parts.blocks.len() as u64,
        sum(|block| block.entries),
        sum(|block| block.versions),
    ] {
        foot.extend(number.to_le_bytes());
    }
    foot.extend(checksum(file.len(), &directory));
    spoil(&mut foot);
    let sealed = crc32c::crc32c_append(crc32c::crc32c(&parts.head), &foot);
    file.extend(directory);
    file.extend(foot);
    file.extend(sealed.to_le_bytes());
    file
}

/// Where the entries of a block begin, as far as they can be told, and how many versions they have.
fn entries(content: &[u8]) -> (Vec<usize>, u64) {
    let mut rest = content;
    let (mut starts, mut versions) = (Vec::new(), 0);
    let mut step = || -> Option<()> {
        let start = content.len() - rest.len();
        take(&mut rest, 1)?;
        let length = take_varint(&mut rest)?;
        take(&mut rest, usize::try_from(length).ok()?)?;
        let count = take_varint(&mut rest)?;
        for _ in 0..count {
            if take_varint(&mut rest)? & 2 != 0 {
                take_varint(&mut rest)?;
            }
        }
        starts.push(start);
        versions += count;
        Some(())
    };
    while step().is_some() {}
    (starts, versions)
}

fn change(draw: &mut Draw, parts: &mut Parts, other: &Parts) {
    if parts.blocks.is_empty() || draw.once_in(12) {
        let at = *draw.pick(&[4, 8, 16, 24, 32]);
        let known = number(&parts.head, at).unwrap_or(0) as u64;
        let bytes = draw.edge(known).to_le_bytes();
        let width = if at == 4 { 4 } else { 8 };
        parts.head[at..at + width].copy_from_slice(&bytes[..width]);
        return;
    }
    let at = draw.below(parts.blocks.len());
    let foreign = match other.blocks.is_empty() {
        true => Block::default(),
        false => draw.pick(&other.blocks).clone(),
    };
    match draw.below(12) {
        0 => drop(parts.blocks.remove(at)),
        1 => parts.blocks.insert(at, foreign),
        2 => {
            let place = draw.below(parts.blocks.len());
            parts.blocks.swap(at, place);
        }
        3 => {
            let separator = &mut parts.blocks[at].separator;
            *separator = mutate::bytes(draw, separator, &foreign.separator);
        }
        4 => parts.blocks[at].entries = draw.edge(parts.blocks[at].entries),
        5 => parts.blocks[at].versions = draw.edge(parts.blocks[at].versions),
        // An entry is lost, or stands there twice.
        6 | 7 => {
            let content = &mut parts.blocks[at].content;
            let (mut starts, _) = entries(content);
            starts.push(content.len());
            let place = draw.below(starts.len() - 1);
            let (from, to) = (starts[place], starts[(place + 1).min(starts.len() - 1)]);
            match draw.once_in(2) {
                true => drop(content.drain(from..to)),
                false => {
                    let entry = content[from..to].to_vec();
                    content.splice(to..to, entry);
                }
            }
        }
        _ => {
            let content = &mut parts.blocks[at].content;
            *content = mutate::bytes(draw, content, &foreign.content);
        }
    }
}

struct Index;

fn seed(state: &State) -> Vec<u8> {
    let disk = MemoryDisk::default();
    let owner = Owner {
        cluster_id: 0xc1,
        member_id: 1,
    };
    assert!(write(&disk, Path::new(PATH), owner, state, &|| true).unwrap());
    disk.files(Path::new("/data")).remove(0).1
}

/// The same file, its blocks split in two again and again.
fn split(file: &[u8], times: usize) -> Vec<u8> {
    let mut parts = take_apart(file).unwrap();
    for _ in 0..times {
        let whole = std::mem::take(&mut parts.blocks);
        for mut block in whole {
            let (starts, _) = entries(&block.content);
            // Where a key shares nothing with the one before: it is not told in the next block.
            let alone = |start: &&usize| **start > 0 && block.content[**start] == 0;
            let Some(&place) = starts.iter().find(alone) else {
                parts.blocks.push(block);
                continue;
            };
            let content = block.content.split_off(place);
            let mut rest = &content[1..];
            let length = take_varint(&mut rest).unwrap() as usize;
            let separator = rest[..length].to_vec();
            for (separator, content) in [(block.separator, block.content), (separator, content)] {
                let (starts, versions) = entries(&content);
                parts.blocks.push(Block {
                    separator,
                    content,
                    entries: starts.len() as u64,
                    versions,
                });
            }
        }
    }
    put_together(&parts, |_| ())
}

/// A state whose keys have nearly all in common: no file comes to more when it is read.
fn alike() -> State {
    use vetcd::api::proto::etcdserverpb::PutRequest;
    let mut state = State::new();
    for number in 0..400_u16 {
        let request = PutRequest {
            key: [&[b'x'; 253][..], &number.to_be_bytes()].concat().into(),
            ..Default::default()
        };
        state.put(&request).unwrap();
    }
    state
}

/// A state whose keys begin differently.
fn scattered() -> State {
    use vetcd::api::proto::etcdserverpb::{DeleteRangeRequest, PutRequest};
    let mut state = State::new();
    for round in 0..3_u8 {
        for number in 0..30_u8 {
            let request = PutRequest {
                key: vec![number * 8, number, round % 2].into(),
                ..Default::default()
            };
            state.put(&request).unwrap();
        }
        // Several deletions of one revision.
        let request = DeleteRangeRequest {
            key: vec![40].into(),
            range_end: vec![80 + round].into(),
            ..Default::default()
        };
        state.delete_range(&request);
    }
    state
}

impl Target for Index {
    fn name(&self) -> &'static str {
        "key_index"
    }

    fn cases(&self) -> usize {
        12_000
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let several = seed(&scattered());
        vec![
            seed(&state(0, false)),
            seed(&state(40, true)),
            seed(&alike()),
            split(&several, 1),
            split(&several, 9),
            several,
        ]
    }

    fn mutate(&mut self, draw: &mut Draw, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let parts = take_apart(seed).filter(|_| !draw.once_in(8));
        let Some(mut parts) = parts else {
            return mutate::bytes(draw, seed, other);
        };
        let other = take_apart(other).unwrap_or(Parts {
            head: Vec::new(),
            blocks: Vec::new(),
        });
        for _ in 0..=draw.below(3) {
            change(draw, &mut parts, &other);
        }
        if !draw.once_in(4) {
            for block in &mut parts.blocks {
                let (starts, versions) = entries(&block.content);
                (block.entries, block.versions) = (starts.len() as u64, versions);
            }
        }
        let mut file = put_together(&parts, |bytes| {
            if draw.once_in(12) {
                *bytes = mutate::bytes(draw, bytes, &[]);
            }
        });
        if draw.once_in(10) {
            file = mutate::bytes(draw, &file, seed);
        }
        file.truncate(mutate::INPUT_BYTES_MAX);
        file
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let disk = MemoryDisk::with([(PATH, input.to_vec())]);
        let index = match KeyIndex::open_any(&disk, Path::new(PATH)) {
            Ok(index) => index.ok_or("the file was not found")?,
            Err(error) => return Ok(error.to_string()),
        };
        let checked = index.check();
        let all = match index.entries(b"", None, usize::MAX) {
            Ok(all) => all.ok_or("there is no limit")?,
            Err(error) if checked.is_err() => {
                // Blocks that are not damaged go on being used.
                _ = index.entry(b"key/3");
                _ = index.entries(b"key/3", Some(b"key/4"), 3);
                return Ok(error.to_string());
            }
            Err(error) => return Err(format!("checked, and yet {error}")),
        };
        if let Err(error) = checked {
            return Err(format!("read, and yet {error}"));
        }
        let versions: usize = all.iter().map(|entry| entry.versions.len()).sum();
        if (all.len() as u64, versions as u64) != (index.keys(), index.versions()) {
            return Err("there are not as many as it says".to_owned());
        }
        if !all.is_sorted_by(|a, b| a.key < b.key) {
            return Err("keys are out of order".to_owned());
        }
        for entry in &all {
            let revisions = || entry.versions.iter().map(|version| version.revision);
            if !revisions().is_sorted_by(|a, b| a < b) {
                return Err("revisions are out of order".to_owned());
            }
            let newest = revisions().next_back().map(|revision| revision.main);
            if newest.is_none_or(|newest| newest > index.revision()) {
                return Err("a version is newer than the index, or there is none".to_owned());
            }
        }
        for (place, entry) in all.iter().enumerate().take(PROBES) {
            if index.entry(&entry.key).ok().flatten().as_ref() != Some(entry) {
                return Err("one key is not what all of them are".to_owned());
            }
            let rest = index.entries(&entry.key, None, all.len() - place);
            if rest.ok().flatten().as_deref() != Some(&all[place..]) {
                return Err("some keys are not what all of them are".to_owned());
            }
        }
        Ok(format!("accepted, {} blocks", index.blocks()))
    }

    fn memory(&self, input: &[u8]) -> u64 {
        // A version takes a byte, and 24 in memory; a key of 255 bytes takes five, where it shares them.
        (64 << 10) + 150 * input.len() as u64
    }
}

#[test]
fn key_index() {
    fuzz(&mut Index);
}

/// Files are put together here by the format's document alone: what vetcd writes comes out the same.
#[test]
fn a_file_put_together_by_the_document_is_what_vetcd_writes() {
    for state in [state(0, false), state(40, true), scattered()] {
        let file = seed(&state);
        assert_eq!(put_together(&take_apart(&file).unwrap(), |_| ()), file);
    }
    let several = split(&seed(&scattered()), 9);
    let disk = MemoryDisk::with([(PATH, several)]);
    let index = KeyIndex::open_any(&disk, Path::new(PATH)).unwrap().unwrap();
    assert!(index.blocks() > 5);
    index.check().unwrap();
}
