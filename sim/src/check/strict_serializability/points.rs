//! From places to an explicit order: every operation gets the earliest point in time at which all
//! that must precede it allows it to take effect, and the order is that of the points.
//!
//! Compactions have no revision of their own. One that succeeded takes effect as early as it may;
//! a refusal that says "compacted" as late as it may, at its return, because compaction is never
//! taken back; one that says "future revision" at its invocation. Where such a refusal needs a
//! compaction of unknown outcome, the one with the earliest point serves: whoever else needed a
//! later one could have used it too, so trying others gains nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::explain;
use super::order::Order;
use super::plan::{Index, Plan};
use super::replay::Fill;
use crate::check::Counterexample;
use crate::check::certificate::Step;

/// Why no order was made.
pub(super) enum Problem {
    Violation(Box<Counterexample>),
    Undetermined(String),
}

/// What comes first among operations with the same point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Future,
    Placed(u64),
    Compaction(i64),
    Compacted,
}

/// An order that is being made.
pub(super) struct Points<'p, 'a> {
    plan: &'p Plan<'a>,
    pub(super) steps: Vec<Step>,
    /// The latest point so far.
    point: u64,
    /// Where each step belongs, when they do not come in the order in which they are placed.
    ranks: Option<Vec<(u64, Rank)>>,
    /// The revisions that compactions ask for, and the points of their writes.
    wanted: BTreeSet<i64>,
    written: BTreeMap<i64, u64>,
    /// The oldest revision read, and the point of the read; later the latest point of this or any
    /// older.
    old_reads: BTreeMap<i64, u64>,
}

/// Orders all operations; `certain` tells that the fillings were without alternative.
pub(super) fn order(
    plan: &Plan<'_>,
    order: &Order,
    fills: &[(i64, Fill)],
    certain: bool,
) -> Result<Vec<Step>, Problem> {
    let mut points = Points::new(plan);
    points.place(fills);
    if is_floating(plan) {
        points.compact(order, certain)?;
    }
    let Some(ranks) = points.ranks else {
        return Ok(points.steps);
    };
    let mut ranked: Vec<((u64, Rank), Step)> = ranks.into_iter().zip(points.steps).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    Ok(ranked.into_iter().map(|(_, step)| step).collect())
}

/// Whether anything in the order has no place by its revision.
fn is_floating(plan: &Plan<'_>) -> bool {
    !plan.compactions.is_empty() || !plan.compacted.is_empty()
}

/// Whether the order must be sorted when all of it is known.
fn is_sorted(plan: &Plan<'_>) -> bool {
    is_floating(plan) || !plan.future.is_empty()
}

impl<'p, 'a> Points<'p, 'a> {
    fn new(plan: &'p Plan<'a>) -> Points<'p, 'a> {
        let compactions = plan.compactions.iter().chain(&plan.unknown_compactions);
        Points {
            plan,
            steps: Vec::with_capacity(plan.operations.len()),
            point: 0,
            ranks: is_sorted(plan).then(|| Vec::with_capacity(plan.operations.len())),
            wanted: compactions.map(|compaction| compaction.0).collect(),
            written: BTreeMap::new(),
            old_reads: BTreeMap::new(),
        }
    }

    /// An order that needs no sorting, so that what is placed of it is final; `None` where it does.
    pub(super) fn in_place(plan: &'p Plan<'a>) -> Option<Points<'p, 'a>> {
        (!is_sorted(plan)).then(|| Points::new(plan))
    }

    fn id(&self, index: Index) -> Step {
        Step::Operation(self.plan.id(index))
    }

    fn push(&mut self, point: u64, rank: Rank, step: Step) {
        self.steps.push(step);
        if let Some(ranks) = &mut self.ranks {
            ranks.push((point, rank));
        }
    }

    /// Writers and readers, revision by revision.
    fn place(&mut self, fills: &[(i64, Fill)]) {
        let plan = self.plan;
        let mut future = plan.future.clone();
        future.sort_unstable();
        let mut future = future.into_iter().peekable();
        let mut fills = fills.iter().peekable();
        for revision in 1..=plan.last {
            while let Some((_, index)) = future.next_if(|(asked, _)| *asked <= revision) {
                self.point = self.point.max(plan.called(index));
                self.push(plan.called(index), Rank::Future, self.id(index));
            }
            let fill = fills.next_if(|(at, _)| *at == revision);
            self.place_revision(revision, fill.map(|(_, fill)| *fill));
        }
        for (_, index) in future {
            self.push(plan.called(index), Rank::Future, self.id(index));
        }
    }

