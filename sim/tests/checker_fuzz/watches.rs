//! Watches: one watch on a small store, shown what a server would show and then perhaps falsified.
//!
//! Brute force here is the plain reading of the promise: the whole list of events that the watch is
//! owed, made from every state the store was in, and what was shown held against it.

use bytes::Bytes;
use proptest::prelude::*;
use vetcd_sim::check::KnownOrder;
use vetcd_sim::history::*;

use crate::naive::{Naive, changes};

/// One watch to be, on a store to be.
#[derive(Clone, Debug)]
pub struct WatchPlan {
    writes: Vec<(u8, u8, u8)>,
    /// Opened after so many writes.
    opened: u8,
    start: u8,
    range: u8,
    flags: u8,
    /// After each write: whether what is new is shown, whether progress is told.
    shows: u16,
    tells: u16,
    lies: Vec<(u8, u8, u8, bool)>,
}

pub fn plan() -> impl Strategy<Value = WatchPlan> {
    let write = (0..8_u8, 0..3_u8, 0..3_u8);
    let lie = (0..20_u8, any::<u8>(), any::<u8>(), any::<bool>());
    (
        prop::collection::vec(write, 1..9),
        0..9_u8,
        0..12_u8,
        0..4_u8,
        any::<u8>(),
        any::<u16>(),
        any::<u16>(),
        prop::collection::vec(lie, 0..3),
    )
        .prop_map(
            |(writes, opened, start, range, flags, shows, tells, lies)| WatchPlan {
                writes,
                opened,
                start,
                range,
                flags,
                shows,
                tells,
                lies,
            },
        )
}

/// When the write of a revision was asked for.
fn asked(revision: i64) -> u64 {
    100 * revision.unsigned_abs()
}

/// A history with one watch, and the store behind it.
pub struct Case {
    pub history: History,
    pub known: KnownOrder,
    store: Naive,
}

impl WatchPlan {
    /// Executes the writes, shows the watch what it asked for, and falsifies that.
    pub fn case(&self) -> Case {
        let mut store = Naive::new();
        let mut operations = Vec::new();
        for (kind, key, value) in &self.writes {
            let request = write(&store, *kind, *key, *value);
            let response = store.execute(&request).unwrap();
            let invoked = asked(store.revision());
            operations.push(Operation {
                id: operations.len() as u64,
                client: 0,
                member: None,
                invoked,
                returned: Some(invoked + 10),
                request,
                outcome: Outcome::Ok(response),
            });
        }
        let last = store.revision();
        let records = (2..=last).map(|r| (r, changes(&store, r)));
        let known = KnownOrder {
            compacted: 0,
            revision: last,
            records: records.collect(),
            ..KnownOrder::default()
        };
        let mut watch = self.watch(&store);
        for (kind, at, other, up) in &self.lies {
            lie(
                &mut watch,
                *kind,
                usize::from(*at),
                usize::from(*other),
                *up,
            );
        }
        let mut latest = watch.opened;
        for response in &mut watch.responses {
            latest = latest.max(response.at);
            response.at = latest;
        }
        Case {
            history: History {
                operations,
                watches: vec![watch],
                ..History::default()
            },
            known,
            store,
        }
    }

