//! Locks: the Lock service's recipe, on the server's own transactions.
//!
//! Whoever wants the lock `name` puts the key `name/<lease in hex>`; the key that was created first
//! holds it. Waiting costs nothing until the key right before one's own goes. After the wait the
//! own key is looked for again, linearizably: a session that expired meanwhile must not be told
//! that it holds the lock (#11408).

use std::sync::Arc;

use bytes::Bytes;

use crate::api::proto::etcdserverpb as pb;
use crate::api::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::api::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::api::proto::etcdserverpb::{request_op, response_op};
use crate::api::proto::mvccpb::KeyValue;
use crate::api::proto::vetcdpb::log_request::Request;
use crate::auth::Caller;
use crate::defect;
use crate::mvcc::State;

use super::{RequestError, Response, Server};

/// The TTL of the lease of a session that names none, seconds; etcd's.
const SESSION_TTL: i64 = 60;

/// Why there is no lock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// The request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The lease ended during the wait.
    #[error("mutex: session is expired")]
    SessionExpired,
}

/// A place in the queue of a lock or an election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub prefix: Bytes,
    pub key: Bytes,
    pub lease: i64,
    /// When the key was created: who is lower goes first.
    pub created: i64,
    /// The store's revision at the transaction that took the place.
    pub revision: i64,
    /// The key as it was, if it existed.
    pub existing: Option<KeyValue>,
}

impl Server {
    /// Waits for the lock `name` under `lease`, or a new one if that is 0. Returns the lock's key
    /// and a revision at which it was held. Dropping the future gives the place up.
    ///
    /// # Errors
    /// `LeaseNotFound`, [`LockError::SessionExpired`], or the request's own.
    pub async fn lock(
        self: &Arc<Self>,
        caller: Caller,
        name: &[u8],
        lease: i64,
    ) -> Result<(Bytes, i64), LockError> {
        let lease = self.session(&caller, lease).await?;
        let place = self.take_place(&caller, name, lease, Bytes::new()).await?;
        let mut leave = LeaveUnlessKept::new(self, &place);
        let waited = self.wait_for_turn(&place).await?;
        let mut revision = place.revision;
        if waited {
            let published = self.linearizable().await?;
            let gone = !holds(&published.state, &place.key, place.created);
            if gone && !defect!(self.defects, LockUnchecked) {
                leave.keep();
                return Err(LockError::SessionExpired);
            }
            revision = published.state.revision();
        }
        leave.keep();
        Ok((place.key, revision))
    }

    /// The lease of a session: a new one for 0.
    pub(super) async fn session(&self, caller: &Caller, lease: i64) -> Result<i64, RequestError> {
        match lease {
            0 => {
                let granting = self.lease_grant(caller.clone(), 0, SESSION_TTL);
                Ok(granting.await?.id)
            }
            lease => Ok(lease),
        }
    }

