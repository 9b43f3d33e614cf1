//! A member's life: bind, boot, start, serve, stop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::api;
use crate::api::http::Serves;
use crate::api::proto::vetcdpb::{MemberAttributes, log_request::Request};
use crate::backend::Backend;
use crate::config::{ClusterState, Config, MemberUrl, MetricsDetail};
use crate::host::{Event, Host, HostExt, Listener};
use crate::mvcc::State;
use crate::raft;
use crate::storage::Fault;
use crate::tls::Tls;
use crate::wal;

use super::apply;
use super::auth;
use super::auto_compaction;
use super::boot::{self, Opened, Store};
use super::corruption;
use super::join;
use super::start::{Member, Peer};
use super::{Members, Server};

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
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] crate::tls::Error),
    /// The keys for clients' tokens cannot be used.
    #[error("--auth-token: {0}")]
    AuthToken(String),
    /// The data directory cannot be used.
    #[error(transparent)]
    Boot(#[from] boot::Error),
    /// The cluster to join cannot be found, or is another one.
    #[error(transparent)]
    Join(#[from] join::Error),
    /// The store differs from those of the other members.
    #[error(transparent)]
    Corrupt(#[from] corruption::Inconsistent),
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
            Error::Config(_)
                | Error::Listen { .. }
                | Error::Tls(_)
                | Error::AuthToken(_)
                | Error::Boot(_)
                | Error::Join(_)
                | Error::Corrupt(_)
        )
    }

    /// What a fault of the storage means that ended the member; `None` when it was none.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Error::Boot(error) => error.fault(),
            Error::Apply(error) => error.fault(),
            Error::Raft(raft::Error::Wal(error)) => error.fault(),
            _ => None,
        }
    }

    /// Whether the member could not join its cluster, and has never been part of it.
    pub fn is_failed_join(&self) -> bool {
        matches!(self, Error::Join(_))
    }

    /// Whether the member ended because its cluster removed it.
    pub fn is_removal(&self) -> bool {
        matches!(
            self,
            Error::Raft(raft::Error::Removed) | Error::Boot(boot::Error::Removed(_))
        )
    }
}

