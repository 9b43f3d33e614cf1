//! Faults, one kind a file: physical cause, model, how it heals.
//!
//! A fault is injected when its time comes, on the members its target rule names at that moment,
//! and gives back what ends it. Faults of one kind may overlap: each ends only what it began.

mod bit_flip;
mod crash;
mod disk_full;
mod fsync_error;
mod fsync_lies;
mod partition;
mod pause;
mod power_loss;
mod read_error;
mod slow_fsync;
mod write_error;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::cluster::Cluster;
use crate::observe::Observer;
use crate::plan::PlannedFault;
use crate::rng::Stream;
use crate::scenario::{Fault, Target};
use crate::world::SimDisk;

pub use bit_flip::Flip;

/// Ends a fault.
pub type Ending = Box<dyn FnOnce() + Send>;

/// A fault that has begun.
pub struct Begun {
    /// The members it happens to.
    pub members: Vec<u32>,
    /// What happened in particular.
    pub detail: String,
    /// Ends it; `None` when there is nothing to end.
    pub ending: Option<Ending>,
}

/// A power loss, as the audit needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerCut {
    /// When, in virtual nanoseconds.
    pub at_ns: u64,
    /// The members whose power went.
    pub members: Vec<u32>,
    /// Whether any un-synced byte was lost.
    pub lost_bytes: u64,
}

/// What faults share: the cluster, and what several of one kind have to agree on.
#[derive(Clone)]
pub struct Injector {
    /// The members.
    pub cluster: Cluster,
    observer: Observer,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// How many faults cut each directed link.
    cuts: BTreeMap<(u32, u32), u32>,
    /// The extra sync latencies in force on each member.
    slow: BTreeMap<u32, Vec<Duration>>,
    /// How many faults make each member's disk lie.
    lying: BTreeMap<u32, u32>,
    /// How many faults of one of the other kinds are in force on each member.
    open: BTreeMap<(u32, &'static str), u32>,
    flips: Vec<Flip>,
    power_cuts: Vec<PowerCut>,
    /// Members whose disk lied at any time.
    liars: Vec<u32>,
}

impl Injector {
    /// Injects into `cluster`; `observer` knows who leads.
    pub fn new(cluster: Cluster, observer: Observer) -> Injector {
        Injector {
            cluster,
            observer,
            shared: Arc::default(),
        }
    }

    /// Knows who leads and who applied what.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Begins `fault` now.
    pub fn begin(&self, fault: &PlannedFault) -> Begun {
        let mut random = Stream::new(fault.seed, "fault");
        let members = self.resolve(fault.on, &mut random);
        match &fault.fault {
            Fault::Partition { shape, .. } => partition::begin(self, members, *shape, &mut random),
            Fault::Crash { .. } => crash::begin(self, members),
            Fault::PowerLoss {
                unsynced,
                torn_sector,
                ..
            } => power_loss::begin(self, members, *unsynced, *torn_sector),
            Fault::Pause { .. } => pause::begin(self, members),
            Fault::SlowFsync { latency, .. } => slow_fsync::begin(self, members, *latency),
            Fault::FsyncLies { .. } => fsync_lies::begin(self, members),
            Fault::DiskFull { .. } => disk_full::begin(self, members, &mut random),
            Fault::FsyncError { pages, .. } => {
                fsync_error::begin(self, members, *pages, &mut random)
            }
            Fault::WriteError { .. } => write_error::begin(self, members),
            Fault::ReadError { .. } => read_error::begin(self, members),
            Fault::BitFlip {
                files,
                bits,
                process,
                ..
            } => bit_flip::begin(self, members, (*files, *bits, *process), &mut random),
        }
    }

    /// The members `target` names now, in ascending order. Without a leader, `leader` names nobody
    /// and the groups are drawn from all members.
    pub fn resolve(&self, target: Target, random: &mut Stream) -> Vec<u32> {
        let numbers = self.cluster.numbers();
        let leader = self.observer.leader();
        let size = target.size(numbers.len() as u32) as usize;
        let mut members = match target {
            Target::All => numbers,
            Target::Leader => leader.into_iter().collect(),
            Target::Member(number) => vec![number],
            Target::Follower => {
                let mut followers: Vec<u32> =
                    numbers.into_iter().filter(|n| Some(*n) != leader).collect();
                random.shuffle(&mut followers);
                followers.truncate(1);
                followers
            }
            Target::Minority | Target::Majority => {
                let mut drawn = numbers;
                random.shuffle(&mut drawn);
                drawn.truncate(size);
                drawn
            }
        };
        members.sort_unstable();
        members
    }

    /// The power losses so far.
    pub fn power_cuts(&self) -> Vec<PowerCut> {
        self.lock().power_cuts.clone()
    }

    /// Members whose disk lied about a sync at any time.
    pub fn liars(&self) -> Vec<u32> {
        self.lock().liars.clone()
    }

    /// The bits that changed so far.
    pub fn flips(&self) -> Vec<Flip> {
        self.lock().flips.clone()
    }

    /// The members whose data are damaged.
    pub fn damaged(&self) -> BTreeSet<u32> {
        self.lock().flips.iter().map(|flip| flip.member).collect()
    }

    fn disk(&self, number: u32) -> SimDisk {
        let node = self.cluster.node(number);
        self.cluster.world().disk(node)
    }

    /// One more fault of `kind` on member `number`; how many there are now.
    fn enter(&self, number: u32, kind: &'static str) -> u32 {
        let mut shared = self.lock();
        let count = shared.open.entry((number, kind)).or_insert(0);
        *count += 1;
        *count
    }

    /// One less; how many are left.
    fn leave(&self, number: u32, kind: &'static str) -> u32 {
        let mut shared = self.lock();
        let count = shared.open.entry((number, kind)).or_insert(1);
        *count = count.saturating_sub(1);
        *count
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// "members 1 and 3 down already", or nothing.
fn already(skipped: &[u32], what: &str) -> String {
    match skipped {
        [] => String::new(),
        _ => {
            let names: Vec<String> = skipped.iter().map(|n| format!("m{n}")).collect();
            format!("{} {what}", names.join(", "))
        }
    }
}
