//! Logs that somebody may have changed, opened as at a start and listed as by `vetcdutl`.
//!
//! A segment is taken apart into its records; payloads and header fields are changed and the chain of
//! checksums is made right again, so that what lies behind the checksums is reached.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vetcd::api::proto::vetcdpb::{ConfState, Entry};
use vetcd::wal::dump::dump;
use vetcd::wal::{Batch, HardState, Log, Metadata, Options, SnapshotMark};

use crate::harness::{Target, fuzz};
use crate::mutate::{self, Draw};
use crate::world::MemoryDisk;

const HEADER: usize = 32;

fn dir() -> PathBuf {
    PathBuf::from("/data/wal")
}

/// Files as one input: for each its name and content, each with its length before it.
pub fn pack(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut packed = Vec::new();
    for (name, content) in files {
        packed.push(name.len() as u8);
        packed.extend(name.as_bytes());
        packed.extend((content.len() as u32).to_le_bytes());
        packed.extend(content);
    }
    packed
}

/// What [`pack`] was given, as far as it goes.
pub fn unpack(mut packed: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    while let Some((length, rest)) = packed.split_first() {
        let (name, rest) = rest.split_at((*length as usize).min(rest.len()));
        let Some((length, rest)) = rest.split_first_chunk::<4>() else {
            break;
        };
        let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
        let (content, rest) = rest.split_at(length);
        let name = String::from_utf8_lossy(name).replace('/', "_");
        files.push((name, content.to_vec()));
        packed = rest;
    }
    files
}

/// A record without what follows from its place.
#[derive(Clone)]
struct Record {
    synced: u64,
    kind: u8,
    payload: Vec<u8>,
}

/// The records at the start of a segment, and what is behind them.
fn records(mut segment: &[u8]) -> (Vec<Record>, &[u8]) {
    let mut records = Vec::new();
    while let Some((header, rest)) = segment.split_first_chunk::<HEADER>() {
        let length = u32::from_le_bytes(header[4..8].try_into().unwrap()) as usize;
        let padded = length.next_multiple_of(8);
        if &header[..4] != b"vWAL" || rest.len() < padded {
            break;
        }
        records.push(Record {
            synced: u64::from_le_bytes(header[8..16].try_into().unwrap()),
            kind: header[16],
            payload: rest[..length].to_vec(),
        });
        segment = &rest[padded..];
    }
    (records, segment)
}

/// Writes records with checksums that fit; `previous` is the chain's end before and after.
fn rebuild(sequence: u64, records: &[Record], previous: &mut u32) -> Vec<u8> {
    let mut segment = Vec::new();
    for record in records {
        let mut payload = record.payload.clone();
        payload.resize(payload.len().next_multiple_of(8), 0);
        let mut header = b"vWAL".to_vec();
        header.extend((record.payload.len() as u32).to_le_bytes());
        header.extend(record.synced.to_le_bytes());
        header.extend([record.kind, 0, 0, 0]);
        header.extend(previous.to_le_bytes());
        header.extend(crc32c::crc32c(&payload).to_le_bytes());
        let place = crc32c::crc32c(&sequence.to_le_bytes());
        let place = crc32c::crc32c_append(place, &(segment.len() as u64).to_le_bytes());
        *previous = crc32c::crc32c_append(place, &header);
        segment.extend(header);
        segment.extend(previous.to_le_bytes());
        segment.extend(payload);
    }
    segment
}

fn change(draw: &mut Draw, records: &mut Vec<Record>) {
    if records.is_empty() {
        return;
    }
    let at = draw.below(records.len());
    let other = draw.pick(records).payload.clone();
    match draw.below(10) {
        0 => drop(records.remove(at)),
        1 => {
            let record = records[at].clone();
            let times = *draw.pick(&[1, 1, 50]);
            (0..times).for_each(|_| records.insert(at, record.clone()));
        }
        2 => {
            let place = draw.below(records.len());
            records.swap(at, place);
        }
        3 => records[at].kind = draw.below(8) as u8,
        4 => records[at].synced = draw.edge(records[at].synced),
        5 => records.truncate(at + 1),
        _ => {
            records[at].payload = mutate::message(draw, &records[at].payload.clone(), &other);
        }
    }
}

struct Wal;

fn seed(options: Options, with_mark: bool) -> Vec<u8> {
    let disk = MemoryDisk::default();
    let metadata = Metadata {
        cluster_id: 0xc1,
        member_id: 0xa1,
    };
    let mut log = Log::create(Arc::new(disk.clone()), &dir(), metadata, options).unwrap();
    for index in 1..=20u64 {
        let entry = Entry {
            kind: u32::from(index % 9 == 0),
            term: 1 + index / 8,
            index,
            data: vec![index as u8; index as usize * 5].into(),
            context: Default::default(),
        };
        let hard_state = HardState {
            term: entry.term,
            vote: 0xa1,
            commit: index,
        };
        let batch = Batch {
            entries: vec![entry],
            hard_state: Some(hard_state),
            ..Batch::default()
        };
        log.append(&batch).unwrap();
        log.sync().unwrap();
    }
    if with_mark {
        let snapshot = SnapshotMark {
            index: 18,
            term: 3,
            conf_state: ConfState {
                voters: vec![0xa1, 2, 3],
                learners: vec![4],
                ..ConfState::default()
            },
        };
        let batch = Batch {
            snapshot: Some(snapshot),
            ..Batch::default()
        };
        log.append(&batch).unwrap();
        log.sync().unwrap();
        log.mark_synced().unwrap();
    }
    drop(log);
    pack(&disk.files(&dir()))
}

