//! From an open data directory to a member. Raft starts first, on what stands beside the keys, and
//! the member votes and takes entries as soon as it is back, however large its store is; what needs the
//! keys starts once they are read.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::auth::jwt::Signer;
use crate::auth::tokens::Tokens;
use crate::backend::{Size, Unread};
use crate::config::Config;
use crate::defect;
use crate::host::{Event, Host, HostExt, Listener, TaskHandle};
use crate::metrics::Metrics;
use crate::raft::{self, Identity, SnapshotStore};
use crate::storage::Space;
use crate::tls::Tls;
use crate::watch::{self as watches, Hub};

use super::apply::{self, Applier, BackendOptions};
use super::auth::Authenticator;
use super::board::{Board, Window};
use super::boot::{self, Booted, Opened, Store};
use super::indexing::Indexing;
use super::lease::{self, Timekeeper};
use super::news::News;
use super::reading::{Reading, Whole};
use super::run::Error;
use super::waiters::Waiters;
use super::{Limits, Policy, REQUEST_TIMEOUT, Server, Sizes, Standing, alarms, corruption, space};

/// Orders to the apply task that may wait.
const MAX_ORDERS: usize = 16;

/// A member that takes part in raft, and does not know its keys yet.
pub(super) struct Peer {
    identity: Identity,
    standing: Standing,
    size: Option<Size>,
    trusted_from_term: u64,
    lock: Box<dyn Send + Sync>,
    window: Arc<Window>,
    metrics: Arc<Metrics>,
    space: Arc<Space>,
    snapshots: Arc<SnapshotStore>,
    calls: Arc<raft::Calls>,
    raft: raft::Running,
}

/// A member as a whole.
pub(super) struct Member {
    pub(super) server: Arc<Server>,
    pub(super) raft_ended: oneshot::Receiver<Result<(), raft::Error>>,
    pub(super) apply_ended: oneshot::Receiver<Result<(), apply::Error>>,
    pub(super) tasks: Vec<TaskHandle>,
    pub(super) lock: Box<dyn Send + Sync>,
}

impl Peer {
    /// Starts raft. What it wants applied waits for [`Peer::serve`].
    pub(super) fn start(
        host: &Arc<dyn Host>,
        config: &Config,
        options: &boot::Options,
        booted: Booted,
        (tls, listeners): (&Tls, Vec<Box<dyn Listener>>),
    ) -> Result<(Peer, Store), Error> {
        let Booted {
            identity,
            mut restored,
            standing,
            store,
            size,
            trusted_from_term,
            torn_bytes,
            lock,
        } = booted;
        let defects = host.defects();
        let applied = standing.index;
        if defect!(defects, ApplyTwice) {
            restored.applied = restored.compacted.0;
        }
        if let Some(bytes) = torn_bytes {
            host.observe(Event::TornTailCut { bytes });
        }
        host.observe(Event::Started {
            applied,
            replayed: restored
                .entries
                .iter()
                .filter(|e| e.index > applied)
                .count() as u64,
        });
        let window = Arc::new(Window::new(standing.index, standing.members.clone()));
        let metrics = Arc::new(Metrics::new());
        let space = Arc::new(Space::default());
        restored.log.report_space(space.clone());
        let raft_options = raft::Options {
            pre_vote: config.pre_vote,
            initial_tick_advance: config.operations.initial_election_tick_advance,
            metrics: metrics.clone(),
            snapshot_count: config.snapshot_count,
            snapshot_catchup_entries: config.snapshot_catchup_entries,
            ..raft::Options::new(
                Duration::from_millis(config.heartbeat_interval),
                Duration::from_millis(config.election_timeout),
                options.wal_sync,
                window.clone(),
            )
        };
        let snapshots = Arc::new(SnapshotStore::new(options.snapshot_dir()));
        let calls = raft::Calls::new(tls.peer_host(host), identity);
        let raft = raft::start(
            tls.peer_host(host),
            raft_options,
            identity,
            restored,
            standing.members.clone(),
            raft::Links {
                listeners,
                snapshots: snapshots.clone(),
                calls: calls.clone(),
            },
        )?;
        let peer = Peer {
            identity,
            standing,
            size,
            trusted_from_term,
            lock,
            window,
            metrics,
            space,
            snapshots,
            calls,
            raft,
        };
        Ok((peer, store))
    }

    /// Ends it.
    pub(super) fn stop(self) {
        for task in self.raft.tasks {
            task.abort();
        }
    }

