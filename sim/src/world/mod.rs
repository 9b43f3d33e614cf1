//! The simulated world: nodes with clocks, disks and a network, on one thread and a virtual clock.
//!
//! [`run`] starts a run; its [`World`] adds nodes, starts processes on them with a
//! [`vetcd::host::Host`] of their own, and injects faults. The executor and the clock are madsim's;
//! the network ([`net`]) and the disks ([`disk`]) are ours, with their fault models stated there.
//!
//! **Lives.** A node lives many processes, one at a time. [`World::crash`] ends the process: its
//! kernel lives on. [`World::power_loss`] takes the kernel as well, and what the disk had not made
//! durable. Handles of an ended life return errors and never act.
//!
//! **Determinism.** A run depends on its seed and on the code, and on nothing else: not on the
//! machine, not on other runs beside or before it. [`World::trace`] is the proof: its hash differs
//! as soon as anything happens differently.
//!
//! ```
//! use std::time::Duration;
//! use vetcd_sim::world::{self, NodeConfig};
//!
//! let outcome = world::run(7, |world| async move {
//!     let node = world.add_node("m1", NodeConfig::default());
//!     world.start(node, |host| {
//!         Box::pin(async move { host.sleep(Duration::from_secs(3600)).await })
//!     });
//!     world.sleep(Duration::from_secs(10)).await;
//!     world.is_up(node)
//! });
//! assert!(outcome.expect("the scenario does not panic").output);
//! ```

mod clock;
pub mod disk;
mod host;
pub mod net;
mod node;
mod panics;
mod run;
#[cfg(test)]
mod tests;
mod timeline;
pub mod trace;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use vetcd::host::{BoxFuture, Host};

pub use self::clock::{ClockConfig, DRIFT_MAX_PPM};
pub use self::disk::{CACHED_READ, DiskProfile, FileLoss, PowerLoss, SimDisk, Unsynced};
pub use self::net::{Direction, LinkConfig, Network, NetworkConfig};
pub use self::node::{Cause, Death, NodeConfig};
pub use self::panics::PanicReport;
pub use self::run::{Outcome, RunFailure, RunOptions, run, run_with, warm_up};
pub use self::trace::Trace;

use self::clock::Clock;
use self::host::{SimHost, supervised};
use self::node::{Life, Node};
use self::timeline::{Timeline, nanos};

/// A node of a world, in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Everything that is simulated in one run. Cloning shares it.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    seed: u64,
    timeline: Timeline,
    trace: Trace,
    network: Network,
    madsim: madsim::runtime::Handle,
    nodes: Mutex<Vec<Arc<Node>>>,
    deaths: Mutex<Vec<Death>>,
}

