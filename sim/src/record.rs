//! Records what clients see of a live cluster: any that speaks etcd's v3 API, in real time.
//!
//! The same workload, client and recorder as in a simulated run, on the production host. The work
//! stays below a key prefix of its own, which is removed at the end, and must be the only writing
//! going on: every other write would look like one that nobody asked for. The clock is this
//! process's own and runs on one machine, so one order of time holds for all clients.
//!
//! At the end one watch from the beginning tells what every revision changed. It is evidence for the
//! fate of writes that were not answered and of keys whose lease ended, and saved with the history.
//! Clients that watch stay a while longer than those that write; where every endpoint serves before
//! and after that, they must have seen everything.

mod crew;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::api::proto::mvccpb::event::EventType;
use vetcd::client::watch::create;
use vetcd::client::{CallError, Client};
use vetcd::host::{Host, HostExt};

use crate::check::{Evidence, KnownOrder, Record, WatchLeeway};
use crate::history::{History, Range, Request};
use crate::scenario::{ElectionWorkload, KvWorkload, LeaseWorkload, LockWorkload, WatchWorkload};
use crate::workload::{Rebase, Recorder};
use crew::{Crew, client};

/// How long a watch may be silent before the next member is asked.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);
/// Beside its time-outs, how long a watch may take to see what was written before.
const WATCH_GRACE: Duration = Duration::from_secs(1);

/// What to record.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The members' client endpoints, `host:port` or `http://host:port`.
    pub endpoints: Vec<String>,
    /// How long clients work.
    pub duration: Duration,
    /// When a client gives up on an answer of its own.
    pub timeout: Duration,
    /// Clients that read and write keys.
    pub kv: Option<KvWorkload>,
    /// Clients that grant leases, renew, revoke and abandon them.
    pub lease: Option<LeaseWorkload>,
    /// Clients that contend for locks.
    pub lock: Option<LockWorkload>,
    /// Clients that run for offices, and others that are told who leads.
    pub election: Option<ElectionWorkload>,
    /// Clients that watch what those of `kv` write.
    pub watch: Option<WatchWorkload>,
    /// Decides what they ask for; what happens then is up to the cluster.
    pub seed: u64,
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// No endpoint answers.
    #[error("no endpoint answers; the last one said: {0}")]
    Unreachable(String),
    /// An answer came without what every answer must have.
    #[error("the cluster's answer makes no sense: {0}")]
    Nonsense(String),
    /// Somebody else was at work.
    #[error(
        "somebody else wrote to the cluster meanwhile (key {0}): the recording must be the only \
         work going on"
    )]
    NotAlone(String),
}

/// Works on a cluster and records what clients see.
///
/// # Errors
/// When the cluster cannot be reached at the beginning or the end, or somebody else writes to it.
pub async fn record(host: Arc<dyn Host>, recipe: &Recipe) -> Result<History, RecordError> {
    let mut own = client(&host, recipe, 0, recipe.timeout);
    let mut entropy = [0; 8];
    host.fill_random(&mut entropy);
    let entropy = u64::from_le_bytes(entropy);
    let prefix = format!("vetcd-sim record {entropy:016x}/");
    let before = revision_of(&read_all(&mut own, &recipe.endpoints, 1).await?)?;
    let rebase = Rebase::new(prefix.into(), before);
    let (clock, started) = (host.clone(), host.now());
    let now_ns = move || {
        let since = clock.now().since(started).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    };
    let recorder = Recorder::new(now_ns.clone(), |_| {}).rebased(rebase.clone());
    #[allow(clippy::cast_possible_truncation, reason = "any bits will do")]
    let mut crew = Crew::new(&host, recipe, &recorder, entropy as u32);
    crew.start_all();
    host.sleep(recipe.duration).await;
    crew.stop_workers();
    // What was under way may still happen; whatever it does, a last look binds the rest.
    let everything = Request::Range(Range {
        range_end: Bytes::from_static(b"\0"),
        ..Range::default()
    });
    crew.session().call(&mut own, &everything).await;
    let after = read_all(&mut own, &recipe.endpoints, before + 1).await;
    let settled = match &recipe.watch {
        Some(workload) => watches_settle(&host, recipe, workload, now_ns).await,
        None => None,
    };
    crew.stop_watchers();
    let mut history = recorder.take_history();
    if let Ok(after) = &after {
        let upto = revision_of(after)?;
        let known = written(&host, &mut own, recipe, &rebase, before, upto).await;
        history.evidence = Some(Box::new(Evidence {
            watches_settled: settled.filter(|_| known.is_some()),
            watch_leeway: recipe.watch.as_ref().map(leeway).unwrap_or_default(),
            misfits: recorder.misfits(),
            known_order: known,
            ..Evidence::default()
        }));
    }
    let corner = pb::DeleteRangeRequest {
        key: rebase.prefix.clone(),
        range_end: rebase.prefix_end(),
        ..Default::default()
    };
    // Left-over keys do no harm, and the next prefix is another.
    let _ = own.delete_range(corner).await;
    let foreign = |kv: &&vetcd::api::proto::mvccpb::KeyValue| !kv.key.starts_with(&rebase.prefix);
    match after?.kvs.iter().find(foreign) {
        Some(kv) => Err(RecordError::NotAlone(
            String::from_utf8_lossy(&kv.key).into_owned(),
        )),
        None => Ok(history),
    }
}

