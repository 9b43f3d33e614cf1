//! From etcd to vetcd and back, with etcd's own programs; and what a restored cluster must not do.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

#[path = "support/lone.rs"]
mod lone;
#[path = "support/process.rs"]
mod process;

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use lone::{Server, borrowed, json, ok, restore_arguments, vetcdutl, vetcdutl_ok};
use process::{Etcdctl, Member, Place, cluster, places};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::mvcc::State;
use vetcd::snapshot::etcd_schema::{Encoder, Records};

/// All keys at every revision from `from` to `to`: values, revisions, versions and leases; and the
/// hash of the whole history.
fn view(ctl: &Etcdctl, from: i64, to: i64) -> (Vec<Value>, Value) {
    let mut at = Vec::new();
    for revision in from..=to {
        let rev = format!("--rev={revision}");
        let mut found = json(&ctl.ok(&["get", "", "--from-key", &rev, "-w", "json"]));
        found.as_object_mut().unwrap().remove("header");
        at.push(found);
    }
    (at, hash_kv(ctl))
}

fn hash_kv(ctl: &Etcdctl) -> Value {
    let answer = json(&ctl.ok(&["endpoint", "hashkv", "-w", "json"]));
    answer[0]["HashKV"]["hash"].clone()
}

/// Keys with history, deletions, transactions, a compaction, a lease; returns the compacted and the
/// newest revision.
fn fill(ctl: &Etcdctl) -> (i64, i64) {
    for round in 0..4 {
        for key in 0..6 {
            if (key + round) % 5 == 4 {
                ctl.ok(&["del", &format!("k/{key}")]);
            } else {
                ctl.ok(&["put", &format!("k/{key}"), &format!("value {round}")]);
            }
        }
    }
    ctl.ok(&["compaction", "9"]);
    let granted = ctl.ok(&["lease", "grant", "3600"]);
    let lease = granted.split(' ').nth(1).unwrap();
    ctl.ok(&["put", "leased", "x", &format!("--lease={lease}")]);
    ctl.ok(&["put", "large", &"B".repeat(100_000)]);
    ctl.ok(&["put", "empty", ""]);
    ctl.ok(&["del", "--prefix", "k/1"]);
    for line in [
        "user add ann:pw",
        "role add reader",
        "role grant-permission reader read k/ --prefix",
        "user grant-role ann reader",
    ] {
        ctl.ok(&line.split(' ').collect::<Vec<_>>());
    }
    let newest = json(&ctl.ok(&["get", "none", "-w", "json"]));
    (9, newest["header"]["revision"].as_i64().unwrap())
}

/// What has its place beside the keys: leases with their keys, users and roles, as etcdctl says it.
fn beside_keys(ctl: &Etcdctl) -> Vec<String> {
    let leases = ctl.ok(&["lease", "list"]);
    let lease = leases.lines().last().unwrap();
    let times = ctl.ok(&["lease", "timetolive", lease, "--keys", "-w", "json"]);
    let times = json(&times);
    vec![
        lease.to_owned(),
        times["granted-ttl"].to_string(),
        times["keys"].to_string(),
        ctl.ok(&["user", "get", "ann", "--detail"]),
        ctl.ok(&["role", "get", "reader"]),
    ]
}

/// Both tools must agree on a snapshot. etcdutl counts every entry of the file before 3.6, so the
/// number of keys is not compared.
fn same_status(etcdutl: &Path, snapshot: &str) -> Value {
    let arguments = ["snapshot", "status", snapshot, "-w", "json"];
    let theirs = json(&ok(etcdutl, &arguments));
    let ours = json(&vetcdutl_ok(&arguments));
    for field in ["hash", "revision", "totalSize"] {
        assert_eq!(ours[field], theirs[field], "{field} of {snapshot}");
    }
    ours
}

