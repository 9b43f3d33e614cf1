//! Requests per second and their latency, beside the real etcd.
//!
//! `cargo bench --bench kv` starts vetcd and, where it is found, etcd, with one member and with three,
//! both with their default durability (every write synced before it is acknowledged), and measures
//! them in turn, so that both see the same machine. Each figure is the median of the rounds; the ratio
//! is vetcd's to etcd's. `-- --seconds N` (of each measurement, 2), `--rounds N` (3), `--value N`
//! (bytes, 128).
//!
//! The clients share the machine with the servers and cost it at least as much; the figures compare
//! servers and are no maxima.
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

use process::Member;
use servers::{number, servers, start};
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::client::{CallError, Client, ClientOptions};
use vetcd::host::os::OsHost;

/// Keys that are worked on.
const KEYS: u64 = 10_000;

#[derive(Clone, Copy)]
enum Work {
    Put,
    Get { serializable: bool },
    CompareAndPut,
}

const CASES: [(&str, Work, usize); 6] = [
    ("put, 1 client", Work::Put, 1),
    ("put, 64 clients", Work::Put, 64),
    ("put, 256 clients", Work::Put, 256),
    (
        "linearizable get, 64 clients",
        Work::Get {
            serializable: false,
        },
        64,
    ),
    (
        "serializable get, 64 clients",
        Work::Get { serializable: true },
        64,
    ),
    ("compare and put, 64 clients", Work::CompareAndPut, 64),
];

/// What one measurement gives.
#[derive(Clone, Copy)]
struct Figures {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

fn main() {
    let seconds = number("--seconds", 2);
    let rounds = number("--rounds", 3);
    let value = number("--value", 128);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        println!(
            "{rounds} rounds of {seconds} s, values of {value} bytes; latencies in milliseconds"
        );
        for count in [1, 3] {
            let mut clusters = Vec::new();
            for (name, program) in servers() {
                clusters.push((name, start(&program, count).await));
            }
            println!("\nmembers: {count}");
            println!(
                "{:<30} {:>6} {:>12} {:>8} {:>8}",
                "", "", "requests/s", "p50", "p99"
            );
            for (title, work, clients) in CASES {
                let mut figures = vec![Vec::new(); clusters.len()];
                for _ in 0..rounds {
                    for ((_, members), figures) in clusters.iter().zip(&mut figures) {
                        let span = Duration::from_secs(seconds as u64);
                        figures.push(measure(members, work, clients, value, span).await);
                    }
                }
                let medians: Vec<Figures> = figures.into_iter().map(median).collect();
                print(title, &clusters, &medians);
            }
        }
    });
}

fn print(title: &str, clusters: &[(&str, Vec<Member>)], medians: &[Figures]) {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    for (number, ((name, _), figures)) in clusters.iter().zip(medians).enumerate() {
        println!(
            "{:<30} {name:>6} {:>12.0} {:>8.2} {:>8.2}",
            if number == 0 { title } else { "" },
            figures.per_second,
            milliseconds(figures.p50),
            milliseconds(figures.p99),
        );
    }
    if let [own, other] = medians {
        println!(
            "{:<30} {:>6} {:>11.2}x {:>7.2}x {:>7.2}x",
            "",
            "ratio",
            own.per_second / other.per_second,
            own.p50.as_secs_f64() / other.p50.as_secs_f64(),
            own.p99.as_secs_f64() / other.p99.as_secs_f64(),
        );
    }
}

/// Each figure's median by itself.
fn median(rounds: Vec<Figures>) -> Figures {
    let middle = rounds.len() / 2;
    let mut rates: Vec<f64> = rounds.iter().map(|figures| figures.per_second).collect();
    rates.sort_by(f64::total_cmp);
    let of = |time: fn(&Figures) -> Duration| {
        let mut times: Vec<Duration> = rounds.iter().map(time).collect();
        times.sort();
        times[middle]
    };
    Figures {
        per_second: rates[middle],
        p50: of(|figures| figures.p50),
        p99: of(|figures| figures.p99),
    }
}

async fn measure(
    members: &[Member],
    work: Work,
    clients: usize,
    value: usize,
    span: Duration,
) -> Figures {
    let host = Arc::new(OsHost::new(tokio::runtime::Handle::current()));
    let options = ClientOptions {
        call_timeout: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(10),
    };
    let mut working = Vec::new();
    for number in 0..clients {
        let endpoint = members[number % members.len()].place.client_address.clone();
        let mut client = Client::new(host.clone(), vec![endpoint], options);
        // Connects.
        client.status().await.unwrap();
        working.push((number as u64, client));
    }
    let begin = Instant::now();
    let tasks: Vec<_> = working
        .into_iter()
        .map(|(number, mut client)| {
            tokio::spawn(async move {
                let mut took = Vec::new();
                let mut at = number;
                while begin.elapsed() < span {
                    let called = Instant::now();
                    call(&mut client, work, at, value).await.unwrap();
                    took.push(called.elapsed());
                    // Spreads the keys without a generator of random numbers.
                    at = at
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(number | 1);
                }
                took
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    let elapsed = begin.elapsed();
    all.sort();
    Figures {
        per_second: all.len() as f64 / elapsed.as_secs_f64(),
        p50: all[all.len() / 2],
        p99: all[all.len() * 99 / 100],
    }
}

async fn call(client: &mut Client, work: Work, at: u64, value: usize) -> Result<(), CallError> {
    let key = format!("bench/{:05}", (at >> 16) % KEYS);
    let put = || pb::PutRequest {
        key: key.clone().into(),
        value: vec![b'v'; value].into(),
        ..Default::default()
    };
    match work {
        Work::Put => client.put(put()).await.map(drop),
        Work::Get { serializable } => {
            let range = pb::RangeRequest {
                key: key.into(),
                serializable,
                ..Default::default()
            };
            client.range(range).await.map(drop)
        }
        Work::CompareAndPut => {
            let request = |request| pb::RequestOp {
                request: Some(request),
            };
            let compare = pb::Compare {
                key: key.clone().into(),
                target: pb::compare::CompareTarget::Version.into(),
                result: pb::compare::CompareResult::Greater.into(),
                target_union: Some(pb::compare::TargetUnion::Version(0)),
                ..Default::default()
            };
            let txn = pb::TxnRequest {
                compare: vec![compare],
                success: vec![request(pb::request_op::Request::RequestPut(put()))],
                failure: vec![request(pb::request_op::Request::RequestPut(put()))],
            };
            client.txn(txn).await.map(drop)
        }
    }
}
