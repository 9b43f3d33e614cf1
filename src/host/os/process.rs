//! What this process uses, as Linux tells it below `/proc`; nothing elsewhere.

use std::fs;

use crate::host::ProcessUsage;

/// Clock ticks a second in `/proc`: a constant of Linux's interface on every architecture.
const TICKS: f64 = 100.0;
/// Bytes of a page in `/proc/self/statm`; larger on few machines, whose numbers are then too low.
const PAGE_BYTES: u64 = 4096;

pub(super) fn usage() -> Option<ProcessUsage> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name, in parentheses, may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot: f64 = boot.trim().parse().ok()?;
    let memory = fs::read_to_string("/proc/self/statm").ok()?;
    let pages = |index: usize| memory.split_whitespace().nth(index)?.parse::<u64>().ok();
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|line| line.split_whitespace().next()?.parse().ok());
    Some(ProcessUsage {
        cpu_seconds: (number(11)? + number(12)?) / TICKS,
        started_seconds: boot + number(19)? / TICKS,
        open_files: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
        open_files_max: limit.unwrap_or(u64::MAX >> 1),
        resident_bytes: pages(1)? * PAGE_BYTES,
        virtual_bytes: pages(0)? * PAGE_BYTES,
    })
}
