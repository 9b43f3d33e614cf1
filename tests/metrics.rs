//! Every metric moves when its thing happens, has etcd's name and type, and stands in
//! `docs/compatibility.md` as what it is.
//!
//! The members run in this process, on a paused clock and a disk and network in memory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

#[path = "fuzz/member.rs"]
mod member;
#[path = "fuzz/mutate.rs"]
#[allow(dead_code, reason = "only its numbers are drawn here")]
mod mutate;
#[path = "fuzz/world.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prost::Message as _;
use tonic::Request;
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::client::{self, Channel};

use member::{Cluster, address_in_cluster, client_address, peer_address};

const LIMIT: Duration = Duration::from_secs(120);

/// The types of the metrics of etcd 3.5.1, as its `/metrics` declares them.
const ETCD_TYPES: &str = "\
    counter: etcd_debugging_lease_granted_total etcd_debugging_lease_renewed_total \
    etcd_debugging_lease_revoked_total etcd_debugging_mvcc_events_total \
    etcd_debugging_server_lease_expired_total etcd_mvcc_delete_total etcd_mvcc_put_total \
    etcd_mvcc_range_total etcd_mvcc_txn_total etcd_network_client_grpc_received_bytes_total \
    etcd_network_client_grpc_sent_bytes_total etcd_server_client_requests_total \
    etcd_server_health_failures etcd_server_health_success etcd_server_leader_changes_seen_total \
    etcd_server_learner_promote_failures etcd_server_learner_promote_successes \
    etcd_server_proposals_failed_total etcd_server_read_indexes_failed_total \
    etcd_server_slow_apply_total etcd_server_slow_read_indexes_total grpc_server_handled_total \
    grpc_server_msg_received_total grpc_server_msg_sent_total grpc_server_started_total \
    gauge: etcd_cluster_version etcd_debugging_auth_revision etcd_debugging_mvcc_compact_revision \
    etcd_debugging_mvcc_current_revision etcd_debugging_mvcc_keys_total \
    etcd_debugging_mvcc_pending_events_total etcd_debugging_mvcc_slow_watcher_total \
    etcd_debugging_mvcc_watch_stream_total etcd_debugging_mvcc_watcher_total \
    etcd_disk_defrag_inflight etcd_disk_wal_write_bytes_total etcd_mvcc_db_total_size_in_bytes \
    etcd_mvcc_db_total_size_in_use_in_bytes etcd_server_has_leader etcd_server_id \
    etcd_server_is_leader etcd_server_is_learner etcd_server_proposals_applied_total \
    etcd_server_proposals_committed_total etcd_server_proposals_pending \
    etcd_server_quota_backend_bytes etcd_server_snapshot_apply_in_progress_total \
    etcd_server_version \
    histogram: etcd_disk_backend_commit_duration_seconds \
    etcd_disk_backend_defrag_duration_seconds etcd_disk_backend_snapshot_duration_seconds \
    etcd_disk_wal_fsync_duration_seconds etcd_mvcc_hash_duration_seconds \
    etcd_mvcc_hash_rev_duration_seconds etcd_server_apply_duration_seconds \
    etcd_snap_db_fsync_duration_seconds etcd_snap_db_save_total_duration_seconds";

/// What a member of the cluster measures.
struct Measured(String);

fn measure(cluster: &Cluster, member: usize) -> Measured {
    let server = cluster.members[member].server().unwrap();
    let rendering = vetcd::metrics::render(&server);
    Measured(cluster.run(LIMIT, rendering).unwrap().unwrap())
}

impl Measured {
    /// The value behind a name with its labels.
    fn of(&self, name: &str) -> f64 {
        let values = self
            .0
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = values.map(|value| value.parse().unwrap()).next();
        value.unwrap_or_else(|| panic!("{name} is missing:\n{}", self.0))
    }

    /// The types of all metrics.
    fn types(&self) -> BTreeMap<String, String> {
        let lines = self
            .0
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "));
        let pairs = lines.map(|line| line.split_once(' ').unwrap());
        pairs
            .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
            .collect()
    }
}

fn connect(cluster: &Cluster, number: usize) -> Channel {
    let host = cluster.client_host();
    let address = client_address(number);
    let connecting = Channel::connect(host, &address);
    cluster.run(LIMIT, connecting).unwrap().unwrap()
}

fn put(key: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.as_bytes().to_vec().into(),
        value: b"value".to_vec().into(),
        ..Default::default()
    }
}

