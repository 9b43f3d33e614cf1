//! The apply task: turns committed entries into states, in log order, each exactly once.
//!
//! It alone owns the newest state. After every batch it publishes the state, then answers the
//! clients whose requests were in it, so that whoever got an answer can read his own write. Changes
//! are gathered for the backend and committed there together with the index they reach, in one
//! transaction, while later entries are applied already.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prost::Message;
use tokio::sync::{mpsc, oneshot, watch};

use crate::api::proto::vetcdpb::change_refused::Reason;
use crate::api::proto::vetcdpb::{ConfChange, LogRequest, log_request::Request};
use crate::auth::tokens::{self, Tokens};
use crate::auth::{self, Caller};
use crate::backend::{self, Backend, Size};
use crate::defect;
use crate::defects::Defects;
use crate::host::{Event, Host, HostExt};
use crate::lease;
use crate::metrics::Metrics;
use crate::mvcc::State;
use crate::raft::{self, Apply, Committed, Reached, Reconfigured, SnapshotStore};
use crate::snapshot;
use crate::storage::{Fault, Space};
use crate::watch::Hub;

use super::apply_lease::LeaseEvent;
use super::board::Board;
use super::boot;
use super::commit::Commit;
use super::counts;
use super::defragment::{Built, Defragment};
use super::indexing::Indexing;
use super::news::News;
use super::permit::permit;
use super::reading::{self, Reading, Whole};
use super::refusal::Refusal;
use super::upkeep::Order;
use super::waiters::{Outcome, Waiters};
use super::{Published, Response};

/// Keys looked at in one step of a compaction, and the pause between steps (etcd's defaults).
const COMPACTION_BATCH: usize = 1000;
const COMPACTION_PAUSE: Duration = Duration::from_millis(10);

/// Entries applied together that take longer are counted as slow (etcd's default).
const SLOW_APPLY: Duration = Duration::from_millis(100);

/// Why the apply task ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backend cannot be written: what it holds is intact, but this member cannot go on.
    #[error("the backend failed: {0}")]
    Backend(#[from] backend::Error),
    /// A received snapshot cannot be read back.
    #[error("a received snapshot cannot be installed: {0}")]
    Snapshot(#[from] snapshot::FileError),
    /// An entry cannot be understood; applying the next would diverge from the other members.
    #[error("log entry {index} cannot be decoded: {source}")]
    Undecodable {
        /// The entry's raft index.
        index: u64,
        /// What the decoder says.
        source: prost::DecodeError,
    },
    /// Disk work was cut off; the process is going down.
    #[error("disk work did not finish")]
    Interrupted,
}

impl Error {
    /// What it means for the member; `None` when the storage is not at fault.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Error::Backend(error) => Some(error.fault()),
            Error::Snapshot(error) => Some(error.fault()),
            Error::Undecodable { .. } | Error::Interrupted => None,
        }
    }
}

/// How the backend is written.
#[derive(Clone, Debug)]
pub struct BackendOptions {
    /// The file.
    pub path: std::path::PathBuf,
    /// The longest a change waits for its commit.
    pub batch_interval: Duration,
    /// Changes after which a commit begins at once.
    pub batch_limit: usize,
}

/// Something other than an entry to react to.
pub(super) enum Signal {
    CommitDue,
    Committed(Box<Result<CommitDone, Error>>),
    CompactionDue,
    /// The index of the keys is written, or could not be.
    Indexed(std::io::Result<bool>),
}

/// What a finished commit has to tell.
pub(super) struct CommitDone {
    reached: Reached,
    /// The store to use from now on.
    backend: Arc<Backend>,
    size: Option<Size>,
    /// What is to be indexed, now that it is durable.
    to_index: Option<State>,
    /// The backend was built anew, or could not be, for whoever asked.
    defragmented: Option<(Built, Answer)>,
}

type Answer = oneshot::Sender<Result<(), String>>;

/// The store's size as of its last commit, for whoever must not wait for the disk.
#[derive(Debug, Default)]
pub struct Sizes {
    total: AtomicU64,
    in_use: AtomicU64,
}

