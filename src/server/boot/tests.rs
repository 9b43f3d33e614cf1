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
    match boot(&disk(), options) {
        Ok(_) => panic!("it starts"),
        Err(error) => error,
    }
}

/// A member that was started, and committed a store at `index` to its backend.
fn started(home: &Path, index: u64) -> Options {
    let options = options(home);
    let booted = boot(&disk(), &options).unwrap();
    let mut published = booted.published.clone();
    published.index = index;
    let put = PutRequest {
        key: b"key".as_slice().into(),
        value: vec![0x5a; 300].into(),
        ..Default::default()
    };
    published.state.put(&put).unwrap();
    let changes = published.state.take_changes();
    let meta = published.meta(options.identity);
    booted.backend.commit(&changes, &meta).unwrap();
    booted.backend.close();
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
