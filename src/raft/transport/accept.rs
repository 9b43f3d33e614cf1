//! The receiving side: accepts peers' connections, checks who they are, and hands on what they say.
//!
//! Applies back-pressure: a message is read only when raft's input queue has room, so a flood from
//! a peer fills that peer's own buffers and not this member's memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use prometheus::IntCounter;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::api::proto::vetcdpb::{ClusterAnswer, ClusterMember, PeerBatch, PeerHello};
use crate::host::{Host, HostExt, Listener, Stream, TaskHandle};
use crate::metrics::Metrics;

use super::calls::Calls;
use super::frame::{self, MAX_PAYLOAD, Reader};
use super::snapshots::{self, SnapshotStore};
use super::{
    ACKNOWLEDGE_EVERY, CHANNEL_CALLS, CHANNEL_MEMBERS, CHANNEL_SNAPSHOT, HANDSHAKE_TIMEOUT,
    Identity, MAX_HELLO, PROTOCOL, Sources,
};
use crate::raft::convert::message_from_wire;
use crate::raft::{Applied, Input};
use crate::server::Members;

/// Handshakes in progress and connections of unknown peers are bounded by this.
const MAX_CONNECTIONS: usize = 256;

/// Who may connect, and who is connected. Bounded by the number of members there have been.
#[derive(Default)]
pub struct Book(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    members: Members,
    /// The newest raft channel of each peer: a new one ends the old, which may be half open.
    current: BTreeMap<u64, TaskHandle>,
}

impl Book {
    /// Lets these members connect, and ends the connections of others.
    pub fn set(&self, members: &Members) {
        let mut entries = self.lock();
        entries.members = members.clone();
        entries.current.retain(|id, task| {
            let stays = !members.was_removed(*id);
            if !stays {
                task.abort();
            }
            stays
        });
    }

    /// Whether the cluster has removed `member`.
    pub fn was_removed(&self, member: u64) -> bool {
        self.lock().members.was_removed(member)
    }

    fn connected(&self, peer: u64, task: TaskHandle) {
        let mut entries = self.lock();
        if entries.members.was_removed(peer) {
            // Removed while it shook hands.
            return task.abort();
        }
        if let Some(previous) = entries.current.insert(peer, task) {
            previous.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Accepts connections of peers.
#[derive(Clone)]
pub struct Acceptor {
    host: Arc<dyn Host>,
    identity: Identity,
    book: Arc<Book>,
    snapshots: Arc<SnapshotStore>,
    calls: Arc<Calls>,
    applied: Arc<dyn Applied>,
    inputs: mpsc::Sender<Input>,
    slots: Arc<tokio::sync::Semaphore>,
    metrics: Arc<Metrics>,
}

impl Acceptor {
    pub fn new(
        host: Arc<dyn Host>,
        identity: Identity,
        book: Arc<Book>,
        sources: &Sources,
        inputs: mpsc::Sender<Input>,
    ) -> Acceptor {
        Acceptor {
            host,
            identity,
            book,
            snapshots: sources.snapshots.clone(),
            applied: sources.applied.clone(),
            calls: sources.calls.clone(),
            inputs,
            slots: Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS)),
            metrics: sources.metrics.clone(),
        }
    }

    pub async fn run(self, mut listener: Box<dyn Listener>) {
        loop {
            let Ok(slot) = self.slots.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok(stream) => {
                    let acceptor = self.clone();
                    let serving = async move {
                        let peer = stream.peer_address();
                        if let Err(error) = acceptor.serve(stream).await {
                            tracing::debug!(peer, %error, "peer connection ended");
                        }
                        drop(slot);
                    };
                    self.host.spawn("peer-handshake", Box::pin(serving));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept peers");
                    self.host.sleep(HANDSHAKE_TIMEOUT / 10).await;
                }
            }
        }
    }

