//! The sending side: dials one peer, shakes hands, and writes what is queued for it.
//!
//! Never blocks raft: its queue is bounded and emptied while there is no connection, since old raft
//! messages are worth nothing. A peer that accepts bytes but acknowledges none for
//! [`PEER_TIMEOUT`](super::PEER_TIMEOUT) is dialled anew: after a power loss its side of the
//! connection no longer exists and nothing else would say so.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use prometheus::{IntCounter, IntGauge};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use crate::api::proto::vetcdpb::{PeerBatch, PeerHello, RaftMessage};
use crate::host::{Host, HostExt, Moment, Stream};
use crate::metrics::PeerMetrics;

use super::frame::{self, Reader};
use super::{
    ACKNOWLEDGE_EVERY, CHANNEL_RAFT, Contacts, HANDSHAKE_TIMEOUT, Identity, MAX_HELLO,
    PEER_TIMEOUT, PROTOCOL, PeerAddress,
};
use crate::raft::{Applied, Input};
use crate::server::Members;

/// Pauses between attempts to connect.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(500);
/// The most URLs of its own that a member tells.
const MAX_URLS: usize = 8;
/// Bytes after which a frame is closed; a single message may be larger.
const COALESCE_BYTES: usize = 1 << 20;

/// Sends to one peer until the member stops.
pub struct Dialler {
    pub host: Arc<dyn Host>,
    pub identity: Identity,
    pub peer: PeerAddress,
    pub inputs: mpsc::Sender<Input>,
    pub contacts: Arc<Contacts>,
    pub counts: Counts,
    pub applied: Arc<dyn Applied>,
}

/// A peer refuses this member because the cluster has removed it.
#[derive(Debug, thiserror::Error)]
#[error("this member was removed from the cluster")]
struct RemovedHere;

fn is_removal(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<RemovedHere>())
}

/// What is counted of one peer.
pub struct Counts {
    sent_bytes: IntCounter,
    pub failures: IntCounter,
    active: IntGauge,
}

impl Counts {
    pub fn new(metrics: &PeerMetrics, own: Identity, peer: u64) -> Counts {
        let (own, peer) = (format!("{:x}", own.member_id), format!("{peer:x}"));
        let to = [peer.as_str()];
        Counts {
            sent_bytes: metrics.sent_bytes.with_label_values(&to),
            failures: metrics.sent_failures.with_label_values(&to),
            active: metrics
                .active
                .with_label_values(&[own.as_str(), peer.as_str()]),
        }
    }
}

type Halves = (
    Reader<ReadHalf<Box<dyn Stream>>>,
    WriteHalf<Box<dyn Stream>>,
);

impl Dialler {
    /// Runs until the queue's sender is gone.
    pub async fn run(self, mut messages: mpsc::Receiver<Vec<RaftMessage>>) {
        let peer = self.peer.member_id;
        let mut pause = RETRY_MIN;
        let mut attempt = 0;
        loop {
            let address = &self.peer.addresses[attempt % self.peer.addresses.len()];
            attempt += 1;
            let urls = own_urls(&self.applied.members().1, self.identity);
            match open(&self.host, self.identity, urls, peer, address, CHANNEL_RAFT).await {
                Ok(connection) => {
                    pause = RETRY_MIN;
                    tracing::info!(peer = format_args!("{peer:x}"), address, "peer connected");
                    self.contacts.connected(peer, self.host.now());
                    self.counts.active.set(1);
                    let ended = self.forward(connection, &mut messages).await;
                    self.counts.active.set(0);
                    if !messages.is_closed() {
                        self.contacts.lost(peer);
                    }
                    match ended {
                        Ok(()) => return,
                        Err(error) => {
                            tracing::info!(peer = format_args!("{peer:x}"), %error, "peer lost");
                        }
                    }
                }
                Err(error) if is_removal(&error) && !messages.is_closed() => {
                    let _ = self.inputs.send(Input::Removed).await;
                    return;
                }
                Err(error) => {
                    tracing::debug!(peer = format_args!("{peer:x}"), address, %error, "no peer");
                }
            }
            self.counts.failures.inc();
            let _ = self.inputs.send(Input::Unreachable(peer)).await;
            self.host.sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
            while messages.try_recv().is_ok() {}
            if messages.is_closed() {
                return;
            }
        }
    }

