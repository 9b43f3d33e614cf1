//! The simulated network.
//!
//! # The fault model
//!
//! Nodes talk over TCP-like byte streams: in order, without loss or duplication as the application
//! sees it, for as long as both kernels live. What a real network does to packets shows as *when*
//! bytes arrive and as *how* a connection ends.
//!
//! **Latency, loss, bandwidth.** Each ordered pair of nodes is a link with a log-normal latency, a
//! loss probability and a bandwidth. A lost segment is sent again after a retransmission time-out
//! that doubles, and everything behind it waits: loss is delay. Bandwidth is shared by all
//! connections of the link.
//!
//! **Cuts.** A link can be cut in one direction or both. Nobody is told. What is on the wire when
//! the cut begins is lost and, like everything written later, is held by the sender's kernel. After
//! the heal it goes out at the sender's next retransmission, whose time-out has doubled since the
//! first loss (up to [`NetworkConfig::rto_max`]); so bytes can arrive long after they were written,
//! and after the world has moved on. When only the way back is cut, data flow but
//! acknowledgements do not: the sender stops once its send buffer is full. (Acknowledgements
//! otherwise take no time: a sender is never limited by bandwidth-delay product.)
//!
//! **Connecting** takes a round trip. Across a cut, or to a machine without power, it hangs, tries
//! again at doubling intervals, and ends in `TimedOut` after [`NetworkConfig::connect_timeout`].
//! A live kernel with no listener answers `ConnectionRefused`. A full accept queue is silence.
//!
//! **A process dies, its kernel lives.** The kernel sends what was written, then FIN, or a reset
//! when bytes were left unread. FIN is sent again until it arrives; a reset lost in a cut is lost.
//! Data sent to a closed socket are answered with a reset.
//!
//! **A machine loses power.** Nothing is sent. Peers keep half-open connections for ever if they
//! never write; if they write, the bytes are sent again until the machine is back, and its new
//! kernel, which knows nothing of them, answers with a reset.
//!
//! **A paused process** still has a kernel: its peers can connect and write until buffers are full.
//!
//! Not modelled: reordering or duplication visible to the application (TCP hides both), corrupted
//! bytes, congestion control, keep-alive probes, name resolution.
//!
//! # How it runs
//!
//! There are no tasks: each segment knows its arrival time, and a waiting reader arms one timer for
//! the segment at the head of its queue. Writes of one poll share a segment.

mod connect;
mod conns;
mod core;
mod link;
mod pipe;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::timeline::Timeline;
use super::trace::Trace;
use super::{NodeId, lock};
use crate::rng::Latency;

use self::core::Core;
pub(crate) use connect::{connect, listen};

/// How the whole network behaves.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Every link that was not set otherwise.
    pub link: LinkConfig,
    /// Latency of a node's connections to itself.
    pub loopback: Latency,
    /// The first retransmission time-out; doubles with each attempt.
    pub rto_min: Duration,
    /// The longest retransmission time-out. Real kernels go to two minutes; three seconds keep a
    /// healed network useful within the time that scenarios allow.
    pub rto_max: Duration,
    /// Wait before a connection request is sent again; doubles with each attempt.
    pub connect_retry: Duration,
    /// After this long a connection attempt fails with `TimedOut`.
    pub connect_timeout: Duration,
    /// Bytes that a sender may have written and its peer not yet read.
    pub send_buffer: usize,
    /// Connections waiting to be accepted, per listener.
    pub backlog: usize,
}

impl Default for NetworkConfig {
    fn default() -> NetworkConfig {
        NetworkConfig {
            link: LinkConfig::default(),
            loopback: Latency::new(Duration::from_micros(15), Duration::from_micros(60)),
            rto_min: Duration::from_millis(200),
            rto_max: Duration::from_secs(3),
            connect_retry: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(20),
            send_buffer: 512 * 1024,
            backlog: 1024,
        }
    }
}

/// How one direction of a link behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// One-way latency.
    pub latency: Latency,
    /// The probability that a segment is lost and must be sent again, 0 to 1 (1 counts as 0.99).
    pub loss: f64,
    /// Bytes per second; `None` for no limit.
    pub bandwidth: Option<u64>,
}

