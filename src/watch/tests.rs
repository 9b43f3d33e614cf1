//! The hub's promises, on states of the store made by hand.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use bytes::Bytes;
use futures::task::noop_waker;
use prost::Message;

use super::hub::{Ending, Next, StreamId};
use super::ring::EVENTS_MAX;
use super::{Hub, Interest, Outgoing};
use crate::api::proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchResponse,
    request_op::Request,
};
use crate::defects::Defects;
use crate::mvcc::State;

/// A store and its hub.
struct Rig {
    state: State,
    hub: Hub,
}

impl Rig {
    fn new() -> Rig {
        let state = State::new();
        let hub = Hub::new(state.clone(), 1);
        Rig { state, hub }
    }

    fn put(&mut self, key: &str, value: &str) -> i64 {
        self.state.put(&put(key, value)).unwrap();
        self.hub.publish(&self.state);
        self.state.revision()
    }

    fn delete(&mut self, key: &str) {
        let request = DeleteRangeRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            ..Default::default()
        };
        self.state.delete_range(&request);
        self.hub.publish(&self.state);
    }

    fn txn(&mut self, keys: &[&str]) -> i64 {
        let success = keys.iter().map(|key| RequestOp {
            request: Some(Request::RequestPut(put(key, "t"))),
        });
        let txn = TxnRequest {
            success: success.collect(),
            ..Default::default()
        };
        self.state.txn(&txn, &Defects::default()).unwrap();
        self.hub.publish(&self.state);
        self.state.revision()
    }

    fn compact(&mut self, revision: i64) {
        self.state.compact(revision).unwrap();
        while self.state.compact_step(100) {}
        self.hub.publish(&self.state);
    }

    fn watch(&self, stream: StreamId, key: &str, end: &str, start: i64) -> i64 {
        let interest = Interest::of(&request(key, end)).unwrap();
        self.hub.create(stream, 0, interest, start).unwrap().0
    }

    /// Everything there is to send: per response the watch and its (key, revision) pairs.
    fn drain(&self, stream: StreamId) -> Vec<(i64, Vec<(String, i64)>)> {
        let mut responses = Vec::new();
        loop {
            let (watch_id, events) = match self.hub.next(stream, &noop_waker()) {
                Next::Idle => return responses,
                Next::Events {
                    watch_id, events, ..
                } => (watch_id, events),
                Next::Scan {
                    watch_id,
                    watcher,
                    scan,
                } => {
                    let (events, rest) = scan.run();
                    if let Some(rest) = rest {
                        self.hub.resume(watcher, rest);
                    }
                    (watch_id, events)
                }
                Next::Compacted { watch_id, revision } => {
                    responses.push((watch_id, vec![("compacted".to_owned(), revision)]));
                    continue;
                }
                Next::End(ending) => panic!("{ending:?}"),
            };
            let shown = events.iter().map(|event| {
                let kv = &event.record().kv;
                let key = String::from_utf8(kv.key.to_vec()).unwrap();
                (key, event.revision())
            });
            let shown: Vec<_> = shown.collect();
            if !shown.is_empty() {
                responses.push((watch_id, shown));
            }
        }
    }
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..Default::default()
    }
}

fn request(key: &str, end: &str) -> WatchCreateRequest {
    WatchCreateRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        ..Default::default()
    }
}

fn pairs(pairs: &[(&str, i64)]) -> Vec<(String, i64)> {
    pairs.iter().map(|(k, r)| ((*k).to_owned(), *r)).collect()
}

#[test]
fn watches_get_what_they_want_and_nothing_else() {
    let mut rig = Rig::new();
    rig.put("a", "0");
    let stream = rig.hub.open(false);
    let one = rig.watch(stream, "a", "", 0);
    let range = rig.watch(stream, "b", "d", 0);
    let all = rig.watch(stream, "", "\0", 0);
    rig.put("a", "1");
    rig.put("c", "1");
    rig.put("d", "1");
    let got = rig.drain(stream);
    assert_eq!(
        got,
        [
            (one, pairs(&[("a", 3)])),
            (all, pairs(&[("a", 3), ("c", 4), ("d", 5)])),
            (range, pairs(&[("c", 4)])),
        ]
    );
    assert_eq!(rig.drain(stream), []);
}

#[test]
fn the_past_is_shown_from_the_start_revision_on() {
    let mut rig = Rig::new();
    for value in 0..5 {
        rig.put("a", &value.to_string());
    }
    let stream = rig.hub.open(false);
    let id = rig.watch(stream, "a", "", 4);
    let range = rig.watch(stream, "a", "b", 6);
    assert_eq!(
        rig.drain(stream),
        [
            (id, pairs(&[("a", 4), ("a", 5), ("a", 6)])),
            (range, pairs(&[("a", 6)]))
        ]
    );
    rig.put("a", "x");
    let next = pairs(&[("a", 7)]);
    assert_eq!(rig.drain(stream), [(id, next.clone()), (range, next)]);
}

