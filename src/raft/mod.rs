//! Consensus: raft-rs, fed with time, disk and network by the host.
//!
//! [`start`] restores the log, starts the loop ([`node`]), the peer [`transport`] and the ticks, and
//! returns a [`Handle`]. raft-rs's own types stay inside this module.
//!
//! What raft must be given for its proofs to hold, and where that happens: term and vote on disk
//! before any answer (`node`), a leader's own vote only after its sync (`node`), committed entries
//! in order and once (`server::apply`), a read index under a fresh ID for each try (`reads`),
//! messages only from the member they claim to be from (`transport`).

mod changes;
mod convert;
mod guard;
mod log_store;
mod node;
mod reads;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft::eraftpb::{HardState, Message};
use tokio::sync::{mpsc, oneshot, watch};

use crate::api::proto::vetcdpb;
use crate::host::{Host, Listener, Moment, TaskHandle};
use crate::metrics::Metrics;
use crate::server::{Members, Published};
use crate::wal;

pub use changes::encode_change;
pub use guard::Refusal;
pub use transport::{
    Answering, AskError, Calls, Identity, PeerAddress, SnapshotStore, Told, ask_members,
};

/// Inputs that may wait for the loop.
const QUEUE_INPUTS: usize = 8192;
/// The most entry bytes in one append message.
const MAX_APPEND_BYTES: u64 = 512 << 10;
/// Append messages on the way to one follower.
const MAX_IN_FLIGHT_APPENDS: usize = 256;
/// Proposed and not yet committed bytes, beyond which proposals are dropped.
const MAX_UNCOMMITTED_BYTES: u64 = 256 << 20;
/// Committed entry bytes handed to the apply task at a time.
const MAX_COMMITTED_BYTES: u64 = 16 << 20;

/// Why the raft loop ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log can no longer be trusted; nothing may be acknowledged any more.
    #[error("the write-ahead log failed: {0}")]
    Wal(#[source] wal::Error),
    /// Committed entries of this member contradict the leader's.
    #[error("{0}")]
    Diverged(#[source] Refusal),
    /// The log holds something that this version cannot apply.
    #[error("log entry {index} is of a kind that this version of vetcd does not support")]
    UnsupportedEntry {
        /// The entry's raft index.
        index: u64,
    },
    /// raft-rs refused its start parameters.
    #[error("raft cannot start: {0}")]
    Start(String),
    /// The membership that raft arrived at is not the one that was applied.
    #[error("the change of the membership at log entry {index} left raft with other members")]
    Membership {
        /// The entry's raft index.
        index: u64,
    },
    /// The cluster does not count this member any more.
    #[error(
        "this member was removed from its cluster, for good: its data directory is of no more use. \
         Start it anew with an empty one once it is added again"
    )]
    Removed,
    /// Part of the member has gone.
    #[error("the member is stopping")]
    Stopped,
}

/// What the loop reacts to.
pub(crate) enum Input {
    Tick,
    Propose(Bytes),
    ProposeChange(Bytes),
    ReadIndex(reads::Answer),
    Peer(Message),
    Unreachable(u64),
    SnapshotSent {
        to: u64,
        delivered: bool,
    },
    Applied {
        index: u64,
    },
    BackendDurable(Box<Reached>),
    Reconfigured(Box<Reconfigured>),
    TransferLeadership {
        to: u64,
    },
    /// A member that this one has not heard of wants to talk.
    Stranger(Box<vetcdpb::ClusterMember>),
    /// A peer says that this member was removed.
    Removed,
}

/// What a backend commit has reached.
#[derive(Clone, Debug)]
pub struct Reached {
    /// The raft index of the last entry in it.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The membership at that index.
    pub conf_state: vetcdpb::ConfState,
}

/// The members after an applied entry or an installed snapshot.
#[derive(Clone, Debug)]
pub struct Reconfigured {
    /// The raft index of the entry or snapshot.
    pub index: u64,
    /// What raft itself has to change.
    pub change: Option<vetcdpb::ConfChange>,
    /// What raft's membership then has to be.
    pub conf_state: vetcdpb::ConfState,
    /// The members, and who was removed.
    pub members: Members,
}

/// A committed entry.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its raft index.
    pub index: u64,
    /// The term it was created in.
    pub term: u64,
    /// Whether it changes the membership: the data is then a `ConfChange` around the request.
    pub is_change: bool,
    /// The request, empty for the entry a new leader begins its term with.
    pub data: Bytes,
}

/// What the loop hands to the apply task, in log order.
///
/// The queue is unbounded because the entries in it stand in the in-memory log as well and share
/// its bytes; the server stops proposing when the gap grows too wide.
#[derive(Debug)]
pub enum Apply {
    /// Committed entries.
    Entries(Vec<Committed>),
    /// A received snapshot whose mark is durable replaces the store.
    Install {
        /// The raft index of the snapshot.
        index: u64,
        /// The raft term of the snapshot.
        term: u64,
    },
}

