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
