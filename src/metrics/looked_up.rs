//! Watches, leases, keys and limits: looked up when somebody asks.

use prometheus::{IntCounter, IntGauge};

use super::Make;
use crate::server::Server;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is looked up of a server's insides.
pub(super) struct LookedUp {
    keys: IntGauge,
    auth_revision: IntGauge,
    quota: IntGauge,
    watchers: IntGauge,
    watch_streams: IntGauge,
    slow_watchers: IntGauge,
    pending: IntGauge,
    events: IntCounter,
    leases_granted: IntCounter,
    leases_renewed: IntCounter,
    leases_revoked: IntCounter,
    leases_expired: IntCounter,
}

impl LookedUp {
    pub(super) fn new(r: &Make<'_>) -> LookedUp {
        LookedUp {
            keys: r.gauge("etcd_debugging_mvcc_keys_total", "Keys that exist."),
            auth_revision: r.gauge(
                "etcd_debugging_auth_revision",
                "The revision of users and roles.",
            ),
            quota: r.gauge(
                "etcd_server_quota_backend_bytes",
                "The most that the store may hold, bytes; 0 without a limit.",
            ),
            watchers: r.gauge("etcd_debugging_mvcc_watcher_total", "Open watches."),
            watch_streams: r.gauge(
                "etcd_debugging_mvcc_watch_stream_total",
                "Open streams of watches.",
            ),
            slow_watchers: r.gauge(
                "etcd_debugging_mvcc_slow_watcher_total",
                "Watches so far behind that they read the store's records.",
            ),
            pending: r.gauge(
                "etcd_debugging_mvcc_pending_events_total",
                "Watches with events not yet handed to their clients.",
            ),
            events: r.counter(
                "etcd_debugging_mvcc_events_total",
                "Events handed to clients.",
            ),
            leases_granted: r.counter(
                "etcd_debugging_lease_granted_total",
                "Leases granted, as applied by this member.",
            ),
            leases_renewed: r.counter(
                "etcd_debugging_lease_renewed_total",
                "Renewals promised by this member as leader.",
            ),
            leases_revoked: r.counter(
                "etcd_debugging_lease_revoked_total",
                "Leases removed, as applied by this member.",
            ),
            leases_expired: r.counter(
                "etcd_debugging_server_lease_expired_total",
                "Expired leases removed on this member's finding.",
            ),
        }
    }

    /// Looks everything up but `keys`, which takes a while to count and is not known at first.
    pub(super) fn set(&self, server: &Server, keys: Option<i64>) {
        if let Some(keys) = keys {
            self.keys.set(keys);
        }
        let revision = server.serializable().auth.revision();
        self.auth_revision.set(whole(revision));
        self.quota.set(server.quota().map_or(0, whole));
        let watches = server.watches().counters();
        self.watchers.set(watches.watchers as i64);
        self.watch_streams.set(watches.streams as i64);
        self.slow_watchers.set(watches.slow_watchers as i64);
        self.pending.set(watches.pending as i64);
        raise(&self.events, watches.events_total);
        let leases = server.lease_counters();
        let counted: [(&IntCounter, &AtomicU64); 4] = [
            (&self.leases_granted, &leases.granted),
            (&self.leases_renewed, &leases.renewed),
            (&self.leases_revoked, &leases.revoked),
            (&self.leases_expired, &leases.expired),
        ];
        for (counter, counted) in counted {
            raise(counter, counted.load(Ordering::Relaxed));
        }
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Sets a counter that is kept elsewhere, and never goes back.
fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}
