//! The clients of a recording: as many as the recipe asks for, each with a connection, a stream of
//! draws and a session of its own.

use std::sync::Arc;
use std::time::Duration;

use vetcd::client::{Client, ClientOptions};
use vetcd::host::{Host, TaskHandle};

use super::Recipe;
use crate::rng::Stream;
use crate::workload::{Recorder, Session, candidate, kv, lease, lock, observer, watch};

/// Leases are named after clients: bits of the name for the client's own number, and bits that tell
/// recordings apart. One bit is left for the sign of lease IDs, one for the count from 1.
const NUMBER_BITS: u32 = 16;
const FAMILY_BITS: u32 = 14;

/// Everybody who works on the cluster.
pub(super) struct Crew<'a> {
    host: Arc<dyn Host>,
    recipe: &'a Recipe,
    recorder: Recorder,
    /// A number that leases of others are unlikely to be named after.
    family: u32,
    members: Vec<(String, u32)>,
    hired: u32,
    workers: Vec<TaskHandle>,
    watchers: Vec<TaskHandle>,
}

/// What a client is handed before it begins.
struct Hired {
    host: Arc<dyn Host>,
    /// Among all clients.
    number: u32,
    /// Among those of its workload.
    position: u32,
    /// What its leases are named after.
    name: u32,
    random: Stream,
    client: Client,
    session: Session,
}

/// A client that begins at the endpoint number `first`, counted around.
pub(super) fn client(host: &Arc<dyn Host>, recipe: &Recipe, first: u32, limit: Duration) -> Client {
    let options = ClientOptions {
        call_timeout: limit,
        connect_timeout: limit,
    };
    let mut endpoints = recipe.endpoints.clone();
    endpoints.rotate_left(first as usize % recipe.endpoints.len().max(1));
    Client::new(host.clone(), endpoints, options)
}

impl<'a> Crew<'a> {
    /// Nobody yet.
    pub(super) fn new(
        host: &Arc<dyn Host>,
        recipe: &'a Recipe,
        recorder: &Recorder,
        entropy: u32,
    ) -> Crew<'a> {
        Crew {
            host: host.clone(),
            recipe,
            recorder: recorder.clone(),
            family: entropy & ((1 << FAMILY_BITS) - 1),
            members: recipe.endpoints.iter().cloned().zip(1..).collect(),
            hired: 0,
            workers: Vec::new(),
            watchers: Vec::new(),
        }
    }

    /// The book of one more client.
    pub(super) fn session(&mut self) -> Session {
        self.hired += 1;
        self.recorder.session(self.hired - 1, self.members.clone())
    }

    /// Starts `count` clients of one workload, whose calls may take `limit`.
    fn hire<W>(&mut self, count: u32, limit: Duration, work: impl Fn(Hired) -> W) -> Vec<TaskHandle>
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let one = |position| {
            let number = self.hired;
            let hired = Hired {
                host: self.host.clone(),
                number,
                position,
                name: self.family << NUMBER_BITS | number & ((1 << NUMBER_BITS) - 1),
                random: Stream::new(self.recipe.seed, &format!("client/{number}")),
                client: client(&self.host, self.recipe, number, limit),
                session: self.session(),
            };
            self.host.spawn("record", Box::pin(work(hired)))
        };
        (0..count).map(one).collect()
    }

    /// Sets everybody to work.
    pub(super) fn start_all(&mut self) {
        let recipe = self.recipe;
        let mut workers = Vec::new();
        if let Some(workload) = &recipe.kv {
            workers.extend(self.hire(workload.clients, workload.timeout, |who| {
                let workload = workload.clone();
                kv(
                    who.host,
                    workload,
                    who.number,
                    who.random,
                    who.client,
                    who.session,
                )
            }));
        }
        if let Some(workload) = &recipe.lease {
            workers.extend(self.hire(workload.clients, workload.timeout, |who| {
                let workload = workload.clone();
                lease(
                    who.host,
                    workload,
                    who.name,
                    who.random,
                    who.client,
                    who.session,
                )
            }));
        }
        if let Some(workload) = &recipe.lock {
            workers.extend(self.hire(workload.clients, workload.timeout, |who| {
                let workload = workload.clone();
                lock(
                    who.host,
                    workload,
                    who.name,
                    who.random,
                    who.client,
                    who.session,
                )
            }));
        }
        if let Some(workload) = &recipe.election {
            workers.extend(self.hire(workload.clients, workload.timeout, |who| {
                let workload = workload.clone();
                candidate(
                    who.host,
                    workload,
                    who.name,
                    who.random,
                    who.client,
                    who.session,
                )
            }));
            workers.extend(self.hire(workload.observers, workload.timeout, |who| {
                observer(
                    who.host,
                    workload.clone(),
                    who.random,
                    who.client,
                    who.session,
                )
            }));
        }
        self.workers = workers;
        if let Some(workload) = &recipe.watch {
            self.watchers = self.hire(workload.clients, workload.timeout, |who| {
                let workload = workload.clone();
                watch(
                    who.host,
                    workload,
                    who.position,
                    who.random,
                    who.client,
                    who.session,
                )
            });
        }
    }

    /// Ends all work but watching.
    pub(super) fn stop_workers(&mut self) {
        self.workers.drain(..).for_each(|worker| worker.abort());
    }

    /// Ends what is left.
    pub(super) fn stop_watchers(&mut self) {
        self.watchers.drain(..).for_each(|watcher| watcher.abort());
    }
}
