//! All watches of a member: who wants what, and who has something to fetch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use super::book::{Book, Stream, Watcher};
use super::event::Event;
use super::interest::{Interest, Keys};
use super::ranges::RangeIndex;
use super::ring::Ring;
use super::scan::Scan;
use super::slab::Slab;
use crate::mvcc::State;

/// Why a watch was not made; the text is etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The client's ID is taken.
    #[error("mvcc: duplicate watch ID provided on the WatchStream")]
    DuplicateId,
}

/// Why a stream is ended by the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It requires a leader, and there is none.
    NoLeader,
    /// The member stops, or its store was replaced by an older one.
    Stopped,
}

/// Numbers for those who watch over the member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Open streams.
    pub streams: usize,
    /// Open watches.
    pub watchers: usize,
    /// Watches so far behind that they read the store's records.
    pub slow_watchers: usize,
    /// Watches with events not yet handed to their clients.
    pub pending: usize,
    /// Events handed to clients since the member started.
    pub events_total: u64,
}

/// A stream's number in the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId(usize);

/// A watch's number in the hub; stale once the watch is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatcherId {
    pub(super) index: usize,
    pub(super) serial: u64,
}

/// What a stream has to do next.
#[derive(Debug)]
pub enum Next {
    /// Nothing: the stream's waker is called when there is.
    Idle,
    /// Send these events, whole revisions, to the watch.
    Events {
        /// The client's number of the watch.
        watch_id: i64,
        /// What it wants.
        interest: Arc<Interest>,
        /// In order.
        events: Vec<Arc<Event>>,
    },
    /// Look at the past, then call [`Hub::resume`] if the end was not reached.
    Scan {
        /// The client's number of the watch.
        watch_id: i64,
        /// The watch.
        watcher: WatcherId,
        /// Where to look.
        scan: Box<Scan>,
    },
    /// The watch has missed events that are compacted; it is gone.
    Compacted {
        /// The client's number of the watch.
        watch_id: i64,
        /// The lowest revision a new watch can start at.
        revision: i64,
    },
    /// End the stream.
    End(Ending),
}

/// All watches of a member. Fed by the apply task, asked by the streams.
pub struct Hub {
    inner: Mutex<Book>,
    delivered: AtomicU64,
}

impl Hub {
    /// A hub for a member that holds `state`; `seed` should be unpredictable to clients.
    pub fn new(state: State, seed: u64) -> Hub {
        let announced = state.revision();
        Hub {
            inner: Mutex::new(Book {
                state,
                announced,
                ring: Ring::new(announced + 1),
                keys: BTreeMap::new(),
                ranges: RangeIndex::new(seed),
                watchers: Slab::default(),
                streams: Slab::default(),
                curious: BTreeSet::new(),
                parked: Vec::new(),
                serial: 0,
                closed: false,
            }),
            delivered: AtomicU64::new(0),
        }
    }

