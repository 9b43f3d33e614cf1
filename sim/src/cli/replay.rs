//! `vetcd-sim replay` and `verify`: one run at a time.

use super::args::{ReplayArgs, ReportFormat, VerifyArgs, parse_seed};
use super::batch::{check_defects, plan};
use super::find::find_one;
use super::run::save;
use super::{CliError, Engine, Environment, Streams};
use crate::explore::{Done, RunOptions, RunOutput, TraceEvent, run_caught};
use crate::plan::{Plan, quoted};
use crate::report::json::{RESULT_FORMAT, SavedResult};
use crate::report::style::{Tone, counted, moment};
use crate::report::{Verdict, github, json, markdown, terminal};
use crate::scenario::read_text;

/// Repeats one run.
pub fn replay(
    args: &ReplayArgs,
    environment: &Environment,
    engine: Engine<'_>,
    streams: &mut Streams<'_>,
) -> Result<u8, CliError> {
    let (plan, line) = plan_of(args, environment, engine)?;
    let options = RunOptions {
        until: args.until,
        trace: args.trace,
        record_events: false,
    };
    let mut output = run_caught(&plan, engine.runner, &options);
    if let Some(line) = line {
        output.result.replay = line;
    }
    let verdict = output.result.verdict;
    let shown = environment.in_their_words(&output.result);
    let done = Done { plan, output };
    let style = environment.style;
    let mut text = match args.report {
        ReportFormat::Terminal => terminal::single(&shown, style, true),
        ReportFormat::Json => json::result(&done.output.result, &done.plan.to_toml()),
        ReportFormat::Markdown => markdown::runs(std::slice::from_ref(&done.output.result)),
    };
    // A plan or result that is replayed is saved already: only `--out` asks for another copy.
    if args.out.is_some() {
        let saved = save(args.out.as_deref(), environment, &done)?;
        if args.report == ReportFormat::Terminal {
            text += &style.line(Tone::Name, "Saved", &saved);
        }
    }
    if environment.github && args.report == ReportFormat::Terminal {
        text += &github::annotation(&shown);
    }
    streams.out.write_all(text.as_bytes())?;
    Ok(verdict.exit_code())
}

/// The plan to replay, and the line that replays it when it is not the plan's own.
fn plan_of(
    args: &ReplayArgs,
    environment: &Environment,
    engine: Engine<'_>,
) -> Result<(Plan, Option<String>), CliError> {
    let what = args.what.as_str();
    let path = environment.directory.join(what);
    if !path.is_file()
        && let Some((seed, scenario)) = what.split_once('@')
    {
        let seed = parse_seed(seed).map_err(|error| {
            CliError::Usage(format!("\"{seed}\" in \"{what}\" is no seed: {error}"))
        })?;
        let scenario = find_one(scenario, &args.change.sets, environment, engine)?;
        check_defects(std::slice::from_ref(&scenario), &args.change)?;
        return Ok((plan(&scenario, seed, &args.change.defects), None));
    }
    if !path.is_file() {
        return Err(CliError::Usage(format!(
            "there is no file {what}\n  = help: replay SEED@SCENARIO (7@smoke/quickstart), a \
             saved plan.toml or a saved result.json"
        )));
    }
    if !args.change.sets.is_empty() {
        return Err(CliError::Usage(
            "--set changes a scenario; a plan is changed by editing its file".into(),
        ));
    }
    let mut plan = match what.ends_with(".json") {
        true => plan_in_result(what, &read_text(&path, what)?, engine)?,
        false => Plan::load(&path, what, engine.flags)?,
    };
    for defect in &args.change.defects {
        plan.choose_defect(defect).map_err(CliError::Usage)?;
    }
    let mut line = format!("vetcd-sim replay {}", quoted(what));
    for defect in &args.change.defects {
        line += &format!(" --defect {defect}");
    }
    Ok((plan, Some(line)))
}

