//! Elections: the Election service's recipe, the lock's with a value.
//!
//! Whoever stands for the election `name` puts the key `name/<lease in hex>`; the key that was
//! created first leads, and its value is what the leader proclaims. The proof of leadership is that
//! key and its create revision.

use std::sync::Arc;

use bytes::Bytes;

use crate::api::proto::etcdserverpb as pb;
use crate::api::proto::etcdserverpb::request_op;
use crate::api::proto::mvccpb::KeyValue;

use crate::auth::Caller;

use super::lock::{LeaveUnlessKept, all, delete, holds, oldest};
use super::{Credentials, Published, RequestError, Server};

/// Why an election's request failed. The texts are etcd's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElectionError {
    /// The request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Nobody leads.
    #[error("election: no leader")]
    NoLeader,
    /// The caller does not lead, or no longer.
    #[error("election: not leader")]
    NotLeader,
}

/// A won election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Won {
    /// The leader's key.
    pub key: Bytes,
    /// Its create revision.
    pub created: i64,
    /// The session's lease.
    pub lease: i64,
    /// The store's revision when the campaign began.
    pub revision: i64,
}

impl Server {
    /// Waits to lead the election `name` with `value` under `lease`, or a new one if that is 0.
    /// Dropping the future withdraws.
    ///
    /// # Errors
    /// `LeaseNotFound`; `NotLeader` when the lease ended during the wait; the request's own.
    pub async fn campaign(
        self: &Arc<Self>,
        caller: Caller,
        name: &[u8],
        lease: i64,
        value: Bytes,
    ) -> Result<Won, ElectionError> {
        let lease = self.session(&caller, lease).await?;
        let taking = self.take_place(&caller, name, lease, value.clone());
        let place = taking.await?;
        let mut leave = LeaveUnlessKept::new(self, &place);
        if place.existing.as_ref().is_some_and(|kv| kv.value != value) {
            self.proclaim(&caller, &place.key, place.created, lease, value)
                .await?;
        }
        let waited = self.wait_for_turn(&place).await?;
        if waited {
            let published = self.linearizable().await?;
            if !holds(&published.state, &place.key, place.created) {
                leave.keep();
                return Err(ElectionError::NotLeader);
            }
        }
        leave.keep();
        Ok(Won {
            key: place.key,
            created: place.created,
            lease,
            revision: place.revision,
        })
    }

    /// Gives the leader's key another value; the store's revision after it.
    ///
    /// # Errors
    /// `NotLeader` when the key is gone or another's, or the request's own.
    pub async fn proclaim(
        &self,
        caller: &Caller,
        key: &Bytes,
        created: i64,
        lease: i64,
        value: Bytes,
    ) -> Result<i64, ElectionError> {
        let put = request_op::Request::RequestPut(pb::PutRequest {
            key: key.clone(),
            value,
            lease,
            ..Default::default()
        });
        let response = self.transact(caller, key, created, put, Vec::new()).await?;
        match response.succeeded {
            true => Ok(response.header.map_or(0, |header| header.revision)),
            false => Err(ElectionError::NotLeader),
        }
    }

    /// Gives the leadership up, if it is still held; the store's revision after it.
    ///
    /// # Errors
    /// The request's own.
    pub async fn resign(
        &self,
        caller: &Caller,
        key: &Bytes,
        created: i64,
    ) -> Result<i64, ElectionError> {
        let deletion = delete(key);
        let response = self.transact(caller, key, created, deletion, Vec::new());
        let response = response.await?;
        Ok(response.header.map_or(0, |header| header.revision))
    }

    /// The leader's key, and the store's revision.
    ///
    /// # Errors
    /// `NoLeader`, or the request's own.
    pub async fn elected(
        &self,
        credentials: &Credentials,
        name: &[u8],
    ) -> Result<(KeyValue, i64), ElectionError> {
        let (published, caller) = self.read_as(credentials, false).await?;
        permit_queue(&published, &caller, &queue(name))?;
        let state = &published.state;
        let leader = oldest(state, &queue(name)).ok_or(ElectionError::NoLeader)?;
        Ok((leader, state.revision()))
    }

    /// Follows the election `name` from now on.
    ///
    /// # Errors
    /// The request's own.
    pub async fn observe_election(
        self: &Arc<Self>,
        credentials: Credentials,
        name: &[u8],
    ) -> Result<Observation, ElectionError> {
        let (published, caller) = self.read_as(&credentials, false).await?;
        permit_queue(&published, &caller, &queue(name))?;
        Ok(Observation {
            server: self.clone(),
            credentials,
            prefix: queue(name),
            shown: None,
        })
    }
}

/// The prefix of an election's keys.
fn queue(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// Whether `caller` may see who stands for an election.
fn permit_queue(
    published: &Published,
    caller: &Caller,
    prefix: &Bytes,
) -> Result<(), RequestError> {
    let range = all(prefix);
    let auth = &published.auth;
    Ok(auth.permit_range(caller, &range.key, &range.range_end)?)
}

/// Shows one leader after the other, and each value that it proclaims.
pub struct Observation {
    server: Arc<Server>,
    credentials: Credentials,
    prefix: Bytes,
    /// The leader's key and the revision of the value shown last.
    shown: Option<(Bytes, i64)>,
}

impl Observation {
    /// The next leader or value, and its revision; waits for one.
    ///
    /// # Errors
    /// When this member stops, or too much waits on it.
    pub async fn next(&mut self) -> Result<(KeyValue, i64), ElectionError> {
        loop {
            let news = self.server.news.subscribe(self.prefix.clone());
            let news = news.ok_or(RequestError::TooManyRequests)?;
            let published = self.server.serializable();
            let state = &published.state;
            match &mut self.shown {
                Some((key, shown)) => match state.version_after(key, *shown) {
                    Some(record) if record.tombstone => {
                        self.shown = None;
                        continue;
                    }
                    Some(record) => {
                        *shown = record.revision.main;
                        return Ok((record.kv.clone(), record.revision.main));
                    }
                    // Gone, and even its end is compacted.
                    None if state.get_at(key, state.revision()).is_none() => {
                        self.shown = None;
                        continue;
                    }
                    None => {}
                },
                None => {
                    if let Some(leader) = oldest(state, &self.prefix) {
                        let caller = self.server.caller_at(&published, &self.credentials)?;
                        permit_queue(&published, &caller, &self.prefix)?;
                        self.shown = Some((leader.key.clone(), leader.mod_revision));
                        return Ok((leader, state.revision()));
                    }
                }
            }
            if !news.heard().await {
                return Err(RequestError::Stopped.into());
            }
        }
    }
}
