//! The command line: reads arguments, calls the library, prints, chooses the exit code.
//!
//! Results go to stdout and nothing else does; progress and errors go to stderr. A mistake in what
//! the user typed is one clear error and exit code 2, and nothing has been written by then.

pub mod args;
mod batch;
mod check;
mod comparison;
mod enumerate;
mod find;
mod learn;
mod progress;
mod record;
mod replay;
mod run;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::explore::Runner;
use crate::history::read::{Format, Input, Model};
use crate::report::{JudgedHistory, RunResult, Style};
use crate::scenario::ServerFlags;
use args::{Arguments, Command};

/// Usage error.
pub const EXIT_USAGE: u8 = 2;
/// Nothing matched.
pub const EXIT_NOTHING: u8 = 4;
/// Internal error.
pub const EXIT_INTERNAL: u8 = 1;

/// What the command line drives: the parts of the testbed behind their seams.
#[derive(Clone, Copy)]
pub struct Engine<'a> {
    /// Runs plans.
    pub runner: &'a dyn Runner,
    /// Judges server flags.
    pub flags: &'a dyn ServerFlags,
    /// Judges histories recorded elsewhere.
    pub judge: &'a dyn Judge,
}

/// Judges a recorded history.
pub trait Judge: Sync {
    /// Reads a recording, whose format and model are found out where they are not given, and runs
    /// every check that needs nothing else.
    ///
    /// # Errors
    /// When it is not a history; says which line is wrong, or what to pass.
    fn judge(
        &self,
        input: &Input,
        format: Option<Format>,
        model: Option<Model>,
    ) -> Result<JudgedHistory, String>;
}

/// What the command line knows of its surroundings; tests make up their own.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The working directory, which relative paths are resolved against.
    pub directory: PathBuf,
    /// How to colour stdout.
    pub style: Style,
    /// Whether to draw progress on stderr.
    pub progress: bool,
    /// Whether to print GitHub's workflow commands.
    pub github: bool,
    /// How the user calls this program, for the lines that repeat a run.
    pub program: String,
}

impl Environment {
    /// Looks around.
    pub fn detect() -> Environment {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let ci = set("CI");
        let by_cargo = set("CARGO") && set("CARGO_PKG_NAME");
        let program = match (by_cargo, cfg!(feature = "defects")) {
            (false, _) => "vetcd-sim",
            (true, false) => "cargo sim",
            (true, true) => "cargo sim-defects",
        };
        Environment {
            directory: std::env::current_dir().unwrap_or_default(),
            style: Style {
                color: !set("NO_COLOR") && std::io::stdout().is_terminal(),
            },
            progress: !ci && std::io::stderr().is_terminal(),
            github: std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true"),
            program: program.to_string(),
        }
    }

    /// `result` with the command that repeats it in the words the user uses.
    pub fn in_their_words(&self, result: &RunResult) -> RunResult {
        let mut result = result.clone();
        if let Some(rest) = result.replay.strip_prefix("vetcd-sim ") {
            result.replay = format!("{} {rest}", self.program);
        }
        result
    }
}

/// Where a command writes.
pub struct Streams<'a> {
    /// Results.
    pub out: &'a mut dyn Write,
    /// Progress and errors.
    pub err: &'a mut dyn Write,
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The user's input is wrong; the text says what to do.
    #[error("{0}")]
    Usage(String),
    /// Nothing is selected.
    #[error("{0}")]
    NothingMatched(String),
    /// The surroundings fail us: a full disk, say.
    #[error("{0}")]
    Internal(String),
    /// The reader of our output went away; nothing to say to nobody.
    #[error("output closed")]
    OutputClosed,
}

impl From<crate::scenario::ScenarioError> for CliError {
    fn from(error: crate::scenario::ScenarioError) -> CliError {
        CliError::Usage(error.to_string())
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> CliError {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => CliError::OutputClosed,
            _ => CliError::Internal(format!("cannot write output: {error}")),
        }
    }
}

/// The whole program: arguments from the process, output to its streams.
pub fn main(engine: Engine<'_>) -> ExitCode {
    let arguments = Arguments::parse();
    let environment = Environment::detect();
    // Not locked: the progress bar writes to stderr as well.
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut streams = Streams {
        out: &mut out,
        err: &mut err,
    };
    ExitCode::from(execute(arguments, &environment, engine, &mut streams))
}

/// Executes a command and returns the exit code.
pub fn execute(
    arguments: Arguments,
    environment: &Environment,
    engine: Engine<'_>,
    streams: &mut Streams<'_>,
) -> u8 {
    let result = match arguments.command {
        Command::Run(args) => run::run(&args, environment, engine, streams),
        Command::Replay(args) => replay::replay(&args, environment, engine, streams),
        Command::Verify(args) => replay::verify(&args, environment, engine, streams),
        Command::Compare(args) => comparison::compare(&args, environment, engine, streams),
        Command::Enumerate(args) => enumerate::enumerate(&args, environment, streams),
        Command::Check(args) => check::check(&args, environment, engine, streams),
        Command::Record(args) => record::record(&args, environment, engine, streams),
        Command::List(args) => learn::list(&args, environment, engine, streams),
        Command::Explain(args) => learn::explain(&args, environment, engine, streams),
        Command::Schema => learn::schema(engine, streams),
        Command::Completions(args) => learn::completions(&args, streams),
        Command::Manual => learn::manual(streams),
    };
    let flushed = streams.out.flush().map_err(CliError::from);
    match result.and_then(|code| flushed.map(|()| code)) {
        Ok(code) => code,
        Err(error) => {
            let code = match &error {
                CliError::Usage(_) => EXIT_USAGE,
                CliError::NothingMatched(_) => EXIT_NOTHING,
                CliError::Internal(_) => EXIT_INTERNAL,
                CliError::OutputClosed => return 0,
            };
            // When stderr is gone as well, the exit code still tells.
            let _ = writeln!(streams.err, "error: {error}");
            code
        }
    }
}