/// A member's part in its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Follows, or waits for, a leader.
    #[default]
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// What the loop last told about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The current term.
    pub term: u64,
    /// The leader's member ID, 0 when unknown.
    pub leader: u64,
    /// This member's part.
    pub role: Role,
    /// The highest committed index.
    pub commit: u64,
}

/// The state machine, as raft sees it.
pub trait Applied: Send + Sync {
    /// The members, and the raft index they are known as of.
    fn members(&self) -> (u64, Members);
    /// The newest applied state, to offer it as a snapshot; `None` while the store is being read.
    fn latest(&self) -> Option<Arc<Published>>;
}

/// How raft behaves, from the member's configuration.
#[derive(Clone)]
pub struct Options {
    /// One tick; also the time between heartbeats.
    pub tick: Duration,
    /// Ticks without a leader before an election, at least; up to twice as many.
    pub election_ticks: usize,
    /// Ask whether an election could be won before disturbing a leader.
    pub pre_vote: bool,
    /// Entries between two compactions of the log.
    pub snapshot_count: u64,
    /// Entries kept behind a compaction for followers that lag a little.
    pub snapshot_catchup_entries: u64,
    /// When the log is made durable.
    pub wal_sync: wal::SyncPolicy,
    /// The state machine.
    pub applied: Arc<dyn Applied>,
    /// Whether a member that starts stands for election early.
    pub initial_tick_advance: bool,
    /// What the member measures.
    pub metrics: Arc<Metrics>,
    /// Term and vote as last written.
    pub(crate) synced_vote: (u64, u64),
}

impl Options {
    /// Options from the flags' values.
    pub fn new(
        tick: Duration,
        election_timeout: Duration,
        wal_sync: wal::SyncPolicy,
        applied: Arc<dyn Applied>,
    ) -> Options {
        let ticks = election_timeout.as_micros() / tick.as_micros().max(1);
        Options {
            tick,
            election_ticks: (ticks as usize).max(2),
            pre_vote: true,
            snapshot_count: 10_000,
            snapshot_catchup_entries: 5_000,
            wal_sync,
            applied,
            initial_tick_advance: true,
            metrics: Arc::default(),
            synced_vote: (0, 0),
        }
    }
}

/// The log as found on disk, reconciled with the backend by the server.
pub struct Restored {
    /// The open log.
    pub log: wal::Log,
    /// Term, vote and commit.
    pub hard_state: wal::HardState,
    /// The membership at the start of the log.
    pub conf_state: vetcdpb::ConfState,
    /// Index and term of the entry before the log's first.
    pub compacted: (u64, u64),
    /// The log's entries.
    pub entries: Vec<vetcdpb::Entry>,
    /// The last index the backend holds.
    pub applied: u64,
}

/// Talks to the raft loop.
#[derive(Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    status: watch::Receiver<Status>,
    wal_metrics: Arc<wal::WriterMetrics>,
    contacts: Arc<transport::Contacts>,
}

impl Handle {
    /// A handle with nobody behind it, and what it is told.
    #[cfg(test)]
    pub(crate) fn detached() -> (Handle, mpsc::Receiver<Input>) {
        let (inputs, heard) = mpsc::channel(QUEUE_INPUTS);
        let handle = Handle {
            inputs,
            status: watch::channel(Status::default()).1,
            wal_metrics: Arc::default(),
            contacts: Arc::default(),
        };
        (handle, heard)
    }

    /// Proposes an entry; `false` when too much is waiting already, and then it was not proposed.
    pub fn propose(&self, data: Bytes) -> bool {
        self.inputs.try_send(Input::Propose(data)).is_ok()
    }

    /// Proposes a change of the membership; as [`Handle::propose`]. The leader may put a
    /// `ChangeRefused` in its place.
    pub fn propose_change(&self, request: Bytes) -> bool {
        self.inputs.try_send(Input::ProposeChange(request)).is_ok()
    }

    /// Asks this member, if it leads, to make `to` the leader.
    pub async fn transfer_leadership(&self, to: u64) {
        let _ = self.inputs.send(Input::TransferLeadership { to }).await;
    }

    /// Since when this member has been connected to `peer`; `None` when it is not.
    pub fn connected_since(&self, peer: u64) -> Option<Moment> {
        self.contacts.since(peer)
    }

    /// Tells the loop who the members are now. Comes before [`Handle::applied`] with that index.
    pub async fn reconfigured(&self, members: Reconfigured) {
        let _ = self
            .inputs
            .send(Input::Reconfigured(Box::new(members)))
            .await;
    }

    /// Asks for an index that a linearizable read has to wait for. The answer may never come:
    /// callers bound the wait.
    pub async fn read_index(&self) -> Option<u64> {
        let (answer, heard) = oneshot::channel();
        self.inputs.send(Input::ReadIndex(answer)).await.ok()?;
        heard.await.ok()
    }

    /// Tells the loop how far the state machine has come.
    pub async fn applied(&self, index: u64) {
        let _ = self.inputs.send(Input::Applied { index }).await;
    }

