//! The rules a raft log obeys, as a small state machine over the records in the order they are
//! written. Pure; shared by the writer, which asks it before writing, and by recovery, which asks
//! it again after reading, so that the two cannot disagree.

use super::format::NUMBER_MAX;
use super::{HardState, SnapshotMark};
use crate::api::proto::vetcdpb;

/// What the records so far amount to, without the entries themselves.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    hard_state: HardState,
    mark: Option<SnapshotMark>,
    last_index: u64,
    /// `(first index, term)` of each run of entries with one term, in order. Covers at least the
    /// entries after the mark.
    term_runs: Vec<(u64, u64)>,
}

impl State {
    /// The state a segment head repeats; `first_index` is the index after the last entry.
    pub fn resume(
        hard_state: HardState,
        mark: Option<SnapshotMark>,
        first_index: u64,
    ) -> Result<State, String> {
        let last_index = first_index.saturating_sub(1);
        let (marked, mark_term) = mark.as_ref().map_or((0, 0), |mark| (mark.index, mark.term));
        possible(&[hard_state.term, mark_term])?;
        if !(marked..=last_index).contains(&hard_state.commit) {
            let commit = hard_state.commit;
            return Err(format!(
                "commit index {commit} is not between the mark {marked} and the last entry {last_index}"
            ));
        }
        Ok(State {
            hard_state,
            mark,
            last_index,
            term_runs: Vec::new(),
        })
    }

    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub fn mark(&self) -> Option<&SnapshotMark> {
        self.mark.as_ref()
    }

    /// The newest mark's index; 0 without one.
    pub fn mark_index(&self) -> u64 {
        self.mark.as_ref().map_or(0, |mark| mark.index)
    }

    pub fn last_index(&self) -> u64 {
        self.last_index
    }

    /// An entry is added, replacing all entries from its index on.
    pub fn entry(&mut self, entry: &vetcdpb::Entry) -> Result<(), String> {
        let index = entry.index;
        possible(&[index, entry.term])?;
        if index > self.last_index.saturating_add(1) || index == 0 {
            let last = self.last_index;
            return Err(format!("entry {index} leaves a gap after entry {last}"));
        }
        let settled = self.hard_state.commit.max(self.mark_index());
        if index <= settled {
            return Err(format!(
                "entry {index} replaces one that is committed (up to {settled})"
            ));
        }
        while self.term_runs.last().is_some_and(|run| run.0 >= index) {
            self.term_runs.pop();
        }
        if self.term_runs.last().is_none_or(|run| run.1 != entry.term) {
            self.term_runs.push((index, entry.term));
        }
        self.last_index = index;
        Ok(())
    }

    /// The hard state is replaced. A commit index below the mark is raised to it.
    pub fn set_hard_state(&mut self, mut hard_state: HardState) -> Result<(), String> {
        possible(&[hard_state.term])?;
        if hard_state.commit > self.last_index {
            return Err(format!(
                "commit index {} is beyond the last entry {}",
                hard_state.commit, self.last_index
            ));
        }
        hard_state.commit = hard_state.commit.max(self.mark_index());
        self.hard_state = hard_state;
        Ok(())
    }

    /// The last index the log will have once `mark` counts: entries after it stay only when the
    /// log agrees with the mark about the entry at its index.
    pub fn last_index_after(&self, mark: &SnapshotMark) -> u64 {
        let agrees = match &self.mark {
            Some(newest) if newest.index == mark.index => newest.term == mark.term,
            _ => mark.index == 0 || self.term(mark.index) == Some(mark.term),
        };
        if mark.index < self.last_index && agrees {
            self.last_index
        } else {
            mark.index
        }
    }

