//! Leases: none ends before its promise, none outlives it for long, and its keys go with it.
//!
//! A grant or a renewal that was answered promises its TTL from the moment it was *invoked*: the
//! server cannot have counted from earlier. Promises are measured in true time, where a member's
//! clock may run fast or slow by at most a stated drift. When a lease ended is told by the first
//! member that applied its removal; nobody can have missed its keys before that.
//!
//! Judged:
//! - **No early end.** An expiry is not applied before any promise has passed. A removal that is no
//!   expiry needs a client that asked for it before.
//! - **The dead stay dead.** A renewal or question invoked after the removal is answered "no such
//!   lease"; a revocation that was answered has been applied.
//! - **No eternal life.** A lease that nobody renews is gone within its TTL, an election timeout
//!   (a new leader's extension) and [`Bounds::slack`], counted from the last thing that may put its
//!   end off: a renewal, a change of leader, a fault.
//! - **Keys go with their lease**, at the removal's revision, unless something else overwrote or
//!   deleted them before; and a key on a lease vanishes only then or by a client's deletion. That
//!   all of a lease's keys go in the same revision is judged once more by
//!   [`super::strict_serializability`], whose model ends a lease whole.
//!
//! **Not judged**: that questions tell the right number of seconds; keys at compacted revisions.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Counterexample, KnownOrder, Record, Verdict};
use crate::history::{
    History, LeaseAnswer, LeaseHistory, LeaseOperation, LeaseOutcome, LeaseRequest, Nanoseconds,
    Outcome, Put, Removal, Request, display_seconds,
};

const GUARANTEE: &str = "leases";
const SECOND: u64 = 1_000_000_000;
/// A renewal whose outcome is unknown may still reach the leader for this long: longer than the
/// server keeps a request.
const UNKNOWN_LASTS: Nanoseconds = 10 * SECOND;

/// What the cluster was like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The most any member's clock is fast or slow, parts per million.
    pub drift_ppm: u32,
    /// The members' election timeout.
    pub election_timeout: Nanoseconds,
    /// What removing an expired lease may take in a healthy cluster.
    pub slack: Nanoseconds,
    /// When members became leader.
    pub leaders: Vec<Nanoseconds>,
    /// When faults began and ended.
    pub faults: Vec<(Nanoseconds, Nanoseconds)>,
    /// When the history ends.
    pub end: Nanoseconds,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Leases granted.
    pub leases: u64,
    /// Promises, by grants and renewals.
    pub promises: u64,
    /// Leases that expired.
    pub expired: u64,
    /// Leases that clients revoked.
    pub revoked: u64,
    /// Keys that hung on a lease when they were written.
    pub keys: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            leases,
            promises,
            expired,
            revoked,
            keys,
        } = self;
        write!(
            f,
            "{leases} leases kept {promises} promises; {expired} expired, {revoked} were revoked, \
             {keys} keys hung on them"
        )
    }
}

/// Judges the leases of a run.
pub fn check(
    leases: &LeaseHistory,
    history: &History,
    known: Option<&KnownOrder>,
    bounds: &Bounds,
) -> Verdict<Report> {
    let mut removals: BTreeMap<i64, &Removal> = BTreeMap::new();
    for removal in &leases.removals {
        if removals.insert(removal.id, removal).is_some() {
            return broken(format!("lease {:x} ended twice", removal.id)).into();
        }
    }
    let judge = Judge {
        leases,
        removals,
        bounds,
    };
    let mut report = Report::default();
    let result = judge
        .promises(&mut report)
        .and_then(|()| judge.causes(&mut report))
        .and_then(|()| judge.the_dead())
        .and_then(|()| judge.eternal())
        .and_then(|()| match known {
            Some(known) => judge.keys(history, known, &mut report),
            None => Ok(()),
        });
    match result {
        Ok(()) => Verdict::Ok(report),
        Err(counterexample) => Verdict::Violation(counterexample),
    }
}

fn broken(summary: String) -> Counterexample {
    Counterexample {
        guarantee: GUARANTEE,
        summary,
        ..Counterexample::default()
    }
}

struct Judge<'a> {
    leases: &'a LeaseHistory,
    removals: BTreeMap<i64, &'a Removal>,
    bounds: &'a Bounds,
}

type Judged = Result<(), Box<Counterexample>>;