impl Sizes {
    /// The file's length (bytes).
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// The records' length (bytes).
    pub fn in_use(&self) -> u64 {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Takes note of a new size.
    pub fn set(&self, size: Size) {
        self.total.store(size.total_bytes, Ordering::Relaxed);
        self.in_use.store(size.in_use_bytes, Ordering::Relaxed);
    }
}

/// Owns the state machine.
pub struct Applier {
    pub host: Arc<dyn Host>,
    pub defects: Defects,
    pub identity: raft::Identity,
    pub current: Published,
    /// The last index the backend held at the start: entries up to it are not applied again.
    pub restored: u64,
    /// The store is still being read.
    pub reading: Option<Reading>,
    pub whole: Arc<Whole>,
    pub indexing: Indexing,
    pub backend: Arc<Backend>,
    pub backends: watch::Sender<Arc<Backend>>,
    pub options: BackendOptions,
    pub raft: raft::Handle,
    pub applies: mpsc::UnboundedReceiver<Apply>,
    pub published: Arc<Board>,
    pub watches: Arc<Hub>,
    pub waiters: Arc<Waiters>,
    pub snapshots: Arc<SnapshotStore>,
    pub clock: Arc<lease::Clock>,
    pub lease_counters: Arc<lease::Counters>,
    pub news: Arc<News>,
    /// What the clock is told once the state that shows it is published.
    pub lease_events: Vec<LeaseEvent>,
    pub orders: mpsc::Receiver<Order>,
    pub sizes: Arc<Sizes>,
    pub space: Arc<Space>,
    pub metrics: Arc<Metrics>,
    pub tokens: Arc<Tokens>,
    /// The users and roles that the backend has, or is about to have.
    pub auth_kept: (u64, bool),
}

/// What is going on besides applying entries. Each flag says that a signal is on its way, and is
/// cleared by that signal alone; so a snapshot installed meanwhile can leave none of them behind.
pub(super) struct Progress {
    pub(super) signals: mpsc::UnboundedSender<Signal>,
    /// A commit runs; `Committed` will come.
    committing: bool,
    /// A timer runs; `CommitDue` will come.
    commit_scheduled: bool,
    /// A timer runs; `CompactionDue` will come.
    compacting: bool,
    /// Who wants the backend's file built anew.
    defragment: Vec<Answer>,
    /// Changes of the membership that raft has not been told of.
    changes: Vec<Reconfigured>,
    /// Requests that wait for a compaction to finish.
    physical: Vec<u64>,
    uncommitted: usize,
}

impl Applier {
    /// Runs until raft lets go of it, or until this member must not go on.
    pub async fn run(mut self) -> Result<(), Error> {
        let (signals, mut heard) = mpsc::unbounded_channel();
        let mut progress = Progress {
            signals,
            committing: false,
            commit_scheduled: false,
            compacting: false,
            defragment: Vec::new(),
            changes: Vec::new(),
            physical: Vec::new(),
            uncommitted: 0,
        };
        if self.reading.is_none() {
            self.whole.announce();
            self.compact(&mut progress);
        }
        loop {
            let throttled =
                progress.committing && progress.uncommitted > 4 * self.options.batch_limit;
            tokio::select! {
                biased;
                signal = heard.recv() => match signal {
                    Some(signal) => self.on_signal(signal, &mut progress).await?,
                    None => return Ok(()),
                },
                read = reading::heard(&mut self.reading) => self.on_read(read, &mut progress).await?,
                apply = self.applies.recv(), if !throttled => match apply {
                    Some(Apply::Entries(entries)) => {
                        self.apply_known(entries, &mut heard, &mut progress).await?;
                    }
                    Some(Apply::Install { index, term }) => {
                        while progress.committing || self.reading.is_some() {
                            self.wait(&mut heard, &mut progress).await?;
                        }
                        self.metrics.upkeep.installing.set(1);
                        let installed = self.install(index, term).await;
                        self.metrics.upkeep.installing.set(0);
                        installed?;
                        // What was not committed belonged to the state that is gone. Timers may
                        // still run: when they end they find nothing to do, or work of the new
                        // state.
                        progress.uncommitted = 0;
                        self.compact(&mut progress);
                    }
                    None => return Ok(()),
                },
                // Last: however many clients ask for keys that are not read yet, entries are applied.
                Some(order) = self.orders.recv() => match order {
                    Order::Defragment(answer) => progress.defragment.push(answer),
                    Order::Learn(keys, answer) => self.learn_for(keys, answer).await,
                },
            }
            self.raft.applied(self.current.index).await;
            let urgent = progress.uncommitted >= self.options.batch_limit;
            if urgent || !progress.defragment.is_empty() {
                self.start_commit(&mut progress);
            } else if !progress.commit_scheduled && progress.uncommitted > 0 {
                progress.commit_scheduled = true;
                self.signal_after(self.options.batch_interval, Signal::CommitDue, &progress);
            }
        }
    }

