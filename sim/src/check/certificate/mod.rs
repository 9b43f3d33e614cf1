//! An explicit order of operations, and the small verifier on which every Ok rests.
//!
//! [`verify`] shares no code with the searches that find orders, only the types of a history. It
//! checks four things and trusts nothing: every step names an operation of the history, none twice;
//! every operation that must be explained is there; no operation was invoked after the return of
//! one that stands behind it; and a model of the store ([`revisions`], or [`data`] where revisions
//! are ignored), fed the operations in this order, gives exactly the answers that clients saw.

use std::fmt;

use serde::Serialize;

use crate::history::{FailureClass, History, Operation, Outcome, Request};

mod data;
mod revisions;

/// One step of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The operation with this id takes effect.
    Operation(u64),
    /// The transaction with this id, of unknown outcome, takes effect; where its comparisons look
    /// at ignored revisions, these are the outcomes to assume, in the order of evaluation.
    Branches(u64, Box<[bool]>),
    /// The lease ends, and the keys attached to it are removed.
    Expiry(i64),
}

/// What an order explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Every field of every answer.
    Revisions,
    /// Keys, values, leases and counts; nothing that speaks of revisions or versions.
    Data,
}

/// A total order of operations that explains a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// What the order explains.
    pub kind: Kind,
    /// The order. Operations of unknown outcome that are missing never took effect.
    pub steps: Vec<Step>,
    /// How much was looked at.
    pub statistics: Statistics,
}

/// How much of a history was judged, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Operations in the history.
    pub operations: u64,
    /// Operations of known outcome that the order explains.
    pub judged: u64,
    /// Operations of unknown outcome.
    pub unknown: u64,
    /// Those of them that the order takes to have been executed.
    pub unknown_executed: u64,
    /// Ends of leases that the order assumes.
    pub lease_expiries: u64,
    /// Serializable reads, which have no place in the order.
    pub serializable_not_checked: u64,
    /// Answers that this judge says nothing about.
    pub failures_not_checked: u64,
    /// The last revision that anything bears witness to; 0 where revisions are ignored.
    pub last_revision: i64,
    /// Judgements of one answer each that the search took.
    pub steps: u64,
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.statistics;
        write!(
            f,
            "{} of {} operations explained by one order up to revision {}; of {} of unknown outcome \
             {} were executed; not checked here: {} serializable reads, {} refusals",
            s.judged,
            s.operations,
            s.last_revision,
            s.unknown,
            s.unknown_executed,
            s.serializable_not_checked,
            s.failures_not_checked
        )
    }
}

/// Whether a history makes sense by itself.
pub(super) fn well_formed(history: &History) -> Result<(), String> {
    history
        .check()
        .map_err(|problem| format!("malformed history: {problem}"))
}

/// Replays an order.
///
/// # Errors
/// Says which step does not hold, and why.
pub fn verify(history: &History, certificate: &Certificate) -> Result<(), String> {
    // Most histories never ask for the past, so that at first none is kept.
    let replay = |remembers| {
        let mut verifier = Verifier::new(&history.operations, certificate.kind, remembers);
        verifier.go_on(&certificate.steps)?;
        verifier.finish()
    };
    let replayed = match replay(false) {
        Err(Wrong::NeedsPast) => replay(true),
        replayed => replayed,
    };
    replayed.map_err(|wrong| match wrong {
        Wrong::NeedsPast => "the past is not there".to_owned(),
        Wrong::At(problem) => problem,
    })
}

/// Why an order does not hold.
pub(super) enum Wrong {
    /// The text says where, and why.
    At(String),
    /// An operation asks for a past that was not kept.
    NeedsPast,
}

impl From<String> for Wrong {
    fn from(problem: String) -> Wrong {
        Wrong::At(problem)
    }
}

/// Replays an order as it comes.
pub(super) struct Verifier<'h> {
    operations: &'h [Operation],
    kind: Kind,
    remembers: bool,
    model: Box<dyn Model<'h> + 'h>,
    /// By index: whether the operation stood in the order.
    done: Vec<bool>,
    latest_call: u64,
    /// Ids and their indexes, ascending, where they are not the same and were asked for.
    ids: Vec<(u64, usize)>,
}

