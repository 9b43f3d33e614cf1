//! The answer to `/metrics`: what was counted, and what is looked up when asked.

use std::sync::Arc;

use bytes::Bytes;
use prometheus::{Gauge, IntGauge, TextEncoder};

use super::Make;
use super::looked_up::LookedUp;
use crate::api::API_VERSION;
use crate::api::proto::etcdserverpb::RangeRequest;
use crate::host::HostExt;
use crate::mvcc::State;
use crate::raft::Role;
use crate::server::Server;

/// Looked up when asked.
pub(super) struct Gauges {
    has_leader: IntGauge,
    is_leader: IntGauge,
    is_learner: IntGauge,
    committed: IntGauge,
    applied: IntGauge,
    wal_bytes: IntGauge,
    db_total: IntGauge,
    db_in_use: IntGauge,
    revision: IntGauge,
    compact_revision: IntGauge,
    version: prometheus::IntGaugeVec,
    cluster_version: prometheus::IntGaugeVec,
    id: prometheus::IntGaugeVec,
    process: Process,
    looked_up: LookedUp,
}

/// Of the operating system's process; at zero where there is none.
struct Process {
    cpu_seconds: prometheus::Counter,
    open_files: IntGauge,
    files_max: IntGauge,
    resident: IntGauge,
    virtual_memory: IntGauge,
    start: Gauge,
    files_used: IntGauge,
    files_limit: IntGauge,
}

impl Gauges {
    pub(super) fn new(r: &Make<'_>) -> Gauges {
        Gauges {
            has_leader: r.gauge("etcd_server_has_leader", "1 while a leader is known."),
            is_leader: r.gauge("etcd_server_is_leader", "1 while this member leads."),
            is_learner: r.gauge(
                "etcd_server_is_learner",
                "1 while this member is a learner.",
            ),
            committed: r.gauge(
                "etcd_server_proposals_committed_total",
                "The highest committed raft index.",
            ),
            applied: r.gauge(
                "etcd_server_proposals_applied_total",
                "The highest applied raft index.",
            ),
            wal_bytes: r.gauge(
                "etcd_disk_wal_write_bytes_total",
                "Bytes written to the log since the start.",
            ),
            db_total: r.gauge(
                "etcd_mvcc_db_total_size_in_bytes",
                "The length of the store's file.",
            ),
            db_in_use: r.gauge(
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "The length of what the store's file holds.",
            ),
            revision: r.gauge(
                "etcd_debugging_mvcc_current_revision",
                "The store's revision.",
            ),
            compact_revision: r.gauge(
                "etcd_debugging_mvcc_compact_revision",
                "The revision of the last compaction.",
            ),
            version: r.gauges(
                "etcd_server_version",
                "1 for the API version that is served.",
                &["server_version"],
            ),
            cluster_version: r.gauges(
                "etcd_cluster_version",
                "1 for the version of the cluster.",
                &["cluster_version"],
            ),
            id: r.gauges("etcd_server_id", "1 for this member's ID.", &["server_id"]),
            process: Process::new(r),
            looked_up: LookedUp::new(r),
        }
    }
}

impl Process {
    fn new(r: &Make<'_>) -> Process {
        let float = |name: &str, help: &str| r.keep(Gauge::new(name, help));
        Process {
            cpu_seconds: r.keep(prometheus::Counter::new(
                "process_cpu_seconds_total",
                "Seconds of processor time used.",
            )),
            open_files: r.gauge("process_open_fds", "Open file descriptors."),
            files_max: r.gauge("process_max_fds", "The most file descriptors."),
            resident: r.gauge("process_resident_memory_bytes", "Resident memory."),
            virtual_memory: r.gauge("process_virtual_memory_bytes", "Virtual memory."),
            start: float(
                "process_start_time_seconds",
                "When the process began, in seconds since 1970.",
            ),
            files_used: r.gauge("os_fd_used", "Open file descriptors."),
            files_limit: r.gauge("os_fd_limit", "The most file descriptors."),
        }
    }

    fn set(&self, usage: &crate::host::ProcessUsage) {
        self.cpu_seconds
            .inc_by((usage.cpu_seconds - self.cpu_seconds.get()).max(0.0));
        self.start.set(usage.started_seconds);
        for (gauge, value) in [
            (&self.open_files, usage.open_files),
            (&self.files_used, usage.open_files),
            (&self.files_max, usage.open_files_max),
            (&self.files_limit, usage.open_files_max),
            (&self.resident, usage.resident_bytes),
            (&self.virtual_memory, usage.virtual_bytes),
        ] {
            gauge.set(value as i64);
        }
    }
}

/// Everything in the text format of Prometheus.
///
/// # Errors
/// A sentence when the store's size cannot be read.
pub async fn render(server: &Arc<Server>) -> Result<String, String> {
    let backend = server.backend();
    let host = server.host().clone();
    let state = server.serializable().state.clone();
    let reading = server
        .host()
        .run_blocking(move || (backend.size(), host.process_usage(), key_count(&state)));
    let Some((size, usage, keys)) = reading.await else {
        return Err("the member is stopping".to_owned());
    };
    let size = size.map_err(|error| error.to_string())?;
    let metrics = server.metrics();
    let gauges = &metrics.gauges;
    let published = server.serializable();
    let raft = server.raft_status();
    let identity = server.identity();
    let own = published.members.get(identity.member_id);
    let wal = server.raft().wal_metrics();

    let _alone = metrics.rendering.lock().unwrap_or_else(|e| e.into_inner());
    gauges.has_leader.set((raft.leader != 0).into());
    gauges.is_leader.set((raft.role == Role::Leader).into());
    gauges
        .is_learner
        .set(own.is_some_and(|m| m.is_learner).into());
    gauges.committed.set(raft.commit as i64);
    gauges.applied.set(published.index as i64);
    let wal_bytes = wal.bytes.load(std::sync::atomic::Ordering::Relaxed);
    gauges.wal_bytes.set(wal_bytes as i64);
    gauges.db_total.set(size.total_bytes as i64);
    gauges.db_in_use.set(size.in_use_bytes as i64);
    gauges.revision.set(published.state.revision());
    gauges
        .compact_revision
        .set(published.state.compact_revision());
    gauges.version.with_label_values(&[API_VERSION]).set(1);
    let cluster = API_VERSION
        .rsplit_once('.')
        .map_or(API_VERSION, |(version, _)| version);
    gauges.cluster_version.with_label_values(&[cluster]).set(1);
    let id = format!("{:x}", identity.member_id);
    gauges.id.with_label_values(&[id.as_str()]).set(1);
    gauges.looked_up.set(server, keys);
    if let Some(usage) = usage {
        gauges.process.set(&usage);
    }
    TextEncoder::new()
        .encode_to_string(&metrics.registry.gather())
        .map_err(|error| error.to_string())
}

/// How many keys there are, if that is known yet. Goes through all of them.
fn key_count(state: &State) -> Option<i64> {
    if state.is_partial() {
        return None;
    }
    let everything = RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        count_only: true,
        ..Default::default()
    };
    state.range(&everything).ok().map(|found| found.count)
}
