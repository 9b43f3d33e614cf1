//! What is done to a member's storage: operations one after the other, at a pace.

use std::fmt;
use std::str::FromStr;

/// A step of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Two puts in a new term are appended to the log and synced.
    Append,
    /// Puts that fill the log's segment are appended and synced, so that the next is begun.
    Cut,
    /// What is in the log is applied and committed to the backend.
    Commit,
    /// The log is marked as far as the backend holds it, and its spent segments are removed.
    Snapshot,
    /// A compaction of the store is logged and applied.
    Compact,
    /// A snapshot ahead of the log is received and installed.
    Install,
    /// The backend is committed and its file built anew.
    Defragment,
    /// What is in the log is applied, and the key index is written.
    Index,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 8] = [
        Operation::Append,
        Operation::Cut,
        Operation::Commit,
        Operation::Snapshot,
        Operation::Compact,
        Operation::Install,
        Operation::Defragment,
        Operation::Index,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Append => "append",
            Operation::Cut => "cut",
            Operation::Commit => "commit",
            Operation::Snapshot => "snapshot",
            Operation::Compact => "compact",
            Operation::Install => "install",
            Operation::Defragment => "defragment",
            Operation::Index => "index",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Operation {
    type Err = String;

    fn from_str(text: &str) -> Result<Operation, String> {
        let found = Operation::ALL.into_iter().find(|op| op.name() == text);
        found.ok_or_else(|| {
            let known = Operation::ALL.map(Operation::name).join(", ");
            format!("unknown operation \"{text}\": known are {known}")
        })
    }
}

impl Operation {
    /// Whether it writes to the log whatever came before it, so that something waits afterwards.
    fn writes_to_log(self) -> bool {
        use Operation::{Append, Commit, Compact, Cut, Defragment, Index, Install, Snapshot};
        match self {
            Append | Cut | Compact | Install => true,
            Commit | Snapshot | Defragment | Index => false,
        }
    }
}

/// How soon the next operation comes: whether what can wait for the log's next group is written with
/// it or by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    /// After each operation nothing comes for so long that the commit index and the claim that all
    /// is durable are written by themselves.
    Quiet,
    /// The next operation comes at once, and the log's next group takes them along.
    Busy,
}

impl Pace {
    /// Both.
    pub const ALL: [Pace; 2] = [Pace::Quiet, Pace::Busy];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Pace::Quiet => "quiet",
            Pace::Busy => "busy",
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Pace, String> {
        let found = Pace::ALL.into_iter().find(|pace| pace.name() == text);
        found.ok_or_else(|| {
            let known = Pace::ALL.map(Pace::name).join(", ");
            format!("unknown pace \"{text}\": known are {known}")
        })
    }
}

/// Operations on a member that has just started on an empty disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// One after the other.
    pub operations: Vec<Operation>,
    /// How soon they follow each other.
    pub pace: Pace,
}

impl Workload {
    /// Whether the pace makes a difference at the points of the last operation: whether something
    /// waits when it begins. At a busy pace the last operation alone only leaves out what a quiet one
    /// writes in the end.
    pub fn depends_on_pace(operations: &[Operation]) -> bool {
        let before = operations
            .split_last()
            .map_or(&[][..], |(_, before)| before);
        before.iter().any(|operation| operation.writes_to_log())
    }
}