impl Target for Wal {
    fn name(&self) -> &'static str {
        "wal"
    }

    fn cases(&self) -> usize {
        12_000
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let small = Options {
            segment_bytes: 700,
            ..Options::default()
        };
        let reused = Options {
            allocate_bytes: 328,
            spares: 1,
            ..small
        };
        vec![
            seed(Options::default(), false),
            seed(Options::default(), true),
            seed(small, true),
            seed(reused, true),
            pack(&[]),
            // After the last segment that can be, none could be begun.
            pack(&[(
                "ffffffffffffffff-0000000000000001.wal".to_owned(),
                vec![0; 64],
            )]),
        ]
    }

    fn mutate(&mut self, draw: &mut Draw, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut files = unpack(seed);
        if files.is_empty() || draw.once_in(10) {
            return mutate::bytes(draw, seed, other);
        }
        if draw.once_in(12) {
            let at = draw.below(files.len());
            match draw.below(3) {
                0 => drop(files.remove(at)),
                1 => files[at].0 = format!("{:016x}-{:016x}.wal", draw.edge(1), draw.edge(1)),
                _ => files[at].0 += [".tmp", ".spare", "x"][draw.below(3)],
            }
        }
        if !files.is_empty() && !draw.once_in(4) {
            let which = draw.below(files.len());
            let mut previous = 0;
            for (number, (name, content)) in files.iter_mut().enumerate() {
                let sequence = name.get(..16).unwrap_or_default();
                let sequence = u64::from_str_radix(sequence, 16).unwrap_or(1);
                let (mut records, rest) = records(content);
                let rest = rest.to_vec();
                if number == which {
                    (0..=draw.below(3)).for_each(|_| change(draw, &mut records));
                }
                *content = rebuild(sequence, &records, &mut previous);
                content.extend(rest);
            }
        }
        if !files.is_empty() && draw.once_in(3) {
            let at = draw.below(files.len());
            files[at].1 = mutate::bytes(draw, &files[at].1.clone(), other);
        }
        let mut packed = pack(&files);
        packed.truncate(mutate::INPUT_BYTES_MAX);
        packed
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let files = unpack(input);
        let files = files
            .into_iter()
            .map(|(name, content)| (dir().join(name), content));
        let disk = MemoryDisk::with(files);
        let mut listed = 0;
        let dumped = dump(&disk, &dir(), &mut |_| {
            listed += 1;
            true
        });
        let most = input.len() / HEADER;
        if listed > most {
            return Err(format!("{listed} records in {} bytes", input.len()));
        }
        let read = vetcd::wal::read(&disk, &dir());
        let disk = Arc::new(disk);
        let class = match Log::open(disk.clone(), &dir(), Options::default()) {
            Ok((mut log, recovered)) => {
                let contiguous = recovered
                    .entries
                    .windows(2)
                    .all(|w| w[1].index == w[0].index + 1);
                if !contiguous {
                    return Err("it gave entries with gaps".to_owned());
                }
                let entry = Entry {
                    term: recovered.hard_state.term,
                    index: log.last_index().saturating_add(1),
                    ..Entry::default()
                };
                let batch = Batch {
                    entries: vec![entry],
                    ..Batch::default()
                };
                let appended = log.append(&batch).and_then(|()| log.sync());
                drop(log);
                // What was opened and written to opens again.
                let again = Log::open(disk, &dir(), Options::default());
                match (&appended, again) {
                    (Ok(()), Err(error)) => return Err(format!("not opened again: {error}")),
                    (_, Ok((_, found))) if found.entries.len() < recovered.entries.len() => {
                        return Err("entries are lost at the second opening".to_owned());
                    }
                    _ => {}
                }
                format!(
                    "opened, torn {}, mark {}, then {}",
                    recovered.torn.is_some(),
                    recovered.snapshot.is_some(),
                    appended.map_or_else(|error| error.to_string(), |()| "written".to_owned()),
                )
            }
            Err(error) => error.to_string(),
        };
        let class = class.rsplit(".wal").next().unwrap_or_default();
        let stopped = dumped.map(|stop| stop.is_some()).ok();
        Ok(format!("{} {stopped:?} {class}", read.is_ok()))
    }

    fn memory(&self, input: &[u8]) -> u64 {
        (1 << 20) + 25 * input.len() as u64
    }
}

#[test]
fn wal() {
    assert!(dir().starts_with(Path::new("/data")));
    fuzz(&mut Wal);
}
