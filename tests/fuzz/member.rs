//! Members that run inside a test, on one thread and a paused clock.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use vetcd::config::Config;
use vetcd::host::Host;
use vetcd::server::Server;

use crate::world::{MemoryDisk, Network, World};

/// A cluster of which the first members run, and the world around it.
pub struct Cluster {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    pub network: Network,
    pub members: Vec<Member>,
    initial: String,
}

/// A running member, or how it ended.
pub struct Member {
    stop: watch::Sender<bool>,
    server: Arc<Mutex<Option<Arc<Server>>>>,
    ended: Arc<Mutex<Option<String>>>,
}

/// Where the member with this number, from 1 on, serves clients.
pub fn client_address(number: usize) -> String {
    format!("m{number}:2379")
}

/// Its part of `--initial-cluster`.
pub fn address_in_cluster(number: usize) -> String {
    format!("m{number}=http://{}", peer_address(number))
}

/// Where it serves other members.
pub fn peer_address(number: usize) -> String {
    format!("m{number}:2380")
}

impl Cluster {
    /// Starts the first `running` of `all` members with these additional flags, and waits for a
    /// leader.
    pub fn start(all: usize, running: usize, flags: &[(&str, &str)]) -> Cluster {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let initial: Vec<String> = (1..=all).map(address_in_cluster).collect();
        let mut cluster = Cluster {
            runtime: Some(runtime),
            network: Network::default(),
            members: Vec::new(),
            initial: initial.join(","),
        };
        (1..=running).for_each(|number| cluster.launch(number, flags));
        for _ in 0..200 {
            cluster.pass(Duration::from_millis(50));
            if cluster.members.iter().all(Member::is_led) {
                cluster.pass(Duration::from_millis(200));
                return cluster;
            }
        }
        panic!("no leader: {:?}", cluster.ends());
    }

    /// Starts the member with this number, the next one, with an empty disk. Does not wait.
    pub fn launch(&mut self, number: usize, flags: &[(&str, &str)]) {
        let client = format!("http://{}", client_address(number));
        let peer = format!("http://{}", peer_address(number));
        let mut pairs = vec![
            ("name", format!("m{number}")),
            ("data-dir", "/data".to_owned()),
            ("listen-client-urls", client.clone()),
            ("advertise-client-urls", client),
            ("listen-peer-urls", peer.clone()),
            ("initial-advertise-peer-urls", peer),
            ("initial-cluster", self.initial.clone()),
            ("bcrypt-cost", "4".to_owned()),
            // The log reserves its space, which takes memory here.
            ("wal-segment-bytes", "1048576".to_owned()),
        ];
        for (flag, value) in flags {
            pairs.retain(|(known, _)| known != flag);
            pairs.push((flag, (*value).to_owned()));
        }
        let config = Config::from_pairs(pairs).unwrap();
        let (stop, stopping) = watch::channel(false);
        let member = Member {
            stop,
            server: Arc::default(),
            ended: Arc::default(),
        };
        let (server, ended) = (member.server.clone(), member.ended.clone());
        let network = self.network.clone();
        self.runtime.as_ref().unwrap().spawn(async move {
            let world = World::new(&format!("m{number}"), MemoryDisk::default(), network);
            let serving = |running: Arc<Server>| {
                *server.lock().unwrap() = Some(running);
            };
            let result = vetcd::server::run(Arc::new(world), config, stopping, serving).await;
            let text = result.map_or_else(|error| error.to_string(), |()| "stopped".to_owned());
            *ended.lock().unwrap() = Some(text);
        });
        self.members.push(member);
    }

    /// Runs `work` beside the members, for at most `limit` of their time.
    pub fn run<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(async { tokio::time::timeout(limit, work).await.ok() })
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// A client's world beside the members.
    pub fn client(&self) -> World {
        let runtime = self.runtime.as_ref().unwrap();
        let _inside = runtime.enter();
        World::new("client", MemoryDisk::default(), self.network.clone())
    }

    /// The same, as hosts are handed around.
    pub fn client_host(&self) -> Arc<dyn Host> {
        Arc::new(self.client())
    }

    /// How the members that ended did.
    pub fn ends(&self) -> Vec<String> {
        let ended = self.members.iter().filter_map(Member::ended);
        ended.collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &self.members {
            member.server.lock().unwrap().take();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Member {
    /// Makes it stop.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// The server, once it serves.
    pub fn server(&self) -> Option<Arc<Server>> {
        self.server.lock().unwrap().clone()
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Option<String> {
        self.ended.lock().unwrap().clone()
    }

    fn is_led(&self) -> bool {
        let server = self.server();
        server.is_some_and(|server| {
            let applied = server.serializable().index;
            server.raft_status().leader != 0 && applied > 1
        })
    }
}
