//! The path of a request: propose, apply, linearizable read.
//!
//! [`run`] starts a member and ends when it is told to stop or must not go on. [`Server`] is what
//! the services in [`crate::api`] call. A write is proposed and answered by [`apply`] once it is
//! committed and applied; a linearizable read waits for a read index and reads the state last
//! published; a serializable read takes that state as it is.

mod alarms;
mod apply;
mod apply_lease;
mod auth;
mod auto_compaction;
mod board;
pub mod boot;
mod commit;
mod corruption;
mod counts;
mod defragment;
mod election;
pub mod etcd_snapshot;
mod indexing;
mod join;
mod lease;
mod lock;
mod lone;
mod members;
mod news;
pub mod offline;
mod permit;
mod reading;
mod reconfigure;
mod refusal;
mod run;
mod space;
mod start;
mod state_hash;
mod upkeep;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio::sync::{mpsc, watch};

use crate::api::proto::etcdserverpb as pb;
use crate::api::proto::vetcdpb::{self, log_request::Request};
use crate::auth as access;
use crate::backend::Backend;
use crate::defect;
use crate::defects::Defects;
use crate::host::{Host, HostExt};
use crate::metrics::Metrics;
use crate::mvcc::{self, State};
use crate::raft;
use crate::storage::Space;
use crate::watch::{self as watches, Hub};

pub use alarms::{Alarms, DEFAULT_QUOTA_BYTES};
pub use apply::Sizes;
pub use auth::{Authenticator, Credentials};
use board::Board;
pub use boot::Error as BootError;
pub use election::ElectionError;
pub use lock::LockError;
pub use members::{Members, to_api};
use news::News;
pub use reading::Whole;
pub use reconfigure::Policy;
pub use refusal::Refusal;
pub use run::{Error, run};
pub use state_hash::state_hash;
pub use upkeep::DefragmentError;
use upkeep::Order;
use waiters::Waiters;

/// Entries committed and not yet applied, beyond which new requests are refused.
const MAX_APPLY_GAP: u64 = 5_000;
/// A request waits this long, and two election timeouts more.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The store as of one applied entry: what reads see and snapshots are made of.
#[derive(Clone)]
pub struct Published {
    /// The raft index of the entry applied last.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The membership as raft knows it.
    pub conf_state: vetcdpb::ConfState,
    /// The members as clients know them.
    pub members: Members,
    /// The alarms that are on.
    pub alarms: Alarms,
    /// Keys and values.
    pub state: State,
    /// Users and roles.
    pub auth: access::State,
}

impl Published {
    /// What goes with the keys into a snapshot.
    pub fn meta(&self, identity: raft::Identity) -> vetcdpb::BackendMeta {
        vetcdpb::BackendMeta {
            auth: Some(self.auth.to_wire()),
            ..self.batch_meta(identity)
        }
    }

    /// What goes with the keys into every backend batch: without users and roles, which a batch
    /// brings only when they have changed.
    pub fn batch_meta(&self, identity: raft::Identity) -> vetcdpb::BackendMeta {
        vetcdpb::BackendMeta {
            consistent_index: self.index,
            term: self.term,
            conf_state: Some(self.conf_state.clone()),
            members: self.members.to_wire(),
            compact_revision: self.state.compact_revision(),
            compact_finished: self.state.compact_finished(),
            cluster_id: identity.cluster_id,
            member_id: identity.member_id,
            revision: self.state.revision(),
            leases: self.state.leases().len() as u64,
            alarms: self.alarms.to_wire(),
            removed_members: self.members.removed().collect(),
            auth: None,
        }
    }

    /// What a backend or a snapshot held.
    pub fn restored(state: State, meta: vetcdpb::BackendMeta) -> Published {
        Standing::of(meta).with(state)
    }
}

/// What stands beside the keys of a store: read in no time, however many keys there are, and enough
/// for raft to start.
#[derive(Clone)]
pub struct Standing {
    /// See [`Published::index`].
    pub index: u64,
    /// See [`Published::term`].
    pub term: u64,
    /// See [`Published::conf_state`].
    pub conf_state: vetcdpb::ConfState,
    /// See [`Published::members`].
    pub members: Members,
    /// See [`Published::alarms`].
    pub alarms: Alarms,
    /// See [`Published::auth`].
    pub auth: access::State,
}

impl Standing {
    /// As a backend or a snapshot holds it.
    pub fn of(meta: vetcdpb::BackendMeta) -> Standing {
        Standing {
            index: meta.consistent_index,
            term: meta.term,
            conf_state: meta.conf_state.unwrap_or_default(),
            members: Members::from_wire(meta.members).with_removed(meta.removed_members),
            alarms: Alarms::from_wire(meta.alarms),
            auth: access::State::from_wire(meta.auth),
        }
    }

    /// The whole, with its keys.
    pub fn with(self, state: State) -> Published {
        Published {
            index: self.index,
            term: self.term,
            conf_state: self.conf_state,
            members: self.members,
            alarms: self.alarms,
            state,
            auth: self.auth,
        }
    }
}