    /// Creates the key `name/<lease>` with `value`, unless it exists. The caller must be allowed to
    /// write it, and to read the whole queue: waiting tells about the others in it.
    pub(super) async fn take_place(
        &self,
        caller: &Caller,
        name: &[u8],
        lease: i64,
        value: Bytes,
    ) -> Result<Place, RequestError> {
        let prefix: Bytes = [name, b"/"].concat().into();
        let key: Bytes = [&prefix, lease_text(lease).as_bytes()].concat().into();
        let put = request_op::Request::RequestPut(pb::PutRequest {
            key: key.clone(),
            value,
            lease,
            ..Default::default()
        });
        let get = request_op::Request::RequestRange(pb::RangeRequest {
            key: key.clone(),
            ..Default::default()
        });
        let mut otherwise = vec![get];
        if !caller.user.is_empty() {
            // Nothing is made of the answer: it has the permission decided with the rest.
            otherwise.push(request_op::Request::RequestRange(pb::RangeRequest {
                limit: 1,
                keys_only: true,
                ..all(&prefix)
            }));
        }
        let response = self.transact(caller, &key, 0, put, otherwise).await?;
        let revision = response.header.map_or(0, |header| header.revision);
        let first = response.responses.into_iter().next();
        let existing = match first.and_then(|operation| operation.response) {
            Some(response_op::Response::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => None,
        };
        Ok(Place {
            prefix,
            key,
            lease,
            created: existing.as_ref().map_or(revision, |kv| kv.create_revision),
            revision,
            existing,
        })
    }

    /// Waits until no key of the queue is older than `place`; whether there was one.
    ///
    /// This member has applied the creation of `place`, so it knows every older key, and a key that
    /// it sees gone is gone.
    pub(super) async fn wait_for_turn(&self, place: &Place) -> Result<bool, RequestError> {
        let mut waited = false;
        loop {
            let published = self.serializable();
            let Some(older) = next_older(&published.state, &place.prefix, place.created) else {
                return Ok(waited);
            };
            waited = true;
            loop {
                let news = self.news.subscribe(older.key.clone());
                let news = news.ok_or(RequestError::TooManyRequests)?;
                let state = &self.serializable().state;
                if !holds(state, &older.key, older.create_revision) {
                    break;
                }
                if !news.heard().await {
                    return Err(RequestError::Stopped);
                }
            }
        }
    }

    /// If `key` was created at `created` (0: does not exist) does `then`, else `otherwise`.
    pub(super) async fn transact(
        &self,
        caller: &Caller,
        key: &Bytes,
        created: i64,
        then: request_op::Request,
        otherwise: Vec<request_op::Request>,
    ) -> Result<pb::TxnResponse, RequestError> {
        let request = Request::Txn(if_created(key, created, then, otherwise));
        match self.propose_as(caller.clone(), request).await? {
            Response::Txn(response) => Ok(response),
            _ => Err(RequestError::Stopped),
        }
    }
}

/// A lease ID as etcd's clients write it into keys: hexadecimal, with a sign.
fn lease_text(lease: i64) -> String {
    let sign = if lease < 0 { "-" } else { "" };
    format!("{sign}{:x}", lease.unsigned_abs())
}

/// Whether `key` exists and is the one created at `created`.
pub(super) fn holds(state: &State, key: &[u8], created: i64) -> bool {
    let record = state.get_at(key, state.revision());
    record.is_some_and(|record| record.kv.create_revision == created)
}

/// The youngest key with this prefix that is older than `created`.
fn next_older(state: &State, prefix: &Bytes, created: i64) -> Option<KeyValue> {
    first_by_creation(state, prefix, SortOrder::Descend, created - 1)
}

/// The oldest key with this prefix.
pub(super) fn oldest(state: &State, prefix: &Bytes) -> Option<KeyValue> {
    first_by_creation(state, prefix, SortOrder::Ascend, 0)
}

fn first_by_creation(
    state: &State,
    prefix: &Bytes,
    order: SortOrder,
    max_create_revision: i64,
) -> Option<KeyValue> {
    let request = pb::RangeRequest {
        sort_order: order as i32,
        sort_target: SortTarget::Create as i32,
        max_create_revision,
        limit: 1,
        ..all(prefix)
    };
    state.range(&request).ok()?.kvs.into_iter().next()
}

/// The range of all keys of a queue.
pub(super) fn all(prefix: &Bytes) -> pb::RangeRequest {
    let mut range_end = prefix.to_vec();
    if let Some(last) = range_end.last_mut() {
        // The prefix ends in '/', which has a successor.
        *last += 1;
    }
    pb::RangeRequest {
        key: prefix.clone(),
        range_end: range_end.into(),
        ..Default::default()
    }
}

fn if_created(
    key: &Bytes,
    created: i64,
    then: request_op::Request,
    otherwise: Vec<request_op::Request>,
) -> pb::TxnRequest {
    let operation = |request| pb::RequestOp {
        request: Some(request),
    };
    pb::TxnRequest {
        compare: vec![pb::Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Create as i32,
            key: key.clone(),
            target_union: Some(TargetUnion::CreateRevision(created)),
            ..Default::default()
        }],
        success: vec![operation(then)],
        failure: otherwise.into_iter().map(operation).collect(),
    }
}

/// The deletion of `key`.
pub(super) fn delete(key: &Bytes) -> request_op::Request {
    request_op::Request::RequestDeleteRange(pb::DeleteRangeRequest {
        key: key.clone(),
        ..Default::default()
    })
}

/// Gives up a place in the queue when its client goes away, or the wait fails: others wait behind
/// it. Where this gets lost, the lease ends it.
pub(super) struct LeaveUnlessKept<'a> {
    server: &'a Server,
    place: Option<(Bytes, i64)>,
}

impl<'a> LeaveUnlessKept<'a> {
    pub(super) fn new(server: &'a Server, place: &Place) -> LeaveUnlessKept<'a> {
        LeaveUnlessKept {
            server,
            place: Some((place.key.clone(), place.created)),
        }
    }

    /// The place is to stay.
    pub(super) fn keep(&mut self) {
        self.place = None;
    }
}

impl Drop for LeaveUnlessKept<'_> {
    fn drop(&mut self) {
        if let Some((key, created)) = self.place.take() {
            let request = if_created(&key, created, delete(&key), Vec::new());
            self.server.propose_unanswered(Request::Txn(request));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn leases_are_written_as_go_writes_them() {
        assert_eq!(lease_text(0x7f_03), "7f03");
        assert_eq!(lease_text(-0x1f), "-1f");
        assert_eq!(lease_text(i64::MIN), "-8000000000000000");
    }

    #[test]
    fn the_queue_is_in_the_order_of_creation() {
        let mut state = State::new();
        let mut put = |key: &'static str| {
            let put = pb::PutRequest {
                key: key.into(),
                ..Default::default()
            };
            state.put(&put).unwrap();
        };
        for key in ["l/b", "l/a", "l", "l0", "m/c", "l/c", "l/b"] {
            put(key);
        }
        let prefix = Bytes::from("l/");
        let key = |kv: Option<KeyValue>| kv.map(|kv| kv.key);
        assert_eq!(key(oldest(&state, &prefix)), Some("l/b".into()));
        assert_eq!(key(next_older(&state, &prefix, 2)), None);
        assert_eq!(key(next_older(&state, &prefix, 3)), Some("l/b".into()));
        assert_eq!(key(next_older(&state, &prefix, 7)), Some("l/a".into()));
        assert!(holds(&state, b"l/b", 2));
        assert!(!holds(&state, b"l/b", 8));
        assert!(!holds(&state, b"l/x", 0));
    }
}
