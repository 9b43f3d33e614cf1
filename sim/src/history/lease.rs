//! What clients saw of leases, locks and elections. Kept beside the operations on keys: leases have
//! no place in the order of revisions, and are judged against true time instead.
//!
//! In the file of a history each is a line of its own: `{"lease":{…}}`, `{"lease_end":{…}}`,
//! `{"observation":{…}}`.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::display::{seconds, short, where_and_when};
use super::{Nanoseconds, text};

/// One request of one client about a lease, a lock or an election, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseOperation {
    /// Distinct among the history's lease operations.
    pub id: u64,
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

/// A request about a lease, a lock or an election.
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
    /// Waits to be elected, and leads for as long as the lease lives.
    Campaign {
        /// The election.
        #[serde(with = "text")]
        name: Bytes,
        /// The lease.
        lease: i64,
        /// What the leader says first.
        #[serde(with = "text")]
        value: Bytes,
    },
    /// Says something else as the leader.
    Proclaim {
        /// The leader's key, as its election gave it.
        #[serde(with = "text")]
        key: Bytes,
        /// The revision that created it.
        created: i64,
        /// What the leader says.
        #[serde(with = "text")]
        value: Bytes,
    },
    /// Gives the office up.
    Resign {
        /// The leader's key.
        #[serde(with = "text")]
        key: Bytes,
        /// The revision that created it.
        created: i64,
    },
    /// Asks who leads.
    Leader {
        /// The election.
        #[serde(with = "text")]
        name: Bytes,
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
    /// To a candidate: elected.
    Elected {
        /// The key that the leader holds.
        #[serde(with = "text")]
        key: Bytes,
        /// The revision that created it.
        created: i64,
    },
    /// To what a leader says: it is said.
    Proclaimed,
    /// To giving the office up.
    Resigned,
    /// To the question who leads.
    Leads(Leader),
}

/// Who leads, and what he says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leader {
    /// The leader's key.
    #[serde(with = "text")]
    pub key: Bytes,
    /// What he says.
    #[serde(with = "text")]
    pub value: Bytes,
    /// The revision that created the key.
    pub created: i64,
    /// The revision that wrote it last.
    pub modified: i64,
}

/// A client that is told who leads, for as long as its stream lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// Distinct among the history's observations.
    pub id: u64,
    /// The client that observes.
    pub client: u32,
    /// The member that tells it, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<u32>,
    /// The election.
    #[serde(with = "text")]
    pub name: Bytes,
    /// When the request left the client.
    pub opened: Nanoseconds,
    /// What it was told, and when, in the order of arrival.
    pub told: Vec<(Nanoseconds, Leader)>,
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
    /// What observers of elections were told.
    pub observations: Vec<Observation>,
}

impl LeaseOperation {
    /// Whether the operation makes sense by itself.
    ///
    /// # Errors
    /// Says what contradicts what.
    pub fn check(&self) -> Result<(), String> {
        let id = self.id;
        let answered = !matches!(self.outcome, LeaseOutcome::Unknown(_));
        match self.returned {
            Some(returned) if returned < self.invoked => Err(format!(
                "lease operation {id} returned before it was invoked"
            )),
            None if answered => Err(format!(
                "lease operation {id} has an outcome but no time of return"
            )),
            _ => Ok(()),
        }
    }
}

impl Observation {
    /// Whether the observation makes sense by itself.
    ///
    /// # Errors
    /// Says what contradicts what.
    pub fn check(&self) -> Result<(), String> {
        let mut last = self.opened;
        for (at, _) in &self.told {
            if *at < last {
                return Err(format!("observation {} goes back in time", self.id));
            }
            last = *at;
        }
        Ok(())
    }
}

/// Leases are named in hexadecimal, as their keys and etcdctl do.
pub(crate) fn lease_name(id: i64) -> String {
    let sign = if id < 0 { "-" } else { "" };
    format!("{sign}{:x}", id.unsigned_abs())
}

impl fmt::Display for LeaseRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaseRequest::Grant { id, ttl } => {
                write!(f, "grant lease {} for {ttl} s", lease_name(*id))
            }
            LeaseRequest::Revoke { id } => write!(f, "revoke lease {}", lease_name(*id)),
            LeaseRequest::KeepAlive { id } => write!(f, "renew lease {}", lease_name(*id)),
            LeaseRequest::TimeToLive { id } => {
                write!(f, "time left of lease {}", lease_name(*id))
            }
            LeaseRequest::Lock { name, lease } => {
                write!(f, "lock {} with lease {}", short(name), lease_name(*lease))
            }
            LeaseRequest::Unlock { key } => write!(f, "unlock {}", short(key)),
            LeaseRequest::Campaign { name, lease, value } => write!(
                f,
                "campaign in {} with lease {}, saying {}",
                short(name),
                lease_name(*lease),
                short(value)
            ),
            LeaseRequest::Proclaim {
                key,
                created,
                value,
            } => write!(
                f,
                "proclaim {} as {} (create {created})",
                short(value),
                short(key)
            ),
            LeaseRequest::Resign { key, created } => {
                write!(f, "resign as {} (create {created})", short(key))
            }
            LeaseRequest::Leader { name } => write!(f, "who leads {}", short(name)),
        }
    }
}

impl fmt::Display for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, value) = (short(&self.key), short(&self.value));
        let Leader {
            created, modified, ..
        } = self;
        write!(f, "{key} says {value} (create {created}, mod {modified})")
    }
}

impl fmt::Display for LeaseAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaseAnswer::Granted { ttl } => write!(f, "granted for {ttl} s"),
            LeaseAnswer::Revoked => f.write_str("revoked"),
            LeaseAnswer::Renewed { ttl: ..=0 } => f.write_str("no such lease"),
            LeaseAnswer::Renewed { ttl } => write!(f, "renewed for {ttl} s"),
            LeaseAnswer::Times { ttl: ..=-1 } => f.write_str("no such lease"),
            LeaseAnswer::Times { ttl } => write!(f, "{ttl} s left"),
            LeaseAnswer::Locked { key } => write!(f, "held by {}", short(key)),
            LeaseAnswer::Unlocked => f.write_str("given back"),
            LeaseAnswer::Elected { key, created } => {
                write!(f, "elected as {} (create {created})", short(key))
            }
            LeaseAnswer::Proclaimed => f.write_str("said"),
            LeaseAnswer::Resigned => f.write_str("resigned"),
            LeaseAnswer::Leads(leader) => leader.fmt(f),
        }
    }
}

impl fmt::Display for LeaseOperation {
    /// `lease operation 7 (client 2, member 1, 5.201 s to 5.310 s): renew lease 7 -> renewed for 5 s`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease operation {} (client {}", self.id, self.client)?;
        where_and_when(f, self.member, self.invoked, self.returned)?;
        write!(f, "): {} -> ", self.request)?;
        match &self.outcome {
            LeaseOutcome::Ok(answer) => answer.fmt(f),
            LeaseOutcome::Failed(why) => write!(f, "refused: {why}"),
            LeaseOutcome::Unknown(why) => write!(f, "outcome unknown: {why}"),
        }
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "observation {} (client {}", self.id, self.client)?;
        if let Some(member) = self.member {
            write!(f, ", member {member}")?;
        }
        let (opened, name) = (seconds(self.opened), short(&self.name));
        write!(f, ", from {opened}): election {name}")
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.expired {
            "expired"
        } else {
            "was revoked"
        };
        let (lease, at) = (lease_name(self.id), seconds(self.at));
        write!(f, "lease {lease} {how} at {at}, revision {}", self.revision)
    }
}
