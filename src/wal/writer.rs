//! The one task that writes the log: it takes all that was queued since it last looked as one
//! group, and spends one write, at most one sync and one acknowledgement on it.
//!
//! It must never acknowledge before the [`SyncPolicy`] allows it, never reorder, and never go on
//! after a failure: it then says so once and ends.
//!
//! While one group is written and synced, batches queue up for the next; they are encoded when it is
//! written, for a record's header says what was durable before it, and takes microseconds where the
//! sync takes milliseconds.
//!
//! A group that holds no entries, no snapshot mark and no batch that must be synced consists of
//! commit indexes alone. It is acknowledged at once under every policy, and written with the next
//! group, or after [`QUIET`] without one: a commit index that is lost is learnt again from the
//! leader, or by the next leader's first own entry, and until then raft knows less than it could,
//! but nothing false. The claim that what was written is durable waits in the same way, since the
//! header of the next record makes it too. So under load a write is one write to the file, not three.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::Histogram;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, WeakUnboundedSender};

use super::log::{Log, SyncPoint};
use super::{Batch, Error, PutOff, SyncPolicy};
use crate::defect;
use crate::host::{BoxFuture, Host, HostExt, Moment};

/// How long what can wait for the next group waits for it.
const QUIET: Duration = Duration::from_millis(50);

/// How often a log that found the disk full looks whether it still is.
const LOOK_FOR_SPACE_EVERY: Duration = Duration::from_secs(1);

/// What the writer tells raft.
#[derive(Debug)]
pub enum Ack {
    /// All batches up to and including this ticket are persisted, as far as the policy goes.
    Persisted {
        /// The ticket.
        ticket: u64,
    },
    /// The log failed and takes nothing more; the member must stop. The last message.
    Failed(Error),
}

/// What the writer has done since it started.
#[derive(Debug, Default)]
pub struct WriterMetrics {
    /// Syncs that succeeded.
    pub syncs: AtomicU64,
    /// Groups written.
    pub groups: AtomicU64,
    /// Batches written.
    pub batches: AtomicU64,
    /// Entries written.
    pub entries: AtomicU64,
    /// Bytes written, the log's own included.
    pub bytes: AtomicU64,
}

/// The way to the writing task. When it is dropped, what is queued is still written, and synced if
/// the policy syncs at all; then the task ends.
pub struct Writer {
    host: Arc<dyn Host>,
    queue: UnboundedSender<Command>,
    queued_bytes: Arc<AtomicU64>,
    metrics: Arc<WriterMetrics>,
}

impl Writer {
    /// Starts the task. It ends when the writer is dropped, when the log fails, or when nobody
    /// listens to `acks` any more. The time of each sync goes into `sync_seconds`.
    pub fn start(
        host: Arc<dyn Host>,
        mut log: Log,
        policy: SyncPolicy,
        acks: UnboundedSender<Ack>,
        sync_seconds: Histogram,
    ) -> Writer {
        if policy == SyncPolicy::None {
            log.never_sync();
        }
        log.choose_defects(host.defects());
        let (queue, commands) = mpsc::unbounded_channel();
        let (sync_jobs, jobs) = mpsc::unbounded_channel();
        let queued_bytes = Arc::new(AtomicU64::new(0));
        let metrics = Arc::new(WriterMetrics::default());
        if matches!(policy, SyncPolicy::Interval(_)) {
            let syncer = run_syncer(host.clone(), jobs, queue.downgrade(), sync_seconds.clone());
            host.spawn("wal-sync", Box::pin(syncer));
        }
        let task = Task {
            host: host.clone(),
            log: Some(log),
            policy,
            acks,
            commands,
            sync_jobs,
            queue: queue.downgrade(),
            looking: false,
            sync_pending: false,
            last_sync: None,
            unwritten: PutOff::default(),
            quiet: None,
            queued_bytes: queued_bytes.clone(),
            metrics: metrics.clone(),
            sync_seconds,
        };
        host.spawn("wal-writer", Box::pin(task.run()));
        Writer {
            host,
            queue,
            queued_bytes,
            metrics,
        }
    }

    /// Queues a batch; never blocks. Tickets rise from call to call. The queue is not bounded here:
    /// the caller watches [`Writer::queued_bytes`].
    pub fn append(&self, ticket: u64, batch: Batch) {
        let bytes = size(&batch);
        self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.send(Command::Append(Append {
            ticket,
            batch,
            bytes,
            queued_at: self.host.now(),
        }));
    }

