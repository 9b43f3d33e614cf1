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

/// The number that a client's work goes by.
#[derive(Clone, Copy)]
enum Called {
    /// Its number among all clients.
    Client,
    /// Its number among those of its workload.
    Position,
    /// What its leases are named after, which no other recording uses at the time.
    Lease,
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
    fn hire<W: Clone, F>(
        &mut self,
        workload: &W,
        (count, limit): (u32, Duration),
        called: Called,
        work: impl Fn(Arc<dyn Host>, W, u32, Stream, Client, Session) -> F,
    ) -> Vec<TaskHandle>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let one = |position| {
            let hired = self.hired;
            let number = match called {
                Called::Client => hired,
                Called::Position => position,
                Called::Lease => self.family << NUMBER_BITS | hired & ((1 << NUMBER_BITS) - 1),
            };
            let random = Stream::new(self.recipe.seed, &format!("client/{hired}"));
            let client = client(&self.host, self.recipe, hired, limit);
            let (host, session) = (self.host.clone(), self.session());
            let work = work(host, workload.clone(), number, random, client, session);
            self.host.spawn("record", Box::pin(work))
        };
        (0..count).map(one).collect()
    }

    /// Sets everybody to work.
    pub(super) fn start_all(&mut self) {
        let recipe = self.recipe;
        let mut workers = Vec::new();
        if let Some(w) = &recipe.kv {
            workers.extend(self.hire(w, (w.clients, w.timeout), Called::Client, kv));
        }
        if let Some(w) = &recipe.lease {
            workers.extend(self.hire(w, (w.clients, w.timeout), Called::Lease, lease));
        }
        if let Some(w) = &recipe.lock {
            workers.extend(self.hire(w, (w.clients, w.timeout), Called::Lease, lock));
        }
        if let Some(w) = &recipe.election {
            workers.extend(self.hire(w, (w.clients, w.timeout), Called::Lease, candidate));
            let observes = |host, workload, _, random, client, session| {
                observer(host, workload, random, client, session)
            };
            let observers = (w.observers, w.timeout);
            workers.extend(self.hire(w, observers, Called::Client, observes));
        }
        self.workers = workers;
        if let Some(w) = &recipe.watch {
            let watchers = (w.clients, w.timeout);
            self.watchers = self.hire(w, watchers, Called::Position, watch);
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
