//! Tests of the log as a whole.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "tests may touch the world")]

mod basics;
mod crash;
mod damage;
mod disk;
mod fuzz;
mod model;
mod put_off;
mod random;
mod reserved;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::disk::MemoryDisk;
use super::{Batch, Error, HardState, Log, Metadata, Options, Recovered, SnapshotMark};
use crate::api::proto::vetcdpb::{ConfState, Entry};

const METADATA: Metadata = Metadata {
    cluster_id: 0xc1,
    member_id: 0xa1,
};
/// Small enough that a handful of entries fills a segment.
const SMALL: Options = Options {
    segment_bytes: 700,
    allocate_bytes: 0,
    reserve_bytes: 0,
    spares: 0,
    keep: 0,
};
/// With space reserved in steps that fit neither sectors nor segments, and segments used again.
const REUSED: Options = Options {
    segment_bytes: 700,
    allocate_bytes: 328,
    reserve_bytes: 0,
    spares: 1,
    keep: 0,
};

fn dir() -> PathBuf {
    PathBuf::from("/data/wal")
}

fn entry(index: u64, term: u64, bytes: usize) -> Entry {
    Entry {
        kind: 0,
        term,
        index,
        data: (0..bytes)
            .map(|i| (index as usize + i) as u8)
            .collect::<Vec<u8>>()
            .into(),
        context: Default::default(),
    }
}

fn entries(batch: impl IntoIterator<Item = Entry>) -> Batch {
    Batch {
        entries: batch.into_iter().collect(),
        ..Batch::default()
    }
}

fn commit(term: u64, commit: u64) -> Batch {
    Batch {
        hard_state: Some(HardState {
            term,
            vote: 1,
            commit,
        }),
        ..Batch::default()
    }
}

fn mark(index: u64, term: u64) -> Batch {
    Batch {
        snapshot: Some(SnapshotMark {
            index,
            term,
            conf_state: ConfState {
                voters: vec![1, 2, 3],
                ..ConfState::default()
            },
        }),
        ..Batch::default()
    }
}

fn create(disk: &Arc<MemoryDisk>, options: Options) -> Log {
    Log::create(disk.clone(), &dir(), METADATA, options).unwrap()
}

fn open(disk: &Arc<MemoryDisk>, options: Options) -> Result<(Log, Recovered), Error> {
    Log::open(disk.clone(), &dir(), options)
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}