    /// Announces everything written up to `state`, which follows the one before. It must be called
    /// before a compaction removes records that were never announced.
    pub fn publish(&self, state: &State) {
        let wakers = self.lock().publish(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Takes over a store that did not come about by writes to the one before: a snapshot's.
    /// Watches go on from where they are; if the store is older than what was announced, every
    /// stream ends.
    pub fn replace(&self, state: &State) {
        let wakers = self.lock().replace(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends all streams, and those to come.
    pub fn close(&self) {
        let wakers = {
            let mut inner = self.lock();
            inner.closed = true;
            inner.end(Ending::Stopped, |_| true)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends the streams that require a leader.
    pub fn end_leaderless(&self) {
        let wakers = self
            .lock()
            .end(Ending::NoLeader, |stream| stream.requires_leader);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Opens a stream.
    pub fn open(&self, requires_leader: bool) -> StreamId {
        let mut inner = self.lock();
        let ending = inner.closed.then_some(Ending::Stopped);
        StreamId(inner.streams.insert(Stream {
            requires_leader,
            ending,
            ..Stream::default()
        }))
    }

    /// Closes a stream and forgets its watches.
    pub fn shut(&self, stream: StreamId) {
        let mut inner = self.lock();
        inner.curious.remove(&stream.0);
        if let Some(stream) = inner.streams.remove(stream.0) {
            for index in stream.ids.into_values() {
                inner.forget(index);
            }
        }
    }

    /// Makes a watch: `id` 0 lets the hub choose one, `start` 0 means from now on. Returns its ID
    /// and the newest revision.
    ///
    /// # Errors
    /// When the ID is taken.
    pub fn create(
        &self,
        stream: StreamId,
        id: i64,
        interest: Interest,
        start: i64,
    ) -> Result<(i64, i64), CreateError> {
        let mut inner = self.lock();
        let (announced, compacted) = (inner.announced, inner.state.compact_revision());
        let watch_id = match inner.streams.get_mut(stream.0) {
            Some(stream) => stream.claim(id)?,
            None => return Ok((id, announced)),
        };
        inner.serial += 1;
        let serial = inner.serial;
        let interest = Arc::new(interest);
        let index = inner.watchers.insert(Watcher {
            stream: stream.0,
            watch_id,
            serial,
            interest: interest.clone(),
            cursor: if start == 0 { announced + 1 } else { start },
            ready: false,
            refused: start != 0 && start < compacted,
        });
        match &interest.keys {
            Keys::One(key) => _ = inner.keys.entry(key.clone()).or_default().insert(index),
            Keys::Range { start, end } => inner.ranges.insert(start, end, index),
        }
        if let Some(stream) = inner.streams.get_mut(stream.0) {
            stream.ids.insert(watch_id, index);
        }
        if start != 0 && start <= announced {
            inner.mark(index, start, &mut Vec::new());
        }
        Ok((watch_id, announced))
    }

    /// Forgets a watch. Returns the newest revision, or `None` when the stream has no such watch.
    pub fn cancel(&self, stream: StreamId, watch_id: i64) -> Option<i64> {
        let mut inner = self.lock();
        let index = inner.streams.get_mut(stream.0)?.ids.remove(&watch_id)?;
        inner.forget(index);
        Some(inner.announced)
    }

    /// What the stream has to do; `waker` is called when the answer was "nothing" and changes.
    pub fn next(&self, stream: StreamId, waker: &Waker) -> Next {
        let mut inner = self.lock();
        let next = inner.next(stream.0);
        if let Next::Idle = next
            && let Some(stream) = inner.streams.get_mut(stream.0)
        {
            stream.waker = Some(waker.clone());
        }
        next
    }

    /// A scan stopped before `revision`: the watch has more to fetch.
    pub fn resume(&self, watcher: WatcherId, revision: i64) {
        let mut inner = self.lock();
        let Some(found) = inner.watcher(watcher) else {
            return;
        };
        found.cursor = revision;
        inner.mark(watcher.index, revision, &mut Vec::new());
    }

    /// The newest revision, if every event up to it that the stream's watches want has been taken
    /// by [`Hub::next`], and none of them starts later. If not, the stream is woken with the next
    /// revision.
    pub fn progress(&self, stream: StreamId) -> Option<i64> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let found = inner.streams.get(stream.0)?;
        let reached = |index: &usize| {
            let watcher = inner.watchers.get(*index);
            watcher.is_none_or(|watcher| !watcher.ready && watcher.cursor <= inner.announced + 1)
        };
        if found.ready.is_empty() && found.ids.values().all(reached) {
            return Some(inner.announced);
        }
        inner.curious.insert(stream.0);
        None
    }

    /// As [`Hub::progress`], for one watch and without waking anybody.
    pub fn progress_of(&self, stream: StreamId, watch_id: i64) -> Option<i64> {
        let inner = self.lock();
        let index = inner.streams.get(stream.0)?.ids.get(&watch_id)?;
        let watcher = inner.watchers.get(*index)?;
        (!watcher.ready && watcher.cursor <= inner.announced + 1).then_some(inner.announced)
    }

    /// The newest revision.
    pub fn revision(&self) -> i64 {
        self.lock().announced
    }

    /// Counts events handed to a client.
    pub fn count_delivered(&self, events: usize) {
        self.delivered.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// How things are.
    pub fn counters(&self) -> Counters {
        let inner = self.lock();
        let waiting = |(_, watcher): &(usize, &Watcher)| watcher.ready;
        let far = |(_, watcher): &(usize, &Watcher)| watcher.cursor < inner.ring.start();
        Counters {
            streams: inner.streams.len(),
            watchers: inner.watchers.len(),
            slow_watchers: inner.watchers.iter().filter(waiting).filter(far).count(),
            pending: inner.watchers.iter().filter(waiting).count(),
            events_total: self.delivered.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
}
