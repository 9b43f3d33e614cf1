//! One run: a fresh thread, a fresh runtime, and nothing left behind.
//!
//! madsim's determinism needs a thread that has run nothing before (the standard library seeds its
//! hash maps once per thread), and a process in which everything that is initialised once has been:
//! the first run would otherwise draw from its own randomness for it. So every run gets its own
//! thread, and the first run of a process is preceded by a warm-up.
//!
//! Tasks that are alive when the runtime stops would leak: at the end every node is killed and two
//! virtual milliseconds pass, in which the executor drops what they held.

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Once};
use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vetcd::host::{Host, HostExt, OpenMode};

use super::node::{Cause, Death};
use super::panics::{self, PanicReport};
use super::trace::{Event, TraceHash};
use super::{NetworkConfig, NodeConfig, World};
use crate::rng;

/// The stack of a run's thread.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// What a run is given.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Decides every draw of the run.
    pub seed: u64,
    /// The network.
    pub network: NetworkConfig,
    /// Whether to record the trace's events, not only their hash.
    pub record: bool,
}

/// What a run leaves.
#[derive(Clone, Debug)]
pub struct Outcome<T> {
    /// What the scenario returned.
    pub output: T,
    /// The hash of everything that happened until then.
    pub trace: TraceHash,
    /// The recorded events; empty unless recording was asked for.
    pub events: Vec<Event>,
    /// How processes ended, panics included.
    pub deaths: Vec<Death>,
    /// How long the run was in virtual time, in nanoseconds.
    pub virtual_ns: u64,
}

impl<T> Outcome<T> {
    /// The panics of processes, with where they happened.
    pub fn panics(&self) -> impl Iterator<Item = (super::NodeId, &PanicReport)> {
        self.deaths.iter().filter_map(|death| match &death.cause {
            Cause::Panicked(report) => Some((death.node, report)),
            _ => None,
        })
    }
}

/// Why a run has no outcome.
#[derive(Debug)]
pub enum RunFailure {
    /// The scenario itself panicked (not a process on a node: that is a [`Death`]).
    Panicked {
        /// What is known of it.
        report: PanicReport,
        /// How processes had ended until then.
        deaths: Vec<Death>,
    },
    /// No thread could be started.
    Thread(io::Error),
}

impl fmt::Display for RunFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunFailure::Panicked { report, .. } => write!(f, "the scenario failed: {report}"),
            RunFailure::Thread(e) => write!(f, "no thread for the run: {e}"),
        }
    }
}

impl std::error::Error for RunFailure {}

/// Runs `scenario` under `seed` on a thread of its own, and waits for it.
pub fn run<T, F, S>(seed: u64, scenario: S) -> Result<Outcome<T>, RunFailure>
where
    T: Send + 'static,
    F: Future<Output = T>,
    S: FnOnce(World) -> F + Send + 'static,
{
    run_with(
        RunOptions {
            seed,
            ..RunOptions::default()
        },
        scenario,
    )
}

/// [`run`] with every option.
///
/// May be called from several threads at once: runs do not influence each other.
pub fn run_with<T, F, S>(options: RunOptions, scenario: S) -> Result<Outcome<T>, RunFailure>
where
    T: Send + 'static,
    F: Future<Output = T>,
    S: FnOnce(World) -> F + Send + 'static,
{
    warm_up(built_in_warm_up);
    on_own_thread(options, scenario)
}

/// Runs `scenario` once, as the process's warm-up, and forgets what it did. Call it before the first
/// run with a scenario that reaches the same code; otherwise a built-in one is used. Later calls do
/// nothing.
pub fn warm_up<F, S>(scenario: S)
where
    F: Future<Output = ()>,
    S: FnOnce(World) -> F + Send + 'static,
{
    static WARM: Once = Once::new();
    WARM.call_once(|| {
        // A warm-up that fails has warmed up all the same; the runs themselves will tell.
        drop(on_own_thread(RunOptions::default(), scenario));
    });
}

fn on_own_thread<T, F, S>(options: RunOptions, scenario: S) -> Result<Outcome<T>, RunFailure>
where
    T: Send + 'static,
    F: Future<Output = T>,
    S: FnOnce(World) -> F + Send + 'static,
{
    let thread = std::thread::Builder::new()
        .name(format!("run-{}", options.seed))
        .stack_size(STACK_BYTES)
        .spawn(move || {
            panics::watch_this_thread();
            let run = AssertUnwindSafe(|| on_this_thread(&options, scenario));
            // A destructor that panics escapes the runtime: it is caught here.
            std::panic::catch_unwind(run).unwrap_or_else(|payload| {
                let report = panics::describe(payload.as_ref(), "(outside of any task)");
                Err(RunFailure::Panicked {
                    report,
                    deaths: Vec::new(),
                })
            })
        })
        .map_err(RunFailure::Thread)?;
    thread.join().unwrap_or_else(|payload| {
        let report = panics::describe(payload.as_ref(), "(the run's thread)");
        Err(RunFailure::Panicked {
            report,
            deaths: Vec::new(),
        })
    })
}

fn on_this_thread<T, F, S>(options: &RunOptions, scenario: S) -> Result<Outcome<T>, RunFailure>
where
    F: Future<Output = T>,
    S: FnOnce(World) -> F,
{
    let scheduler = rng::derive(options.seed, "scheduler");
    let runtime =
        madsim::runtime::Runtime::with_seed_and_config(scheduler, madsim::Config::default());
    runtime.block_on(async {
        let world = World::new(options);
        let output = AssertUnwindSafe(async { scenario(world.clone()).await })
            .catch_unwind()
            .await;
        let (trace, events) = (world.trace().hash(), world.trace().take_events());
        let (deaths, virtual_ns) = (world.deaths(), world.now_ns());
        world.shut_down();
        world.sleep(Duration::from_millis(2)).await;
        world.net().clear();
        match output {
            Ok(output) => Ok(Outcome {
                output,
                trace,
                events,
                deaths,
                virtual_ns,
            }),
            Err(payload) => {
                let report = panics::describe(payload.as_ref(), "scenario");
                Err(RunFailure::Panicked { report, deaths })
            }
        }
    })
}

/// Touches every part of the world once.
async fn built_in_warm_up(world: World) {
    let server = world.add_node("warm-server", NodeConfig::default());
    let client = world.add_node("warm-client", NodeConfig::default());
    world.start(server, |host| {
        Box::pin(async move { drop(echo_once(host).await) })
    });
    world.start(client, |host| {
        Box::pin(async move { drop(call_once(host).await) })
    });
    world.sleep(Duration::from_secs(2)).await;
}

async fn echo_once(host: Arc<dyn Host>) -> io::Result<()> {
    let disk = host.disk();
    host.run_blocking(move || {
        let file = disk.open("warm".as_ref(), OpenMode::OpenOrCreate)?;
        file.write_at(0, b"warm")?;
        file.sync_data()
    })
    .await
    .unwrap_or(Ok(()))?;
    let mut stream = host.listen("warm-server:1").await?.accept().await?;
    let mut byte = [0];
    stream.read_exact(&mut byte).await?;
    stream.write_all(&byte).await
}

async fn call_once(host: Arc<dyn Host>) -> io::Result<()> {
    host.sleep(Duration::from_millis(50)).await;
    let mut stream = host.connect("warm-server:1").await?;
    stream.write_all(b"w").await?;
    let mut byte = [0];
    stream.read_exact(&mut byte).await?;
    Ok(())
}
