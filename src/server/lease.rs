//! Leases as the services use them: what goes through the log, and what only the leader can say.
//!
//! Grants and revocations are entries like any other. Renewals and remaining times are the leader's
//! to tell: another member asks it over the peer transport. A leader promises a renewal only after
//! it has made sure that it still led *afterwards*, by a read index, and that the lease was still
//! there: a deposed leader thinks it leads until it hears better, and what it renewed alone would
//! be worth nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::api::proto::etcdserverpb as pb;
use crate::api::proto::vetcdpb::{
    LeaseCheckpoints, LeaseExpiry, LeaseGrant, log_request::Request, peer_answer::Answer,
    peer_call::Call,
};
use crate::auth::{Access, Caller};
use crate::config::Config;
use crate::host::HostExt;
use crate::lease::{CheckpointPolicy, Clock, Counters, Lease, Renewal, TTL_MAX, ttl_min};
use crate::mvcc;
use crate::raft::{PeerAddress, Role};

use super::{Credentials, Published, RequestError, Response, Server};

/// How often a leader looks for expired leases: at least, and at most.
const LOOK_EVERY_MAX: Duration = Duration::from_millis(500);
const LOOK_EVERY_MIN: Duration = Duration::from_millis(100);
/// Leases removed at one look: a thousand a second, as in etcd, so that many which expire together
/// do not shut everything else out.
const MAX_EXPIRED: usize = 100;
/// Leases in one checkpoint entry.
const MAX_CHECKPOINTED: usize = 1000;
/// How long one try to ask the leader may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause before another try.
const ASK_PAUSE: Duration = Duration::from_millis(50);

/// What a member needs to keep leases.
pub struct Timekeeper {
    pub clock: Arc<Clock>,
    pub counters: Arc<Counters>,
    ttl_min: i64,
}

impl Timekeeper {
    /// From the member's flags.
    pub fn new(config: &Config) -> Timekeeper {
        let election_timeout = Duration::from_millis(config.election_timeout);
        let checkpoints = CheckpointPolicy {
            enabled: config.experimental_enable_lease_checkpoint,
            interval: config.experimental_lease_checkpoint_interval,
        };
        Timekeeper {
            clock: Arc::new(Clock::new(election_timeout, checkpoints)),
            counters: Arc::default(),
            ttl_min: ttl_min(election_timeout),
        }
    }
}

/// This member does not lead, or cannot be sure that it does.
struct NotLeading;

impl From<RequestError> for NotLeading {
    fn from(_: RequestError) -> NotLeading {
        NotLeading
    }
}

impl Server {
    /// Grants a lease of `ttl` seconds, raised to the minimum; ID 0 lets this member choose one.
    ///
    /// # Errors
    /// `LeaseExists`, `LeaseTtlTooLarge`, or the request's own.
    pub async fn lease_grant(
        &self,
        caller: Caller,
        id: i64,
        ttl: i64,
    ) -> Result<pb::LeaseGrantResponse, RequestError> {
        if ttl > TTL_MAX {
            return Err(mvcc::Error::LeaseTtlTooLarge.into());
        }
        let mut chosen = id;
        while chosen == 0 {
            chosen = (self.host.random_u64() >> 1) as i64;
        }
        let grant = LeaseGrant {
            id: chosen,
            ttl: ttl.max(self.leases.ttl_min),
        };
        let request = Request::LeaseGrant(grant);
        self.check_quota(&request).await?;
        match self.propose_as(caller, request).await? {
            Response::LeaseGrant(response) => Ok(response),
            _ => Err(RequestError::Stopped),
        }
    }

    /// Removes a lease and its keys; the store's revision after that.
    ///
    /// # Errors
    /// `LeaseNotFound`, or the request's own.
    pub async fn lease_revoke(&self, caller: Caller, id: i64) -> Result<i64, RequestError> {
        let revoke = Request::LeaseRevoke(pb::LeaseRevokeRequest { id });
        match self.propose_as(caller, revoke).await? {
            Response::LeaseRevoke { revision } => Ok(revision),
            _ => Err(RequestError::Stopped),
        }
    }

    /// Renews a lease; its TTL in seconds, 0 when there is none. Who renews it must be allowed to
    /// write its keys.
    ///
    /// # Errors
    /// `Timeout` when no leader answered in time; those of authentication.
    pub async fn lease_renew(
        self: &Arc<Self>,
        credentials: &Credentials,
        id: i64,
    ) -> Result<i64, RequestError> {
        let caller = self.require_user(credentials).await?;
        if self.serializable().auth.is_enabled() {
            if !self.whole.read().await {
                return Err(RequestError::Stopped);
            }
            let published = self.serializable();
            let keys_of = |lease: i64| published.state.lease_keys(lease).cloned().collect();
            published
                .auth
                .permit_lease_keys(&caller, Access::Write, id, &keys_of)?;
        }
        let call = Call::KeepAlive(pb::LeaseKeepAliveRequest { id });
        match self.ask_leader(call).await? {
            Answer::KeepAlive(answer) => Ok(answer.ttl),
            _ => Err(RequestError::Stopped),
        }
    }