/// The seconds an answer promises, and for which lease.
fn promise(operation: &LeaseOperation) -> Option<(i64, u64)> {
    let (id, ttl) = match (&operation.request, &operation.outcome) {
        (LeaseRequest::Grant { id, .. }, LeaseOutcome::Ok(LeaseAnswer::Granted { ttl })) => {
            (*id, *ttl)
        }
        (LeaseRequest::KeepAlive { id }, LeaseOutcome::Ok(LeaseAnswer::Renewed { ttl })) => {
            (*id, *ttl)
        }
        _ => return None,
    };
    Some((id, u64::try_from(ttl).ok().filter(|ttl| *ttl > 0)?))
}

impl Judge<'_> {
    /// The least true time in which a member's clock counts `seconds`.
    fn at_least(&self, seconds: u64) -> u64 {
        let fast = u128::from(1_000_000 + self.bounds.drift_ppm);
        (u128::from(seconds * SECOND) * 1_000_000 / fast) as u64
    }

    /// The most true time in which a member's clock counts `seconds`.
    fn at_most(&self, seconds: u64) -> u64 {
        let slow = u128::from(1_000_000u32.saturating_sub(self.bounds.drift_ppm).max(1));
        (u128::from(seconds * SECOND) * 1_000_000).div_ceil(slow) as u64
    }

    fn promises(&self, report: &mut Report) -> Judged {
        for operation in &self.leases.operations {
            let Some((id, ttl)) = promise(operation) else {
                continue;
            };
            report.promises += 1;
            report.leases += u64::from(matches!(operation.request, LeaseRequest::Grant { .. }));
            let until = operation.invoked + self.at_least(ttl);
            if let Some(removal) = self.removals.get(&id)
                && removal.expired
                && removal.at < until
            {
                let summary = format!(
                    "lease {id:x} expired at {}, promised until {} at least",
                    display_seconds(removal.at),
                    display_seconds(until)
                );
                let counterexample = broken(summary).because(format!(
                    "client {} asked for its {ttl} s at {}, and got them",
                    operation.client,
                    display_seconds(operation.invoked)
                ));
                return Err(counterexample.into());
            }
        }
        Ok(())
    }

    fn causes(&self, report: &mut Report) -> Judged {
        for removal in self.removals.values() {
            if removal.expired {
                report.expired += 1;
                continue;
            }
            report.revoked += 1;
            let asked = self.leases.operations.iter().any(|operation| {
                matches!(operation.request, LeaseRequest::Revoke { id } if id == removal.id)
                    && !matches!(operation.outcome, LeaseOutcome::Failed(_))
                    && operation.invoked <= removal.at
            });
            if !asked {
                let summary = format!(
                    "lease {:x} was revoked at {}, and nobody had asked for it",
                    removal.id,
                    display_seconds(removal.at)
                );
                return Err(broken(summary).into());
            }
        }
        Ok(())
    }

    fn the_dead(&self) -> Judged {
        for operation in &self.leases.operations {
            let (id, alive) = match (&operation.request, &operation.outcome) {
                (
                    LeaseRequest::KeepAlive { id },
                    LeaseOutcome::Ok(LeaseAnswer::Renewed { ttl }),
                ) => (id, *ttl > 0),
                (LeaseRequest::TimeToLive { id }, LeaseOutcome::Ok(LeaseAnswer::Times { ttl })) => {
                    (id, *ttl >= 0)
                }
                (LeaseRequest::Revoke { id }, LeaseOutcome::Ok(_)) => {
                    let gone = self.removals.get(id);
                    let returned = operation.returned.unwrap_or(u64::MAX);
                    if gone.is_none_or(|removal| removal.at > returned) {
                        let summary = format!(
                            "lease {id:x} was still there at {}, when its revocation was answered",
                            display_seconds(returned)
                        );
                        return Err(broken(summary).into());
                    }
                    continue;
                }
                _ => continue,
            };
            if let Some(removal) = self.removals.get(id)
                && alive
                && operation.invoked > removal.at
            {
                let summary = format!(
                    "lease {id:x} ended at {}, and client {} was told at {} that it lives",
                    display_seconds(removal.at),
                    operation.client,
                    display_seconds(operation.returned.unwrap_or(operation.invoked))
                );
                return Err(broken(summary).into());
            }
        }
        Ok(())
    }

    /// The last moment up to `by` at which something may have put a lease's end off.
    fn put_off(&self, id: i64, by: Nanoseconds) -> Option<(Nanoseconds, u64)> {
        let mut ttl = 0;
        let mut last = 0;
        for operation in &self.leases.operations {
            let until = match (&operation.request, &operation.outcome) {
                (LeaseRequest::Grant { id: of, .. }, outcome) if *of == id => {
                    let LeaseOutcome::Ok(LeaseAnswer::Granted { ttl: granted }) = outcome else {
                        // Nobody knows whether there is such a lease.
                        return None;
                    };
                    ttl = u64::try_from(*granted).ok()?;
                    operation.returned
                }
                (LeaseRequest::KeepAlive { id: of }, LeaseOutcome::Ok(_)) if *of == id => {
                    operation.returned
                }
                (LeaseRequest::KeepAlive { id: of }, _) if *of == id => {
                    Some(operation.invoked + UNKNOWN_LASTS)
                }
                _ => continue,
            };
            last = last.max(until.unwrap_or(by));
        }
        let leaders = self.bounds.leaders.iter().filter(|at| **at <= by);
        let faults = self.bounds.faults.iter().filter(|(begun, _)| *begun <= by);
        let others = leaders.copied().chain(faults.map(|(_, ended)| *ended));
        let last = others.fold(last, Nanoseconds::max);
        (ttl > 0).then_some((last.min(by), ttl))
    }

    fn eternal(&self) -> Judged {
        for operation in &self.leases.operations {
            let LeaseRequest::Grant { id, .. } = operation.request else {
                continue;
            };
            let ended = self.removals.get(&id).map_or(self.bounds.end, |r| r.at);
            let Some((since, ttl)) = self.put_off(id, ended) else {
                continue;
            };
            let allowed = self.at_most(ttl) + 2 * self.bounds.election_timeout + self.bounds.slack;
            if ended - since > allowed {
                let summary = format!(
                    "lease {id:x} of {ttl} s was still there at {}, although nothing put its end \
                     off since {}",
                    display_seconds(ended),
                    display_seconds(since)
                );
                return Err(broken(summary).into());
            }
        }
        Ok(())
    }

    fn keys(&self, history: &History, known: &KnownOrder, report: &mut Report) -> Judged {
        let mut by_key: BTreeMap<&[u8], Vec<(i64, &Record)>> = BTreeMap::new();
        for (revision, records) in &known.records {
            for record in records {
                by_key
                    .entry(&record.key)
                    .or_default()
                    .push((*revision, record));
            }
        }
        for operation in &history.operations {
            let (Request::Put(put), Outcome::Ok(response)) =
                (&operation.request, &operation.outcome)
            else {
                continue;
            };
            if put.lease == 0 || response.revision <= known.compacted {
                continue;
            }
            report.keys += 1;
            let records = by_key.get(&put.key[..]).map_or(&[][..], Vec::as_slice);
            let next = records.iter().find(|(at, _)| *at > response.revision);
            self.key(history, put, response.revision, next)?;
        }
        Ok(())
    }

    /// `next` is what happened to the key after `put` wrote it at `revision`.
    fn key(
        &self,
        history: &History,
        put: &Put,
        revision: i64,
        next: Option<&(i64, &Record)>,
    ) -> Judged {
        let key = String::from_utf8_lossy(&put.key);
        let removal = self.removals.get(&put.lease);
        let next_at = next.map_or(i64::MAX, |(at, _)| *at);
        if let Some(removal) = removal
            && removal.revision >= revision
            && next_at > removal.revision
        {
            let summary = format!(
                "key {key} outlived its lease {:x}, which ended at revision {}",
                put.lease, removal.revision
            );
            return Err(broken(summary).into());
        }
        let vanished = next.is_some_and(|(_, record)| record.value.is_none());
        if !vanished || removal.is_some_and(|removal| removal.revision == next_at) {
            return Ok(());
        }
        let deleted = history.operations.iter().any(|operation| {
            !matches!(operation.outcome, Outcome::Failed(_))
                && may_delete(&operation.request, &put.key)
        });
        if deleted {
            return Ok(());
        }
        let summary = format!(
            "key {key} vanished at revision {next_at}: its lease {:x} did not end there, and no \
             client deleted it",
            put.lease
        );
        Err(broken(summary).into())
    }
}

fn may_delete(request: &Request, key: &[u8]) -> bool {
    match request {
        Request::Delete(delete) if delete.range_end.is_empty() => delete.key == key,
        Request::Delete(_) => true,
        Request::Txn(txn) => {
            let mut both = txn.then.iter().chain(&txn.otherwise);
            both.any(|request| may_delete(request, key))
        }
        _ => false,
    }
}
