//! Going back to the last choice that matters, and remembering what was hopeless.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Failure, Replay, Situation, Taken};

/// The most hopeless situations remembered; beyond, they are searched again when met again.
const HOPELESS_MAX: usize = 500_000;

impl Replay<'_, '_> {
    /// Takes the next candidate of the last choice; false when it has none left.
    pub(super) fn take_next(&mut self) -> bool {
        loop {
            let Some(choice) = self.choices.last_mut() else {
                return false;
            };
            let Some(filler) = choice.candidates.get(choice.next).cloned() else {
                return false;
            };
            choice.next += 1;
            self.taken.truncate(choice.taken);
            self.assignment.truncate(choice.operations);
            self.now = choice.situation.clone();
            // What was verified with what is chosen otherwise now was verified in vain.
            let revision = self.now.revision;
            self.verified.take_if(|verified| verified.covers(revision));
            match self.take(&filler, false) {
                Ok(()) => return true,
                Err(gaps) => {
                    if let Some(choice) = self.choices.last_mut() {
                        choice.starved = true;
                        choice
                            .blame
                            .iter_mut()
                            .for_each(|blame| blame.extend(&gaps));
                    }
                }
            }
        }
    }

    /// Goes back to the last choice that matters and has a candidate left; false when there is none.
    pub(super) fn go_back(&mut self, failure: Failure) -> bool {
        let mut starved = matches!(failure, Failure::Starved(_));
        let mut blame = match failure {
            Failure::Starved(blame) => blame,
            _ => None,
        };
        loop {
            if let Some(gaps) = &blame {
                let (keep, only_choices) = self.choices_to_blame(gaps);
                self.choices.truncate(keep);
                blame = blame.filter(|_| only_choices);
            }
            let Some(choice) = self.choices.last_mut() else {
                return false;
            };
            choice.starved |= starved;
            choice.blame = match (choice.blame.take(), blame) {
                (Some(mut known), Some(new)) => {
                    known.extend(&new);
                    Some(known)
                }
                _ => None,
            };
            if self.take_next() {
                return true;
            }
            let Some(mut choice) = self.choices.pop() else {
                return false;
            };
            self.taken.truncate(choice.taken);
            starved = choice.starved;
            blame = choice.blame.take().filter(|_| choice.fixed);
            if !starved && self.hopeless.len() < HOPELESS_MAX {
                let hash = choice.situation.hash();
                self.hopeless
                    .entry(hash)
                    .or_default()
                    .push(choice.situation);
            }
        }
    }

    /// How many choices there are up to the last that can change what these gaps took, and whether
    /// it is to blame for no more than its own gap. What followed from it, unless it was forced, may
    /// have followed from earlier choices just as well.
    fn choices_to_blame(&self, gaps: &BTreeSet<i64>) -> (usize, bool) {
        let mut end = self.taken.len();
        for (number, choice) in self.choices.iter().enumerate().rev() {
            let to_blame = |taken: &Taken| !taken.forced && gaps.contains(&taken.revision);
            let followed = self.taken.get(choice.taken + 1..end).unwrap_or(&[]);
            if followed.iter().any(to_blame) {
                return (number + 1, false);
            }
            if self.taken.get(choice.taken).is_some_and(to_blame) {
                return (number + 1, true);
            }
            end = choice.taken;
        }
        (0, true)
    }

    pub(super) fn is_hopeless(&self) -> bool {
        self.hopeless
            .get(&self.now.hash())
            .is_some_and(|known| known.iter().any(|known| known.same(&self.now)))
    }

    pub(super) fn note(&mut self, failure: &Failure) {
        let failure = match failure {
            Failure::Hopeless => return,
            Failure::Wrong(index, mismatch) => Failure::Wrong(*index, mismatch.clone()),
            Failure::NobodyWrote | Failure::Starved(_) => Failure::NobodyWrote,
        };
        if self
            .deepest
            .as_ref()
            .is_none_or(|(revision, _)| *revision < self.now.revision)
        {
            self.deepest = Some((self.now.revision, failure));
        }
    }
}

impl<'p> Situation<'p> {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.revision.hash(&mut hasher);
        self.keys.hash(&mut hasher);
        hasher.finish()
    }

    fn same(&self, other: &Situation<'p>) -> bool {
        self.revision == other.revision
            && self.keys == other.keys
            && self.past.len() == other.past.len()
            && self
                .past
                .iter()
                .zip(other.past.iter())
                .all(|(mine, theirs)| {
                    mine.0 == theirs.0 && (mine.1.ptr_eq(theirs.1) || mine.1 == theirs.1)
                })
    }
}
