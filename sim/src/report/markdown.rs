//! Results as Markdown, for pull requests and committed studies.

use super::result::{CheckVerdict, RunResult, Verdict};
use super::style::{counted, moment, rounded, significant, thousands};
use super::terminal::loss_text;

/// Many runs: a table, and a section for each that did not pass.
pub fn runs(results: &[RunResult]) -> String {
    let passed = results
        .iter()
        .filter(|result| result.verdict == Verdict::Pass)
        .count();
    let mut out = format!(
        "## {}: {} passed\n\n",
        counted(results.len() as u64, "run"),
        thousands(passed as u64)
    );
    out += "| scenario | seed | verdict | ok | failed | unknown | lost | recovery | write p50 | \
            write p99 | trace |\n|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---|\n";
    for result in results {
        let hash: String = result.trace_hash.chars().take(12).collect();
        let recovery = result.recovery_time.map_or("–".into(), rounded);
        let (p50, p99) = (rounded(result.writes.p50), rounded(result.writes.p99));
        out += &format!(
            "| {} | {} | {} | {} | {} | {} | {} | {recovery} | {p50} | {p99} | `{hash}` |\n",
            cell(&result.scenario),
            result.seed,
            result.verdict.name(),
            thousands(result.operations.ok),
            thousands(result.operations.failed),
            thousands(result.operations.unknown),
            thousands(result.lost_writes.count),
        );
    }
    out += "\nLatencies are modelled: they come from the simulated disk and network.\n";
    for result in results
        .iter()
        .filter(|result| result.verdict != Verdict::Pass)
    {
        out += &failure(result);
    }
    out
}

fn failure(result: &RunResult) -> String {
    let mut out = format!(
        "\n### {} seed {}: {}\n\n{}\n\n",
        result.scenario,
        result.seed,
        result.verdict.name(),
        result.reason
    );
    if let Some(loss) = loss_text(result) {
        out += &format!("{loss}\n\n");
    }
    for check in result
        .checks
        .iter()
        .filter(|check| check.verdict != CheckVerdict::Pass)
    {
        out += &format!("- **{}**: {}\n", cell(&check.name), check.text);
        if !check.detail.is_empty() {
            out += &format!("\n  ```text\n  {}\n  ```\n", check.detail.join("\n  "));
        }
    }
    for fault in &result.faults {
        let members: Vec<String> = fault.members.iter().map(ToString::to_string).collect();
        out += &format!(
            "- {}: {} on {} (member {})\n",
            moment(fault.at),
            fault.kind,
            fault.on,
            members.join(", ")
        );
    }
    out += &format!(
        "\n{} per second before healing. Replay:\n\n```console\n$ {}\n```\n",
        significant(result.throughput_per_second),
        result.replay
    );
    out
}

/// Text that cannot break out of a table's cell.
pub fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
