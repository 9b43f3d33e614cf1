//! Tests of the offline tool on files of the operating system.
#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(clippy::disallowed_methods, reason = "tests may touch the world")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use prost::Message;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::api::proto::authpb;
use crate::api::proto::etcdserverpb::{AlarmMember, AlarmType, PutRequest};
use crate::host::Disk;
use crate::host::os::OsDisk;
use crate::mvcc::State;
use crate::server::{Published, etcd_snapshot, offline};
use crate::snapshot::etcd_schema::{AuthRecords, Encoder, LeaseRecord, Records};

struct Ran {
    code: u8,
    out: String,
    err: String,
}

fn run(arguments: &[&str]) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams {
        out: &mut out,
        err: &mut err,
    };
    let code = super::run(arguments, Arc::new(OsDisk), &mut streams);
    Ran {
        code,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

fn fails(arguments: &[&str], code: u8, words: &str) {
    let ran = run(arguments);
    assert!(ran.err.contains(words), "{arguments:?}: {}", ran.err);
    assert_eq!((ran.code, &*ran.out), (code, ""), "{arguments:?}");
}

fn state(keys: u32) -> State {
    let mut state = State::new();
    for number in 0..keys {
        let request = PutRequest {
            key: format!("key {number}").into(),
            value: vec![b'v'; 100].into(),
            ..Default::default()
        };
        state.put(&request).unwrap();
    }
    state
}

/// A snapshot as a client saves it.
fn saved(folder: &Path, records: &Records) -> String {
    let encoder = Encoder::new(state(300), records).unwrap();
    let mut file = encoder.collect::<Vec<_>>().concat();
    file.extend(Sha256::digest(&file));
    let path = folder.join("saved.db");
    fs::write(&path, file).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_wrong_command_line_is_usage() {
    for arguments in [
        &["snapshot"][..],
        &["snapshot", "statsu", "x"],
        &["snapshot", "status"],
        &["defrag"],
        &["hashkv"],
        &["hashkv", "--data-dir", "d", "--rev", "-1"],
        &["snapshot", "status", "x", "-w", "protobuf"],
        &["snapshot", "restore", "x", "--bump-revision", "5"],
        &["snapshot", "restore", "x", "--mark-compacted"],
        &["snapshot", "restore", "x", "--name", "other"],
        &["completion", "cmd.exe"],
        &["--nonsense"],
    ] {
        let ran = run(arguments);
        assert_eq!((ran.code, &*ran.out), (USAGE, ""), "{arguments:?}");
        assert!(ran.err.contains("--help"), "{}", ran.err);
    }
    let help = run(&["--help"]);
    assert_eq!((help.code, &*help.err), (0, ""));
    assert!(help.out.contains("hashkv"), "{}", help.out);
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completion", shell]);
        assert!(script.code == 0 && script.out.contains("mark-compacted"));
    }
    let page = run(&["manual"]);
    assert!(page.code == 0 && page.out.contains(".TH vetcdutl"));
    assert!(run(&["version"]).out.contains("API version: 3.6\n"));
}

#[test]
fn a_snapshot_with_a_wrong_byte_or_without_checksum_is_refused() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("data").to_str().unwrap().to_owned();
    let path = saved(folder.path(), &Records::default());
    let restore = ["snapshot", "restore", &path, "--data-dir", &target];
    let whole = fs::read(&path).unwrap();

    // In a value: only the checksum tells.
    let mut flipped = whole.clone();
    let at = flipped.windows(9).position(|w| w == b"vvvvvvvvv").unwrap();
    flipped[at] ^= 1;
    fs::write(&path, &flipped).unwrap();
    fails(
        &restore,
        FAILED,
        "--skip-hash-check restores what can be read",
    );
    fails(
        &["snapshot", "status", &path],
        FAILED,
        "is damaged: its SHA-256",
    );
    // In a page: the format tells even when the checksum is not looked at.
    let mut garbled = whole.clone();
    garbled[3 * 4096] ^= 1;
    fs::write(&path, &garbled).unwrap();
    let skipping = [&restore[..], &["--skip-hash-check"]].concat();
    fails(&skipping, FAILED, "page 3 (offset 12288)");

    fs::write(&path, &whole[..whole.len() - 32]).unwrap();
    fails(&restore, FAILED, "give --skip-hash-check");
    assert_eq!(run(&["snapshot", "status", &path]).code, 0);
    fs::write(&path, &whole[..whole.len() - 4096 - 32]).unwrap();
    fails(&skipping, FAILED, "the file ends");
    fs::write(&path, b"nonsense").unwrap();
    fails(&skipping, FAILED, "not an etcd database");
    fails(
        &["snapshot", "status", "/none/x.db"],
        FAILED,
        "no file /none/x.db",
    );
    assert!(!Path::new(&target).exists(), "nothing was made");

    fs::write(&path, &whole[..whole.len() - 32]).unwrap();
    let done = run(&skipping);
    assert_eq!(done.code, 0, "{}", done.err);
}

