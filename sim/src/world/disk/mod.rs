//! The simulated disk.
//!
//! # The fault model
//!
//! A node's disk outlives its processes. It is POSIX at its worst: what was not synced may be lost,
//! in pieces; what was synced is kept, unless the disk lies.
//!
//! **Every operation has a time.** Disk work runs inside `Host::blocking`, inline; each operation
//! takes effect at a stamp: the start of the call plus the latencies so far. The caller continues
//! once the last stamp has passed. When the process dies in between, operations with later stamps
//! never happened. (Other tasks of the process can see the effects of a call before its stamps.)
//!
//! **The process dies.** The page cache lives on: un-synced writes and names are still there for
//! the next process, and still un-synced. Locks are gone.
//!
//! **Power is lost.** Content returns to what was durable, and then some of what was not survives,
//! as [`PowerLoss`] says. Writes survive by sector: of the versions a sector went through since it
//! was last durable, any one may be on the disk; with `torn`, a sector may hold the beginning of
//! one version and the end of the one before. The length survives on its own: any of those the file
//! went through; sectors within it that did not survive read as before, or as zeros. Names
//! (creations, renames, removals) survive as a prefix or as an arbitrary subset of the un-synced
//! ones; a rename survives as a whole or not at all. A file's sync does not make its name durable.
//!
//! **Sync** makes durable what took effect before it was issued, once its own stamp has passed.
//! A lying disk answers as quickly and makes nothing durable. A failed sync marks the pages clean,
//! as kernels do: a later sync that succeeds does not cover them. What they read as from then on is
//! the fault's choice: what was written, or what the disk holds.
//!
//! **Write-back.** Un-synced data older than [`WRITEBACK_AFTER`], or in excess of
//! [`UNSYNCED_BYTES_MAX`] a file, become durable by themselves.
//!
//! **Slowness.** Latencies are log-normal, syncs also pay for the bytes they write. A fault can
//! slow every sync, or stall the disk: operations issued during a stall wait for its end (those
//! issued before it keep their stamps).
//!
//! **Bit rot** changes durable bytes alone: where something un-synced lies above them, the disk is
//! about to write there anyway.
//!
//! Not modelled: misdirected writes, contention between concurrent calls; file systems that need
//! space to write over what is there already.

mod bench;
mod content;
mod device;
mod file;
mod mount;
mod names;
mod power;
#[cfg(test)]
mod tests;
mod tree;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::node::Life;
use super::timeline::Timeline;
use super::trace::{EventKind, Trace};
use super::{NodeId, lock};
use crate::rng::{Latency, Stream};

pub(crate) use self::bench::{Bench, Image, Script};
use self::device::Device;
use self::mount::Mount;
use self::power::Drawn;
pub use self::power::{FileLoss, PowerLoss, Unsynced};
use self::tree::Tree;

/// Un-synced data older than this are durable: the kernel's flusher wrote them.
pub const WRITEBACK_AFTER: Duration = Duration::from_secs(30);

/// A file's un-synced bytes beyond this are durable, oldest first.
pub const UNSYNCED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a read from the page cache takes.
pub const CACHED_READ: Duration = Duration::from_micros(1);

/// How fast a disk is.
#[derive(Clone, Debug, PartialEq)]
pub struct DiskProfile {
    /// A write into the page cache.
    pub write: Latency,
    /// A read; by default from the page cache.
    pub read: Latency,
    /// A sync, without the time for its bytes.
    pub sync: Latency,
    /// Bytes per second at which a sync writes.
    pub bandwidth: u64,
}

impl DiskProfile {
    /// A local NVMe drive with a volatile cache.
    pub fn nvme() -> DiskProfile {
        DiskProfile::with_sync(
            Duration::from_micros(250),
            Duration::from_millis(2),
            1_500_000_000,
        )
    }

    /// A network-attached volume of a cloud provider.
    pub fn cloud_ssd() -> DiskProfile {
        DiskProfile::with_sync(
            Duration::from_micros(1500),
            Duration::from_millis(9),
            250_000_000,
        )
    }

    /// A spinning disk.
    pub fn hdd() -> DiskProfile {
        DiskProfile::with_sync(
            Duration::from_millis(9),
            Duration::from_millis(45),
            150_000_000,
        )
    }

    /// The preset called `name`: `nvme`, `cloud-ssd` or `hdd`.
    pub fn by_name(name: &str) -> Option<DiskProfile> {
        match name {
            "nvme" => Some(DiskProfile::nvme()),
            "cloud-ssd" => Some(DiskProfile::cloud_ssd()),
            "hdd" => Some(DiskProfile::hdd()),
            _ => None,
        }
    }

