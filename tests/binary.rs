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
