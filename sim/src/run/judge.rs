//! From facts to a result: which checks apply, what they say, and the verdict. Pure.

use std::time::Duration;

use vetcd::host::Event;

use super::facts::Facts;
use crate::check::liveness::{self, Service};
use crate::check::strict_serializability;
use crate::check::{self, Verdict as Judgement, convergence, serializable_reads};
use crate::history::{Body, History, Outcome, Request};
use crate::plan::Plan;
use crate::report::{
    CheckResult, CheckVerdict, JudgedHistory, LatencySummary, LeaderChange, Operations, RunResult,
    Syncs, Verdict,
};

/// Judges a run.
pub fn judge(plan: &Plan, facts: &Facts) -> RunResult {
    let mut result = RunResult::of(plan);
    measure(&mut result, facts);
    let mut checks = Checks::default();
    checks.panics(facts);
    checks.members(facts);
    checks.raft(facts);
    checks.answers(facts);
    checks.history(&facts.history, facts);
    checks.convergence(facts);
    checks.recovery(plan, facts);
    result.reached = reached(facts, &result);
    checks.expectations(plan, &result);
    (result.verdict, result.reason) = checks.verdict();
    result.checks = checks.results;
    result
}

/// Judges a history of which nothing else is known.
pub fn judge_history(history: &History) -> JudgedHistory {
    let facts = Facts::default();
    let mut checks = Checks::default();
    checks.history(history, &facts);
    JudgedHistory {
        operations: count(history),
        checks: checks.results,
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
    let served = facts
        .recovery
        .served_ns
        .iter()
        .copied()
        .collect::<Option<Vec<_>>>()?;
    let last = served.into_iter().max()?;
    Some(nanos(last.saturating_sub(ended)))
}

fn reached(facts: &Facts, result: &RunResult) -> Vec<String> {
    let mut reached: Vec<String> = facts.reached.clone();
    let compacted = |operation: &crate::history::Operation| matches!(&operation.outcome, Outcome::Ok(response) if response.body == Body::Compact);
    let found = [
        ("compacted", facts.history.operations.iter().any(compacted)),
        ("outcome-unknown", result.operations.unknown > 0),
        (
            "unsynced-writes-lost",
            facts.power_cuts.iter().any(|cut| cut.lost_bytes > 0),
        ),
        ("writes-lost", result.lost_writes.count > 0),
    ];
    let found = found.into_iter().filter(|(_, found)| *found);
    reached.extend(found.map(|(name, _)| name.to_owned()));
    reached.sort();
    reached
}

/// What the checks say, and what follows from it.
#[derive(Default)]
struct Checks {
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
        self.verdicts.push((verdict, text.clone()));
        self.results.push(CheckResult {
            name: name.to_owned(),
            verdict: CheckVerdict::Fail,
            text,
            detail,
            counterexample: None,
        });
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
            self.fail("no panic", Verdict::ServerPanic, text, detail.collect());
        }
    }

    fn members(&mut self, facts: &Facts) {
        let Some(first) = facts.ended.first() else {
            self.say(
                "members stay up",
                CheckVerdict::Pass,
                "no member ended by itself",
            );
            return;
        };
        let detail = facts.ended.iter().map(|ended| {
            let at = nanos(ended.at_ns).as_secs_f64();
            format!("{at:.6} s m{}: {}", ended.member, ended.reason)
        });
        let text = format!("m{} ended by itself: {}", first.member, first.reason);
        let detail = detail.collect();
        self.fail("members stay up", Verdict::LivenessViolation, text, detail);
    }

    fn raft(&mut self, facts: &Facts) {
        match facts.breaches.first() {
            None => self.say(
                "raft safety",
                CheckVerdict::Pass,
                "one leader a term, the same entries everywhere, each applied once",
            ),
            Some(first) => {
                let detail = facts.breaches.iter().map(ToString::to_string).collect();
                let text = first.text.clone();
                self.fail("raft safety", Verdict::SafetyViolation, text, detail);
            }
        }
    }

    fn answers(&mut self, facts: &Facts) {
        if let Some(first) = facts.misfits.first() {
            let detail = facts.misfits.clone();
            self.fail(
                "answers fit",
                Verdict::SafetyViolation,
                first.clone(),
                detail,
            );
        }
    }

    fn history(&mut self, history: &History, facts: &Facts) {
        let options = check::Options {
            known_order: facts.known_order.as_ref(),
            ..check::Options::default()
        };
        let judgement = strict_serializability::check(history, &options);
        self.judged(
            "strict serializability",
            Verdict::SafetyViolation,
            &judgement,
        );
        if let Judgement::Ok(certificate) = &judgement {
            let reads = serializable_reads::check(history, certificate, &options);
            self.judged("serializable reads", Verdict::SafetyViolation, &reads);
        }
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
        self.judged("recovery", Verdict::LivenessViolation, &judgement);
    }

    fn expectations(&mut self, plan: &Plan, result: &RunResult) {
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
                "must reach",
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
