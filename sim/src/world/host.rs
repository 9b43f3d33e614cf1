//! `host::Host` for one life of a simulated process.

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use vetcd::defects::Defects;
use vetcd::host::{BoxFuture, Disk, Host, Listener, Moment, Stream, TaskHandle};

use super::node::{Cause, Life};
use super::{World, lock, net, panics};
use crate::rng;

/// madsim remembers every task ever spawned until asked for their number: ask this often.
const SPAWNS_PER_TIDYING: u32 = 4096;

pub(super) struct SimHost {
    world: World,
    life: Life,
    entropy: Mutex<rng::Stream>,
}

impl SimHost {
    pub(super) fn new(world: World, life: Life) -> SimHost {
        let name = format!("entropy/{}/{}", life.node.name, life.number);
        let entropy = Mutex::new(rng::Stream::new(world.seed(), &name));
        SimHost {
            world,
            life,
            entropy,
        }
    }
}

/// Runs `task` as part of `life`: its panic ends the process.
pub(super) async fn supervised(
    world: World,
    life: Life,
    name: &'static str,
    task: impl Future<Output = ()>,
) -> bool {
    match AssertUnwindSafe(task).catch_unwind().await {
        Ok(()) => true,
        Err(payload) => {
            let report = panics::describe(payload.as_ref(), name);
            world.end(&life, Cause::Panicked(report));
            false
        }
    }
}

impl Host for SimHost {
    fn now(&self) -> Moment {
        Moment(self.life.node.clock.now())
    }

    fn wall_clock(&self) -> Duration {
        self.life.node.clock.wall_clock()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(self.life.node.clock.sleep(duration))
    }

    fn spawn(&self, name: &'static str, task: BoxFuture<()>) -> TaskHandle {
        if !self.life.is_current() {
            return TaskHandle::new(|| {});
        }
        let (spawner, tidy) = {
            let mut state = lock(&self.life.node.state);
            state.spawned += 1;
            let tidy = state.spawned >= SPAWNS_PER_TIDYING;
            if tidy {
                state.spawned = 0;
            }
            (state.madsim.clone(), tidy)
        };
        if tidy {
            self.world.tidy();
        }
        let task = supervised(self.world.clone(), self.life.clone(), name, task);
        let abort = spawner.spawn(task.map(|_| ())).abort_handle();
        TaskHandle::new(move || abort.abort())
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        let (world, life) = (self.world.clone(), self.life.clone());
        Box::pin(async move {
            if !life.is_current() {
                return;
            }
            let disk = &life.node.disk;
            disk.enter();
            let result = std::panic::catch_unwind(AssertUnwindSafe(work));
            let until_ns = disk.leave();
            if let Err(payload) = result {
                let report = panics::describe(payload.as_ref(), "disk work");
                world.end(&life, Cause::Panicked(report));
                return;
            }
            if until_ns > world.now_ns() {
                world.timeline().sleep_until(until_ns).await;
            }
        })
    }

    fn disk(&self) -> Arc<dyn Disk> {
        self.life.node.disk.mount(self.life.clone())
    }

    fn boot_id(&self) -> String {
        self.world.boot_id(self.life.node_id())
    }

    fn listen(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Listener>>> {
        let listener = net::listen(self.world.net(), &self.life, address);
        Box::pin(std::future::ready(listener))
    }

    fn connect(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        let (network, life) = (self.world.net().clone(), self.life.clone());
        let timeline = self.world.timeline().clone();
        Box::pin(net::connect(network, life, timeline, address.to_owned()))
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        lock(&self.entropy).fill(buffer);
    }

    fn defects(&self) -> Defects {
        self.life.node.defects.clone()
    }
}