    /// What a lease has left; a TTL of -1 when there is no such lease. Who asks for its keys must be
    /// allowed to read them.
    ///
    /// # Errors
    /// `Timeout` when no leader answered in time; those of authentication.
    pub async fn lease_times(
        self: &Arc<Self>,
        credentials: &Credentials,
        id: i64,
        keys: bool,
    ) -> Result<pb::LeaseTimeToLiveResponse, RequestError> {
        let caller = match keys {
            true => self.read_as(credentials, false).await?.1,
            false => self.require_user(credentials).await?,
        };
        let call = Call::TimeToLive(pb::LeaseTimeToLiveRequest { id, keys });
        let Answer::TimeToLive(answer) = self.ask_leader(call).await? else {
            return Err(RequestError::Stopped);
        };
        if keys {
            // Of the keys that the leader names, whatever this member knows of the lease.
            let auth = &self.serializable().auth;
            auth.permit_user(&caller)?;
            auth.permit_lease_keys(&caller, Access::Read, id, &|_| answer.keys.clone())?;
        }
        Ok(answer)
    }

    /// The IDs of all leases, and the store's revision. Who asks must be allowed to read every key
    /// that is attached to any of them.
    ///
    /// # Errors
    /// Those of a read and of authentication.
    pub async fn lease_ids(
        &self,
        credentials: &Credentials,
    ) -> Result<(Vec<i64>, i64), RequestError> {
        let (published, caller) = self.read_as(credentials, false).await?;
        let (state, auth) = (&published.state, &published.auth);
        let ids: Vec<i64> = state.leases().iter().map(|lease| lease.id).collect();
        if auth.is_enabled() {
            auth.permit_user(&caller)?;
            let keys_of = |lease: i64| state.lease_keys(lease).cloned().collect();
            for id in &ids {
                auth.permit_lease_keys(&caller, Access::Read, *id, &keys_of)?;
            }
        }
        Ok((ids, state.revision()))
    }

    /// What this member has done with leases, for metrics.
    pub fn lease_counters(&self) -> &Counters {
        &self.leases.counters
    }

    /// Begins to answer the calls of other members.
    pub(super) fn answer_peers(self: &Arc<Self>) {
        let server = Arc::downgrade(self);
        self.calls.serve(Arc::new(move |call| {
            let server = server.clone();
            Box::pin(async move {
                let refusal = || Answer::Refusal("not leader".to_owned());
                let Some(server) = server.upgrade() else {
                    return refusal();
                };
                if let Call::HashKv(_) | Call::CompactHashes(_) = call {
                    return server.answer_check(&call).await.unwrap_or_else(refusal);
                }
                let answering = server.answer_here(&call);
                match server.host.timeout(ASK_TIMEOUT, answering).await {
                    Some(Ok(answer)) => answer,
                    Some(Err(NotLeading)) | None => refusal(),
                }
            })
        }));
    }

    /// Asks whoever leads, again and again until one answers or time is up. Renewing twice, or
    /// asking twice, is as good as once.
    async fn ask_leader(self: &Arc<Self>, call: Call) -> Result<Answer, RequestError> {
        self.within_timeout(async {
            loop {
                let asking = self.ask_once(&call);
                if let Some(Some(answer)) = self.host.timeout(ASK_TIMEOUT, asking).await {
                    return Some(answer);
                }
                self.host.sleep(ASK_PAUSE).await;
            }
        })
        .await
    }

    async fn ask_once(self: &Arc<Self>, call: &Call) -> Option<Answer> {
        let leader = self.raft.status().leader;
        if leader == self.identity.member_id {
            return self.answer_here(call).await.ok();
        }
        let published = self.serializable();
        let peer = PeerAddress::of(published.members.get(leader)?);
        match self.calls.call(peer, *call).await? {
            Answer::Refusal(_) => None,
            answer => Some(answer),
        }
    }

    async fn answer_here(&self, call: &Call) -> Result<Answer, NotLeading> {
        match call {
            Call::KeepAlive(request) => {
                let ttl = self.renew_here(request.id).await?;
                Ok(Answer::KeepAlive(pb::LeaseKeepAliveResponse {
                    header: None,
                    id: request.id,
                    ttl,
                }))
            }
            Call::TimeToLive(request) => {
                let answer = self.times_here(request.id, request.keys).await?;
                Ok(Answer::TimeToLive(answer))
            }
            Call::HashKv(_) | Call::CompactHashes(_) => Err(NotLeading),
        }
    }

