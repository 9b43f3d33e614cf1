//! The numbers of a result: counts, latencies, leaders, outages, and the events that were reached.

use std::collections::BTreeMap;
use std::time::Duration;

use vetcd::host::Event;

use crate::check::damage::Blamed;
use crate::check::{election, lock, service};
use crate::history::{AuthOutcome, AuthRecord, Body, History, News, Outcome, Request};
use crate::report::{LatencySummary, LeaderChange, Operations, RunResult, Syncs};
use crate::run::facts::Facts;
use crate::run::judge::evidence::end_of;

pub fn nanos(ns: u64) -> Duration {
    Duration::from_nanos(ns)
}

fn is_write(request: &Request) -> bool {
    match request {
        Request::Put(_) | Request::Delete(_) => true,
        Request::Txn(txn) => txn.then.iter().chain(&txn.otherwise).any(is_write),
        Request::Range(_) | Request::Compact(_) => false,
    }
}

pub fn count(history: &History) -> Operations {
    let mut operations = Operations::default();
    for operation in &history.operations {
        match &operation.outcome {
            Outcome::Ok(_) => operations.ok += 1,
            Outcome::Failed(_) => operations.failed += 1,
            Outcome::Unknown(_) => operations.unknown += 1,
        }
    }
    operations
}

/// Fills in the numbers.
pub fn measure(result: &mut RunResult, facts: &Facts) {
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    let mut in_safety_phase = 0u64;
    for operation in &facts.history.operations {
        let (Outcome::Ok(_), Some(returned)) = (&operation.outcome, operation.returned) else {
            continue;
        };
        in_safety_phase += u64::from(returned <= facts.safety_ended_ns);
        let latency = nanos(returned - operation.invoked);
        match is_write(&operation.request) {
            true => writes.push(latency),
            false => reads.push(latency),
        }
    }
    result.operations = count(&facts.history);
    let writes_done = writes.len() as f64;
    result.reads = LatencySummary::of(&mut reads);
    result.writes = LatencySummary::of(&mut writes);
    let seconds = nanos(facts.safety_ended_ns).as_secs_f64();
    result.throughput_per_second = in_safety_phase as f64 / seconds.max(1e-9);
    result.syncs = Syncs {
        total: facts.syncs,
        per_write: match writes_done > 0.0 {
            true => facts.syncs as f64 / writes_done,
            false => 0.0,
        },
    };
    result.faults = facts.faults.clone();
    for happening in &facts.timeline {
        if let Event::BecameLeader { term } = happening.event {
            result.leaders.push(LeaderChange {
                at: nanos(happening.at_ns),
                member: happening.member,
                term,
            });
        }
    }
    result.elections = result.leaders.len() as u32;
    result.recovery_time = recovery_time(facts);
    result.outages = service::outages(&facts.history);
}

fn recovery_time(facts: &Facts) -> Option<Duration> {
    let ended = facts.recovery.last_fault_ended_ns?;
    let mut first_served: BTreeMap<u32, u64> = BTreeMap::new();
    for operation in &facts.history.operations {
        if let (Outcome::Ok(_), Some(returned)) = (&operation.outcome, operation.returned)
            && operation.invoked >= ended
        {
            let first = first_served.entry(operation.client).or_insert(returned);
            *first = returned.min(*first);
        }
    }
    for watch in &facts.history.watches {
        let mut served = watch.responses.iter();
        if let Some(heard) = served.find(|r| r.at >= ended && !matches!(r.news, News::Ended(_))) {
            let first = first_served.entry(watch.client).or_insert(heard.at);
            *first = heard.at.min(*first);
        }
    }
    let every_client = first_served.len() == facts.recovery.served_ns.len();
    let last = first_served.into_values().max()?;
    every_client.then(|| nanos(last - ended))
}

pub fn reached(facts: &Facts, result: &RunResult) -> Vec<String> {
    let mut reached: Vec<String> = facts.reached.clone();
    let compacted = |operation: &crate::history::Operation| matches!(&operation.outcome, Outcome::Ok(response) if response.body == Body::Compact);
    let watches = &facts.history.watches;
    let shown = watches.iter().flat_map(|watch| &watch.responses);
    let ends = facts.ended.iter().map(end_of);
    let denied = |record: &AuthRecord| record.outcome == AuthOutcome::Denied;
    let found = [
        (
            "watch-resumed",
            watches.iter().any(|watch| watch.resumes.is_some()),
        ),
        (
            "watch-compacted",
            shown
                .clone()
                .any(|r| matches!(r.news, News::Cancelled { compacted, .. } if compacted > 0)),
        ),
        ("compacted", facts.history.operations.iter().any(compacted)),
        ("permission-denied", facts.history.auth.iter().any(denied)),
        ("outcome-unknown", result.operations.unknown > 0),
        (
            "unsynced-writes-lost",
            facts.power_cuts.iter().any(|cut| cut.lost_bytes > 0),
        ),
        (
            "disk-error",
            ends.clone().any(|end| end.blamed == Blamed::Disk),
        ),
        (
            "damage-refused",
            ends.clone().any(|end| end.blamed == Blamed::Data),
        ),
        ("member-replaced", !facts.replaced.is_empty()),
        ("no-space", facts.full > 0),
        ("writes-lost", result.lost_writes.count > 0),
        (
            "lease-expired",
            facts
                .history
                .leases
                .removals
                .iter()
                .any(|removal| removal.expired),
        ),
        (
            "lead-lost",
            election::check(&facts.history.leases, true)
                .ok()
                .is_some_and(|report| report.lost > 0),
        ),
        (
            "lock-lost",
            lock::check(&facts.history.leases, &facts.history, true)
                .ok()
                .is_some_and(|report| report.lost > 0),
        ),
    ];
    let found = found.into_iter().filter(|(_, found)| *found);
    reached.extend(found.map(|(name, _)| name.to_owned()));
    reached.sort();
    reached
}