#[test]
fn a_future_start_waits() {
    let mut rig = Rig::new();
    let stream = rig.hub.open(false);
    let id = rig.watch(stream, "a", "", 4);
    rig.put("a", "2");
    assert_eq!(rig.hub.progress(stream), None, "it starts later");
    rig.put("a", "3");
    assert_eq!(rig.drain(stream), []);
    assert_eq!(rig.hub.progress(stream), Some(3));
    rig.put("a", "4");
    assert_eq!(rig.drain(stream), [(id, pairs(&[("a", 4)]))]);
}

#[test]
fn a_revision_is_whole_and_in_order() {
    let mut rig = Rig::new();
    let stream = rig.hub.open(false);
    let id = rig.watch(stream, "a", "z", 0);
    let big = "v".repeat(super::scan::RESPONSE_BYTES);
    rig.txn(&["c", "a", "b"]);
    rig.put("d", &big);
    rig.txn(&["e", "f"]);
    assert_eq!(
        rig.drain(stream),
        [
            (id, pairs(&[("c", 2), ("a", 2), ("b", 2), ("d", 3)])),
            (id, pairs(&[("e", 4), ("f", 4)])),
        ]
    );
    let late = rig.watch(stream, "a", "z", 2);
    assert_eq!(
        rig.drain(stream),
        [
            (late, pairs(&[("c", 2), ("a", 2), ("b", 2), ("d", 3)])),
            (late, pairs(&[("e", 4), ("f", 4)])),
        ]
    );
}

#[test]
fn whoever_does_not_read_is_owed_nothing_but_a_mark() {
    let mut rig = Rig::new();
    let (idle, busy) = (rig.hub.open(false), rig.hub.open(false));
    let slow = rig.watch(idle, "a", "", 0);
    let quick = rig.watch(busy, "a", "", 0);
    let writes = EVENTS_MAX as i64 + 100;
    for _ in 0..writes {
        let revision = rig.put("a", "x");
        assert_eq!(rig.drain(busy), [(quick, pairs(&[("a", revision)]))]);
    }
    let counters = rig.hub.counters();
    assert_eq!((counters.pending, counters.slow_watchers), (1, 1));
    let all: Vec<_> = rig.drain(idle).into_iter().flat_map(|r| r.1).collect();
    let expected: Vec<_> = (2..2 + writes).map(|r| ("a".to_owned(), r)).collect();
    assert_eq!(all, expected);
    assert_eq!(rig.hub.counters().slow_watchers, 0);
    assert_eq!(slow, 0);
}

#[test]
fn a_compaction_takes_events_from_those_far_behind_alone() {
    let mut rig = Rig::new();
    let stream = rig.hub.open(false);
    let id = rig.watch(stream, "a", "", 0);
    rig.put("a", "2");
    rig.put("a", "3");
    rig.compact(3);
    // The ring still has what the compaction removed.
    assert_eq!(rig.drain(stream), [(id, pairs(&[("a", 2), ("a", 3)]))]);

    let early = rig.watch(stream, "a", "", 2);
    let exact = rig.watch(stream, "a", "", 3);
    assert_eq!(
        rig.drain(stream),
        [
            (early, pairs(&[("compacted", 3)])),
            (exact, pairs(&[("a", 3)]))
        ],
        "a new watch may not start below"
    );

    for _ in 0..=EVENTS_MAX {
        rig.put("a", "x");
    }
    rig.compact(rig.state.revision());
    let compacted = pairs(&[("compacted", rig.state.revision())]);
    assert_eq!(
        rig.drain(stream),
        [(id, compacted.clone()), (exact, compacted)]
    );
    assert_eq!(rig.hub.counters().watchers, 0);
}

#[test]
fn an_idle_watch_is_not_cancelled_by_a_compaction() {
    let mut rig = Rig::new();
    let stream = rig.hub.open(false);
    let id = rig.watch(stream, "quiet", "", 0);
    for _ in 0..EVENTS_MAX + 10 {
        rig.put("a", "x");
    }
    rig.compact(rig.state.revision());
    assert_eq!(rig.drain(stream), []);
    let revision = rig.put("quiet", "1");
    assert_eq!(rig.drain(stream), [(id, pairs(&[("quiet", revision)]))]);
}

