//! Results for machines. The shape is stable: keys are only ever added, times are whole nanoseconds
//! in keys that end in `-ns`, and no wall time appears.

use serde::{Deserialize, Serialize};

use super::result::{JudgedHistory, RunResult, Verdict};

/// The version of the JSON formats.
pub const VERSION: u32 = 1;

/// `result.json`: one run, and the plan that repeats it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedResult {
    /// Always `vetcd-sim result`.
    pub format: String,
    /// Version of the format.
    pub version: u32,
    /// The result.
    #[serde(flatten)]
    pub result: RunResult,
    /// The plan as TOML: `vetcd-sim replay result.json` runs it.
    pub plan: String,
}

/// The name of the format of [`SavedResult`].
pub const RESULT_FORMAT: &str = "vetcd-sim result";

/// One run as `result.json`.
pub fn result(result: &RunResult, plan_toml: &str) -> String {
    pretty(&SavedResult {
        format: RESULT_FORMAT.into(),
        version: VERSION,
        result: result.clone(),
        plan: plan_toml.into(),
    })
}

/// What `run --report json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct RunReport<'a> {
    format: &'static str,
    version: u32,
    verdict: Verdict,
    exit_code: u8,
    runs: &'a [RunResult],
}

/// Many runs in seed order.
pub fn runs(verdict: Verdict, runs: &[RunResult]) -> String {
    pretty(&RunReport {
        format: "vetcd-sim runs",
        version: VERSION,
        verdict,
        exit_code: verdict.exit_code(),
        runs,
    })
}

/// What `check --report json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct HistoryReport<'a> {
    format: &'static str,
    version: u32,
    history: &'a str,
    exit_code: u8,
    #[serde(flatten)]
    judged: &'a JudgedHistory,
}

/// What is said about a history that was recorded elsewhere.
pub fn history(shown: &str, judged: &JudgedHistory) -> String {
    pretty(&HistoryReport {
        format: "vetcd-sim check",
        version: VERSION,
        history: shown,
        exit_code: judged.verdict.exit_code(),
        judged,
    })
}

/// Indented JSON with a final newline.
pub fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value)
        .expect("results hold no maps with keys other than strings");
    text.push('\n');
    text
}