/// Gives watches the time to see what was written; says when they must have, where every endpoint
/// serves before and after it: a member that is cut off may keep its watches waiting for as long as
/// it is, and one that is down has none.
async fn watches_settle(
    host: &Arc<dyn Host>,
    recipe: &Recipe,
    workload: &WatchWorkload,
    now_ns: impl Fn() -> u64,
) -> Option<u64> {
    if !all_serve(host, recipe).await {
        return None;
    }
    let patience = 2 * workload.timeout + workload.slow_for + WATCH_GRACE;
    host.sleep(patience).await;
    let settled = now_ns();
    host.sleep(patience).await;
    all_serve(host, recipe).await.then_some(settled)
}

/// Whether every endpoint answers a linearizable read.
async fn all_serve(host: &Arc<dyn Host>, recipe: &Recipe) -> bool {
    for (number, endpoint) in (0..).zip(&recipe.endpoints) {
        let mut one = client(host, recipe, number, recipe.timeout);
        let answer = read_all(&mut one, std::slice::from_ref(endpoint), 1).await;
        if answer.is_err() {
            return false;
        }
    }
    true
}

/// What a cluster of any make need not promise of watches.
fn leeway(workload: &WatchWorkload) -> WatchLeeway {
    WatchLeeway {
        headers_ahead: true,
        progress_unasked: workload.progress == Duration::MAX,
    }
}

/// What each revision from `before` to `upto` changed, as one watch tells it; `None` when no member
/// tells all of it in time.
async fn written(
    host: &Arc<dyn Host>,
    client: &mut Client,
    recipe: &Recipe,
    rebase: &Rebase,
    before: i64,
    upto: i64,
) -> Option<KnownOrder> {
    for _ in &recipe.endpoints {
        let mut known = KnownOrder {
            compacted: 0,
            revision: upto - rebase.revisions,
            ..KnownOrder::default()
        };
        let first = create(pb::WatchCreateRequest {
            key: rebase.prefix.clone(),
            range_end: rebase.prefix_end(),
            start_revision: before + 1,
            ..Default::default()
        });
        let mut shown = before;
        if let Ok(mut stream) = client.watch(first, false).await {
            while shown < upto {
                let waiting = host.timeout(WRITTEN_WITHIN, stream.next());
                let Some(Ok(Some(response))) = waiting.await else {
                    break;
                };
                if response.canceled {
                    break;
                }
                for event in response.events {
                    let deleted = event.r#type() == EventType::Delete;
                    let mut kv = event.kv.unwrap_or_default();
                    rebase.own_key(&mut kv.key);
                    shown = shown.max(kv.mod_revision);
                    let at = kv.mod_revision - rebase.revisions;
                    known.records.entry(at).or_default().push(Record {
                        key: kv.key,
                        value: (!deleted).then_some(kv.value),
                    });
                }
            }
        }
        if shown >= upto {
            // What came behind is of no operation in the history.
            known.records.retain(|at, _| *at <= known.revision);
            return Some(known);
        }
        client.next_endpoint();
    }
    None
}

/// The keys of the store that were written at `from` or later, asked of one endpoint after another.
async fn read_all(
    client: &mut Client,
    endpoints: &[String],
    from: i64,
) -> Result<pb::RangeResponse, RecordError> {
    let request = pb::RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        keys_only: true,
        // Before the work begins only the revision matters.
        count_only: from <= 1,
        min_mod_revision: from,
        ..Default::default()
    };
    let mut problem = None::<CallError>;
    for _ in endpoints {
        match client.range(request.clone()).await {
            Ok(response) => return Ok(response),
            Err(error) => problem = Some(error),
        }
        client.next_endpoint();
    }
    let said = problem.map(|error| error.status.message().to_owned());
    Err(RecordError::Unreachable(said.unwrap_or_default()))
}

fn revision_of(response: &pb::RangeResponse) -> Result<i64, RecordError> {
    let revision = response.header.as_ref().map_or(0, |header| header.revision);
    match revision {
        1.. => Ok(revision),
        _ => Err(RecordError::Nonsense(format!("revision {revision}"))),
    }
}
