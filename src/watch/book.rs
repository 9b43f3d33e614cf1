//! The hub's memory, and what writes and streams do to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;

use super::event::Event;
use super::hub::{CreateError, Ending, Next, WatcherId};
use super::interest::{Interest, Keys};
use super::ranges::RangeIndex;
use super::ring::Ring;
use super::scan::{RESPONSE_BYTES, Scan};
use super::slab::Slab;
use crate::mvcc::{Record, State};

/// One watch.
pub(super) struct Watcher {
    pub(super) stream: usize,
    pub(super) watch_id: i64,
    pub(super) serial: u64,
    pub(super) interest: Arc<Interest>,
    /// Everything below has been handed over or is of no interest.
    pub(super) cursor: i64,
    /// Whether it is among its stream's ready ones.
    pub(super) ready: bool,
    /// Whether it was made to start below the compaction revision: that is refused, even where the
    /// ring still has the events.
    pub(super) refused: bool,
}

/// One client's stream.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) ready: VecDeque<WatcherId>,
    pub(super) waker: Option<Waker>,
    pub(super) ids: BTreeMap<i64, usize>,
    pub(super) next_id: i64,
    pub(super) requires_leader: bool,
    pub(super) ending: Option<Ending>,
}

/// Everything the hub knows.
pub(super) struct Book {
    /// The newest state.
    pub(super) state: State,
    /// The last revision whose events were announced.
    pub(super) announced: i64,
    pub(super) ring: Ring,
    pub(super) keys: BTreeMap<Bytes, BTreeSet<usize>>,
    pub(super) ranges: RangeIndex,
    pub(super) watchers: Slab<Watcher>,
    pub(super) streams: Slab<Stream>,
    /// Streams that wait for the next revision to answer a request for progress.
    pub(super) curious: BTreeSet<usize>,
    /// Watches that look at the past, which is known once the store has been read. They count as ready.
    pub(super) parked: Vec<WatcherId>,
    pub(super) serial: u64,
    pub(super) closed: bool,
}

impl Stream {
    /// A free ID: `wanted`, or for 0 the next one.
    pub(super) fn claim(&mut self, wanted: i64) -> Result<i64, CreateError> {
        if wanted != 0 {
            return match self.ids.contains_key(&wanted) {
                true => Err(CreateError::DuplicateId),
                false => Ok(wanted),
            };
        }
        while self.ids.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        Ok(id)
    }
}

impl Book {
    pub(super) fn watcher(&mut self, id: WatcherId) -> Option<&mut Watcher> {
        let watcher = self.watchers.get_mut(id.index)?;
        (watcher.serial == id.serial).then_some(watcher)
    }