/// Runs calls to their end.
fn done<T>(cluster: &Cluster, calling: impl Future<Output = Result<T, tonic::Status>>) -> T {
    cluster.run(LIMIT, calling).unwrap().unwrap()
}

#[test]
fn keys_and_clients_are_counted() {
    let cluster = Cluster::start(1, 1, &[("quota-backend-bytes", "12345678")]);
    let channel = connect(&cluster, 1);
    let before = measure(&cluster, 0);
    assert_eq!(before.of("etcd_server_quota_backend_bytes"), 12_345_678.0);
    let mut kv = client::kv(channel.clone());
    let mut request = Request::new(put("a"));
    request
        .metadata_mut()
        .insert("client-api-version", "3.5".parse().unwrap());
    done(&cluster, kv.put(request));
    let mut request = Request::new(put("b"));
    request
        .metadata_mut()
        .insert("client-api-version", "made-up".parse().unwrap());
    done(&cluster, kv.put(request));
    done(&cluster, kv.put(put("b")));
    let delete = pb::DeleteRangeRequest {
        key: b"a".to_vec().into(),
        ..Default::default()
    };
    done(&cluster, kv.delete_range(delete.clone()));
    let after = measure(&cluster, 0);
    let grown = |name: &str| after.of(name) - before.of(name);
    assert_eq!(after.of("etcd_debugging_mvcc_keys_total"), 1.0);
    let clients = |version: &str| {
        let labels = format!("{{client_api_version=\"{version}\",type=\"unary\"}}");
        after.of(&format!("etcd_server_client_requests_total{labels}"))
    };
    assert_eq!((clients("3.5"), clients("unknown")), (1.0, 3.0));
    let method = "{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}";
    assert_eq!(
        grown(&format!("grpc_server_msg_received_total{method}")),
        3.0
    );
    assert_eq!(grown(&format!("grpc_server_msg_sent_total{method}")), 3.0);
    let sent = 3 * put("a").encoded_len() + delete.encoded_len();
    assert_eq!(
        grown("etcd_network_client_grpc_received_bytes_total"),
        sent as f64
    );
    assert!(grown("etcd_network_client_grpc_sent_bytes_total") > 40.0);
}

#[test]
fn watches_are_counted() {
    let cluster = Cluster::start(1, 1, &[]);
    let channel = connect(&cluster, 1);
    let create = |key: &str, start| {
        client::watch::create(pb::WatchCreateRequest {
            key: key.as_bytes().to_vec().into(),
            start_revision: start,
            ..Default::default()
        })
    };
    let requests = [create("a", 0), create("b", 0), create("a", 1)];
    let (send, receive) = tokio::sync::mpsc::channel(8);
    let answers = done(&cluster, async {
        let requests_sent = tokio_stream::wrappers::ReceiverStream::new(receive);
        let opened = client::watch::watch(channel.clone())
            .watch(requests_sent)
            .await?;
        let mut answers = opened.into_inner();
        for request in requests {
            send.send(request).await.unwrap();
            assert!(answers.message().await?.unwrap().created);
        }
        client::kv(channel.clone()).put(put("a")).await?;
        for _ in 0..2 {
            assert_eq!(answers.message().await?.unwrap().events.len(), 1);
        }
        Ok(answers)
    });
    let open = measure(&cluster, 0);
    assert_eq!(open.of("etcd_debugging_mvcc_watch_stream_total"), 1.0);
    assert_eq!(open.of("etcd_debugging_mvcc_watcher_total"), 3.0);
    assert_eq!(open.of("etcd_debugging_mvcc_events_total"), 2.0);
    assert_eq!(open.of("etcd_debugging_mvcc_slow_watcher_total"), 0.0);
    let method =
        "{grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"}";
    assert_eq!(
        open.of(&format!("grpc_server_msg_received_total{method}")),
        3.0
    );
    assert_eq!(open.of(&format!("grpc_server_msg_sent_total{method}")), 5.0);

    // A client that reads nothing: its watch is pending, and slow once the ring has moved on.
    let mut kv = client::kv(channel.clone());
    done(&cluster, async {
        for number in 0..140 {
            let big = pb::PutRequest {
                value: vec![number as u8; 200_000].into(),
                ..put("a")
            };
            kv.put(big).await?;
        }
        Ok(())
    });
    let behind = measure(&cluster, 0);
    assert_eq!(behind.of("etcd_debugging_mvcc_pending_events_total"), 2.0);
    assert_eq!(behind.of("etcd_debugging_mvcc_slow_watcher_total"), 2.0);

    drop(send);
    drop(answers);
    cluster.pass(Duration::from_secs(1));
    let closed = measure(&cluster, 0);
    assert_eq!(closed.of("etcd_debugging_mvcc_watch_stream_total"), 0.0);
    assert_eq!(closed.of("etcd_debugging_mvcc_watcher_total"), 0.0);
    assert_eq!(closed.of("etcd_debugging_mvcc_pending_events_total"), 0.0);
    assert!(closed.of("etcd_debugging_mvcc_events_total") > 2.0);
}

