//! Tests of etcd's buckets.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::api::proto::etcdserverpb::{AlarmMember, AlarmType, PutRequest, RangeRequest};
use crate::api::proto::vetcdpb::{ClusterMember, ConfState};
use crate::backend::tests::{Numbers, same_records, step};
use crate::mvcc::{NEVER_COMPACTED, State};
use crate::snapshot::bolt::tests::{fuzz_config, memory, written};
use crate::snapshot::bolt::{self, Reader};

/// Saved by `etcdctl snapshot save` from an etcd 3.5.1, where this was done before: puts and
/// deletions, a key with a lease, compaction of revision 5, a transaction of two puts, a value of
/// 9000 bytes, two users and two roles, a learner added, removed, and another added, auth enabled.
/// That etcd and its tools gave the numbers below.
const ETCD_3_5_1: &[u8] = include_bytes!("testdata/etcd-3.5.1.db");

fn contents(file: impl Into<Vec<u8>>) -> Result<Contents, Error> {
    read(&Reader::open(memory(file)).map_err(Error::from)?)
}

fn encoded(state: &State, records: &Records) -> Vec<u8> {
    let encoder = Encoder::new(state.clone(), records).unwrap();
    let bytes = encoder.bytes();
    let chunks: Vec<_> = encoder.collect();
    assert!(
        chunks
            .iter()
            .rev()
            .skip(1)
            .all(|chunk| chunk.len() == 32 << 10)
    );
    let file = chunks.concat();
    assert_eq!(file.len() as u64, bytes);
    file
}

fn records() -> Records {
    let member = |id: u64| ClusterMember {
        id,
        name: format!("m{id}"),
        peer_urls: vec!["http://a:1".to_owned(), "http://b:1".to_owned()],
        client_urls: vec!["http://a:2".to_owned()],
        is_learner: id.is_multiple_of(2),
    };
    Records {
        leases: vec![
            LeaseRecord {
                id: 7,
                ttl: 60,
                remaining_ttl: 0,
            },
            LeaseRecord {
                id: i64::MAX,
                ttl: 9_000_000_000,
                remaining_ttl: 3,
            },
        ],
        auth: AuthRecords {
            enabled: true,
            revision: 9,
            users: BTreeMap::from([(b"root".to_vec(), vec![1, 2])]),
            roles: BTreeMap::from([(b"root".to_vec(), vec![3])]),
        },
        alarms: vec![AlarmMember {
            member_id: 5,
            alarm: AlarmType::Nospace.into(),
        }],
        members: vec![member(2), member(0xabc)],
        removed_members: vec![1, u64::MAX],
        cluster_version: Some("3.6.0".to_owned()),
        downgrade: Some(b"{\"enabled\":false}".to_vec()),
        consistent_index: 1234,
        term: 7,
        conf_state: Some(ConfState {
            voters: vec![2],
            learners: vec![0xabc],
            voters_outgoing: vec![4],
            learners_next: vec![5],
            auto_leave: true,
        }),
        storage_version: Some("3.6.0".to_owned()),
    }
}

fn sample(seed: u64, steps: usize) -> State {
    let mut numbers = Numbers(seed);
    let mut state = State::new();
    (0..steps).for_each(|_| step(&mut state, &mut numbers));
    state
}

#[test]
fn what_is_written_is_read() {
    for (seed, steps) in [(0, 0), (1, 1), (2, 30), (3, 300), (4, 4000)] {
        let state = sample(seed, steps);
        for records in [Records::default(), records()] {
            let file = encoded(&state, &records);
            let reader = Reader::open(memory(file)).unwrap();
            let mut found = read(&reader).unwrap();
            // Leases are records of their own; whoever takes a database over grants them.
            for lease in state.leases().iter() {
                let (id, index) = (lease.id, lease.granted_index);
                found.state.grant_lease(id, lease.ttl, index).unwrap();
                let left = lease.remaining_ttl;
                found.state.checkpoint_lease(id, index, left);
            }
            assert!(same_records(&found.state, &state), "seed {seed}");
            assert_eq!(found.records, records);
            assert!(found.unknown_buckets.is_empty());
            assert_eq!(found.state.hash(0), state.hash(0));

            let status = status(&reader).unwrap();
            let all = RangeRequest {
                key: "\0".into(),
                range_end: "\0".into(),
                ..Default::default()
            };
            assert_eq!(status.keys as i64, state.range(&all).unwrap().count);
            assert_eq!(status.bytes, reader.bytes());
            assert_eq!(status.version, records.storage_version.unwrap_or_default());
        }
    }
}