/// Why a request was not answered. [`RequestError::message`] is etcd's own text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The store refuses it: nothing happened.
    #[error(transparent)]
    Store(#[from] mvcc::Error),
    /// The cluster or its state does not allow it: nothing happened.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The caller is not known or may not do it: nothing happened.
    #[error(transparent)]
    Auth(#[from] access::Error),
    /// It is larger than `--max-request-bytes`: nothing happened.
    #[error("etcdserver: request is too large")]
    TooLarge,
    /// Too much is waiting: nothing happened.
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    /// No answer in time: a write may have happened, or happen yet.
    #[error("etcdserver: request timed out")]
    Timeout,
    /// The member is stopping: a write may have happened, or happen yet.
    #[error("etcdserver: server stopped")]
    Stopped,
}

/// The answer to a replicated request.
#[derive(Clone, Debug)]
pub enum Response {
    /// To a put.
    Put(pb::PutResponse),
    /// To a delete.
    DeleteRange(pb::DeleteRangeResponse),
    /// To a transaction.
    Txn(pb::TxnResponse),
    /// To a compaction.
    Compaction,
    /// To a member's publication of its attributes.
    MemberAttributes,
    /// To the grant of a lease; without what the service adds.
    LeaseGrant(pb::LeaseGrantResponse),
    /// To the revocation of a lease, by a client or by expiry: the store's revision after it.
    LeaseRevoke {
        /// That revision.
        revision: i64,
    },
    /// To a checkpoint of leases.
    LeaseCheckpoint {
        /// Whether it counted: it came in the term it was meant for.
        counted: bool,
    },
    /// To a change of the membership: the members after it.
    Members(Members),
    /// To a request about alarms: those it concerns.
    Alarms(Vec<pb::AlarmMember>),
    /// To a change of users or roles.
    Auth,
    /// To a login: the token.
    Login(String),
}

/// What every request may not exceed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of an encoded write request.
    pub request_bytes: usize,
    /// Operations in one transaction.
    pub txn_operations: usize,
}

/// A running member, as its services see it.
pub struct Server {
    host: Arc<dyn Host>,
    defects: Defects,
    identity: raft::Identity,
    raft: raft::Handle,
    published: Arc<Board>,
    whole: Arc<Whole>,
    waiters: Arc<Waiters>,
    backend: watch::Receiver<Arc<Backend>>,
    next_id: AtomicU64,
    limits: Limits,
    watches: Arc<Hub>,
    watch_options: watches::Options,
    timeout: Duration,
    leases: lease::Timekeeper,
    calls: Arc<raft::Calls>,
    news: Arc<News>,
    tick: Duration,
    policy: Policy,
    /// The most the store may hold (bytes).
    quota: Option<u64>,
    sizes: Arc<Sizes>,
    space: Arc<Space>,
    orders: mpsc::Sender<Order>,
    metrics: Arc<Metrics>,
    authenticator: Authenticator,
    corruption: corruption::Monitor,
    /// No state is shown before an entry of this term or a later one is applied.
    trusted_from_term: u64,
}

impl Server {
    /// Proposes what the member does by itself, on nobody else's behalf, and waits until this member
    /// has applied it.
    async fn propose_own(&self, request: Request) -> Result<Response, RequestError> {
        self.propose_as(self.own_caller(), request).await
    }

    /// In whose name the member itself acts.
    fn own_caller(&self) -> access::Caller {
        let auth = &self.serializable().auth;
        match auth.is_enabled() {
            true => access::Caller::member_itself(auth.revision()),
            false => access::Caller::default(),
        }
    }

    /// Proposes `request` on behalf of `caller` and waits until this member has applied it. What
    /// the caller may do is decided then, in log order.
    pub async fn propose_as(
        &self,
        caller: access::Caller,
        request: Request,
    ) -> Result<Response, RequestError> {
        self.propose_counted(caller, request, raft::Handle::propose)
            .await
    }

    /// Proposes a change of the membership, which raft has to know of.
    async fn propose_change(
        &self,
        caller: access::Caller,
        request: Request,
    ) -> Result<Response, RequestError> {
        self.propose_counted(caller, request, raft::Handle::propose_change)
            .await
    }

    async fn propose_counted(
        &self,
        caller: access::Caller,
        request: Request,
        hand_over: fn(&raft::Handle, Bytes) -> bool,
    ) -> Result<Response, RequestError> {
        let metrics = &self.metrics.server;
        metrics.proposals_pending.inc();
        let _pending = Pending(&metrics.proposals_pending);
        let outcome = self.propose_uncounted(caller, request, hand_over).await;
        if matches!(
            outcome,
            Err(RequestError::Timeout | RequestError::Stopped | RequestError::TooManyRequests)
        ) {
            metrics.proposals_failed.inc();
        }
        outcome
    }