#[test]
fn from_etcd_to_vetcd_and_back() {
    let place = &places(1)[0];
    let Some(ctl) = Etcdctl::find(&[place]) else {
        return;
    };
    let (Some(etcd), Some(etcdutl)) = (ctl.beside("etcd"), ctl.beside("etcdutl")) else {
        return;
    };
    let vetcd = Path::new(env!("CARGO_BIN_EXE_vetcd"));
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let restore =
        |snapshot: &str, data_dir: &str| restore_arguments(place, &text(snapshot), &text(data_dir));

    // etcd, with a history.
    let server = Server::start(&etcd, place, &path("1"), &ctl);
    let (compacted, newest) = fill(&ctl);
    let original = view(&ctl, compacted, newest);
    let beside = beside_keys(&ctl);
    assert!(beside[3].contains("k/") && beside[4].contains("k/"));
    ctl.ok(&["snapshot", "save", &text("1.db")]);
    server.stop();
    same_status(&etcdutl, &text("1.db"));

    // To vetcd.
    vetcdutl_ok(&borrowed(&restore("1.db", "2")));
    let server = Server::start(vetcd, place, &path("2"), &ctl);
    assert_eq!(view(&ctl, compacted, newest), original);
    assert_eq!(beside_keys(&ctl), beside);
    let refused = ctl.fails(&["get", "k/0", "--rev=8"]);
    assert!(refused.contains("compacted"), "{refused}");
    ctl.ok(&["put", "after", "the move"]);
    ctl.ok(&["del", "empty"]);
    let newest = newest + 2;
    let moved = view(&ctl, compacted, newest);
    ctl.ok(&["snapshot", "save", &text("2.db")]);
    let status = same_status(&etcdutl, &text("2.db"));
    assert_eq!(status["revision"], newest);
    assert_eq!(status["version"], "3.6.0");

    // A store in use is left alone; one at rest gives the same hash, also from the snapshot.
    let busy = vetcdutl(&["hashkv", "--data-dir", &text("2")]);
    assert_eq!(busy.status.code(), Some(1), "{busy:?}");
    assert!(String::from_utf8_lossy(&busy.stderr).contains("running member"));
    std::thread::sleep(Duration::from_millis(300));
    server.stop();
    let hash = |arguments: &[&str]| {
        let arguments = [&["hashkv", "-w", "json"], arguments].concat();
        json(&vetcdutl_ok(&arguments))
    };
    let at_rest = hash(&["--data-dir", &text("2")]);
    assert_eq!(at_rest["hash"], moved.1);
    assert_eq!(at_rest["hashRevision"], newest);
    assert_eq!(at_rest["compactRevision"], compacted);
    assert_eq!(hash(&[&text("2.db")]), at_rest);
    assert_eq!(hash(&[&text("1.db")])["hash"], original.1);
    let dumped = vetcdutl_ok(&["wal", "dump", &text("2")]);
    assert!(dumped.contains("put \"after\" value=8 bytes"), "{dumped}");
    assert!(dumped.contains("mark index=2 term=1"), "{dumped}");
    vetcdutl_ok(&["defrag", "--data-dir", &text("2")]);
    let server = Server::start(vetcd, place, &path("2"), &ctl);
    assert_eq!(view(&ctl, compacted, newest), moved);
    server.stop();

    // And back to etcd.
    ok(&etcdutl, &borrowed(&restore("2.db", "3")));
    let server = Server::start(&etcd, place, &path("3"), &ctl);
    assert_eq!(view(&ctl, compacted, newest), moved);
    assert_eq!(beside_keys(&ctl), beside);
    ctl.ok(&["put", "home", "again"]);
    ctl.ok(&["snapshot", "save", &text("3.db")]);
    server.stop();
    let status = same_status(&etcdutl, &text("3.db"));
    assert_eq!(status["revision"], newest + 1);

    // With a bumped revision, to vetcd and back.
    let mut bump = restore("3.db", "4").to_vec();
    bump.extend([
        "--bump-revision=1000".to_owned(),
        "--mark-compacted".to_owned(),
    ]);
    vetcdutl_ok(&borrowed(&bump));
    let server = Server::start(vetcd, place, &path("4"), &ctl);
    assert_eq!(ctl.ok(&["get", "home"]), "home\nagain");
    let refused = ctl.fails(&["get", "home", &format!("--rev={}", newest + 1)]);
    assert!(refused.contains("compacted"), "{refused}");
    ctl.ok(&["snapshot", "save", &text("4.db")]);
    let status = same_status(&etcdutl, &text("4.db"));
    assert_eq!(status["revision"], newest + 1001);
    server.stop();
    ok(&etcdutl, &borrowed(&restore("4.db", "5")));
    let server = Server::start(&etcd, place, &path("5"), &ctl);
    let found = json(&ctl.ok(&["get", "home", "-w", "json"]));
    assert_eq!(found["header"]["revision"], newest + 1001);
    assert_eq!(found["kvs"][0]["mod_revision"], newest + 1);
    server.stop();
}

