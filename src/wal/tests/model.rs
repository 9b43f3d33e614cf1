//! What a log must hold, said as simply as possible: the state after every single record.

use crate::api::proto::vetcdpb::Entry;
use crate::wal::{Batch, HardState, Recovered, SnapshotMark};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    pub hard_state: HardState,
    pub mark: Option<SnapshotMark>,
    /// After the mark.
    pub entries: Vec<Entry>,
}

impl Content {
    pub fn mark_index(&self) -> u64 {
        self.mark.as_ref().map_or(0, |mark| mark.index)
    }

    pub fn last_index(&self) -> u64 {
        let last = self.entries.last();
        last.map_or(self.mark_index(), |entry| entry.index)
    }

    fn mark(&mut self, mark: &SnapshotMark) {
        let newest = self.mark.as_ref().map(|m| (m.index, m.term));
        let known = self.entries.iter().map(|e| (e.index, e.term));
        if !known.chain(newest).any(|e| e == (mark.index, mark.term)) {
            self.entries.clear();
        }
        self.entries.retain(|entry| entry.index > mark.index);
        self.hard_state.commit = self.hard_state.commit.max(mark.index);
        self.mark = Some(mark.clone());
    }

    fn entry(&mut self, entry: &Entry) {
        self.entries.retain(|old| old.index < entry.index);
        self.entries.push(entry.clone());
    }

    fn hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
        self.hard_state.commit = hard_state.commit.max(self.mark_index());
    }
}

/// All the states a log went through.
#[derive(Clone, Debug)]
pub struct Model {
    pub states: Vec<Content>,
    /// The number of the last state that was known to be durable.
    pub synced: usize,
}

impl Model {
    pub fn new() -> Model {
        Model {
            states: vec![Content::default()],
            synced: 0,
        }
    }

    pub fn now(&self) -> &Content {
        self.states.last().unwrap()
    }

    fn step(&mut self, step: impl FnOnce(&mut Content)) {
        let mut next = self.now().clone();
        step(&mut next);
        self.states.push(next);
    }

    pub fn append(&mut self, batch: &Batch) {
        if let Some(mark) = &batch.snapshot {
            self.step(|state| state.mark(mark));
        }
        for entry in &batch.entries {
            self.step(|state| state.entry(entry));
        }
        if let Some(hard_state) = batch.hard_state {
            self.step(|state| state.hard_state(hard_state));
        }
    }

    pub fn sync(&mut self) {
        self.synced = self.states.len() - 1;
    }

    /// The number of a state that was recovered, if it is one of those that may be: none older than
    /// what was synced by then.
    pub fn find(&self, recovered: &Recovered, synced: usize) -> Option<usize> {
        let found = content(recovered);
        (synced..self.states.len()).find(|number| self.states[*number] == found)
    }
}

pub fn content(recovered: &Recovered) -> Content {
    Content {
        hard_state: recovered.hard_state,
        mark: recovered.snapshot.clone(),
        entries: recovered.entries.clone(),
    }
}