#[test]
fn an_existing_directory_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = saved(folder.path(), &Records::default());
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir_all(at("full")).unwrap();
    fs::write(at("full/mine"), "x").unwrap();
    fs::create_dir_all(at("empty")).unwrap();
    let restore = |data_dir: &str, wal_dir: &str| {
        run(&[
            "snapshot",
            "restore",
            &path,
            "--data-dir",
            data_dir,
            "--wal-dir",
            wal_dir,
        ])
    };
    for (data_dir, wal_dir) in [(at("full"), at("wal")), (at("empty"), at("full"))] {
        let ran = restore(&data_dir, &wal_dir);
        assert_eq!(ran.code, FAILED);
        assert!(ran.err.contains("full is not empty"), "{}", ran.err);
    }
    assert_eq!(restore(&at("empty"), &at("wal")).code, 0);
    assert_eq!(restore(&at("empty"), &at("wal")).code, FAILED);
    assert_eq!(fs::read_dir(at("wal")).unwrap().count(), 1);
    assert!(!Path::new(&at("empty/member/wal")).exists());
}

#[test]
fn what_is_restored_can_be_looked_into() {
    let folder = TempDir::new().unwrap();
    let path = saved(folder.path(), &Records::default());
    let data_dir = folder.path().join("data").to_str().unwrap().to_owned();
    let done = run(&["snapshot", "restore", &path, "--data-dir", &data_dir]);
    assert_eq!((done.code, &*done.out), (0, ""));
    assert!(done.err.contains("revision 301"), "{}", done.err);

    let expected = state(300).hash(0).unwrap().hash;
    let hash = run(&["hashkv", "--data-dir", &data_dir]);
    assert_eq!(hash.out, format!("{expected}, 301, -1\n"), "{}", hash.err);
    assert_eq!(run(&["hashkv", &path]).out, hash.out);
    let earlier = state(9).hash(0).unwrap().hash;
    let at = run(&[
        "hashkv",
        "--data-dir",
        &data_dir,
        "--rev",
        "10",
        "-w",
        "json",
    ]);
    let json = "\"hashRevision\":10,\"compactRevision\":-1}\n";
    assert_eq!(at.out, format!("{{\"hash\":{earlier},{json}"));
    fails(
        &["hashkv", &path, "--rev", "302"],
        FAILED,
        "the newest is 301",
    );

    let shrunk = run(&["defrag", "--data-dir", &data_dir]);
    assert_eq!(shrunk.code, 0, "{}", shrunk.err);
    assert_eq!(run(&["hashkv", "--data-dir", &data_dir]).out, hash.out);

    let _running = OsDisk
        .lock(&Path::new(&data_dir).join("member/lock"))
        .unwrap();
    for arguments in [
        &["hashkv", "--data-dir", &data_dir][..],
        &["defrag", "--data-dir", &data_dir],
    ] {
        fails(
            arguments,
            FAILED,
            "in use by a running member: stop it first",
        );
    }
    fails(
        &["defrag", "--data-dir", "/none"],
        FAILED,
        "no data directory",
    );
}

#[test]
fn an_etcd_data_directory_is_recognised() {
    let folder = TempDir::new().unwrap();
    let path = saved(folder.path(), &Records::default());
    let snap = folder.path().join("etcd/member/snap");
    fs::create_dir_all(&snap).unwrap();
    fs::copy(&path, snap.join("db")).unwrap();
    let data_dir = folder.path().join("etcd");
    let arguments = ["defrag", "--data-dir", data_dir.to_str().unwrap()];
    fails(&arguments, FAILED, "data directory of an etcd");
}

/// What [`saved`] puts beside the keys, and a restore has to bring along.
fn rich_records() -> Records {
    let user = authpb::User {
        name: "root".into(),
        password: "hash".into(),
        roles: vec!["root".to_owned()],
        ..Default::default()
    };
    let role = authpb::Role {
        name: "r".into(),
        key_permission: vec![authpb::Permission {
            perm_type: authpb::permission::Type::Read.into(),
            key: "a".into(),
            range_end: "c".into(),
        }],
    };
    Records {
        leases: vec![LeaseRecord {
            id: 4,
            ttl: 9,
            remaining_ttl: 3,
        }],
        alarms: vec![AlarmMember {
            member_id: 7,
            alarm: AlarmType::Nospace.into(),
        }],
        auth: AuthRecords {
            enabled: true,
            revision: 6,
            users: [(b"root".to_vec(), user.encode_to_vec())].into(),
            roles: [(b"r".to_vec(), role.encode_to_vec())].into(),
        },
        ..Records::default()
    }
}

