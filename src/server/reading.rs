//! A member that serves clients while its store is still being read.
//!
//! With an index of its keys beside the store ([`Unread`]), the apply task need not know a key before
//! somebody asks for it: it takes up the keys of each entry right before it applies it, and those of a
//! read when it is asked for. Meanwhile everything is read in the background, and put below what is
//! known by then. Requests that need more than a few keys, and everything that is not about single keys,
//! wait for that: see [`Needs`] for entries and `api/gate.rs` for calls.
//!
//! Nothing is decided here that could turn out otherwise later: whatever is in doubt waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use prost::Message;
use tokio::sync::oneshot;

use super::apply::{Applier, Error, Progress};
use super::upkeep::Order;
use super::{Published, RequestError, Server};
use crate::api::proto::etcdserverpb::request_op::Request as Operation;
use crate::api::proto::etcdserverpb::{RequestOp, TxnRequest};
use crate::api::proto::vetcdpb::{ConfChange, LogRequest, log_request::Request};
use crate::backend::{self, Backend, Loaded, Unread};
use crate::defect;
use crate::host::{Event, Host, HostExt};
use crate::mvcc::KeyRanges;
use crate::raft::Committed;

/// The most records read for one request; with more it waits for the whole.
const MAX_RECORDS: usize = 10_000;
/// Entries whose keys are read in one go.
pub(super) const ENTRIES_AT_ONCE: usize = 256;

/// Whether the store has been read, for whoever needs all of it.
#[derive(Default)]
pub struct Whole {
    is_read: AtomicBool,
    /// In the order in which they came.
    waiting: Mutex<Vec<oneshot::Sender<()>>>,
}

impl Whole {
    /// Whether it has.
    pub fn is_read(&self) -> bool {
        self.is_read.load(Ordering::Acquire)
    }

    /// Waits until it has; `false` when the member stops before.
    pub async fn read(&self) -> bool {
        let heard = {
            let mut waiting = self.lock();
            if self.is_read() {
                return true;
            }
            waiting.retain(|waiting| !waiting.is_closed());
            let (answer, heard) = oneshot::channel();
            waiting.push(answer);
            heard
        };
        heard.await.is_ok()
    }

    /// It has.
    pub(super) fn announce(&self) {
        let mut waiting = self.lock();
        self.is_read.store(true, Ordering::Release);
        for waiting in waiting.drain(..) {
            // Whoever gave up no longer listens.
            let _ = waiting.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<oneshot::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }
}

type Read = Option<Result<Option<Loaded>, backend::Error>>;

/// The reading of the store, in the background.
pub(super) struct Reading {
    unread: Arc<Unread>,
    /// The store that is read.
    backend: Arc<Backend>,
    /// What was read; `None` while there is nothing to read from.
    read: Option<oneshot::Receiver<Read>>,
    is_wanted: Arc<AtomicBool>,
    /// Reads of more keys than are read for one request.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Reading {
    /// Begins.
    pub(super) fn start(
        host: &Arc<dyn Host>,
        unread: Arc<Unread>,
        backend: Arc<Backend>,
    ) -> Reading {
        let is_wanted = Arc::new(AtomicBool::new(true));
        let mut reading = Reading {
            unread,
            backend: backend.clone(),
            read: None,
            is_wanted,
            waiting: Vec::new(),
        };
        reading.begin(host, backend);
        reading
    }

    fn begin(&mut self, host: &Arc<dyn Host>, backend: Arc<Backend>) {
        self.backend = backend.clone();
        let is_wanted = self.is_wanted.clone();
        let loading =
            host.run_blocking(move || backend.load_while(&|| is_wanted.load(Ordering::Relaxed)));
        let (sender, read) = oneshot::channel();
        let task = async move {
            let _ = sender.send(loading.await);
        };
        host.spawn("read-store", Box::pin(task));
        self.read = Some(read);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.is_wanted.store(false, Ordering::Relaxed);
    }
}

/// Waits for the end of a reading; for ever, if there is none.
pub(super) async fn heard(reading: &mut Option<Reading>) -> Read {
    let read = reading.as_mut().and_then(|reading| reading.read.as_mut());
    match read {
        Some(read) => read.await.ok().flatten(),
        None => std::future::pending().await,
    }
}

/// What has to be known before entries are applied.
#[derive(Debug, Default)]
struct Needs {
    whole: bool,
    keys: KeyRanges,
}

impl Needs {
    fn of(entries: &[Committed], has_auth: bool) -> Needs {
        let mut needs = Needs::default();
        for entry in entries {
            // What cannot be decoded is found to be so when it is applied.
            let data = match entry.is_change {
                true => ConfChange::decode(entry.data.clone()).map(|change| change.context),
                false => Ok(entry.data.clone()),
            };
            let request = data.and_then(LogRequest::decode).ok();
            if let Some(request) = request.and_then(|request| request.request) {
                needs.add(&request, has_auth);
            }
        }
        needs
    }

