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

#[cfg(test)]
mod tests {
    use super::super::gaps::Gaps;
    use super::super::order::Order;
    use super::super::replay::{End, Replay};
    use super::super::witnesses::Witnesses;
    use super::*;
    use crate::history::{Body, Operation, Outcome, Put, PutBody, Request, Response};

    const LONG: i64 = 2000;

    /// Writes of revision 3 and so on, and before them two of unknown outcome.
    fn operations() -> Vec<Operation> {
        let put = |id: u64, returned, outcome| Operation {
            id,
            client: 0,
            member: None,
            invoked: id * 10,
            returned,
            request: Request::Put(Put::default()),
            outcome,
        };
        let unknown = |id| put(id, None, Outcome::Unknown(String::new()));
        let written = |id: u64| {
            let response = Response {
                revision: id as i64 + 1,
                body: Body::Put(PutBody::default()),
            };
            put(id, Some(id * 10 + 5), Outcome::Ok(response))
        };
        let known = (2..LONG as u64).map(written);
        (0..2).map(unknown).chain(known).collect()
    }

    /// What is left to verify is what the search may still take back.
    #[test]
    fn the_verifier_follows_the_search_and_the_end_is_verified_with_the_gaps_it_saw_filled() {
        let operations = operations();
        let Ok(plan) = Plan::new(&operations, None, false) else {
            panic!("no plan");
        };
        let order = Order::new(&plan).unwrap();
        let gaps = Gaps::new(&plan, Witnesses::default(), None);
        for as_seen in [true, false] {
            let mut replay = Replay::new(&plan, &order, &gaps);
            let End::Explained(mut fills) = replay.run(u64::MAX) else {
                panic!("not explained");
            };
            let [(2, Fill::Operation(writer))] = &mut fills[..] else {
                panic!("{fills:?}");
            };
            let verified = replay.verified.unwrap();
            assert!(verified.covers(LONG / 2) && !verified.covers(LONG));
            if as_seen {
                let steps = verified.finish(&fills).unwrap();
                assert_eq!(steps.len() as i64, LONG - 1);
            } else {
                *writer = 1 - *writer;
                assert_eq!(verified.finish(&fills), None);
            }
        }
    }

    /// The verifier is asked, not taken for granted.
    #[test]
    fn an_order_that_does_not_hold_is_not_passed() {
        let operations = operations();
        let Ok(plan) = Plan::new(&operations, None, false) else {
            panic!("no plan");
        };
        let verify = |fills: &[_]| Verified::new(&plan).unwrap().finish(fills);
        assert!(verify(&[(2, Fill::Operation(0))]).is_some());
        assert_eq!(verify(&[]), None);
        assert_eq!(verify(&[(2, Fill::Expiry(7))]), None);
    }
}
