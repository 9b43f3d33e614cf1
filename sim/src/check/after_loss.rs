//! What remains after an allowed loss must still be strictly serializable: before it, and after.
//! The serializable reads of each piece are judged along with it.
//!
//! A power loss that takes acknowledged writes rolls the store back to some revision `v` it had
//! passed. Up to the power loss clients saw one line of revisions, from then on another that leaves
//! it at `v`. So a history with an allowed loss is judged piecewise:
//!
//! - **Before each power loss**, [`until`]: everything that had returned by then, the lost writes
//!   included; what was in flight is of unknown outcome. Nothing was lost yet, so this must be
//!   strictly serializable as it is.
//! - **Overall**, [`without_lost`]: the surviving line. Left out is what belongs to the other one:
//!   the lost writes, and whatever returned before the power loss with a revision beyond `v`, unless
//!   it is older than the promise lets a loss reach. Compactions acknowledged before the power loss
//!   may have been rolled back, so their outcome becomes unknown; "compacted" before it is dropped.
//!
//! Why that is sound: nothing is left out of both pieces. What is dropped from the surviving line
//! returned before a power loss, and is judged there. The only thing given up is that the line goes
//! on beyond `v`, and that is what the promise allows.
//!
//! How `v` is found: every acknowledged write is known to be present or lost ([`super::loss`]), and
//! what survives is a prefix. So `v` is at least the last present write that was acknowledged before
//! the power loss and precedes the first lost one; that bound is used. It may be lower than the
//! truth when operations of unknown outcome wrote the revisions between, and then reads of those
//! revisions are judged before the loss only.
//!
//! Operations of unknown outcome stay in both pieces: one may have been executed before the loss
//! and rolled back, or survived, or come later. Unknown fits all of them.
//!
//! Where values are not unique, or for deletes, a lost write may look present because one of unknown
//! outcome wrote the same at the same revision afterwards. Before a violation is called, the last
//! writes before a power loss that have such a possible impostor are taken to be lost. In flight at
//! the power loss, such a write is taken to be of unknown outcome.
//!
//! What cannot be decided: an operation *in flight* at the power loss that saw a revision beyond
//! `v` belongs to either line. It is judged with the surviving one; if only that makes it fail, all
//! such operations are judged with the lost one, as answered before the power loss and received after
//! it. An explanation of either kind is enough; without one the verdict is Undetermined. The same for
//! writes whose fate compaction hides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::certificate::Certificate;
use super::loss::{Fate, LostWrite, PowerLoss, Promise, fate, may_write_same, survey};
use super::{KnownOrder, Options, Verdict, serializable_reads, strict_serializability};
use crate::history::{
    FailureClass, History, Nanoseconds, Operation, Outcome, Request, display_seconds,
};

/// The most present writes that are taken for impostors of lost ones, one after the other.
const HYPOTHESES_MAX: usize = 8;

/// A history without what a loss took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// What belongs to the surviving line, as far as can be told.
    pub history: History,
    /// Operations left out: lost writes, and what saw them.
    pub dropped: BTreeSet<u64>,
    /// Operations in [`Remaining::history`] that may not belong to the surviving line.
    pub undecided: BTreeSet<u64>,
}

impl Remaining {
    /// Takes the undecided operations to belong to another line.
    fn drop_undecided(&mut self) {
        let undecided = std::mem::take(&mut self.undecided);
        self.history
            .operations
            .retain(|operation| !undecided.contains(&operation.id));
        self.dropped.extend(undecided);
    }
}

/// That all pieces of a history with an allowed loss are strictly serializable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AfterLoss {
    /// The order of the surviving line.
    pub certificate: Certificate,
    /// Its serializable reads.
    pub reads: serializable_reads::Statistics,
    /// Operations that are judged only up to a power loss.
    pub rolled_back: usize,
    /// What the certificate explains: the surviving line.
    #[serde(skip)]
    pub history: History,
}

impl fmt::Display for AfterLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            certificate,
            reads,
            rolled_back,
            ..
        } = self;
        write!(
            f,
            "{certificate}; serializable: {reads}; {rolled_back} operations judged only up to a power loss"
        )
    }
}