/// Takes a lock. A run is single-threaded, so it is free; and a panic that poisoned it was caught
/// and reported, and says nothing about the state, which is never left half changed by one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// The world of the madsim runtime that the calling thread is in.
    fn new(options: &RunOptions) -> World {
        let timeline = Timeline::current();
        let trace = Trace::new(timeline.clone(), options.seed, options.record);
        let network = Network::new(
            options.seed,
            options.network.clone(),
            timeline.clone(),
            trace.clone(),
        );
        World(Arc::new(Inner {
            seed: options.seed,
            timeline,
            trace,
            network,
            madsim: madsim::runtime::Handle::current(),
            nodes: Mutex::default(),
            deaths: Mutex::default(),
        }))
    }

    /// The run's seed.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// True virtual time since the start of the run, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.0.timeline.now_ns()
    }

    /// Completes once `duration` of true virtual time has passed.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until_ns(self.now_ns().saturating_add(nanos(duration)))
            .await;
    }

    /// Completes at a point in true virtual time.
    pub async fn sleep_until_ns(&self, at_ns: u64) {
        self.0.timeline.sleep_until(at_ns).await;
    }

    /// The run's trace.
    pub fn trace(&self) -> &Trace {
        &self.0.trace
    }

    /// The network and its faults.
    pub fn net(&self) -> &Network {
        &self.0.network
    }

    /// The disk of `node` and its faults.
    pub fn disk(&self, node: NodeId) -> SimDisk {
        self.node(node).disk.clone()
    }

    fn timeline(&self) -> &Timeline {
        &self.0.timeline
    }

    fn node(&self, id: NodeId) -> Arc<Node> {
        let nodes = lock(&self.0.nodes);
        nodes
            .get(id.0 as usize)
            .expect("a node's identifier comes from this world")
            .clone()
    }

    /// Adds a machine. Its name is its host name in addresses.
    ///
    /// # Panics
    /// When the name is taken: addresses would be ambiguous.
    pub fn add_node(&self, name: &str, config: NodeConfig) -> NodeId {
        assert!(
            self.find(name).is_none(),
            "there is already a node named {name:?}"
        );
        let madsim = self.0.madsim.create_node().name(name).build();
        let mut nodes = lock(&self.0.nodes);
        let id = NodeId(nodes.len() as u32);
        let (timeline, trace) = (self.0.timeline.clone(), self.0.trace.clone());
        let clock = Clock::new(config.clock, timeline.clone());
        let disk = SimDisk::new(id, config.disk, timeline, trace, self.0.seed, name);
        self.0.network.add_host(name);
        let name = name.to_owned();
        nodes.push(Arc::new(Node::new(
            id,
            name,
            clock,
            disk,
            config.defects,
            madsim,
        )));
        id
    }

    /// The node called `name`.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        lock(&self.0.nodes)
            .iter()
            .find(|node| node.name == name)
            .map(|node| node.id)
    }

    /// The name of `node`.
    pub fn name(&self, node: NodeId) -> String {
        self.node(node).name.clone()
    }

    /// Starts a process on `node` (and the machine, if it had no power). Returns the number of the
    /// life, from 1; the process ends when the future does.
    ///
    /// # Panics
    /// When a process lives there already.
    pub fn start<F>(&self, id: NodeId, process: F) -> u64
    where
        F: FnOnce(Arc<dyn Host>) -> BoxFuture<()> + Send + 'static,
    {
        let node = self.node(id);
        assert!(
            node.life().is_none(),
            "a process already lives on {}",
            node.name
        );
        self.0.network.power_on(id);
        let spawner = {
            let mut state = lock(&node.state);
            if state.lives > 0 {
                // The executor's node was killed with the life before: give it a new one.
                self.0.madsim.restart(state.madsim.id());
                let madsim = self.0.madsim.get_node(state.madsim.id());
                state.madsim = madsim.expect("a node stays known to the executor");
            }
            state.lives += 1;
            state.boots += u64::from(!std::mem::replace(&mut state.powered, true));
            state.paused = false;
            node.set_life(Some(state.lives));
            state.madsim.clone()
        };
        let number = node.life().expect("it was just set");
        self.0
            .trace
            .event(Some(id), trace::EventKind::Start, [number, 0, 0]);
        let life = Life { node, number };
        let world = self.clone();
        spawner.spawn(async move {
            let host = Arc::new(SimHost::new(world.clone(), life.clone()));
            let main = async move { process(host).await };
            if supervised(world.clone(), life.clone(), "main", main).await {
                world.end(&life, Cause::Returned);
            }
        });
        number
    }

    /// The process dies at once; its kernel and page cache live on. Nothing happens when none lives.
    pub fn crash(&self, id: NodeId) {
        let node = self.node(id);
        if let Some(number) = node.life() {
            self.end(&Life { node, number }, Cause::Crashed);
        }
    }

    /// The machine loses power: the process, the kernel and what the disk had not made durable are
    /// gone. Works on a machine whose process is dead already. Returns what became of un-synced data.
    pub fn power_loss(&self, id: NodeId, policy: PowerLoss) -> Vec<FileLoss> {
        let node = self.node(id);
        if !std::mem::replace(&mut lock(&node.state).powered, false) {
            return Vec::new();
        }
        self.0
            .trace
            .fault(Some(id), "power-loss", [policy.unsynced as u64, 0, 0]);
        // The kernel first: it must not say goodbye on behalf of its process.
        self.0.network.power_lost(id);
        if let Some(number) = node.life() {
            self.end(
                &Life {
                    node: node.clone(),
                    number,
                },
                Cause::PowerLost,
            );
        }
        node.disk.power_lost(policy)
    }

    /// The process stops running until [`World::resume`]; its kernel goes on.
    pub fn pause(&self, id: NodeId) {
        let node = self.node(id);
        let mut state = lock(&node.state);
        if node.life().is_some() && !std::mem::replace(&mut state.paused, true) {
            self.0.trace.fault(Some(id), "pause", [0; 3]);
            self.0.madsim.pause(state.madsim.id());
        }
    }

    /// Undoes [`World::pause`].
    pub fn resume(&self, id: NodeId) {
        let node = self.node(id);
        let mut state = lock(&node.state);
        if std::mem::replace(&mut state.paused, false) {
            self.0.trace.fault(Some(id), "resume", [0; 3]);
            self.0.madsim.resume(state.madsim.id());
        }
    }

    /// Whether a process lives on `node` (paused or not).
    pub fn is_up(&self, node: NodeId) -> bool {
        self.node(node).life().is_some()
    }

    /// Identifies the present boot of the machine: changes exactly when it loses power and with it
    /// the page cache.
    pub fn boot_id(&self, id: NodeId) -> String {
        let node = self.node(id);
        let boots = lock(&node.state).boots;
        format!("{}-boot-{boots}", node.name)
    }

    /// Completes when no process lives on `node`.
    pub async fn wait_down(&self, id: NodeId) {
        let node = self.node(id);
        std::future::poll_fn(|context| {
            if node.life().is_none() {
                return Poll::Ready(());
            }
            lock(&node.state).mourners.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// From now on the clocks of `node` run `ppm` parts per million too fast (negative: too slow).
    pub fn set_drift(&self, id: NodeId, ppm: i64) {
        self.0
            .trace
            .fault(Some(id), "clock-drift", [ppm as u64, 0, 0]);
        self.node(id).clock.set_drift(ppm);
    }

    /// The wall clock of `node` jumps by `milliseconds`.
    pub fn step_wall_clock(&self, id: NodeId, milliseconds: i64) {
        self.0
            .trace
            .fault(Some(id), "clock-step", [milliseconds as u64, 0, 0]);
        self.node(id).clock.step_wall_clock(milliseconds);
    }

    /// How processes ended so far, in order.
    pub fn deaths(&self) -> Vec<Death> {
        lock(&self.0.deaths).clone()
    }

    /// Ends a life. Nothing happens when it is over already.
    fn end(&self, life: &Life, cause: Cause) {
        if !life.is_current() {
            return;
        }
        let (node, id) = (&life.node, life.node_id());
        node.set_life(None);
        self.0.trace.event(
            Some(id),
            trace::EventKind::End,
            [life.number, cause.code(), 0],
        );
        if !matches!(cause, Cause::PowerLost) {
            self.0.network.process_died(id);
        }
        node.disk.process_died();
        let (madsim, mourners) = {
            let mut state = lock(&node.state);
            state.paused = false;
            (state.madsim.id(), std::mem::take(&mut state.mourners))
        };
        // Paused tasks are dropped by the executor like the others, not under its lock.
        self.0.madsim.resume(madsim);
        self.0.madsim.kill(madsim);
        mourners.into_iter().for_each(std::task::Waker::wake);
        let death = Death {
            node: id,
            life: life.number,
            at_ns: self.now_ns(),
            cause,
        };
        lock(&self.0.deaths).push(death);
    }

    /// Lets the executor forget tasks that have ended.
    fn tidy(&self) {
        self.0.madsim.metrics().num_tasks();
    }

    /// Kills whatever lives, without a trace and without effect on disks: the run is over.
    fn shut_down(&self) {
        let nodes = lock(&self.0.nodes).clone();
        for node in nodes {
            node.set_life(None);
            let madsim = lock(&node.state).madsim.id();
            self.0.madsim.resume(madsim);
            self.0.madsim.kill(madsim);
        }
    }
}
