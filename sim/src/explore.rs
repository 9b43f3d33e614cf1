//! Many runs: the seam to a single run, and a bounded pool of threads that does them.
//!
//! Results are handed over in the order of the jobs, whatever order they finish in, so that output
//! does not depend on the number of threads. A run never starts when more than a window of results
//! waits for an earlier one: memory stays bounded.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::history::History;
use crate::plan::Plan;
use crate::report::{RunResult, Verdict};

/// Runs plans. The run itself decides about threads: one fresh OS thread per run.
pub trait Runner: Sync {
    /// Runs `plan` to its verdict. Must be a function of its arguments, but for the wall time.
    fn run(&self, plan: &Plan, options: &RunOptions) -> RunOutput;
}

/// How to run, beside what.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Stop the safety phase at this virtual time instead of at its end.
    pub until: Option<Duration>,
    /// Log what the members do, to stderr, at this level.
    pub trace: Option<TraceLevel>,
    /// Keep every event for comparison.
    pub record_events: bool,
}

/// How much a traced run logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum TraceLevel {
    /// What goes wrong.
    Error,
    /// And what is suspicious.
    Warn,
    /// And what a member would tell its operator.
    Info,
    /// And how it decides.
    Debug,
    /// And every message.
    Trace,
}

/// What a run gives.
#[derive(Clone, Debug)]
pub struct RunOutput {
    /// The verdict and all numbers.
    pub result: RunResult,
    /// What clients saw.
    pub history: History,
    /// Every event, when asked for.
    pub events: Vec<TraceEvent>,
}

/// One event of a run, as it goes into the trace hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// Virtual time.
    pub at: Duration,
    /// Where: `member 2`, `client 3`, `world`.
    pub node: String,
    /// What.
    pub what: String,
}

/// One run to do.
#[derive(Clone, Debug)]
pub struct Job {
    /// What to run.
    pub plan: Plan,
    /// Whether to run it twice and insist on equal results.
    pub twice: bool,
}

/// One run done.
#[derive(Clone, Debug)]
pub struct Done {
    /// What was run.
    pub plan: Plan,
    /// What came of it.
    pub output: RunOutput,
}

/// Results that may wait for an earlier one, per thread.
const WINDOW_PER_THREAD: usize = 16;

struct State<I> {
    jobs: Option<I>,
    taken: usize,
    delivered: usize,
    running: usize,
    waiting: BTreeMap<usize, Done>,
}

/// Runs `jobs` on `threads` threads and hands each result to `each` in the order of the jobs, until
/// the jobs end or `each` breaks. Runs under way at a break are finished and dropped.
pub fn explore<I: Iterator<Item = Job> + Send>(
    jobs: I,
    runner: &dyn Runner,
    options: &RunOptions,
    threads: usize,
    mut each: impl FnMut(Done) -> ControlFlow<()>,
) {
    let threads = threads.max(1);
    let window = threads * WINDOW_PER_THREAD;
    let state = State {
        jobs: Some(jobs),
        taken: 0,
        delivered: 0,
        running: 0,
        waiting: BTreeMap::new(),
    };
    let pool = Pool {
        state: Mutex::new(state),
        changed: Condvar::new(),
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| pool.work(runner, options, window));
        }
        pool.deliver(&mut each);
    });
}

struct Pool<I> {
    state: Mutex<State<I>>,
    changed: Condvar,
}

impl<I: Iterator<Item = Job>> Pool<I> {
    fn lock(&self) -> MutexGuard<'_, State<I>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, State<I>>) -> MutexGuard<'a, State<I>> {
        self.changed
            .wait(guard)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, runner: &dyn Runner, options: &RunOptions, window: usize) {
        let mut state = self.lock();
        loop {
            if state.jobs.is_some() && state.taken >= state.delivered + window {
                state = self.wait(state);
                continue;
            }
            let Some(job) = state.jobs.as_mut().and_then(Iterator::next) else {
                state.jobs = None;
                self.changed.notify_all();
                return;
            };
            let index = state.taken;
            state.taken += 1;
            state.running += 1;
            drop(state);
            let output = run_job(&job, runner, options);
            state = self.lock();
            state.running -= 1;
            state.waiting.insert(
                index,
                Done {
                    plan: job.plan,
                    output,
                },
            );
            self.changed.notify_all();
        }
    }

    fn deliver(&self, each: &mut impl FnMut(Done) -> ControlFlow<()>) {
        let mut state = self.lock();
        loop {
            let next = state.delivered;
            if let Some(done) = state.waiting.remove(&next) {
                state.delivered += 1;
                drop(state);
                self.changed.notify_all();
                let flow = each(done);
                state = self.lock();
                if flow.is_break() {
                    state.jobs = None;
                    self.changed.notify_all();
                    return;
                }
            } else if state.jobs.is_none() && state.running == 0 {
                return;
            } else {
                state = self.wait(state);
            }
        }
    }
}

fn run_job(job: &Job, runner: &dyn Runner, options: &RunOptions) -> RunOutput {
    let mut output = run_caught(&job.plan, runner, options);
    if job.twice {
        let again = run_caught(&job.plan, runner, options);
        judge_repetition(&mut output, &again);
    }
    output
}

/// A panic of the testbed itself ends its run, not the others.
pub fn run_caught(plan: &Plan, runner: &dyn Runner, options: &RunOptions) -> RunOutput {
    catch_unwind(AssertUnwindSafe(|| runner.run(plan, options))).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        let reason = format!("the testbed panicked: {text}");
        let result = RunResult::internal_error(plan, reason);
        RunOutput {
            result,
            history: History::default(),
            events: Vec::new(),
        }
    })
}

/// Turns `first` into a case of nondeterminism when a second run of its plan came out otherwise.
fn judge_repetition(first: &mut RunOutput, second: &RunOutput) {
    let (one, two) = (&first.result, &second.result);
    let reason = if one.trace_hash != two.trace_hash {
        format!(
            "two runs of this plan differ: trace {} and {}",
            one.trace_hash, two.trace_hash
        )
    } else if !equal_but_for_wall_time(one, two) {
        "two runs with one trace hash have different results".to_string()
    } else if first.history != second.history {
        "two runs with one trace hash have different histories".to_string()
    } else {
        return;
    };
    first.result.verdict = Verdict::Nondeterminism;
    first.result.reason =
        format!("{reason}; `vetcd-sim verify` shows the first event that differs");
}

fn equal_but_for_wall_time(one: &RunResult, two: &RunResult) -> bool {
    let two = RunResult {
        wall_time: one.wall_time,
        ..two.clone()
    };
    *one == two
}
