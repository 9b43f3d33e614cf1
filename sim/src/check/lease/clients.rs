//! Leases by what clients were told alone: nobody saw inside the members.
//!
//! Judged: no lease is told to be gone before its promise has passed, unless somebody asked to
//! revoke it; once it was told to be gone, or its revocation was answered, nobody is told that it
//! lives.
//!
//! **Not judged**: that a lease which nobody renews ends at all, since nobody knows when leaders
//! changed; what became of its keys, beyond strict serializability.

use std::collections::BTreeMap;

use super::{Counterexample, DRIFT_PPM, Report, Verdict, at_least, broken, promise};
use crate::history::{
    LeaseAnswer, LeaseHistory, LeaseOperation, LeaseOutcome, LeaseRequest, Nanoseconds,
    display_seconds, lease_name,
};

/// All that was asked about one lease.
#[derive(Default)]
struct Story<'a> {
    operations: Vec<&'a LeaseOperation>,
}

/// Whether an answer says that the lease lives; `None` when it says nothing.
fn alive(operation: &LeaseOperation) -> Option<bool> {
    match &operation.outcome {
        LeaseOutcome::Ok(LeaseAnswer::Granted { .. }) => Some(true),
        LeaseOutcome::Ok(LeaseAnswer::Renewed { ttl }) => Some(*ttl > 0),
        LeaseOutcome::Ok(LeaseAnswer::Times { ttl }) => Some(*ttl >= 0),
        _ => None,
    }
}

fn lease_of(request: &LeaseRequest) -> Option<i64> {
    match request {
        LeaseRequest::Grant { id, .. }
        | LeaseRequest::Revoke { id }
        | LeaseRequest::KeepAlive { id }
        | LeaseRequest::TimeToLive { id } => Some(*id),
        _ => None,
    }
}

/// Judges the leases of a history of whose members nothing is known.
pub fn by_clients(leases: &LeaseHistory) -> Verdict<Report> {
    let mut stories: BTreeMap<i64, Story<'_>> = BTreeMap::new();
    for operation in &leases.operations {
        if let Some(id) = lease_of(&operation.request) {
            stories.entry(id).or_default().operations.push(operation);
        }
    }
    let mut report = Report::default();
    for (id, story) in &stories {
        if let Err(counterexample) = story.judge(*id, &mut report) {
            return Verdict::Violation(counterexample);
        }
    }
    report.verdict()
}

impl Story<'_> {
    fn judge(&self, id: i64, report: &mut Report) -> Result<(), Box<Counterexample>> {
        let granted = self.operations.iter().find(|operation| {
            let grants = matches!(operation.request, LeaseRequest::Grant { .. });
            grants && alive(operation) == Some(true)
        });
        let Some(granted) = granted else {
            return Ok(());
        };
        report.leases += 1;
        report.promises += self
            .operations
            .iter()
            .filter(|o| promise(o).is_some())
            .count() as u64;
        let born = granted.returned.unwrap_or(granted.invoked);
        let revoked = self.operations.iter().filter(|operation| {
            let revokes = matches!(operation.request, LeaseRequest::Revoke { .. });
            revokes && !matches!(operation.outcome, LeaseOutcome::Failed(_))
        });
        let asked_to_revoke = revoked.clone().map(|o| o.invoked).min();
        report.revoked += u64::from(asked_to_revoke.is_some());
        // Who said first that it is gone.
        let mut gone: Option<(Nanoseconds, &LeaseOperation)> = None;
        for operation in &self.operations {
            let dead = alive(operation) == Some(false) && operation.invoked >= born;
            let ended = matches!(operation.outcome, LeaseOutcome::Ok(LeaseAnswer::Revoked));
            let Some(at) = operation.returned.filter(|_| dead || ended) else {
                continue;
            };
            if dead && asked_to_revoke.is_none_or(|asked| asked > at) {
                self.too_early(id, operation, at)?;
            }
            if gone.is_none_or(|(first, _)| at < first) {
                gone = Some((at, operation));
            }
        }
        let Some((since, teller)) = gone else {
            return Ok(());
        };
        report.expired += u64::from(asked_to_revoke.is_none());
        let risen = self
            .operations
            .iter()
            .find(|operation| alive(operation) == Some(true) && operation.invoked > since);
        let Some(risen) = risen else {
            return Ok(());
        };
        let lease = lease_name(id);
        let summary = format!("lease {lease} was gone, and lives again");
        let told = broken(summary)
            .with(teller)
            .with(*risen)
            .because(format!(
                "lease operation {} was answered at {}, before lease operation {} was called at {}",
                teller.id,
                display_seconds(since),
                risen.id,
                display_seconds(risen.invoked)
            ))
            .instead("no such lease", "an answer that it lives");
        Err(Box::new(told))
    }

    fn too_early(
        &self,
        id: i64,
        dead: &LeaseOperation,
        at: Nanoseconds,
    ) -> Result<(), Box<Counterexample>> {
        for operation in &self.operations {
            let Some((_, ttl)) = promise(operation) else {
                continue;
            };
            let until = operation.invoked.saturating_add(at_least(ttl, DRIFT_PPM));
            if at >= until {
                continue;
            }
            let summary = format!(
                "lease {} ended before its promise had passed, and nobody had asked for that",
                lease_name(id)
            );
            let told = broken(summary)
                .with(*operation)
                .with(dead)
                .because(format!(
                    "it was promised until {} at least: {ttl} s from {}, when they were asked for",
                    display_seconds(until),
                    display_seconds(operation.invoked)
                ))
                .instead(
                    format!("a lease that lives at {}", display_seconds(at)),
                    "no such lease",
                );
            return Err(Box::new(told));
        }
        Ok(())
    }
}
