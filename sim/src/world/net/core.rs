//! The network's state: machines, links, listeners, connections; and what faults do to them.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

use super::link::{Backoff, Link};
use super::pipe::{Conn, EndState};
use super::{LinkConfig, NetworkConfig, NetworkCounters};
use crate::rng::Stream;
use crate::world::NodeId;
use crate::world::timeline::Timeline;
use crate::world::trace::{EventKind, Trace};

/// Bandwidth and loss do not apply within a machine.
fn loopback_config(config: &NetworkConfig) -> LinkConfig {
    LinkConfig {
        latency: config.loopback,
        loss: 0.0,
        bandwidth: None,
    }
}

pub(super) struct Core {
    pub(super) timeline: Timeline,
    pub(super) trace: Trace,
    pub(super) config: NetworkConfig,
    pub(super) counters: NetworkCounters,
    pub(super) conns: BTreeMap<u64, Conn>,
    pub(super) listeners: BTreeMap<(NodeId, u16), Accepting>,
    seed: u64,
    machines: Vec<Machine>,
    links: BTreeMap<(NodeId, NodeId), Link>,
    next_conn: u64,
}

/// What the network knows of a node's machine.
struct Machine {
    name: String,
    powered: bool,
    next_port: u16,
}

/// A listening socket.
pub(super) struct Accepting {
    /// Connections (by id) that wait to be accepted, with the other side's address.
    pub(super) queue: VecDeque<(u64, String)>,
    pub(super) waker: Option<Waker>,
}

/// The first port that is given to sockets that did not ask for one.
const EPHEMERAL_PORT_MIN: u16 = 32_768;

impl Core {
    pub(super) fn new(seed: u64, config: NetworkConfig, timeline: Timeline, trace: Trace) -> Core {
        Core {
            timeline,
            trace,
            config,
            counters: NetworkCounters::default(),
            conns: BTreeMap::new(),
            listeners: BTreeMap::new(),
            seed,
            machines: Vec::new(),
            links: BTreeMap::new(),
            next_conn: 0,
        }
    }

    pub(super) fn add_host(&mut self, name: &str) {
        let name = name.to_owned();
        self.machines.push(Machine {
            name,
            powered: true,
            next_port: EPHEMERAL_PORT_MIN,
        });
    }

    pub(super) fn find_host(&self, name: &str) -> Option<NodeId> {
        let index = self
            .machines
            .iter()
            .position(|machine| machine.name == name)?;
        Some(NodeId(index as u32))
    }

    pub(super) fn name(&self, node: NodeId) -> &str {
        &self.machines[node.0 as usize].name
    }

    pub(super) fn powered(&self, node: NodeId) -> bool {
        self.machines[node.0 as usize].powered
    }

    /// A port that no listener of the node uses; `None` when all are taken.
    pub(super) fn ephemeral_port(&mut self, node: NodeId) -> Option<u16> {
        let tries = usize::from(u16::MAX - EPHEMERAL_PORT_MIN);
        (0..tries).find_map(|_| {
            let machine = &mut self.machines[node.0 as usize];
            let port = machine.next_port;
            machine.next_port = port.checked_add(1).unwrap_or(EPHEMERAL_PORT_MIN);
            (!self.listeners.contains_key(&(node, port))).then_some(port)
        })
    }

    pub(super) fn next_conn_id(&mut self) -> u64 {
        self.next_conn += 1;
        self.next_conn
    }

    pub(super) fn backoff(&self) -> Backoff {
        Backoff {
            min: self.config.rto_min,
            max: self.config.rto_max,
        }
    }

    pub(super) fn link_mut(&mut self, from: NodeId, to: NodeId) -> &mut Link {
        let (seed, config, machines) = (self.seed, &self.config, &self.machines);
        self.links.entry((from, to)).or_insert_with(|| {
            let name = |node: NodeId| &machines[node.0 as usize].name;
            let draws = Stream::new(seed, &format!("link/{}-{}", name(from), name(to)));
            let config = match from == to {
                true => loopback_config(config),
                false => config.link.clone(),
            };
            Link::new(config, draws)
        })
    }