#[test]
fn watches_outlive_a_snapshot_without_gap_or_repetition() {
    let mut rig = Rig::new();
    rig.put("a", "2");
    let stream = rig.hub.open(false);
    let quick = rig.watch(stream, "a", "", 0);
    let future = rig.watch(stream, "a", "", 6);
    let other = rig.watch(stream, "b", "", 0);
    rig.put("a", "3");
    assert_eq!(rig.drain(stream), [(quick, pairs(&[("a", 3)]))]);
    let mut ahead = rig.state.clone();
    for value in ["4", "5"] {
        ahead.put(&put("a", value)).unwrap();
    }
    rig.state = ahead;
    rig.hub.replace(&rig.state);
    assert_eq!(rig.drain(stream), [(quick, pairs(&[("a", 4), ("a", 5)]))]);
    rig.put("a", "6");
    rig.put("b", "7");
    assert_eq!(
        rig.drain(stream),
        [
            (quick, pairs(&[("a", 6)])),
            (future, pairs(&[("a", 6)])),
            (other, pairs(&[("b", 7)]))
        ]
    );
    // A snapshot that has forgotten what the watch has not seen.
    let mut ahead = rig.state.clone();
    for _ in 0..3 {
        ahead.put(&put("a", "x")).unwrap();
    }
    ahead.compact(10).unwrap();
    rig.hub.replace(&ahead);
    let compacted = pairs(&[("compacted", 10)]);
    assert_eq!(
        rig.drain(stream),
        [
            (quick, compacted.clone()),
            (future, compacted.clone()),
            (other, compacted)
        ]
    );
}

#[test]
fn an_older_store_ends_every_stream() {
    let mut rig = Rig::new();
    let before = rig.state.clone();
    let stream = rig.hub.open(false);
    rig.put("a", "2");
    rig.hub.replace(&before);
    let next = rig.hub.next(stream, &noop_waker());
    assert!(matches!(next, Next::End(Ending::Stopped)), "{next:?}");
}

#[test]
fn progress_waits_for_what_is_not_delivered() {
    let mut rig = Rig::new();
    let stream = rig.hub.open(false);
    let id = rig.watch(stream, "a", "", 0);
    assert_eq!(rig.hub.progress(stream), Some(1));
    rig.put("a", "2");
    rig.put("b", "3");
    assert_eq!(rig.hub.progress(stream), None);
    assert_eq!(rig.hub.progress_of(stream, id), None);
    rig.drain(stream);
    assert_eq!(rig.hub.progress(stream), Some(3));
    assert_eq!(rig.hub.progress_of(stream, id), Some(3));
    assert_eq!(rig.hub.progress_of(stream, 77), None);
}

#[test]
fn ids_are_the_clients_or_the_next_free_ones() {
    let rig = Rig::new();
    let stream = rig.hub.open(false);
    let make = |id| {
        let interest = Interest::of(&request("a", "")).unwrap();
        rig.hub.create(stream, id, interest, 0).map(|(id, _)| id)
    };
    assert_eq!(make(1), Ok(1));
    assert!(make(1).is_err());
    assert_eq!((make(0), make(0), make(0)), (Ok(0), Ok(2), Ok(3)));
    assert!(rig.hub.cancel(stream, 0).is_some());
    assert_eq!(rig.hub.cancel(stream, 0), None);
    assert_eq!((make(0), make(1)), (Ok(4), make(1)));
    let other = rig.hub.open(false);
    assert_eq!(rig.watch(other, "a", "", 0), 0, "IDs are the stream's own");
}

#[test]
fn a_cancelled_watch_hears_nothing_more_even_if_it_was_ready() {
    let mut rig = Rig::new();
    let stream = rig.hub.open(false);
    let first = rig.watch(stream, "a", "", 0);
    rig.put("a", "2");
    rig.hub.cancel(stream, first);
    let second = rig.watch(stream, "b", "", 0);
    assert_eq!(rig.drain(stream), []);
    rig.put("b", "3");
    assert_eq!(rig.drain(stream), [(second, pairs(&[("b", 3)]))]);
    rig.hub.shut(stream);
    let counters = rig.hub.counters();
    assert_eq!((counters.streams, counters.watchers), (0, 0));
}

#[test]
fn filters_leave_out_kinds() {
    let mut rig = Rig::new();
    let stream = rig.hub.open(false);
    let filtered = |filter| {
        let request = WatchCreateRequest {
            filters: vec![filter],
            ..request("a", "")
        };
        let interest = Interest::of(&request).unwrap();
        rig.hub.create(stream, 0, interest, 0).unwrap().0
    };
    let (no_put, no_delete) = (filtered(0), filtered(1));
    rig.put("a", "2");
    rig.delete("a");
    rig.put("a", "4");
    assert_eq!(
        rig.drain(stream),
        [
            (no_delete, pairs(&[("a", 2), ("a", 4)])),
            (no_put, pairs(&[("a", 3)]))
        ]
    );
}