    fn with_sync(p50: Duration, p99: Duration, bandwidth: u64) -> DiskProfile {
        DiskProfile {
            write: Latency::new(Duration::from_micros(4), Duration::from_micros(20)),
            read: Latency::constant(CACHED_READ),
            sync: Latency::new(p50, p99),
            bandwidth,
        }
    }
}

impl Default for DiskProfile {
    fn default() -> DiskProfile {
        DiskProfile::cloud_ssd()
    }
}

/// What a disk did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounters {
    /// Syncs of files and directories that were answered with success.
    pub syncs: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Operations that failed because a fault said so.
    pub failed: u64,
    /// Operations that found no space.
    pub full: u64,
}

/// A node's disk, as the testbed sees it: its faults and its counters. Cloning shares it.
#[derive(Clone)]
pub struct SimDisk(Arc<Inner>);

struct Inner {
    node: NodeId,
    timeline: Timeline,
    trace: Trace,
    device: Mutex<Device>,
    tree: Mutex<Tree>,
    /// Only on a bench.
    tape: Option<Mutex<bench::Tape>>,
}

impl SimDisk {
    pub(crate) fn new(
        node: NodeId,
        profile: DiskProfile,
        timeline: Timeline,
        trace: Trace,
        seed: u64,
        name: &str,
    ) -> SimDisk {
        let tree = Tree::new();
        SimDisk::with(node, profile, timeline, trace, seed, name, tree, None)
    }

    #[allow(clippy::too_many_arguments, reason = "every part, from two callers")]
    fn with(
        node: NodeId,
        profile: DiskProfile,
        timeline: Timeline,
        trace: Trace,
        seed: u64,
        name: &str,
        tree: Tree,
        tape: Option<bench::Tape>,
    ) -> SimDisk {
        let device = Device::new(
            profile,
            Stream::new(seed, &format!("disk/{name}")),
            Stream::new(seed, &format!("disk/{name}/power")),
        );
        SimDisk(Arc::new(Inner {
            node,
            timeline,
            trace,
            device: Mutex::new(device),
            tree: Mutex::new(tree),
            tape: bench::tape(tape),
        }))
    }