    /// A snapshot mark is set, after which the last entry is `last_index`.
    pub fn set_mark(&mut self, mark: SnapshotMark, last_index: u64) -> Result<(), String> {
        possible(&[mark.index, mark.term])?;
        if self
            .mark
            .as_ref()
            .is_some_and(|newest| mark.index < newest.index)
        {
            let newest = self.mark_index();
            return Err(format!(
                "snapshot mark {} after mark {newest}: marks only move forward",
                mark.index
            ));
        }
        if last_index != mark.index && (last_index < mark.index || last_index != self.last_index) {
            return Err(format!(
                "snapshot mark {} leaves {last_index} as the last entry of a log that ends at {}",
                mark.index, self.last_index
            ));
        }
        if self.hard_state.commit > last_index {
            return Err(format!(
                "snapshot mark {} drops entries that are committed (up to {})",
                mark.index, self.hard_state.commit
            ));
        }
        if last_index == mark.index {
            self.term_runs.clear();
        }
        while self.term_runs.len() > 1 && self.term_runs[1].0 <= mark.index {
            self.term_runs.remove(0);
        }
        self.hard_state.commit = self.hard_state.commit.max(mark.index);
        self.last_index = last_index;
        self.mark = Some(mark);
        Ok(())
    }

    fn term(&self, index: u64) -> Option<u64> {
        if index > self.last_index {
            return None;
        }
        let after = self.term_runs.partition_point(|run| run.0 <= index);
        Some(self.term_runs.get(after.checked_sub(1)?)?.1)
    }
}

/// Refuses indices and terms that no log reaches, to which nothing could be added.
fn possible(numbers: &[u64]) -> Result<(), String> {
    match numbers.iter().find(|number| **number > NUMBER_MAX) {
        Some(number) => Err(format!("no index or term is as high as {number}")),
        None => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> vetcdpb::Entry {
        vetcdpb::Entry {
            index,
            term,
            ..Default::default()
        }
    }

    fn mark(index: u64, term: u64) -> SnapshotMark {
        SnapshotMark {
            index,
            term,
            conf_state: vetcdpb::ConfState::default(),
        }
    }

    fn log(terms: &[u64]) -> State {
        let mut state = State::default();
        for (index, term) in (1..).zip(terms) {
            state.entry(&entry(index, *term)).unwrap();
        }
        state
    }

    #[test]
    fn entries_are_contiguous_and_replace_what_follows() {
        let mut state = log(&[1, 1, 2, 2]);
        assert!(state.entry(&entry(6, 2)).is_err());
        assert!(state.entry(&entry(0, 2)).is_err());
        state.entry(&entry(2, 3)).unwrap();
        assert_eq!(state.last_index(), 2);
        assert_eq!([1, 2, 3].map(|i| state.term(i)), [Some(1), Some(3), None]);
    }

    #[test]
    fn what_is_committed_stays() {
        let mut state = log(&[1, 1, 1]);
        let commit = |commit| HardState {
            commit,
            ..HardState::default()
        };
        assert!(state.set_hard_state(commit(4)).is_err());
        state.set_hard_state(commit(2)).unwrap();
        assert!(state.entry(&entry(2, 2)).is_err());
        assert!(state.set_mark(mark(1, 9), 1).is_err());
        state.entry(&entry(3, 2)).unwrap();
    }

    #[test]
    fn a_mark_keeps_what_follows_only_when_the_terms_agree() {
        let mut state = log(&[1, 1, 2, 2]);
        assert_eq!(state.last_index_after(&mark(3, 2)), 4);
        assert_eq!(state.last_index_after(&mark(3, 3)), 3);
        assert_eq!(state.last_index_after(&mark(9, 3)), 9);
        state.set_mark(mark(3, 2), 4).unwrap();
        assert_eq!(state.hard_state().commit, 3);
        assert_eq!(state.last_index_after(&mark(3, 2)), 4);
        assert_eq!(state.last_index_after(&mark(4, 2)), 4);
        assert!(state.set_mark(mark(2, 1), 4).is_err());
        state.set_mark(mark(9, 3), 9).unwrap();
        assert_eq!((state.last_index(), state.term(9)), (9, None));
        state.entry(&entry(10, 3)).unwrap();
        assert_eq!(state.last_index_after(&mark(9, 3)), 10);
    }
}
