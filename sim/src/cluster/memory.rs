//! What members held before they compacted it: evidence for the judges, which ask what was written at
//! a revision that nobody has a record of in the end.
//!
//! Whenever a member is about to apply something, what its store has gained since the last look is
//! written down, outside of the simulation: nobody waits for it and nothing is drawn. Only what is sure
//! to be the past of what the member holds in the end is kept: a member that starts again on less
//! forgets what lies beyond, and one that drops its log or is sent a store forgets everything.

use std::collections::BTreeMap;

use vetcd::host::Event;
use vetcd::mvcc::State;
use vetcd::server::Published;

use crate::check::{KnownOrder, Record};

/// What all members held.
#[derive(Default)]
pub struct Memory {
    members: BTreeMap<u32, Held>,
}

/// What one member held, and still builds upon.
#[derive(Default)]
struct Held {
    /// The revision from which on the next look has to look.
    next: i64,
    /// Every change of each of these revisions.
    records: BTreeMap<i64, Vec<Record>>,
    /// The store's revision at raft indexes, for members that start on less.
    revisions: BTreeMap<u64, i64>,
    /// The server that is on its way out: what it shows is not the member's state any more.
    stale: Option<usize>,
}

impl Memory {
    /// Takes note of what a member says. Its server, if it has come so far as to serve, is known by
    /// a number that no other one alive has, and shows a state.
    pub fn hear(&mut self, member: u32, event: &Event, server: Option<(usize, &Published)>) {
        let held = self.members.entry(member).or_default();
        let number = server.map(|(number, _)| number);
        match (event, server) {
            (Event::Applied { .. }, Some((_, published))) if held.stale != number => {
                held.look(published);
            }
            (Event::Started { applied, .. }, _) => {
                held.stale = number;
                held.go_back_to(*applied);
            }
            (Event::Rebuilding, _) => {
                *held = Held {
                    stale: number,
                    ..Held::default()
                };
            }
            (Event::SnapshotInstalled { .. }, _) => {
                *held = Held {
                    stale: held.stale,
                    ..Held::default()
                };
            }
            _ => {}
        }
    }

    /// Adds to what `members` hold in the end, all the same, what they held before.
    pub fn complete(&self, known: &mut KnownOrder, members: &[u32]) {
        for member in members {
            let Some(held) = self.members.get(member) else {
                continue;
            };
            for (revision, records) in held.records.range(..=known.compacted) {
                if known.whole.insert(*revision) {
                    known.records.insert(*revision, records.clone());
                }
            }
        }
    }
}

impl Held {
    fn look(&mut self, published: &Published) {
        let state = &published.state;
        let from = self.next.max(state.compact_revision() + 1);
        if state.revision() < from {
            return;
        }
        self.next = state.revision() + 1;
        self.revisions.insert(published.index, state.revision());
        for (revision, records) in records_from(state, from) {
            self.records.insert(revision, records);
        }
    }

    /// The member starts again on what it had applied at a raft index.
    fn go_back_to(&mut self, applied: u64) {
        let before = self.revisions.range(..=applied).next_back();
        let revision = before.map_or(0, |(_, revision)| *revision);
        self.next = revision + 1;
        self.records.split_off(&self.next);
        self.revisions.split_off(&(applied + 1));
    }
}

/// A store's records from a revision on, by revision.
pub fn records_from(state: &State, revision: i64) -> BTreeMap<i64, Vec<Record>> {
    let mut records: BTreeMap<i64, Vec<Record>> = BTreeMap::new();
    for record in state.records_from(revision) {
        let of_revision = records.entry(record.revision.main).or_default();
        of_revision.push(Record {
            key: record.kv.key.clone(),
            value: (!record.tombstone).then(|| record.kv.value.clone()),
        });
    }
    records
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use vetcd::api::proto::etcdserverpb::PutRequest;
    use vetcd::api::proto::vetcdpb::BackendMeta;

    use super::*;
    use crate::check::known_order::Known;

    const APPLIED: Event = Event::Applied {
        index: 0,
        term: 1,
        checksum: 0,
    };

    fn started(applied: u64) -> Event {
        Event::Started {
            applied,
            replayed: 0,
        }
    }

    fn put(published: &mut Published, value: &str) {
        let put = PutRequest {
            key: "k".into(),
            value: value.to_owned().into(),
            ..Default::default()
        };
        published.state.put(&put).unwrap();
        published.index += 1;
    }

    fn compact(published: &mut Published, revision: i64) {
        published.state.compact(revision).unwrap();
        while published.state.compact_step(1000) {}
        published.index += 1;
    }

    /// A store of revision 4 and index 3.
    fn three_puts() -> Published {
        let mut published = Published::restored(State::new(), BackendMeta::default());
        for value in ["a", "b", "c"] {
            put(&mut published, value);
        }
        published
    }

    fn value(memory: &Memory, published: &Published, revision: i64) -> Option<String> {
        let mut known = KnownOrder {
            compacted: published.state.compact_revision(),
            revision: published.state.revision(),
            records: records_from(&published.state, 0),
            ..KnownOrder::default()
        };
        memory.complete(&mut known, &[1, 2]);
        match known.at(revision) {
            Known::All([record]) => {
                let value = record.value.as_ref().unwrap();
                Some(String::from_utf8(value.to_vec()).unwrap())
            }
            _ => None,
        }
    }

    #[test]
    fn what_was_compacted_after_a_look_is_known_and_what_was_before_is_not() {
        let mut memory = Memory::default();
        let mut published = three_puts();
        compact(&mut published, 2);
        memory.hear(1, &APPLIED, Some((7, &published)));
        put(&mut published, "d");
        compact(&mut published, 5);
        let known = [2, 3, 4, 5].map(|revision| value(&memory, &published, revision));
        let was = |text: &str| Some(text.to_owned());
        assert_eq!(known, [None, was("b"), was("c"), None]);
    }

    #[test]
    fn a_member_that_starts_on_less_forgets_what_lies_beyond() {
        let mut memory = Memory::default();
        let mut published = three_puts();
        memory.hear(1, &APPLIED, Some((7, &published)));
        let mut other_line = published.clone();
        put(&mut published, "lost");
        memory.hear(1, &APPLIED, Some((7, &published)));
        memory.hear(1, &started(3), Some((7, &published)));
        // The server that is gone is not looked at again.
        memory.hear(1, &APPLIED, Some((7, &published)));
        put(&mut other_line, "kept");
        memory.hear(1, &APPLIED, Some((8, &other_line)));
        put(&mut other_line, "e");
        compact(&mut other_line, 6);
        assert_eq!(value(&memory, &other_line, 4), Some("c".to_owned()));
        assert_eq!(value(&memory, &other_line, 5), Some("kept".to_owned()));
    }

    #[test]
    fn a_member_that_is_given_another_store_forgets_everything() {
        for event in [Event::Rebuilding, Event::SnapshotInstalled { index: 9 }] {
            let mut memory = Memory::default();
            let mut published = three_puts();
            memory.hear(1, &APPLIED, Some((7, &published)));
            memory.hear(1, &event, Some((7, &published)));
            compact(&mut published, 4);
            assert_eq!(value(&memory, &published, 3), None, "{event:?}");
        }
    }
}