#[test]
fn large_values_come_in_small_pieces() {
    let mut state = State::new();
    for number in 0..5_u8 {
        let request = PutRequest {
            key: vec![b'k', number].into(),
            value: vec![number; 300_000 * usize::from(number)].into(),
            ..Default::default()
        };
        state.put(&request).unwrap();
    }
    let found = contents(encoded(&state, &records())).unwrap();
    assert!(same_records(&found.state, &state));
}

#[test]
fn what_etcd_saved_is_read() {
    let checksum_bytes = ETCD_3_5_1.len() % 512;
    assert_eq!(checksum_bytes, 32);
    let reader = Reader::open(memory(ETCD_3_5_1)).unwrap();
    assert_eq!(
        status(&reader).unwrap(),
        Status {
            hash: 0x18ae_83b6,
            revision: 11,
            keys: 6,
            bytes: 40_960,
            version: String::new(),
        }
    );
    let Contents { state, records, .. } = read(&reader).unwrap();
    assert_eq!(state.revision(), 11);
    assert_eq!((state.compact_revision(), state.compact_finished()), (5, 5));
    assert_eq!(state.hash(0).unwrap().hash, 3_965_958_761);
    let at = |key: &str| {
        let record = state.get_at(key.as_bytes(), 11).unwrap();
        let kv = &record.kv;
        (
            kv.create_revision,
            kv.mod_revision,
            kv.version,
            kv.lease,
            kv.value.len(),
        )
    };
    assert_eq!(at("a/1"), (2, 5, 2, 0, 3));
    assert_eq!(at("a/2"), (7, 7, 1, 0, 5));
    assert_eq!(at("leased"), (8, 8, 1, 0x390d_a1fe_101b_dd0b, 1));
    assert_eq!(at("t/1").1, at("t/2").1);
    assert_eq!(at("big").4, 9000);
    assert!(state.get_at(b"a/3", 11).is_none());
    assert_eq!(state.get_at(b"a/3", 9).unwrap().kv.value, "one");

    let [lease] = records.leases[..] else {
        panic!("{records:?}")
    };
    assert_eq!((lease.id, lease.ttl), (0x390d_a1fe_101b_dd0b, 3600));
    let names = |map: &BTreeMap<Vec<u8>, Vec<u8>>| -> Vec<String> {
        map.keys()
            .map(|name| String::from_utf8(name.clone()).unwrap())
            .collect()
    };
    assert!(records.auth.enabled && records.auth.revision > 1);
    assert_eq!(names(&records.auth.users), ["alice", "root"]);
    assert_eq!(names(&records.auth.roles), ["reader", "root"]);
    let [learner, fix] = &records.members[..] else {
        panic!("{records:?}")
    };
    assert!(learner.is_learner && learner.peer_urls == ["http://127.0.0.1:29998"]);
    assert_eq!((&*fix.name, fix.is_learner), ("fix", false));
    assert_eq!(fix.peer_urls, ["http://127.0.0.1:23801"]);
    // This etcd publishes client URLs through its old store alone.
    assert!(fix.client_urls.is_empty());
    assert_eq!(records.removed_members, [0x21ad_5bb3_5e85_a7b0]);
    assert_eq!(records.cluster_version.as_deref(), Some("3.5.0"));
    assert_eq!(records.storage_version, None);
    let conf_state = records.conf_state.unwrap();
    assert_eq!(conf_state.voters, [fix.id]);
    assert_eq!(conf_state.learners, [learner.id]);
    assert!(records.consistent_index > 10 && records.term == 2);
}

#[test]
fn what_etcd_saved_is_written_again() {
    let first = contents(ETCD_3_5_1).unwrap();
    let again = encoded(&first.state, &first.records);
    let second = contents(again).unwrap();
    assert!(same_records(&first.state, &second.state));
    assert_eq!(first.records, second.records);
}

