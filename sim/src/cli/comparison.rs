//! `vetcd-sim compare`.
#![allow(clippy::disallowed_methods)] // Creates the user's output directory.

use std::ops::ControlFlow;

use super::args::{CompareArgs, ReportFormat};
use super::batch::{check_defects, plan};
use super::find::find_one;
use super::progress::{Progress, Stopwatch};
use super::run::threads;
use super::{CliError, Engine, Environment, Streams};
use crate::compare::{Comparison, neutral_overrides};
use crate::explore::{Job, RunOptions, explore};
use crate::report::files::write_file;
use crate::report::style::{counted, rounded};
use crate::scenario::Scenario;

/// Runs the same seeds under each setting and returns the exit code of the most severe verdict.
pub fn compare(
    args: &CompareArgs,
    environment: &Environment,
    engine: Engine<'_>,
    streams: &mut Streams<'_>,
) -> Result<u8, CliError> {
    let base = find_one(&args.scenario, &args.change.sets, environment, engine)?;
    let scenarios = settings(args, &base, environment, engine)?;
    check_defects(&scenarios, &args.change)?;
    let (seeds, count) = (args.seeds, scenarios.len() as u64);
    let total = (seeds.to - seeds.from).saturating_mul(count);
    // Seed by seed, all settings of a seed together: a comparison that is cut short stays paired.
    let jobs = (seeds.from..seeds.to).flat_map(|seed| {
        let plans = scenarios
            .iter()
            .map(move |s| plan(s, seed, &args.change.defects));
        plans.map(|plan| Job { plan, twice: false })
    });
    let mut comparison = Comparison::new(&base, args.vary.clone(), (seeds.from, seeds.to));
    let progress = Progress::new(Some(total), environment.progress);
    let stopwatch = Stopwatch::start();
    let (mut taken, mut failed) = (0, 0);
    let workers = threads(args.jobs, Some(total));
    explore(
        jobs,
        engine.runner,
        &RunOptions::default(),
        workers,
        |done| {
            failed += u64::from(done.output.result.verdict.exit_code() != 0);
            let result = match args.report {
                ReportFormat::Terminal => environment.in_their_words(&done.output.result),
                _ => done.output.result,
            };
            comparison.add((taken % count) as usize, &result);
            taken += 1;
            progress.done(failed);
            ControlFlow::Continue(())
        },
    );
    progress.clear();
    let text = match args.report {
        ReportFormat::Terminal => comparison.terminal(environment.style),
        ReportFormat::Json => comparison.json(),
        ReportFormat::Markdown => comparison.markdown(),
    };
    streams.out.write_all(text.as_bytes())?;
    if let Some(out) = &args.out {
        save(out, environment, &comparison)?;
    }
    let took = rounded(stopwatch.elapsed());
    writeln!(
        streams.err,
        "{:>12} {} in {took}",
        "Finished",
        counted(taken, "run")
    )?;
    Ok(comparison.verdict().exit_code())
}

/// The scenario under each setting.
fn settings(
    args: &CompareArgs,
    base: &Scenario,
    environment: &Environment,
    engine: Engine<'_>,
) -> Result<Vec<Scenario>, CliError> {
    let mut common = args.change.sets.clone();
    common.extend(neutral_overrides(base));
    args.vary
        .values
        .iter()
        .map(|value| {
            let mut sets = common.clone();
            sets.push(format!("{}={value}", args.vary.key));
            find_one(&args.scenario, &sets, environment, engine)
        })
        .collect()
}

fn save(out: &str, environment: &Environment, comparison: &Comparison) -> Result<(), CliError> {
    let directory = environment.directory.join(out);
    let failed = |error| CliError::Internal(format!("cannot save into {out}: {error}"));
    std::fs::create_dir_all(&directory).map_err(failed)?;
    let files = [
        ("comparison.json", comparison.json()),
        ("comparison.md", comparison.markdown()),
    ];
    for (name, text) in files {
        write_file(&directory.join(name), text.as_bytes()).map_err(failed)?;
    }
    Ok(())
}
