//! Why no choice explains everything, told by the choices that go furthest.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Failure, Replay};
use crate::check::Counterexample;
use crate::check::strict_serializability::explain;
use crate::check::strict_serializability::gaps::Evidence;
use crate::history::display_short;

impl Replay<'_, '_> {
    pub(super) fn contradiction(&self) -> Box<Counterexample> {
        let counterexample = match &self.deepest {
            Some((_, Failure::Wrong(index, mismatch))) => self.plan.wrong_answer(*index, mismatch),
            Some((revision, _)) => self.nobody_wrote(*revision),
            // Going back without a failure noted cannot happen: the first failure is noted.
            None => explain::start("no order explains the history"),
        };
        if self.choices_made == 0 {
            return counterexample.into();
        }
        let unknown = self.plan.unknown_writes.len();
        let reason = format!(
            "this is as far as any assignment of the {unknown} operations of unknown outcome to the \
             {} revisions without a definite writer goes",
            self.plan.gaps
        );
        counterexample.because(reason).into()
    }

    fn nobody_wrote(&self, revision: i64) -> Counterexample {
        let evidence = self.gaps.evidence(revision);
        let pairs: Vec<_> = evidence.into_iter().flat_map(Evidence::pairs).collect();
        let shown = |value: &Option<Bytes>| value.as_ref().map_or("?".to_owned(), display_short);
        let content: BTreeSet<_> = pairs
            .iter()
            .map(|(key, value)| (display_short(key), shown(value)))
            .collect();
        let content: Vec<_> = content.into_iter().collect();
        let mut counterexample = self.plan.nobody_wrote(revision, &content);
        let twin = pairs
            .iter()
            .find_map(|(key, value)| self.plan.twins(revision, key, value.as_ref()?));
        if let Some((first, index)) = twin {
            let operation = self.plan.operation(index);
            counterexample = counterexample.with(operation).because(format!(
                "revision {revision} holds the content of operation {}, already at {first}: \
                 executed twice",
                operation.id
            ));
        }
        counterexample
    }
}