    /// Tells the loop what the backend holds durably.
    pub async fn backend_durable(&self, reached: Reached) {
        let _ = self
            .inputs
            .send(Input::BackendDurable(Box::new(reached)))
            .await;
    }

    /// What the loop last told about itself.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// What the log's writer has done so far.
    pub fn wal_metrics(&self) -> &wal::WriterMetrics {
        &self.wal_metrics
    }
}

/// The running loop's other ends.
pub struct Running {
    /// Talks to the loop.
    pub handle: Handle,
    /// What the loop wants applied.
    pub applies: mpsc::UnboundedReceiver<Apply>,
    /// Completes when the loop ends, with the reason.
    pub ended: oneshot::Receiver<Result<(), Error>>,
    /// What to end when the member stops.
    pub tasks: Vec<TaskHandle>,
}

/// What a member is reached by, and what goes to and fro beside raft's messages.
pub struct Links {
    /// Where peers connect.
    pub listeners: Vec<Box<dyn Listener>>,
    /// Snapshots received and to be sent.
    pub snapshots: Arc<SnapshotStore>,
    /// Questions between members.
    pub calls: Arc<Calls>,
}

/// Starts raft on a restored log.
pub fn start(
    host: Arc<dyn Host>,
    mut options: Options,
    identity: Identity,
    restored: Restored,
    members: Members,
    links: Links,
) -> Result<Running, Error> {
    let Links {
        listeners,
        snapshots,
        calls,
    } = links;
    let start_error = |error: &dyn std::fmt::Display| Error::Start(error.to_string());
    let entries = restored
        .entries
        .into_iter()
        .map(convert::entry_from_wire)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| start_error(&error))?;
    let hard_state = HardState {
        term: restored.hard_state.term,
        vote: restored.hard_state.vote,
        commit: restored.hard_state.commit,
        ..Default::default()
    };
    options.synced_vote = (hard_state.term, hard_state.vote);
    let applied = options.applied.clone();
    let offers = snapshots.clone();
    let store = log_store::LogStore::new(
        hard_state,
        convert::conf_state_from_wire(restored.conf_state),
        restored.compacted,
        entries,
        move || {
            // Whatever raft names in a snapshot message must still be there when it is sent.
            let published = applied.latest()?;
            offers.offer(published.clone());
            Some(published)
        },
    );
    let config = raft::Config {
        id: identity.member_id,
        election_tick: options.election_ticks,
        heartbeat_tick: 1,
        applied: restored.applied,
        max_size_per_msg: MAX_APPEND_BYTES,
        max_inflight_msgs: MAX_IN_FLIGHT_APPENDS,
        check_quorum: true,
        pre_vote: options.pre_vote,
        max_uncommitted_size: MAX_UNCOMMITTED_BYTES,
        max_committed_size_per_ready: MAX_COMMITTED_BYTES,
        ..Default::default()
    };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let raft = raft::RawNode::new(&config, store, &logger).map_err(|error| start_error(&error))?;

    let (input_sender, inputs) = mpsc::channel(QUEUE_INPUTS);
    let (apply_sender, applies) = mpsc::unbounded_channel();
    let (ack_sender, acks) = mpsc::unbounded_channel();
    let (status_sender, status) = watch::channel(Status::default());
    let (ended_sender, ended) = oneshot::channel();
    let wal = wal::Writer::start(
        host.clone(),
        restored.log,
        options.wal_sync,
        ack_sender,
        options.metrics.disk.wal_fsync_seconds.clone(),
    );
    let wal_metrics = wal.metrics();
    let mut transport = transport::Transport::start(
        host.clone(),
        identity,
        &members,
        transport::Sources {
            snapshots,
            applied: options.applied.clone(),
            calls,
            metrics: options.metrics.clone(),
        },
        listeners,
        input_sender.clone(),
    );
    let contacts = transport.contacts();
    let ticking = tick(host.clone(), options.tick, input_sender.clone());
    let mut tasks = transport.take_tasks();
    tasks.push(host.spawn("tick", Box::pin(ticking)));
    let node = node::Node::new(node::Parts {
        host: host.clone(),
        options,
        raft,
        transport,
        wal,
        acks,
        inputs,
        applies: apply_sender,
        status: status_sender,
        marked: restored.compacted.0,
    });
    let running = async move {
        let _ = ended_sender.send(node.run().await);
    };
    tasks.push(host.spawn("raft", Box::pin(running)));
    Ok(Running {
        handle: Handle {
            inputs: input_sender,
            status,
            wal_metrics,
            contacts,
        },
        applies,
        ended,
        tasks,
    })
}

/// Ticks do not pile up: a loop that could not take one has missed it.
async fn tick(host: Arc<dyn Host>, every: Duration, inputs: mpsc::Sender<Input>) {
    loop {
        host.sleep(every).await;
        if let Err(mpsc::error::TrySendError::Closed(_)) = inputs.try_send(Input::Tick) {
            return;
        }
    }
}
