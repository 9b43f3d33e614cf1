//! Measured on the upkeep of the cluster and the store, and on the clients that ask for it.

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge};

use super::{Make, doubling};

/// Of upkeep.
pub struct UpkeepMetrics {
    /// Learners promoted by requests to this member.
    pub promotions: IntCounter,
    /// Promotions this member was asked for and that failed, by the error.
    pub failed_promotions: IntCounterVec,
    /// Seconds that defragmentations took.
    pub defragment_seconds: Histogram,
    /// Defragmentations in progress.
    pub defragmenting: IntGauge,
    /// Seconds that the defragmentation in progress will still take, as far as can be told.
    pub defragment_left: Gauge,
    /// Seconds that sending snapshots to clients took.
    pub snapshot_seconds: Histogram,
    /// Seconds that hashes over the whole state took.
    pub hash_seconds: Histogram,
    /// Seconds that hashes over the store at a revision took.
    pub hash_revision_seconds: Histogram,
    /// Snapshots that are replacing the store.
    pub installing: IntGauge,
    /// Seconds that syncs of received snapshots took.
    pub snapshot_fsync_seconds: Histogram,
    /// Seconds that receiving and saving a snapshot took.
    pub snapshot_save_seconds: Histogram,
}

impl UpkeepMetrics {
    pub(super) fn new(r: &Make<'_>) -> UpkeepMetrics {
        UpkeepMetrics {
            promotions: r.counter(
                "etcd_server_learner_promote_successes",
                "Learners promoted by requests to this member.",
            ),
            failed_promotions: r.counters(
                "etcd_server_learner_promote_failures",
                "Promotions this member was asked for and that failed.",
                &["Reason"],
            ),
            defragment_seconds: r.histogram(
                "etcd_disk_backend_defrag_duration_seconds",
                "Seconds that defragmentations took.",
                doubling(0.1, 13),
            ),
            defragmenting: r.gauge("etcd_disk_defrag_inflight", "Defragmentations in progress."),
            defragment_left: r.keep(Gauge::new(
                "vetcd_disk_defrag_seconds_left",
                "Seconds that the defragmentation in progress will still take, as far as can be told.",
            )),
            snapshot_seconds: r.histogram(
                "etcd_disk_backend_snapshot_duration_seconds",
                "Seconds that sending snapshots to clients took.",
                doubling(0.01, 17),
            ),
            hash_seconds: r.histogram(
                "etcd_mvcc_hash_duration_seconds",
                "Seconds that hashes over the whole state took.",
                doubling(0.01, 15),
            ),
            hash_revision_seconds: r.histogram(
                "etcd_mvcc_hash_rev_duration_seconds",
                "Seconds that hashes over the store at a revision took.",
                doubling(0.01, 15),
            ),
            installing: r.gauge(
                "etcd_server_snapshot_apply_in_progress_total",
                "1 while a received snapshot replaces the store.",
            ),
            snapshot_fsync_seconds: r.histogram(
                "etcd_snap_db_fsync_duration_seconds",
                "Seconds that syncs of received snapshots took.",
                doubling(0.001, 14),
            ),
            snapshot_save_seconds: r.histogram(
                "etcd_snap_db_save_total_duration_seconds",
                "Seconds that receiving and saving a snapshot took.",
                doubling(0.1, 10),
            ),
        }
    }
}