/// Judges a history piecewise. Without losses, or where the promise allows none, this is
/// [`strict_serializability::check`].
pub fn check(
    history: &History,
    known: &KnownOrder,
    power_losses: &[PowerLoss],
    promise: Promise,
    options: &Options<'_>,
) -> Verdict<AfterLoss> {
    let report = survey(history, known, power_losses);
    let allowed = !power_losses.is_empty() && promise != Promise::NeverLost;
    let options = Options {
        known_order: Some(known),
        ..*options
    };
    if !allowed || report.lost.iter().any(|lost| !promise.allows(lost)) {
        return judge(history.clone(), &BTreeSet::new(), &options);
    }
    let took = |loss: &&PowerLoss| {
        report
            .lost
            .iter()
            .any(|lost| lost.power_loss == Some(loss.at))
    };
    let taking: Vec<&PowerLoss> = power_losses.iter().filter(took).collect();
    let first = explained(history, known, &taking, &report.lost, promise, &options);
    if !first.is_violation() {
        return first;
    }
    // A power loss that took no acknowledged write may have taken one that was only seen. And a
    // write that seems to be there may be lost, and another of the same content in its place.
    let all: Vec<&PowerLoss> = power_losses.iter().collect();
    let mut lost = report.lost;
    for _ in 0..HYPOTHESES_MAX {
        match explained(history, known, &all, &lost, promise, &options) {
            Verdict::Violation(_) => {}
            second => return second,
        }
        match impostor(history, known, &all, &lost, promise) {
            Some(another) => lost.push(another),
            None => break,
        }
    }
    first
}

/// The last surviving write acknowledged before some power loss, if one of unknown outcome may stand in its
/// place.
fn impostor(
    history: &History,
    known: &KnownOrder,
    power_losses: &[&PowerLoss],
    lost: &[LostWrite],
    promise: Promise,
) -> Option<LostWrite> {
    power_losses.iter().rev().find_map(|loss| {
        let survivor = |operation: &&Operation| {
            operation
                .returned
                .is_some_and(|returned| returned <= loss.at)
                && fate(operation, known) == Fate::Present
                && lost.iter().all(|lost| lost.id != operation.id)
        };
        let revision = |o: &&Operation| o.response().map_or(0, |response| response.revision);
        let last = history
            .operations
            .iter()
            .filter(survivor)
            .max_by_key(revision)?;
        let acknowledged = last.returned?;
        let another = LostWrite {
            id: last.id,
            revision: revision(&last),
            acknowledged,
            power_loss: Some(loss.at),
            age: loss.at.saturating_sub(acknowledged),
        };
        (promise.allows(&another) && has_impostor(history, last)).then_some(another)
    })
}

fn attaches(request: &Request) -> bool {
    match request {
        Request::Put(put) => put.lease != 0,
        Request::Txn(txn) => txn.then.iter().chain(&txn.otherwise).any(attaches),
        _ => false,
    }
}

/// Where the operations that may belong to either line are judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Undecided {
    WithSurviving,
    WithLost,
}

/// Judges all pieces, with the undecided operations on one line or, if that settles nothing, on the
/// other.
fn explained(
    history: &History,
    known: &KnownOrder,
    power_losses: &[&PowerLoss],
    lost: &[LostWrite],
    promise: Promise,
    options: &Options<'_>,
) -> Verdict<AfterLoss> {
    let judge_with = |undecided| {
        pieces(
            history,
            known,
            power_losses,
            lost,
            promise,
            undecided,
            options,
        )
    };
    match judge_with(Undecided::WithSurviving) {
        Verdict::Undetermined(reason) => match judge_with(Undecided::WithLost) {
            explained @ Verdict::Ok(_) => explained,
            _ => Verdict::Undetermined(reason),
        },
        verdict => verdict,
    }
}

fn pieces(
    history: &History,
    known: &KnownOrder,
    power_losses: &[&PowerLoss],
    lost: &[LostWrite],
    promise: Promise,
    undecided: Undecided,
    options: &Options<'_>,
) -> Verdict<AfterLoss> {
    let mut power_losses = power_losses.to_vec();
    power_losses.sort_by_key(|loss| loss.at);
    for (index, loss) in power_losses.iter().enumerate() {
        let mut before = remaining(history, known, &power_losses[..index], lost, promise);
        let mut answered = BTreeSet::new();
        if undecided == Undecided::WithLost {
            before.drop_undecided();
            answered = remaining(history, known, &power_losses[..=index], lost, promise).undecided;
        }
        let piece = until_with(&before.history, loss.at, &answered);
        let survived = known_until(known, surviving(history, known, loss.at, lost));
        let options = Options {
            known_order: Some(&survived),
            ..*options
        };
        match judge(piece, &before.undecided, &options) {
            Verdict::Ok(_) => {}
            Verdict::Violation(mut counterexample) => {
                let at = display_seconds(loss.at);
                counterexample
                    .reasons
                    .push(format!("all of that before power was lost at {at}"));
                return Verdict::Violation(counterexample);
            }
            Verdict::Undetermined(reason) => return Verdict::Undetermined(reason),
        }
    }
    let mut after = remaining(history, known, &power_losses, lost, promise);
    if undecided == Undecided::WithLost {
        after.drop_undecided();
    }
    let rolled_back = after.dropped.len();
    judge(after.history, &after.undecided, options).map(|after| AfterLoss {
        rolled_back,
        ..after
    })
}

