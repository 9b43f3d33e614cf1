//! What the storage costs, each beside a plain sequential write and sync of the same bytes to the
//! same disk in the same run: the ratio says what is ours, the times say what the disk is.
//!
//! `cargo bench --bench storage [-- DIRECTORY]` works in a directory below DIRECTORY, by default the
//! system's place for temporary files, which may be memory.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark measures the world, and stops when it fails"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vetcd::api::proto::etcdserverpb::PutRequest;
use vetcd::api::proto::vetcdpb::{BackendMeta, Entry};
use vetcd::backend::Backend;
use vetcd::host::os::OsDisk;
use vetcd::host::{Disk, OpenMode};
use vetcd::mvcc::State;
use vetcd::wal::{Batch, Log, Metadata, Options};

const VALUE_BYTES: usize = 256;
const PUTS: u64 = 100_000;

fn main() {
    let place = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let home = match place {
        Some(place) => tempfile::tempdir_in(place),
        None => tempfile::tempdir(),
    };
    let home = home.unwrap();
    println!("{:<34} {:>12} {:>12} {:>7}", "", "ours", "plain", "ratio");
    for (group, rounds) in [(1, 400), (16, 200), (256, 50)] {
        log(home.path(), group, rounds);
    }
    for puts in [100, 10_000] {
        commit(home.path(), puts, 10);
    }
    apply();
}

fn show(what: &str, ours: Duration, plain: Duration) {
    let ratio = ours.as_secs_f64() / plain.as_secs_f64().max(1e-9);
    println!("{what:<34} {ours:>12.1?} {plain:>12.1?} {ratio:>7.2}");
}

/// Writes `rounds` blocks of `bytes`, each followed by a sync; returns the time of one.
fn plain(home: &Path, rounds: u32, bytes: u64) -> Duration {
    let path = home.join("plain");
    let file = OsDisk.open(&path, OpenMode::OpenOrCreate).unwrap();
    let block = vec![0x5a; bytes as usize];
    let begun = Instant::now();
    for round in 0..u64::from(rounds) {
        file.write_at(round * bytes, &block).unwrap();
        file.sync_data().unwrap();
    }
    let took = begun.elapsed() / rounds;
    OsDisk.remove_file(&path).unwrap();
    took
}

fn log(home: &Path, group: u64, rounds: u32) {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let options = Options {
        allocate_bytes: 4 << 20,
        reserve_bytes: 0,
        ..Options::default()
    };
    let dir = home.join(format!("wal-{group}"));
    let mut log = Log::create(disk, &dir, Metadata::default(), options).unwrap();
    let before = log.stats().bytes;
    let mut index = 0;
    let begun = Instant::now();
    for _ in 0..rounds {
        let mut entries = Vec::new();
        for _ in 0..group {
            index += 1;
            entries.push(Entry {
                term: 1,
                index,
                data: vec![0x5a; VALUE_BYTES].into(),
                ..Entry::default()
            });
        }
        let batch = Batch {
            entries,
            ..Batch::default()
        };
        log.append(&batch).unwrap();
        log.sync().unwrap();
    }
    let took = begun.elapsed() / rounds;
    let bytes = (log.stats().bytes - before) / u64::from(rounds);
    let what = format!("log: append and sync {group}");
    show(&what, took, plain(home, rounds, bytes));
}

fn put(state: &mut State, number: u64) {
    let request = PutRequest {
        key: format!("key-{number:012}").into_bytes().into(),
        value: vec![0x5a; VALUE_BYTES].into(),
        ..PutRequest::default()
    };
    state.put(&request).unwrap();
}

fn commit(home: &Path, puts: u64, rounds: u32) {
    let path = home.join(format!("store-{puts}"));
    let backend = Backend::open(Arc::new(OsDisk), &path).unwrap();
    let mut state = State::new();
    let mut took = Duration::ZERO;
    for round in 0..u64::from(rounds) {
        for number in 0..puts {
            put(&mut state, round * puts + number);
        }
        let changes = state.take_changes();
        let begun = Instant::now();
        backend.commit(&changes, &BackendMeta::default()).unwrap();
        took += begun.elapsed();
    }
    let bytes = backend.size().unwrap().in_use_bytes / u64::from(rounds);
    let what = format!("store: commit of {puts} puts");
    show(&what, took / rounds, plain(home, rounds, bytes));
}

/// Beside nothing: it touches no disk.
fn apply() {
    let mut state = State::new();
    let begun = Instant::now();
    for number in 0..PUTS {
        put(&mut state, number);
    }
    let took = begun.elapsed();
    println!("{:<34} {took:>12.1?}", format!("apply of {PUTS} puts"));
}
