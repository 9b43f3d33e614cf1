//! Locks: one holder at a time, and fencing tokens that only grow.
//!
//! Two clients that both certainly held one lock at one moment ([`super::holding`]) are a violation,
//! and so is a client that was told it held the lock although its lease ended while another client
//! held it all the time since the request (#11408). A holder that was paused may still *act* late;
//! against that, a write is fenced by the create revision of the lock's key, and of the fenced
//! writes that succeeded none may come from an older holder than one before it.
//!
//! Undetermined when no client was ever told that it holds a lock.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use super::holding::{Holding, Kind, Lives, one_at_a_time};
use super::{Counterexample, Verdict};
use crate::history::{
    Body, History, LeaseAnswer, LeaseHistory, LeaseOutcome, LeaseRequest, Operand, Operation,
    Outcome, Request, display_seconds, display_short,
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

/// Judges the locks of a history. `told` says whether members told of every lease's end; otherwise
/// a holder certainly holds as long as its lease was promised.
pub fn check(leases: &LeaseHistory, history: &History, told: bool) -> Verdict<Report> {
    let mut report = Report::default();
    let result = holders(leases, told, &mut report).and_then(|()| fences(history, &mut report));
    match result {
        Err(counterexample) => Verdict::Violation(counterexample),
        Ok(()) if report.held == 0 && report.fenced == 0 => {
            Verdict::Undetermined("no client was told that it holds a lock".to_owned())
        }
        Ok(()) => Verdict::Ok(report),
    }
}

fn holders(
    leases: &LeaseHistory,
    told: bool,
    report: &mut Report,
) -> Result<(), Box<Counterexample>> {
    let lives = Lives::of(leases, told);
    let mut by_name: BTreeMap<&Bytes, Vec<Holding<'_>>> = BTreeMap::new();
    for operation in &leases.operations {
        let (LeaseRequest::Lock { name, lease }, LeaseOutcome::Ok(LeaseAnswer::Locked { key })) =
            (&operation.request, &operation.outcome)
        else {
            continue;
        };
        report.held += 1;
        let gives_back = |request: &LeaseRequest| matches!(request, LeaseRequest::Unlock { key: other } if other == key);
        let holding = Holding::new(operation, *lease, leases, &lives, gives_back);
        report.lost += u64::from(holding.is_lost(&lives));
        by_name.entry(name).or_default().push(holding);
    }
    let kind = Kind {
        guarantee: GUARANTEE,
        noun: "lock",
    };
    for (name, holdings) in by_name {
        one_at_a_time(kind, name, holdings, &lives)?;
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
    let mut by_name: BTreeMap<&[u8], BTreeMap<i64, (i64, &Operation)>> = BTreeMap::new();
    for operation in &history.operations {
        if let Some((name, token, revision)) = fenced(&operation.request, &operation.outcome) {
            report.fenced += 1;
            let writes = by_name.entry(name).or_default();
            writes.insert(revision, (token, operation));
        }
    }
    for (name, writes) in by_name {
        let mut highest: Option<(i64, i64, &Operation)> = None;
        for (revision, (token, operation)) in writes {
            if let Some((earlier, before, other)) = highest
                && token < before
            {
                let name = display_short(&Bytes::copy_from_slice(name));
                let (client, first) = (operation.client, other.client);
                let told = Counterexample::new(
                    GUARANTEE,
                    format!(
                        "client {client} wrote under lock {name} at revision {revision} with token \
                         {token}, after client {first} had written with token {before}"
                    ),
                )
                .with(other)
                .with(operation)
                .because(format!(
                    "operation {} before operation {} by revision {earlier} < {revision}; the lock \
                     that the second was fenced by had been lost by {}",
                    other.id,
                    operation.id,
                    display_seconds(other.returned.unwrap_or(other.invoked))
                ))
                .instead(
                    format!("a token of {before} or later, or the comparison fails"),
                    format!("token {token}, and the comparison held"),
                );
                return Err(Box::new(told));
            }
            if highest.is_none_or(|(_, before, _)| before <= token) {
                highest = Some((revision, token, operation));
            }
        }
    }
    Ok(())
}