    /// The writer of a revision, or what filled it, and its readers.
    pub(super) fn place_revision(&mut self, revision: i64, fill: Option<Fill>) {
        let plan = self.plan;
        match (plan.writer(revision), fill) {
            (Some(writer), _) => self.put(writer),
            (None, Some(Fill::Operation(index))) => self.put(index),
            (None, Some(Fill::Expiry(lease))) => {
                let rank = Rank::Placed(self.steps.len() as u64);
                self.push(self.point, rank, Step::Expiry(lease));
            }
            (None, None) => {}
        }
        if self.wanted.contains(&revision) {
            self.written.insert(revision, self.point);
        }
        for index in plan.readers(revision) {
            self.put(*index);
        }
    }

    fn put(&mut self, index: Index) {
        self.point = self.point.max(self.plan.called(index));
        if let Some(oldest) = self.plan.old_reads.get(&index) {
            let latest = self.old_reads.entry(*oldest).or_default();
            *latest = (*latest).max(self.point);
        }
        // A serializable read helps to find the order, but has no place in it.
        if !self.plan.only_helps(index) {
            let rank = Rank::Placed(self.steps.len() as u64);
            self.push(self.point, rank, self.id(index));
        }
    }

    fn compact(&mut self, order: &Order, certain: bool) -> Result<(), Problem> {
        let plan = self.plan;
        let mut latest = 0;
        for point in self.old_reads.values_mut() {
            latest = latest.max(*point);
            *point = latest;
        }
        // By compacted revision: the point, the operation, whether its outcome is known.
        let mut points: Vec<(i64, u64, Index, bool)> = Vec::new();
        let mut previous = 0;
        for (revision, index) in &plan.compactions {
            previous = self.earliest(*revision, *index).max(previous);
            points.push((*revision, previous, *index, true));
        }
        let definite = points.len();
        for (revision, index) in &plan.unknown_compactions {
            let before = points[..definite].partition_point(|known| known.0 < *revision);
            let taken = points[..definite]
                .get(before)
                .is_some_and(|known| known.0 == *revision);
            if !taken && self.written.contains_key(revision) {
                let chain = before.checked_sub(1).map_or(0, |last| points[last].1);
                let point = self.earliest(*revision, *index).max(chain);
                points.push((*revision, point, *index, false));
            }
        }
        let mut needed = vec![true; definite];
        needed.resize(points.len(), false);
        for (needs, index) in &order.deferred {
            let able = points
                .iter()
                .enumerate()
                .filter(|(_, able)| able.0 >= *needs);
            let first = able.min_by_key(|(_, able)| (able.1, !able.3));
            match first {
                Some((at, able)) if able.1 <= plan.returned(*index) => needed[at] = true,
                _ => return Err(self.unexplained(*needs, *index, certain)),
            }
        }
        for ((revision, point, index, _), _) in
            points.iter().zip(&needed).filter(|(_, needed)| **needed)
        {
            self.push(*point, Rank::Compaction(*revision), self.id(*index));
        }
        for (_, index) in &plan.compacted {
            self.push(plan.returned(*index), Rank::Compacted, self.id(*index));
        }
        Ok(())
    }

    /// When a compaction may take effect: after its revision is written and the last read of what
    /// it forgets.
    fn earliest(&self, revision: i64, index: Index) -> u64 {
        let read = self
            .old_reads
            .range(..revision)
            .next_back()
            .map_or(0, |(_, point)| *point);
        let written = self.written.get(&revision).copied().unwrap_or(0);
        self.plan.called(index).max(read).max(written)
    }

    fn unexplained(&self, needs: i64, index: Index, certain: bool) -> Problem {
        let operation = self.plan.operation(index);
        let summary = format!(
            "operation {} was told that its revision is compacted, but no compaction can have \
             happened by then",
            operation.id
        );
        let beyond = self
            .plan
            .unknown_compactions
            .iter()
            .any(|(revision, unknown)| {
                *revision >= needs
                    && *revision > self.plan.last
                    && self.plan.called(*unknown) <= self.plan.returned(index)
            });
        if certain && !beyond {
            Problem::Violation(explain::start(summary).with(operation).into())
        } else {
            Problem::Undetermined(format!(
                "{summary}, unless operations of unknown outcome wrote other revisions than assumed"
            ))
        }
    }
}
