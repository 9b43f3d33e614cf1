//! The sentences of this judge's counterexamples.

use super::plan::{Index, Plan};
use crate::check::Counterexample;
use crate::check::store::Mismatch;
use crate::history::{Body, Request, display_seconds};

pub(super) const GUARANTEE: &str = "strict serializability";

pub(super) fn start(summary: impl Into<String>) -> Counterexample {
    Counterexample::new(GUARANTEE, summary)
}

impl Plan<'_> {
    /// What an operation's answer says about its place in the order.
    fn place(&self, index: Index) -> String {
        let operation = self.operation(index);
        let id = operation.id;
        match (operation.response(), &operation.request) {
            (Some(_), Request::Compact(compact)) => {
                format!("operation {id} compacted revision {}", compact.revision)
            }
            (Some(response), _) if response.body.is_effect() => {
                format!("operation {id} wrote revision {}", response.revision)
            }
            (Some(response), _) => match self.old_reads.get(&index) {
                Some(old) => format!("operation {id} read what revision {old} held"),
                None => format!("operation {id} saw revision {}", response.revision),
            },
            _ => format!("operation {id} was {}", operation.outcome),
        }
    }

    /// `first` must come before `second`, but real time has it the other way round.
    pub(super) fn against_time(&self, first: Index, second: Index) -> Counterexample {
        let (a, b) = (self.operation(first), self.operation(second));
        let revision = |index| {
            self.operation(index)
                .response()
                .map(|response| response.revision)
        };
        let compacts = |request: &Request| matches!(request, Request::Compact(_));
        let by = match (revision(first), revision(second)) {
            (Some(_), Some(_)) if compacts(&b.request) => {
                ", since a compaction forgets what was overwritten".to_owned()
            }
            (Some(x), Some(y)) if x < y => format!(" by revision {x} < {y}"),
            (Some(x), Some(y)) if x == y && !compacts(&a.request) => {
                format!(" by revision {x}, which must be written before it is seen")
            }
            _ => String::new(),
        };
        let returned = b.returned.unwrap_or(u64::MAX);
        start(format!(
            "operations {} and {} each come before the other",
            a.id, b.id
        ))
        .with(a)
        .with(b)
        .because(format!(
            "operation {} before operation {}{by}: {}, {}",
            a.id,
            b.id,
            self.place(first),
            self.place(second)
        ))
        .because(format!(
            "operation {} before operation {} by real time: operation {} returned at {}, \
                 operation {} was called at {}",
            b.id,
            a.id,
            b.id,
            display_seconds(returned),
            a.id,
            display_seconds(a.invoked)
        ))
    }

    /// An answer that differs from what the store held.
    pub(super) fn wrong_answer(&self, index: Index, mismatch: &Mismatch) -> Counterexample {
        let operation = self.operation(index);
        let summary = format!(
            "operation {} was answered wrongly: {}",
            operation.id, mismatch.what
        );
        let mut counterexample = start(summary)
            .with(operation)
            .instead(&mismatch.expected, &mismatch.found);
        let [expected, found] = mismatch.revisions;
        let found = if found == expected { 0 } else { found };
        for revision in [expected, found].into_iter().filter(|r| *r > 1) {
            let reason = match self.writer(revision) {
                Some(writer) if writer == index => continue,
                Some(writer) => {
                    counterexample = counterexample.with(self.operation(writer));
                    format!(
                        "revision {revision} was written by operation {}",
                        self.operation(writer).id
                    )
                }
                None if revision > self.last => format!("revision {revision} was never reached"),
                None => format!("revision {revision} has no writer of known outcome"),
            };
            counterexample = counterexample.because(reason);
        }
        counterexample
    }

    /// A revision that exists, though nothing can have written it.
    pub(super) fn nobody_wrote(
        &self,
        revision: i64,
        content: &[(String, String)],
    ) -> Counterexample {
        let summary = format!("no operation can have written revision {revision}");
        let mut counterexample = start(summary);
        for (key, value) in content {
            counterexample = counterexample.because(format!("it holds {key} = {value}"));
        }
        let later = (revision..=self.last)
            .find_map(|r| self.readers(r).first().copied().or_else(|| self.writer(r)));
        if let Some(later) = later {
            counterexample = counterexample
                .with(self.operation(later))
                .because(format!("it exists, because {}", self.place(later)));
        } else {
            counterexample = counterexample.because("it exists, because the final store says so");
        }
        counterexample
    }

    /// The definite writers elsewhere of the same content: executed twice?
    pub(super) fn twins(&self, revision: i64, key: &[u8], value: &[u8]) -> Option<(i64, Index)> {
        (2..=self.last)
            .filter(|other| *other != revision)
            .find_map(|other| {
                let index = self.writer(other)?;
                let operation = self.operation(index);
                let body = &operation.response()?.body;
                writes(&operation.request, body, key, value).then_some((other, index))
            })
    }
}

/// Whether a request that was answered with `body` wrote `value` at `key`.
fn writes(request: &Request, body: &Body, key: &[u8], value: &[u8]) -> bool {
    match (request, body) {
        (Request::Put(put), _) => put.key == key && put.value == value,
        (Request::Txn(txn), Body::Txn(body)) => {
            let requests = if body.succeeded {
                &txn.then
            } else {
                &txn.otherwise
            };
            requests
                .iter()
                .zip(&body.responses)
                .any(|(r, b)| writes(r, b, key, value))
        }
        _ => false,
    }
}
