//! `vetcd-sim run`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::args::{ReportFormat, RunArgs};
use super::batch::Batch;
use super::find::find;
use super::progress::{Progress, Stopwatch};
use super::{CliError, EXIT_INTERNAL, Engine, Environment, Streams};
use crate::explore::{Done, RunOptions, explore};
use crate::report::style::{Tone, counted, rounded};
use crate::report::{RunResult, Summary, Verdict, files, github, json, markdown, terminal};

/// Where failures are saved when `--out` says nothing else.
const REPORTS: &str = "reports";

/// Runs scenarios and returns the exit code of the most severe verdict.
pub fn run(
    args: &RunArgs,
    environment: &Environment,
    engine: Engine<'_>,
    streams: &mut Streams<'_>,
) -> Result<u8, CliError> {
    let scenarios = find(&args.what, &args.change.sets, environment, engine)?;
    let batch = Batch::new(&scenarios, args)?;
    let total = batch.len();
    if total == Some(0) {
        let message = "nothing matched: this shard has no runs, there are fewer than shards";
        return Err(CliError::NothingMatched(message.into()));
    }
    let single = total == Some(1);
    let threads = threads(args.jobs, total);
    let progress = Progress::new(total, environment.progress && !single);
    let mut sink = Sink {
        args,
        environment,
        streams,
        progress: &progress,
        single,
        summary: Summary::default(),
        kept: Vec::new(),
        error: None,
    };
    let stopwatch = Stopwatch::start();
    explore(
        batch,
        engine.runner,
        &RunOptions::default(),
        threads,
        |done| sink.take(done),
    );
    progress.clear();
    sink.finish(stopwatch)
}

/// How many threads to use: as asked, or one for each core, and no more than there are runs.
pub fn threads(asked: Option<usize>, runs: Option<u64>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runs = runs.map_or(usize::MAX, |runs| {
        usize::try_from(runs).unwrap_or(usize::MAX)
    });
    asked.unwrap_or(cores).min(runs).max(1)
}

/// Takes results in order and prints them.
struct Sink<'a, 'b> {
    args: &'a RunArgs,
    environment: &'a Environment,
    streams: &'a mut Streams<'b>,
    progress: &'a Progress,
    single: bool,
    summary: Summary,
    kept: Vec<RunResult>,
    error: Option<CliError>,
}

impl Sink<'_, '_> {
    fn take(&mut self, done: Done) -> ControlFlow<()> {
        let result = &done.output.result;
        let passed = result.verdict == Verdict::Pass;
        let shown = self.environment.in_their_words(result);
        self.summary.add(&shown);
        let failed = self.summary.runs() - self.summary.count(Verdict::Pass);
        if let Err(error) = self.report(&shown, &done) {
            self.error = Some(error);
            return ControlFlow::Break(());
        }
        self.progress.done(failed);
        if self.args.report != ReportFormat::Terminal {
            self.kept.push(done.output.result);
        }
        if self.args.fail_fast && !passed {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn report(&mut self, shown: &RunResult, done: &Done) -> Result<(), CliError> {
        let passed = shown.verdict == Verdict::Pass;
        let style = self.environment.style;
        let mut text = String::new();
        if self.args.report == ReportFormat::Terminal {
            if self.single {
                text += &terminal::single(shown, style, true);
            } else if !passed || !self.args.quiet {
                text += &terminal::brief(shown, style);
            }
        }
        if !passed || self.args.out.is_some() {
            let saved = save(self.args.out.as_deref(), self.environment, done)?;
            if self.args.report == ReportFormat::Terminal && (self.single || !passed) {
                text += &style.line(Tone::Name, "Saved", &saved);
            }
        }
        if self.environment.github {
            // A workflow command must not break a report that a machine reads from stdout.
            match self.args.report {
                ReportFormat::Terminal => text += &github::annotation(shown),
                _ => write!(self.streams.err, "{}", github::annotation(shown))?,
            }
        }
        let out = &mut self.streams.out;
        self.progress
            .suspend(|| out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
        Ok(())
    }

    fn finish(mut self, stopwatch: Stopwatch) -> Result<u8, CliError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let verdict = self.summary.verdict();
        let text = match self.args.report {
            ReportFormat::Json => json::runs(verdict, &self.kept),
            ReportFormat::Markdown => markdown::runs(&self.kept),
            ReportFormat::Terminal if self.single => String::new(),
            ReportFormat::Terminal => self.summary.show(self.environment.style),
        };
        self.streams.out.write_all(text.as_bytes())?;
        if !self.single {
            let took = rounded(stopwatch.elapsed());
            writeln!(
                self.streams.err,
                "{:>12} {} in {took}",
                "Finished",
                runs(&self.summary)
            )?;
        }
        match self.summary.runs() {
            0 => Ok(EXIT_INTERNAL),
            _ => Ok(verdict.exit_code()),
        }
    }
}

fn runs(summary: &Summary) -> String {
    counted(summary.runs(), "run")
}

/// Saves a run's files and returns their directory as shown to the user.
pub fn save(out: Option<&str>, environment: &Environment, done: &Done) -> Result<String, CliError> {
    let shown = Path::new(out.unwrap_or(REPORTS));
    let base: PathBuf = environment.directory.join(shown);
    let written = files::write(&base, &done.plan, &done.output.result, &done.output.history)
        .map_err(|error| {
            CliError::Internal(format!("cannot save below {}: {error}", shown.display()))
        })?;
    let name = written.file_name().unwrap_or_default();
    Ok(format!("{}/", shown.join(name).display()))
}
