//! A node: a machine with a clock and a disk, on which processes live one after another.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use madsim::runtime::NodeHandle;
use vetcd::defects::Defects;

use super::NodeId;
use super::clock::{Clock, ClockConfig};
use super::disk::{DiskProfile, SimDisk};
use super::panics::PanicReport;

/// What a node is made of.
#[derive(Clone, Debug, Default)]
pub struct NodeConfig {
    /// Its clocks.
    pub clock: ClockConfig,
    /// Its disk.
    pub disk: DiskProfile,
    /// The deliberate mistakes of the server that runs on it.
    pub defects: Defects,
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) clock: Clock,
    pub(crate) disk: SimDisk,
    pub(crate) defects: Defects,
    /// The number of the life that is being lived; zero while no process lives.
    current_life: AtomicU64,
    pub(crate) state: Mutex<NodeState>,
}

pub(crate) struct NodeState {
    /// How many lives were started.
    pub(crate) lives: u64,
    pub(crate) powered: bool,
    /// How often the machine was started, from 1.
    pub(crate) boots: u64,
    pub(crate) paused: bool,
    pub(crate) madsim: NodeHandle,
    /// Tasks spawned since madsim's list of them was tidied.
    pub(crate) spawned: u32,
    /// Wait for the process to end.
    pub(crate) mourners: Vec<Waker>,
}

impl Node {
    pub(crate) fn new(
        id: NodeId,
        name: String,
        clock: Clock,
        disk: SimDisk,
        defects: Defects,
        madsim: NodeHandle,
    ) -> Node {
        let state = NodeState {
            lives: 0,
            powered: true,
            boots: 1,
            paused: false,
            madsim,
            spawned: 0,
            mourners: Vec::new(),
        };
        let current_life = AtomicU64::new(0);
        Node {
            id,
            name,
            clock,
            disk,
            defects,
            current_life,
            state: Mutex::new(state),
        }
    }

    /// The life being lived, if any.
    pub(crate) fn life(&self) -> Option<u64> {
        match self.current_life.load(Ordering::Relaxed) {
            0 => None,
            life => Some(life),
        }
    }

    pub(crate) fn set_life(&self, life: Option<u64>) {
        self.current_life
            .store(life.unwrap_or(0), Ordering::Relaxed);
    }
}

/// One life of a node's process. Every handle carries it and refuses to act once it is over.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) node: Arc<Node>,
    pub(crate) number: u64,
}

impl Life {
    pub(crate) fn node_id(&self) -> NodeId {
        self.node.id
    }

    pub(crate) fn is_current(&self) -> bool {
        self.node.life() == Some(self.number)
    }

    /// An error once the life is over.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self.is_current() {
            true => Ok(()),
            false => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the process that held this handle is gone",
            )),
        }
    }
}

/// The end of a process.
#[derive(Clone, Debug)]
pub struct Death {
    /// Where.
    pub node: NodeId,
    /// Which life of the node, from 1.
    pub life: u64,
    /// True virtual time, in nanoseconds.
    pub at_ns: u64,
    /// How.
    pub cause: Cause,
}

/// How a process ended.
#[derive(Clone, Debug)]
pub enum Cause {
    /// Its main function returned.
    Returned,
    /// One of its tasks panicked.
    Panicked(PanicReport),
    /// The testbed killed it.
    Crashed,
    /// The testbed took the machine's power.
    PowerLost,
}

impl Cause {
    pub(crate) fn code(&self) -> u64 {
        match self {
            Cause::Returned => 0,
            Cause::Panicked(_) => 1,
            Cause::Crashed => 2,
            Cause::PowerLost => 3,
        }
    }
}