impl<'h> Verifier<'h> {
    /// Begins with an empty store. An order in which anything asks for the past is refused where
    /// that is not kept.
    pub(super) fn new(operations: &'h [Operation], kind: Kind, remembers: bool) -> Verifier<'h> {
        Verifier {
            operations,
            kind,
            remembers,
            model: match kind {
                Kind::Revisions => Box::new(revisions::Store::new(remembers)),
                Kind::Data => Box::<data::Store>::default(),
            },
            done: vec![false; operations.len()],
            latest_call: 0,
            ids: Vec::new(),
        }
    }

    fn find(&mut self, id: u64) -> Option<usize> {
        // Most ids are indexes.
        let plain = usize::try_from(id).ok().filter(|index| {
            let operation = self.operations.get(*index);
            operation.is_some_and(|operation| operation.id == id)
        });
        if plain.is_some() {
            return plain;
        }
        if self.ids.is_empty() {
            let all = self.operations.iter().map(|operation| operation.id);
            self.ids = all.zip(0..).collect();
            self.ids.sort_unstable();
        }
        let at = self.ids.binary_search_by_key(&id, |entry| entry.0).ok()?;
        Some(self.ids[at].1)
    }

    /// Replays the next steps.
    ///
    /// # Errors
    /// The first step that does not hold. Then nothing may follow.
    pub(super) fn go_on(&mut self, steps: &[Step]) -> Result<(), Wrong> {
        for step in steps {
            let (id, branches) = match step {
                Step::Expiry(lease) => {
                    self.model.expire(*lease)?;
                    continue;
                }
                Step::Operation(id) => (*id, &[][..]),
                Step::Branches(id, branches) => (*id, &branches[..]),
            };
            let index = self
                .find(id)
                .ok_or_else(|| format!("there is no operation {id}"))?;
            let operation = &self.operations[index];
            if std::mem::replace(&mut self.done[index], true) {
                return Err(format!("operation {id} stands in the order twice").into());
            }
            self.latest_call = self.latest_call.max(operation.invoked);
            if !operation.is_unknown() && operation.returned.is_none_or(|at| at < self.latest_call)
            {
                let problem = format!("operation {id} returned before one ahead of it was invoked");
                return Err(problem.into());
            }
            if !self.remembers && names_revision(&operation.request) {
                return Err(Wrong::NeedsPast);
            }
            self.model
                .step(operation, branches)
                .map_err(|wrong| format!("operation {id}: {wrong}"))?;
        }
        Ok(())
    }

    /// The order is complete.
    ///
    /// # Errors
    /// An operation that must be explained stood nowhere in it.
    pub(super) fn finish(self) -> Result<(), Wrong> {
        let missing = self
            .operations
            .iter()
            .zip(&self.done)
            .find(|(operation, done)| !**done && must_be_explained(operation, self.kind));
        match missing {
            Some((operation, _)) => {
                Err(format!("operation {} is not explained", operation.id).into())
            }
            None => Ok(()),
        }
    }
}

/// Whether an order that leaves the operation out explains too little.
fn must_be_explained(operation: &Operation, kind: Kind) -> bool {
    if operation.request.is_serializable() {
        return false;
    }
    match (&operation.outcome, kind) {
        (Outcome::Unknown(_), _) | (Outcome::Failed(_), Kind::Data) => false,
        (Outcome::Ok(_), Kind::Data) => match &operation.request {
            Request::Range(range) => range.revision <= 0,
            Request::Compact(_) => false,
            _ => true,
        },
        (Outcome::Ok(_), Kind::Revisions) => match &operation.request {
            Request::Compact(compact) => compact.revision > 0,
            _ => true,
        },
        (Outcome::Failed(failure), Kind::Revisions) => {
            let about_state =
                [FailureClass::Compacted, FailureClass::FutureRevision].contains(&failure.class);
            about_state && !names_no_possible_revision(&operation.request)
        }
    }
}

/// Whether a request asks for the store as it was.
fn names_revision(request: &Request) -> bool {
    match request {
        Request::Range(range) => range.revision != 0,
        Request::Txn(txn) => txn.then.iter().chain(&txn.otherwise).any(names_revision),
        Request::Put(_) | Request::Delete(_) | Request::Compact(_) => false,
    }
}

/// How such a request is refused is not judged.
fn names_no_possible_revision(request: &Request) -> bool {
    match request {
        Request::Range(range) => range.revision < 0,
        Request::Compact(compact) => compact.revision < 1,
        Request::Txn(txn) => txn
            .then
            .iter()
            .chain(&txn.otherwise)
            .any(names_no_possible_revision),
        Request::Put(_) | Request::Delete(_) => false,
    }
}

/// A model of the store that says whether an operation can have happened now.
trait Model<'a> {
    /// Executes an operation, and compares its answer where one is known.
    fn step(&mut self, operation: &'a Operation, branches: &[bool]) -> Result<(), String>;
    /// Ends a lease.
    fn expire(&mut self, lease: i64) -> Result<(), String>;
}

/// Whether a key lies in the range that a request names; an empty end names one key, a zero byte
/// everything from the key on.
fn in_range(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == start,
        [0] => key >= start,
        end => key >= start && key < end,
    }
}