    /// Starts everything that needs the keys.
    pub(super) fn serve(
        self,
        host: &Arc<dyn Host>,
        config: &Config,
        options: &boot::Options,
        opened: Opened,
        signer: Option<Arc<Signer>>,
    ) -> Member {
        let Peer {
            identity,
            standing,
            size,
            trusted_from_term,
            lock,
            window,
            metrics,
            space,
            snapshots,
            calls,
            raft,
        } = self;
        let raft::Running {
            handle,
            applies,
            ended: raft_ended,
            mut tasks,
        } = raft;
        let Opened {
            backend,
            state,
            unread,
        } = opened;
        let missing = unread.as_ref().map(Unread::recent_bytes);
        let reading = unread.map(|unread| Reading::start(host, Arc::new(unread), backend.clone()));
        let whole = Arc::new(Whole::default());
        let current = standing.with(state);
        let applied = current.index;
        let defects = host.defects();
        let published = Arc::new(Board::new(current.clone()));
        window.open(published.clone());
        let hub = Arc::new(Hub::new(current.state.clone(), host.random_u64()));
        let (backends, current_backend) = watch::channel(backend.clone());
        let waiters = Arc::new(Waiters::default());
        let leases = Timekeeper::new(config);
        let news = Arc::new(News::default());
        let sizes = Arc::new(Sizes::default());
        if let Some(size) = size {
            sizes.set(size);
        }
        let (orders, ordered) = mpsc::channel(MAX_ORDERS);
        let tokens = Arc::new(Tokens::new(Duration::from_secs(config.auth_token_ttl)));
        let auth_kept = current.auth.version();
        let applier = Applier {
            clock: leases.clock.clone(),
            lease_counters: leases.counters.clone(),
            news: news.clone(),
            lease_events: Vec::new(),
            host: host.clone(),
            defects: defects.clone(),
            identity,
            current,
            restored: applied,
            reading,
            whole: whole.clone(),
            indexing: Indexing::new(config.experimental_key_index_from_bytes, missing),
            backend,
            backends,
            options: BackendOptions {
                path: options.backend_path(),
                batch_interval: config.backend_batch_interval,
                batch_limit: config.backend_batch_limit,
            },
            raft: handle.clone(),
            applies,
            published: published.clone(),
            watches: hub.clone(),
            waiters: waiters.clone(),
            snapshots,
            orders: ordered,
            sizes: sizes.clone(),
            space: space.clone(),
            metrics: metrics.clone(),
            tokens: tokens.clone(),
            auth_kept,
        };
        let (apply_sender, apply_ended) = oneshot::channel();
        let applying = async move {
            let _ = apply_sender.send(applier.run().await);
        };
        tasks.push(host.spawn("apply", Box::pin(applying)));
        let election_timeout = Duration::from_millis(config.election_timeout);
        let leader =
            watches::require_leader(host.clone(), hub.clone(), handle.clone(), election_timeout);
        tasks.push(host.spawn("watch-leader", Box::pin(leader)));
        let server = Arc::new(Server {
            host: host.clone(),
            defects,
            identity,
            raft: handle,
            published,
            whole,
            waiters,
            leases,
            calls,
            news,
            backend: current_backend,
            next_id: AtomicU64::new(host.random_u64() >> 1),
            limits: Limits {
                request_bytes: config.max_request_bytes,
                txn_operations: config.max_txn_ops,
            },
            policy: Policy {
                strict: config.strict_reconfig_check,
                max_learners: config.max_learners,
            },
            quota: alarms::quota(config.quota_backend_bytes),
            tick: Duration::from_millis(config.heartbeat_interval),
            sizes,
            space,
            orders,
            corruption: corruption::Monitor::default(),
            authenticator: Authenticator::new(tokens, signer, config.bcrypt_cost),
            trusted_from_term,
            watches: hub,
            watch_options: watches::Options {
                progress_interval: config.watch_progress_notify_interval,
                fragment_bytes: config.grpc_receive_bytes_max(),
            },
            metrics,
            timeout: REQUEST_TIMEOUT + 2 * Duration::from_millis(config.election_timeout),
        });
        server.answer_peers();
        tasks.push(host.spawn("leases", Box::pin(lease::keep_time(server.clone()))));
        for (check, every) in config.checks.periodic() {
            let checking = corruption::keep_checking(server.clone(), check, every);
            tasks.push(host.spawn("corruption", Box::pin(checking)));
        }
        tasks.push(host.spawn("space", Box::pin(space::keep_alarm(server.clone()))));
        Member {
            server,
            raft_ended,
            apply_ended,
            tasks,
            lock,
        }
    }
}
