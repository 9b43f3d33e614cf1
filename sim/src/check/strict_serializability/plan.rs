//! Sorts operations into the places that their answers force on them.
//!
//! The revision in an answer's header puts an operation that changed something into the writer's
//! slot of that revision, and one that changed nothing among the readers of it.

use std::collections::{BTreeMap, BTreeSet};

use super::explain;
use super::roles::{Role, called, lease_puts, returned, revisions_asked, role};
use super::witnesses::Witnesses;
use crate::check::{Counterexample, KnownOrder};
use crate::history::lines::Sense;
use crate::history::{Operation, Request};

/// An index into the history's operations.
pub(super) type Index = u32;

/// After how many operations witnesses are looked for among them.
const LOOK_EVERY: Index = 1024;

/// Stands for no operation. A history that large does not fit into memory.
const NOBODY: Index = Index::MAX;

/// The places of all operations. Revisions index the vectors directly; slots 0 and 1 have no
/// writer, because revision 1 is the empty store.
pub(super) struct Plan<'a> {
    pub(super) operations: &'a [Operation],
    /// When each operation may take effect at the earliest, and has at the latest.
    calls: Vec<u64>,
    returns: Vec<u64>,
    /// Whether every operation's id is its index.
    plain_ids: bool,
    /// Whether serializable reads are judged with the rest.
    pub(super) with_serializable: bool,
    /// The last revision that anything bears witness to.
    pub(super) last: i64,
    /// [`NOBODY`] where no answered operation is the writer.
    writers: Vec<Index>,
    readers: Vec<Index>,
    reader_starts: Vec<u32>,
    /// Operations of unknown outcome that may have written.
    pub(super) unknown_writes: Vec<Index>,
    /// Compactions that succeeded, by the revision they compacted.
    pub(super) compactions: Vec<(i64, Index)>,
    /// Compactions of unknown outcome, by revision.
    pub(super) unknown_compactions: Vec<(i64, Index)>,
    /// Operations that were told "compacted", with the least compaction that makes it true.
    pub(super) compacted: Vec<(i64, Index)>,
    /// Operations that were told "future revision", with the revision that was not there yet.
    pub(super) future: Vec<(i64, Index)>,
    /// Reads of an old revision, with the oldest one they read. By operation.
    pub(super) old_reads: BTreeMap<Index, i64>,
    /// The old revisions whose content is asked for.
    pub(super) demanded: BTreeSet<i64>,
    /// Revisions without a definite writer.
    pub(super) gaps: usize,
    /// Whether any write attaches a key to a lease, so that an expiry may fill a gap.
    pub(super) leases: bool,
    /// Operations of unknown outcome.
    pub(super) unknown: u64,
    pub(super) not_checked: NotChecked,
    /// Who may bear witness to what nobody is known to have written.
    pub(super) witnesses: Witnesses,
    /// Why there are more revisions than can have been written, if there are. Two operations against
    /// real time say it better, so they are looked for first.
    pub(super) too_many_revisions: Option<Box<Counterexample>>,
}

/// Why operations have no places.
pub(super) enum Unfit {
    /// The history makes no sense.
    Malformed(String),
    /// No order gives them what their answers demand.
    Violation(Box<Counterexample>),
}

impl From<Box<Counterexample>> for Unfit {
    fn from(counterexample: Box<Counterexample>) -> Unfit {
        Unfit::Violation(counterexample)
    }
}

/// Definite operations that this judge says nothing about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NotChecked {
    pub(super) serializable: u64,
    pub(super) failures: u64,
}

