//! From facts to a result: which checks apply, what they say, and the verdict. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use vetcd::host::Event;
use vetcd::storage::Fault as StorageFault;
use vetcd::wal::LossWindow;

use super::facts::Facts;
use crate::check::damage::{self, Blamed, End, Patient};
use crate::check::liveness::{self, Service};
use crate::check::loss::{self, PowerLoss, Promise};
use crate::check::membership::{self, RemovedMember};
use crate::check::{self, KnownOrder, Verdict as Judgement};
use crate::check::{
    after_loss, convergence, lease, lock, serializable_reads, strict_serializability, watch,
};
use crate::cluster::{Ended, member_config};
use crate::history::read::{Content, Model, Recording};
use crate::history::{
    AuthOutcome, AuthRecord, Body, History, LeaseRequest, News, Outcome, Request,
};
use crate::plan::Plan;
use crate::report::{
    CheckResult, CheckVerdict, JudgedHistory, LatencySummary, LeaderChange, LostWritesFound,
    Operations, RunResult, Syncs, Verdict,
};
use crate::scenario::{Fault, LostWrites};

/// Judges a run.
pub fn judge(plan: &Plan, facts: &Facts) -> RunResult {
    let mut result = RunResult::of(plan);
    measure(&mut result, facts);
    let promise = Promised::of(plan, facts);
    let mut checks = Checks {
        excuse: promise.excuse(),
        ..Checks::default()
    };
    checks.panics(facts);
    checks.members(facts);
    checks.damage(facts);
    checks.raft(facts, &promise);
    checks.answers(facts);
    checks.lost_writes(facts, &promise, &mut result.lost_writes);
    checks.history(&facts.history, facts, &promise);
    checks.leases(plan, facts);
    checks.watches(&facts.history, facts, &promise);
    checks.permissions(&facts.history, &promise);
    checks.convergence(facts);
    checks.membership(facts);
    checks.recovery(plan, facts);
    result.reached = reached(facts, &result);
    checks.expectations(plan, &result);
    (result.verdict, result.reason) = checks.verdict();
    result.checks = checks.results;
    result
}

/// Judges what somebody recorded, of which nothing else is known.
pub fn judge_recording(recording: &Recording) -> JudgedHistory {
    const NAME: &str = "strict-serializability";
    let options = check::Options::default();
    let mut checks = Checks::default();
    let operations = match &recording.content {
        Content::Store(history, changes) => {
            let facts = Facts {
                known_order: KnownOrder::seen(changes),
                ..Facts::default()
            };
            match recording.model {
                Model::Etcd => {
                    checks.history(history, &facts, &Promised::default());
                    checks.watches(history, &facts, &Promised::default());
                    checks.permissions(history, &Promised::default());
                }
                _ => {
                    let judgement = check::search::check(history, &options);
                    checks.judged(NAME, Verdict::SafetyViolation, &judgement);
                }
            }
            count(history)
        }
        Content::Objects(history) => {
            let judgement = check::objects::check(history, &options);
            checks.judged(NAME, Verdict::SafetyViolation, &judgement);
            let unknown = history.operations.iter().filter(|o| o.is_unknown()).count() as u64;
            Operations {
                ok: history.operations.len() as u64 - unknown,
                failed: 0,
                unknown,
            }
        }
    };
    JudgedHistory {
        operations,
        notes: recording.notes.clone(),
        checks: checks.results,
    }
}

