//! Verifies the order behind the search, revision by revision.
//!
//! A history of a million operations does not fit into the processor's cache, and reading it once
//! more for the verifier takes as long as verifying it. So the verifier follows the search at a
//! short distance, through what was just read. It is the same verifier, and what it is given is the
//! order that the verdict comes with; only the time is another. Where the search goes back further
//! than that distance, where operations of unknown outcome change places afterwards, or where the
//! order is only known in the end, the whole order is verified in the end.

use super::plan::Plan;
use super::points::Points;
use super::replay::Fill;
use crate::check::certificate::{Kind, Step, Verifier};

/// An order up to some revision, verified so far.
pub(super) struct Verified<'p, 'a> {
    points: Points<'p, 'a>,
    last: i64,
    verifier: Verifier<'a>,
    /// The last revision that was verified.
    until: i64,
    fills: Vec<(i64, Fill)>,
    operations: usize,
}

impl<'p, 'a> Verified<'p, 'a> {
    /// Begins; `None` where an order is only known when all of it is.
    pub(super) fn new(plan: &'p Plan<'a>) -> Option<Verified<'p, 'a>> {
        // The verifier would keep the past of every key then, which is more than fits into a cache.
        if !plan.old_reads.is_empty() {
            return None;
        }
        Some(Verified {
            points: Points::in_place(plan)?,
            last: plan.last,
            verifier: Verifier::new(plan.operations, Kind::Revisions, false),
            until: 0,
            fills: Vec::new(),
            operations: 0,
        })
    }

    /// How many gaps were filled so far, and how many of them by operations.
    pub(super) fn filled(&self) -> (usize, usize) {
        (self.fills.len(), self.operations)
    }

    /// Whether a revision was verified.
    pub(super) fn covers(&self, revision: i64) -> bool {
        revision <= self.until
    }

    /// Verifies up to a revision, the gaps that come next being filled like this. Returns whether
    /// the order holds so far; if it does not, that is for the end to tell.
    pub(super) fn go_on(&mut self, until: i64, fills: impl Iterator<Item = (i64, Fill)>) -> bool {
        let mut fills = fills.peekable();
        let from = self.points.steps.len();
        for revision in self.until + 1..=until {
            let fill = fills.next_if(|(at, _)| *at == revision);
            self.fills.extend(fill);
            let fill = fill.map(|(_, fill)| fill);
            self.operations += usize::from(matches!(fill, Some(Fill::Operation(_))));
            self.points.place_revision(revision, fill);
        }
        self.until = until;
        self.verifier.go_on(&self.points.steps[from..]).is_ok()
    }

    /// The order, if it holds with the gaps filled like this.
    pub(super) fn finish(mut self, fills: &[(i64, Fill)]) -> Option<Vec<Step>> {
        let rest = fills.strip_prefix(&self.fills[..])?;
        if !self.go_on(self.last, rest.iter().copied()) {
            return None;
        }
        self.verifier.finish().ok()?;
        Some(self.points.steps)
    }
}
