//! A made-up runner and flags. What it "finds" is a function of the plan, so that tests can ask for
//! any outcome by seed or setting.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use vetcd_sim::cli::Judge;
use vetcd_sim::explore::{RunOptions, RunOutput, Runner, TraceEvent};
use vetcd_sim::history::History;
use vetcd_sim::history::read::{Format, Input, Model};
use vetcd_sim::plan::Plan;
use vetcd_sim::report::{
    CheckResult, CheckVerdict, FiredFault, JudgedHistory, LatencySummary, LeaderChange,
    LostWritesFound, Operations, RunResult, Syncs, Verdict,
};
use vetcd_sim::scenario::{FlagProblem, ServerFlags};

/// Knows the flags that tests use.
pub struct Flags;

impl ServerFlags for Flags {
    fn names(&self) -> Vec<String> {
        ["read-mode", "snapshot-count", "wal-sync"]
            .map(String::from)
            .to_vec()
    }

    fn check(&self, flags: &BTreeMap<String, String>) -> Result<(), FlagProblem> {
        match flags.get("wal-sync").map(String::as_str) {
            None | Some("always" | "none") => Ok(()),
            Some(text) if text.starts_with("batch:") || text.starts_with("interval:") => Ok(()),
            Some(_) => Err(FlagProblem {
                flag: "wal-sync".into(),
                message: "wanted always, batch:TIME, interval:TIME or none".into(),
            }),
        }
    }
}

/// Judges histories by their first word.
pub struct Words;

impl Judge for Words {
    fn judge(
        &self,
        input: &Input,
        _: Option<Format>,
        _: Option<Model>,
    ) -> Result<JudgedHistory, String> {
        let verdict = match &input.files[0].1[..] {
            b"good\n" => CheckVerdict::Pass,
            b"bad\n" => CheckVerdict::Fail,
            b"long\n" => CheckVerdict::Undetermined,
            _ => return Err("line 1: no JSON".into()),
        };
        let operations = Operations {
            ok: 1,
            failed: 0,
            unknown: 0,
        };
        Ok(JudgedHistory {
            operations,
            notes: Vec::new(),
            outages: Default::default(),
            checks: vec![check("strict-serializability", verdict, "so")],
            verdict: match verdict {
                CheckVerdict::Fail => Verdict::SafetyViolation,
                CheckVerdict::Undetermined => Verdict::Undetermined,
                _ => Verdict::Pass,
            },
            reason: String::new(),
        })
    }
}

fn check(name: &str, verdict: CheckVerdict, text: &str) -> CheckResult {
    CheckResult {
        name: name.into(),
        verdict,
        text: text.into(),
        detail: Vec::new(),
        counterexample: None,
    }
}

/// Makes up results. Seeds end as their hundreds say: 100s in a safety violation, 200s without
/// recovery, 300s undetermined, 400s with a panic of the testbed, 500s differently every time,
/// 600s in expected violations missing, 700s in a panic of the server.
#[derive(Default)]
pub struct Fake {
    runs: AtomicU64,
}

impl Runner for Fake {
    fn run(&self, plan: &Plan, options: &RunOptions) -> RunOutput {
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        // Later seeds finish earlier: order of output must not depend on it.
        std::thread::sleep(Duration::from_micros(300 * (7 - plan.seed % 7)));
        let mut result = passed(plan);
        match plan.seed / 100 {
            1 => fail(&mut result),
            2 => {
                result.verdict = Verdict::LivenessViolation;
                result.reason = "member 2 served nobody within 10s".into();
                result.recovery_time = None;
                result.lost_writes.audited = false;
            }
            3 => {
                result.verdict = Verdict::Undetermined;
                result.reason = "strict-serializability ran out of its budget".into();
            }
            4 => panic!("the fake was asked to panic"),
            5 => result.trace_hash = format!("{run:016x}"),
            6 => {
                result.verdict = Verdict::ExpectedViolationMissing;
                result.reason = "leader-changed was not reached".into();
            }
            7 => {
                result.verdict = Verdict::ServerPanic;
                result.reason = "member 1 panicked: index out of bounds".into();
            }
            _ => {}
        }
        if plan
            .server
            .get("wal-sync")
            .is_some_and(|setting| setting == "none")
        {
            result.lost_writes = LostWritesFound {
                audited: true,
                count: 40 + plan.seed,
                worst_age: Duration::from_millis(1250),
                expected: true,
                blamed: None,
            };
            result.writes.p50 /= 4;
        }
        let events = if options.record_events {
            events(plan, &result)
        } else {
            Vec::new()
        };
        RunOutput {
            result,
            history: History::default(),
            events,
        }
    }
}