impl<'a> Plan<'a> {
    /// Finds every operation's place. With `with_serializable`, serializable reads are held to
    /// have been invoked at the beginning of time, and are judged with the rest.
    ///
    /// # Errors
    /// An operation that makes no sense, two writers of one revision, an answer without a sensible
    /// revision, or more revisions than operations that can have written them.
    pub(super) fn new(
        operations: &'a [Operation],
        known: Option<&KnownOrder>,
        with_serializable: bool,
    ) -> Result<Plan<'a>, Unfit> {
        let mut plan = Plan {
            operations,
            calls: Vec::with_capacity(operations.len()),
            returns: Vec::with_capacity(operations.len()),
            plain_ids: true,
            with_serializable,
            last: 1,
            writers: Vec::new(),
            readers: Vec::new(),
            reader_starts: Vec::new(),
            unknown_writes: Vec::new(),
            compactions: Vec::new(),
            unknown_compactions: Vec::new(),
            compacted: Vec::new(),
            future: Vec::new(),
            old_reads: BTreeMap::new(),
            demanded: BTreeSet::new(),
            gaps: 0,
            leases: false,
            unknown: 0,
            not_checked: NotChecked::default(),
            witnesses: Witnesses::default(),
            too_many_revisions: None,
        };
        let (mut writers, mut readers) = (Vec::new(), Vec::new());
        let mut lease_count = 0;
        let mut sense = Sense::default();
        let mut nonsense = None;
        // The history is long and this looks at all of it: whatever is wanted of every operation is
        // taken in one pass, while it is in the processor's cache.
        for (index, operation) in (0..).zip(operations) {
            sense.look(operation);
            plan.calls.push(called(operation));
            plan.returns.push(returned(operation));
            plan.plain_ids &= operation.id == u64::from(index);
            lease_count += lease_puts(&operation.request);
            plan.unknown += u64::from(operation.is_unknown());
            match role(operation, with_serializable) {
                Role::Writer(revision) => {
                    writers.push((revision, index));
                    plan.witnesses.written(revision);
                    plan.find_old_reads(index, &operation.request);
                }
                Role::Reader(revision) => {
                    readers.push((revision, index));
                    plan.find_old_reads(index, &operation.request);
                }
                Role::Compaction(revision) => plan.compactions.push((revision, index)),
                Role::Compacted(needs) => plan.compacted.push((needs, index)),
                Role::Future(revision) => plan.future.push((revision, index)),
                Role::UnknownWrite => plan.unknown_writes.push(index),
                Role::UnknownCompaction(revision) => {
                    plan.unknown_compactions.push((revision, index));
                }
                Role::Serializable => plan.not_checked.serializable += 1,
                Role::Failure => plan.not_checked.failures += 1,
                Role::Nonsense if nonsense.is_none() => {
                    let summary = format!(
                        "operation {} got an answer to another question",
                        operation.id
                    );
                    nonsense = Some(explain::start(summary).with(operation));
                }
                Role::Nonsense | Role::Nothing => {}
            }
            if index % LOOK_EVERY == 0 && !plan.unknown_writes.is_empty() {
                let so_far = &operations[..=index as usize];
                plan.witnesses.look(so_far, with_serializable);
            }
        }
        sense.of(operations).map_err(Unfit::Malformed)?;
        if let Some(nonsense) = nonsense {
            return Err(Unfit::Violation(nonsense.into()));
        }
        plan.leases = lease_count > 0;
        plan.compactions.sort_unstable();
        plan.unknown_compactions.sort_unstable();
        plan.check_revisions(&writers, &readers)?;
        plan.count_gaps(&writers, &readers, lease_count, known)?;
        plan.fill_slots(&writers)?;
        plan.fill_readers(readers);
        Ok(plan)
    }

    fn check_revisions(
        &self,
        writers: &[(i64, Index)],
        readers: &[(i64, Index)],
    ) -> Result<(), Box<Counterexample>> {
        for (least, places) in [(2, writers), (1, readers)] {
            if let Some((revision, index)) = places.iter().find(|place| place.0 < least) {
                let summary = format!("an answer has revision {revision}");
                return Err(explain::start(summary)
                    .with(self.operation(*index))
                    .because(format!("its header must have at least revision {least}"))
                    .into());
            }
        }
        if let Some(pair) = self
            .compactions
            .windows(2)
            .find(|pair| pair[0].0 == pair[1].0)
        {
            let summary = format!("revision {} was compacted twice", pair[0].0);
            return Err(explain::start(summary)
                .with(self.operation(pair[0].1))
                .with(self.operation(pair[1].1))
                .because("the later of the two should have been told that it is compacted")
                .into());
        }
        Ok(())
    }

    /// Sets `last` and `gaps`, and makes sure that `last` is in proportion to the history.
    fn count_gaps(
        &mut self,
        writers: &[(i64, Index)],
        readers: &[(i64, Index)],
        lease_count: usize,
        known: Option<&KnownOrder>,
    ) -> Result<(), Box<Counterexample>> {
        let seen = writers.iter().chain(readers).chain(&self.compactions).max();
        self.last = seen
            .map_or(1, |seen| seen.0)
            .max(known.map_or(1, |known| known.revision));
        let written: BTreeSet<i64> = match known {
            // Counting distinct revisions only matters when there may be too many of them.
            None if writers.len() as i64 >= self.last - 1 => BTreeSet::new(),
            _ => writers.iter().map(|writer| writer.0).collect(),
        };
        let written = if written.is_empty() {
            writers.len()
        } else {
            written.len()
        };
        let gaps = usize::try_from(self.last - 1)
            .unwrap_or(usize::MAX)
            .saturating_sub(written);
        let fillers = self.unknown_writes.len() + lease_count;
        // The revisions are in proportion to the history, so that all of them can be looked at.
        let bounded = gaps <= self.operations.len() + 1_000_000;
        // With the store's own records the replay finds the very revision that nobody wrote; where
        // nothing could have been written, it is the first of them.
        let traceable = bounded && (known.is_some() || fillers == 0);
        if gaps > fillers && !traceable {
            let summary = format!(
                "revision {} was reached, but {} have no writer, and no more than {} can have \
                 written them",
                self.last,
                counted(gaps, "revision"),
                counted(fillers, "operation of unknown outcome")
            );
            let start = explain::start(summary);
            let counterexample = Box::new(match seen {
                Some(seen) if seen.0 == self.last => start.with(self.operation(seen.1)),
                _ => start.because("the final store says so"),
            });
            if !bounded {
                return Err(counterexample);
            }
            self.too_many_revisions = Some(counterexample);
        }
        Ok(())
    }

    fn fill_slots(&mut self, writers: &[(i64, Index)]) -> Result<(), Box<Counterexample>> {
        self.writers = vec![NOBODY; usize::try_from(self.last).unwrap_or(0) + 1];
        for (revision, index) in writers {
            let slot = &mut self.writers[usize::try_from(*revision).unwrap_or(0)];
            let first = std::mem::replace(slot, *index);
            if first != NOBODY {
                let summary = format!("two operations wrote revision {revision}");
                return Err(explain::start(summary)
                    .with(self.operation(first))
                    .with(self.operation(*index))
                    .because("every change of the store has a revision of its own")
                    .into());
            }
        }
        self.gaps = self
            .writers
            .iter()
            .skip(2)
            .filter(|writer| **writer == NOBODY)
            .count();
        Ok(())
    }

    /// Groups readers by revision, and within one by the time of their invocation.
    fn fill_readers(&mut self, readers: Vec<(i64, Index)>) {
        let slots = self.writers.len();
        let mut starts = vec![0_u32; slots + 1];
        for (revision, _) in &readers {
            starts[usize::try_from(*revision).unwrap_or(0) + 1] += 1;
        }
        for slot in 0..slots {
            starts[slot + 1] += starts[slot];
        }
        let mut next = starts.clone();
        self.readers = vec![0; readers.len()];
        for (revision, index) in readers {
            let next = &mut next[usize::try_from(revision).unwrap_or(0)];
            self.readers[*next as usize] = index;
            *next += 1;
        }
        for slot in 0..slots {
            let range = starts[slot] as usize..starts[slot + 1] as usize;
            let calls = &self.calls;
            self.readers[range].sort_by_key(|index| (calls[*index as usize], *index));
        }
        self.reader_starts = starts;
    }

    fn find_old_reads(&mut self, index: Index, request: &Request) {
        let asked = revisions_asked(request);
        if let Some(oldest) = asked.iter().min() {
            self.old_reads.insert(index, *oldest);
            self.demanded.extend(asked);
        }
    }

    pub(super) fn operation(&self, index: Index) -> &'a Operation {
        &self.operations[index as usize]
    }

    /// The id of an operation.
    pub(super) fn id(&self, index: Index) -> u64 {
        match self.plain_ids {
            true => u64::from(index),
            false => self.operation(index).id,
        }
    }

    /// Whether an operation helps to find the order, but has no place in it.
    pub(super) fn only_helps(&self, index: Index) -> bool {
        self.with_serializable && self.operation(index).request.is_serializable()
    }

    /// The definite writer of a revision.
    pub(super) fn writer(&self, revision: i64) -> Option<Index> {
        let writer = self.writers.get(usize::try_from(revision).ok()?).copied();
        writer.filter(|writer| *writer != NOBODY)
    }

    /// The operations that changed nothing at a revision, in the order of their invocation.
    pub(super) fn readers(&self, revision: i64) -> &[Index] {
        let slot = usize::try_from(revision).unwrap_or(0);
        &self.readers[self.reader_starts[slot] as usize..self.reader_starts[slot + 1] as usize]
    }

    /// Whether an operation names an old revision.
    pub(super) fn reads_past(&self, index: Index) -> bool {
        !revisions_asked(&self.operation(index).request).is_empty()
    }

    /// When an operation may take effect at the earliest.
    pub(super) fn called(&self, index: Index) -> u64 {
        self.calls[index as usize]
    }

    /// When an operation has taken effect at the latest.
    pub(super) fn returned(&self, index: Index) -> u64 {
        self.returns[index as usize]
    }
}

/// `1 operation of unknown outcome`, `2 operations of unknown outcome`.
fn counted(count: usize, what: &str) -> String {
    match (count, what.split_once(' ')) {
        (1, _) => format!("1 {what}"),
        (count, Some((noun, rest))) => format!("{count} {noun}s {rest}"),
        (count, None) => format!("{count} {what}s"),
    }
}
