//! One run: safety phase, heal, liveness phase, audit, verdict.
//!
//! [`drive`] lives inside the simulation and only gathers facts; [`judge`] is pure and turns facts
//! into a result. Nothing that a check says can change what happened.

mod drive;
mod facts;
mod judge;
mod log;

use std::time::Instant;

use crate::cli::Judge;
use crate::explore::{RunOptions, RunOutput, Runner, TraceEvent};
use crate::history::History;
use crate::history::read::{Format, Input, Model, read};
use crate::plan::Plan;
use crate::report::{JudgedHistory, RunResult, Verdict};
use crate::world;

/// Runs plans in the simulated world.
pub struct SimRunner;

impl Runner for SimRunner {
    fn run(&self, plan: &Plan, options: &RunOptions) -> RunOutput {
        // Once per process, and no part of this run.
        world::warm_up({
            let plan = drive::warm_up_plan(plan);
            move |world| async move {
                drop(drive::drive(world, plan, RunOptions::default()).await);
            }
        });
        #[allow(
            clippy::disallowed_methods,
            reason = "how long the run took for whoever waits; no part of what is compared"
        )]
        let (started, elapsed) = (Instant::now(), Instant::elapsed);
        let mut output = run(plan, options);
        output.result.wall_time = elapsed(&started);
        output
    }
}

/// Judges recorded histories by themselves, without what a run knows besides.
pub struct HistoryJudge;

impl Judge for HistoryJudge {
    fn judge(
        &self,
        input: &Input,
        format: Option<Format>,
        model: Option<Model>,
    ) -> Result<JudgedHistory, String> {
        let recording = read(input, format, model).map_err(|error| error.to_string())?;
        Ok(judge::judge_recording(recording))
    }
}

fn run(plan: &Plan, options: &RunOptions) -> RunOutput {
    let config = world::RunOptions {
        seed: plan.seed,
        network: drive::network(plan),
        record: options.record_events,
    };
    let (inner_plan, inner_options) = (plan.clone(), options.clone());
    let outcome = world::run_with(config, move |world| {
        drive::drive(world, inner_plan, inner_options)
    });
    let mut outcome = match outcome {
        Ok(outcome) => outcome,
        Err(failure) => return failed(plan, failure.to_string()),
    };
    let facts = match &mut outcome.output {
        Ok(facts) => facts,
        Err(refusal) => return failed(plan, refusal.clone()),
    };
    let mut result = judge::judge(plan, facts);
    result.trace_hash = outcome.trace.to_string();
    result.virtual_time = std::time::Duration::from_nanos(outcome.virtual_ns);
    let names = std::mem::take(&mut facts.node_names);
    let history = std::mem::take(&mut facts.history);
    let events = outcome.events.iter().map(|event| TraceEvent {
        at: std::time::Duration::from_nanos(event.at_ns),
        node: match event.node {
            Some(node) => names.get(node.0 as usize).cloned().unwrap_or_default(),
            None => "world".to_owned(),
        },
        what: event.what(),
    });
    RunOutput {
        events: events.collect(),
        result,
        history,
    }
}

fn failed(plan: &Plan, reason: String) -> RunOutput {
    RunOutput {
        result: RunResult {
            verdict: Verdict::InternalError,
            ..RunResult::internal_error(plan, reason)
        },
        history: History::default(),
        events: Vec::new(),
    }
}
