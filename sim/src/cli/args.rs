//! What can be typed. Values are checked here, so that a wrong one is refused before any work.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::compare::Vary;
use crate::explore::TraceLevel;
use crate::history::read::{Format, Model};
use crate::plan::{DefectChoice, SEED_MAX};
use crate::scenario::{Rate, parse_duration};

const EXIT_CODES: &str = "\
Exit codes:
    0  pass                      100  safety violation
    1  internal error            101  liveness violation
    2  usage                     102  panic in the server
    3  undetermined              103  nondeterminism
    4  nothing matched           104  an expected violation did not happen";

/// A deterministic simulation testbed for vetcd: runs the real server on a virtual clock, a
/// simulated network and a simulated disk, injects faults, and judges what clients saw.
#[derive(Debug, Parser)]
#[command(name = "vetcd-sim", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run scenarios and judge them
    Run(RunArgs),
    /// Repeat one run: from its seed, its saved plan or its saved result
    Replay(ReplayArgs),
    /// Run one seed twice and show the first event that differs
    Verify(VerifyArgs),
    /// Run the same seeds under several settings and show what each loses and costs
    Compare(CompareArgs),
    /// Go through every crash point of short storage workloads, and all that a power loss can leave
    Enumerate(super::enumerate::EnumerateArgs),
    /// Judge a history recorded elsewhere
    Check(CheckArgs),
    /// Work on a live cluster and judge what the clients saw
    Record(RecordArgs),
    /// List the scenarios
    List(ListArgs),
    /// Explain a fault, key, event, check or exit code
    Explain(ExplainArgs),
    /// Print the JSON schema of scenarios
    Schema,
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Manual,
}

/// Seeds `from..to`, the end excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedRange {
    /// The first.
    pub from: u64,
    /// One past the last.
    pub to: u64,
}

/// Part `index` of `count`, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which part.
    pub index: u64,
    /// Of how many.
    pub count: u64,
}

/// A share of runs in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub u64);

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people
    Terminal,
    /// For machines
    Json,
    /// For pull requests
    Markdown,
}

/// How what is said about a history is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HistoryReportFormat {
    /// For people
    Terminal,
    /// For machines
    Json,
}

/// Options that change scenarios.
#[derive(Debug, Default, Args)]
pub struct ChangeArgs {
    /// Override a key of the scenario, or a server flag: time.run=30s, fault.1.at=5s, wal-sync=none
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Build a deliberate mistake into every member, or into one
    #[arg(long = "defect", value_name = "NAME[@MEMBER]", value_parser = DefectChoice::parse)]
    pub defects: Vec<DefectChoice>,
}

/// `run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Scenario files, names, directories or tags; all of scenarios/ when none is given
    #[arg(value_name = "PATH|TAG|DIR")]
    pub what: Vec<String>,
    /// The seed to run [default: 1]
    #[arg(long, value_name = "N", value_parser = parse_seed, conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// The seeds to run, the last excluded; A..=B includes it
    #[arg(long, value_name = "A..B", value_parser = parse_seeds)]
    pub seeds: Option<SeedRange>,
    /// Start no new run after this much wall time; without --seeds, take new seeds until then
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub budget: Option<Duration>,
    /// Runs at the same time [default: one for each core]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub jobs: Option<usize>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: ChangeArgs,
    /// Save every run's plan, result and history below DIR; failures are saved below reports/ anyway
    #[arg(long, value_name = "DIR")]
    pub out: Option<String>,
    /// What to print
    #[arg(long, value_enum, default_value = "terminal")]
    pub report: ReportFormat,
    /// Stop at the first run that does not pass
    #[arg(long)]
    pub fail_fast: bool,
    /// Run this share of the seeds twice and insist on equal results
    #[arg(long, value_name = "PCT", value_parser = parse_share)]
    pub check_determinism: Option<Share>,
    /// Do part I of N of the runs
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    pub shard: Option<Shard>,
    /// Of many runs, show only those that do not pass, and the summary
    #[arg(short, long)]
    pub quiet: bool,
}

/// `replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// SEED@SCENARIO, a plan.toml, or a result.json
    #[arg(value_name = "SEED@SCENARIO|PLAN|RESULT")]
    pub what: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: ChangeArgs,
    /// Stop the faults and workloads at this virtual time
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub until: Option<Duration>,
    /// Log what the members do, to stderr
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub trace: Option<TraceLevel>,
    /// Save the run's plan, result and history below DIR
    #[arg(long, value_name = "DIR")]
    pub out: Option<String>,
    /// What to print
    #[arg(long, value_enum, default_value = "terminal")]
    pub report: ReportFormat,
}

/// `verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The scenario's file or name
    pub scenario: String,
    /// The seed to run twice
    #[arg(long, value_name = "N", value_parser = parse_seed, default_value = "1")]
    pub seed: u64,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: ChangeArgs,
}

/// `compare`
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The scenario's file or name
    pub scenario: String,
    /// What to vary: a key of the scenario or a server flag, and its values
    #[arg(long, value_name = "KEY=a,b,c", value_parser = Vary::parse)]
    pub vary: Vary,
    /// The seeds to run under each setting, the last excluded; A..=B includes it
    #[arg(long, value_name = "A..B", value_parser = parse_seeds)]
    pub seeds: SeedRange,
    /// Runs at the same time [default: one for each core]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub jobs: Option<usize>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: ChangeArgs,
    /// What to print
    #[arg(long, value_enum, default_value = "terminal")]
    pub report: ReportFormat,
    /// Also write comparison.json and comparison.md into DIR
    #[arg(long, value_name = "DIR")]
    pub out: Option<String>,
}

