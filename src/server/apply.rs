//! The apply task: turns committed entries into states, in log order, each exactly once.
//!
//! It alone owns the newest state. After every batch it publishes the state, then answers the
//! clients whose requests were in it, so that whoever got an answer can read his own write. Changes
//! are gathered for the backend and committed there together with the index they reach, in one
//! transaction, while later entries are applied already.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::{mpsc, watch};

use crate::api::proto::vetcdpb::{LogRequest, log_request::Request};
use crate::auth::tokens::{self, Tokens};
use crate::auth::{self, Caller};
use crate::backend::{self, Backend};
use crate::defect;
use crate::defects::Defects;
use crate::host::{Event, Host, HostExt};
use crate::mvcc::State;
use crate::raft::{self, Apply, Committed, SnapshotStore};
use crate::snapshot;

use super::board::Board;
use super::permit::permit;
use super::waiters::{Outcome, Waiters};
use super::{Published, Response};

/// Keys looked at in one step of a compaction, and the pause between steps (etcd's defaults).
const COMPACTION_BATCH: usize = 1000;
const COMPACTION_PAUSE: Duration = Duration::from_millis(10);

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
enum Signal {
    CommitDue,
    Committed(Result<(u64, u64), Error>),
    CompactionDue,
}

/// Owns the state machine.
pub struct Applier {
    pub host: Arc<dyn Host>,
    pub defects: Defects,
    pub identity: raft::Identity,
    pub current: Published,
    /// The last index the backend held at the start: entries up to it are not applied again.
    pub restored: u64,
    pub backend: Arc<Backend>,
    pub backends: watch::Sender<Arc<Backend>>,
    pub options: BackendOptions,
    pub raft: raft::Handle,
    pub applies: mpsc::UnboundedReceiver<Apply>,
    pub published: Arc<Board>,
    pub waiters: Arc<Waiters>,
    pub snapshots: Arc<SnapshotStore>,
    pub tokens: Arc<Tokens>,
    /// The users and roles that the backend has, or is about to have.
    pub auth_kept: (u64, bool),
}