    /// The term in which this member leads; its clock runs for it.
    fn leading(&self) -> Result<u64, NotLeading> {
        let status = self.raft.status();
        if status.role != Role::Leader {
            return Err(NotLeading);
        }
        self.leases.clock.lead(status.term, self.host.now(), || {
            self.serializable().state.leases().clone()
        });
        Ok(status.term)
    }

    /// The newest state, and that this member still led `term` when it was asked for.
    async fn still_leading(&self, term: u64) -> Result<Arc<Published>, NotLeading> {
        let published = self.linearizable().await?;
        let status = self.raft.status();
        match status.role == Role::Leader && status.term == term {
            true => Ok(published),
            false => Err(NotLeading),
        }
    }

    async fn renew_here(&self, id: i64) -> Result<i64, NotLeading> {
        let term = self.leading()?;
        let clock = &self.leases.clock;
        loop {
            match clock.renew(term, id, self.host.now()) {
                Renewal::NotLeading => return Err(NotLeading),
                Renewal::Renewed { lease, reset } => {
                    if let Some(checkpoint) = reset {
                        self.take_back_checkpoint(term, lease, checkpoint).await?;
                    }
                    let published = self.still_leading(term).await?;
                    let found = published.state.leases().get(id);
                    if found.is_none_or(|found| found.granted_index != lease.granted_index) {
                        return Ok(0);
                    }
                    Counters::count(&self.leases.counters.renewed);
                    return Ok(lease.ttl);
                }
                Renewal::Unknown => {
                    let published = self.still_leading(term).await?;
                    if !published.state.leases().contains(id) {
                        return Ok(0);
                    }
                }
                // Its removal is on the way, and must be seen before it may be called gone.
                Renewal::Expired => {
                    let published = self.still_leading(term).await?;
                    if !published.state.leases().contains(id) {
                        return Ok(0);
                    }
                }
            }
            self.host.sleep(ASK_PAUSE).await;
        }
    }

    async fn take_back_checkpoint(
        &self,
        term: u64,
        lease: Lease,
        checkpoint: u64,
    ) -> Result<(), NotLeading> {
        let whole = Lease {
            remaining_ttl: 0,
            ..lease
        };
        let request = Request::LeaseCheckpoints(LeaseCheckpoints {
            term,
            leases: vec![whole.to_wire()],
        });
        match self.propose_own(request).await? {
            Response::LeaseCheckpoint { counted: true } => {
                self.leases.clock.reset_done(term, lease.id, checkpoint);
                Ok(())
            }
            _ => Err(NotLeading),
        }
    }

    async fn times_here(
        &self,
        id: i64,
        keys: bool,
    ) -> Result<pb::LeaseTimeToLiveResponse, NotLeading> {
        let term = self.leading()?;
        let published = self.still_leading(term).await?;
        let header = Some(self.header(published.state.revision()));
        let Some(lease) = published.state.leases().get(id) else {
            return Ok(pb::LeaseTimeToLiveResponse {
                header,
                id,
                ttl: -1,
                ..Default::default()
            });
        };
        // One that was published this very moment may not have reached the clock.
        let remaining = self.leases.clock.remaining(term, id, self.host.now());
        let ttl = remaining.map_or(lease.ttl, |left| {
            i64::try_from(left.as_secs()).unwrap_or(i64::MAX)
        });
        Ok(pb::LeaseTimeToLiveResponse {
            header,
            id,
            ttl,
            granted_ttl: lease.ttl,
            keys: match keys {
                true => published.state.lease_keys(id).cloned().collect(),
                false => Vec::new(),
            },
        })
    }

    /// One look at the clock, if this member leads; how long until the next one.
    fn look_at_clock(&self) -> Duration {
        let clock = &self.leases.clock;
        if self.leading().is_err() {
            clock.follow();
            return LOOK_EVERY_MAX;
        }
        clock.expire(self.host.now(), MAX_EXPIRED, |expired| {
            self.propose_unanswered(Request::LeaseExpiry(LeaseExpiry {
                id: expired.id,
                granted_index: expired.granted_index,
                term: expired.term,
            }))
        });
        clock.checkpoint(self.host.now(), MAX_CHECKPOINTED, |term, leases| {
            let leases = leases.into_iter().map(Lease::to_wire).collect();
            self.propose_unanswered(Request::LeaseCheckpoints(LeaseCheckpoints { term, leases }))
        });
        let next = clock.next_due().map(|next| next.since(self.host.now()));
        next.unwrap_or(LOOK_EVERY_MAX)
            .clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX)
    }
}

/// Removes what has expired for as long as the member lives.
pub async fn keep_time(server: Arc<Server>) {
    loop {
        let pause = server.look_at_clock();
        server.host.sleep(pause).await;
    }
}
