//! The server's process: exit codes, messages, signals.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

#[path = "support/process.rs"]
mod process;

use std::process::{Command, Output};
use std::time::Duration;

use process::{Member, cluster, places};

const SOON: Duration = Duration::from_secs(10);

fn vetcd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vetcd"))
        .env_clear()
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn help_goes_to_the_standard_output_and_is_no_failure() {
    let output = vetcd(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("--initial-cluster"));
    assert!(output.stderr.is_empty());
}

#[test]
fn a_wrong_flag_is_bad_usage() {
    let output = vetcd(&["--wal-sink", "always"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "vetcd: unexpected argument '--wal-sink' found; a similar argument exists: '--wal-sync'\n\
         Try: vetcd --help\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_member_ends_well_and_fast() {
    let mut members = cluster(1, &[]).await;
    let begin = std::time::Instant::now();
    assert_eq!(members[0].terminate().code(), Some(0));
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    // And its data directory can be opened again.
    members[0].start();
    members[0].wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let place = &places(1)[0];
    let _taken = std::net::TcpListener::bind(&place.client_address).unwrap();
    let mut member = Member::new(place, std::slice::from_ref(place), &[]);
    member.start();
    assert_eq!(member.wait_for_end(SOON).code(), Some(2));
    let log = member.log();
    assert!(log.contains(&place.client_address), "{log}");
    assert!(log.contains("in use"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_serves_one_process_and_one_cluster() {
    let mut members = cluster(1, &[]).await;
    let data_dir = format!("--data-dir={}", members[0].data_dir().display());
    let other = &places(1)[0];

    let mut second = Member::new(other, std::slice::from_ref(other), &[&data_dir]);
    second.start();
    assert_eq!(
        second.wait_for_end(SOON).code(),
        Some(2),
        "{}",
        second.log()
    );

    // The lock is gone with the process, the cluster stays.
    members[0].terminate();
    let mut third = Member::new(other, std::slice::from_ref(other), &[&data_dir]);
    third.start();
    assert_eq!(third.wait_for_end(SOON).code(), Some(2), "{}", third.log());
    assert!(third.log().contains("cluster"), "{}", third.log());
}

#[test]
fn completions_and_the_manual_are_printed() {
    for (arguments, expected) in [
        (&["manual"][..], ".TH vetcd 1"),
        (&["completions", "bash"], "--initial-cluster"),
        (&["completions", "zsh"], "#compdef vetcd"),
    ] {
        let output = vetcd(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
    assert_eq!(vetcd(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn a_configuration_file_with_a_mistake_is_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("vetcd.yaml");
    std::fs::write(&path, "nam: x\n").unwrap();
    let output = vetcd(&["--config-file", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("a similar key exists: \"name\""), "{told}");
}

/// As systemd sees it: ready once clients are served; and logs go to files as text when asked to.
#[cfg(target_os = "linux")]
#[test]
fn systemd_is_told_and_files_are_logged_to() {
    let folder = tempfile::TempDir::new().unwrap();
    let socket = folder.path().join("notify");
    let log = folder.path().join("log");
    let config = folder.path().join("vetcd.yaml");
    let listening = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    listening.set_read_timeout(Some(SOON)).unwrap();
    let place = &places(1)[0];
    std::fs::write(
        &config,
        format!(
            "data-dir: {}\nlisten-client-urls: {client}\nadvertise-client-urls: {client}\n\
             listen-peer-urls: {peer}\ninitial-advertise-peer-urls: {peer}\n\
             initial-cluster: default={peer}\nlog-format: console\nlog-outputs: [{}]\n\
             max-snapshots: 5\n",
            folder.path().join("data").display(),
            log.display(),
            client = place.client_url(),
            peer = place.peer_url(),
        ),
    )
    .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vetcd"))
        .env_clear()
        .env("NOTIFY_SOCKET", &socket)
        .env("ETCD_CONFIG_FILE", &config)
        .spawn()
        .unwrap();
    let mut message = [0; 64];
    let received = listening.recv(&mut message);
    let connected = std::net::TcpStream::connect(&place.client_address);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(&message[..received.unwrap()], b"READY=1");
    connected.unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("serving clients"), "{log}");
    assert!(log.contains("--max-snapshots has no effect"), "{log}");
    assert!(!log.contains('{'), "{log}");
}