/// `check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The history: a file, or a report directory of etcd's robustness tests
    pub history: String,
    /// How it is written down [default: found out]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// What the recorded system promises to be [default: found out]
    #[arg(long, value_enum)]
    pub model: Option<Model>,
    /// What to print
    #[arg(long, value_enum, default_value = "terminal")]
    pub report: HistoryReportFormat,
}

/// `record`
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// The members' client endpoints, such as 127.0.0.1:2379,127.0.0.1:22379; nobody else may write
    #[arg(
        long,
        value_name = "HOST:PORT,...",
        value_delimiter = ',',
        required = true
    )]
    pub endpoints: Vec<String>,
    /// The file to write the history into
    #[arg(long, value_name = "FILE", default_value = "history.jsonl")]
    pub out: String,
    /// How long clients work
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
    pub duration: Duration,
    /// What clients do
    #[arg(
        long,
        value_enum,
        value_name = "WORKLOAD,...",
        value_delimiter = ',',
        default_value = "kv"
    )]
    pub workload: Vec<RecordedWorkload>,
    /// How many clients of each workload
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), default_value = "8")]
    pub clients: u32,
    /// Operations of all clients together
    #[arg(long, value_name = "N/s", value_parser = Rate::parse, default_value = "500/s")]
    pub rate: Rate,
    /// How many keys
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), default_value = "10")]
    pub keys: u32,
    /// Bytes in a value
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..=1_000_000), default_value = "16")]
    pub value_size: u32,
    /// When a client gives up on an operation
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1s")]
    pub timeout: Duration,
    /// How often clients that watch ask how far their stream has come; `never` for a server whose
    /// answers to that cannot be relied on, such as etcd before 3.5.8 (#15220)
    #[arg(long, value_name = "DURATION|never", value_parser = parse_progress, default_value = "100ms")]
    pub watch_progress: Duration,
    /// Decides what clients ask for
    #[arg(long, value_name = "N", value_parser = parse_seed, default_value = "1")]
    pub seed: u64,
    /// What to print
    #[arg(long, value_enum, default_value = "terminal")]
    pub report: HistoryReportFormat,
}

/// What `record` can have clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RecordedWorkload {
    /// Read, write, delete, compare and swap, and run transactions
    Kv,
    /// Grant leases, hang keys on them, renew, revoke and abandon them
    Lease,
    /// Contend for locks and write under them
    Lock,
    /// Run for offices, lead and resign, and be told who leads
    Election,
    /// Watch what the clients of kv write, on streams that stall, end and are resumed
    Watch,
}

/// `list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Scenario files, names, directories or tags; all of scenarios/ when none is given
    #[arg(value_name = "PATH|TAG|DIR")]
    pub what: Vec<String>,
}

/// `explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// What to explain; without it, everything that can be explained
    pub name: Option<String>,
}

/// `completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Reads a seed.
///
/// # Errors
/// A sentence saying what a seed is.
pub fn parse_seed(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(seed) if seed <= SEED_MAX => Ok(seed),
        _ => Err(format!("a seed is a whole number from 0 to {SEED_MAX}")),
    }
}

fn parse_seeds(text: &str) -> Result<SeedRange, String> {
    let wanted = "seeds are A..B (B excluded) or A..=B, such as 0..500";
    let (from, to) = text.split_once("..").ok_or(wanted)?;
    let (from, to) = match to.strip_prefix('=') {
        Some(to) => (parse_seed(from)?, parse_seed(to)?.saturating_add(1)),
        None => (parse_seed(from)?, parse_seed(to)?),
    };
    if from >= to {
        return Err(format!("there are no seeds in {text}: {wanted}"));
    }
    Ok(SeedRange {
        from,
        to: to.min(SEED_MAX),
    })
}

pub(super) fn parse_jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=1024) => Ok(jobs),
        _ => Err("a number of threads from 1 to 1024".into()),
    }
}

/// [`Duration::MAX`] is `never`.
fn parse_progress(text: &str) -> Result<Duration, String> {
    match text {
        "never" => Ok(Duration::MAX),
        _ => match parse_duration(text)? {
            Duration::ZERO => Err("a time longer than zero, or never".to_owned()),
            every => Ok(every),
        },
    }
}

fn parse_shard(text: &str) -> Result<Shard, String> {
    let wanted = "a shard is I/N with I from 1 to N, such as 1/4";
    let (index, count) = text.split_once('/').ok_or(wanted)?;
    let index: u64 = index.parse().map_err(|_| wanted)?;
    let count: u64 = count.parse().map_err(|_| wanted)?;
    if index == 0 || index > count {
        return Err(wanted.into());
    }
    Ok(Shard { index, count })
}

fn parse_share(text: &str) -> Result<Share, String> {
    let wanted = "a share is a percentage from 0 to 100, such as 5%";
    let number: f64 = text.trim_end_matches('%').parse().map_err(|_| wanted)?;
    if !(0.0..=100.0).contains(&number) {
        return Err(wanted.into());
    }
    Ok(Share((number * 100.0).round() as u64))
}
