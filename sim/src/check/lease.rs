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
//! Where members told of no ends, as in what was recorded of a live cluster, [`by_clients`] judges
//! what clients were told against each other: that none ended before its promise, and that the dead
//! stay dead.
//!
//! Undetermined when nothing was promised for certain.
//!
//! **Not judged**: that questions tell the right number of seconds; keys at compacted revisions.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::holding::{DRIFT_PPM, at_least, promise};
use super::{Counterexample, KnownOrder, Record, Verdict};
use crate::history::{
    History, LeaseAnswer, LeaseHistory, LeaseOperation, LeaseOutcome, LeaseRequest, Nanoseconds,
    Operation, Outcome, Put, Removal, Request, display_seconds, display_short, lease_name,
};

mod clients;

pub use clients::by_clients;

const GUARANTEE: &str = "leases";
const SECOND: u64 = 1_000_000_000;
/// A renewal whose outcome is unknown may still reach the leader for this long: longer than the
/// server keeps a request.
const UNKNOWN_LASTS: Nanoseconds = 10 * SECOND;

/// What the cluster was like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
            return broken(format!("lease {} ended twice", lease_name(removal.id)))
                .because(format!("{removal}, after it had ended before"))
                .into();
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
        Ok(()) => report.verdict(),
        Err(counterexample) => Verdict::Violation(counterexample),
    }
}

fn broken(summary: String) -> Counterexample {
    Counterexample::new(GUARANTEE, summary)
}

impl Report {
    fn verdict(self) -> Verdict<Report> {
        match self.promises {
            0 => Verdict::Undetermined("no lease was granted or renewed for certain".to_owned()),
            _ => Verdict::Ok(self),
        }
    }
}

struct Judge<'a> {
    leases: &'a LeaseHistory,
    removals: BTreeMap<i64, &'a Removal>,
    bounds: &'a Bounds,
}

type Judged = Result<(), Box<Counterexample>>;

impl Judge<'_> {
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
            let until = operation.invoked + at_least(ttl, self.bounds.drift_ppm);
            if let Some(removal) = self.removals.get(&id)
                && removal.expired
                && removal.at < until
            {
                let (lease, until) = (lease_name(id), display_seconds(until));
                let summary = format!("lease {lease} expired before its promise had passed");
                let counterexample = broken(summary)
                    .with(operation)
                    .because(removal.to_string())
                    .because(format!(
                        "it was promised until {until} at least: {ttl} s from {}, when they were \
                         asked for, on the fastest clock ({} ppm)",
                        display_seconds(operation.invoked),
                        self.bounds.drift_ppm
                    ))
                    .instead(
                        format!("no end before {until}"),
                        format!("expired at {}", display_seconds(removal.at)),
                    );
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
            let asked = self.leases.operations.iter().filter(|operation| {
                matches!(operation.request, LeaseRequest::Revoke { id } if id == removal.id)
            });
            let mut asked_before = asked.clone().filter(|operation| {
                !matches!(operation.outcome, LeaseOutcome::Failed(_))
                    && operation.invoked <= removal.at
            });
            if asked_before.next().is_none() {
                let (lease, at) = (lease_name(removal.id), display_seconds(removal.at));
                let summary =
                    format!("lease {lease} was revoked at {at}, and nobody had asked for it");
                let told = asked.fold(broken(summary), Counterexample::with);
                let told = self
                    .grant(removal.id)
                    .into_iter()
                    .fold(told, Counterexample::with);
                let told = told.because(removal.to_string());
                return Err(told.instead("a request to revoke it before", "none").into());
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
                        let (lease, at) = (lease_name(*id), display_seconds(returned));
                        let summary = format!(
                            "lease {lease} was still there at {at}, when its revocation was answered"
                        );
                        let ended = match gone {
                            Some(removal) => removal.to_string(),
                            None => "it never ended".to_owned(),
                        };
                        let told = broken(summary).with(operation).because(ended.clone());
                        return Err(told.instead(format!("gone by {at}"), ended).into());
                    }
                    continue;
                }
                _ => continue,
            };
            if let Some(removal) = self.removals.get(id)
                && alive
                && operation.invoked > removal.at
            {
                let (lease, ended) = (lease_name(*id), display_seconds(removal.at));
                let summary = format!(
                    "lease {lease} ended at {ended}, and client {} was told at {} that it lives",
                    operation.client,
                    display_seconds(operation.returned.unwrap_or(operation.invoked))
                );
                let told = broken(summary)
                    .with(operation)
                    .because(removal.to_string())
                    .because(format!(
                        "the question was put at {}, after that",
                        display_seconds(operation.invoked)
                    ));
                return Err(told
                    .instead("no such lease", "an answer that it lives")
                    .into());
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
                    "lease {} of {ttl} s was still there at {}, although nothing put its end off \
                     since {}",
                    lease_name(id),
                    display_seconds(ended),
                    display_seconds(since)
                );
                let told = broken(summary).with(operation);
                let told = self
                    .last_renewal(id)
                    .into_iter()
                    .fold(told, Counterexample::with);
                let told = told.because(format!(
                    "{ttl} s on the slowest clock ({} ppm), an election timeout twice and {} to \
                     remove it make {}",
                    self.bounds.drift_ppm,
                    display_seconds(self.bounds.slack),
                    display_seconds(allowed)
                ));
                let found = match self.removals.get(&id) {
                    Some(removal) => removal.to_string(),
                    None => "it never ended".to_owned(),
                };
                let by = display_seconds(since.saturating_add(allowed));
                return Err(told.instead(format!("gone by {by}"), found).into());
            }
        }
        Ok(())
    }

    fn grant(&self, id: i64) -> Option<&LeaseOperation> {
        let mut operations = self.leases.operations.iter();
        operations.find(|o| matches!(o.request, LeaseRequest::Grant { id: of, .. } if of == id))
    }

    fn last_renewal(&self, id: i64) -> Option<&LeaseOperation> {
        let operations = self.leases.operations.iter();
        operations
            .filter(|o| matches!(o.request, LeaseRequest::KeepAlive { id: of } if of == id))
            .max_by_key(|operation| operation.invoked)
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
            self.key(history, operation, put, response.revision, next)?;
        }
        Ok(())
    }

    /// `next` is what happened to the key after `put` wrote it at `revision`.
    fn key(
        &self,
        history: &History,
        operation: &Operation,
        put: &Put,
        revision: i64,
        next: Option<&(i64, &Record)>,
    ) -> Judged {
        let (key, lease) = (display_short(&put.key), lease_name(put.lease));
        let removal = self.removals.get(&put.lease);
        let next_at = next.map_or(i64::MAX, |(at, _)| *at);
        if let Some(removal) = removal
            && removal.revision >= revision
            && next_at > removal.revision
        {
            let summary = format!(
                "key {key} outlived its lease {lease}, which ended at revision {}",
                removal.revision
            );
            let found = match next {
                Some((at, _)) => format!("next changed at revision {at}"),
                None => "still there in the end".to_owned(),
            };
            let told = broken(summary).with(operation).because(removal.to_string());
            let expected = format!("{key} gone at revision {}", removal.revision);
            return Err(told.instead(expected, found).into());
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
            "key {key} vanished at revision {next_at}: its lease {lease} did not end there, and no \
             client deleted it"
        );
        let ended = match removal {
            Some(removal) => removal.to_string(),
            None => format!("lease {lease} never ended"),
        };
        let told = broken(summary).with(operation).because(ended);
        let expected = format!("{key} as revision {revision} wrote it");
        Err(told
            .instead(expected, format!("gone at revision {next_at}"))
            .into())
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