fn events(plan: &Plan, result: &RunResult) -> Vec<TraceEvent> {
    let event = |at: u64, what: &str| TraceEvent {
        at: Duration::from_millis(at),
        node: "member 1".into(),
        what: what.into(),
    };
    let differing = if plan.seed / 100 == 5 {
        result.trace_hash.as_str()
    } else {
        "append"
    };
    vec![
        event(1, "start"),
        event(250, "campaign"),
        event(260, differing),
        event(900, "stop"),
    ]
}

/// A run in which all went well.
pub fn passed(plan: &Plan) -> RunResult {
    let mut result = RunResult::of(plan);
    result.verdict = Verdict::Pass;
    result.trace_hash = format!("{:016x}", plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    result.virtual_time = plan.time.run + Duration::from_millis(1300);
    result.wall_time = Duration::from_millis(413);
    result.operations = Operations {
        ok: 11_873,
        failed: 12,
        unknown: 43,
    };
    result.reads = LatencySummary {
        count: 5_100,
        p50: Duration::from_micros(1_210),
        p99: Duration::from_micros(8_140),
    };
    result.writes = LatencySummary {
        count: 6_700,
        p50: Duration::from_micros(2_437),
        p99: Duration::from_micros(15_020),
    };
    result.throughput_per_second = 197.88;
    result.syncs = Syncs {
        total: 4_102,
        per_write: 0.6122,
    };
    result.recovery_time = Some(Duration::from_millis(1_203));
    result.outages = vetcd_sim::check::service::Outages {
        longest: Some(vetcd_sim::check::service::Window {
            from_ns: 10_200_000_000,
            until_ns: 11_900_000_000,
        }),
        count: 2,
        total_ns: 3_100_000_000,
    };
    result.lost_writes.audited = true;
    result.elections = 2;
    result.leaders = vec![
        LeaderChange {
            at: Duration::from_millis(212),
            member: 2,
            term: 2,
        },
        LeaderChange {
            at: Duration::from_millis(11_431),
            member: 1,
            term: 3,
        },
    ];
    for fault in &plan.faults {
        result.faults.push(FiredFault {
            name: fault.name.clone(),
            kind: fault.fault.kind().into(),
            on: fault.on.to_string(),
            members: vec![2],
            at: fault.at,
            ended_at: fault.fault.lasts().map(|lasts| fault.at + lasts),
            detail: String::new(),
        });
    }
    result.reached = vec!["leader-changed".into(), "member-restarted".into()];
    result.checks = vec![
        check(
            "strict-serializability",
            CheckVerdict::Pass,
            "11,916 operations in one order",
        ),
        check(
            "no-lost-writes",
            CheckVerdict::Pass,
            "6,700 of 6,700 still there",
        ),
        check("liveness", CheckVerdict::Pass, "8 clients served"),
    ];
    result
}

fn fail(result: &mut RunResult) {
    result.verdict = Verdict::SafetyViolation;
    result.reason = "a read of key-3 returned a value that had been overwritten".into();
    result.checks[0] = CheckResult {
        name: "strict-serializability".into(),
        verdict: CheckVerdict::Fail,
        text: "a stale read: no order explains operation 4711".into(),
        detail: vec!["14.210s client 3: get key-3 -> \"a\" at revision 88".into()],
        counterexample: Some(serde_json::json!({ "operation": 4711, "revision": 88 })),
    };
}