#[test]
fn leases_alarms_users_and_roles_come_along() {
    let folder = TempDir::new().unwrap();
    let records = rich_records();
    let path = saved(folder.path(), &records);
    let data_dir = folder.path().join("data");
    let data = data_dir.to_str().unwrap();
    let done = run(&["snapshot", "restore", &path, "--data-dir", data]);
    assert_eq!(done.code, 0, "{}", done.err);
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let loaded = offline::DataDir::open(&disk, &data_dir).unwrap().load();
    let loaded = loaded.unwrap();
    let published = Published::restored(loaded.state, loaded.meta);
    assert!(published.auth.is_enabled());
    // And back again: nothing has changed on the way.
    let again = etcd_snapshot::records(&published);
    assert_eq!(again.leases, records.leases);
    assert_eq!(again.alarms, records.alarms);
    assert_eq!(again.auth, records.auth);
}

#[test]
fn a_log_is_printed_up_to_its_damage() {
    let folder = TempDir::new().unwrap();
    let path = saved(folder.path(), &Records::default());
    let data_dir = folder.path().join("data").to_str().unwrap().to_owned();
    run(&["snapshot", "restore", &path, "--data-dir", &data_dir]);
    // Opened once more, it ends in a record that vouches for everything before.
    let directory = folder.path().join("data/member/wal");
    drop(crate::wal::Log::open(Arc::new(OsDisk), &directory, Default::default()).unwrap());
    let dump = ["wal", "dump", &data_dir];
    let whole = run(&dump);
    assert_eq!(whole.code, 0, "{}", whole.err);
    assert!(whole.err.contains("the log is whole"), "{}", whole.err);
    let kinds = |out: &str| -> Vec<String> {
        let kind = |line: &str| line.split(' ').nth(2).unwrap().to_owned();
        out.lines().map(kind).collect()
    };
    assert_eq!(
        kinds(&whole.out),
        ["segment", "mark", "hard-state", "synced"]
    );
    assert_eq!(
        run(&["wal", "dump", directory.to_str().unwrap()]).out,
        whole.out
    );

    let segment = directory.join("0000000000000001-0000000000000001.wal");
    let content = fs::read(&segment).unwrap();
    let offset_of = |line: usize| -> usize {
        let place = whole.out.lines().nth(line).unwrap().split(' ').nth(1);
        place.unwrap()[1..].parse().unwrap()
    };
    // Inside of what was synced: damage.
    let mut damaged = content.clone();
    damaged[offset_of(2) + 20] ^= 1;
    fs::write(&segment, &damaged).unwrap();
    let ran = run(&dump);
    assert_eq!(
        (ran.code, kinds(&ran.out).len()),
        (FAILED, 2),
        "{}",
        ran.err
    );
    let place = format!("at byte {}", offset_of(2));
    assert!(
        ran.err.contains(&place) && ran.err.contains("rebuild"),
        "{}",
        ran.err
    );
    // At the end: a torn record, which is no failure.
    fs::write(&segment, &content[..content.len() - 5]).unwrap();
    let ran = run(&dump);
    assert_eq!((ran.code, kinds(&ran.out).len()), (0, 3), "{}", ran.err);
    assert!(ran.err.contains("torn end"), "{}", ran.err);
    fails(&["wal", "dump", "/none"], FAILED, "holds no log");
}

#[test]
fn the_status_of_a_key_index() {
    use crate::backend::key_index::{Owner, path_beside, write};
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().join("m1.vetcd");
    let path = path_beside(&offline::backend_path(&data_dir));
    let data_dir = data_dir.to_str().unwrap();
    let file = path.to_str().unwrap();
    let status = ["key-index", "status", data_dir];
    fails(&["key-index"], USAGE, "Usage");
    fails(&status, FAILED, "there is no key index");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fails(&status, FAILED, "m1.vetcd/member/snap/db.keys");

    let owner = Owner {
        cluster_id: 0xc1,
        member_id: 0xa1,
    };
    let mut state = state(3000);
    state.compact(5).unwrap();
    assert!(write(&OsDisk, &path, owner, &state, &|| true).unwrap());
    let bytes = fs::metadata(&path).unwrap().len();
    let size = output::human_bytes(bytes);
    for path in [data_dir, file] {
        let ran = run(&["key-index", "status", path]);
        assert_eq!(
            ran.out,
            format!("c1, a1, 3001, 5, 3000, 3000, 1, {size}\n"),
            "{}",
            ran.err
        );
        assert_eq!(ran.code, 0);
    }
    let json = run(&["key-index", "status", data_dir, "-w", "json"]).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["memberId"], 0xa1);
    assert_eq!(json["totalSize"], bytes);

    // A bit in the middle of a block, which opening it does not read.
    let mut content = fs::read(&path).unwrap();
    content[1000] ^= 1;
    fs::write(&path, content).unwrap();
    fails(
        &status,
        FAILED,
        "block 0: its checksum is wrong: the member does not use it",
    );
}
