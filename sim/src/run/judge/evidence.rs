//! What of a run's facts and plan its verdict depends on, in the form in which it is saved.

use std::time::Duration;

use vetcd::host::Event;
use vetcd::storage::Fault as StorageFault;
use vetcd::wal::LossWindow;

use super::measure::nanos;
use crate::check::damage::{Blamed, End, Patient};
use crate::check::lease;
use crate::check::liveness::{Recovery, Service};
use crate::check::loss::{PowerLoss, Promise};
use crate::check::membership::RemovedMember;
use crate::check::{Evidence, Insides, Start, Told, WatchLeeway};
use crate::cluster::{Ended, member_config};
use crate::plan::Plan;
use crate::run::facts::Facts;
use crate::scenario::{Fault, Workload};

/// A loss window is the interval and the time the covering sync takes. A write that just misses a
/// sync waits for that one as well: twice the longest sync there can be. Latencies are log-normal:
/// [`SYNC_TAIL`] is far in the tail of every disk profile.
fn sync_slack(plan: &Plan) -> Duration {
    let slowest = plan.faults.iter().map(|fault| match &fault.fault {
        Fault::SlowFsync { latency, .. } => *latency,
        _ => Duration::ZERO,
    });
    2 * (slowest.max().unwrap_or_default() + SYNC_TAIL)
}

/// Longer than practically any sync of a healthy disk in the disk profiles.
const SYNC_TAIL: Duration = Duration::from_millis(250);

/// What removing an expired lease may take in a healthy cluster: a look at the clock twice a
/// second, a lost proposal made again after three, and the log.
const LEASE_SLACK: Duration = Duration::from_secs(5);

/// Gathers the evidence of a run. Takes the members' record of revisions out of the facts.
pub fn gather(plan: &Plan, facts: &mut Facts) -> Evidence {
    let power_losses: Vec<PowerLoss> = facts
        .power_cuts
        .iter()
        .map(|cut| PowerLoss {
            at: cut.at_ns,
            members: cut.members.clone(),
        })
        .collect();
    let mut liars = facts.liars.clone();
    liars.retain(|liar| power_losses.iter().any(|loss| loss.members.contains(liar)));
    Evidence {
        promise: promise(plan, &liars),
        power_losses,
        liars,
        known_order: facts.known_order.take(),
        leases: Some(lease_bounds(plan, facts)),
        watches_settled: facts.watches_settled_ns,
        watch_leeway: WatchLeeway::default(),
        starts: Some(starts(facts)),
        misfits: facts.misfits.clone(),
        insides: Some(Box::new(insides(plan, facts))),
        expected: None,
    }
}

fn promise(plan: &Plan, liars: &[u32]) -> Promise {
    let window = member_config(1, plan.members.len() as u32, &plan.server)
        .map_or(LossWindow::None, |config| config.wal_sync().loss_window());
    match window {
        _ if !liars.is_empty() => Promise::LostAfterPowerLoss,
        LossWindow::None => Promise::NeverLost,
        LossWindow::Unbounded => Promise::LostAfterPowerLoss,
        LossWindow::AtMost(window) => {
            Promise::LostWithin((window + sync_slack(plan)).as_nanos() as u64)
        }
    }
}

fn lease_bounds(plan: &Plan, facts: &Facts) -> lease::Bounds {
    let config = member_config(1, plan.members.len() as u32, &plan.server);
    let timeout = config.map_or(1000, |config| config.election_timeout);
    let drifts = plan.members.iter().map(|member| member.clock_drift_ppm);
    let leaders = facts.timeline.iter();
    let leaders = leaders.filter(|happening| matches!(happening.event, Event::BecameLeader { .. }));
    let faults = facts.faults.iter().map(|fault| {
        let ended = fault
            .ended_at
            .map_or(facts.ended_ns, |at| at.as_nanos() as u64);
        (fault.at.as_nanos() as u64, ended)
    });
    lease::Bounds {
        drift_ppm: drifts.map(i32::unsigned_abs).max().unwrap_or(0),
        election_timeout: Duration::from_millis(timeout).as_nanos() as u64,
        slack: LEASE_SLACK.as_nanos() as u64,
        leaders: leaders.map(|happening| happening.at_ns).collect(),
        faults: faults.collect(),
        end: facts.ended_ns,
    }
}

/// A member that starts, or drops its log and rebuilds, may show less than it showed before.
fn starts(facts: &Facts) -> Vec<Start> {
    let happenings = facts.timeline.iter();
    let anew = happenings.filter(|h| matches!(h.event, Event::Started { .. } | Event::Rebuilding));
    let start = anew.map(|happening| Start {
        member: happening.member,
        at: happening.at_ns,
    });
    start.collect()
}

fn insides(plan: &Plan, facts: &Facts) -> Insides {
    let panics = facts.panics.iter().map(|panic| Told {
        at: panic.at_ns,
        who: panic.node.clone(),
        text: panic.text.clone(),
    });
    // How a member with a faulty disk may end has a judge of its own.
    let healthy = |ended: &&Ended| !facts.disk_faults.contains_key(&ended.member);
    let ended = facts.ended.iter().filter(healthy).map(|ended| Told {
        at: ended.at_ns,
        who: format!("m{}", ended.member),
        text: ended.reason.clone(),
    });
    let breaches = facts.breaches.iter().map(|breach| Told {
        at: breach.at_ns,
        who: String::new(),
        text: breach.text.clone(),
    });
    let removed = facts.removals.iter().map(|removal| RemovedMember {
        member: removal.member,
        at: format!("{:.3} s", nanos(removal.at_ns).as_secs_f64()),
        stopped: removal.stopped_ns.is_some(),
    });
    let served = facts.recovery.served_ns.iter().enumerate();
    Insides {
        panics: panics.collect(),
        ended: ended.collect(),
        patients: patients(plan, facts),
        breaches: breaches.collect(),
        converged: facts.recovery.converged_ns,
        members: facts.members.clone(),
        reconfigured: facts.reached.iter().any(|event| event == "member-promoted"),
        removed: removed.collect(),
        views: facts.views.clone(),
        recovery: Recovery {
            healed: facts.recovery.healed_ns,
            budget: plan.time.recover_within.as_nanos() as u64,
            leader: facts.recovery.leader_ns,
            clients: served
                .map(|(client, served)| Service {
                    client: client as u32,
                    served: *served,
                })
                .collect(),
        },
    }
}

fn patients(plan: &Plan, facts: &Facts) -> Vec<Patient> {
    let mut workloads = plan.workloads.iter();
    let is_tended = workloads.any(|planned| matches!(planned.workload, Workload::Replace(_)));
    let patient = |(member, since): (&u32, &u64)| {
        let flips = facts.flips.iter().filter(|flip| flip.member == *member);
        let ended = facts.ended.iter().filter(|ended| ended.member == *member);
        Patient {
            member: *member,
            since: *since,
            damage: flips.map(|flip| (flip.at_ns, flip.path.clone())).collect(),
            ends: ended.map(end_of).collect(),
            is_up: facts.up.contains(member),
            is_tended,
            is_replaced: facts.replaced.contains(member),
        }
    };
    facts.disk_faults.iter().map(patient).collect()
}

pub fn end_of(ended: &Ended) -> End {
    End {
        at: ended.at_ns,
        words: ended.reason.clone(),
        blamed: match ended.fault {
            Some(StorageFault::Damaged) => Blamed::Data,
            Some(StorageFault::Failed | StorageFault::Full) => Blamed::Disk,
            None => Blamed::Other,
        },
    }
}