fn end_of(ended: &Ended) -> End {
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

fn nanos(ns: u64) -> Duration {
    Duration::from_nanos(ns)
}

fn is_write(request: &Request) -> bool {
    match request {
        Request::Put(_) | Request::Delete(_) => true,
        Request::Txn(txn) => txn.then.iter().chain(&txn.otherwise).any(is_write),
        Request::Range(_) | Request::Compact(_) => false,
    }
}

fn count(history: &History) -> Operations {
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
fn measure(result: &mut RunResult, facts: &Facts) {
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

fn reached(facts: &Facts, result: &RunResult) -> Vec<String> {
    let mut reached: Vec<String> = facts.reached.clone();
    let compacted = |operation: &crate::history::Operation| matches!(&operation.outcome, Outcome::Ok(response) if response.body == Body::Compact);
    let watches = &facts.history.watches;
    let shown = watches.iter().flat_map(|watch| &watch.responses);
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
            facts
                .ended
                .iter()
                .any(|ended| end_of(ended).blamed == Blamed::Disk),
        ),
        (
            "damage-refused",
            facts
                .ended
                .iter()
                .any(|ended| end_of(ended).blamed == Blamed::Data),
        ),
        ("no-space", facts.full > 0),
        ("writes-lost", result.lost_writes.count > 0),
        (
            "lease-expired",
            facts.leases.removals.iter().any(|removal| removal.expired),
        ),
        (
            "lock-lost",
            lock::check(&facts.leases, &facts.history)
                .ok()
                .is_some_and(|report| report.lost > 0),
        ),
    ];
    let found = found.into_iter().filter(|(_, found)| *found);
    reached.extend(found.map(|(name, _)| name.to_owned()));
    reached.sort();
    reached
}

/// What the run's durability setting promises about its power losses.
struct Promised {
    promise: Promise,
    power_losses: Vec<PowerLoss>,
    /// The members whose disk lied about a sync, if any did: then nothing is promised.
    liars: Vec<u32>,
}

impl Default for Promised {
    fn default() -> Promised {
        Promised {
            promise: Promise::NeverLost,
            power_losses: Vec::new(),
            liars: Vec::new(),
        }
    }
}

impl Promised {
    fn of(plan: &Plan, facts: &Facts) -> Promised {
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
        let window = member_config(1, plan.members.len() as u32, &plan.server)
            .map_or(LossWindow::None, |config| config.wal_sync().loss_window());
        let promise = match window {
            _ if !liars.is_empty() => Promise::LostAfterPowerLoss,
            LossWindow::None => Promise::NeverLost,
            LossWindow::Unbounded => Promise::LostAfterPowerLoss,
            LossWindow::AtMost(window) => {
                Promise::LostWithin((window + sync_slack(plan)).as_nanos() as u64)
            }
        };
        Promised {
            promise,
            power_losses,
            liars,
        }
    }

    /// Whether acknowledged entries may have been lost by then.
    fn permits_loss_before(&self, at_ns: u64) -> bool {
        let lost = self.power_losses.iter().any(|loss| loss.at <= at_ns);
        lost && self.promise != Promise::NeverLost
    }

    /// Who is to blame for what a lying disk causes.
    fn excuse(&self) -> Option<String> {
        let names: Vec<String> = self.liars.iter().map(|n| format!("m{n}")).collect();
        match names.as_slice() {
            [] => None,
            [one] => Some(format!("the disk of {one} lied about fsync")),
            many => Some(format!("the disks of {} lied about fsync", many.join(", "))),
        }
    }
}

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

/// What the checks say, and what follows from it.
#[derive(Default)]
struct Checks {
    /// Why the server is not to blame, when it is not: then a broken guarantee is told, and is no
    /// violation.
    excuse: Option<String>,
    results: Vec<CheckResult>,
    verdicts: Vec<(Verdict, String)>,
}

impl Checks {
    fn say(&mut self, name: &str, verdict: CheckVerdict, text: impl Into<String>) {
        self.results.push(CheckResult {
            name: name.to_owned(),
            verdict,
            text: text.into(),
            detail: Vec::new(),
            counterexample: None,
        });
    }

    fn fail(&mut self, name: &str, verdict: Verdict, text: impl Into<String>, detail: Vec<String>) {
        let text = text.into();
        let blamed = verdict == Verdict::SafetyViolation || verdict == Verdict::LivenessViolation;
        let (verdict_of_check, text) = match &self.excuse {
            Some(excuse) if blamed => (
                CheckVerdict::Skipped,
                format!("outside every promise, {excuse}: {text}"),
            ),
            _ => {
                self.verdicts.push((verdict, text.clone()));
                (CheckVerdict::Fail, text)
            }
        };
        self.results.push(CheckResult {
            name: name.to_owned(),
            verdict: verdict_of_check,
            text,
            detail,
            counterexample: None,
        });
    }

    /// Every acknowledged write is still there, or its loss is allowed.
    fn lost_writes(&mut self, facts: &Facts, promised: &Promised, found: &mut LostWritesFound) {
        const NAME: &str = "no-lost-writes";
        let Some(known) = &facts.known_order else {
            let text = "no member could be audited";
            self.say(NAME, CheckVerdict::Skipped, text);
            return;
        };
        // Counted under the widest promise, judged under the one given.
        let losses = &promised.power_losses;
        let count = loss::check(&facts.history, known, losses, Promise::LostAfterPowerLoss);
        found.audited = true;
        found.blamed = promised.excuse();
        if let Judgement::Ok(report) = &count {
            found.count = report.lost.len() as u64;
            found.worst_age = nanos(report.worst_age);
        }
        let judgement = loss::check(&facts.history, known, losses, promised.promise);
        found.expected = judgement.is_ok() && found.count > 0;
        if !found.expected || found.blamed.is_none() {
            found.blamed = None;
        }
        match (&judgement, found.count) {
            (Judgement::Ok(_), 1..) => {
                let cause = promised
                    .excuse()
                    .unwrap_or("--wal-sync permits it".to_owned());
                let text = format!(
                    "expected loss: {} acknowledged writes lost, up to {:.3} s old ({cause})",
                    found.count,
                    found.worst_age.as_secs_f64()
                );
                self.say(NAME, CheckVerdict::Pass, text);
            }
            _ => self.judged(NAME, Verdict::SafetyViolation, &judgement),
        }
    }

    fn judged<T: std::fmt::Display>(
        &mut self,
        name: &str,
        verdict: Verdict,
        judgement: &Judgement<T>,
    ) {
        match judgement {
            Judgement::Ok(value) => self.say(name, CheckVerdict::Pass, value.to_string()),
            Judgement::Undetermined(reason) => {
                self.verdicts
                    .push((Verdict::Undetermined, format!("{name}: {reason}")));
                self.say(name, CheckVerdict::Undetermined, reason.clone());
            }
            Judgement::Violation(counterexample) => {
                let story = counterexample.to_string();
                let detail = story.lines().map(str::to_owned).collect();
                self.fail(name, verdict, counterexample.summary.clone(), detail);
                if let Some(result) = self.results.last_mut() {
                    result.counterexample = serde_json::to_value(counterexample).ok();
                }
            }
        }
    }

    fn panics(&mut self, facts: &Facts) {
        if let Some(first) = facts.panics.first() {
            let detail = facts.panics.iter().map(|panic| {
                format!(
                    "{:.6} s {}: {}",
                    nanos(panic.at_ns).as_secs_f64(),
                    panic.node,
                    panic.text
                )
            });
            let text = format!("{} panicked: {}", first.node, first.text);
            self.fail("no-panic", Verdict::ServerPanic, text, detail.collect());
        }
    }

    fn members(&mut self, facts: &Facts) {
        // How a member with a faulty disk may end has a judge of its own.
        let healthy = |ended: &&Ended| !facts.disk_faults.contains_key(&ended.member);
        let Some(first) = facts.ended.iter().find(healthy) else {
            self.say(
                "members-stay-up",
                CheckVerdict::Pass,
                "no member ended by itself",
            );
            return;
        };
        let detail = facts.ended.iter().filter(healthy).map(|ended| {
            let at = nanos(ended.at_ns).as_secs_f64();
            format!("{at:.6} s m{}: {}", ended.member, ended.reason)
        });
        let text = format!("m{} ended by itself: {}", first.member, first.reason);
        let detail = detail.collect();
        self.fail("members-stay-up", Verdict::LivenessViolation, text, detail);
    }

    /// Says nothing of a run in which every disk was well.
    fn damage(&mut self, facts: &Facts) {
        if facts.disk_faults.is_empty() {
            return;
        }
        let patients = facts.disk_faults.iter().map(|(member, since)| {
            let flips = facts.flips.iter().filter(|flip| flip.member == *member);
            let ended = facts.ended.iter().filter(|ended| ended.member == *member);
            Patient {
                member: *member,
                since: *since,
                damage: flips.map(|flip| (flip.at_ns, flip.path.clone())).collect(),
                ends: ended.map(end_of).collect(),
                is_up: facts.up.contains(member),
            }
        });
        let patients: Vec<_> = patients.collect();
        let judgement = damage::check(&patients, &facts.members, vetcd::storage::REPLACE);
        self.judged("damage", Verdict::SafetyViolation, &judgement);
    }

    fn membership(&mut self, facts: &Facts) {
        let stories = facts.removals.iter().map(|removal| RemovedMember {
            member: removal.member,
            at: format!("{:.3} s", nanos(removal.at_ns).as_secs_f64()),
            stopped: removal.stopped_ns.is_some(),
        });
        let removed: Vec<_> = stories.collect();
        if removed.is_empty() && !facts.reached.iter().any(|event| event == "member-promoted") {
            return;
        }
        let judgement = membership::check(&removed, &facts.views);
        self.judged("membership", Verdict::SafetyViolation, &judgement);
    }

    fn raft(&mut self, facts: &Facts, promised: &Promised) {
        match facts.breaches.first() {
            // A member that kept what its peers were allowed to lose applies it again before it
            // learns that the cluster has moved on. Clients never see it: reads wait.
            Some(first) if promised.permits_loss_before(first.at_ns) => {
                let count = facts.breaches.len();
                let text = format!(
                    "{count} seen after a loss that --wal-sync permits: {}",
                    first.text
                );
                self.say("raft-safety", CheckVerdict::Skipped, text);
            }
            None => self.say(
                "raft-safety",
                CheckVerdict::Pass,
                "one leader a term, the same entries everywhere, each applied once",
            ),
            Some(first) => {
                let detail = facts.breaches.iter().map(ToString::to_string).collect();
                let text = first.text.clone();
                self.fail("raft-safety", Verdict::SafetyViolation, text, detail);
            }
        }
    }

    fn answers(&mut self, facts: &Facts) {
        if let Some(first) = facts.misfits.first() {
            let detail = facts.misfits.clone();
            self.fail(
                "answers-fit",
                Verdict::SafetyViolation,
                first.clone(),
                detail,
            );
        }
    }

    fn history(&mut self, history: &History, facts: &Facts, promised: &Promised) {
        const NAME: &str = "strict-serializability";
        let options = check::Options {
            known_order: facts.known_order.as_ref(),
            ..check::Options::default()
        };
        let (certificate, history) = match (&facts.known_order, promised.promise) {
            (Some(known), promise) if promise != Promise::NeverLost => {
                let losses = &promised.power_losses;
                let judgement = after_loss::check(history, known, losses, promise, &options);
                self.judged(NAME, Verdict::SafetyViolation, &judgement);
                match judgement {
                    Judgement::Ok(after) => (after.certificate, after.history),
                    _ => return,
                }
            }
            _ => {
                let judgement = strict_serializability::check(history, &options);
                self.judged(NAME, Verdict::SafetyViolation, &judgement);
                match judgement {
                    Judgement::Ok(certificate) => (certificate, history.clone()),
                    _ => return,
                }
            }
        };
        let reads = serializable_reads::check(&history, &certificate, &options);
        self.judged("serializable-reads", Verdict::SafetyViolation, &reads);
    }

    /// Leases and locks, where a workload used any. A setting that permits losing acknowledged
    /// writes permits losing leases and renewals with them.
    fn leases(&mut self, plan: &Plan, facts: &Facts) {
        if facts.leases.operations.is_empty() {
            return;
        }
        let config = member_config(1, plan.members.len() as u32, &plan.server);
        let timeout = config.map_or(1000, |config| config.election_timeout);
        let drifts = plan.members.iter().map(|member| member.clock_drift_ppm);
        let leaders = facts.timeline.iter();
        let leaders =
            leaders.filter(|happening| matches!(happening.event, Event::BecameLeader { .. }));
        let bounds = lease::Bounds {
            drift_ppm: drifts.map(i32::unsigned_abs).max().unwrap_or(0),
            election_timeout: Duration::from_millis(timeout).as_nanos() as u64,
            slack: LEASE_SLACK.as_nanos() as u64,
            leaders: leaders.map(|happening| happening.at_ns).collect(),
            faults: facts
                .faults
                .iter()
                .map(|fault| {
                    let ended = fault
                        .ended_at
                        .map_or(facts.ended_ns, |at| at.as_nanos() as u64);
                    (fault.at.as_nanos() as u64, ended)
                })
                .collect(),
            end: facts.ended_ns,
        };
        let known = facts.known_order.as_ref();
        let leases = lease::check(&facts.leases, &facts.history, known, &bounds);
        self.judged("leases", Verdict::SafetyViolation, &leases);
        let mut operations = facts.leases.operations.iter();
        if operations.any(|operation| matches!(operation.request, LeaseRequest::Lock { .. })) {
            let locks = lock::check(&facts.leases, &facts.history);
            self.judged("locks", Verdict::SafetyViolation, &locks);
        }
    }

    fn watches(&mut self, history: &History, facts: &Facts, promised: &Promised) {
        if history.watches.is_empty() {
            return;
        }
        let losses: Vec<u64> = match promised.promise {
            Promise::NeverLost => Vec::new(),
            _ => promised.power_losses.iter().map(|loss| loss.at).collect(),
        };
        let options = watch::Options {
            known_order: facts.known_order.as_ref(),
            losses: &losses,
            settled: facts.watches_settled_ns,
        };
        let judgement = watch::check(history, &options);
        self.judged("watch", Verdict::SafetyViolation, &judgement);
    }

    /// Says nothing of a history in which nobody changes permissions.
    fn permissions(&mut self, history: &History, promised: &Promised) {
        const NAME: &str = "permissions";
        if history.auth.is_empty() {
            return;
        }
        if promised.promise != Promise::NeverLost {
            let text = "a loss that --wal-sync permits may take changes of permissions as well";
            self.say(NAME, CheckVerdict::Skipped, text);
            return;
        }
        let judgement = check::auth::check(&history.auth);
        self.judged(NAME, Verdict::SafetyViolation, &judgement);
    }

    fn convergence(&mut self, facts: &Facts) {
        if facts.recovery.converged_ns.is_none() {
            self.fail(
                "convergence",
                Verdict::LivenessViolation,
                "the members did not apply the same log in time",
                facts.members.iter().map(ToString::to_string).collect(),
            );
            return;
        }
        let judgement = convergence::check(&facts.members);
        self.judged("convergence", Verdict::SafetyViolation, &judgement);
    }

    fn recovery(&mut self, plan: &Plan, facts: &Facts) {
        let served = facts.recovery.served_ns.iter().enumerate();
        let recovery = liveness::Recovery {
            healed: facts.recovery.healed_ns,
            budget: plan.time.recover_within.as_nanos() as u64,
            leader: facts.recovery.leader_ns,
            clients: served
                .map(|(client, served)| Service {
                    client: client as u32,
                    served: *served,
                })
                .collect(),
        };
        let judgement = liveness::check(&recovery);
        self.judged("liveness", Verdict::LivenessViolation, &judgement);
    }

    fn expectations(&mut self, plan: &Plan, result: &RunResult) {
        let lost = &result.lost_writes;
        match plan.expect.lost_writes {
            LostWrites::Zero if lost.count > 0 && lost.expected => {
                let text = format!("{} acknowledged writes lost, none expected", lost.count);
                self.excuse = None;
                self.fail("lost-writes", Verdict::SafetyViolation, text, Vec::new());
            }
            LostWrites::Expected if lost.count == 0 => {
                let text = "no acknowledged write was lost, although the scenario expects it";
                let verdict = Verdict::ExpectedViolationMissing;
                self.fail("lost-writes", verdict, text, Vec::new());
            }
            _ => {}
        }
        let missing: Vec<&str> = plan
            .expect
            .must_reach
            .iter()
            .filter(|event| !result.reached.contains(event))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            let text = format!("never reached: {}", missing.join(", "));
            self.fail(
                "must-reach",
                Verdict::ExpectedViolationMissing,
                text,
                Vec::new(),
            );
        }
    }

    /// The most severe verdict, with its reason.
    fn verdict(&self) -> (Verdict, String) {
        let worst = self.verdicts.iter().max_by_key(|(verdict, _)| *verdict);
        worst.cloned().unwrap_or((Verdict::Pass, String::new()))
    }
}
