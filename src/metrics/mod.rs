//! What a member measures, under the names that etcd's dashboards and alerts use.
//!
//! One [`Metrics`] a member, with a registry of its own: a process may hold many members, as the
//! testbed does. Nothing here reads a clock; whoever measures a time takes it from the host. On the
//! way of a request there are atomic additions only. What can be looked up (sizes, revisions, roles)
//! is looked up when somebody asks ([`render`]).

mod calls;
mod looked_up;
mod messages;
mod render;
mod upkeep;

use std::sync::Mutex;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, core::Collector, exponential_buckets,
};

pub use calls::{Call, Calls};
pub use messages::{Messages, Passed};
pub use render::render;
pub use upkeep::UpkeepMetrics;

/// Everything a member measures.
pub struct Metrics {
    registry: Registry,
    /// Serializes [`render`], which sets gauges before it reads them.
    rendering: Mutex<()>,
    /// gRPC calls of clients.
    pub calls: Calls,
    /// Of the way a request takes.
    pub server: ServerMetrics,
    /// Of disks.
    pub disk: DiskMetrics,
    /// Of members among each other.
    pub peers: PeerMetrics,
    /// Of the cluster's and the store's upkeep.
    pub upkeep: UpkeepMetrics,
    gauges: render::Gauges,
}

/// Measured on a request's way.
pub struct ServerMetrics {
    /// Leaders this member has seen come.
    pub leader_changes: IntCounter,
    /// Proposals in progress.
    pub proposals_pending: IntGauge,
    /// Proposals that timed out or were refused.
    pub proposals_failed: IntCounter,
    /// Linearizable reads that got no read index in time.
    pub read_indexes_failed: IntCounter,
    /// Those of them that waited until their time was up.
    pub slow_read_indexes: IntCounter,
    /// Batches of entries whose application took longer than 100 ms.
    pub slow_applies: IntCounter,
    /// Health checks passed.
    pub health_success: IntCounter,
    /// Health checks failed.
    pub health_failures: IntCounter,
    /// Ranges read.
    pub ranges: IntCounter,
    /// Keys put.
    pub puts: IntCounter,
    /// Deletions carried out.
    pub deletes: IntCounter,
    /// Transactions carried out.
    pub txns: IntCounter,
    /// The time of applying a request, seconds, by its kind and whether it succeeded.
    pub apply_seconds: HistogramVec,
}

/// Measured on disk work.
pub struct DiskMetrics {
    /// Syncs of the log, seconds.
    pub wal_fsync_seconds: Histogram,
    /// Commits of the store, seconds.
    pub backend_commit_seconds: Histogram,
}

/// Measured between members; labelled with the other member's ID in hexadecimal.
pub struct PeerMetrics {
    /// Bytes sent.
    pub sent_bytes: IntCounterVec,
    /// Bytes received.
    pub received_bytes: IntCounterVec,
    /// Messages or connections that failed.
    pub sent_failures: IntCounterVec,
    /// Connections that broke while receiving.
    pub received_failures: IntCounterVec,
    /// From a heartbeat to its answer, seconds.
    pub round_trip_seconds: HistogramVec,
    /// 1 while connected, by this member's ID and the other's.
    pub active: IntGaugeVec,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Metrics {
        let registry = Registry::new();
        let r = Make(&registry);
        Metrics {
            calls: Calls::new(&r),
            server: ServerMetrics::new(&r),
            disk: DiskMetrics {
                wal_fsync_seconds: r.histogram(
                    "etcd_disk_wal_fsync_duration_seconds",
                    "Seconds that syncs of the log took.",
                    doubling(0.001, 14),
                ),
                backend_commit_seconds: r.histogram(
                    "etcd_disk_backend_commit_duration_seconds",
                    "Seconds that commits of the store took.",
                    doubling(0.001, 14),
                ),
            },
            peers: PeerMetrics::new(&r),
            upkeep: UpkeepMetrics::new(&r),
            gauges: render::Gauges::new(&r),
            registry,
            rendering: Mutex::new(()),
        }
    }
}