    /// Queues a [`Log::release`].
    pub fn release(&self, index: u64) {
        self.send(Command::Release(index));
    }

    /// How many bytes of batches wait for their acknowledgement, roughly.
    pub fn queued_bytes(&self) -> u64 {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// What the writer has done so far.
    pub fn metrics(&self) -> Arc<WriterMetrics> {
        self.metrics.clone()
    }

    fn send(&self, command: Command) {
        // The task is gone only after it said why, in `Ack::Failed`, or when nobody listens.
        let _ = self.queue.send(command);
    }
}

/// A batch's share of [`Writer::queued_bytes`]; what an entry costs beside its data is estimated.
fn size(batch: &Batch) -> u64 {
    const OVERHEAD_BYTES: usize = 64;
    let entry = |e: &crate::api::proto::vetcdpb::Entry| e.data.len() + e.context.len();
    let entries = batch.entries.iter().map(|e| entry(e) + OVERHEAD_BYTES);
    (OVERHEAD_BYTES + entries.sum::<usize>()) as u64
}

enum Command {
    Append(Append),
    Release(u64),
    /// The disk was full: time to look whether it still is.
    LookForSpace,
    /// The time of the next background sync has come.
    SyncDue,
    /// A background sync has ended.
    Synced(SyncPoint, io::Result<()>),
}

struct Append {
    ticket: u64,
    batch: Batch,
    bytes: u64,
    queued_at: Moment,
}

impl Append {
    /// Whether losing this batch would lose something that was acknowledged.
    fn matters(&self) -> bool {
        let batch = &self.batch;
        batch.must_sync || batch.snapshot.is_some() || !batch.entries.is_empty()
    }
}

/// Everything that was queued when the writer came around.
#[derive(Default)]
struct Group {
    appends: Vec<Append>,
    release: Option<u64>,
    sync_due: bool,
    look_for_space: bool,
    synced: Vec<(SyncPoint, io::Result<()>)>,
    /// [`QUIET`] has passed.
    quiet: bool,
}

impl Group {
    fn add(&mut self, command: Command) {
        match command {
            Command::Append(append) => self.appends.push(append),
            Command::Release(index) => self.release = self.release.max(Some(index)),
            Command::LookForSpace => self.look_for_space = true,
            Command::SyncDue => self.sync_due = true,
            Command::Synced(point, outcome) => self.synced.push((point, outcome)),
        }
    }

    fn must_sync(&self) -> bool {
        self.appends.iter().any(|append| append.batch.must_sync)
    }

    fn matters(&self) -> bool {
        self.appends.iter().any(Append::matters)
    }

    /// The last ticket up to which every batch asks for an early acknowledgement.
    fn early_ticket(&self) -> Option<u64> {
        let early = self.appends.iter().take_while(|a| a.batch.ack_early);
        early.last().map(|append| append.ticket)
    }
}

struct Task {
    host: Arc<dyn Host>,
    /// Away only while disk work runs; gone for good when that work panicked.
    log: Option<Log>,
    policy: SyncPolicy,
    acks: UnboundedSender<Ack>,
    commands: UnboundedReceiver<Command>,
    sync_jobs: UnboundedSender<SyncJob>,
    /// For timers, which must not keep the task alive.
    queue: WeakUnboundedSender<Command>,
    /// Whether a timer runs that ends in a look for space.
    looking: bool,
    /// Whether the syncer has a job: then it will be heard of without being told.
    sync_pending: bool,
    /// When the last background sync began.
    last_sync: Option<Moment>,
    /// A commit index that was acknowledged and waits for the next group.
    unwritten: PutOff,
    /// Runs while something waits for the next group.
    quiet: Option<BoxFuture<()>>,
    queued_bytes: Arc<AtomicU64>,
    metrics: Arc<WriterMetrics>,
    sync_seconds: Histogram,
}

/// Syncs, and measures it.
fn timed<T>(host: &Arc<dyn Host>, seconds: &Histogram, sync: impl FnOnce() -> T) -> T {
    let begun = host.now();
    let result = sync();
    seconds.observe(host.now().since(begun).as_secs_f64());
    result
}

impl Task {
    async fn run(mut self) {
        while let Some(group) = self.next_group().await {
            if let Err(error) = self.serve(group).await {
                return self.fail(error);
            }
            if self.acks.is_closed() {
                return;
            }
        }
        let unwritten = self.with_unwritten(Vec::new());
        let last = self.with_log(move |log| {
            log.append_group(&unwritten)?;
            // Under `none` this does nothing.
            log.sync()
        });
        if let Err(error) = last.await {
            self.fail(error);
        }
    }

