//! What members held before they compacted it: evidence for the judges, which ask what was written at
//! a revision that nobody has a record of in the end.
//!
//! Whenever a member is about to apply something, what its store has gained since the last look is
//! written down, outside of the simulation: nobody waits for it and nothing is drawn. In the end only
//! what is sure to be the past of what members then hold is believed. A member that starts again, drops
//! its log or is sent a store begins a new *life*, for it may have been on a line of history that the
//! cluster has given up. Lives are told to be of one line by the entries that were applied in them: where
//! two hold the same entry at the same index, they hold the same up to there (raft's log matching).

use std::collections::BTreeMap;

use vetcd::host::Event;
use vetcd::mvcc::State;
use vetcd::server::Published;

use crate::check::{KnownOrder, Record};

/// What all members held.
#[derive(Default)]
pub struct Memory {
    members: BTreeMap<u32, Life>,
    past: Vec<Life>,
}

/// A time during which a member's store only grew.
#[derive(Default)]
struct Life {
    /// The revision from which on the next look has to look.
    next: i64,
    /// Every change of each of these revisions.
    records: BTreeMap<i64, Vec<Record>>,
    /// The store's revision at raft indexes.
    revisions: BTreeMap<u64, i64>,
    /// Term and checksum of what was applied, by raft index.
    entries: BTreeMap<u64, (u64, u32)>,
    /// The server that is on its way out: what it shows is not the member's state any more.
    stale: Option<usize>,
}

impl Memory {
    /// Takes note of what a member says. Its server, if it has come so far as to serve, is known by
    /// a number that no other one alive has, and shows a state.
    pub fn hear(&mut self, member: u32, event: &Event, server: Option<(usize, &Published)>) {
        let life = self.members.entry(member).or_default();
        let number = server.map(|(number, _)| number);
        match event {
            Event::Applied {
                index,
                term,
                checksum,
            } => {
                if let Some((_, published)) = server.filter(|_| life.stale != number) {
                    life.look(published);
                }
                life.entries.insert(*index, (*term, *checksum));
            }
            Event::Started { .. } | Event::Rebuilding => self.past.push(life.end(number)),
            Event::SnapshotInstalled { .. } => self.past.push(life.end(life.stale)),
            _ => {}
        }
    }

    /// Adds to what `members` hold in the end, all the same, what was held before.
    pub fn complete(&self, known: &mut KnownOrder, members: &[u32]) {
        let (mut ended, mut others) = (Vec::new(), self.past.iter().collect::<Vec<_>>());
        for (member, life) in &self.members {
            match members.contains(member) {
                true => ended.push(life),
                false => others.push(life),
            }
        }
        let mut line: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
        for life in ended {
            line.extend(&life.entries);
            life.add_to(known, u64::MAX);
        }
        loop {
            let before = others.len();
            others.retain(|life| {
                let same = |(index, entry): &(&u64, &(u64, u32))| line.get(index) == Some(entry);
                let Some((upto, _)) = life.entries.iter().rev().find(same) else {
                    return true;
                };
                line.extend(life.entries.range(..=upto));
                life.add_to(known, *upto);
                false
            });
            if others.len() == before {
                return;
            }
        }
    }
}

impl Life {
    fn look(&mut self, published: &Published) {
        let state = &published.state;
        let from = self.next.max(state.compact_revision() + 1);
        // One that is still being read does not have all that was written.
        if state.revision() < from || state.is_partial() {
            return;
        }
        self.next = state.revision() + 1;
        self.revisions.insert(published.index, state.revision());
        self.records.extend(records_from(state, from));
    }

    /// This life, in whose place another one begins.
    fn end(&mut self, stale: Option<usize>) -> Life {
        let anew = Life {
            stale,
            ..Life::default()
        };
        std::mem::replace(self, anew)
    }