#[test]
fn a_bumped_revision_survives() {
    let mut content = BTreeMap::from([(b"key".to_vec(), BTreeMap::new())]);
    let name = b"\0\0\0\0\0\0\x10\0_\0\0\0\0\0\0\0\0";
    let meta = BTreeMap::from([(b"scheduledCompactRev".to_vec(), name.to_vec())]);
    content.insert(b"meta".to_vec(), meta);
    content
        .get_mut(&b"key"[..])
        .unwrap()
        .insert(name.to_vec(), Vec::new());
    let found = contents(written(&content)).unwrap();
    assert_eq!(found.state.revision(), 0x1000);
    assert_eq!(found.state.compact_revision(), 0x1000);
    assert_eq!(found.state.compact_finished(), NEVER_COMPACTED);
    assert_eq!(found.state.record_count(), 0);

    let file = encoded(&found.state, &found.records);
    let reader = Reader::open(memory(file)).unwrap();
    assert_eq!(read(&reader).unwrap().state.revision(), 0x1000);
    assert_eq!(status(&reader).unwrap().revision, 0x1000);
}

#[test]
fn foreign_content_is_named() {
    let refused = |bucket: &str, name: &[u8], value: &[u8], words: &str| {
        let mut content = BTreeMap::from([(b"key".to_vec(), BTreeMap::new())]);
        let entries = BTreeMap::from([(name.to_vec(), value.to_vec())]);
        content.insert(bucket.as_bytes().to_vec(), entries);
        let error = contents(written(&content)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(bucket) && text.contains(words), "{text}");
        assert!(matches!(error, Error::Entry { .. }), "{error:?}");
    };
    refused("key", b"k", b"v", "no revision");
    refused(
        "key",
        b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0",
        b"v",
        "garbled",
    );
    // Found by fuzzing: a field that is unknown, and so a record without a key.
    let unknown = [181, 1, 0, 0, 0, 0];
    refused(
        "key",
        b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0t",
        &unknown,
        "no key",
    );
    let other_id = LeaseRecord {
        id: 3,
        ..Default::default()
    };
    refused("lease", &[0; 8], &other_id.encode_to_vec(), "another ID");
    refused("lease", &[0; 8], b"\xff", "");
    refused("members", b"zz", b"{}", "id");
    refused(
        "members",
        b"1",
        b"{\"id\":2,\"peerURLs\":null}",
        "another ID",
    );
    refused("members_removed", b"zz", b"", "no member's ID");
    refused("meta", b"term", b"1", "8 bytes");
    refused("meta", b"scheduledCompactRev", b"1", "no revision");
    refused("meta", b"confState", b"[", "");
    refused("auth", b"authRevision", b"1", "8 bytes");
    refused("alarm", b"\xff", b"", "");
    refused("cluster", b"clusterVersion", b"\xff", "utf-8");

    // What is merely unknown is passed over, and buckets are told.
    let mut content = BTreeMap::from([(b"key".to_vec(), BTreeMap::new())]);
    content.insert(b"test".to_vec(), BTreeMap::new());
    let entries = BTreeMap::from([(b"since 3.9".to_vec(), Vec::new())]);
    content.insert(b"meta".to_vec(), entries);
    assert_eq!(
        contents(written(&content)).unwrap().unknown_buckets,
        ["test"]
    );

    content.remove(&b"key"[..]);
    assert!(matches!(contents(written(&content)), Err(Error::NoKeys)));
}

proptest! {
    #![proptest_config(fuzz_config(400))]

    /// The real file with bytes changed, and entries of our own with anything in them.
    #[test]
    fn fuzz_mutated_etcd_files(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = ETCD_3_5_1.to_vec();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(reader) = Reader::open(memory(file)) {
            _ = read(&reader);
            _ = status(&reader);
        }
    }

    #[test]
    fn fuzz_entries(
        bucket in prop::sample::select(vec![
            "key", "meta", "lease", "auth", "alarm", "members", "members_removed", "cluster",
        ]),
        known in prop::sample::select(vec![
            &b"term"[..], b"confState", b"scheduledCompactRev", b"authRevision", b"1",
            b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0t",
        ]),
        mut names in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..30), 0..3),
        value in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        names.push(known.to_vec());
        let mut content = BTreeMap::from([(b"key".to_vec(), BTreeMap::new())]);
        let entries = names.into_iter().map(|name| (name, value.clone())).collect();
        content.insert(bucket.as_bytes().to_vec(), entries);
        let reader = Reader::open(memory(written(&content))).unwrap();
        if let Ok(found) = read(&reader) {
            // Whatever is taken over can be written and is the same again.
            let again = contents(encoded(&found.state, &found.records)).unwrap();
            prop_assert!(same_records(&again.state, &found.state));
            prop_assert_eq!(again.records, found.records);
        }
        let damaged = matches!(
            status(&reader),
            Err(Error::Database(bolt::Error::Damaged { .. }))
        );
        prop_assert!(!damaged);
    }
}
