//! The path of a request: propose, apply, linearizable read.
//!
//! [`run`] starts a member and ends when it is told to stop or must not go on. [`Server`] is what
//! the services in [`crate::api`] call. A write is proposed and answered by [`apply`] once it is
//! committed and applied; a linearizable read waits for a read index and reads the state last
//! published; a serializable read takes that state as it is.

mod apply;
mod auth;
mod board;
mod boot;
mod members;
mod permit;
mod run;
mod state_hash;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use prost::Message;
use tokio::sync::watch;

use crate::api::proto::etcdserverpb as pb;
use crate::api::proto::vetcdpb::{self, log_request::Request};
use crate::auth as access;
use crate::backend::Backend;
use crate::defect;
use crate::defects::Defects;
use crate::host::{Host, HostExt};
use crate::mvcc::{self, State};
use crate::raft;

pub use auth::{Authenticator, Credentials};
use board::Board;
pub use members::Members;
pub use run::{Error, run};
pub use state_hash::state_hash;
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
            auth: None,
        }
    }
}

/// Why a request was not answered. [`RequestError::message`] is etcd's own text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The store refuses it: nothing happened.
    #[error(transparent)]
    Store(#[from] mvcc::Error),
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
    waiters: Arc<Waiters>,
    backend: watch::Receiver<Arc<Backend>>,
    next_id: AtomicU64,
    limits: Limits,
    timeout: Duration,
    authenticator: Authenticator,
    /// No state is shown before an entry of this term or a later one is applied.
    trusted_from_term: u64,
}

impl Server {
    /// Proposes what the member does by itself, on nobody's behalf, and waits until this member has
    /// applied it.
    pub async fn propose(&self, request: Request) -> Result<Response, RequestError> {
        self.propose_as(access::Caller::default(), request).await
    }

    /// Proposes `request` on behalf of `caller` and waits until this member has applied it. What
    /// the caller may do is decided then, in log order.
    pub async fn propose_as(
        &self,
        caller: access::Caller,
        request: Request,
    ) -> Result<Response, RequestError> {
        if defect!(self.defects, PermissionAtPropose) {
            permit::permit(&self.serializable(), &caller, &request)?;
        }
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
        if data.len() > self.limits.request_bytes {
            return Err(RequestError::TooLarge);
        }
        let applied = self.published.latest().index;
        if self.raft.status().commit > applied + MAX_APPLY_GAP {
            return Err(RequestError::TooManyRequests);
        }
        let waiter = self.waiters.register(id);
        if !self.raft.propose(data.freeze()) {
            return Err(RequestError::TooManyRequests);
        }
        match self.host.timeout(self.timeout, waiter).await {
            Some(Some(result)) => result,
            Some(None) => Err(RequestError::Stopped),
            None => Err(RequestError::Timeout),
        }
    }

    /// A state that includes every write acknowledged before the call.
    pub async fn linearizable(&self) -> Result<Arc<Published>, RequestError> {
        if defect!(self.defects, LocalRead) {
            return Ok(self.serializable());
        }
        self.within_timeout(async {
            let index = self.raft.read_index().await?;
            self.reached(index).await
        })
        .await
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

    /// The store on disk.
    pub fn backend(&self) -> Arc<Backend> {
        self.backend.borrow().clone()
    }
}
