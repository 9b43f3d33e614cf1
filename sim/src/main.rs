//! `vetcd-sim`: hands the parts of the testbed to the command line.

use std::collections::BTreeMap;
use std::process::ExitCode;

use vetcd_sim::cli::{self, Engine, Judge};
use vetcd_sim::explore::{RunOptions, RunOutput, Runner};
use vetcd_sim::plan::Plan;
use vetcd_sim::report::{JudgedHistory, RunResult};
use vetcd_sim::scenario::{FlagProblem, ServerFlags};

fn main() -> ExitCode {
    cli::main(Engine {
        runner: &Unwired,
        flags: &Unwired,
        judge: &Unwired,
    })
}

/// Stands in until the run, the server's flags and the checks are connected: says so, and exits
/// with an internal error.
struct Unwired;

impl Runner for Unwired {
    fn run(&self, plan: &Plan, _options: &RunOptions) -> RunOutput {
        let result = RunResult::internal_error(plan, "this build cannot run plans yet");
        RunOutput {
            result,
            history: Vec::new(),
            events: Vec::new(),
        }
    }
}

impl ServerFlags for Unwired {
    fn names(&self) -> Vec<String> {
        [
            "backend-batch-interval",
            "backend-batch-limit",
            "read-mode",
            "snapshot-count",
            "wal-sync",
        ]
        .map(String::from)
        .to_vec()
    }

    fn check(&self, _flags: &BTreeMap<String, String>) -> Result<(), FlagProblem> {
        Ok(())
    }
}

impl Judge for Unwired {
    fn judge(&self, _history: &[u8]) -> Result<JudgedHistory, String> {
        Err("this build cannot judge histories yet".into())
    }
}