#[test]
fn an_event_is_encoded_once_and_as_the_protocol_says() {
    let mut rig = Rig::new();
    rig.put("a", "before");
    let stream = rig.hub.open(false);
    rig.watch(stream, "a", "", 0);
    rig.watch(stream, "a", "b", 0);
    rig.put("a", "after");
    let mut encoded = Vec::new();
    while let Next::Events { events, .. } = rig.hub.next(stream, &noop_waker()) {
        encoded.push((events[0].encoded(false), events[0].encoded(true)));
    }
    let [(plain, full), (again, full_again)] = &encoded[..] else {
        panic!("two watches, two responses: {encoded:?}");
    };
    assert_eq!(plain.as_ptr(), again.as_ptr());
    assert_eq!(full.as_ptr(), full_again.as_ptr());
    let decode = |bytes: &Bytes| WatchResponse::decode(bytes.clone()).unwrap().events;
    assert_eq!(decode(plain)[0].kv.as_ref().unwrap().value, "after");
    assert_eq!(decode(plain)[0].prev_kv, None);
    assert_eq!(decode(full)[0].prev_kv.as_ref().unwrap().value, "before");
    let outgoing = Outgoing {
        head: WatchResponse {
            watch_id: 3,
            ..Default::default()
        },
        events: vec![plain.clone(), full.clone()],
    };
    let message = outgoing.to_message().unwrap();
    assert_eq!(message.encoded_len(), outgoing.encoded_len());
    assert_eq!((message.watch_id, message.events.len()), (3, 2));
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_stream_is_woken_when_it_has_something_to_do_and_only_then() {
    let mut rig = Rig::new();
    let stream = rig.hub.open(true);
    let id = rig.watch(stream, "a", "", 0);
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    assert!(matches!(rig.hub.next(stream, &waker), Next::Idle));
    rig.put("b", "2");
    assert_eq!(count.0.load(Ordering::SeqCst), 0);
    rig.put("a", "3");
    rig.put("a", "4");
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert_eq!(rig.drain(stream), [(id, pairs(&[("a", 3), ("a", 4)]))]);
    assert!(matches!(rig.hub.next(stream, &waker), Next::Idle));
    rig.hub.end_leaderless();
    assert_eq!(count.0.load(Ordering::SeqCst), 2);
    let next = rig.hub.next(stream, &waker);
    assert!(matches!(next, Next::End(Ending::NoLeader)), "{next:?}");
    rig.hub.close();
    let late = rig.hub.open(false);
    let next = rig.hub.next(late, &waker);
    assert!(matches!(next, Next::End(Ending::Stopped)), "{next:?}");
}

#[test]
fn ranges_without_keys_are_none() {
    assert!(Interest::of(&request("b", "a")).is_none());
    assert!(Interest::of(&request("b", "b")).is_none());
    assert!(Interest::of(&request("", "a")).is_some());
    assert!(Interest::of(&request("b", "\0")).is_some());
}

/// A member that serves while its store is still being read.
#[test]
fn the_past_waits_for_the_store_to_be_read_and_news_do_not() {
    let mut store = State::new();
    store.put(&put("a", "1")).unwrap();
    store.put(&put("b", "2")).unwrap();
    let mut state = State::unread(store.revision(), -1, -1, store.leases().clone());
    let mut known = crate::mvcc::KeyRanges::default();
    known.insert_key(b"a");
    let of_a = store
        .versions_from(b"a", 0)
        .map(|record| (**record).clone());
    state.learn(&known, vec![of_a.collect()]).unwrap();
    let hub = Hub::new(state.clone(), 1);
    let mut rig = Rig { state, hub };

    let (behind, now) = (rig.hub.open(false), rig.hub.open(false));
    let past = rig.watch(behind, "a", "z", 2);
    let gone = rig.watch(behind, "b", "", 1);
    let news = rig.watch(now, "a", "", 0);
    assert_eq!(rig.drain(behind), []);
    assert_eq!(rig.hub.progress(now), Some(3));
    rig.put("a", "new");
    assert_eq!(rig.drain(now), [(news, pairs(&[("a", 4)]))]);
    assert_eq!(rig.drain(behind), []);
    assert_eq!(rig.hub.progress(behind), None);
    assert_eq!(rig.hub.progress_of(behind, past), None);
    assert!(rig.hub.cancel(behind, gone).is_some());

    rig.state.complete(store).unwrap();
    rig.hub.publish(&rig.state);
    assert_eq!(
        rig.drain(behind),
        [(past, pairs(&[("a", 2), ("b", 3), ("a", 4)]))]
    );
    assert_eq!(rig.hub.progress(behind), Some(4));
    rig.put("a", "newer");
    assert_eq!(rig.drain(behind), [(past, pairs(&[("a", 5)]))]);
}