    async fn on_signal(&mut self, signal: Signal, progress: &mut Progress) -> Result<(), Error> {
        match signal {
            Signal::CommitDue => {
                progress.commit_scheduled = false;
                self.start_commit(progress);
            }
            Signal::Committed(result) => {
                progress.committing = false;
                let done = (*result)?;
                if let Some(size) = done.size {
                    self.sizes.set(size);
                }
                if !Arc::ptr_eq(&self.backend, &done.backend) {
                    self.use_backend(done.backend);
                }
                if let Some((built, answer)) = done.defragmented {
                    // Whoever asked may have gone.
                    match built {
                        Ok((backend, size)) => {
                            if let Some(size) = size {
                                self.sizes.set(size);
                            }
                            self.indexing.replaced();
                            self.use_backend(Arc::new(backend));
                            let _ = answer.send(Ok(()));
                        }
                        Err(error) => {
                            let _ = answer.send(Err(error.to_string()));
                            // Only a lack of space is sure to have left the old file in its place.
                            if error.fault() != Fault::Full {
                                return Err(error.into());
                            }
                        }
                    }
                }
                if let Some(state) = done.to_index {
                    self.write_index(state, progress);
                }
                self.raft.backend_durable(done.reached).await;
            }
            Signal::Indexed(written) => self.on_indexed(written).await,
            Signal::CompactionDue => {
                progress.compacting = false;
                self.compact(progress);
            }
        }
        Ok(())
    }

    fn use_backend(&mut self, backend: Arc<Backend>) {
        self.backend = backend;
        self.backends.send_replace(self.backend.clone());
        self.read_again();
    }

    /// Waits for anything but entries and orders.
    async fn wait(
        &mut self,
        heard: &mut mpsc::UnboundedReceiver<Signal>,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        tokio::select! {
            biased;
            Some(signal) = heard.recv() => self.on_signal(signal, progress).await,
            read = reading::heard(&mut self.reading) => self.on_read(read, progress).await,
        }
    }