    async fn propose_uncounted(
        &self,
        caller: access::Caller,
        request: Request,
        hand_over: fn(&raft::Handle, Bytes) -> bool,
    ) -> Result<Response, RequestError> {
        if defect!(self.defects, PermissionAtPropose) {
            permit::permit(&self.serializable(), &caller, &request)?;
        }
        let (id, data) = self.entry(caller, request);
        if data.len() > self.limits.request_bytes {
            return Err(RequestError::TooLarge);
        }
        let applied = self.published.latest().index;
        if self.raft.status().commit > applied + MAX_APPLY_GAP {
            return Err(RequestError::TooManyRequests);
        }
        let waiter = self.waiters.register(id);
        if !hand_over(&self.raft, data) {
            return Err(RequestError::TooManyRequests);
        }
        match self.host.timeout(self.timeout, waiter).await {
            Some(Some(result)) => result,
            Some(None) => Err(RequestError::Stopped),
            None => Err(RequestError::Timeout),
        }
    }

    /// Proposes what the member does by itself and waits for nothing; `false` when too much is
    /// waiting already.
    fn propose_unanswered(&self, request: Request) -> bool {
        let (_, data) = self.entry(self.own_caller(), request);
        self.raft.propose(data)
    }

    /// `request` as the data of a log entry, and its ID.
    fn entry(&self, caller: access::Caller, request: Request) -> (u64, Bytes) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let entry = vetcdpb::LogRequest {
            id,
            member_id: self.identity.member_id,
            request: Some(request),
            user: caller.user,
            auth_revision: caller.revision,
        };
        let mut data = BytesMut::with_capacity(entry.encoded_len());
        entry
            .encode(&mut data)
            .expect("the buffer has the encoded length");
        (id, data.freeze())
    }

    /// A state that includes every write acknowledged before the call.
    pub async fn linearizable(&self) -> Result<Arc<Published>, RequestError> {
        if defect!(self.defects, LocalRead) {
            return Ok(self.serializable());
        }
        let read = self
            .within_timeout(async {
                let index = self.raft.read_index().await?;
                self.reached(index).await
            })
            .await;
        if let Err(error) = &read {
            self.metrics.server.read_indexes_failed.inc();
            if *error == RequestError::Timeout {
                self.metrics.server.slow_read_indexes.inc();
            }
        }
        read
    }

    /// The state this member applied last, once it is known to be the cluster's; it may be old.
    async fn trusted(&self) -> Result<Arc<Published>, RequestError> {
        self.within_timeout(self.reached(0)).await
    }

    /// A state that has reached `index` and may be shown; `None` when the member stops first.
    async fn reached(&self, index: u64) -> Option<Arc<Published>> {
        self.published.reached(index, self.trusted_from_term).await
    }

    async fn within_timeout<T>(
        &self,
        work: impl Future<Output = Option<T>>,
    ) -> Result<T, RequestError> {
        match self.host.timeout(self.timeout, work).await {
            Some(Some(value)) => Ok(value),
            Some(None) => Err(RequestError::Stopped),
            None => Err(RequestError::Timeout),
        }
    }

    /// The state this member applied last, whatever it is worth.
    pub fn serializable(&self) -> Arc<Published> {
        self.published.latest()
    }

    /// The state for a read of either kind.
    pub async fn read(&self, serializable: bool) -> Result<Arc<Published>, RequestError> {
        match serializable {
            true => self.trusted().await,
            false => self.linearizable().await,
        }
    }

    /// A response header that shows `revision`.
    pub fn header(&self, revision: i64) -> pb::ResponseHeader {
        pb::ResponseHeader {
            cluster_id: self.identity.cluster_id,
            member_id: self.identity.member_id,
            revision,
            raft_term: self.raft.status().term,
        }
    }

    /// This member's and its cluster's ID.
    pub fn identity(&self) -> raft::Identity {
        self.identity
    }

    /// What raft last told about itself.
    pub fn raft_status(&self) -> raft::Status {
        self.raft.status()
    }

    /// The raft loop.
    pub fn raft(&self) -> &raft::Handle {
        &self.raft
    }

    /// What requests may not exceed.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The host, for work that must not stall other requests.
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// All watches of this member.
    pub fn watches(&self) -> &Arc<Hub> {
        &self.watches
    }

    /// How streams of watches behave.
    pub fn watch_options(&self) -> watches::Options {
        self.watch_options
    }

    /// The store's size as of its last commit.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Whether this member is a learner, as far as it knows.
    pub fn is_learner(&self) -> bool {
        let published = self.serializable();
        let own = published.members.get(self.identity.member_id);
        own.is_some_and(|member| member.is_learner)
    }

    /// What this member measures.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The names of the alarms that are raised.
    pub fn raised_alarms(&self) -> Vec<&'static str> {
        let published = self.serializable();
        let kinds = [pb::AlarmType::Nospace, pb::AlarmType::Corrupt];
        let raised = kinds.iter().filter(|kind| published.alarms.is_on(**kind));
        raised.map(|kind| kind.as_str_name()).collect()
    }

    /// The store on disk.
    pub fn backend(&self) -> Arc<Backend> {
        self.backend.borrow().clone()
    }
}

/// A proposal in progress: counted until it is answered or given up.
struct Pending<'a>(&'a prometheus::IntGauge);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
