//! Lone members of any program that takes etcd's flags, and the tools that work on their data.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Etcdctl, Place, READY};

/// Runs a command of `vetcdutl`.
pub fn vetcdutl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vetcdutl"))
        .env_clear()
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs a command that must succeed; what it printed.
pub fn ok(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .env_clear()
        .env("ETCDCTL_API", "3")
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command of `vetcdutl` that must succeed.
pub fn vetcdutl_ok(arguments: &[&str]) -> String {
    ok(Path::new(env!("CARGO_BIN_EXE_vetcdutl")), arguments)
}

/// What makes `place`'s data directory of a snapshot, for either server's tool.
pub fn restore_arguments(place: &Place, snapshot: &str, data_dir: &str) -> Vec<String> {
    vec![
        "snapshot".to_owned(),
        "restore".to_owned(),
        snapshot.to_owned(),
        format!("--data-dir={data_dir}"),
        format!("--name={}", place.name),
        format!("--initial-cluster={}={}", place.name, place.peer_url()),
        format!("--initial-advertise-peer-urls={}", place.peer_url()),
    ]
}

pub fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A lone member of any program that takes etcd's flags. Killed when dropped.
pub struct Server {
    child: Child,
}

impl Server {
    pub fn start(program: &Path, place: &Place, data_dir: &Path, ctl: &Etcdctl) -> Server {
        let log = fs::File::create(data_dir.with_extension("log")).unwrap();
        let child = Command::new(program)
            .env_clear()
            .args([
                format!("--name={}", place.name),
                format!("--data-dir={}", data_dir.display()),
                format!("--listen-client-urls={}", place.client_url()),
                format!("--advertise-client-urls={}", place.client_url()),
                format!("--listen-peer-urls={}", place.peer_url()),
                format!("--initial-advertise-peer-urls={}", place.peer_url()),
                format!("--initial-cluster={}={}", place.name, place.peer_url()),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Server { child };
        let begin = Instant::now();
        loop {
            let answer = ctl.run(&["get", "any"]);
            // Where users are asked for, that is an answer as good as any.
            if answer.success || answer.stderr.contains("user name is empty") {
                break;
            }
            let log = || fs::read_to_string(data_dir.with_extension("log")).unwrap_or_default();
            assert!(begin.elapsed() < READY, "not ready: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    pub fn stop(mut self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success());
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
