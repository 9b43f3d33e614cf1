//! The result of one run: all that reports are made from.
//!
//! Reports are pure functions of [`RunResult`]; none of them runs a check. Two runs of one plan give
//! equal results, byte for byte as JSON: the wall time, which differs, is not serialised.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::service::Outages;
use crate::plan::Plan;

/// How a run ended. Each has the exit code of the command that ran it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    // In order of severity, mildest first: the verdict of many runs is the largest.
    /// Every check passed.
    Pass,
    /// A check ran out of its budget. Never shown as a pass.
    Undetermined,
    /// The testbed itself failed.
    InternalError,
    /// Something that the scenario had to show did not happen: it proved nothing.
    ExpectedViolationMissing,
    /// The cluster did not serve or converge in time after healing.
    LivenessViolation,
    /// The same plan ran differently twice.
    Nondeterminism,
    /// The server panicked.
    ServerPanic,
    /// A guarantee was broken.
    SafetyViolation,
}

impl Verdict {
    /// Every verdict, mildest first.
    pub const ALL: &'static [Verdict] = &[
        Verdict::Pass,
        Verdict::Undetermined,
        Verdict::InternalError,
        Verdict::ExpectedViolationMissing,
        Verdict::LivenessViolation,
        Verdict::Nondeterminism,
        Verdict::ServerPanic,
        Verdict::SafetyViolation,
    ];

    /// The exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::InternalError => 1,
            Verdict::Undetermined => 3,
            Verdict::SafetyViolation => 100,
            Verdict::LivenessViolation => 101,
            Verdict::ServerPanic => 102,
            Verdict::Nondeterminism => 103,
            Verdict::ExpectedViolationMissing => 104,
        }
    }

    /// What to call it in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::InternalError => "internal error",
            Verdict::Undetermined => "undetermined",
            Verdict::SafetyViolation => "safety violation",
            Verdict::LivenessViolation => "liveness violation",
            Verdict::ServerPanic => "panic in the server",
            Verdict::Nondeterminism => "nondeterminism",
            Verdict::ExpectedViolationMissing => "proved nothing",
        }
    }

    /// What it means, in a line.
    pub fn doc(self) -> &'static str {
        match self {
            Verdict::Pass => "every check passed",
            Verdict::InternalError => "the testbed itself failed; the run says nothing",
            Verdict::Undetermined => "a check ran out of its budget; never shown as a pass",
            Verdict::SafetyViolation => "a guarantee was broken",
            Verdict::LivenessViolation => {
                "after healing, the cluster did not serve or converge within its time"
            }
            Verdict::ServerPanic => "the server panicked",
            Verdict::Nondeterminism => "the same plan ran differently twice",
            Verdict::ExpectedViolationMissing => {
                "something that had to happen did not, so the scenario proved nothing"
            }
        }
    }
}

/// Everything worth reporting about one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunResult {
    /// How it ended.
    pub verdict: Verdict,
    /// Why, in one sentence without a final stop; empty for a plain pass.
    pub reason: String,
    /// The scenario's name.
    pub scenario: String,
    /// The scenario's path, for annotations.
    pub path: String,
    /// What the scenario is for.
    pub description: String,
    /// The seed.
    pub seed: u64,
    /// Size of the cluster.
    pub members: u32,
    /// Server flags.
    pub server: BTreeMap<String, String>,
    /// The disk model that latencies come from.
    pub disk_profile: String,
    /// The mistakes built in, by the command line's names.
    pub defects: Vec<String>,
    /// The rolling hash over all events, in hexadecimal.
    pub trace_hash: String,
    /// Virtual time from start to end.
    #[serde(rename = "virtual-time-ns", with = "nanoseconds")]
    pub virtual_time: Duration,
    /// Wall time of the run; never part of compared output.
    #[serde(skip)]
    pub wall_time: Duration,
    /// What became of the clients' operations.
    pub operations: Operations,
    /// Latency of reads that succeeded.
    pub reads: LatencySummary,
    /// Latency of writes that succeeded.
    pub writes: LatencySummary,
    /// Operations that succeeded per virtual second of the safety phase.
    pub throughput_per_second: f64,
    /// File syncs of all members.
    pub syncs: Syncs,
    /// Time from the end of the last fault until every client was served; `None` when never, or
    /// when there was no fault.
    #[serde(rename = "recovery-time-ns", with = "optional_nanoseconds")]
    pub recovery_time: Option<Duration>,
    /// When no request succeeded.
    #[serde(default)]
    pub outages: Outages,
    /// Elections won.
    pub elections: u32,
    /// Who became leader when.
    pub leaders: Vec<LeaderChange>,
    /// Acknowledged writes that were gone at the audit.
    pub lost_writes: LostWritesFound,
    /// The faults that fired, by time.
    pub faults: Vec<FiredFault>,
    /// Names of the events reached, sorted; see `vetcd-sim explain events`.
    pub reached: Vec<String>,
    /// What each check says.
    pub checks: Vec<CheckResult>,
    /// The command that repeats the run.
    pub replay: String,
}

/// Counts of operations by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    /// Answered with success.
    pub ok: u64,
    /// Known not to have happened.
    pub failed: u64,
    /// May or may not have happened.
    pub unknown: u64,
}

