//! From facts to a result: which checks apply, what they say, and the verdict. Pure.
//!
//! What the checks look at is a history and the [`Evidence`] beside it, both of which are saved
//! with a run: `vetcd-sim check` comes to the same verdict from the file as the run did.

mod evidence;
mod guarantees;
mod measure;

use super::facts::Facts;
use crate::check::service::{self, Outages};
use crate::check::{self, Evidence, Expected, KnownOrder, Verdict as Judgement};
use crate::history::History;
use crate::history::read::{Content, Model, Recording};
use crate::plan::Plan;
use crate::report::{
    CheckResult, CheckVerdict, JudgedHistory, LostWritesFound, Operations, RunResult, Verdict,
};
use measure::{count, measure, reached};

/// Judges a run; leaves with its history the evidence that the verdict rests on.
pub fn judge(plan: &Plan, facts: &mut Facts) -> RunResult {
    let mut result = RunResult::of(plan);
    measure(&mut result, facts);
    let mut evidence = evidence::gather(plan, facts);
    let mut checks = Checks::new(&evidence);
    checks.guarantees(&facts.history, &evidence, &mut result.lost_writes);
    result.reached = reached(facts, &result);
    let expected = Expected {
        lost_writes: plan.expect.lost_writes.name().to_owned(),
        must_reach: plan.expect.must_reach.clone(),
        reached: result.reached.clone(),
    };
    checks.expectations(&expected, &result.lost_writes);
    evidence.expected = Some(expected);
    facts.history.evidence = Some(Box::new(evidence));
    (result.verdict, result.reason) = checks.verdict();
    result.checks = checks.results;
    result
}

/// Judges what was recorded: all that a run was judged by, where a run's evidence is with it.
pub fn judge_recording(recording: Recording) -> JudgedHistory {
    let (notes, model) = (recording.notes, recording.model);
    let mut outages = Outages::default();
    let (operations, checks) = match recording.content {
        Content::Store(mut history, changes) => {
            let evidence = match history.evidence.take() {
                Some(evidence) => *evidence,
                None => Evidence {
                    known_order: KnownOrder::seen(&changes),
                    ..Evidence::default()
                },
            };
            outages = service::outages(&history);
            (
                count(&history),
                judge_store(&history, &evidence, model == Model::Etcd),
            )
        }
        Content::Objects(history) => {
            let judgement = check::objects::check(&history, &check::Options::default());
            let mut checks = Checks::default();
            checks.judged(guarantees::ORDER, Verdict::SafetyViolation, &judgement);
            let unknown = history.operations.iter().filter(|o| o.is_unknown()).count() as u64;
            let operations = Operations {
                ok: history.operations.len() as u64 - unknown,
                failed: 0,
                unknown,
            };
            (operations, checks)
        }
    };
    let (verdict, reason) = match checks.results.is_empty() {
        true => (Verdict::Undetermined, "nothing was recorded".to_owned()),
        false => checks.verdict(),
    };
    JudgedHistory {
        operations,
        notes,
        outages,
        checks: checks.results,
        verdict,
        reason,
    }
}

fn judge_store(history: &History, evidence: &Evidence, revisions: bool) -> Checks {
    if !revisions {
        let mut checks = Checks::default();
        let judgement = check::search::check(history, &check::Options::default());
        checks.judged(guarantees::ORDER, Verdict::SafetyViolation, &judgement);
        return checks;
    }
    let mut checks = Checks::new(evidence);
    let mut lost_writes = LostWritesFound::default();
    checks.guarantees(history, evidence, &mut lost_writes);
    if let Some(expected) = &evidence.expected {
        checks.expectations(expected, &lost_writes);
    }
    checks
}

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
    fn new(evidence: &Evidence) -> Checks {
        Checks {
            excuse: guarantees::excuse(evidence),
            ..Checks::default()
        }
    }

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

    /// The most severe verdict, with its reason.
    fn verdict(&self) -> (Verdict, String) {
        let worst = self.verdicts.iter().max_by_key(|(verdict, _)| *verdict);
        worst.cloned().unwrap_or((Verdict::Pass, String::new()))
    }
}
