//! The members of a simulated cluster: started, killed and restarted.
//!
//! A member is one node of the world with its own clock, disk and network, running `vetcd`'s own
//! [`vetcd::server::run`] and nothing else. A process that ends by itself is remembered with its
//! reason; the cluster never starts one again on its own.

mod flags;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use vetcd::config::Config;
use vetcd::host::layer::{Layer, Layered};
use vetcd::host::{Event, Host};
use vetcd::server::{self, Server};
use vetcd::storage::Fault;

use crate::check::KnownOrder;
use crate::observe::Observer;
use crate::plan::Plan;
use crate::world::{FileLoss, NodeConfig, NodeId, PowerLoss, World};

pub use flags::{Flags, member_config};
use memory::Memory;
pub use memory::records_from;

/// Where members listen; each has a network of its own.
const PEER_PORT: u16 = 2380;
const CLIENT_PORT: u16 = 2379;

/// A member whose process ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When, in virtual nanoseconds.
    pub at_ns: u64,
    /// Its number.
    pub member: u32,
    /// What it said.
    pub reason: String,
    /// Whether it said that the cluster has removed it.
    pub removal: bool,
    /// Which fault of its storage it blamed.
    pub fault: Option<Fault>,
    /// Whether it had come so far as to serve.
    pub served: bool,
}

/// A supervisor starts a member again after this.
const START_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The cluster; clones share it.
#[derive(Clone)]
pub struct Cluster {
    world: World,
    observer: Observer,
    members: Arc<Vec<Member>>,
    /// How many members it began with.
    size: u32,
    state: Arc<Mutex<State>>,
    memory: Arc<Mutex<Memory>>,
}

struct Member {
    number: u32,
    node: NodeId,
}

#[derive(Default)]
struct State {
    servers: BTreeMap<u32, Arc<Server>>,
    ended: Vec<Ended>,
    paused: BTreeMap<u32, u32>,
    /// What the members of the cluster, and those on their way out, are started with.
    configs: BTreeMap<u32, Config>,
    /// The members that belong to the cluster.
    current: BTreeSet<u32>,
    removals: Vec<Removal>,
    /// Machines whose member gave up joining.
    gave_up: BTreeSet<u32>,
    /// Members whose disk had a fault, since when (virtual nanoseconds): their processes have a
    /// supervisor.
    tended: BTreeMap<u32, u64>,
    /// When the supervisor starts a member.
    to_start: BTreeMap<u32, u64>,
    /// Members that refused to start with what their disk holds: for good, as far as a supervisor
    /// goes.
    refused: BTreeSet<u32>,
    /// How often a machine has joined.
    joined: BTreeMap<u32, u32>,
    /// Machines on which another member took the place of one that refused.
    replaced: BTreeSet<u32>,
}

/// A member that the cluster has removed for certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Its number.
    pub member: u32,
    /// When that was certain, in virtual nanoseconds.
    pub at_ns: u64,
    /// When its process ended by itself, saying so.
    pub stopped_ns: Option<u64>,
}

/// The machines beyond the cluster's own that the plan's workloads need.
pub fn spares(plan: &Plan) -> u32 {
    let spares = plan.workloads.iter();
    spares.map(|planned| planned.workload.spares()).sum()
}

/// The peer URL of the member on machine `number`.
pub fn peer_url_of(number: u32) -> String {
    format!("http://m{number}:{PEER_PORT}")
}

impl Cluster {
    /// Adds the plan's members to the world; none is started.
    ///
    /// # Errors
    /// When the server refuses the plan's flags.
    pub fn new(
        world: &World,
        plan: &Plan,
        observer: &Observer,
        node_config: impl Fn(u32) -> NodeConfig,
    ) -> Result<Cluster, vetcd::config::Error> {
        let size = plan.members.len() as u32;
        let members = (1..=size + spares(plan))
            .map(|number| Member {
                number,
                node: world.add_node(&format!("m{number}"), node_config(number)),
            })
            .collect();
        let configs = (1..=size)
            .map(|number| Ok((number, member_config(number, size, &plan.server)?)))
            .collect::<Result<_, vetcd::config::Error>>()?;
        let state = State {
            configs,
            current: (1..=size).collect(),
            ..State::default()
        };
        Ok(Cluster {
            world: world.clone(),
            observer: observer.clone(),
            members: Arc::new(members),
            size,
            state: Arc::new(Mutex::new(state)),
            memory: Arc::default(),
        })
    }