impl Default for LinkConfig {
    /// A rack: 250 µs median, 1 ms at the 99th percentile, no loss, 10 Gbit/s.
    fn default() -> LinkConfig {
        LinkConfig {
            latency: Latency::new(Duration::from_micros(250), Duration::from_millis(1)),
            loss: 0.0,
            bandwidth: Some(1_250_000_000),
        }
    }
}

/// Which direction of the link between `a` and `b` a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    Both,
    /// From `a` to `b` alone.
    AToB,
    /// From `b` to `a` alone.
    BToA,
}

impl Direction {
    /// The ordered pairs (sender, receiver) concerned.
    fn pairs(self, a: NodeId, b: NodeId) -> impl Iterator<Item = (NodeId, NodeId)> {
        let forth = (self != Direction::BToA).then_some((a, b));
        let back = (self != Direction::AToB).then_some((b, a));
        forth.into_iter().chain(back)
    }
}

/// What the network did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounters {
    /// Segments handed to the network.
    pub segments: u64,
    /// Bytes handed to the network.
    pub bytes: u64,
    /// Bytes read by their receivers.
    pub delivered: u64,
    /// Segments that were held because the way was cut or the machine had no power.
    pub held: u64,
    /// Losses that cost a retransmission.
    pub lost: u64,
    /// Connections established.
    pub connections: u64,
    /// Connections that an end learned were reset.
    pub resets: u64,
}

/// The network of a run: its faults, its links, its counters. Cloning shares it.
#[derive(Clone)]
pub struct Network(Arc<Mutex<Core>>);

impl Network {
    pub(crate) fn new(
        seed: u64,
        config: NetworkConfig,
        timeline: Timeline,
        trace: Trace,
    ) -> Network {
        Network(Arc::new(Mutex::new(Core::new(
            seed, config, timeline, trace,
        ))))
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.0)
    }

    /// Cuts the link: see the fault model. Cutting what is cut changes nothing.
    pub fn cut(&self, a: NodeId, b: NodeId, direction: Direction) {
        let mut core = self.core();
        for (from, to) in direction.pairs(a, b) {
            core.cut(from, to);
        }
    }

    /// Heals the link.
    pub fn heal(&self, a: NodeId, b: NodeId, direction: Direction) {
        let mut core = self.core();
        for (from, to) in direction.pairs(a, b) {
            core.heal(from, to);
        }
    }

    /// Heals every cut.
    pub fn heal_all(&self) {
        let mut core = self.core();
        for (from, to) in core.cuts() {
            core.heal(from, to);
        }
    }

    /// Whether bytes from `from` to `to` are held.
    pub fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.core().is_cut(from, to)
    }

    /// Changes how segments sent from now on travel.
    pub fn set_link(&self, a: NodeId, b: NodeId, direction: Direction, config: &LinkConfig) {
        let mut core = self.core();
        for (from, to) in direction.pairs(a, b) {
            core.set_link(from, to, config.clone());
        }
    }

    /// How the link from `from` to `to` behaves at present.
    pub fn link(&self, from: NodeId, to: NodeId) -> LinkConfig {
        self.core().link_config(from, to)
    }

    /// Resets every connection between `a` and `b`, as a middlebox that lost its table would: both
    /// ends see `ConnectionReset` at once, and bytes that had not arrived are gone.
    pub fn reset_connections(&self, a: NodeId, b: NodeId) {
        self.core().reset_between(a, b);
    }

    /// What the network did so far.
    pub fn counters(&self) -> NetworkCounters {
        self.core().counters
    }

    /// How many connections are known to at least one kernel.
    pub fn open_connections(&self) -> usize {
        self.core().conns.len()
    }

    pub(crate) fn add_host(&self, name: &str) {
        self.core().add_host(name);
    }

    pub(crate) fn process_died(&self, node: NodeId) {
        self.core().process_died(node);
    }

    pub(crate) fn power_lost(&self, node: NodeId) {
        self.core().power_lost(node);
    }

    pub(crate) fn power_on(&self, node: NodeId) {
        self.core().power_on(node);
    }

    /// Forgets every connection and listener: the end of the run.
    pub(crate) fn clear(&self) {
        let mut core = self.core();
        core.conns.clear();
        core.listeners.clear();
    }
}