impl ServerMetrics {
    fn new(r: &Make<'_>) -> ServerMetrics {
        ServerMetrics {
            leader_changes: r.counter(
                "etcd_server_leader_changes_seen_total",
                "Leaders this member has seen come.",
            ),
            proposals_pending: r.gauge("etcd_server_proposals_pending", "Proposals in progress."),
            proposals_failed: r.counter(
                "etcd_server_proposals_failed_total",
                "Proposals that timed out or were refused.",
            ),
            read_indexes_failed: r.counter(
                "etcd_server_read_indexes_failed_total",
                "Linearizable reads that could not be confirmed in time.",
            ),
            slow_read_indexes: r.counter(
                "etcd_server_slow_read_indexes_total",
                "Linearizable reads that waited for their confirmation until their time was up.",
            ),
            slow_applies: r.counter(
                "etcd_server_slow_apply_total",
                "Batches of entries that took longer than 100 ms to apply.",
            ),
            health_success: r.counter("etcd_server_health_success", "Health checks passed."),
            health_failures: r.counter("etcd_server_health_failures", "Health checks failed."),
            ranges: r.counter("etcd_mvcc_range_total", "Ranges read on this member."),
            puts: r.counter(
                "etcd_mvcc_put_total",
                "Keys put, as applied by this member.",
            ),
            deletes: r.counter(
                "etcd_mvcc_delete_total",
                "Deletions applied by this member.",
            ),
            txns: r.counter(
                "etcd_mvcc_txn_total",
                "Transactions applied by this member.",
            ),
            apply_seconds: r.histograms(
                "etcd_server_apply_duration_seconds",
                "Seconds that applying a request took.",
                doubling(0.0001, 20),
                &["version", "op", "success"],
            ),
        }
    }
}

impl PeerMetrics {
    fn new(r: &Make<'_>) -> PeerMetrics {
        PeerMetrics {
            sent_bytes: r.counters(
                "etcd_network_peer_sent_bytes_total",
                "Bytes sent to members.",
                &["To"],
            ),
            received_bytes: r.counters(
                "etcd_network_peer_received_bytes_total",
                "Bytes received from members.",
                &["From"],
            ),
            sent_failures: r.counters(
                "etcd_network_peer_sent_failures_total",
                "Connections to members that failed, and messages dropped for want of room.",
                &["To"],
            ),
            received_failures: r.counters(
                "etcd_network_peer_received_failures_total",
                "Connections from members that broke.",
                &["From"],
            ),
            round_trip_seconds: r.histograms(
                "etcd_network_peer_round_trip_time_seconds",
                "Seconds from a heartbeat to its answer.",
                doubling(0.0001, 16),
                &["To"],
            ),
            active: r.gauges(
                "etcd_network_active_peers",
                "1 while this member is connected to another.",
                &["Local", "Remote"],
            ),
        }
    }
}

/// Buckets from `first` on, each twice the one before.
fn doubling(first: f64, count: usize) -> Vec<f64> {
    exponential_buckets(first, 2.0, count).unwrap_or_default()
}

/// Makes metrics and registers them. Names and labels are constants of this module, so that the
/// library's errors (a malformed or repeated name) cannot happen; a test makes them all.
struct Make<'a>(&'a Registry);

impl Make<'_> {
    fn keep<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("names and labels are well-formed");
        let registered = self.0.register(Box::new(collector.clone()));
        registered.expect("names are registered once");
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.keep(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.keep(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        self.keep(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets),
        ))
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: Vec<f64>,
        labels: &[&str],
    ) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets);
        self.keep(HistogramVec::new(options, labels))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn many_members_measure_apart() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.server.puts.inc();
        assert_eq!((one.server.puts.get(), other.server.puts.get()), (1, 0));
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&one.registry.gather())
            .unwrap();
        assert!(text.contains("\netcd_mvcc_put_total 1\n"), "{text}");
        assert!(
            text.contains("etcd_disk_wal_fsync_duration_seconds_bucket{le=\"8.192\"} 0"),
            "{text}"
        );
    }
}