/// Judges a piece; only what holds without the undecided operations too is called a violation.
fn judge(history: History, undecided: &BTreeSet<u64>, options: &Options<'_>) -> Verdict<AfterLoss> {
    let verdict = judge_all(&history, options);
    let verdict = if undecided.is_empty() || !verdict.is_violation() {
        verdict
    } else {
        let mut decided = history.clone();
        decided
            .operations
            .retain(|operation| !undecided.contains(&operation.id));
        match judge_all(&decided, options) {
            Verdict::Ok(_) => Verdict::Undetermined(format!(
                "{} operations may belong to what was lost or to what remained; with the latter \
                 alone they do not agree",
                undecided.len()
            )),
            verdict => verdict,
        }
    };
    verdict.map(|(certificate, reads)| AfterLoss {
        certificate,
        reads,
        rolled_back: 0,
        history,
    })
}

fn judge_all(
    history: &History,
    options: &Options<'_>,
) -> Verdict<(Certificate, serializable_reads::Statistics)> {
    match strict_serializability::check(history, options) {
        Verdict::Ok(certificate) => serializable_reads::check(history, &certificate, options)
            .map(|reads| (certificate, reads)),
        Verdict::Violation(counterexample) => Verdict::Violation(counterexample),
        Verdict::Undetermined(reason) => Verdict::Undetermined(reason),
    }
}

/// The history as it stood when power was lost: what had returned, and what was in flight.
pub fn until(history: &History, at: Nanoseconds) -> History {
    until_with(history, at, &BTreeSet::new())
}

/// As [`until`], where of what was in flight `answered` had been answered by then.
fn until_with(history: &History, at: Nanoseconds, answered: &BTreeSet<u64>) -> History {
    let started = history
        .operations
        .iter()
        .filter(|operation| operation.invoked < at);
    let cut = |operation: &Operation| {
        let mut operation = operation.clone();
        if answered.contains(&operation.id) {
            return operation;
        }
        if !operation.is_unknown() && operation.returned.is_none_or(|returned| returned > at) {
            operation.returned = None;
            operation.outcome = Outcome::Unknown("in flight when power was lost".to_owned());
        }
        operation
    };
    History {
        operations: started.map(cut).collect(),
        ..History::default()
    }
}

/// The history without what the power losses took, as the promise allows.
pub fn without_lost(
    history: &History,
    known: &KnownOrder,
    power_losses: &[PowerLoss],
    promise: Promise,
) -> Remaining {
    let lost = survey(history, known, power_losses).lost;
    let took = |loss: &&PowerLoss| lost.iter().any(|lost| lost.power_loss == Some(loss.at));
    let taking: Vec<&PowerLoss> = power_losses.iter().filter(took).collect();
    remaining(history, known, &taking, &lost, promise)
}

fn remaining(
    history: &History,
    known: &KnownOrder,
    power_losses: &[&PowerLoss],
    lost: &[LostWrite],
    promise: Promise,
) -> Remaining {
    let mut left = Remaining {
        history: history.clone(),
        ..Remaining::default()
    };
    for loss in power_losses {
        let survived = surviving(history, known, loss.at, lost);
        let contested = contested(history, known, loss.at);
        let taken = lost.iter().filter(|lost| {
            let here = lost.power_loss == Some(loss.at) && promise.allows(lost);
            here && !contested.contains(&lost.id)
        });
        left.dropped.extend(taken.map(|lost| lost.id));
        for operation in &mut left.history.operations {
            if left.dropped.contains(&operation.id) {
                continue;
            }
            let line = if contested.contains(&operation.id) {
                Line::Open
            } else {
                belongs(operation, known, loss.at, survived, promise)
            };
            match line {
                Line::Surviving => {}
                Line::Either => _ = left.undecided.insert(operation.id),
                Line::Lost => _ = left.dropped.insert(operation.id),
                Line::Open => {
                    operation.returned = None;
                    operation.outcome = Outcome::Unknown(
                        "may have been rolled back when power was lost".to_owned(),
                    );
                }
            }
        }
    }
    let dropped = &left.dropped;
    left.history
        .operations
        .retain(|operation| !dropped.contains(&operation.id));
    left.undecided.retain(|id| !dropped.contains(id));
    left
}

