//! Members whose stores differ: one of three is restored from another snapshot than the others, as
//! if a bit had flipped. Each of the three checks has to find it, and none may find anything else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

#[path = "support/process.rs"]
mod process;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcd_client::{AlarmAction, AlarmType, Client, CompactionOptions};
use process::{Member, READY, places};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::mvcc::State;
use vetcd::snapshot::etcd_schema::{Encoder, Records};

fn snapshot(path: &Path, value: &'static str) {
    let mut state = State::new();
    let request = pb::PutRequest {
        key: "restored".into(),
        value: value.into(),
        ..Default::default()
    };
    state.put(&request).unwrap();
    let encoder = Encoder::new(state, &Records::default()).unwrap();
    let mut file: Vec<u8> = encoder.collect::<Vec<Bytes>>().concat();
    file.extend(Sha256::digest(&file));
    fs::write(path, file).unwrap();
}

/// Three members with `flags` that hold these values; none is started.
fn restored(values: [&'static str; 3], flags: &[&str]) -> Vec<Member> {
    let folder = TempDir::new().unwrap();
    let places = places(3);
    let initial: Vec<String> = places
        .iter()
        .map(|place| format!("{}={}", place.name, place.peer_url()))
        .collect();
    let members = places.iter().zip(values).map(|(place, value)| {
        let member = Member::new(place, &places, flags);
        let file = folder.path().join(&place.name);
        snapshot(&file, value);
        let done = Command::new(env!("CARGO_BIN_EXE_vetcdutl"))
            .env_clear()
            .args(["snapshot", "restore", file.to_str().unwrap()])
            .arg(format!("--name={}", place.name))
            .arg(format!("--initial-cluster={}", initial.join(",")))
            .arg(format!(
                "--initial-advertise-peer-urls={}",
                place.peer_url()
            ))
            .arg(format!("--data-dir={}", member.data_dir().display()))
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        member
    });
    members.collect()
}

async fn started(mut members: Vec<Member>) -> Vec<Member> {
    members.iter_mut().for_each(Member::start);
    for member in &members {
        member.wait_until_ready().await;
    }
    members
}

async fn client(member: &Member) -> Client {
    Client::connect([member.place.client_url()], None)
        .await
        .unwrap()
}

async fn id(member: &Member) -> u64 {
    let status = client(member).await.status().await.unwrap();
    status.header().unwrap().member_id()
}

/// Waits for an alarm; which, and whose.
async fn alarm(member: &Member) -> Vec<(u64, AlarmType)> {
    let mut client = client(member).await;
    let begun = Instant::now();
    loop {
        let none = AlarmType::None;
        let answer = client.alarm(AlarmAction::Get, none, None).await.unwrap();
        if !answer.alarms().is_empty() {
            let alarms = answer.alarms().iter();
            return alarms.map(|a| (a.member_id(), a.alarm())).collect();
        }
        assert!(begun.elapsed() < READY, "no alarm");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn writes_are_refused(member: &Member) {
    let refused = client(member)
        .await
        .put("more", "", None)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("corrupt cluster"), "{refused}");
    let read = client(member).await.get("restored", None).await.unwrap();
    assert_eq!(read.kvs().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_revisions_are_compared() {
    let flags = ["--corrupt-check-time=200ms"];
    let members = started(restored(["yes", "yes", "yEs"], &flags)).await;
    let third = id(&members[2]).await;
    assert_eq!(alarm(&members[0]).await, [(third, AlarmType::Corrupt)]);
    writes_are_refused(&members[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_compactions_are_compared() {
    let flags = [
        "--feature-gates=CompactHashCheck=true",
        "--compact-hash-check-time=200ms",
    ];
    let members = started(restored(["yEs", "yes", "yes"], &flags)).await;
    let first = id(&members[0]).await;
    let mut writer = client(&members[1]).await;
    let put = writer.put("another", "", None).await.unwrap();
    let revision = put.header().unwrap().revision();
    let physical = CompactionOptions::new().with_physical();
    writer.compact(revision, Some(physical)).await.unwrap();
    assert_eq!(alarm(&members[2]).await, [(first, AlarmType::Corrupt)]);
    writes_are_refused(&members[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_the_whole_cluster_is_named() {
    let flags = ["--experimental-corrupt-check-time=200ms"];
    let members = started(restored(["yes", "yEs", "yeS"], &flags)).await;
    assert_eq!(alarm(&members[0]).await, [(0, AlarmType::Corrupt)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_differs_does_not_start() {
    let flags = ["--experimental-initial-corrupt-check"];
    let mut members = restored(["yes", "yes", "yEs"], &flags);
    let mut third = members.pop().unwrap();
    // Together, so that neither can ask the other.
    let mut members = started(members).await;
    third.start();
    let ended = third.wait_for_end(READY);
    assert!(!ended.success());
    let log = third.log();
    assert!(log.contains("found data inconsistency with peers"), "{log}");
    // One that does not differ does.
    members[1].terminate();
    members[1].start();
    members[1].wait_until_ready().await;
    assert!(members[1].log().contains("no corruption found at start"));
}