    fn add(&mut self, request: &Request, has_auth: bool) {
        match request {
            Request::Put(put) => {
                // Who may attach a key to a lease depends on the keys that hang on it.
                self.whole |= has_auth && put.lease != 0;
                self.keys.insert_key(&put.key);
            }
            Request::DeleteRange(delete) => {
                self.keys.insert_request(&delete.key, &delete.range_end);
            }
            Request::Txn(txn) => {
                self.whole |= has_auth && attaches(txn);
                self.keys.insert_txn(txn);
            }
            // They concern keys that they do not name.
            Request::Compaction(_) | Request::LeaseRevoke(_) | Request::LeaseExpiry(_)
            // From here on what is permitted may depend on them.
            | Request::AuthEnable(_)
            | Request::AuthDisable(_) => self.whole = true,
            Request::LeaseGrant(_)
            | Request::LeaseCheckpoints(_)
            | Request::MemberAttributes(_)
            | Request::MemberAdd(_)
            | Request::MemberRemove(_)
            | Request::MemberUpdate(_)
            | Request::MemberPromote(_)
            | Request::ChangeRefused(_)
            | Request::Alarm(_)
            | Request::Login(_)
            | Request::UserAdd(_)
            | Request::UserDelete(_)
            | Request::UserChangePassword(_)
            | Request::UserGrantRole(_)
            | Request::UserRevokeRole(_)
            | Request::RoleAdd(_)
            | Request::RoleDelete(_)
            | Request::RoleGrantPermission(_)
            | Request::RoleRevokePermission(_) => {}
        }
    }
}

/// Whether a transaction may attach a key to a lease.
fn attaches(txn: &TxnRequest) -> bool {
    let mut operations = txn.success.iter().chain(&txn.failure);
    operations.any(|RequestOp { request }| match request {
        Some(Operation::RequestPut(put)) => put.lease != 0,
        Some(Operation::RequestTxn(txn)) => attaches(txn),
        _ => false,
    })
}

impl Applier {
    /// Whether `entries` can be applied now: their keys are known, or have just been read.
    pub(super) async fn is_ready_for(&mut self, entries: &[Committed]) -> bool {
        if self.reading.is_none() {
            return true;
        }
        let needs = Needs::of(entries, self.current.auth.is_enabled());
        !needs.whole && self.learn(needs.keys).await
    }

    /// Reads `keys`, unless they are known; `false` when they will only be with the whole store.
    pub(super) async fn learn(&mut self, keys: KeyRanges) -> bool {
        let Some(reading) = &self.reading else {
            return true;
        };
        if self.current.state.knows(&keys) {
            return true;
        }
        if defect!(self.defects, UnreadAsAbsent) {
            return self.current.state.learn(&keys, Vec::new()).is_ok();
        }
        let (unread, wanted) = (reading.unread.clone(), keys.clone());
        let reading = self
            .host
            .run_blocking(move || unread.read(&wanted, MAX_RECORDS));
        let learned = match reading.await {
            Some(Ok(Some(records))) => self.current.state.learn(&keys, records),
            Some(Ok(None)) | None => return false,
            Some(Err(error)) => {
                tracing::warn!(%error, "keys cannot be read by their index");
                return false;
            }
        };
        if let Err(error) = &learned {
            tracing::warn!(%error, "keys cannot be read by their index");
        }
        learned.is_ok()
    }

    /// Has whoever waits for `keys` hear when they are known.
    pub(super) async fn learn_for(&mut self, keys: KeyRanges, answer: oneshot::Sender<()>) {
        let learned = self.learn(keys).await;
        match &mut self.reading {
            Some(reading) if !learned => reading.waiting.push(answer),
            _ => {
                self.publish();
                let _ = answer.send(());
            }
        }
    }

    /// The store has been read, or could not be.
    pub(super) async fn on_read(
        &mut self,
        read: Read,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let Some(reading) = &mut self.reading else {
            return Ok(());
        };
        let store = match read.ok_or(Error::Interrupted)? {
            Ok(Some(loaded)) => loaded.state,
            Ok(None) => return Err(Error::Interrupted),
            Err(backend::Error::Closed { .. }) => {
                // A commit found the disk full. Once there is space, the store is opened again.
                reading.read = None;
                if !Arc::ptr_eq(&reading.backend, &self.backend) {
                    let backend = self.backend.clone();
                    reading.begin(&self.host, backend);
                }
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let records = store.record_count();
        if let Err(contradiction) = self.current.state.complete(store) {
            // The next start must not believe it again.
            self.remove_index().await;
            return Err(backend::Error::damaged(&self.options.path, contradiction).into());
        }
        let waiting = std::mem::take(&mut reading.waiting);
        self.reading = None;
        let applied = self.current.index - self.restored;
        tracing::info!(records, applied, "the store is read");
        self.host.observe(Event::StoreRead { applied });
        self.publish();
        for waiting in waiting {
            let _ = waiting.send(());
        }
        self.whole.announce();
        self.compact(progress);
        Ok(())
    }

    /// There is another store to read from.
    pub(super) fn read_again(&mut self) {
        if let Some(reading) = &mut self.reading
            && reading.read.is_none()
        {
            reading.begin(&self.host, self.backend.clone());
        }
    }
}

impl Server {
    /// Whether every key is known; until then, only calls about single keys are answered.
    pub fn whole(&self) -> &Whole {
        &self.whole
    }

    /// A state like `published` or newer that knows `keys`.
    ///
    /// # Errors
    /// The member stops.
    pub(crate) async fn knowing(
        &self,
        published: Arc<Published>,
        keys: impl FnOnce(&mut KeyRanges),
    ) -> Result<Arc<Published>, RequestError> {
        if !published.state.is_partial() {
            return Ok(published);
        }
        let mut wanted = KeyRanges::default();
        keys(&mut wanted);
        if published.state.knows(&wanted) {
            return Ok(published);
        }
        let (answer, heard) = oneshot::channel();
        let order = Order::Learn(wanted, answer);
        let sent = self.orders.send(order).await;
        sent.map_err(|_| RequestError::Stopped)?;
        heard.await.map_err(|_| RequestError::Stopped)?;
        Ok(self.published.latest())
    }
}