    /// What a server shows that keeps its promise.
    fn watch(&self, store: &Naive) -> Watch {
        let last = store.revision();
        let from = 1 + i64::from(self.opened) % last;
        let (key, range_end) = match self.range {
            0 => ("a", ""),
            1 => ("b", ""),
            2 => ("a", "c"),
            _ => ("a", "\0"),
        };
        let mut watch = Watch {
            opened: asked(from) + 20,
            key: Bytes::from_static(key.as_bytes()),
            range_end: Bytes::from_static(range_end.as_bytes()),
            start: match self.start {
                0..3 => 0,
                start => (i64::from(start) - 2).min(last + 1),
            },
            prev_kv: self.flags & 1 == 1,
            no_put: self.flags & 0b1110 == 0b0010,
            no_delete: self.flags & 0b1110 == 0b0100,
            ..Watch::default()
        };
        let response = |at, revision, news| WatchResponse { at, revision, news };
        let created = response(asked(from) + 30, from, News::Created);
        watch.responses.push(created);
        let mut next = if watch.start == 0 {
            from + 1
        } else {
            watch.start
        };
        for revision in from..=last {
            let at = asked(revision) + 40;
            let end = revision == last;
            if end || self.shows >> revision & 1 == 1 {
                let events: Vec<WatchEvent> = (next..=revision)
                    .flat_map(|r| owed(store, &watch, r))
                    .collect();
                if !events.is_empty() {
                    let news = News::Events {
                        events,
                        more: false,
                    };
                    watch.responses.push(response(at, revision, news));
                }
                next = next.max(revision + 1);
                if end || self.tells >> revision & 1 == 1 {
                    // A watch of the future is told nothing before it is reached.
                    if revision + 1 >= watch.start {
                        let progress = response(at, revision, News::Progress);
                        watch.responses.push(progress);
                    }
                }
            }
        }
        watch
    }
}

/// A write that changes something in this state.
fn write(store: &Naive, kind: u8, key: u8, value: u8) -> Request {
    let name = |key: u8| Bytes::from(vec![b'a' + key % 3]);
    let put = |key: u8, value: u8| {
        Request::Put(Put {
            key: name(key),
            value: Bytes::from(value.to_string()),
            ..Put::default()
        })
    };
    let delete = |key: u8| {
        Request::Delete(Delete {
            key: name(key),
            ..Delete::default()
        })
    };
    let both = |one, other| {
        Request::Txn(Txn {
            then: vec![one, other],
            ..Txn::default()
        })
    };
    let held = |key: u8| store.keys().contains_key(&name(key));
    match kind {
        0 | 1 if held(key) => delete(key),
        2 if store.keys().len() > 1 => Request::Delete(Delete {
            key: name(0),
            range_end: Bytes::from_static(b"\0"),
            ..Delete::default()
        }),
        3 if held(key) => both(delete(key), put(key + 1, value)),
        4 => both(put(key + 1, value), put(key, value + 1)),
        _ => put(key, value),
    }
}

/// The events that a watch is owed for one revision, in order of keys.
fn owed(store: &Naive, watch: &Watch, revision: i64) -> Vec<WatchEvent> {
    if revision < 2 || revision > store.revision() {
        return Vec::new();
    }
    let mut events = Vec::new();
    for record in changes(store, revision) {
        let deleted = record.value.is_none();
        let inside = match &watch.range_end[..] {
            b"" => record.key == watch.key,
            b"\0" => record.key >= watch.key,
            end => record.key >= watch.key && &record.key[..] < end,
        };
        if !inside || (deleted && watch.no_delete) || (!deleted && watch.no_put) {
            continue;
        }
        let (before, after) = (store.at(revision - 1), store.at(revision));
        let shown = |keys: &std::collections::BTreeMap<Bytes, crate::naive::Held>| {
            keys.get(&record.key).map(|held| KeyValue {
                key: record.key.clone(),
                value: held.value.clone(),
                create_revision: held.create,
                mod_revision: held.modified,
                version: held.version,
                lease: held.lease,
            })
        };
        events.push(WatchEvent {
            deleted,
            kv: shown(after).unwrap_or(KeyValue {
                key: record.key.clone(),
                mod_revision: revision,
                ..KeyValue::default()
            }),
            previous: shown(before).filter(|_| watch.prev_kv),
        });
    }
    events
}