/// A snapshot of a store with one key.
fn snapshot_of_one_key(path: &Path) {
    let mut state = State::new();
    let request = pb::PutRequest {
        key: "restored".into(),
        value: "yes".into(),
        ..Default::default()
    };
    state.put(&request).unwrap();
    let mut file: Vec<u8> = Encoder::new(state, &Records::default())
        .unwrap()
        .collect::<Vec<Bytes>>()
        .concat();
    file.extend(Sha256::digest(&file));
    fs::write(path, file).unwrap();
}

async fn get(place: &Place, key: &'static str) -> Vec<Bytes> {
    let request = pb::RangeRequest {
        key: key.into(),
        serializable: true,
        ..Default::default()
    };
    let answer = process::client(&[place]).range(request).await.unwrap();
    answer.kvs.into_iter().map(|kv| kv.value).collect()
}

/// Two members are restored, the third starts empty: it must not take its empty store for the
/// beginning that the others agree on.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_not_restored_gets_the_store() {
    let folder = TempDir::new().unwrap();
    let snapshot = folder.path().join("one.db");
    snapshot_of_one_key(&snapshot);
    let places = places(3);
    let initial: Vec<String> = places
        .iter()
        .map(|place| format!("{}={}", place.name, place.peer_url()))
        .collect();
    let mut members: Vec<Member> = places
        .iter()
        .map(|place| Member::new(place, &places, &[]))
        .collect();
    for member in &members[..2] {
        vetcdutl_ok(&[
            "snapshot",
            "restore",
            snapshot.to_str().unwrap(),
            &format!("--name={}", member.place.name),
            &format!("--initial-cluster={}", initial.join(",")),
            &format!("--initial-advertise-peer-urls={}", member.place.peer_url()),
            &format!("--data-dir={}", member.data_dir().display()),
        ]);
    }
    members[..2].iter_mut().for_each(Member::start);
    for member in &members[..2] {
        member.wait_until_ready().await;
    }
    members[2].start();
    members[2].wait_until_ready().await;
    for member in &members {
        assert_eq!(get(&member.place, "restored").await, ["yes"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_of_one_moment_while_writes_go_on() {
    use vetcd::api::proto::etcdserverpb::PutRequest;

    let members = cluster(1, &[]).await;
    let place = members[0].place.clone();
    let mut client = process::client(&[&place]);
    let put = |number: u32| PutRequest {
        key: format!("k{:03}", number % 400).into(),
        value: vec![number as u8; 2000].into(),
        ..Default::default()
    };
    for number in 0..400 {
        client.put(put(number)).await.unwrap();
    }
    let writing = tokio::spawn(async move {
        for number in 400..700 {
            client.put(put(number)).await.unwrap();
        }
    });
    let mut etcd = etcd_client::Client::connect([place.client_url()], None)
        .await
        .unwrap();
    let mut stream = etcd.snapshot().await.unwrap();
    let mut blobs = Vec::new();
    let mut remaining = Vec::new();
    while let Some(piece) = stream.message().await.unwrap() {
        remaining.push(piece.remaining_bytes());
        blobs.push(piece.blob().to_vec());
    }
    writing.await.unwrap();
    let checksum = blobs.pop().unwrap();
    let total: usize = blobs.iter().map(Vec::len).sum();
    assert!(blobs.len() > 20 && blobs.iter().all(|blob| blob.len() <= 32 << 10));
    let mut left = total;
    for (blob, remaining) in blobs.iter().zip(&remaining) {
        left -= blob.len();
        assert_eq!(*remaining, left as u64);
    }
    let file = blobs.concat();
    assert_eq!(checksum, Sha256::digest(&file).to_vec());

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("saved.db");
    fs::write(&path, [file, checksum].concat()).unwrap();
    let status = ["snapshot", "status", path.to_str().unwrap(), "-w", "json"];
    let status = json(&vetcdutl_ok(&status));
    assert_eq!(status["totalKey"], 400);
    assert!((401..=701).contains(&status["revision"].as_i64().unwrap()));
}
