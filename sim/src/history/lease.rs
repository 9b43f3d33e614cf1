//! What clients saw of leases and locks. Kept beside the operations on keys: leases have no place in
//! the order of revisions, and are judged against true time instead.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Nanoseconds, text};

/// One request of one client about a lease or a lock, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseOperation {
    /// The client that invoked it.
    pub client: u32,
    /// The member whose endpoint served it, where known.
    pub member: Option<u32>,
    /// When the request left the client.
    pub invoked: Nanoseconds,
    /// When the response reached the client; `None` when the outcome is unknown.
    pub returned: Option<Nanoseconds>,
    /// What was asked.
    pub request: LeaseRequest,
    /// What came back.
    pub outcome: LeaseOutcome,
}

/// A request about a lease or a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum LeaseRequest {
    /// Grants the lease `id` for `ttl` seconds.
    Grant {
        /// Chosen by the client, once in a history.
        id: i64,
        /// Seconds.
        ttl: i64,
    },
    /// Ends the lease and removes its keys.
    Revoke {
        /// Which.
        id: i64,
    },
    /// Renews the lease.
    KeepAlive {
        /// Which.
        id: i64,
    },
    /// Asks how much time the lease has left.
    TimeToLive {
        /// Which.
        id: i64,
    },
    /// Waits for the lock `name`, held for as long as the lease lives.
    Lock {
        /// The lock.
        #[serde(with = "text")]
        name: Bytes,
        /// The lease.
        lease: i64,
    },
    /// Gives a lock back.
    Unlock {
        /// The lock's key, as the lock's answer gave it.
        #[serde(with = "text")]
        key: Bytes,
    },
}

/// What a client knows about the fate of its request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseOutcome {
    /// Answered.
    Ok(LeaseAnswer),
    /// Refused, and certainly without effect.
    Failed(String),
    /// May have taken effect, or may yet.
    Unknown(String),
}

/// The content of an answer; of the same kind as its request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum LeaseAnswer {
    /// To a grant.
    Granted {
        /// Seconds, at least those asked for.
        ttl: i64,
    },
    /// To a revocation.
    Revoked,
    /// To a renewal.
    Renewed {
        /// Seconds; 0 when there is no such lease.
        ttl: i64,
    },
    /// To a question for the time left.
    Times {
        /// Seconds left; −1 when there is no such lease.
        ttl: i64,
    },
    /// To a lock: it was held.
    Locked {
        /// The key that holds it.
        #[serde(with = "text")]
        key: Bytes,
    },
    /// To giving a lock back.
    Unlocked,
}

/// The end of a lease, as the first member that applied it told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// The lease.
    pub id: i64,
    /// When the first member applied it, in true time.
    pub at: Nanoseconds,
    /// Whether its time was up; otherwise a client revoked it.
    pub expired: bool,
    /// The store's revision after it.
    pub revision: i64,
}

/// All there is to judge leases and locks by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeaseHistory {
    /// What clients invoked, in any order.
    pub operations: Vec<LeaseOperation>,
    /// The ends of leases, in the order in which they were applied.
    pub removals: Vec<Removal>,
}
