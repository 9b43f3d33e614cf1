//! Data directories that are not to be started from are refused, in words that say what to do.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "tests may touch the world")]

use super::*;
use crate::api::proto::etcdserverpb::PutRequest;
use crate::host::os::OsDisk;

fn options(home: &Path) -> Options {
    let member = vetcdpb::ClusterMember {
        id: 0xa1,
        name: "m1".into(),
        ..Default::default()
    };
    Options {
        data_dir: home.join("data"),
        identity: Identity {
            cluster_id: 0xc1,
            member_id: 0xa1,
        },
        identity_is_binding: true,
        members: Members::from_wire([member]),
        joins: false,
        force_new_cluster: false,
        wal_sync: wal::SyncPolicy::Always,
        wal_options: wal::Options::default(),
        boot_id: "1".into(),
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(OsDisk)
}

fn refusal(options: &Options) -> Error {
    match boot(&disk(), options).and_then(|booted| booted.store.read()) {
        Ok(_) => panic!("it starts"),
        Err(error) => error,
    }
}

/// A member that was started, and committed a store at `index` to its backend.
fn started(home: &Path, index: u64) -> Options {
    let options = options(home);
    let booted = boot(&disk(), &options).unwrap();
    let (backend, state) = booted.store.read().unwrap();
    let mut published = booted.standing.with(state);
    published.index = index;
    let put = PutRequest {
        key: b"key".as_slice().into(),
        value: vec![0x5a; 300].into(),
        ..Default::default()
    };
    published.state.put(&put).unwrap();
    let changes = published.state.take_changes();
    let meta = published.meta(options.identity);
    backend.commit(&changes, &meta).unwrap();
    backend.close();
    options
}

#[test]
fn a_directory_in_use_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let options = options(home.path());
    let living = boot(&disk(), &options).unwrap();
    let error = refusal(&options);
    assert!(matches!(error, Error::Locked(_)));
    assert!(
        error.to_string().contains("in use by another process"),
        "{error}"
    );
    drop(living);
    boot(&disk(), &options).unwrap();
}

#[test]
fn a_directory_of_another_cluster_is_refused_when_the_flags_name_one() {
    let home = tempfile::tempdir().unwrap();
    let options = options(home.path());
    drop(boot(&disk(), &options).unwrap());
    let mut other = options.clone();
    other.identity.cluster_id = 0xc2;
    let text = refusal(&other).to_string();
    assert!(
        text.contains("belongs to member a1 of cluster c1"),
        "{text}"
    );
    assert!(
        text.contains("the flags describe member a1 of cluster c2"),
        "{text}"
    );
    other.identity_is_binding = false;
    let booted = boot(&disk(), &other).unwrap();
    assert_eq!(booted.identity.cluster_id, 0xc1);
}

#[test]
fn a_new_cluster_keeps_entries_that_are_not_known_to_be_committed() {
    let home = tempfile::tempdir().unwrap();
    let mut options = options(home.path());
    let members =
        [(0xa1, "m1"), (0xa2, "m2"), (0xa3, "m3")].map(|(id, name)| vetcdpb::ClusterMember {
            id,
            name: name.into(),
            ..Default::default()
        });
    options.members = Members::from_wire(members);
    let mut booted = boot(&disk(), &options).unwrap();
    let acknowledged = vetcdpb::Entry {
        term: 2,
        index: 2,
        data: vec![0x5a; 10].into(),
        ..Default::default()
    };
    // The leader knew that it was committed when the client was told, and nobody else.
    let batch = wal::Batch {
        entries: vec![acknowledged.clone()],
        ..Default::default()
    };
    booted.restored.log.append(&batch).unwrap();
    booted.restored.log.sync().unwrap();
    drop(booted);
    options.force_new_cluster = true;
    let restored = boot(&disk(), &options).unwrap().restored;
    assert_eq!(restored.entries[0], acknowledged);
    let removals = &restored.entries[1..];
    assert!(removals.iter().all(|entry| entry.kind == 1));
    assert_eq!((removals.len(), restored.hard_state.commit), (2, 4));
}

#[test]
fn a_store_without_its_log_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let options = started(home.path(), 1);
    for entry in std::fs::read_dir(options.wal_dir()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let error = refusal(&options);
    assert!(matches!(error, Error::LogMissing(_)), "{error}");
    assert!(error.to_string().contains("its log is missing"), "{error}");
}

#[test]
fn a_log_that_ends_before_its_store_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let options = started(home.path(), 7);
    let error = refusal(&options);
    assert!(
        matches!(
            error,
            Error::LogBehind {
                last: 1,
                backend: 7,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("acknowledged entries are missing"),
        "{error}"
    );
}

#[test]
fn bit_rot_in_the_store_is_refused_and_never_served() {
    let home = tempfile::tempdir().unwrap();
    let options = started(home.path(), 1);
    let path = options.backend_path();
    let mut content = std::fs::read(&path).unwrap();
    let value = content.windows(300).position(|bytes| bytes == [0x5a; 300]);
    content[value.unwrap() + 100] ^= 0x04;
    std::fs::write(&path, content).unwrap();
    let error = refusal(&options);
    assert!(
        matches!(error, Error::Backend(backend::Error::Damaged { .. })),
        "{error}"
    );
    assert!(
        error.to_string().contains(crate::storage::REPLACE),
        "{error}"
    );
}

#[test]
fn a_member_that_drops_its_log_keeps_the_members_it_knows_and_not_those_of_its_flags() {
    let home = tempfile::tempdir().unwrap();
    let mut options = options(home.path());
    options.wal_sync = wal::SyncPolicy::None;
    // The flags describe a member and a cluster that are no more: it joined as another.
    let (given, flags) = (0xb7, options.members.clone());
    let member = |id: u64, url: &str| vetcdpb::ClusterMember {
        id,
        peer_urls: vec![url.to_owned()],
        ..Default::default()
    };
    let now = Members::from_wire([member(given, "http://b:1"), member(0xb8, "http://c:1")]);
    let mut joined = options.clone();
    joined.identity.member_id = given;
    joined.joins = true;
    joined.members = now.clone();
    let booted = boot(&disk(), &joined).unwrap();
    let term = booted.restored.hard_state.term;
    drop(booted);
    options.identity_is_binding = false;

    reset(&disk(), &options).unwrap();
    let booted = boot(&disk(), &options).unwrap();
    assert_eq!(booted.identity.member_id, given, "it stays who it is");
    assert_eq!(booted.standing.members, now);
    assert_ne!(booted.standing.members, flags);
    let nobody = vetcdpb::ConfState::default();
    assert_eq!(booted.standing.conf_state, nobody, "it cannot campaign");
    assert_eq!((booted.standing.index, booted.restored.applied), (0, 0));
    assert_eq!(booted.restored.hard_state.commit, 0);
    assert!(booted.restored.hard_state.term > term);
    drop(booted);

    // A store that cannot be read leaves the flags' word.
    std::fs::write(options.backend_path(), b"rot").unwrap();
    reset(&disk(), &options).unwrap();
    let booted = boot(&disk(), &options).unwrap();
    assert_eq!(booted.standing.members, flags);
    assert_eq!(booted.identity.member_id, given);
}