    /// Applies entries, each when its keys are known.
    async fn apply_known(
        &mut self,
        mut entries: Vec<Committed>,
        heard: &mut mpsc::UnboundedReceiver<Signal>,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        while self.reading.is_some() && !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(reading::ENTRIES_AT_ONCE));
            while !self.is_ready_for(&entries).await {
                self.wait(heard, progress).await?;
            }
            self.apply(entries, progress).await?;
            entries = rest;
            if entries.is_empty() {
                return Ok(());
            }
        }
        self.apply(entries, progress).await
    }

    fn signal_after(&self, pause: Duration, signal: Signal, progress: &Progress) {
        let sleep = self.host.sleep(pause);
        let signals = progress.signals.clone();
        let task = async move {
            sleep.await;
            let _ = signals.send(signal);
        };
        self.host.spawn("apply-timer", Box::pin(task));
    }

    async fn apply(
        &mut self,
        entries: Vec<Committed>,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let mut answers = Vec::new();
        let begun = self.host.now();
        for entry in entries {
            self.apply_one(entry, &mut answers, progress)?;
        }
        if self.host.now().since(begun) > SLOW_APPLY {
            self.metrics.server.slow_applies.inc();
        }
        self.publish();
        if !progress.changes.is_empty() {
            for change in std::mem::take(&mut progress.changes) {
                self.raft.reconfigured(change).await;
            }
            // Before the answers: whoever got one may ask for the next change at once.
            self.raft.applied(self.current.index).await;
        }
        for (id, outcome) in answers {
            self.waiters.complete(id, outcome);
        }
        Ok(())
    }

    fn apply_one(
        &mut self,
        entry: Committed,
        answers: &mut Vec<(u64, Outcome)>,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        if entry.index <= self.restored && !defect!(self.defects, ApplyTwice) {
            return Ok(());
        }
        self.host.observe(Event::Applied {
            index: entry.index,
            term: entry.term,
            checksum: crc32c::crc32c(&entry.data),
        });
        let (index, empty) = (entry.index, entry.data.is_empty());
        let undecodable = |source| Error::Undecodable { index, source };
        let (change, data) = match entry.is_change {
            true => {
                let mut change = ConfChange::decode(entry.data).map_err(undecodable)?;
                let data = std::mem::take(&mut change.context);
                (Some(change), data)
            }
            false => (None, entry.data),
        };
        let request = LogRequest::decode(data).map_err(undecodable)?;
        let compacts = matches!(request.request, Some(Request::Compaction(_)));
        if compacts && !defect!(self.defects, CompactBeforeWatch) {
            // Watches are told of everything before any of it is removed.
            self.publish();
        }
        self.current.index = index;
        self.current.term = entry.term;
        progress.uncommitted += 1;
        if empty {
            return Ok(());
        }
        let (id, own) = (request.id, request.member_id == self.identity.member_id);
        let physical = matches!(&request.request, Some(Request::Compaction(c)) if c.physical);
        let caller = Caller {
            user: request.user,
            revision: request.auth_revision,
        };
        let outcome = self.measured(&caller, request.request, own, change.is_some());
        if let Ok(Response::Members(members)) = &outcome {
            progress.changes.push(Reconfigured {
                index,
                change,
                conf_state: self.current.conf_state.clone(),
                members: members.clone(),
            });
        }
        if matches!(outcome, Ok(Response::Compaction)) {
            self.compact(progress);
            if physical && own && progress.compacting {
                progress.physical.push(id);
                return Ok(());
            }
        }
        if own && self.waiters.has(id) {
            answers.push((id, outcome));
        }
        Ok(())
    }

    fn measured(
        &mut self,
        caller: &Caller,
        request: Option<Request>,
        own: bool,
        is_change: bool,
    ) -> Outcome {
        let begun = self.host.now();
        let kind = counts::kind(request.as_ref());
        let outcome = self.execute(caller, request, own, is_change);
        let seconds = self.host.now().since(begun).as_secs_f64();
        counts::count(&self.metrics.server, kind, &outcome, seconds);
        outcome
    }

    /// Applies one request. `is_change` says that raft knows the entry as a change of the
    /// membership: only such an entry may be one.
    fn execute(
        &mut self,
        caller: &Caller,
        request: Option<Request>,
        own: bool,
        is_change: bool,
    ) -> Outcome {
        // A newer member proposed something this version does not know: it has no effect.
        let Some(request) = request else {
            return Ok(Response::MemberAttributes);
        };
        if !defect!(self.defects, PermissionAtPropose) {
            permit(&self.current, caller, &request)?;
        }
        if let Some(refusal) = self.current.alarms.refuse(&request) {
            return Err(refusal.into());
        }
        if let Some(changed) = self.current.auth.apply(&request) {
            changed?;
            self.forget_tokens(&request);
            return Ok(Response::Auth);
        }
        let state = &mut self.current.state;
        match request {
            Request::Put(mut put) => {
                if defect!(self.defects, ValueCutShort) && self.restored > boot::GENESIS.0 {
                    put.value.truncate(put.value.len().saturating_sub(1));
                }
                Ok(Response::Put(state.put(&put)?))
            }
            Request::DeleteRange(delete) => Ok(Response::DeleteRange(state.delete_range(&delete))),
            Request::Txn(txn) => Ok(Response::Txn(state.txn(&txn, &self.defects)?)),
            Request::Compaction(compaction) => {
                state.compact(compaction.revision)?;
                Ok(Response::Compaction)
            }
            Request::LeaseGrant(grant) => self.grant_lease(grant.id, grant.ttl),
            Request::LeaseRevoke(revoke) => self.revoke_lease(revoke.id, false),
            Request::LeaseExpiry(expiry) => self.expire_lease(&expiry, own),
            Request::LeaseCheckpoints(checkpoints) => Ok(self.checkpoint_leases(&checkpoints)),
            Request::Login(login) => {
                let auth = &self.current.auth;
                if !auth.is_enabled() {
                    return Err(auth::Error::NotEnabled.into());
                }
                if auth.revision() != login.checked_revision {
                    return Err(auth::Error::OldRevision.into());
                }
                let token = tokens::complete(&login.token, self.current.index);
                self.tokens.assign(&token, &login.name, self.host.now());
                Ok(Response::Login(token))
            }
            Request::MemberAttributes(attributes) => {
                self.current.members.publish(&attributes);
                Ok(Response::MemberAttributes)
            }
            Request::Alarm(alarm) => Ok(Response::Alarms(self.current.alarms.apply(&alarm))),
            Request::ChangeRefused(refused) => Err(match refused.reason() {
                Reason::ChangePending => Refusal::ChangePending,
                Reason::LearnerNotReady => Refusal::LearnerNotReady,
                Reason::MemberNotFound => Refusal::MemberNotFound,
            }
            .into()),
            Request::MemberAdd(_) | Request::MemberRemove(_) | Request::MemberPromote(_)
                if !is_change =>
            {
                Err(Refusal::UnknownMethod.into())
            }
            change => self.change_members(change),
        }
    }

    /// Before the change is shown: a token must not outlive what it stands for.
    fn forget_tokens(&self, change: &Request) {
        match change {
            Request::AuthDisable(_) => self.tokens.forget_all(),
            Request::UserDelete(request) => self.tokens.forget_user(&request.name),
            Request::UserChangePassword(request) => self.tokens.forget_user(&request.name),
            _ => {}
        }
    }

    fn change_members(&mut self, change: Request) -> Outcome {
        let members = &mut self.current.members;
        match change {
            Request::MemberAdd(add) => {
                members.add(add.member.unwrap_or_default(), add.max_learners)?;
            }
            Request::MemberRemove(remove) => members.remove(remove.id)?,
            Request::MemberPromote(promote) => members.promote(promote.id)?,
            Request::MemberUpdate(update) => members.update(update.id, update.peer_urls)?,
            _ => return Err(Refusal::UnknownMethod.into()),
        }
        let conf_state = members.conf_state();
        if conf_state != self.current.conf_state {
            self.host.observe(Event::Reconfigured {
                index: self.current.index,
                voters: conf_state.voters.clone(),
                learners: conf_state.learners.clone(),
            });
            self.current.conf_state = conf_state;
        }
        Ok(Response::Members(members.clone()))
    }

    /// Shows the newest state, and then tells those who follow changes of their own kind.
    pub(super) fn publish(&mut self) {
        let before = self.published.latest().state.revision();
        self.published.publish(self.current.clone());
        self.news.published(&self.current.state, before);
        self.tell_clock();
        self.watches.publish(&self.current.state);
    }

    /// One step of a scheduled compaction; the next follows after a pause.
    pub(super) fn compact(&mut self, progress: &mut Progress) {
        if progress.compacting {
            return;
        }
        if self.current.state.compact_step(COMPACTION_BATCH) {
            progress.compacting = true;
            self.signal_after(COMPACTION_PAUSE, Signal::CompactionDue, progress);
        } else {
            for id in progress.physical.drain(..) {
                self.waiters.complete(id, Ok(Response::Compaction));
            }
        }
        progress.uncommitted += 1;
    }

    /// Starts to bring the backend up to date, unless that is going on or nothing is new. A wish to
    /// have the file built anew is a commit with more work: entries are applied meanwhile.
    fn start_commit(&mut self, progress: &mut Progress) {
        let wanted = progress.uncommitted > 0 || !progress.defragment.is_empty();
        if progress.committing || !wanted {
            return;
        }
        progress.committing = true;
        progress.uncommitted = 0;
        let changes = self.current.state.take_changes();
        let (state, bytes) = (&self.current.state, self.sizes.in_use());
        let rebuilt = !progress.defragment.is_empty();
        let index = self.indexing.note(&changes, state, bytes, rebuilt);
        let to_index = index.then(|| state.clone());
        let mut meta = self.current.batch_meta(self.identity);
        let auth = self.current.auth.version();
        if std::mem::replace(&mut self.auth_kept, auth) != auth {
            meta.auth = Some(self.current.auth.to_wire());
        }
        let reached = Reached {
            index: self.current.index,
            term: self.current.term,
            conf_state: self.current.conf_state.clone(),
        };
        let rebuild = match progress.defragment.is_empty() {
            true => None,
            false => {
                let defragment = Defragment {
                    state: self.current.state.clone(),
                    meta: self.current.meta(self.identity),
                    path: self.options.path.clone(),
                };
                Some((defragment, progress.defragment.remove(0)))
            }
        };
        let commit = Commit {
            host: self.host.clone(),
            space: self.space.clone(),
            backend: self.backend.clone(),
            changes,
            meta,
            is_wanted: Box::new({
                let signals = progress.signals.clone();
                move || !signals.is_closed()
            }),
        };
        let signals = progress.signals.clone();
        let (rebuilder, told) = (self.host.clone(), self.metrics.clone());
        let committing = async move {
            let (backend, size) = commit.run().await?;
            let defragmented = match rebuild {
                Some((defragment, answer)) => {
                    Some((defragment.run(&rebuilder, &told).await?, answer))
                }
                None => None,
            };
            Ok(CommitDone {
                reached,
                backend,
                size,
                to_index,
                defragmented,
            })
        };
        let (host, metrics, begun) = (self.host.clone(), self.metrics.clone(), self.host.now());
        let task = async move {
            let result = committing.await;
            let seconds = host.now().since(begun).as_secs_f64();
            metrics.disk.backend_commit_seconds.observe(seconds);
            let _ = signals.send(Signal::Committed(Box::new(result)));
        };
        self.host.spawn("backend-commit", Box::pin(task));
    }

    /// Replaces the state by a received snapshot. The file stays until the backend holds it.
    async fn install(&mut self, index: u64, term: u64) -> Result<(), Error> {
        let path = self.snapshots.path(index, term);
        let (disk, target, identity) = (self.host.disk(), self.options.path.clone(), self.identity);
        let installing = self.host.run_blocking(move || {
            let loaded = load_snapshot(disk, &path, &target, identity)?;
            let size = loaded.0.size();
            Ok::<_, Error>((loaded, size))
        });
        let (loaded, size) = installing.await.ok_or(Error::Interrupted)??;
        let (backend, state, meta) = loaded;
        if let Ok(size) = size {
            self.sizes.set(size);
        }
        self.indexing.replaced();
        self.use_backend(Arc::new(backend));
        self.current = Published {
            index,
            term,
            ..Published::restored(state, meta)
        };
        if std::mem::replace(&mut self.auth_kept, self.current.auth.version())
            != self.current.auth.version()
        {
            // Whose password or user has gone in between is not told.
            self.tokens.forget_all();
        }
        self.published.publish(self.current.clone());
        self.news.replaced();
        self.watches.replace(&self.current.state);
        self.tell_clock();
        let change = Reconfigured {
            index,
            change: None,
            conf_state: self.current.conf_state.clone(),
            members: self.current.members.clone(),
        };
        self.raft.reconfigured(change).await;
        self.host.observe(Event::SnapshotInstalled { index });
        tracing::info!(index, term, "installed a snapshot");
        Ok(())
    }
}

/// Builds a backend from a snapshot file in place of the one at `target`, then removes the file.
pub fn load_snapshot(
    disk: Arc<dyn crate::host::Disk>,
    path: &std::path::Path,
    target: &std::path::Path,
    identity: raft::Identity,
) -> Result<(Backend, State, crate::api::proto::vetcdpb::BackendMeta), Error> {
    let (state, mut meta) = snapshot::read_file(disk.as_ref(), path)?;
    meta.member_id = identity.member_id;
    let backend = Backend::replace(disk.clone(), target, &state, &meta)?;
    // Whether the file itself goes is a matter of space only.
    if let Err(error) = disk.remove_file(path) {
        tracing::warn!(%error, "an installed snapshot's file stays behind");
    }
    Ok((backend, state, meta))
}

#[cfg(test)]
mod tests;
