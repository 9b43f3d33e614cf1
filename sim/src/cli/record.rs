//! `vetcd-sim record`: works on a live cluster, and judges what the clients saw.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vetcd::host::os::OsHost;

use super::args::{RecordArgs, RecordedWorkload};
use super::{CliError, Engine, Environment, Streams, check};
use crate::history::History;
use crate::history::read::{Format, Input};
use crate::record::{Recipe, RecordError, record as work};
use crate::scenario::{
    ElectionWorkload, KvWorkload, LeaseWorkload, LockWorkload, Mix, WatchWorkload,
};

/// Records and judges.
pub fn record(
    args: &RecordArgs,
    environment: &Environment,
    engine: Engine<'_>,
    streams: &mut Streams<'_>,
) -> Result<u8, CliError> {
    let path = environment.directory.join(&args.out);
    if path.exists() {
        return Err(CliError::Usage(format!("{} exists already", args.out)));
    }
    let recipe = recipe(args);
    let history = on_this_machine(&recipe)?;
    save(&history, &path)
        .map_err(|error| CliError::Internal(format!("cannot write {}: {error}", args.out)))?;
    let mut bytes = Vec::new();
    history
        .write(&mut bytes)
        .map_err(|error| CliError::Internal(error.to_string()))?;
    let input = Input {
        is_directory: false,
        files: vec![(String::new(), bytes)],
    };
    let judged = engine.judge.judge(&input, Some(Format::Vetcd), None);
    let judged = judged.map_err(CliError::Internal)?;
    check::show(&args.out, &judged, args.report, environment, streams)
}

/// Seconds: as short as etcd grants them with its usual election timeout.
const LEASE_TTL: i64 = 2;
const LOCKS: u32 = 2;
const HOLD: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(100);
const ELECTIONS: u32 = 2;
/// Long enough to wait for a lock whose holder has died.
const LOCK_TIMEOUT: Duration = Duration::from_secs(6);
/// Watches of one stream.
const WATCHES: u32 = 4;
/// For how long every fourth client stops reading now and then.
const SLOW_FOR: Duration = Duration::from_millis(500);

fn recipe(args: &RecordArgs) -> Recipe {
    let does = |workload| args.workload.contains(&workload);
    Recipe {
        endpoints: args.endpoints.clone(),
        duration: args.duration,
        seed: args.seed,
        timeout: args.timeout,
        kv: does(RecordedWorkload::Kv).then_some(KvWorkload {
            clients: args.clients,
            rate: args.rate,
            keys: args.keys,
            value_size: args.value_size,
            timeout: args.timeout,
            mix: Mix {
                put: 30,
                get: 40,
                range: 5,
                delete: 5,
                cas: 14,
                txn: 6,
            },
        }),
        lease: does(RecordedWorkload::Lease).then_some(LeaseWorkload {
            clients: args.clients,
            ttl: LEASE_TTL,
            pause: PAUSE,
            timeout: args.timeout,
        }),
        lock: does(RecordedWorkload::Lock).then_some(LockWorkload {
            clients: args.clients,
            locks: LOCKS,
            ttl: LEASE_TTL,
            hold: HOLD,
            pause: PAUSE,
            timeout: args.timeout.max(LOCK_TIMEOUT),
        }),
        election: does(RecordedWorkload::Election).then_some(ElectionWorkload {
            clients: args.clients,
            observers: args.clients.div_ceil(2),
            elections: ELECTIONS,
            ttl: LEASE_TTL,
            hold: HOLD,
            pause: PAUSE,
            timeout: args.timeout.max(LOCK_TIMEOUT),
        }),
        watch: does(RecordedWorkload::Watch).then_some(WatchWorkload {
            clients: args.clients,
            watches: WATCHES,
            keys: args.keys,
            progress: args.watch_progress,
            slow: args.clients.div_ceil(4),
            slow_for: SLOW_FOR,
            timeout: args.timeout,
        }),
    }
}

/// The clients run on a runtime of their own, on real time and real sockets.
fn on_this_machine(recipe: &Recipe) -> Result<History, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Internal(format!("cannot start the runtime: {error}")))?;
    let host = Arc::new(OsHost::new(runtime.handle().clone()));
    let recorded = runtime.block_on(work(host, recipe));
    runtime.shutdown_background();
    recorded.map_err(|error| match error {
        RecordError::Nonsense(_) => CliError::Internal(error.to_string()),
        error => CliError::Usage(error.to_string()),
    })
}

#[allow(clippy::disallowed_methods)] // The user's file, outside every simulation.
fn save(history: &History, path: &Path) -> Result<(), String> {
    let file = File::create_new(path).map_err(|error| error.to_string())?;
    history
        .write(BufWriter::new(file))
        .map_err(|error| error.to_string())
}
