//! Locks: one holder at a time, and fencing tokens that only grow.
//!
//! A client holds a lock from the moment it was told so until it asks to give it back, or until
//! its lease ends: then the lock is lost, whatever the client believes. When a lease ended is told
//! by the first member that applied its removal. Two clients that both held one lock at one moment
//! are a violation, and so is a client that was told it held the lock although its lease ended while
//! another client held it all the time since the request (#11408). A holder that was paused may still *act* late; against that, a write is fenced
//! by the create revision of the lock's key, and of the fenced writes that succeeded none may come
//! from an older holder than one before it.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use super::{Counterexample, Verdict};
use crate::history::{
    Body, History, LeaseAnswer, LeaseHistory, LeaseOutcome, LeaseRequest, Nanoseconds, Operand,
    Outcome, Request, display_seconds,
};

const GUARANTEE: &str = "locks";

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How often a lock was held.
    pub held: u64,
    /// How often a holder lost it with its lease.
    pub lost: u64,
    /// Fenced writes that succeeded.
    pub fenced: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { held, lost, fenced } = self;
        write!(
            f,
            "held {held} times, each by one client ({lost} lost with their leases); {fenced} fenced \
             writes in order"
        )
    }
}

/// A time for which a client certainly held a lock.
struct Holding {
    client: u32,
    lease: i64,
    asked: Nanoseconds,
    from: Nanoseconds,
    until: Nanoseconds,
}

fn broken(summary: String) -> Box<Counterexample> {
    Box::new(Counterexample {
        guarantee: GUARANTEE,
        summary,
        ..Counterexample::default()
    })
}

/// Judges the locks of a run.
pub fn check(leases: &LeaseHistory, history: &History) -> Verdict<Report> {
    let mut report = Report::default();
    let result = holders(leases, &mut report).and_then(|()| fences(history, &mut report));
    match result {
        Ok(()) => Verdict::Ok(report),
        Err(counterexample) => Verdict::Violation(counterexample),
    }
}

fn holders(leases: &LeaseHistory, report: &mut Report) -> Result<(), Box<Counterexample>> {
    let mut by_name: BTreeMap<&Bytes, Vec<Holding>> = BTreeMap::new();
    for operation in &leases.operations {
        let (LeaseRequest::Lock { name, lease }, LeaseOutcome::Ok(LeaseAnswer::Locked { key })) =
            (&operation.request, &operation.outcome)
        else {
            continue;
        };
        report.held += 1;
        let from = operation.returned.unwrap_or(operation.invoked);
        let ended = leases.removals.iter().find(|removal| removal.id == *lease);
        let lost = ended.map_or(Nanoseconds::MAX, |removal| removal.at);
        let given_back = leases.operations.iter().filter(|other| {
            matches!(&other.request, LeaseRequest::Unlock { key: other_key } if other_key == key)
                && other.invoked >= operation.invoked
        });
        let given_back = given_back.map(|other| other.invoked).min();
        report.lost += u64::from(lost < given_back.unwrap_or(Nanoseconds::MAX));
        by_name.entry(name).or_default().push(Holding {
            client: operation.client,
            lease: *lease,
            asked: operation.invoked,
            from,
            until: given_back.unwrap_or(Nanoseconds::MAX).min(lost),
        });
    }
    for (name, mut holdings) in by_name {
        never_held(name, &holdings)?;
        holdings.retain(|holding| holding.from < holding.until);
        holdings.sort_by_key(|holding| holding.from);
        let mut longest: Option<Holding> = None;
        for holding in holdings {
            if let Some(other) = &longest
                && other.until > holding.from
                && other.lease != holding.lease
            {
                return Err(broken(format!(
                    "lock {} was held by client {} (lease {:x}) from {}, while client {} (lease \
                     {:x}) held it since {}",
                    String::from_utf8_lossy(name),
                    holding.client,
                    holding.lease,
                    display_seconds(holding.from),
                    other.client,
                    other.lease,
                    display_seconds(other.from),
                )));
            }
            if longest
                .as_ref()
                .is_none_or(|other| other.until < holding.until)
            {
                longest = Some(holding);
            }
        }
    }
    Ok(())
}

/// A lock whose lease had ended before the answer must have been free at some moment before that.
fn never_held(name: &Bytes, holdings: &[Holding]) -> Result<(), Box<Counterexample>> {
    for late in holdings
        .iter()
        .filter(|holding| holding.until < holding.from)
    {
        let all_along = holdings.iter().find(|other| {
            other.lease != late.lease && other.from <= late.asked && late.until <= other.until
        });
        if let Some(other) = all_along {
            return Err(broken(format!(
                "client {} was told at {} that it holds lock {}, but its lease {:x} had ended at \
                 {}, and until then client {} had held the lock since before it asked",
                late.client,
                display_seconds(late.from),
                String::from_utf8_lossy(name),
                late.lease,
                display_seconds(late.until),
                other.client,
            )));
        }
    }
    Ok(())
}

/// The lock's name and the token of a fenced write that succeeded.
fn fenced<'a>(request: &'a Request, outcome: &Outcome) -> Option<(&'a [u8], i64, i64)> {
    let (Request::Txn(txn), Outcome::Ok(response)) = (request, outcome) else {
        return None;
    };
    let Body::Txn(body) = &response.body else {
        return None;
    };
    let [compare] = &txn.compare[..] else {
        return None;
    };
    let Operand::CreateRevision(token) = compare.operand else {
        return None;
    };
    if token == 0 || !body.succeeded || !body.responses.iter().any(Body::is_effect) {
        return None;
    }
    let slash = compare.key.iter().rposition(|byte| *byte == b'/')?;
    Some((&compare.key[..slash], token, response.revision))
}

fn fences(history: &History, report: &mut Report) -> Result<(), Box<Counterexample>> {
    let mut by_name: BTreeMap<&[u8], BTreeMap<i64, (i64, u32)>> = BTreeMap::new();
    for operation in &history.operations {
        if let Some((name, token, revision)) = fenced(&operation.request, &operation.outcome) {
            report.fenced += 1;
            let writes = by_name.entry(name).or_default();
            writes.insert(revision, (token, operation.client));
        }
    }
    for (name, writes) in by_name {
        let mut highest = (0, 0);
        for (revision, (token, client)) in writes {
            if token < highest.0 {
                return Err(broken(format!(
                    "client {client} wrote under lock {} at revision {revision} with token {token}, \
                     after client {} had written with token {}",
                    String::from_utf8_lossy(name),
                    highest.1,
                    highest.0
                )));
            }
            highest = (token, client);
        }
    }
    Ok(())
}
