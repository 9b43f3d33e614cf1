//! Raft messages between members, over framed streams on the host's network.
//!
//! Each member dials every other one and sends on the connection it dialled; what it receives comes
//! on connections it accepted. A connection opens with a handshake ([`vetcdpb::PeerHello`]) that
//! pins cluster and member IDs on both sides, so that a message can never reach the wrong member at
//! a reused address (known bug 69). Queues are bounded: when a peer cannot keep up its messages are
//! dropped and raft is told, which is what raft is made for. Snapshots travel on connections of
//! their own, so that they never delay a heartbeat.

mod accept;
mod ask;
mod calls;
mod dial;
mod frame;
mod peers;
mod snapshots;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::{Message, MessageType};
use tokio::sync::mpsc;

use crate::api::proto::vetcdpb;
use crate::host::{Host, Listener, TaskHandle};
use crate::metrics::Metrics;
use crate::server::Members;

use super::convert::message_to_wire;
use super::{Applied, Input};

pub use ask::{AskError, Told, ask_members};
pub use calls::{Answering, Calls};
use peers::Peers;
pub use peers::{Contacts, PeerAddress};
pub use snapshots::SnapshotStore;

/// Version of the peer protocol, first thing in every handshake.
const PROTOCOL: u32 = 1;
/// Channel number of raft messages in [`vetcdpb::PeerHello`].
const CHANNEL_RAFT: u32 = 0;
/// Channel number of a snapshot in [`vetcdpb::PeerHello`].
const CHANNEL_SNAPSHOT: u32 = 1;
/// Channel number of calls in [`vetcdpb::PeerHello`].
const CHANNEL_CALLS: u32 = 2;
/// Channel number of the question who the members are in [`vetcdpb::PeerHello`].
const CHANNEL_MEMBERS: u32 = 3;
/// How many batches wait for one peer before they are dropped.
const QUEUE_BATCHES: usize = 256;
/// Limit for connecting and shaking hands.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that takes or acknowledges nothing for this long is dialled anew.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a receiver lets the sender know that it is alive, at most.
const ACKNOWLEDGE_EVERY: Duration = Duration::from_millis(500);
/// The largest handshake frame (bytes).
const MAX_HELLO: usize = 4 << 10;

/// Who this member is; both sides of a connection must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's ID.
    pub cluster_id: u64,
    /// This member's ID.
    pub member_id: u64,
}

/// Where a transport takes what it sends from.
pub struct Sources {
    /// Questions between members.
    pub calls: Arc<Calls>,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// Snapshots to send, and where received ones go.
    pub snapshots: Arc<SnapshotStore>,
    /// The newest applied state.
    pub applied: Arc<dyn Applied>,
}

/// Sends raft messages to the other members.
pub struct Transport {
    host: Arc<dyn Host>,
    identity: Identity,
    inputs: mpsc::Sender<Input>,
    snapshots: Arc<SnapshotStore>,
    /// Who may connect; shared with the acceptors.
    book: Arc<accept::Book>,
    peers: Peers,
    tasks: Vec<TaskHandle>,
}

impl Transport {
    /// Starts dialling the other `members` and accepting from them on `listeners`; what arrives
    /// goes to `inputs`.
    pub fn start(
        host: Arc<dyn Host>,
        identity: Identity,
        members: &Members,
        sources: Sources,
        listeners: Vec<Box<dyn Listener>>,
        inputs: mpsc::Sender<Input>,
    ) -> Transport {
        let book = Arc::new(accept::Book::default());
        let mut tasks = Vec::new();
        for listener in listeners {
            let acceptor = accept::Acceptor::new(
                host.clone(),
                identity,
                book.clone(),
                &sources,
                inputs.clone(),
            );
            tasks.push(host.spawn("peer-accept", Box::pin(acceptor.run(listener))));
        }
        let mut transport = Transport {
            peers: Peers::new(
                host.clone(),
                identity,
                inputs.clone(),
                sources.applied,
                sources.metrics,
            ),
            host,
            identity,
            inputs,
            snapshots: sources.snapshots,
            book,
            tasks,
        };
        transport.set_members(members);
        transport
    }

