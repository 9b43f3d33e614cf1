//! A member's life: bind, boot, start, serve, stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::api;
use crate::api::proto::vetcdpb::{MemberAttributes, log_request::Request};
use crate::auth::jwt::Signer;
use crate::auth::tokens::Tokens;
use crate::config::Config;
use crate::defect;
use crate::host::{Event, Host, HostExt, Listener};
use crate::raft::{self, PeerAddress, SnapshotStore};
use crate::wal;

use super::apply::{self, Applier, BackendOptions};
use super::auth::{self, Authenticator};
use super::board::Board;
use super::boot::{self, Booted};
use super::waiters::Waiters;
use super::{Limits, Members, REQUEST_TIMEOUT, Server};

/// How long open requests are given when the member stops.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a member whose log contradicts its cluster pauses before it rebuilds.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);

/// Why a member ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The flags contradict each other.
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    /// An address cannot be listened on.
    #[error("{flag}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// The flag it came from.
        flag: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The keys for clients' tokens cannot be used.
    #[error("--auth-token: {0}")]
    AuthToken(String),
    /// The data directory cannot be used.
    #[error(transparent)]
    Boot(#[from] boot::Error),
    /// Consensus cannot go on.
    #[error(transparent)]
    Raft(#[from] raft::Error),
    /// The state machine cannot go on.
    #[error(transparent)]
    Apply(#[from] apply::Error),
}

impl Error {
    /// Whether the member never started, for a reason that its user has to mend.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Error::Config(_) | Error::Listen { .. } | Error::AuthToken(_) | Error::Boot(_)
        )
    }
}

/// Runs a member until `stop` turns true (then `Ok`) or it must not go on; calls `serving` whenever
/// it begins to serve clients.
///
/// # Errors
/// See [`Error`]; whatever it is, what the member acknowledged is on its disk as far as its
/// `--wal-sync` setting promises.
pub async fn run(
    host: Arc<dyn Host>,
    config: Config,
    mut stop: watch::Receiver<bool>,
    serving: impl Fn(Arc<Server>),
) -> Result<(), Error> {
    config.validate()?;
    loop {
        let error = match run_once(&host, &config, &mut stop, &serving).await {
            Err(Error::Raft(error @ raft::Error::Diverged(_))) => error,
            ended => return ended,
        };
        let options = boot_options(&host, &config)?;
        if options.wal_sync.keeps_acknowledged_writes_over_power_loss() {
            return Err(error.into());
        }
        host.observe(Event::Rebuilding);
        tracing::error!(%error, "rebuilding this member from its peers, as --wal-sync permits");
        host.sleep(REBUILD_PAUSE).await;
        let disk = host.disk();
        host.run_blocking(move || boot::reset(&disk, &options))
            .await
            .unwrap_or(Ok(()))?;
    }
}

async fn run_once(
    host: &Arc<dyn Host>,
    config: &Config,
    stop: &mut watch::Receiver<bool>,
    serving: &impl Fn(Arc<Server>),
) -> Result<(), Error> {
    let client_listeners = listen(host, config.client_addresses()?, "--listen-client-urls").await?;
    let peer_listeners = listen(host, config.peer_addresses()?, "--listen-peer-urls").await?;
    let options = boot_options(host, config)?;
    let (disk, boot) = (host.disk(), options.clone());
    let booted = host
        .run_blocking(move || boot::boot(&disk, &boot))
        .await
        .ok_or(apply::Error::Interrupted)??;
    let signer = auth::signer(host, config).await?;
    let member = start(host, config, &options, booted, signer, peer_listeners)?;
    let (stop_serving, serving_stopped) = watch::channel(false);
    for listener in client_listeners {
        tracing::info!(address = listener.local_address(), "serving clients");
        let serving = api::serve_clients(
            host.clone(),
            listener,
            member.server.clone(),
            api::Limits {
                serve: config.serve_limits(),
                receive_bytes: config.grpc_receive_bytes_max(),
            },
            serving_stopped.clone(),
        );
        host.spawn("serve", Box::pin(serving));
    }
    serving(member.server.clone());
    let publishing = publish_attributes(member.server.clone(), attributes(config, &member));
    let publisher = host.spawn("publish", Box::pin(publishing));
    let ended = tokio::select! {
        biased;
        ended = member.raft_ended => ended.unwrap_or(Err(raft::Error::Stopped)).map_err(Error::from),
        ended = member.apply_ended => {
            ended.unwrap_or(Err(apply::Error::Interrupted)).map_err(Error::from)
        }
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    };
    publisher.abort();
    stop_serving.send_replace(true);
    if ended.is_ok() {
        host.sleep(DRAIN_TIMEOUT.min(Duration::from_millis(config.heartbeat_interval)))
            .await;
    }
    for task in member.tasks {
        task.abort();
    }
    drop(member.lock);
    ended
}

struct Member {
    server: Arc<Server>,
    raft_ended: oneshot::Receiver<Result<(), raft::Error>>,
    apply_ended: oneshot::Receiver<Result<(), apply::Error>>,
    tasks: Vec<crate::host::TaskHandle>,
    lock: Box<dyn Send + Sync>,
}

