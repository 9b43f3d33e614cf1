//! The peers that are dialled, and since when each has been connected. Peers come, go and move while
//! the member runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use prometheus::IntCounter;
use tokio::sync::mpsc;

use crate::api::proto::vetcdpb;
use crate::host::{Host, Moment, TaskHandle};
use crate::metrics::Metrics;
use crate::server::Members;

use super::super::{Applied, Input};
use super::{Identity, QUEUE_BATCHES, dial};

/// A peer and where to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// The peer's member ID.
    pub member_id: u64,
    /// Its addresses (`host:port`), tried in turn.
    pub addresses: Vec<String>,
}

impl PeerAddress {
    /// Where `member` is, by its peer URLs; those that are no URLs are left out.
    pub fn of(member: &vetcdpb::ClusterMember) -> PeerAddress {
        let urls = member.peer_urls.iter();
        PeerAddress {
            member_id: member.id,
            addresses: urls
                .filter_map(|url| crate::config::address_of(url).ok())
                .collect(),
        }
    }
}

/// Since when this member has been connected to its peers. Bounded by their number.
#[derive(Debug, Default)]
pub struct Contacts(Mutex<BTreeMap<u64, Moment>>);

impl Contacts {
    /// Since when `peer` has been connected; `None` when it is not.
    pub fn since(&self, peer: u64) -> Option<Moment> {
        self.lock().get(&peer).copied()
    }

    /// `peer` is connected from `now` on.
    pub fn connected(&self, peer: u64, now: Moment) {
        self.lock().insert(peer, now);
    }

    /// `peer` is not connected.
    pub fn lost(&self, peer: u64) {
        self.lock().remove(&peer);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Moment>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The diallers, one a peer.
pub struct Peers {
    host: Arc<dyn Host>,
    identity: Identity,
    inputs: mpsc::Sender<Input>,
    contacts: Arc<Contacts>,
    applied: Arc<dyn Applied>,
    metrics: Arc<Metrics>,
    peers: BTreeMap<u64, Peer>,
}

/// Beyond this many peers no strangers are dialled.
const MAX_PEERS: usize = 64;

struct Peer {
    address: PeerAddress,
    queue: mpsc::Sender<Vec<vetcdpb::RaftMessage>>,
    dialler: TaskHandle,
    dropped: IntCounter,
}

impl Peers {
    pub fn new(
        host: Arc<dyn Host>,
        identity: Identity,
        inputs: mpsc::Sender<Input>,
        applied: Arc<dyn Applied>,
        metrics: Arc<Metrics>,
    ) -> Peers {
        Peers {
            host,
            identity,
            inputs,
            contacts: Arc::default(),
            applied,
            metrics,
            peers: BTreeMap::new(),
        }
    }

    pub fn contacts(&self) -> Arc<Contacts> {
        self.contacts.clone()
    }

    /// Dials these members, this one excepted, and no others.
    pub fn set(&mut self, members: &Members) {
        let wanted: BTreeMap<u64, PeerAddress> = members
            .iter()
            .filter(|member| member.id != self.identity.member_id)
            .map(|member| (member.id, PeerAddress::of(member)))
            .filter(|(_, peer)| !peer.addresses.is_empty())
            .collect();
        let gone: Vec<u64> = self.peers.keys().copied().collect();
        for id in gone {
            if !members.was_removed(id) {
                // A member, or one that this member has yet to hear of.
                continue;
            }
            // Without its queue the dialler ends once it has sent what is in it: the message that
            // tells the peer of its removal may be there.
            self.peers.remove(&id);
            self.contacts.lost(id);
        }
        for (id, address) in wanted {
            let same = self.peers.get(&id).map(|peer| peer.address == address);
            if same == Some(true) {
                continue;
            }
            if let Some(moved) = self.peers.remove(&id) {
                moved.dialler.abort();
                self.contacts.lost(id);
            }
            self.dial(id, address);
        }
    }

    /// Dials a member that this one does not know yet: it lags behind, perhaps so far that nobody it
    /// knows is left.
    pub fn add_stranger(&mut self, member: &vetcdpb::ClusterMember) {
        let address = PeerAddress::of(member);
        let new = !self.peers.contains_key(&member.id) && member.id != self.identity.member_id;
        if new && !address.addresses.is_empty() && self.peers.len() < MAX_PEERS {
            self.dial(member.id, address);
        }
    }

    fn dial(&mut self, id: u64, address: PeerAddress) {
        let (queue, messages) = mpsc::channel(QUEUE_BATCHES);
        let counts = dial::Counts::new(&self.metrics.peers, self.identity, id);
        let dropped = counts.failures.clone();
        let dialler = dial::Dialler {
            host: self.host.clone(),
            identity: self.identity,
            peer: address.clone(),
            inputs: self.inputs.clone(),
            contacts: self.contacts.clone(),
            applied: self.applied.clone(),
            counts,
        };
        let dialler = self
            .host
            .spawn("peer-send", Box::pin(dialler.run(messages)));
        self.peers.insert(
            id,
            Peer {
                address,
                queue,
                dialler,
                dropped,
            },
        );
    }

    /// Queues messages for a peer; `false` when they do not fit, or it is none.
    pub fn send(&self, to: u64, batch: Vec<vetcdpb::RaftMessage>) -> bool {
        let Some(peer) = self.peers.get(&to) else {
            return false;
        };
        let sent = peer.queue.try_send(batch).is_ok();
        if !sent {
            peer.dropped.inc();
        }
        sent
    }

    /// Where a peer is.
    pub fn address(&self, id: u64) -> Option<PeerAddress> {
        self.peers.get(&id).map(|peer| peer.address.clone())
    }
}
