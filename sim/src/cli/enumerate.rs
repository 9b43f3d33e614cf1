//! `vetcd-sim enumerate`: every crash point of short workloads on one member's storage.
#![allow(clippy::disallowed_methods)] // The user's files, outside every simulation.

use std::num::NonZero;
use std::sync::Mutex;

use clap::Args;

use super::args::parse_jobs;
use super::{CliError, Environment, Streams};
use crate::enumerate::{
    self, Counts, Failure, OPERATIONS_MAX, Operation, Options, Pace, SavedState,
};
use crate::report::Verdict;
use crate::report::style::{Tone, counted};
use crate::scenario::read_text;

/// Where failing states go.
const REPORTS: &str = "reports";

/// `enumerate`
#[derive(Debug, Args)]
pub struct EnumerateArgs {
    /// The most operations of a workload; all workloads up to that length are gone through
    #[arg(long, value_name = "N", default_value = "2", value_parser = parse_operations)]
    operations: usize,
    /// The operations workloads are made of [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    only: Vec<Operation>,
    /// Whether the log finds the time to write by itself what can wait for its next group (quiet),
    /// or not (busy) [default: both, where it makes a difference]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pace: Vec<Pace>,
    /// The bound: the most outcomes of a power loss tried at one point
    #[arg(long, value_name = "N", default_value = "64", value_parser = parse_outcomes)]
    outcomes: usize,
    /// The unit in which written bytes survive a power loss, in bytes; less than 512 tears sectors
    #[arg(long, value_name = "BYTES", default_value = "512",
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    sector: u32,
    /// For the outcomes that are drawn where there are more than the bound
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// Build a deliberate mistake into the server
    #[arg(long = "defect", value_name = "NAME")]
    defects: Vec<String>,
    /// Workloads gone through at the same time [default: one for each core]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    jobs: Option<usize>,
    /// Stop at the first failure
    #[arg(long)]
    fail_fast: bool,
    /// Save failing states below DIR [default: reports]
    #[arg(long, value_name = "DIR")]
    out: Option<String>,
    /// Go back to the state saved in FILE, and to nothing else
    #[arg(long, value_name = "FILE", conflicts_with_all = ["operations", "only", "pace", "outcomes", "sector", "seed", "fail_fast"])]
    replay: Option<String>,
}

fn parse_operations(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(operations @ 0..=OPERATIONS_MAX) => Ok(operations),
        _ => Err(format!("a number of operations from 0 to {OPERATIONS_MAX}")),
    }
}

fn parse_outcomes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(outcomes @ 2..=1_000_000) => Ok(outcomes),
        _ => Err("a number of outcomes from 2 to 1000000".into()),
    }
}

