//! Records what clients see of a live cluster: any that speaks etcd's v3 API, in real time.
//!
//! The same workload, client and recorder as in a simulated run, on the production host. The work
//! stays below a key prefix of its own, which is removed at the end, and must be the only writing
//! going on: every other write would look like one that nobody asked for. The clock is this
//! process's own and runs on one machine, so one order of time holds for all clients.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::client::{CallError, Client, ClientOptions};
use vetcd::host::Host;

use crate::history::{History, Range, Request};
use crate::rng::Stream;
use crate::scenario::KvWorkload;
use crate::workload::{Rebase, Recorder, kv};

/// What to record.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The members' client endpoints, `host:port` or `http://host:port`.
    pub endpoints: Vec<String>,
    /// How long clients work.
    pub duration: Duration,
    /// What they do.
    pub workload: KvWorkload,
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
    let options = ClientOptions {
        call_timeout: recipe.workload.timeout,
        connect_timeout: recipe.workload.timeout,
    };
    let client = |first: usize| {
        let mut endpoints = recipe.endpoints.clone();
        endpoints.rotate_left(first % recipe.endpoints.len().max(1));
        Client::new(host.clone(), endpoints, options)
    };
    let mut own = client(0);
    let mut entropy = [0; 8];
    host.fill_random(&mut entropy);
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
    for number in 0..recipe.workload.clients {
        let work = kv(
            host.clone(),
            recipe.workload.clone(),
            number,
            Stream::new(recipe.seed, &format!("client/{number}")),
            client(number as usize),
            recorder.session(number, members.clone()),
        );
        tasks.push(host.spawn("record", Box::pin(work)));
    }
    host.sleep(recipe.duration).await;
    tasks.iter().for_each(vetcd::host::TaskHandle::abort);
    // What was under way may still happen; whatever it does, a last look binds the rest.
    let everything = Request::Range(Range {
        range_end: Bytes::from_static(b"\0"),
        ..Range::default()
    });
    let last = recorder.session(recipe.workload.clients, members);
    last.call(&mut own, &everything).await;
    let history = recorder.take_history();
    let after = read_all(&mut own, &recipe.endpoints, before + 1).await;
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
