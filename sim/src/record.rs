//! Records what clients see of a live cluster: any that speaks etcd's v3 API, in real time.
//!
//! The same workload, client and recorder as in a simulated run, on the production host. The work
//! stays below a key prefix of its own, which is removed at the end, and must be the only writing
//! going on: every other write would look like one that nobody asked for. The clock is this
//! process's own and runs on one machine, so one order of time holds for all clients.
//!
//! At the end one watch from the beginning tells what every revision changed. It is evidence for the
//! fate of writes that were not answered and of keys whose lease ended, and saved with the history.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::api::proto::mvccpb::event::EventType;
use vetcd::client::watch::create;
use vetcd::client::{CallError, Client, ClientOptions};
use vetcd::host::{Host, HostExt};

use crate::check::{Evidence, KnownOrder, Record};
use crate::history::{History, Range, Request};
use crate::rng::Stream;
use crate::scenario::{KvWorkload, LeaseWorkload, LockWorkload};
use crate::workload::{Rebase, Recorder, kv, lease, lock};

/// How long a watch may be silent before the next member is asked.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

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
    let client_with = |first: u32, timeout: Duration| {
        let options = ClientOptions {
            call_timeout: timeout,
            connect_timeout: timeout,
        };
        let first = first as usize;
        let mut endpoints = recipe.endpoints.clone();
        endpoints.rotate_left(first % recipe.endpoints.len().max(1));
        Client::new(host.clone(), endpoints, options)
    };
    let mut own = client_with(0, recipe.timeout);
    let mut entropy = [0; 8];
    host.fill_random(&mut entropy);
    // Leases are named after clients: a number that others are unlikely to have.
    let family = u32::from_le_bytes([entropy[0], entropy[1], entropy[2], 0]) & 0x3f_ffff;
    let prefix = format!("vetcd-sim record {:016x}/", u64::from_le_bytes(entropy));
    let before = revision_of(&read_all(&mut own, &recipe.endpoints, 1).await?)?;
    let rebase = Rebase::new(prefix.into(), before);
    let (clock, started) = (host.clone(), host.now());
    let now_ns = move || {
        let since = clock.now().since(started).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    };
    let recorder = Recorder::new(now_ns, |_| {}).rebased(rebase.clone());
    let members: Vec<(String, u32)> = recipe.endpoints.iter().cloned().zip(1..).collect();
    let mut tasks = Vec::new();
    let mut number = 0;
    let mut next = |timeout| {
        let (random, mine) = (
            Stream::new(recipe.seed, &format!("client/{number}")),
            client_with(number, timeout),
        );
        let session = recorder.session(number, members.clone());
        number += 1;
        (number - 1, random, mine, session)
    };
    if let Some(workload) = &recipe.kv {
        for _ in 0..workload.clients {
            let (number, random, mine, session) = next(workload.timeout);
            let work = kv(
                host.clone(),
                workload.clone(),
                number,
                random,
                mine,
                session,
            );
            tasks.push(host.spawn("record", Box::pin(work)));
        }
    }
    if let Some(workload) = &recipe.lease {
        for _ in 0..workload.clients {
            let (number, random, mine, session) = next(workload.timeout);
            let name = family << 8 | number & 0xff;
            let work = lease(host.clone(), workload.clone(), name, random, mine, session);
            tasks.push(host.spawn("record", Box::pin(work)));
        }
    }
    if let Some(workload) = &recipe.lock {
        for _ in 0..workload.clients {
            let (number, random, mine, session) = next(workload.timeout);
            let name = family << 8 | number & 0xff;
            let work = lock(host.clone(), workload.clone(), name, random, mine, session);
            tasks.push(host.spawn("record", Box::pin(work)));
        }
    }
    host.sleep(recipe.duration).await;
    tasks.iter().for_each(vetcd::host::TaskHandle::abort);
    // What was under way may still happen; whatever it does, a last look binds the rest.
    let everything = Request::Range(Range {
        range_end: Bytes::from_static(b"\0"),
        ..Range::default()
    });
    let last = recorder.session(number, members);
    last.call(&mut own, &everything).await;
    let mut history = recorder.take_history();
    let after = read_all(&mut own, &recipe.endpoints, before + 1).await;
    if let Ok(after) = &after {
        let upto = revision_of(after)?;
        let known = written(&host, &mut own, recipe, &rebase, before, upto).await;
        history.evidence = known.map(|known| {
            Box::new(Evidence {
                known_order: Some(known),
                ..Evidence::default()
            })
        });
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
