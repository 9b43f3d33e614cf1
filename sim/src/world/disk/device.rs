//! The drive: how long each operation takes, and which fail.

use std::io;
use std::time::Duration;

use super::{DiskCounters, DiskProfile};
use crate::rng::Stream;
use crate::world::timeline::nanos;

pub(super) struct Device {
    pub(super) profile: DiskProfile,
    pub(super) counters: DiskCounters,
    /// The time at which the disk work that is running has arrived; `None` outside of disk work.
    pub(super) cursor_ns: Option<u64>,
    pub(super) extra_sync: Duration,
    pub(super) stalled_until_ns: u64,
    pub(super) lies: bool,
    pub(super) syncs_to_fail: u32,
    pub(super) writes_to_fail: u32,
    pub(super) reads_fail: bool,
    /// A failed sync drops the pages it did not write, instead of taking them for clean.
    pub(super) failed_sync_drops: bool,
    pub(super) capacity: Option<u64>,
    /// Draws that decide what a power loss leaves.
    pub(super) power_draws: Stream,
    draws: Stream,
}

/// What an operation is, as far as its duration goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    Read,
    Write,
    /// A sync that writes this many bytes.
    Sync(u64),
}

/// When an operation was issued and when it takes effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) start_ns: u64,
    pub(super) done_ns: u64,
}

impl Device {
    pub(super) fn new(profile: DiskProfile, draws: Stream, power_draws: Stream) -> Device {
        Device {
            profile,
            counters: DiskCounters::default(),
            cursor_ns: None,
            extra_sync: Duration::ZERO,
            stalled_until_ns: 0,
            lies: false,
            syncs_to_fail: 0,
            writes_to_fail: 0,
            reads_fail: false,
            failed_sync_drops: false,
            capacity: None,
            power_draws,
            draws,
        }
    }

    /// Takes the time that an operation costs.
    ///
    /// # Errors
    /// Outside of disk work: the server must not block a task.
    pub(super) fn charge(&mut self, cost: Cost) -> io::Result<Stamp> {
        let Some(cursor_ns) = self.cursor_ns else {
            return Err(io::Error::other(
                "a disk operation outside of Host::blocking: disk work must run inside it",
            ));
        };
        let latency = match cost {
            Cost::Read => self.draws.sample(&self.profile.read),
            Cost::Write => self.draws.sample(&self.profile.write),
            Cost::Sync(_) => self.draws.sample(&self.profile.sync) + self.extra_sync,
        };
        let transfer_ns = match cost {
            Cost::Sync(bytes) => {
                let scaled = u128::from(bytes) * 1_000_000_000;
                (scaled / u128::from(self.profile.bandwidth.max(1))) as u64
            }
            Cost::Read | Cost::Write => 0,
        };
        let start_ns = cursor_ns.max(self.stalled_until_ns);
        let done_ns = start_ns + nanos(latency) + transfer_ns;
        self.cursor_ns = Some(done_ns);
        match cost {
            Cost::Read => self.counters.reads += 1,
            Cost::Write => self.counters.writes += 1,
            Cost::Sync(_) => self.counters.syncs += 1,
        }
        Ok(Stamp { start_ns, done_ns })
    }

    /// Whether this sync was told to fail.
    pub(super) fn sync_fails(&mut self) -> bool {
        let fails = self.syncs_to_fail > 0;
        if fails {
            self.syncs_to_fail -= 1;
            self.counters.failed += 1;
            self.counters.syncs -= 1;
        }
        fails
    }

    /// Whether this read was told to fail.
    pub(super) fn read_fails(&mut self) -> bool {
        self.counters.failed += u64::from(self.reads_fail);
        self.reads_fail
    }

    /// Whether this write was told to fail.
    pub(super) fn write_fails(&mut self) -> bool {
        let fails = self.writes_to_fail > 0;
        if fails {
            self.writes_to_fail -= 1;
            self.counters.failed += 1;
        }
        fails
    }
}

/// The error of a failing drive.
pub(super) fn input_output_error(what: &str) -> io::Error {
    io::Error::other(format!("input/output error: {what} failed"))
}