/// Writes that were in flight when power was lost, and whose content another may have written at
/// the same revision. One of the two was lost, and the other repeated it; nothing tells which.
fn contested(history: &History, known: &KnownOrder, at: Nanoseconds) -> BTreeSet<u64> {
    let mut by_revision: BTreeMap<i64, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        let Some(response) = operation.response() else {
            continue;
        };
        let in_flight = operation.invoked < at && operation.returned.is_some_and(|r| r > at);
        let wrote = response.body.is_effect() && fate(operation, known) == Fate::Present;
        if in_flight && wrote {
            by_revision
                .entry(response.revision)
                .or_default()
                .push(operation);
        }
    }
    let in_flight = by_revision.into_values();
    let contested = in_flight.filter(|same| same.len() > 1 || has_impostor(history, same[0]));
    contested.flatten().map(|operation| operation.id).collect()
}

/// Whether an operation of unknown outcome, or the end of a lease, may have done the same.
fn has_impostor(history: &History, operation: &Operation) -> bool {
    let may = |other: &Operation| other.is_unknown() && may_write_same(operation, other);
    history
        .operations
        .iter()
        .any(|other| may(other) || attaches(&other.request))
}

/// The last revision that certainly survived a power loss.
fn surviving(history: &History, known: &KnownOrder, at: Nanoseconds, lost: &[LostWrite]) -> i64 {
    let taken = lost.iter().filter(|lost| lost.power_loss == Some(at));
    let first_lost = taken.map(|lost| lost.revision).min().unwrap_or(i64::MAX);
    let present = history.operations.iter().filter_map(|operation| {
        let response = operation
            .response()
            .filter(|response| response.body.is_effect())?;
        let before = operation.returned.is_some_and(|returned| returned <= at);
        let candidate = before && response.revision < first_lost;
        (candidate && fate(operation, known) == Fate::Present).then_some(response.revision)
    });
    present.max().unwrap_or(1)
}

fn known_until(known: &KnownOrder, revision: i64) -> KnownOrder {
    KnownOrder {
        compacted: known.compacted,
        revision: known.revision.min(revision),
        records: known
            .records
            .range(..=revision)
            .map(|(r, records)| (*r, records.clone()))
            .collect(),
        whole: known.whole.range(..=revision).copied().collect(),
    }
}

/// Which line of revisions an operation belongs to.
enum Line {
    Surviving,
    Lost,
    Either,
    /// Its effect may or may not have been rolled back.
    Open,
}

fn belongs(
    operation: &Operation,
    known: &KnownOrder,
    at: Nanoseconds,
    survived: i64,
    promise: Promise,
) -> Line {
    let Some(returned) = operation.returned.filter(|_| operation.invoked < at) else {
        return Line::Surviving;
    };
    let in_reach = match promise {
        Promise::NeverLost => false,
        Promise::LostAfterPowerLoss => true,
        Promise::LostWithin(window) => returned.saturating_add(window) >= at,
    };
    match (&operation.outcome, &operation.request) {
        (Outcome::Unknown(_), _) => Line::Surviving,
        _ if !in_reach => Line::Surviving,
        (Outcome::Ok(_), Request::Compact(_)) => Line::Open,
        (Outcome::Failed(failure), _) if failure.class == FailureClass::Compacted => Line::Lost,
        (Outcome::Failed(_), _) => Line::Surviving,
        (Outcome::Ok(response), _) if response.revision <= survived => Line::Surviving,
        (Outcome::Ok(response), _) if response.body.is_effect() => match fate(operation, known) {
            Fate::NotChecked => Line::Either,
            // A lost write that the promise does not allow stays, and fails.
            Fate::Present | Fate::Lost => Line::Surviving,
        },
        (Outcome::Ok(_), _) if returned <= at => Line::Lost,
        (Outcome::Ok(_), _) => Line::Either,
    }
}
