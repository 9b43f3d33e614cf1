//! What can go wrong: the kinds of fault and their parameters, before and after drawing.
//!
//! `Fault<Drawn>` is a scenario's (durations may be ranges), `Fault<Duration>` a plan's (everything
//! decided). Both are read and written by the same functions, so the two formats cannot diverge.

use std::time::Duration;

use super::fields::Drawn;
use super::target::Target;
use super::{Unsynced, words};

words! {
    /// Which way a one-way partition cuts, seen from its target.
    pub enum Direction {
        /// What others send does not arrive at the target.
        In = "in",
        /// What the target sends does not arrive anywhere.
        Out = "out",
    }
}

words! {
    /// What can be read of the pages that a failed sync did not write.
    pub enum Pages {
        /// What was written: the kernel takes the pages for clean (ext4, xfs).
        Kept = "kept",
        /// What the disk holds: the kernel has dropped them (btrfs, or any under memory pressure).
        Dropped = "dropped",
        /// Either, drawn when the fault fires.
        Random = "random",
    }
}

words! {
    /// Which files of a member are meant.
    pub enum Files {
        /// The log's.
        Wal = "wal",
        /// The store's.
        Store = "store",
        /// Any in the data directory.
        Any = "any",
    }
}

words! {
    /// What the process does while its disk rots.
    pub enum Meanwhile {
        /// It is down, and reads what is left when it starts.
        Stopped = "stopped",
        /// It runs, and is killed and started again later.
        Running = "running",
    }
}

/// Which links a partition cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nothing passes between the target and the other members. On `all`: every member is alone.
    TwoWay,
    /// One direction is cut.
    OneWay(Direction),
    /// The target and `with` cannot reach each other; the others reach both.
    Partial {
        /// The other end; when it resolves to a target of the fault as well, to the next member.
        with: Target,
    },
}

/// A fault with its parameters; `T` is [`Drawn`] in a scenario and [`Duration`] in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault<T> {
    /// Links are cut.
    Partition {
        /// How long.
        lasts: T,
        /// Which links.
        shape: Shape,
    },
    /// A process dies; written bytes survive.
    Crash {
        /// Time until the process starts again.
        restart_after: T,
    },
    /// A machine loses power.
    PowerLoss {
        /// Time until the process starts again.
        restart_after: T,
        /// What becomes of un-synced writes.
        unsynced: Unsynced,
        /// Bytes the disk writes atomically; 0 when writes never tear.
        torn_sector: u32,
    },
    /// A process stands still.
    Pause {
        /// How long.
        lasts: T,
    },
    /// Syncs are slow.
    SlowFsync {
        /// How long.
        lasts: T,
        /// What each sync takes.
        latency: T,
    },
    /// Syncs are acknowledged and not done.
    FsyncLies {
        /// How long; `None` for the rest of the run.
        lasts: Option<T>,
    },
    /// There is no space left.
    DiskFull {
        /// How long.
        lasts: T,
    },
    /// The next sync fails.
    FsyncError {
        /// How long the disk is about to fail.
        lasts: T,
        /// What becomes of the pages.
        pages: Pages,
    },
    /// The next write fails.
    WriteError {
        /// How long the disk is about to fail.
        lasts: T,
    },
    /// Nothing can be read.
    ReadError {
        /// How long.
        lasts: T,
    },
    /// Bits at rest change.
    BitFlip {
        /// Time until the process starts, or is started again.
        restart_after: T,
        /// Where.
        files: Files,
        /// How many.
        bits: u32,
        /// Whether the process runs.
        process: Meanwhile,
    },
}

/// A fault as a scenario states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRule {
    /// Its name: as given, or its kind and number.
    pub name: String,
    /// Whether the name was given rather than counted.
    pub named: bool,
    /// Whom it happens to.
    pub on: Target,
    /// When it fires.
    pub at: Drawn,
    /// What happens.
    pub fault: Fault<Drawn>,
}

