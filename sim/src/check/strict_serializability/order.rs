//! Real time: no operation may be invoked after something that must come later has returned.
//!
//! Places force an order: the writer of a revision before its readers, those before the next
//! writer; a compaction after the revision it compacts, after every read of what it forgets, and
//! before whoever was told that it is forgotten. Such an order can be reconciled with real time
//! exactly when no operation was invoked after the return of one that it must precede, so scanning
//! backwards with the least return so far finds a conflict as a pair, in linear time.

use std::collections::BTreeMap;

use super::explain;
use super::plan::{Index, Plan};
use crate::check::Counterexample;

/// The least return among the operations that must come later, and whose it is.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: u64,
    by: Index,
}

const NEVER: Deadline = Deadline {
    at: u64::MAX,
    by: Index::MAX,
};

impl Deadline {
    fn or(self, other: Deadline) -> Deadline {
        if other.at < self.at { other } else { self }
    }
}

/// What the forced order allows.
pub(super) struct Order {
    /// The revisions without a definite writer, ascending: whoever wrote one must have been invoked
    /// by then.
    deadlines: Vec<(i64, u64)>,
    /// Operations that were told "compacted", perhaps because of a compaction whose outcome is
    /// unknown: left for the end, when every other place is known.
    pub(super) deferred: Vec<(i64, Index)>,
}

impl Order {
    /// Scans the forced order.
    ///
    /// # Errors
    /// Two operations that each come before the other.
    pub(super) fn new(plan: &Plan<'_>) -> Result<Order, Box<Counterexample>> {
        let mut deferred = Vec::new();
        let chain = compaction_chain(plan, &mut deferred)?;
        let old_reads = old_read_deadlines(plan, &chain)?;
        let effective = |index: Index| {
            let own = Deadline {
                at: plan.returned(index),
                by: index,
            };
            old_reads
                .get(&index)
                .map_or(own, |deadline| own.or(*deadline))
        };
        let mut future: Vec<_> = plan.future.clone();
        future.sort_unstable();
        let mut deadlines = Vec::with_capacity(plan.gaps);
        let mut least = NEVER;
        let in_time = |index: Index, deadline: Deadline| {
            if plan.called(index) > deadline.at {
                return Err(Box::new(plan.against_time(index, deadline.by)));
            }
            Ok(())
        };
        let mut compactions = chain.iter().rev().peekable();
        for revision in (1..=plan.last).rev() {
            let readers = plan.readers(revision);
            for index in readers {
                in_time(*index, least)?;
            }
            for index in readers {
                least = least.or(effective(*index));
            }
            while let Some((_, deadline)) = compactions.next_if(|(at, _)| *at == revision) {
                least = least.or(*deadline);
            }
            match plan.writer(revision) {
                Some(writer) => {
                    in_time(writer, least)?;
                    least = least.or(effective(writer));
                }
                None => deadlines.push((revision, least.at)),
            }
            while let Some((asked, index)) = future.pop_if(|(at, _)| *at >= revision) {
                if asked == revision {
                    in_time_future(plan, index, asked, least)?;
                }
            }
        }
        deadlines.reverse();
        Ok(Order {
            deadlines,
            deferred,
        })
    }

    /// By when whoever wrote this revision must have been invoked, where that is not known.
    pub(super) fn deadline(&self, revision: i64) -> u64 {
        let found = self.deadlines.binary_search_by_key(&revision, |gap| gap.0);
        found.map_or(u64::MAX, |at| self.deadlines[at].1)
    }
}

/// An operation that was told "future revision" must precede that revision's writer.
fn in_time_future(
    plan: &Plan<'_>,
    index: Index,
    asked: i64,
    least: Deadline,
) -> Result<(), Box<Counterexample>> {
    let operation = plan.operation(index);
    let told = format!(
        "operation {} was told that revision {asked} is not there yet",
        operation.id
    );
    if asked == 1 {
        let empty = "revision 1 is the empty store, and always there";
        return Err(explain::start(told).with(operation).because(empty).into());
    }
    if plan.called(index) > least.at {
        return Err(plan.against_time(index, least.by).because(told).into());
    }
    Ok(())
}

/// By compacted revision: the least return among a compaction and all that must come after it.
fn compaction_chain(
    plan: &Plan<'_>,
    deferred: &mut Vec<(i64, Index)>,
) -> Result<Vec<(i64, Deadline)>, Box<Counterexample>> {
    let own = |(revision, index): &(i64, Index)| {
        (
            *revision,
            Deadline {
                at: plan.returned(*index),
                by: *index,
            },
        )
    };
    let mut chain: Vec<_> = plan.compactions.iter().map(own).collect();
    for (needs, index) in &plan.compacted {
        let returned = plan.returned(*index);
        let may_explain = |(revision, unknown): &(i64, Index)| {
            revision >= needs
                && plan.called(*unknown) <= returned
                && plan
                    .compactions
                    .binary_search_by_key(revision, |known| known.0)
                    .is_err()
        };
        if plan.unknown_compactions.iter().any(may_explain) {
            deferred.push((*needs, *index));
            continue;
        }
        let first = chain.partition_point(|(revision, _)| revision < needs);
        let Some((_, deadline)) = chain.get_mut(first) else {
            let summary = format!(
                "operation {} was told that its revision is compacted, but nobody compacted it",
                plan.operation(*index).id
            );
            return Err(explain::start(summary).with(plan.operation(*index)).into());
        };
        *deadline = deadline.or(Deadline {
            at: returned,
            by: *index,
        });
    }
    for later in (1..chain.len()).rev() {
        let deadline = chain[later].1;
        chain[later - 1].1 = chain[later - 1].1.or(deadline);
    }
    for ((_, index), (_, deadline)) in plan.compactions.iter().zip(&chain) {
        if plan.called(*index) > deadline.at {
            return Err(plan.against_time(*index, deadline.by).into());
        }
    }
    Ok(chain)
}

/// Reads of old revisions precede the first compaction that forgets what they read.
fn old_read_deadlines(
    plan: &Plan<'_>,
    chain: &[(i64, Deadline)],
) -> Result<BTreeMap<Index, Deadline>, Box<Counterexample>> {
    let mut deadlines = BTreeMap::new();
    for (index, oldest) in &plan.old_reads {
        let first = chain.partition_point(|(revision, _)| revision <= oldest);
        let Some((_, deadline)) = chain.get(first) else {
            continue;
        };
        if plan.called(*index) > deadline.at {
            return Err(plan.against_time(*index, deadline.by).into());
        }
        deadlines.insert(*index, *deadline);
    }
    Ok(deadlines)
}