    async fn serve(&self, stream: Box<dyn Stream>) -> io::Result<()> {
        let mut reader = Reader::new(stream);
        let hello = self.host.timeout(HANDSHAKE_TIMEOUT, reader.next(MAX_HELLO));
        let hello: PeerHello = match hello.await {
            Some(hello) => hello?,
            None => return Err(io::ErrorKind::TimedOut.into()),
        };
        if hello.channel == CHANNEL_MEMBERS && hello.protocol == PROTOCOL {
            return self.tell_members(reader.stream_mut()).await;
        }
        let refusal = self.refusal(&hello);
        let removed = self.book.lock().members.was_removed(hello.from_member);
        let answer = PeerHello {
            protocol: PROTOCOL,
            cluster_id: self.identity.cluster_id,
            from_member: self.identity.member_id,
            to_member: hello.from_member,
            channel: hello.channel,
            removed: removed && hello.cluster_id == self.identity.cluster_id,
            refusal: refusal.clone().unwrap_or_default(),
            peer_urls: Vec::new(),
        };
        frame::write(reader.stream_mut(), &answer).await?;
        if let Some(refusal) = refusal {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal));
        }
        if self.is_stranger(&hello) {
            let stranger = ClusterMember {
                id: hello.from_member,
                peer_urls: hello.peer_urls.clone(),
                ..Default::default()
            };
            let _ = self.inputs.send(Input::Stranger(Box::new(stranger))).await;
        }
        if hello.channel == CHANNEL_SNAPSHOT {
            let metrics = &self.metrics.upkeep;
            return snapshots::receive(&self.host, reader, &self.snapshots, metrics, &self.inputs)
                .await;
        }
        if hello.channel == CHANNEL_CALLS {
            return self.calls.answer(reader).await;
        }
        let from = format!("{:x}", hello.from_member);
        let metrics = &self.metrics.peers;
        let receiver = Receiver {
            host: self.host.clone(),
            from: hello.from_member,
            inputs: self.inputs.clone(),
            bytes: metrics.received_bytes.with_label_values(&[from.as_str()]),
            failures: metrics
                .received_failures
                .with_label_values(&[from.as_str()]),
        };
        let receiving = async move {
            if let Err(error) = receiver.run(reader).await {
                receiver.failures.inc();
                let peer = receiver.from;
                tracing::debug!(peer = format_args!("{peer:x}"), %error, "raft channel ended");
            }
        };
        let task = self.host.spawn("peer-receive", Box::pin(receiving));
        self.book.connected(hello.from_member, task);
        Ok(())
    }

    /// Answers whoever asks, since a member that is to join cannot prove who it is yet. It learns
    /// no more than any client may ask.
    async fn tell_members(&self, stream: &mut Box<dyn Stream>) -> io::Result<()> {
        let (index, members) = self.applied.members();
        let known = index > 0;
        let hello = PeerHello {
            protocol: PROTOCOL,
            channel: CHANNEL_MEMBERS,
            refusal: match known {
                true => String::new(),
                false => "this member has not joined its cluster yet".to_owned(),
            },
            ..Default::default()
        };
        frame::write(stream, &hello).await?;
        if known {
            let answer = ClusterAnswer {
                cluster_id: self.identity.cluster_id,
                members: members.to_wire(),
                index,
            };
            frame::write(stream, &answer).await?;
        }
        Ok(())
    }

    /// Whether this member has not heard of the other one. It may lag: behind the other's addition,
    /// or behind the removal of everybody it knows, and then only strangers can help it.
    fn is_stranger(&self, hello: &PeerHello) -> bool {
        self.book.lock().members.get(hello.from_member).is_none()
    }

    fn refusal(&self, hello: &PeerHello) -> Option<String> {
        let Identity {
            cluster_id,
            member_id,
        } = self.identity;
        if hello.protocol != PROTOCOL {
            Some(format!(
                "peer protocol {} is not supported, only {PROTOCOL}",
                hello.protocol
            ))
        } else if hello.cluster_id != cluster_id {
            Some(format!(
                "cluster ID mismatch: this member belongs to cluster {cluster_id:x}, the sender to {:x}",
                hello.cluster_id
            ))
        } else if hello.to_member != member_id {
            Some(format!(
                "member ID mismatch: this is member {member_id:x}, not {:x}",
                hello.to_member
            ))
        } else if self.book.lock().members.was_removed(hello.from_member) {
            Some(format!(
                "member {:x} was removed from this cluster",
                hello.from_member
            ))
        } else if self.is_stranger(hello) && hello.peer_urls.is_empty() {
            Some(format!(
                "member {:x} is not part of this cluster",
                hello.from_member
            ))
        } else if hello.channel > CHANNEL_CALLS {
            Some(format!("unknown channel {}", hello.channel))
        } else {
            None
        }
    }
}

struct Receiver {
    host: Arc<dyn Host>,
    from: u64,
    inputs: mpsc::Sender<Input>,
    bytes: IntCounter,
    failures: IntCounter,
}

impl Receiver {
    async fn run(&self, mut reader: Reader<Box<dyn Stream>>) -> io::Result<()> {
        let mut acknowledgement = bytes::BytesMut::new();
        frame::encode_bytes(&[], &mut acknowledgement);
        let mut acknowledged = self.host.now();
        loop {
            let payload = reader.next_bytes(MAX_PAYLOAD).await?;
            self.bytes.inc_by(payload.len() as u64);
            let batch = PeerBatch::decode(payload)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            for message in batch.messages {
                if message.from != self.from {
                    let text = "a peer speaks for another member";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                let message = message_from_wire(message)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                if message.msg_type == raft::eraftpb::MessageType::MsgSnapshot {
                    let text = "a snapshot outside the snapshot channel";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                if self.inputs.send(Input::Peer(message)).await.is_err() {
                    return Ok(());
                }
            }
            let now = self.host.now();
            if now.since(acknowledged) >= ACKNOWLEDGE_EVERY {
                acknowledged = now;
                let stream = reader.stream_mut();
                stream.write_all(&acknowledgement).await?;
                stream.flush().await?;
            }
        }
    }
}