    /// The numbers of the members that belong to the cluster now, as far as it is known.
    pub fn numbers(&self) -> Vec<u32> {
        self.lock().current.iter().copied().collect()
    }

    /// The numbers of all machines, spare ones included.
    pub fn machines(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.number).collect()
    }

    /// The machine with this peer URL.
    pub fn machine_at(&self, peer_url: &str) -> Option<u32> {
        let mut machines = self.machines().into_iter();
        machines.find(|number| peer_url_of(*number) == peer_url)
    }

    /// Whether a process runs on machine `number`.
    pub fn is_up(&self, number: u32) -> bool {
        self.world.is_up(self.node(number))
    }

    /// Starts machine `number` as a new member, with an empty disk, of a cluster with these members
    /// (name and peer URL).
    ///
    /// # Errors
    /// What the server itself says about the flags.
    pub fn join(
        &self,
        number: u32,
        members: &[(String, String)],
        server: &BTreeMap<String, String>,
    ) -> Result<(), vetcd::config::Error> {
        let mut state = self.lock();
        let joined = state.joined.entry(number).or_insert(0);
        *joined += 1;
        let members: Vec<String> = members
            .iter()
            .map(|(name, url)| format!("{name}={url}"))
            .collect();
        let mut flags = server.clone();
        for (flag, value) in [
            ("data-dir", format!("data-{joined}")),
            ("initial-cluster", members.join(",")),
            ("initial-cluster-state", "existing".to_owned()),
        ] {
            flags.insert(flag.to_owned(), value);
        }
        let config = member_config(number, number, &flags)?;
        state.configs.insert(number, config);
        state.current.insert(number);
        state.gave_up.remove(&number);
        // Whatever was left of an earlier member on this machine is gone with its disk.
        let at_ns = self.world.now_ns();
        let earlier = state.removals.iter_mut().filter(|r| r.member == number);
        earlier.for_each(|removal| _ = removal.stopped_ns.get_or_insert(at_ns));
        drop(state);
        self.start(number);
        Ok(())
    }

    /// As [`Cluster::join`], in the place of a member that refused what its disk held.
    ///
    /// # Errors
    /// What the server itself says about the flags.
    pub fn replace(
        &self,
        number: u32,
        members: &[(String, String)],
        server: &BTreeMap<String, String>,
    ) -> Result<(), vetcd::config::Error> {
        self.lock().replaced.insert(number);
        self.join(number, members, server)
    }

    /// The machines on which another member took the place of one that refused, and runs.
    pub fn replaced(&self) -> BTreeSet<u32> {
        let state = self.lock();
        let runs = |number: &&u32| state.servers.contains_key(number);
        state.replaced.iter().filter(runs).copied().collect()
    }

    /// The machines whose member refused to start with what its disk holds.
    pub fn refused(&self) -> BTreeSet<u32> {
        self.lock().refused.clone()
    }

    /// The machines of the members that the cluster began with.
    pub fn original(&self) -> Vec<u32> {
        (1..=self.size).collect()
    }

    /// The cluster has removed the member on machine `number`: its process has to end.
    pub fn removed(&self, number: u32) {
        let at_ns = self.world.now_ns();
        let mut state = self.lock();
        if !state.current.remove(&number) {
            return;
        }
        // It may have ended before that was certain.
        let said = |ended: &Ended| ended.member == number && ended.removal;
        let stopped_ns = state
            .ended
            .iter()
            .find(|ended| said(ended))
            .map(|e| e.at_ns)
            // One that refused what its disk holds has ended, and is not started again.
            .or(state.refused.remove(&number).then_some(at_ns));
        state.ended.retain(|ended| !said(ended));
        state.removals.push(Removal {
            member: number,
            at_ns,
            stopped_ns,
        });
    }

    /// Whether the member on machine `number` gave up joining.
    pub fn gave_up(&self, number: u32) -> bool {
        self.lock().gave_up.contains(&number)
    }

    /// The removals so far.
    pub fn removals(&self) -> Vec<Removal> {
        self.lock().removals.clone()
    }

    /// The endpoints clients use, with the number of the member behind each.
    pub fn endpoints(&self) -> Vec<(String, u32)> {
        let endpoint = |n: u32| (format!("m{n}:{CLIENT_PORT}"), n);
        self.machines().into_iter().map(endpoint).collect()
    }

    /// The node of member `number`.
    pub fn node(&self, number: u32) -> NodeId {
        self.members[number as usize - 1].node
    }

    /// The world the cluster lives in.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Starts every member.
    pub fn start_all(&self) {
        for number in self.numbers() {
            self.start(number);
        }
    }

    /// Starts a process for member `number`, unless one runs.
    pub fn start(&self, number: u32) {
        let node = self.node(number);
        if self.world.is_up(node) {
            return;
        }
        let config = {
            let mut state = self.lock();
            state.to_start.remove(&number);
            state.refused.remove(&number);
            let removed = state.removals.iter().rfind(|r| r.member == number);
            let unaware = removed.is_some_and(|removal| removal.stopped_ns.is_none());
            match state.configs.get(&number) {
                Some(config) if state.current.contains(&number) || unaware => config.clone(),
                // A machine that is no member, and has been told so.
                _ => return,
            }
        };
        let cluster = self.clone();
        self.world.start(node, move |host| {
            let observed = Observed {
                cluster: cluster.clone(),
                member: number,
            };
            let host = Arc::new(Layered::new(host, observed));
            Box::pin(async move {
                let (_stop, stopped) = watch::channel(false);
                let serving = {
                    let cluster = cluster.clone();
                    move |server: Arc<Server>| {
                        cluster.lock().servers.insert(number, server);
                    }
                };
                let ended = server::run(host, config, stopped, serving).await;
                match ended {
                    Err(error) if error.is_failed_join() => cluster.not_joined(number),
                    Err(error) => {
                        let removal = error.is_removal();
                        cluster.ended(number, error.to_string(), removal, error.fault());
                    }
                    Ok(()) => cluster.ended(number, "stopped".to_owned(), false, None),
                }
            })
        });
    }

    /// A member that was to join never became one: by its flags, the cluster has changed meanwhile.
    /// It is for the operator to try again.
    fn not_joined(&self, number: u32) {
        let at_ns = self.world.now_ns();
        let mut state = self.lock();
        state.current.remove(&number);
        state.gave_up.insert(number);
        // Removed before it ever joined: it has stopped as well as it can.
        let removed = state.removals.iter_mut().filter(|r| r.member == number);
        removed.for_each(|removal| _ = removal.stopped_ns.get_or_insert(at_ns));
    }

    fn ended(&self, number: u32, reason: String, removal: bool, fault: Option<Fault>) {
        let at_ns = self.world.now_ns();
        self.observer.died(number);
        let mut state = self.lock();
        let served = state.servers.remove(&number).is_some();
        let current = state.current.contains(&number);
        let open = state.removals.iter_mut().rfind(|r| r.member == number);
        if let Some(open) = open.filter(|_| removal && !current) {
            open.stopped_ns.get_or_insert(at_ns);
            return;
        }
        state.ended.push(Ended {
            at_ns,
            member: number,
            reason,
            removal,
            fault,
            served,
        });
        // One that served did not look at all that its disk holds: its next start does.
        if fault == Some(Fault::Damaged) && !served {
            state.refused.insert(number);
        } else if state.tended.contains_key(&number) {
            let start_ns = at_ns + START_AGAIN_AFTER.as_nanos() as u64;
            state.to_start.insert(number, start_ns);
        }
    }

    /// From now on a supervisor starts member `number` again when it ends by itself, unless it
    /// refuses what its disk holds: see [`Cluster::supervise`].
    pub fn tend(&self, number: u32) {
        let at_ns = self.world.now_ns();
        self.lock().tended.entry(number).or_insert(at_ns);
    }

    /// Since when the disk of each member that had one had a fault (virtual nanoseconds).
    pub fn tended(&self) -> BTreeMap<u32, u64> {
        self.lock().tended.clone()
    }

    /// The supervisor starts member `number` before long.
    pub fn start_soon(&self, number: u32) {
        let start_ns = self.world.now_ns() + START_AGAIN_AFTER.as_nanos() as u64;
        self.lock().to_start.insert(number, start_ns);
    }

    /// Starts what the supervisor has to start by now.
    pub fn supervise(&self) {
        let now_ns = self.world.now_ns();
        let due: Vec<u32> = {
            let state = self.lock();
            let due = state.to_start.iter().filter(|(_, at_ns)| **at_ns <= now_ns);
            due.map(|(number, _)| *number).collect()
        };
        for number in due {
            // Its process may not have ended all of its tasks yet.
            if !self.world.is_up(self.node(number)) {
                self.start(number);
            }
        }
    }

    /// The members that belong to the cluster now, without those that refused what their disk holds.
    pub fn able(&self) -> Vec<u32> {
        let state = self.lock();
        state.current.difference(&state.refused).copied().collect()
    }

    /// How many operations of all disks found no space.
    pub fn full_count(&self) -> u64 {
        let disks = self
            .members
            .iter()
            .map(|member| self.world.disk(member.node));
        disks.map(|disk| disk.counters().full).sum()
    }

    /// Kills the process of member `number`; its page cache survives. `false` when none runs.
    pub fn crash(&self, number: u32) -> bool {
        if !self.world.is_up(self.node(number)) {
            return false;
        }
        self.gone(number);
        self.world.crash(self.node(number));
        true
    }

    /// Cuts the power of member `number`; returns what became of un-synced data.
    pub fn power_loss(&self, number: u32, policy: PowerLoss) -> Vec<FileLoss> {
        self.gone(number);
        self.world.power_loss(self.node(number), policy)
    }

    fn gone(&self, number: u32) {
        self.observer.died(number);
        let mut state = self.lock();
        state.servers.remove(&number);
        state.paused.remove(&number);
        // Whoever took it down starts it again.
        state.to_start.remove(&number);
    }

    /// Stops the process of member `number` in its tracks. Pauses count: the last one resumed
    /// lets it go on. `false` when no process runs.
    pub fn pause(&self, number: u32) -> bool {
        if !self.world.is_up(self.node(number)) {
            return false;
        }
        *self.lock().paused.entry(number).or_insert(0) += 1;
        self.world.pause(self.node(number));
        true
    }

    /// Lets a paused process go on, if this was its last pause.
    pub fn resume(&self, number: u32) {
        let mut state = self.lock();
        let Some(pauses) = state.paused.get_mut(&number) else {
            return;
        };
        *pauses -= 1;
        if *pauses == 0 {
            state.paused.remove(&number);
            drop(state);
            self.world.resume(self.node(number));
        }
    }

    /// The running server of member `number`, for the audit.
    pub fn server(&self, number: u32) -> Option<Arc<Server>> {
        self.lock().servers.get(&number).cloned()
    }

    fn note(&self, number: u32, event: &Event) {
        let server = self.server(number);
        let shown = server.map(|server| (Arc::as_ptr(&server).addr(), server.serializable()));
        let shown = shown
            .as_ref()
            .map(|(name, published)| (*name, &**published));
        let mut memory = self.memory.lock().unwrap_or_else(|e| e.into_inner());
        memory.hear(number, event, shown);
    }

    /// Adds to what `members` hold in the end, all the same, what they compacted on the way.
    pub fn remember(&self, known: &mut KnownOrder, members: &[u32]) {
        let memory = self.memory.lock().unwrap_or_else(|e| e.into_inner());
        memory.complete(known, members);
    }

    /// Processes that ended by themselves.
    pub fn ended_by_themselves(&self) -> Vec<Ended> {
        self.lock().ended.clone()
    }

    /// Lets go of all servers, which hold parts of the world.
    pub fn forget_servers(&self) {
        self.lock().servers.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Passes on what a member says about itself.
struct Observed {
    cluster: Cluster,
    member: u32,
}

impl Layer for Observed {
    fn observe(&self, _inner: &Arc<dyn Host>, event: Event) {
        self.cluster.note(self.member, &event);
        let now_ns = self.cluster.world.now_ns();
        self.cluster.observer.hear(now_ns, self.member, event);
    }
}