    fn fail(&self, error: Error) {
        tracing::error!(%error, "the write-ahead log failed");
        let _ = self.acks.send(Ack::Failed(error));
    }

    /// Waits for something to do, and gathers what else there is; `None` once the writer is gone
    /// and nothing is left.
    async fn next_group(&mut self) -> Option<Group> {
        let mut group = Group::default();
        let first = match &mut self.quiet {
            None => self.commands.recv().await,
            Some(quiet) => tokio::select! {
                biased;
                command = self.commands.recv() => command,
                () = quiet => {
                    self.quiet = None;
                    group.quiet = true;
                    return Some(group);
                }
            },
        };
        group.add(first?);
        self.drain(&mut group);
        if let SyncPolicy::Batch(wait) = self.policy
            && !group.must_sync()
            && let Some(first) = group.appends.iter().find(|append| append.matters())
        {
            let left = (first.queued_at + wait).since(self.host.now());
            if !left.is_zero() {
                self.host.sleep(left).await;
                self.drain(&mut group);
            }
        }
        Some(group)
    }

    fn drain(&mut self, group: &mut Group) {
        while let Ok(command) = self.commands.try_recv() {
            group.add(command);
        }
    }

    async fn serve(&mut self, mut group: Group) -> Result<(), Error> {
        for (point, outcome) in group.synced.drain(..) {
            self.sync_pending = false;
            let log = self.log.as_mut().ok_or(Error::Stopped)?;
            log.finish_sync(&point, outcome)?;
        }
        let (sync_due, release) = (group.sync_due, group.release);
        let look_for_space = group.look_for_space;
        if group.quiet {
            self.write_what_waits().await?;
        } else if group.matters() {
            self.write(group).await?;
        } else {
            self.put_off(group);
        }
        if let Some(index) = release {
            self.with_log(move |log| log.release(index)).await?;
        }
        if look_for_space {
            self.looking = false;
            self.with_log(Log::look_for_space).await?;
        }
        self.look_for_space_later()?;
        if let SyncPolicy::Interval(interval) = self.policy {
            self.sync_in_background(interval, sync_due)?;
        }
        let log = self.log.as_ref().ok_or(Error::Stopped)?;
        if self.quiet.is_none() && (!self.unwritten.is_empty() || log.can_mark_synced()) {
            self.quiet = Some(self.host.sleep(QUIET));
        }
        Ok(())
    }

    /// Acknowledges a group of commit indexes alone; the newest waits for the next group.
    fn put_off(&mut self, group: Group) {
        let ticket = group.appends.last().map(|append| append.ticket);
        for append in group.appends {
            self.queued_bytes.fetch_sub(append.bytes, Ordering::Relaxed);
            self.unwritten.put_off(&append.batch);
        }
        self.acknowledge(ticket);
    }

    fn with_unwritten(&mut self, group: Vec<Batch>) -> Vec<Batch> {
        self.unwritten.with_group(group, &self.host.defects())
    }

    /// No group has come that could have taken along what waits for one.
    async fn write_what_waits(&mut self) -> Result<(), Error> {
        let unwritten = self.with_unwritten(Vec::new());
        self.with_log(move |log| {
            log.append_group(&unwritten)?;
            log.mark_synced()
        })
        .await
    }

    /// Writes a group, syncs it if the policy says so, and acknowledges it.
    async fn write(&mut self, group: Group) -> Result<(), Error> {
        let sync = match self.policy {
            SyncPolicy::Always | SyncPolicy::Batch(_) => true,
            SyncPolicy::Interval(_) => group.must_sync(),
            SyncPolicy::None => false,
        };
        let mut early = None;
        if defect!(self.host.defects(), AckBeforeSync) {
            early = group.early_ticket();
        }
        let ticket = group.appends.last().map(|append| append.ticket);
        let bytes: u64 = group.appends.iter().map(|append| append.bytes).sum();
        let count = group.appends.len() as u64;
        let appends = group.appends.into_iter().map(|append| append.batch);
        let batches = self.with_unwritten(appends.collect());
        let sync_at_once = sync && early.is_none();
        let (host, seconds) = (self.host.clone(), self.sync_seconds.clone());
        self.with_log(move |log| {
            log.append_group(&batches)?;
            match sync_at_once {
                true => timed(&host, &seconds, || log.sync()),
                false => Ok(()),
            }
        })
        .await?;
        if sync && early.is_some() {
            self.acknowledge(early);
            self.with_log(Log::sync).await?;
        }
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.metrics.groups.fetch_add(1, Ordering::Relaxed);
        self.metrics.batches.fetch_add(count, Ordering::Relaxed);
        if !(sync && early == ticket) {
            self.acknowledge(ticket);
        }
        Ok(())
    }