    fn device(&self) -> MutexGuard<'_, Device> {
        lock(&self.0.device)
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        lock(&self.0.tree)
    }

    /// Replaces the profile for operations issued from now on.
    pub fn set_profile(&self, profile: DiskProfile) {
        self.fault("disk-profile", profile.sync.p50().as_nanos() as u64);
        self.device().profile = profile;
    }

    /// Every sync issued from now on takes this much longer; zero heals.
    pub fn set_extra_sync_latency(&self, extra: Duration) {
        self.fault("slow-fsync", extra.as_nanos() as u64);
        self.device().extra_sync = extra;
    }

    /// Operations issued during the next `duration` wait for its end.
    pub fn stall(&self, duration: Duration) {
        self.fault("disk-stall", duration.as_nanos() as u64);
        let until_ns = self.0.timeline.now_ns() + super::timeline::nanos(duration);
        let mut device = self.device();
        device.stalled_until_ns = device.stalled_until_ns.max(until_ns);
    }

    /// Whether syncs succeed without making anything durable.
    pub fn lie_about_fsync(&self, lie: bool) {
        self.fault("lie-about-fsync", u64::from(lie));
        self.device().lies = lie;
    }

    /// The next `count` syncs fail with an input/output error.
    pub fn fail_next_sync(&self, count: u32) {
        self.fault("fail-sync", u64::from(count));
        self.device().syncs_to_fail = count;
    }

    /// The next `count` writes fail with an input/output error and write nothing.
    pub fn fail_next_write(&self, count: u32) {
        self.fault("fail-write", u64::from(count));
        self.device().writes_to_fail = count;
    }

    /// Whether a failed sync drops the pages it did not write: they then read as what is durable.
    pub fn drop_pages_of_failed_syncs(&self, drop: bool) {
        self.fault("drop-pages", u64::from(drop));
        self.device().failed_sync_drops = drop;
    }

    /// Whether reads of files fail with an input/output error.
    pub fn fail_reads(&self, fail: bool) {
        self.fault("fail-reads", u64::from(fail));
        self.device().reads_fail = fail;
    }

    /// The sum of all files' lengths.
    pub fn used_bytes(&self) -> u64 {
        self.files().iter().map(|(_, length)| length).sum()
    }

    /// Writes that would bring the sum of file lengths above `capacity` bytes fail with
    /// `StorageFull`; `None` lifts the limit.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.fault("disk-capacity", capacity.unwrap_or(u64::MAX));
        self.device().capacity = capacity;
    }

    /// Flips the bits of `mask` in one byte, durable and in the cache alike: bit rot. False when the
    /// file does not exist or is shorter.
    pub fn flip_bits(&self, path: &Path, offset: u64, mask: u8) -> bool {
        self.fault("flip-bits", offset);
        self.tree()
            .file(path)
            .is_ok_and(|file| file.flip_bits(offset, mask))
    }

    /// Flips one bit of a durable byte, drawn uniformly from what was written to the files that are
    /// `wanted` by their path: where, or `None` when there is nothing to flip.
    pub fn flip_a_bit(
        &self,
        wanted: impl Fn(&str) -> bool,
        draws: &mut Stream,
    ) -> Option<(String, u64)> {
        /// A place under something un-synced is passed over, so often at most.
        const ATTEMPTS: u32 = 64;
        let now_ns = self.0.timeline.now_ns();
        let files = self.tree().live_files().into_iter();
        let files: Vec<_> = files
            .filter(|(path, _)| wanted(path))
            .map(|(path, file)| (path, file.written_ranges(), file))
            .collect();
        let total: u64 = files.iter().flat_map(|file| &file.1).map(|r| r.1).sum();
        for _ in 0..ATTEMPTS {
            if total == 0 {
                return None;
            }
            let mut place = draws.range(0..total);
            let mask = 1 << draws.range(0..8);
            for (path, ranges, file) in &files {
                for (start, length) in ranges {
                    if place >= *length {
                        place -= length;
                        continue;
                    }
                    let offset = start + place;
                    if file.is_durable_at(offset, now_ns) && file.flip_bits(offset, mask) {
                        self.fault("flip-bit", offset);
                        return Some((path.clone(), offset));
                    }
                    place = u64::MAX;
                }
            }
        }
        None
    }

    /// Every file that the next process would find, with its length, sorted by path.
    pub fn files(&self) -> Vec<(String, u64)> {
        let files = self.tree().live_files();
        files
            .into_iter()
            .map(|(path, file)| (path, file.length()))
            .collect()
    }

    /// The content that the next process would read.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        Some(self.tree().file(path).ok()?.snapshot())
    }

    /// What the disk did so far.
    pub fn counters(&self) -> DiskCounters {
        self.device().counters
    }

    fn fault(&self, label: &str, argument: u64) {
        self.0
            .trace
            .fault(Some(self.0.node), label, [argument, 0, 0]);
    }

    fn note(&self, operation: u64, at_ns: u64, hash: u64) {
        self.0
            .trace
            .event(Some(self.0.node), EventKind::Disk, [operation, at_ns, hash]);
    }

    /// The disk in the hands of one life of the node's process.
    pub(crate) fn mount(&self, life: Life) -> Arc<dyn vetcd::host::Disk> {
        Arc::new(Mount::new(self.clone(), Some(life)))
    }

    /// Disk work begins: operations are allowed until [`SimDisk::leave`].
    pub(crate) fn enter(&self) {
        let now_ns = self.0.timeline.now_ns();
        self.device().cursor_ns = Some(now_ns);
    }

    /// Disk work ended; returns the stamp of its last operation.
    pub(crate) fn leave(&self) -> u64 {
        let now_ns = self.0.timeline.now_ns();
        self.device().cursor_ns.take().unwrap_or(now_ns)
    }

    /// The process died now: what was to happen later never does, and its locks are gone.
    pub(crate) fn process_died(&self) {
        let now_ns = self.0.timeline.now_ns();
        self.device().cursor_ns = None;
        let mut tree = self.tree();
        tree.settle(now_ns);
        for (_, file) in tree.all_files() {
            file.settle(now_ns);
        }
    }

    /// Power was lost now (the process is dead already). Returns what became of un-synced data.
    pub(crate) fn power_lost(&self, policy: PowerLoss) -> Vec<FileLoss> {
        let now_ns = self.0.timeline.now_ns();
        let mut device = self.device();
        let mut fates = Drawn::new(policy, &mut device.power_draws);
        let mut tree = self.tree();
        tree.lose_power(now_ns, &mut fates);
        let mut losses = Vec::new();
        for (path, file) in tree.live_files() {
            let Some(loss) = file.lose_power(now_ns, policy.sector, &mut fates, path) else {
                continue;
            };
            let arguments = [
                loss.kept,
                loss.lost,
                super::trace::hash_bytes(loss.path.as_bytes()),
            ];
            self.0
                .trace
                .event(Some(self.0.node), EventKind::DiskImage, arguments);
            losses.push(loss);
        }
        losses
    }
}