    pub(super) fn publish(&mut self, state: &State) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let first = self.announced + 1;
        self.state = state.clone();
        self.unpark(&mut wakers);
        if state.revision() < first {
            return wakers;
        }
        self.announced = state.revision();
        if self.watchers.len() == 0 {
            self.ring = Ring::new(self.announced + 1);
        } else {
            for record in state.records_from(first) {
                self.ring.push(Arc::new(Event::new(record, state)));
                self.announce(record, &mut wakers);
            }
            self.ring.trim();
        }
        for stream in std::mem::take(&mut self.curious) {
            let stream = self.streams.get_mut(stream);
            wakers.extend(stream.and_then(|stream| stream.waker.take()));
        }
        wakers
    }

    pub(super) fn announce(&mut self, record: &Record, wakers: &mut Vec<Waker>) {
        let revision = record.revision.main;
        let (watchers, streams) = (&mut self.watchers, &mut self.streams);
        let mut tell = |index: usize| {
            if let Some(watcher) = watchers.get_mut(index)
                && watcher.interest.admits(record)
            {
                mark(streams, watcher, index, revision, wakers);
            }
        };
        if let Some(watching) = self.keys.get(&record.kv.key) {
            watching.iter().copied().for_each(&mut tell);
        }
        self.ranges.each(&record.kv.key, &mut tell);
    }

    pub(super) fn mark(&mut self, index: usize, revision: i64, wakers: &mut Vec<Waker>) {
        if let Some(watcher) = self.watchers.get_mut(index) {
            mark(&mut self.streams, watcher, index, revision, wakers);
        }
    }

    pub(super) fn replace(&mut self, state: &State) -> Vec<Waker> {
        let before = self.announced;
        self.state = state.clone();
        self.announced = state.revision();
        self.ring = Ring::new(self.announced + 1);
        if self.announced < before {
            return self.end(Ending::Stopped, |_| true);
        }
        let mut wakers = Vec::new();
        self.unpark(&mut wakers);
        let all: Vec<usize> = self.watchers.iter().map(|(index, _)| index).collect();
        for index in all {
            // What was announced and not marked is of no interest to the watch.
            let cursor = self.watchers.get(index).map_or(0, |watcher| watcher.cursor);
            let cursor = cursor.max(before + 1);
            if cursor <= self.announced {
                self.mark(index, cursor, &mut wakers);
            }
        }
        wakers
    }

    /// Has the watches that look at the past do so, if it is known by now.
    fn unpark(&mut self, wakers: &mut Vec<Waker>) {
        if self.state.is_partial() {
            return;
        }
        for id in std::mem::take(&mut self.parked) {
            let Some(watcher) = self.watcher(id) else {
                continue; // Cancelled since.
            };
            watcher.ready = false;
            let cursor = watcher.cursor;
            self.mark(id.index, cursor, wakers);
        }
    }

    pub(super) fn end(&mut self, ending: Ending, which: impl Fn(&Stream) -> bool) -> Vec<Waker> {
        let numbers: Vec<usize> = self.streams.iter().map(|(number, _)| number).collect();
        let mut wakers = Vec::new();
        for number in numbers {
            if let Some(stream) = self.streams.get_mut(number).filter(|s| which(s)) {
                stream.ending.get_or_insert(ending);
                wakers.extend(stream.waker.take());
            }
        }
        wakers
    }

    /// Removes a watch that its stream no longer lists.
    pub(super) fn forget(&mut self, index: usize) {
        let Some(watcher) = self.watchers.remove(index) else {
            return;
        };
        match &watcher.interest.keys {
            Keys::One(key) => {
                if let Some(watching) = self.keys.get_mut(key) {
                    watching.remove(&index);
                    if watching.is_empty() {
                        self.keys.remove(key);
                    }
                }
            }
            Keys::Range { start, end } => self.ranges.remove(start, end, index),
        }
    }

    pub(super) fn next(&mut self, number: usize) -> Next {
        loop {
            let Some(stream) = self.streams.get_mut(number) else {
                return Next::End(Ending::Stopped);
            };
            if let Some(ending) = stream.ending {
                return Next::End(ending);
            }
            let Some(id) = stream.ready.pop_front() else {
                return Next::Idle;
            };
            let (announced, ring_start) = (self.announced, self.ring.start());
            let Some(watcher) = self.watcher(id) else {
                continue; // Cancelled since.
            };
            watcher.ready = false;
            let (from, watch_id) = (watcher.cursor, watcher.watch_id);
            let interest = watcher.interest.clone();
            watcher.cursor = from.max(announced + 1);
            if from >= ring_start && !watcher.refused {
                let (events, rest) = self.gather(&interest, from);
                if let Some(rest) = rest
                    && let Some(watcher) = self.watcher(id)
                {
                    watcher.cursor = rest;
                    self.mark(id.index, rest, &mut Vec::new());
                }
                if events.is_empty() {
                    continue;
                }
                return Next::Events {
                    watch_id,
                    interest,
                    events,
                };
            }
            let compacted = self.state.compact_revision();
            if from < compacted {
                if let Some(stream) = self.streams.get_mut(number) {
                    stream.ids.remove(&watch_id);
                }
                self.forget(id.index);
                return Next::Compacted {
                    watch_id,
                    revision: compacted,
                };
            }
            if self.state.is_partial() {
                if let Some(watcher) = self.watcher(id) {
                    (watcher.ready, watcher.cursor) = (true, from);
                }
                self.parked.push(id);
                continue;
            }
            let scan = Scan {
                interest,
                from,
                upto: announced,
                state: self.state.clone(),
            };
            return Next::Scan {
                watch_id,
                watcher: id,
                scan: Box::new(scan),
            };
        }
    }

    /// Events from the ring, whole revisions; and where to go on, when there are too many.
    pub(super) fn gather(&self, interest: &Interest, from: i64) -> (Vec<Arc<Event>>, Option<i64>) {
        let (mut events, mut bytes, mut last) = (Vec::new(), 0, from);
        for event in self.ring.from(from) {
            let revision = event.revision();
            if bytes >= RESPONSE_BYTES && revision != last {
                return (events, Some(revision));
            }
            last = revision;
            if interest.wants(event.record()) {
                let kv = &event.record().kv;
                bytes += kv.key.len() + kv.value.len();
                events.push(event.clone());
            }
        }
        (events, None)
    }
}

/// Puts a watch among its stream's ready ones, unless it is there or wants nothing so early.
fn mark(
    streams: &mut Slab<Stream>,
    watcher: &mut Watcher,
    index: usize,
    revision: i64,
    wakers: &mut Vec<Waker>,
) {
    if watcher.ready || revision < watcher.cursor {
        return;
    }
    watcher.ready = true;
    watcher.cursor = revision;
    if let Some(stream) = streams.get_mut(watcher.stream) {
        stream.ready.push_back(WatcherId {
            index,
            serial: watcher.serial,
        });
        wakers.extend(stream.waker.take());
    }
}