/// Goes through all states, or back to one.
pub fn enumerate(
    args: &EnumerateArgs,
    environment: &Environment,
    streams: &mut Streams<'_>,
) -> Result<u8, CliError> {
    if let Some(file) = &args.replay {
        return replay(file, args, environment, streams);
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut options = Options::new(args.operations, args.outcomes);
    if !args.only.is_empty() {
        options.of = args.only.clone();
        options.of.sort();
        options.of.dedup();
    }
    if !args.pace.is_empty() {
        options.paces = args.pace.clone();
        options.paces.sort();
        options.paces.dedup();
    }
    options.sector = args.sector;
    options.seed = args.seed;
    options.defects = args.defects.clone();
    options.fail_fast = args.fail_fast;
    options.jobs = NonZero::new(args.jobs.unwrap_or(cores)).unwrap_or(NonZero::<usize>::MIN);
    let progress = Progress::new(environment);
    let report = enumerate::enumerate(&options, &|done, all| progress.show(done, all))
        .map_err(CliError::Usage)?;
    progress.end();
    let style = environment.style;
    let mut text = String::new();
    for failure in &report.failures {
        text += &style.line(Tone::Bad, "FAIL", &describe(failure));
        text += &style.line(Tone::Bad, "", &failure.reason);
        let saved = save(failure, args, environment)?;
        let program = &environment.program;
        let line = format!("{program} enumerate --replay {saved}");
        text += &style.line(Tone::Name, "Replay", &line);
    }
    text += &summary(&report.counts, args, environment);
    let (verdict, tone, word) = match report.failures.is_empty() {
        true => (Verdict::Pass, Tone::Good, "PASS"),
        false => (Verdict::SafetyViolation, Tone::Bad, "FAIL"),
    };
    let found = match report.failures.len() {
        0 => "every state tried is recovered".to_owned(),
        1 => "1 workload with a state that is not recovered".to_owned(),
        failed => format!("{failed} workloads with a state that is not recovered"),
    };
    text += &style.line(tone, word, &found);
    streams.out.write_all(text.as_bytes())?;
    Ok(verdict.exit_code())
}

fn describe(failure: &Failure) -> String {
    let state = &failure.state;
    let mut operations = vec!["boot".to_owned()];
    let workload = &state.workload;
    operations.extend(workload.operations.iter().map(ToString::to_string));
    let death = match state.death {
        enumerate::Death::Process => "the process dies",
        enumerate::Death::Power(_) => "power is lost",
    };
    let mut text = format!(
        "{} ({}): {death} after disk operation {}",
        operations.join(", "),
        workload.pace,
        state.point
    );
    if let Some(fail_at) = state.fail_at {
        text += &format!(", operation {} having failed", fail_at + 1);
    }
    text
}

fn summary(counts: &Counts, args: &EnumerateArgs, environment: &Environment) -> String {
    let style = environment.style;
    let mut text = style.line(
        Tone::Name,
        "Workloads",
        &format!(
            "{} of up to {}, {} of them at a busy pace",
            counts.workloads,
            counted(args.operations as u64, "operation"),
            counts.busy
        ),
    );
    let points = format!(
        "{}, all of them; {} disk operations made to fail",
        counts.points, counts.failed
    );
    text += &style.line(Tone::Name, "Points", &points);
    let deaths = format!("{}, each with a power loss after the start", counts.crashes);
    text += &style.line(Tone::Name, "Crashes", &deaths);
    let tried = format!(
        "{} outcomes tried, {} left out by --outcomes {} (whole sectors of {} bytes)",
        counts.outcomes,
        left_out(counts),
        args.outcomes,
        args.sector
    );
    text += &style.line(Tone::Name, "Power losses", &tried);
    text += &style.line(Tone::Name, "Disks", &format!("{} different", counts.disks));
    text
}

fn left_out(counts: &Counts) -> String {
    let at_most = if counts.left_out_exact {
        ""
    } else {
        "at most "
    };
    match counts.left_out {
        count @ 0..1_000_000_000 => format!("{at_most}{count}"),
        u128::MAX => "more than 10^38".into(),
        count => format!("{at_most}about 10^{}", count.ilog10()),
    }
}

fn save(
    failure: &Failure,
    args: &EnumerateArgs,
    environment: &Environment,
) -> Result<String, CliError> {
    let directory = std::path::Path::new(args.out.as_deref().unwrap_or(REPORTS));
    let shown = directory.join(failure.file_name());
    let path = environment.directory.join(&shown);
    let written = std::fs::create_dir_all(environment.directory.join(directory))
        .and_then(|()| std::fs::write(&path, failure.to_json()));
    written.map_err(|error| {
        CliError::Internal(format!("cannot write {}: {error}", shown.display()))
    })?;
    Ok(shown.display().to_string())
}

fn replay(
    file: &str,
    args: &EnumerateArgs,
    environment: &Environment,
    streams: &mut Streams<'_>,
) -> Result<u8, CliError> {
    let text = read_text(&environment.directory.join(file), file)?;
    let mut state = SavedState::from_json(&text)
        .map_err(|error| CliError::Usage(format!("{file} is no saved state: {error}")))?;
    state.defects.extend(args.defects.iter().cloned());
    let wrong = enumerate::replay(&state)
        .map_err(|error| CliError::Usage(format!("cannot go back to {file}: {error}")))?;
    let style = environment.style;
    let (line, verdict) = match wrong {
        None => (
            style.line(Tone::Good, "PASS", "this state is recovered"),
            Verdict::Pass,
        ),
        Some(reason) => (
            style.line(Tone::Bad, "FAIL", &reason),
            Verdict::SafetyViolation,
        ),
    };
    streams.out.write_all(line.as_bytes())?;
    Ok(verdict.exit_code())
}

/// How far it is, on stderr.
struct Progress(Option<Mutex<indicatif::ProgressBar>>);

impl Progress {
    fn new(environment: &Environment) -> Progress {
        let bar = || Mutex::new(indicatif::ProgressBar::new(0));
        Progress(environment.progress.then(bar))
    }

    fn show(&self, done: usize, all: usize) {
        if let Some(bar) = &self.0 {
            let bar = crate::world::lock(bar);
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.0 {
            crate::world::lock(bar).finish_and_clear();
        }
    }
}