    pub(super) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.links.get(&(from, to)).is_some_and(|link| link.cut)
    }

    /// Whether a packet sent now from `from` would reach the kernel of `to`.
    pub(super) fn reachable(&self, from: NodeId, to: NodeId) -> bool {
        self.powered(to) && !self.is_cut(from, to)
    }

    pub(super) fn link_config(&self, from: NodeId, to: NodeId) -> LinkConfig {
        match self.links.get(&(from, to)) {
            Some(link) => link.config.clone(),
            None if from == to => loopback_config(&self.config),
            None => self.config.link.clone(),
        }
    }

    pub(super) fn set_link(&mut self, from: NodeId, to: NodeId, config: LinkConfig) {
        let arguments = [
            u64::from(from.0),
            u64::from(to.0),
            config.latency.p50().as_nanos() as u64,
        ];
        self.trace.fault(None, "set-link", arguments);
        self.link_mut(from, to).config = config;
    }

    pub(super) fn cuts(&self) -> Vec<(NodeId, NodeId)> {
        let cut = self.links.iter().filter(|(_, link)| link.cut);
        cut.map(|(pair, _)| *pair).collect()
    }

    pub(super) fn cut(&mut self, from: NodeId, to: NodeId) {
        if from == to || self.is_cut(from, to) {
            return;
        }
        self.trace
            .fault(None, "cut", [u64::from(from.0), u64::from(to.0), 0]);
        self.link_mut(from, to).cut = true;
        let now_ns = self.timeline.now_ns();
        let mut held = 0;
        for conn in self.conns.values_mut() {
            if let Some(sender) = conn.sender(from, to) {
                held += conn.lose_in_flight(sender, now_ns);
            }
        }
        self.counters.held += held;
    }

    pub(super) fn heal(&mut self, from: NodeId, to: NodeId) {
        if !self.is_cut(from, to) {
            return;
        }
        self.trace
            .fault(None, "heal", [u64::from(from.0), u64::from(to.0), 0]);
        self.link_mut(from, to).cut = false;
        for id in self.conns_between(from, to) {
            self.release(id);
        }
    }

    pub(super) fn reset_between(&mut self, a: NodeId, b: NodeId) {
        self.trace.fault(
            None,
            "reset-connections",
            [u64::from(a.0), u64::from(b.0), 0],
        );
        let now_ns = self.timeline.now_ns();
        for id in self.conns_between(a, b) {
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.reset_end(0, now_ns, &self.timeline);
                conn.reset_end(1, now_ns, &self.timeline);
            }
        }
    }

    fn conns_between(&self, a: NodeId, b: NodeId) -> Vec<u64> {
        let between = |conn: &Conn| {
            let nodes = (conn.ends[0].node, conn.ends[1].node);
            nodes == (a, b) || nodes == (b, a)
        };
        self.conns
            .iter()
            .filter(|(_, conn)| between(conn))
            .map(|(id, _)| *id)
            .collect()
    }

    /// The ends of connections that are on `node`.
    fn ends_on(&self, node: NodeId) -> Vec<(u64, usize)> {
        let ends = self
            .conns
            .iter()
            .flat_map(|(id, conn)| [(*id, 0, conn), (*id, 1, conn)]);
        ends.filter(|(_, end, conn)| conn.ends[*end].node == node)
            .map(|(id, end, _)| (id, end))
            .collect()
    }

    /// The kernel closes every socket of the dead process.
    pub(super) fn process_died(&mut self, node: NodeId) {
        self.listeners.retain(|(owner, _), _| *owner != node);
        for (id, end) in self.ends_on(node) {
            self.close(id, end);
        }
    }

    /// The kernel is gone and says nothing to anyone.
    pub(super) fn power_lost(&mut self, node: NodeId) {
        self.machines[node.0 as usize].powered = false;
        self.listeners.retain(|(owner, _), _| *owner != node);
        let now_ns = self.timeline.now_ns();
        for (id, end) in self.ends_on(node) {
            let Some(conn) = self.conns.get_mut(&id) else {
                continue;
            };
            conn.vanish(end, now_ns);
            self.forget_if_over(id);
        }
    }

    /// A new kernel knows no connections: it answers what is sent to the old ones with a reset.
    pub(super) fn power_on(&mut self, node: NodeId) {
        if std::mem::replace(&mut self.machines[node.0 as usize].powered, true) {
            return;
        }
        for (id, _) in self.ends_on(node) {
            self.release(id);
        }
    }

    /// Drops a connection that no application has in its hands any more.
    pub(super) fn forget_if_over(&mut self, id: u64) {
        let over = |conn: &Conn| conn.ends.iter().all(|end| end.state != EndState::Open);
        if self.conns.get(&id).is_some_and(over) {
            self.conns.remove(&id);
        }
    }

    pub(super) fn note(&self, node: NodeId, kind: EventKind, arguments: [u64; 3]) {
        self.trace.event(Some(node), kind, arguments);
    }
}