#[test]
fn leases_are_counted() {
    let cluster = Cluster::start(1, 1, &[]);
    let channel = connect(&cluster, 1);
    let mut lease = client::lease(channel);
    done(&cluster, async {
        for (id, ttl) in [(1, 600), (2, 3), (3, 600)] {
            lease.lease_grant(pb::LeaseGrantRequest { id, ttl }).await?;
        }
        let renewal = futures::stream::iter([pb::LeaseKeepAliveRequest { id: 1 }]);
        let mut renewed = lease.lease_keep_alive(renewal).await?.into_inner();
        assert_eq!(renewed.message().await?.unwrap().ttl, 600);
        lease.lease_revoke(pb::LeaseRevokeRequest { id: 3 }).await
    });
    let now = measure(&cluster, 0);
    assert_eq!(now.of("etcd_debugging_lease_granted_total"), 3.0);
    assert_eq!(now.of("etcd_debugging_lease_renewed_total"), 1.0);
    assert_eq!(now.of("etcd_debugging_lease_revoked_total"), 1.0);
    assert_eq!(now.of("etcd_debugging_server_lease_expired_total"), 0.0);
    cluster.pass(Duration::from_secs(20));
    let later = measure(&cluster, 0);
    assert_eq!(later.of("etcd_debugging_lease_revoked_total"), 2.0);
    assert_eq!(later.of("etcd_debugging_server_lease_expired_total"), 1.0);
}

#[test]
fn upkeep_is_measured() {
    let cluster = Cluster::start(1, 1, &[]);
    let channel = connect(&cluster, 1);
    let counts = || {
        let now = measure(&cluster, 0);
        [
            "etcd_mvcc_hash_duration_seconds_count",
            "etcd_mvcc_hash_rev_duration_seconds_count",
            "etcd_disk_backend_defrag_duration_seconds_count",
            "etcd_disk_backend_snapshot_duration_seconds_count",
        ]
        .map(|name| now.of(name))
    };
    assert_eq!(counts(), [0.0; 4]);
    let mut maintenance = client::maintenance(channel.clone());
    done(&cluster, maintenance.hash(pb::HashRequest {}));
    assert_eq!(counts(), [1.0, 0.0, 0.0, 0.0]);
    done(
        &cluster,
        maintenance.hash_kv(pb::HashKvRequest { revision: 0 }),
    );
    assert_eq!(counts(), [1.0, 1.0, 0.0, 0.0]);
    done(&cluster, maintenance.defragment(pb::DefragmentRequest {}));
    assert_eq!(counts(), [1.0, 1.0, 1.0, 0.0]);
    done(&cluster, async {
        let mut pieces = maintenance
            .snapshot(pb::SnapshotRequest {})
            .await?
            .into_inner();
        while pieces.message().await?.is_some() {}
        Ok(())
    });
    cluster.pass(Duration::from_millis(10));
    assert_eq!(counts(), [1.0; 4]);
    let now = measure(&cluster, 0);
    assert_eq!(now.of("etcd_disk_defrag_inflight"), 0.0);

    let revision = now.of("etcd_debugging_auth_revision");
    let role = pb::AuthRoleAddRequest {
        name: "r".to_owned(),
    };
    done(&cluster, client::auth(channel).role_add(role));
    let now = measure(&cluster, 0);
    assert_eq!(now.of("etcd_debugging_auth_revision"), revision + 1.0);
}