impl<T> Fault<T> {
    /// The kind as scenarios write it.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Partition { .. } => "partition",
            Fault::Crash { .. } => "crash",
            Fault::PowerLoss { .. } => "power-loss",
            Fault::Pause { .. } => "pause",
            Fault::SlowFsync { .. } => "slow-fsync",
            Fault::FsyncLies { .. } => "fsync-lies",
            Fault::DiskFull { .. } => "disk-full",
            Fault::FsyncError { .. } => "fsync-error",
            Fault::WriteError { .. } => "write-error",
            Fault::ReadError { .. } => "read-error",
            Fault::BitFlip { .. } => "bit-flip",
        }
    }

    /// Replaces each time by `change(key, time)`.
    pub fn map<U>(&self, mut change: impl FnMut(&'static str, &T) -> U) -> Fault<U> {
        match self {
            Fault::Partition { lasts, shape } => Fault::Partition {
                lasts: change("for", lasts),
                shape: *shape,
            },
            Fault::Crash { restart_after } => Fault::Crash {
                restart_after: change("restart-after", restart_after),
            },
            Fault::PowerLoss {
                restart_after,
                unsynced,
                torn_sector,
            } => Fault::PowerLoss {
                restart_after: change("restart-after", restart_after),
                unsynced: *unsynced,
                torn_sector: *torn_sector,
            },
            Fault::Pause { lasts } => Fault::Pause {
                lasts: change("for", lasts),
            },
            Fault::SlowFsync { lasts, latency } => Fault::SlowFsync {
                lasts: change("for", lasts),
                latency: change("latency", latency),
            },
            Fault::FsyncLies { lasts } => Fault::FsyncLies {
                lasts: lasts.as_ref().map(|lasts| change("for", lasts)),
            },
            Fault::DiskFull { lasts } => Fault::DiskFull {
                lasts: change("for", lasts),
            },
            Fault::FsyncError { lasts, pages } => Fault::FsyncError {
                lasts: change("for", lasts),
                pages: *pages,
            },
            Fault::WriteError { lasts } => Fault::WriteError {
                lasts: change("for", lasts),
            },
            Fault::ReadError { lasts } => Fault::ReadError {
                lasts: change("for", lasts),
            },
            Fault::BitFlip {
                restart_after,
                files,
                bits,
                process,
            } => Fault::BitFlip {
                restart_after: change("restart-after", restart_after),
                files: *files,
                bits: *bits,
                process: *process,
            },
        }
    }

    /// The parameters as scenarios write them: key and value, times through `time`, words bare.
    pub fn parameters(&self, time: impl Fn(&T) -> String) -> Vec<(&'static str, Parameter)> {
        let mut out = Vec::new();
        match self {
            Fault::Partition {
                shape: Shape::TwoWay,
                ..
            } => {
                out.push(("shape", Parameter::Word("two-way".into())));
            }
            Fault::Partition {
                shape: Shape::OneWay(direction),
                ..
            } => {
                out.push(("shape", Parameter::Word("one-way".into())));
                out.push(("direction", Parameter::Word(direction.name().into())));
            }
            Fault::Partition {
                shape: Shape::Partial { with },
                ..
            } => {
                out.push(("shape", Parameter::Word("partial".into())));
                out.push(("with", Parameter::Word(with.to_string())));
            }
            Fault::PowerLoss {
                unsynced,
                torn_sector,
                ..
            } => {
                out.push(("unsynced", Parameter::Word(unsynced.name().into())));
                out.push(("torn-sector", Parameter::Number(u64::from(*torn_sector))));
            }
            Fault::FsyncError { pages, .. } => {
                out.push(("pages", Parameter::Word(pages.name().into())));
            }
            Fault::BitFlip {
                files,
                bits,
                process,
                ..
            } => {
                out.push(("files", Parameter::Word(files.name().into())));
                out.push(("bits", Parameter::Number(u64::from(*bits))));
                out.push(("process", Parameter::Word(process.name().into())));
            }
            _ => {}
        }
        self.map(|key, value| out.push((key, Parameter::Word(time(value)))));
        out
    }
}

impl Fault<Duration> {
    /// How long after it fires the fault ends by itself; `None` when only healing ends it.
    pub fn lasts(&self) -> Option<Duration> {
        match self {
            Fault::Partition { lasts, .. }
            | Fault::Pause { lasts }
            | Fault::SlowFsync { lasts, .. }
            | Fault::Crash {
                restart_after: lasts,
            }
            | Fault::PowerLoss {
                restart_after: lasts,
                ..
            }
            | Fault::DiskFull { lasts }
            | Fault::FsyncError { lasts, .. }
            | Fault::WriteError { lasts }
            | Fault::ReadError { lasts }
            | Fault::BitFlip {
                restart_after: lasts,
                ..
            } => Some(*lasts),
            Fault::FsyncLies { lasts } => *lasts,
        }
    }
}

/// The value of a parameter as it is written in TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// A string.
    Word(String),
    /// An integer.
    Number(u64),
}