fn plan_in_result(shown: &str, text: &str, engine: Engine<'_>) -> Result<Plan, CliError> {
    let saved: SavedResult = serde_json::from_str(text).map_err(|error| {
        CliError::Usage(format!(
            "{shown} is not a result saved by `vetcd-sim run`: {error}"
        ))
    })?;
    if saved.format != RESULT_FORMAT || saved.version != json::VERSION {
        return Err(CliError::Usage(format!(
            "{shown} is a \"{}\" of version {}, and this build reads \"{RESULT_FORMAT}\" of \
             version {}",
            saved.format,
            saved.version,
            json::VERSION
        )));
    }
    Ok(Plan::parse(
        &format!("{shown} (plan)"),
        &saved.plan,
        engine.flags,
    )?)
}

/// Runs one plan twice and shows the first event that differs.
pub fn verify(
    args: &VerifyArgs,
    environment: &Environment,
    engine: Engine<'_>,
    streams: &mut Streams<'_>,
) -> Result<u8, CliError> {
    let scenario = find_one(&args.scenario, &args.change.sets, environment, engine)?;
    check_defects(std::slice::from_ref(&scenario), &args.change)?;
    let plan = plan(&scenario, args.seed, &args.change.defects);
    let options = RunOptions {
        record_events: true,
        ..RunOptions::default()
    };
    let first = run_caught(&plan, engine.runner, &options);
    let second = run_caught(&plan, engine.runner, &options);
    let style = environment.style;
    let name = format!(
        "{} seed {}",
        style.paint(Tone::Name, &plan.scenario),
        plan.seed
    );
    if first.result.verdict == Verdict::InternalError {
        return Err(CliError::Internal(first.result.reason));
    }
    let Some(difference) = difference(&first, &second) else {
        let events = counted(first.events.len() as u64, "event");
        let text = format!(
            "{name}: two runs, {events}, trace {}",
            first.result.trace_hash
        );
        streams
            .out
            .write_all(style.line(Tone::Good, "IDENTICAL", &text).as_bytes())?;
        return Ok(0);
    };
    let mut text = style.line(Tone::Bad, "DIFFERS", &format!("{name}: {}", difference[0]));
    for line in &difference[1..] {
        text += &style.line(Tone::Dim, "", line);
    }
    streams.out.write_all(text.as_bytes())?;
    Ok(Verdict::Nondeterminism.exit_code())
}

/// Events shown before the first that differs.
const CONTEXT: usize = 5;

/// The first difference between two runs of a plan, in lines; `None` when there is none.
pub fn difference(first: &RunOutput, second: &RunOutput) -> Option<Vec<String>> {
    let (one, two) = (&first.events, &second.events);
    let at = one.iter().zip(two).position(|(a, b)| a != b);
    let at = at.or_else(|| (one.len() != two.len()).then(|| one.len().min(two.len())));
    if let Some(at) = at {
        let mut lines = vec![format!("the first difference is event {}", at + 1)];
        let before = &one[at.saturating_sub(CONTEXT)..at];
        lines.extend(
            before
                .iter()
                .map(|event| format!("  {}", show(Some(event)))),
        );
        lines.push(format!("- {}", show(one.get(at))));
        lines.push(format!("+ {}", show(two.get(at))));
        return Some(lines);
    }
    let (hash_one, hash_two) = (&first.result.trace_hash, &second.result.trace_hash);
    if hash_one != hash_two {
        return Some(vec![format!(
            "equal events, but trace {hash_one} and {hash_two}"
        )]);
    }
    if first.history != second.history {
        return Some(vec![
            "equal events, but the clients' histories differ".into(),
        ]);
    }
    None
}

fn show(event: Option<&TraceEvent>) -> String {
    match event {
        Some(event) => format!("{:>12}  {}  {}", moment(event.at), event.node, event.what),
        None => "(the run has ended)".into(),
    }
}