/// The log reserves space so many bytes at a time.
const WAL_ALLOCATE_BYTES: u64 = 4 << 20;
/// So much space the log keeps for a full disk: some ten thousand votes, heartbeats' commit indexes
/// and removals, and the alarm.
const WAL_RESERVE_BYTES: u64 = 4 << 20;
/// Released segments of the log that are kept to be written over.
const WAL_SPARES: usize = 1;

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
    let listening = Listening::start(host, config).await?;
    let mut options = boot_options(host, config)?;
    if options.joins {
        let dialling = listening.tls.peer_host(host);
        let joining = join(&dialling, config, &mut options);
        tokio::select! {
            biased;
            joined = joining => joined?,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
    let (disk, boot) = (host.disk(), options.clone());
    let mut booted = host
        .run_blocking(move || boot::boot(&disk, &boot))
        .await
        .ok_or(apply::Error::Interrupted)??;
    if config.checks.initial() {
        // Whoever wants to be sure before the member takes part has it wait for its store.
        let (backend, state) = read(host, booted.store).await?;
        booted.store = Store::known(backend, state.clone());
        let own = booted.standing.clone().with(state);
        let dialling = listening.tls.peer_host(host);
        let trusted_from = booted.trusted_from_term;
        let checking =
            corruption::check_at_start(&dialling, config, booted.identity, &own, trusted_from);
        tokio::select! {
            biased;
            checked = checking => checked?,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
    let signer = auth::signer(host, config).await?;
    let retention = config.operations.auto_compaction()?;
    let Listening {
        tls,
        clients,
        peers,
    } = listening;
    let (peer, store) = Peer::start(host, config, &options, booted, (&tls, peers))?;
    let opened = match open(host, store).await {
        Ok(opened) => opened,
        Err(error) => {
            peer.stop();
            return Err(error);
        }
    };
    let member = peer.serve(host, config, &options, opened, signer);
    let (stop_serving, serving_stopped) = watch::channel(false);
    for (listener, serves) in clients {
        tracing::info!(
            address = listener.local_address(),
            ?serves,
            "serving clients"
        );
        let serving = api::serve_clients(
            host.clone(),
            listener,
            member.server.clone(),
            serves,
            api::Limits {
                serve: config.serve_limits(),
                receive_bytes: config.grpc_receive_bytes_max(),
                extensive_metrics: config.operations.metrics == MetricsDetail::Extensive,
            },
            serving_stopped.clone(),
        );
        host.spawn("serve", Box::pin(serving));
    }
    let compacting = retention.map(|retention| {
        let compacting = auto_compaction::run(member.server.clone(), retention);
        host.spawn("auto-compaction", Box::pin(compacting))
    });
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
    if let Some(compacting) = compacting {
        compacting.abort();
    }
    stop_serving.send_replace(true);
    member.server.watches().close();
    if ended.as_ref().map_or_else(Error::is_removal, |()| true) {
        host.sleep(DRAIN_TIMEOUT.min(Duration::from_millis(config.heartbeat_interval)))
            .await;
    }
    for task in member.tasks {
        task.abort();
    }
    drop(member.lock);
    ended
}

/// Reads of a store what must be known to serve clients.
async fn open(host: &Arc<dyn Host>, store: Store) -> Result<Opened, Error> {
    let begun = host.now();
    let opened = host.run_blocking(move || store.open()).await;
    let opened = opened.ok_or(apply::Error::Interrupted)??;
    let took = host.now().since(begun);
    match opened.state.is_partial() {
        true => tracing::info!(
            ?took,
            "the store is open; it is read while clients are served"
        ),
        false => {
            let records = opened.state.record_count();
            tracing::info!(records, ?took, "the store is read");
        }
    }
    Ok(opened)
}

/// Reads the keys of a store.
async fn read(host: &Arc<dyn Host>, store: Store) -> Result<(Backend, State), Error> {
    let begun = host.now();
    let read = host.run_blocking(move || store.read()).await;
    let (backend, state) = read.ok_or(apply::Error::Interrupted)??;
    let took = host.now().since(begun);
    tracing::info!(records = state.record_count(), ?took, "the store is read");
    Ok((backend, state))
}

/// Before a first start: asks the cluster's members who this member is.
async fn join(
    host: &Arc<dyn Host>,
    config: &Config,
    options: &mut boot::Options,
) -> Result<(), Error> {
    let (disk, boot) = (host.disk(), options.clone());
    let looking = host.run_blocking(move || boot::has_log(&disk, &boot));
    if looking.await.ok_or(apply::Error::Interrupted)?? {
        return Ok(());
    }
    let cluster = config.cluster()?;
    let joined = join::discover(host, &cluster.members, cluster.member_id).await?;
    tracing::info!(
        cluster = format_args!("{:x}", joined.identity.cluster_id),
        member = format_args!("{:x}", joined.identity.member_id),
        "joining a cluster"
    );
    options.identity = joined.identity;
    options.members = joined.members;
    Ok(())
}

/// Everything that is listened on, and what TLS needs, before the data directory is opened.
struct Listening {
    tls: Tls,
    clients: Vec<(Box<dyn Listener>, Serves)>,
    peers: Vec<Box<dyn Listener>>,
}

impl Listening {
    async fn start(host: &Arc<dyn Host>, config: &Config) -> Result<Listening, Error> {
        let tls = Tls::start(host, config).await?;
        let http = config.listen_client_http_urls();
        let all = match http.is_empty() {
            true => Serves::All,
            false => Serves::Grpc,
        };
        let mut clients = Vec::new();
        for (flag, urls, serves, config) in [
            (
                "--listen-client-urls",
                config.listen_client_urls(),
                all,
                tls.clients(),
            ),
            (
                "--listen-client-http-urls",
                http,
                Serves::Http,
                tls.clients(),
            ),
            (
                "--listen-metrics-urls",
                config.listen_metrics_urls(),
                Serves::Metrics,
                tls.metrics(),
            ),
        ] {
            let listeners = listen(host, urls, flag, config).await?;
            clients.extend(listeners.into_iter().map(|listener| (listener, serves)));
        }
        let urls = config.listen_peer_urls();
        let peers = listen(host, urls, "--listen-peer-urls", tls.peers()).await?;
        Ok(Listening {
            tls,
            clients,
            peers,
        })
    }
}

async fn listen(
    host: &Arc<dyn Host>,
    urls: Vec<MemberUrl>,
    flag: &'static str,
    tls: Option<Arc<crate::tls::ServerSide>>,
) -> Result<Vec<Box<dyn Listener>>, Error> {
    let mut listeners = Vec::with_capacity(urls.len());
    for MemberUrl {
        tls: secure,
        address,
    } in urls
    {
        match host.listen(&address).await {
            Ok(listener) => {
                let tls = tls.clone().filter(|_| secure);
                listeners.push(crate::tls::listener(listener, tls));
            }
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
    let joins = config.initial_cluster_state == ClusterState::Existing;
    let forced = config.force_new_cluster;
    Ok(boot::Options {
        data_dir: config.data_dir(),
        identity: raft::Identity {
            cluster_id: cluster.cluster_id,
            member_id: cluster.member_id,
        },
        // A cluster that changed its members is not the one the flags once described.
        identity_is_binding: config.initial_cluster_is_given() && !joins && !forced,
        members: Members::from_wire(cluster.members),
        joins,
        force_new_cluster: forced,
        wal_sync: config.wal_sync(),
        wal_options: wal::Options {
            segment_bytes: config.wal_segment_bytes,
            allocate_bytes: WAL_ALLOCATE_BYTES,
            reserve_bytes: WAL_RESERVE_BYTES.min(config.wal_segment_bytes),
            spares: WAL_SPARES,
            keep: match config.max_wals {
                0 => usize::MAX,
                most => most,
            },
        },
        boot_id: host.boot_id(),
    })
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
        let done = published.is_some_and(|member| {
            member.name == attributes.name && member.client_urls == attributes.client_urls
        });
        if done {
            return;
        }
        if published.is_none() {
            // Not in this member's log yet.
            server.host().sleep(Duration::from_millis(100)).await;
            continue;
        }
        let proposing = server.propose_own(Request::MemberAttributes(attributes.clone()));
        if let Err(error) = proposing.await {
            tracing::warn!(%error, "could not publish this member's client URLs yet");
            server.host().sleep(Duration::from_secs(1)).await;
        }
    }
}