fn lie(watch: &mut Watch, kind: u8, at: usize, other: usize, up: bool) {
    let sign = if up { 1 } else { -1 };
    let count = watch.responses.len();
    if count == 0 {
        return;
    }
    let (at, other) = (at % count, other);
    match kind {
        0 => drop(watch.responses.remove(at)),
        1 => {
            let again = watch.responses[at].clone();
            watch.responses.insert(at, again);
        }
        2 => watch.responses[at].revision += sign,
        3 => watch.responses[at].at -= 90.min(watch.responses[at].at),
        4 => watch.responses.swap(at, other % count),
        5 => watch.start += sign,
        _ => {
            let with_events = |r: &&mut WatchResponse| matches!(r.news, News::Events { .. });
            let mut found: Vec<_> = watch.responses.iter_mut().filter(with_events).collect();
            if found.is_empty() {
                return;
            }
            let chosen = at % found.len();
            let News::Events { events, .. } = &mut found[chosen].news else {
                return;
            };
            if events.is_empty() {
                return;
            }
            let place = other % events.len();
            let event = &mut events[place];
            match kind {
                6 => drop(events.remove(place)),
                7 => {
                    let again = event.clone();
                    events.push(again);
                }
                8 => {
                    let next = (place + 1) % events.len();
                    events.swap(place, next);
                }
                9 => event.kv.value = Bytes::from_static(if up { b"0" } else { b"1" }),
                10 => event.kv.mod_revision += sign,
                11 => event.kv.version += sign,
                12 => event.kv.create_revision += sign,
                13 => event.previous = None,
                14 => event.previous.iter_mut().for_each(|kv| kv.version += sign),
                15 => event
                    .previous
                    .iter_mut()
                    .for_each(|kv| kv.create_revision += sign),
                16 => event
                    .previous
                    .iter_mut()
                    .for_each(|kv| kv.mod_revision += sign),
                17 => {
                    let value = Bytes::from_static(if up { b"0" } else { b"1" });
                    event
                        .previous
                        .iter_mut()
                        .for_each(|kv| kv.value = value.clone());
                }
                18 => {
                    event.deleted = !event.deleted;
                    if event.deleted {
                        event.kv.value = Bytes::new();
                        (event.kv.version, event.kv.create_revision) = (0, 0);
                    }
                }
                _ => {
                    // The rest comes in a response of its own.
                    let rest = events.split_off(place);
                    let index = watch
                        .responses
                        .iter()
                        .enumerate()
                        .filter(|(_, r)| matches!(r.news, News::Events { .. }))
                        .nth(chosen)
                        .map_or(0, |(index, _)| index);
                    let mut second = watch.responses[index].clone();
                    second.news = News::Events {
                        events: rest,
                        more: false,
                    };
                    if let News::Events { events, .. } = &watch.responses[index].news {
                        let last = events.last().map(WatchEvent::revision);
                        watch.responses[index].revision = last.unwrap_or(1);
                    }
                    watch.responses.insert(index + 1, second);
                }
            }
        }
    }
}

impl Case {
    /// Whether a server that keeps its promise can have shown this.
    pub fn keeps_the_promise(&self) -> bool {
        let watch = &self.history.watches[0];
        let last = self.store.revision();
        let reached = |at: u64| 1 + (2..=last).filter(|r| asked(*r) <= at).count() as i64;
        // The next revision that is owed, once the watch is there; and what was said to be done.
        let (mut next, mut done) = (None, 0);
        for response in &watch.responses {
            if response.revision > reached(response.at) {
                return false;
            }
            match (&response.news, next) {
                (News::Created, None) if watch.start == 0 => {
                    next = Some(response.revision + 1);
                    done = response.revision;
                }
                (News::Created, None) => next = Some(watch.start),
                (News::Events { events, .. }, Some(from)) => {
                    let mut rest = &events[..];
                    let mut at = from;
                    while !rest.is_empty() {
                        let owed = owed(&self.store, watch, at);
                        let Some(after) = rest.strip_prefix(&owed[..]) else {
                            return false;
                        };
                        if at > last || (!owed.is_empty() && at <= done) {
                            return false;
                        }
                        rest = after;
                        at += 1;
                    }
                    if !events.is_empty() && response.revision < at - 1 {
                        return false;
                    }
                    next = Some(at);
                    done = done.max(response.revision);
                }
                (News::Progress, Some(from)) => {
                    let told = response.revision;
                    let left_out = (from..=told).any(|r| !owed(&self.store, watch, r).is_empty());
                    if told < done || told + 1 < watch.start || left_out {
                        return false;
                    }
                    next = Some(from.max(told + 1));
                    done = told;
                }
                _ => return false,
            }
        }
        next.is_some_and(|next| next > last)
    }
}