struct Progress {
    signals: mpsc::UnboundedSender<Signal>,
    committing: bool,
    compacting: bool,
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
            compacting: false,
            physical: Vec::new(),
            uncommitted: 0,
        };
        self.compact(&mut progress);
        let mut commit_scheduled = false;
        loop {
            let throttled =
                progress.committing && progress.uncommitted > 4 * self.options.batch_limit;
            tokio::select! {
                biased;
                signal = heard.recv() => match signal {
                    Some(Signal::CommitDue) => {
                        commit_scheduled = false;
                        self.start_commit(&mut progress);
                    }
                    Some(Signal::Committed(result)) => {
                        progress.committing = false;
                        let (index, term) = result?;
                        self.raft.backend_durable(index, term).await;
                    }
                    Some(Signal::CompactionDue) => {
                        progress.compacting = false;
                        self.compact(&mut progress);
                    }
                    None => return Ok(()),
                },
                apply = self.applies.recv(), if !throttled => match apply {
                    Some(Apply::Entries(entries)) => self.apply(entries, &mut progress)?,
                    Some(Apply::Install { index, term }) => {
                        while progress.committing {
                            if let Some(Signal::Committed(result)) = heard.recv().await {
                                progress.committing = false;
                                result?;
                            }
                        }
                        self.install(index, term).await?;
                    }
                    None => return Ok(()),
                },
            }
            self.raft.applied(self.current.index).await;
            if progress.uncommitted >= self.options.batch_limit {
                self.start_commit(&mut progress);
            } else if !commit_scheduled && progress.uncommitted > 0 {
                commit_scheduled = true;
                self.signal_after(self.options.batch_interval, Signal::CommitDue, &progress);
            }
        }
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

    fn apply(&mut self, entries: Vec<Committed>, progress: &mut Progress) -> Result<(), Error> {
        let mut answers = Vec::new();
        for entry in entries {
            self.apply_one(entry, &mut answers, progress)?;
        }
        self.publish();
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
        self.current.index = entry.index;
        self.current.term = entry.term;
        progress.uncommitted += 1;
        if entry.data.is_empty() {
            return Ok(());
        }
        let index = entry.index;
        let request = LogRequest::decode(entry.data)
            .map_err(|source| Error::Undecodable { index, source })?;
        let (id, own) = (request.id, request.member_id == self.identity.member_id);
        let physical = matches!(&request.request, Some(Request::Compaction(c)) if c.physical);
        let caller = Caller {
            user: request.user,
            revision: request.auth_revision,
        };
        let outcome = self.execute(&caller, request.request);
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

    fn execute(&mut self, caller: &Caller, request: Option<Request>) -> Outcome {
        let Some(request) = request else {
            // A newer member proposed something this version does not know: it has no effect.
            return Ok(Response::MemberAttributes);
        };
        if !defect!(self.defects, PermissionAtPropose) {
            permit(&self.current, caller, &request)?;
        }
        if let Some(changed) = self.current.auth.apply(&request) {
            changed?;
            self.forget_tokens(&request);
            return Ok(Response::Auth);
        }
        let state = &mut self.current.state;
        match request {
            Request::Put(put) => Ok(Response::Put(state.put(&put)?)),
            Request::DeleteRange(delete) => Ok(Response::DeleteRange(state.delete_range(&delete))),
            Request::Txn(txn) => Ok(Response::Txn(state.txn(&txn, &self.defects)?)),
            Request::Compaction(compaction) => {
                state.compact(compaction.revision)?;
                Ok(Response::Compaction)
            }
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
            // Those that `auth` has applied.
            _ => Ok(Response::Auth),
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

    fn publish(&self) {
        self.published.publish(self.current.clone());
    }

    /// One step of a scheduled compaction; the next follows after a pause.
    fn compact(&mut self, progress: &mut Progress) {
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

    fn start_commit(&mut self, progress: &mut Progress) {
        if progress.committing || progress.uncommitted == 0 {
            return;
        }
        progress.committing = true;
        progress.uncommitted = 0;
        let changes = self.current.state.take_changes();
        let mut meta = self.current.batch_meta(self.identity);
        let auth = self.current.auth.version();
        if std::mem::replace(&mut self.auth_kept, auth) != auth {
            meta.auth = Some(self.current.auth.to_wire());
        }
        let (index, term) = (self.current.index, self.current.term);
        let backend = self.backend.clone();
        let signals = progress.signals.clone();
        let committing = self
            .host
            .run_blocking(move || backend.commit(&changes, &meta));
        let task = async move {
            let result = match committing.await {
                Some(Ok(())) => Ok((index, term)),
                Some(Err(error)) => Err(error.into()),
                None => Err(Error::Interrupted),
            };
            let _ = signals.send(Signal::Committed(result));
        };
        self.host.spawn("backend-commit", Box::pin(task));
    }

    /// Replaces the state by a received snapshot. The file stays until the backend holds it.
    async fn install(&mut self, index: u64, term: u64) -> Result<(), Error> {
        let path = self.snapshots.path(index, term);
        let (disk, target, identity) = (self.host.disk(), self.options.path.clone(), self.identity);
        let installing = self
            .host
            .run_blocking(move || load_snapshot(disk, &path, &target, identity));
        let (backend, state, meta) = installing.await.ok_or(Error::Interrupted)??;
        self.backend = Arc::new(backend);
        self.backends.send_replace(self.backend.clone());
        self.current = Published {
            index,
            term,
            conf_state: meta.conf_state.unwrap_or_default(),
            members: super::Members::from_wire(meta.members),
            state,
            auth: auth::State::from_wire(meta.auth),
        };
        if std::mem::replace(&mut self.auth_kept, self.current.auth.version())
            != self.current.auth.version()
        {
            // Whose password or user has gone in between is not told.
            self.tokens.forget_all();
        }
        self.publish();
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