fn start(
    host: &Arc<dyn Host>,
    config: &Config,
    options: &boot::Options,
    booted: Booted,
    signer: Option<Arc<Signer>>,
    listeners: Vec<Box<dyn Listener>>,
) -> Result<Member, Error> {
    let Booted {
        identity,
        mut restored,
        backend,
        published: current,
        trusted_from_term,
        torn_bytes,
        lock,
    } = booted;
    let defects = host.defects();
    let applied = current.index;
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
    let published = Arc::new(Board::new(current.clone()));
    let latest = published.clone();
    let raft_options = raft::Options {
        pre_vote: config.pre_vote,
        snapshot_count: config.snapshot_count,
        snapshot_catchup_entries: config.snapshot_catchup_entries,
        ..raft::Options::new(
            Duration::from_millis(config.heartbeat_interval),
            Duration::from_millis(config.election_timeout),
            options.wal_sync,
            Arc::new(move || latest.latest()),
        )
    };
    let snapshots = Arc::new(SnapshotStore::new(options.snapshot_dir()));
    let peers = peer_addresses(&current.members, identity.member_id);
    let raft::Running {
        handle,
        applies,
        ended: raft_ended,
        tasks,
    } = raft::start(
        host.clone(),
        raft_options,
        identity,
        restored,
        peers,
        listeners,
        snapshots.clone(),
    )?;
    let backend = Arc::new(backend);
    let (backends, current_backend) = watch::channel(backend.clone());
    let waiters = Arc::new(Waiters::default());
    let tokens = Arc::new(Tokens::new(Duration::from_secs(config.auth_token_ttl)));
    let auth_kept = current.auth.version();
    let applier = Applier {
        host: host.clone(),
        defects: defects.clone(),
        identity,
        current,
        restored: applied,
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
        waiters: waiters.clone(),
        snapshots,
        tokens: tokens.clone(),
        auth_kept,
    };
    let (apply_sender, apply_ended) = oneshot::channel();
    let applying = async move {
        let _ = apply_sender.send(applier.run().await);
    };
    let mut tasks = tasks;
    tasks.push(host.spawn("apply", Box::pin(applying)));
    let server = Arc::new(Server {
        host: host.clone(),
        defects,
        identity,
        raft: handle,
        published,
        waiters,
        backend: current_backend,
        next_id: AtomicU64::new(host.random_u64() >> 1),
        limits: Limits {
            request_bytes: config.max_request_bytes,
            txn_operations: config.max_txn_ops,
        },
        authenticator: Authenticator::new(tokens, signer, config.bcrypt_cost),
        trusted_from_term,
        timeout: REQUEST_TIMEOUT + 2 * Duration::from_millis(config.election_timeout),
    });
    Ok(Member {
        server,
        raft_ended,
        apply_ended,
        tasks,
        lock,
    })
}

async fn listen(
    host: &Arc<dyn Host>,
    addresses: Vec<String>,
    flag: &'static str,
) -> Result<Vec<Box<dyn Listener>>, Error> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        match host.listen(&address).await {
            Ok(listener) => listeners.push(listener),
            Err(source) => {
                return Err(Error::Listen {
                    address,
                    flag,
                    source,
                });
            }
        }
    }
    Ok(listeners)
}

fn boot_options(host: &Arc<dyn Host>, config: &Config) -> Result<boot::Options, Error> {
    let cluster = config.cluster()?;
    Ok(boot::Options {
        data_dir: config.data_dir(),
        identity: raft::Identity {
            cluster_id: cluster.cluster_id,
            member_id: cluster.member_id,
        },
        identity_is_binding: config.initial_cluster_is_given(),
        members: Members::from_wire(cluster.members),
        wal_sync: config.wal_sync(),
        wal_options: wal::Options {
            segment_bytes: config.wal_segment_bytes,
        },
        boot_id: host.boot_id(),
    })
}

fn peer_addresses(members: &Members, own: u64) -> Vec<PeerAddress> {
    members
        .iter()
        .filter(|member| member.id != own)
        .map(|member| PeerAddress {
            member_id: member.id,
            addresses: member
                .peer_urls
                .iter()
                .filter_map(|url| crate::config::address_of(url).ok())
                .collect(),
        })
        .collect()
}

fn attributes(config: &Config, member: &Member) -> MemberAttributes {
    MemberAttributes {
        member_id: member.server.identity().member_id,
        name: config.name.clone(),
        client_urls: config.advertise_client_urls(),
    }
}

/// Tells the cluster this member's name and client URLs, until the log has them.
async fn publish_attributes(server: Arc<Server>, attributes: MemberAttributes) {
    loop {
        let state = server.serializable();
        let published = state.members.get(attributes.member_id);
        let done = published.is_none_or(|member| {
            member.name == attributes.name && member.client_urls == attributes.client_urls
        });
        if done {
            return;
        }
        let proposing = server.propose(Request::MemberAttributes(attributes.clone()));
        if let Err(error) = proposing.await {
            tracing::warn!(%error, "could not publish this member's client URLs yet");
            server.host().sleep(Duration::from_secs(1)).await;
        }
    }
}