    /// Talks to these members from now on, and to no others.
    pub fn set_members(&mut self, members: &Members) {
        self.book.set(members);
        self.peers.set(members);
    }

    /// Talks to a member that this one has yet to hear of, too.
    pub fn add_stranger(&mut self, member: &vetcdpb::ClusterMember) {
        if !self.book.was_removed(member.id) {
            self.peers.add_stranger(member);
        }
    }

    /// Since when there are connections to the peers.
    pub fn contacts(&self) -> Arc<Contacts> {
        self.peers.contacts()
    }

    /// The tasks to end when the member stops: they hold the listeners.
    pub fn take_tasks(&mut self) -> Vec<TaskHandle> {
        std::mem::take(&mut self.tasks)
    }

    /// Hands messages to their peers' queues; drops what does not fit and reports the peer.
    ///
    /// Returns the peers that could not be handed their messages.
    pub fn send(&self, messages: Vec<Message>) -> Vec<u64> {
        let mut unreachable = Vec::new();
        let mut batches: BTreeMap<u64, Vec<vetcdpb::RaftMessage>> = BTreeMap::new();
        for message in messages {
            if message.msg_type == MessageType::MsgSnapshot {
                self.send_snapshot(&message);
            } else {
                push_unless_repeated(batches.entry(message.to).or_default(), &message);
            }
        }
        for (to, batch) in batches {
            if !self.peers.send(to, batch) {
                unreachable.push(to);
            }
        }
        unreachable
    }

    fn send_snapshot(&self, message: &Message) {
        let to = message.to;
        let inputs = self.inputs.clone();
        let sending = self.peers.address(to).map(|address| {
            snapshots::send(
                self.host.clone(),
                self.identity,
                address,
                message_to_wire(message),
                self.snapshots.clone(),
            )
        });
        let host = self.host.clone();
        let task = async move {
            let index = match sending {
                Some(sending) => sending.await,
                None => Err(std::io::ErrorKind::NotFound.into()),
            };
            let delivered = match index {
                Ok(index) => {
                    host.observe(crate::host::Event::SnapshotSent { to, index });
                    true
                }
                Err(error) => {
                    tracing::warn!(peer = format_args!("{to:x}"), %error, "snapshot not delivered");
                    false
                }
            };
            // The raft loop only stops listening when the whole member stops.
            let _ = inputs.send(Input::SnapshotSent { to, delivered }).await;
        };
        self.host.spawn("snapshot-send", Box::pin(task));
    }
}

/// Adds a message to a peer's batch. raft answers every heartbeat response of a follower that it
/// probes with the same entries again; of such a run only the last is worth sending.
fn push_unless_repeated(batch: &mut Vec<vetcdpb::RaftMessage>, message: &Message) {
    let wire = message_to_wire(message);
    if message.msg_type == MessageType::MsgAppend
        && let Some(last) = batch.iter_mut().rfind(|earlier| earlier.kind == wire.kind)
        && (last.term, last.index, last.log_term) == (wire.term, wire.index, wire.log_term)
        && last.entries.len() <= wire.entries.len()
    {
        *last = wire;
    } else {
        batch.push(wire);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(index: u64, entries: usize) -> Message {
        let mut message = Message {
            msg_type: MessageType::MsgAppend,
            to: 2,
            index,
            ..Default::default()
        };
        message.entries = vec![raft::eraftpb::Entry::default(); entries].into();
        message
    }

    #[test]
    fn the_same_entries_are_sent_once_and_others_are_kept() {
        let mut batch = Vec::new();
        let heartbeat = Message {
            msg_type: MessageType::MsgHeartbeat,
            to: 2,
            ..Default::default()
        };
        for message in [
            append(5, 3),
            heartbeat,
            append(5, 3),
            append(5, 4),
            append(9, 1),
        ] {
            push_unless_repeated(&mut batch, &message);
        }
        let appends: Vec<_> = batch
            .iter()
            .filter(|message| message.kind == MessageType::MsgAppend as u32)
            .map(|message| (message.index, message.entries.len()))
            .collect();
        assert_eq!(appends, [(5, 4), (9, 1)]);
        assert_eq!(batch.len(), 3);
    }
}