    /// Adds what the store held at a raft index.
    fn add_to(&self, known: &mut KnownOrder, index: u64) {
        let before = self.revisions.range(..=index).next_back();
        let revision = before.map_or(0, |(_, revision)| *revision);
        let upto = revision.min(known.compacted);
        for (revision, records) in self.records.range(..=upto) {
            if known.whole.insert(*revision) {
                known.records.insert(*revision, records.clone());
            }
        }
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

    /// What the member says when it applies an entry after having applied `published`.
    fn applied(memory: &mut Memory, server: usize, published: &Published, checksum: u32) {
        let event = Event::Applied {
            index: published.index + 1,
            term: 1,
            checksum,
        };
        memory.hear(1, &event, Some((server, published)));
    }

    fn checksum(value: &str) -> u32 {
        value.bytes().map(u32::from).sum()
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

    /// Puts `values` one after the other; the member applies them in turn.
    fn puts(memory: &mut Memory, server: usize, published: &mut Published, values: &[&str]) {
        for value in values {
            applied(memory, server, published, checksum(value));
            put(published, value);
        }
    }

    fn empty() -> Published {
        Published::restored(State::new(), BackendMeta::default())
    }

    fn held(memory: &Memory, published: &Published) -> Vec<(i64, String)> {
        let mut known = KnownOrder {
            compacted: published.state.compact_revision(),
            revision: published.state.revision(),
            records: records_from(&published.state, 0),
            ..KnownOrder::default()
        };
        memory.complete(&mut known, &[1]);
        let whole = (2..=known.compacted).filter_map(|revision| match known.at(revision) {
            Known::All([record]) => {
                let value = record.value.as_ref().unwrap();
                Some((revision, String::from_utf8(value.to_vec()).unwrap()))
            }
            _ => None,
        });
        whole.collect()
    }

    fn was(values: &[(i64, &str)]) -> Vec<(i64, String)> {
        let owned = |(revision, value): &(i64, &str)| (*revision, (*value).to_owned());
        values.iter().map(owned).collect()
    }

    #[test]
    fn what_was_compacted_after_a_look_is_known_and_what_was_before_is_not() {
        let (mut memory, mut published) = (Memory::default(), empty());
        for value in ["a", "b", "c"] {
            put(&mut published, value);
        }
        compact(&mut published, 2);
        puts(&mut memory, 7, &mut published, &["d", "e"]);
        compact(&mut published, 6);
        assert_eq!(
            held(&memory, &published),
            was(&[(3, "b"), (4, "c"), (5, "d")])
        );
    }

    /// A member that applied `a`, `b`, `c` and `d`, starts again with what it had after `a`, and goes
    /// on with `values`.
    fn restarted(again: &Event, values: &[&str]) -> Vec<(i64, String)> {
        let (mut memory, mut published) = (Memory::default(), empty());
        puts(&mut memory, 7, &mut published, &["a"]);
        let mut other = published.clone();
        puts(&mut memory, 7, &mut published, &["b", "c", "d"]);
        memory.hear(1, again, Some((7, &published)));
        // The server that is gone is not looked at again.
        applied(&mut memory, 7, &published, 99);
        let first = values[0];
        applied(&mut memory, 8, &other, checksum(first));
        put(&mut other, first);
        // It is not looked at before this is compacted.
        for value in &values[1..] {
            let event = Event::Applied {
                index: other.index + 1,
                term: 1,
                checksum: checksum(value),
            };
            memory.hear(1, &event, None);
            put(&mut other, value);
        }
        let revision = other.state.revision();
        compact(&mut other, revision);
        held(&memory, &other)
    }

    #[test]
    fn an_earlier_life_counts_as_far_as_the_same_was_applied() {
        for event in [
            Event::Started {
                applied: 1,
                replayed: 0,
            },
            Event::Rebuilding,
        ] {
            let same = restarted(&event, &["b", "c", "x", "y"]);
            assert_eq!(same, was(&[(2, "a"), (3, "b"), (4, "c")]), "{event:?}");
            let other = restarted(&event, &["x", "y", "z"]);
            assert_eq!(other, was(&[(2, "a")]), "{event:?}");
        }
    }

    #[test]
    fn a_life_of_which_nothing_was_applied_again_is_not_believed() {
        let (mut memory, mut published) = (Memory::default(), empty());
        puts(&mut memory, 7, &mut published, &["a", "b"]);
        let installed = Event::SnapshotInstalled { index: 9 };
        memory.hear(1, &installed, Some((7, &published)));
        put(&mut published, "c");
        compact(&mut published, 4);
        puts(&mut memory, 7, &mut published, &["d"]);
        assert_eq!(held(&memory, &published), []);
    }
}
