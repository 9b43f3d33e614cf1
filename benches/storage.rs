//! What the storage costs, each beside a plain sequential write and sync of the same bytes to the
//! same disk in the same run: the ratio says what is ours, the times say what the disk is.
//!
//! `cargo bench --bench storage [-- [--large] [DIRECTORY]]` works in a directory below DIRECTORY, by
//! default the system's place for temporary files, which may be memory. `--large` adds the boot from
//! a store of 2 GB, which takes as much disk and several times that much memory.
//!
//! A boot runs in a process of its own, this program again, so that its memory can be told. The file
//! may still be in the page cache, as after a restart of the member but not of its machine; the plain
//! measure beside it is the same as everywhere, a sequential write and sync of as many bytes.

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
use vetcd::backend::{Backend, key_index};
use vetcd::config::Config;
use vetcd::host::os::OsDisk;
use vetcd::host::{Disk, OpenMode};
use vetcd::mvcc::State;
use vetcd::server::{boot, offline};
use vetcd::snapshot::etcd_schema::Records;
use vetcd::wal::{Batch, Log, Metadata, Options};

const VALUE_BYTES: usize = 256;
const PUTS: u64 = 100_000;
/// Asks this program to do nothing but to boot from a data directory.
const BOOT: &str = "--boot-from";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, data_dir] = &words[..]
        && word == BOOT
    {
        return boot_here(Path::new(data_dir));
    }
    let place = words.iter().find(|word| !word.starts_with('-'));
    let home = match place {
        Some(place) => tempfile::tempdir_in(place),
        None => tempfile::tempdir(),
    };
    let home = home.unwrap();
    println!("{:<34} {:>12} {:>12} {:>7}", "", "ours", "plain", "ratio");
    println!("{}", "-".repeat(68));
    for (group, rounds) in [(1, 400), (16, 200), (256, 50)] {
        log(home.path(), group, rounds);
    }
    for puts in [100, 10_000] {
        commit(home.path(), puts, 10);
    }
    apply();
    boot(home.path(), "1 M keys of 256 bytes", 1_000_000, 256);
    boot(home.path(), "100 MB in values of 1 kB", 100_000, 1000);
    if words.iter().any(|word| word == "--large") {
        boot(home.path(), "2 GB in values of 1 kB", 2_000_000, 1000);
    }
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

/// Writes `bytes` in one go, a piece at a time, and syncs once; returns the time of it all.
fn plain_stream(home: &Path, bytes: u64) -> Duration {
    const PIECE: u64 = 1 << 20;
    let path = home.join("plain");
    let file = OsDisk.open(&path, OpenMode::OpenOrCreate).unwrap();
    let piece = vec![0x5a; PIECE as usize];
    let begun = Instant::now();
    for offset in (0..bytes).step_by(PIECE as usize) {
        let length = PIECE.min(bytes - offset) as usize;
        file.write_at(offset, &piece[..length]).unwrap();
    }
    file.sync_data().unwrap();
    let took = begun.elapsed();
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

fn cluster() -> vetcd::config::Cluster {
    Config::from_pairs([("name", "m")])
        .unwrap()
        .cluster()
        .unwrap()
}

/// A boot from a store of `keys` keys, after a clean end and after a crash.
fn boot(home: &Path, what: &str, keys: u64, value_bytes: usize) {
    let data_dir = home.join("boot");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let (mut state, mut stale) = (State::new(), None);
    for number in 0..keys {
        if number == keys - keys / 16 {
            stale = Some(state.clone());
        }
        // Scattered, as keys are that are named after something.
        let name = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let request = PutRequest {
            key: format!("key-{name:016x}").into_bytes().into(),
            value: vec![0x5a; value_bytes].into(),
            ..PutRequest::default()
        };
        state.put(&request).unwrap();
    }
    let (wal_dir, records) = (offline::wal_dir(&data_dir), Records::default());
    let held = state.clone();
    let stale = stale.unwrap();
    offline::restore(&disk, &data_dir, &wal_dir, cluster(), state, &records).unwrap();
    let store = offline::backend_path(&data_dir);
    index(&disk, &store, &held);
    let backend = Backend::open(disk, &store).unwrap();
    let bytes = backend.size().unwrap().in_use_bytes;
    backend.close();
    let plain = plain_stream(home, bytes);
    for (after, what) in [
        (false, format!("boot: {what}")),
        (true, "  the same after a crash".into()),
        (true, "  with the stalest index".into()),
    ] {
        if what.contains("stalest") {
            index(&(Arc::new(OsDisk) as Arc<dyn Disk>), &store, &stale);
        }
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let output = command.arg(BOOT).arg(&data_dir).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut numbers = text
            .split_whitespace()
            .map(|word| word.parse::<u64>().unwrap());
        let mut number = || numbers.next().unwrap();
        let (opened, served, read) = (number(), number(), number());
        let (resident, peak) = (number(), number());
        show(&what, Duration::from_nanos(opened + served), plain);
        println!(
            "  takes part after {:.1?}, serves clients {:.1?} later, and knows all its keys after {:.1?}",
            Duration::from_nanos(opened),
            Duration::from_nanos(served),
            Duration::from_nanos(read)
        );
        if !after {
            let each = |bytes: u64| bytes / keys;
            println!(
                "  {} bytes a key in the store, {} resident afterwards, {} at most",
                each(bytes),
                each(resident),
                each(peak)
            );
        }
    }
    std::fs::remove_dir_all(&data_dir).unwrap();
}

/// Writes the index of the store's keys, as a member does while it runs.
fn index(disk: &Arc<dyn Disk>, store: &Path, state: &State) {
    let cluster = cluster();
    let owner = key_index::Owner {
        cluster_id: cluster.cluster_id,
        member_id: cluster.member_id,
    };
    let begun = Instant::now();
    let path = key_index::path_beside(store);
    assert!(key_index::write(&**disk, &path, owner, state, &|| true).unwrap());
    let (took, bytes) = (begun.elapsed(), std::fs::metadata(&path).unwrap().len());
    let keys = state.record_count();
    println!(
        "{:<34} {took:>12.1?}   {bytes} bytes",
        format!("index of {keys} keys")
    );
}

/// Boots, tells the times until it can take part in raft, from then until it can serve clients, and until
/// it has read all keys then (ns), and the resident memory it took, now and at most (bytes), and ends
/// without closing the store, as in a crash.
fn boot_here(data_dir: &Path) {
    let (before, _) = memory();
    let options = boot::Options::at_rest(data_dir, cluster());
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let begun = Instant::now();
    let booted = boot::boot(&disk, &options).unwrap();
    let opened = begun.elapsed();
    let store = booted.store.open().unwrap();
    let served = begun.elapsed() - opened;
    assert!(store.state.is_partial(), "the index is not used");
    let backend = store.backend.clone();
    let mut state = backend.load().unwrap().state;
    let read = begun.elapsed() - served - opened;
    let (now, peak) = memory();
    let (opened, served, read) = (opened.as_nanos(), served.as_nanos(), read.as_nanos());
    println!(
        "{opened} {served} {read} {} {}",
        now - before,
        peak - before
    );
    state.put(&PutRequest::default()).unwrap();
    let meta = backend.meta().unwrap();
    backend.commit(&state.take_changes(), &meta).unwrap();
    // No destructor, and a commit behind the last clean end: what a crash leaves.
    std::mem::forget((backend, store, state, booted.restored));
}

/// The process's resident memory now, and its peak (bytes); 0 where the system does not tell.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kilobytes.unwrap_or(0) << 10
    };
    (field("VmRSS:"), field("VmHWM:"))
}