impl Operations {
    /// All operations.
    pub fn total(&self) -> u64 {
        self.ok + self.failed + self.unknown
    }
}

/// A distribution of latencies, in virtual time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// How many were measured.
    pub count: u64,
    /// Median.
    #[serde(rename = "p50-ns", with = "nanoseconds")]
    pub p50: Duration,
    /// 99th percentile.
    #[serde(rename = "p99-ns", with = "nanoseconds")]
    pub p99: Duration,
}

impl LatencySummary {
    /// Summarises measurements by nearest rank; sorts them.
    pub fn of(latencies: &mut [Duration]) -> LatencySummary {
        latencies.sort_unstable();
        let rank = |percent: usize| {
            let rank = (latencies.len() * percent).div_ceil(100).max(1);
            latencies.get(rank - 1).copied().unwrap_or_default()
        };
        LatencySummary {
            count: latencies.len() as u64,
            p50: rank(50),
            p99: rank(99),
        }
    }
}

/// File syncs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Syncs {
    /// All members together.
    pub total: u64,
    /// Per write that succeeded, all members together; 0 when no write did.
    pub per_write: f64,
}

/// A member that became leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LeaderChange {
    /// When, from the start of the run.
    #[serde(rename = "at-ns", with = "nanoseconds")]
    pub at: Duration,
    /// Its number.
    pub member: u32,
    /// Its term.
    pub term: u64,
}

/// Acknowledged writes that were gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LostWritesFound {
    /// Whether the audit could read the store and look for every acknowledged write. Without that a
    /// count of zero says nothing.
    pub audited: bool,
    /// How many.
    pub count: u64,
    /// Longest time between an acknowledgement and the fault that took the write.
    #[serde(rename = "worst-age-ns", with = "nanoseconds")]
    pub worst_age: Duration,
    /// Whether the durability setting allows such losses.
    pub expected: bool,
    /// What the loss is blamed on, when it is not the server: `the disk of member 2 lied about
    /// fsync`.
    pub blamed: Option<String>,
}

/// A fault that fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FiredFault {
    /// Its name in the plan.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The target rule.
    pub on: String,
    /// The members that the rule came to, by number.
    pub members: Vec<u32>,
    /// When it fired.
    #[serde(rename = "at-ns", with = "nanoseconds")]
    pub at: Duration,
    /// When it ended: healed, restarted or resumed.
    #[serde(rename = "ended-at-ns", with = "optional_nanoseconds")]
    pub ended_at: Option<Duration>,
    /// What happened in particular: `latency 800ms`, `3 files lost 4.1kB`.
    pub detail: String,
}

/// What a check may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckVerdict {
    /// The guarantee held.
    Pass,
    /// It was broken.
    Fail,
    /// The budget ran out before it was decided.
    Undetermined,
    /// It does not apply to this run; the text says why.
    Skipped,
}

/// What one check says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckResult {
    /// The check's name.
    pub name: String,
    /// What it says.
    pub verdict: CheckVerdict,
    /// One line: what was shown, or what is wrong.
    pub text: String,
    /// More lines for people, such as the story of a counterexample.
    #[serde(default)]
    pub detail: Vec<String>,
    /// The counterexample for machines.
    #[serde(default)]
    pub counterexample: Option<serde_json::Value>,
}

/// What is said about a history that was recorded elsewhere.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct JudgedHistory {
    /// What is in it.
    pub operations: Operations,
    /// What was left out of it or assumed, one sentence each.
    pub notes: Vec<String>,
    /// When no request succeeded.
    pub outages: Outages,
    /// What each check says.
    pub checks: Vec<CheckResult>,
    /// What all checks say together.
    pub verdict: Verdict,
    /// Why, in one sentence; empty for a plain pass.
    pub reason: String,
}

impl RunResult {
    /// A result that says nothing yet but which run it is of; its verdict is an internal error until
    /// somebody knows better.
    pub fn of(plan: &Plan) -> RunResult {
        RunResult {
            verdict: Verdict::InternalError,
            reason: String::new(),
            scenario: plan.scenario.clone(),
            path: plan.path.clone(),
            description: plan.description.clone(),
            seed: plan.seed,
            members: plan.members.len() as u32,
            server: plan.server.clone(),
            disk_profile: plan.disk.profile.clone(),
            defects: plan.defects().iter().map(ToString::to_string).collect(),
            trace_hash: String::new(),
            virtual_time: Duration::ZERO,
            wall_time: Duration::ZERO,
            operations: Operations::default(),
            reads: LatencySummary::default(),
            writes: LatencySummary::default(),
            throughput_per_second: 0.0,
            syncs: Syncs::default(),
            recovery_time: None,
            outages: Outages::default(),
            elections: 0,
            leaders: Vec::new(),
            lost_writes: LostWritesFound::default(),
            faults: Vec::new(),
            reached: Vec::new(),
            checks: Vec::new(),
            replay: plan.replay_line(),
        }
    }

    /// A run that the testbed itself could not do.
    pub fn internal_error(plan: &Plan, reason: impl Into<String>) -> RunResult {
        RunResult {
            reason: reason.into(),
            ..RunResult::of(plan)
        }
    }
}

/// Durations as whole nanoseconds.
mod nanoseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}

/// Optional durations as whole nanoseconds or null.
mod optional_nanoseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value
            .map(|value| u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))
            .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_nanos))
    }
}