    /// While the disk is full, whether it still is is looked at now and then.
    fn look_for_space_later(&mut self) -> Result<(), Error> {
        let log = self.log.as_ref().ok_or(Error::Stopped)?;
        if !log.is_short() || std::mem::replace(&mut self.looking, true) {
            return Ok(());
        }
        let (pause, queue) = (self.host.sleep(LOOK_FOR_SPACE_EVERY), self.queue.clone());
        let later = async move {
            pause.await;
            if let Some(queue) = queue.upgrade() {
                // The task is gone only when the log failed.
                let _ = queue.send(Command::LookForSpace);
            }
        };
        self.host.spawn("wal-space", Box::pin(later));
        Ok(())
    }

    fn acknowledge(&self, ticket: Option<u64>) {
        if let Some(ticket) = ticket {
            // When nobody listens any more, the loop ends after this group.
            let _ = self.acks.send(Ack::Persisted { ticket });
        }
    }

    /// Sees to it that what is un-synced gets synced without writes waiting for it: a sync begins
    /// no sooner than `interval` after the one before began, and never beside another.
    fn sync_in_background(&mut self, interval: Duration, due: bool) -> Result<(), Error> {
        let log = self.log.as_ref().ok_or(Error::Stopped)?;
        let job = if due {
            self.sync_pending = false;
            log.sync_point().map(|point| {
                self.last_sync = Some(self.host.now());
                SyncJob::Sync(point)
            })
        } else if !self.sync_pending && log.has_unsynced() {
            let earliest = self.last_sync.map(|last| last + interval);
            Some(SyncJob::Wait(earliest.unwrap_or(self.host.now())))
        } else {
            None
        };
        if let Some(job) = job {
            self.sync_pending = true;
            // The syncer lives as long as this sender, or the process is going down.
            self.sync_jobs.send(job).map_err(|_| Error::Stopped)?;
        }
        Ok(())
    }

    /// Runs disk work on the log.
    async fn with_log<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Log) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let mut log = self.log.take().ok_or(Error::Stopped)?;
        let done = self.host.run_blocking(move || {
            let result = work(&mut log);
            (log, result)
        });
        let (log, result) = done.await.ok_or(Error::Stopped)?;
        let stats = log.stats();
        self.metrics.syncs.store(stats.syncs, Ordering::Relaxed);
        self.metrics.entries.store(stats.entries, Ordering::Relaxed);
        self.metrics.bytes.store(stats.bytes, Ordering::Relaxed);
        self.log = Some(log);
        result
    }
}

/// What the syncer does next.
enum SyncJob {
    /// Say so when this moment has come.
    Wait(Moment),
    /// Sync, and say how it went.
    Sync(SyncPoint),
}

/// The background half of [`SyncPolicy::Interval`]: a task of its own, so that neither its waiting
/// nor its syncing holds up the writer.
async fn run_syncer(
    host: Arc<dyn Host>,
    mut jobs: UnboundedReceiver<SyncJob>,
    queue: WeakUnboundedSender<Command>,
    sync_seconds: Histogram,
) {
    while let Some(job) = jobs.recv().await {
        let answer = match job {
            SyncJob::Wait(until) => {
                let left = until.since(host.now());
                if !left.is_zero() {
                    host.sleep(left).await;
                }
                Command::SyncDue
            }
            SyncJob::Sync(point) => {
                let syncing = point.clone();
                let (clock, seconds) = (host.clone(), sync_seconds.clone());
                let outcome = host
                    .run_blocking(move || timed(&clock, &seconds, || syncing.sync()))
                    .await;
                let outcome = outcome.unwrap_or_else(|| Err(io::Error::other("the sync panicked")));
                Command::Synced(point, outcome)
            }
        };
        // Gone when the writer was dropped; the last sync is then the writing task's own.
        let Some(queue) = queue.upgrade() else { return };
        if queue.send(answer).is_err() {
            return;
        }
    }
}
