//! Crash enumeration: for short workloads, *every* moment at which a member can die and, within a
//! stated bound, *everything* a power loss can leave of its disk then.
//!
//! A workload is a few [`Operation`]s of a member's storage, one after the other, done with the
//! server's own log, backend and snapshot code on a [`Bench`](crate::world::disk): the simulated
//! disk with its fault model and nothing of its own. Before every changing disk operation, and after
//! the last, there is a *point*. At each point three things are tried:
//!
//! - **the process dies** and comes back on what its kernel still holds; then, the member having
//!   started, the machine loses power and all that is not durable;
//! - **power is lost**, and of the un-synced sectors, lengths and names any subset survives that the
//!   fault model permits. When there are no more outcomes than the bound, all are tried; otherwise
//!   nothing, everything, everything but one, nothing but one, and then outcomes drawn at random;
//!   what is left out is counted and said;
//! - **the operation fails**, if it is a sync or a write to a file: the member must stop, and both of
//!   the above are tried where it stopped.
//!
//! Each outcome is started with [`vetcd::server::boot`] and judged by [`expect`]: what was
//! acknowledged is there, nothing is there that was never written, and it is a state the member was
//! in. A start that is refused is a failure as well: nothing here damages what was synced.
//!
//! Each workload is gone through at two paces. At a quiet one the log's writer finds the time, after
//! each operation, to write by themselves what can wait for its next group: the commit index, and the
//! claim that all before is durable. At a busy one the next operation's group takes them along.
//! Where nothing waits when the last operation begins, the two are the same, and one is gone through.
//!
//! Workloads that begin alike share their beginnings: only the points of a workload's last operation
//! are looked at, those of its beginning belong to the shorter workload.
//!
//! Not enumerated: a second crash during the recovery from the first; sectors torn inside, unless
//! `--sector` is made smaller; operations that overlap.

mod drive;
mod expect;
mod key_index;
mod saved;
mod states;
#[cfg(test)]
mod tests;
mod workload;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use vetcd::defects::Defects;

pub use self::saved::{Death, SavedState, replay};
pub use self::states::{Counts, Failure};
pub use self::workload::{Operation, Pace, Workload};
use crate::world::lock;

/// The most operations of a workload.
pub const OPERATIONS_MAX: usize = 4;

/// What to go through.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most operations of a workload; all workloads up to that length are gone through.
    pub operations: usize,
    /// The operations workloads are made of.
    pub of: Vec<Operation>,
    /// The paces at which they are gone through.
    pub paces: Vec<Pace>,
    /// The most outcomes of a power loss tried at one point.
    pub outcomes: usize,
    /// The unit in which written bytes survive, in bytes.
    pub sector: u32,
    /// Deliberate mistakes of the server.
    pub defects: Vec<String>,
    /// Threads.
    pub jobs: NonZero<usize>,
    /// Stop at the first failure.
    pub fail_fast: bool,
    /// For the outcomes that are drawn.
    pub seed: u64,
}

impl Options {
    /// All workloads of up to `operations` operations, with so many outcomes a point.
    pub fn new(operations: usize, outcomes: usize) -> Options {
        Options {
            operations,
            of: Operation::ALL.to_vec(),
            paces: Pace::ALL.to_vec(),
            outcomes,
            sector: 512,
            defects: Vec::new(),
            jobs: NonZero::<usize>::MIN,
            fail_fast: false,
            seed: 1,
        }
    }

    fn defects(&self) -> Result<Defects, String> {
        Defects::by_name(self.defects.iter().map(String::as_str))
    }

    /// Every workload, shorter ones first, at every pace that makes a difference.
    pub fn workloads(&self) -> Vec<Workload> {
        let mut all = vec![Vec::new()];
        let mut longest = all.clone();
        for _ in 0..self.operations {
            let extended = longest.iter().flat_map(|workload: &Vec<Operation>| {
                self.of.iter().map(|operation| {
                    let mut workload = workload.clone();
                    workload.push(*operation);
                    workload
                })
            });
            longest = extended.collect();
            all.extend(longest.iter().cloned());
        }
        let paces = |operations: Vec<Operation>| {
            let count = match Workload::depends_on_pace(&operations) {
                true => self.paces.len(),
                false => 1,
            };
            let at = move |pace: &Pace| Workload {
                operations: operations.clone(),
                pace: *pace,
            };
            self.paces.iter().take(count).map(at).collect::<Vec<_>>()
        };
        all.into_iter().flat_map(paces).collect()
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How much was gone through.
    pub counts: Counts,
    /// What failed, in the order of the workloads; at most one for each workload.
    pub failures: Vec<Failure>,
}

/// Goes through all workloads; `progress` is told the number done and the number there are.
///
/// # Errors
/// When a deliberate mistake is not known, or not built in.
pub fn enumerate(
    options: &Options,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Report, String> {
    let defects = options.defects()?;
    let workloads = options.workloads();
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let done: Mutex<BTreeMap<usize, (Counts, Option<Failure>)>> = Mutex::default();
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(workload) = workloads.get(number) else {
                return;
            };
            let (counts, failure) = states::workload(workload, options, &defects);
            if failure.is_some() && options.fail_fast {
                stop.store(true, Ordering::Relaxed);
            }
            let mut done = lock(&done);
            done.insert(number, (counts, failure));
            progress(done.len(), workloads.len());
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..options.jobs.get() {
            scope.spawn(work);
        }
        work();
    });
    let mut report = Report::default();
    for (counts, failure) in std::mem::take(&mut *lock(&done)).into_values() {
        report.counts.add(&counts);
        report.failures.extend(failure);
    }
    Ok(report)
}