/// A reader that cannot be answered, a snapshot that is installed, a learner that is promoted; and
/// after all that the table of `docs/compatibility.md`.
#[test]
fn the_cluster_is_measured_and_the_table_is_true() {
    let flags = [("snapshot-count", "20"), ("snapshot-catchup-entries", "5")];
    let mut cluster = Cluster::start(1, 1, &flags);
    let channel = connect(&cluster, 1);
    done(&cluster, async {
        for number in 0..60 {
            client::kv(channel.clone())
                .put(put(&number.to_string()))
                .await?;
        }
        let url = format!("http://{}", peer_address(2));
        let add = pb::MemberAddRequest {
            peer_ur_ls: vec![url],
            is_learner: true,
        };
        client::cluster(channel.clone()).member_add(add).await
    });
    let both = [1, 2].map(address_in_cluster).join(",");
    let joins = [
        ("initial-cluster", both.as_str()),
        ("initial-cluster-state", "existing"),
    ];
    cluster.launch(2, &[joins, flags].concat());
    cluster.pass(Duration::from_secs(10));

    let joined = measure(&cluster, 1);
    assert_eq!(joined.of("etcd_server_is_learner"), 1.0);
    assert_eq!(joined.of("etcd_snap_db_fsync_duration_seconds_count"), 1.0);
    assert_eq!(
        joined.of("etcd_snap_db_save_total_duration_seconds_count"),
        1.0
    );
    assert_eq!(
        joined.of("etcd_server_snapshot_apply_in_progress_total"),
        0.0
    );
    assert_eq!(joined.of("etcd_debugging_mvcc_keys_total"), 60.0);

    let learner = cluster.members[1].server().unwrap().identity().member_id;
    let mut members = client::cluster(channel.clone());
    let unknown = members.member_promote(pb::MemberPromoteRequest { id: 1 });
    assert!(cluster.run(LIMIT, unknown).unwrap().is_err());
    done(
        &cluster,
        members.member_promote(pb::MemberPromoteRequest { id: learner }),
    );
    let promoted = measure(&cluster, 0);
    assert_eq!(promoted.of("etcd_server_learner_promote_successes"), 1.0);
    let reason = "{Reason=\"etcdserver: member not found\"}";
    let failures = promoted.of(&format!("etcd_server_learner_promote_failures{reason}"));
    assert_eq!(failures, 1.0);

    assert_eq!(promoted.of("etcd_server_slow_read_indexes_total"), 0.0);
    cluster.members[1].stop();
    cluster.pass(Duration::from_secs(1));
    let read = pb::RangeRequest {
        key: b"a".to_vec().into(),
        ..Default::default()
    };
    let unanswered = client::kv(channel.clone()).range(read).await_on(&cluster);
    assert!(unanswered.is_err());
    let alone = measure(&cluster, 0);
    assert_eq!(alone.of("etcd_server_slow_read_indexes_total"), 1.0);
    assert_eq!(alone.of("etcd_server_read_indexes_failed_total"), 1.0);

    let mut types = joined.types();
    types.extend(alone.types());
    compare_with_the_table(&types);
}

/// A call, run beside the members.
trait AwaitOn: Future + Sized {
    fn await_on(self, cluster: &Cluster) -> Self::Output {
        cluster.run(LIMIT, self).unwrap()
    }
}

impl<F: Future> AwaitOn for F {}

fn compare_with_the_table(types: &BTreeMap<String, String>) {
    let mut known = BTreeMap::new();
    let mut kind = "";
    for word in ETCD_TYPES.split_whitespace() {
        match word.strip_suffix(':') {
            Some(next) => kind = next,
            None => drop(known.insert(word, kind)),
        }
    }
    for (name, kind) in types {
        if let Some(etcd) = known.get(name.as_str()) {
            assert_eq!(kind, etcd, "{name}");
        }
    }
    let document = include_str!("../docs/compatibility.md");
    let (_, section) = document.split_once("\n## Metrics\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut listed = BTreeSet::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (name, state) = (cells[1].trim_matches('`'), cells[2]);
        listed.insert(name.to_owned());
        match state {
            "done" | "differs" => assert!(types.contains_key(name), "{name} is not there"),
            "absent" => {
                assert!(!types.contains_key(name), "{name} is there");
                assert!(!cells[3].is_empty(), "{name}: no reason");
            }
            other => panic!("{name}: unknown state {other}"),
        }
    }
    let measured: BTreeSet<String> = types.keys().cloned().collect();
    let unlisted: Vec<_> = measured.difference(&listed).collect();
    assert!(
        unlisted.is_empty(),
        "not in docs/compatibility.md: {unlisted:?}"
    );
}