    async fn forward(
        &self,
        (mut acknowledgements, mut stream): Halves,
        messages: &mut mpsc::Receiver<Vec<RaftMessage>>,
    ) -> io::Result<()> {
        let mut unacknowledged_since: Option<Moment> = None;
        let mut last_write = self.host.now();
        let mut buffer = BytesMut::new();
        loop {
            let first = tokio::select! {
                biased;
                ack = acknowledgements.next_bytes(0) => {
                    ack?;
                    unacknowledged_since = None;
                    continue;
                }
                batch = messages.recv() => match batch {
                    Some(batch) => batch,
                    None => return Ok(()),
                },
            };
            buffer.clear();
            encode_coalesced(first, messages, &mut buffer);
            let now = self.host.now();
            if now.since(last_write) > ACKNOWLEDGE_EVERY * 2 {
                // After silence nothing is owed: the receiver acknowledges only what it reads.
                unacknowledged_since = None;
            }
            last_write = now;
            let since = *unacknowledged_since.get_or_insert(now);
            if now.since(since) > PEER_TIMEOUT {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let writing = async {
                stream.write_all(&buffer).await?;
                stream.flush().await
            };
            match self.host.timeout(PEER_TIMEOUT, writing).await {
                Some(result) => result?,
                None => return Err(io::ErrorKind::TimedOut.into()),
            }
            self.counts.sent_bytes.inc_by(buffer.len() as u64);
        }
    }
}

/// Frames `first` and what else is queued until [`COALESCE_BYTES`] are reached. A batch larger than
/// that becomes several frames: what one frame can hold is bounded.
fn encode_coalesced(
    first: Vec<RaftMessage>,
    messages: &mut mpsc::Receiver<Vec<RaftMessage>>,
    buffer: &mut BytesMut,
) {
    let mut next = Some(first);
    while let Some(mut batch) = next {
        let mut bytes = 0;
        while let Some(full) = batch.iter().position(|message| {
            bytes += approximate_size(message);
            bytes >= COALESCE_BYTES
        }) {
            let rest = batch.split_off(full + 1);
            frame::encode(&PeerBatch { messages: batch }, buffer);
            (batch, bytes) = (rest, 0);
        }
        if !batch.is_empty() {
            frame::encode(&PeerBatch { messages: batch }, buffer);
        }
        next = match buffer.len() < COALESCE_BYTES {
            true => messages.try_recv().ok(),
            false => None,
        };
    }
}

/// A message's size on the wire, closely enough for limits (bytes).
fn approximate_size(message: &RaftMessage) -> usize {
    let entries = message.entries.iter();
    64 + message.context.len() + entries.map(|entry| entry.data.len() + 32).sum::<usize>()
}

/// Where this member is, for a peer that does not know it yet.
pub fn own_urls(members: &Members, identity: Identity) -> Vec<String> {
    let own = members.get(identity.member_id);
    let urls = own.into_iter().flat_map(|own| &own.peer_urls);
    urls.take(MAX_URLS).cloned().collect()
}

/// Connects to a peer and shakes hands for `channel`.
pub async fn open(
    host: &Arc<dyn Host>,
    identity: Identity,
    urls: Vec<String>,
    peer: u64,
    address: &str,
    channel: u32,
) -> io::Result<Halves> {
    let shaking = async {
        let stream = host.connect(address).await?;
        let (read, mut write) = tokio::io::split(stream);
        let mut reader = Reader::new(read);
        let hello = PeerHello {
            protocol: PROTOCOL,
            cluster_id: identity.cluster_id,
            from_member: identity.member_id,
            to_member: peer,
            channel,
            peer_urls: urls,
            ..Default::default()
        };
        frame::write(&mut write, &hello).await?;
        let answer: PeerHello = reader.next(MAX_HELLO).await?;
        if !answer.refusal.is_empty() {
            tracing::warn!(
                peer = format_args!("{peer:x}"),
                address,
                reason = answer.refusal,
                "peer refuses this member"
            );
            return Err(match answer.removed {
                true => io::Error::other(RemovedHere),
                false => io::Error::new(io::ErrorKind::ConnectionRefused, answer.refusal),
            });
        }
        Ok((reader, write))
    };
    match host.timeout(HANDSHAKE_TIMEOUT, shaking).await {
        Some(result) => result,
        None => Err(io::ErrorKind::TimedOut.into()),
    }
}
