//! Calls from one member to another: a question and its answer, outside of raft.
//!
//! A follower asks the leader about leases this way. The channel is one of its own, so that neither
//! a heartbeat nor a snapshot waits for it. Calls to one peer share a connection, which is opened
//! with the first of them and given up when a call on it stays without an answer.
//! Everything is bounded: calls that wait, calls that are answered at a time, sizes, and times.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::api::proto::vetcdpb::{PeerAnswer, PeerCall, peer_answer, peer_call};
use crate::host::{BoxFuture, Host, HostExt, Stream};

use super::frame::{self, MAX_PAYLOAD, Reader};
use super::{CHANNEL_CALLS, Identity, PEER_TIMEOUT, PeerAddress, dial};

/// Calls to one peer that wait to be sent.
const MAX_QUEUED: usize = 4096;
/// Calls from one peer that are answered at a time.
const MAX_ANSWERING: usize = 1024;
/// The largest question (bytes).
const MAX_CALL: usize = 4 << 10;

/// Answers the calls of other members.
pub type Answering = Arc<dyn Fn(peer_call::Call) -> BoxFuture<peer_answer::Answer> + Send + Sync>;

/// Calls to, and from, the other members.
pub struct Calls {
    host: Arc<dyn Host>,
    identity: Identity,
    answering: OnceLock<Answering>,
    connections: Mutex<BTreeMap<u64, mpsc::Sender<Waiting>>>,
}

struct Waiting {
    call: peer_call::Call,
    answer: oneshot::Sender<peer_answer::Answer>,
}

impl Calls {
    /// Calls of the member `identity`.
    pub fn new(host: Arc<dyn Host>, identity: Identity) -> Arc<Calls> {
        Arc::new(Calls {
            host,
            identity,
            answering: OnceLock::new(),
            connections: Mutex::default(),
        })
    }

    /// Answers calls by `answering` from now on; until then, and a second time, nothing happens.
    pub fn serve(&self, answering: Answering) {
        let _ = self.answering.set(answering);
    }

    /// Asks `peer`. `None` when it could not be reached, or its answer got lost on the way: the
    /// call may have had its effect. The answer may never come: callers bound the wait.
    pub async fn call(
        self: &Arc<Self>,
        peer: PeerAddress,
        call: peer_call::Call,
    ) -> Option<peer_answer::Answer> {
        let (answer, heard) = oneshot::channel();
        let waiting = Waiting { call, answer };
        self.connection(peer).try_send(waiting).ok()?;
        heard.await.ok()
    }

    /// The queue of the connection to `peer`, begun if there is none.
    fn connection(self: &Arc<Self>, peer: PeerAddress) -> mpsc::Sender<Waiting> {
        let mut connections = self.connections.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(queue) = connections.get(&peer.member_id)
            && !queue.is_closed()
        {
            return queue.clone();
        }
        let (queue, waiting) = mpsc::channel(MAX_QUEUED);
        connections.insert(peer.member_id, queue.clone());
        let (host, identity) = (self.host.clone(), self.identity);
        let calling = async move {
            let member = peer.member_id;
            if let Err(error) = ask(&host, identity, peer, waiting).await {
                tracing::debug!(peer = format_args!("{member:x}"), %error, "call channel ended");
            }
        };
        self.host.spawn("peer-calls", Box::pin(calling));
        queue
    }

    /// Answers the calls that come on an accepted connection, until it ends.
    pub(super) async fn answer(&self, mut reader: Reader<Box<dyn Stream>>) -> io::Result<()> {
        let Some(answering) = self.answering.get().cloned() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let slots = Arc::new(Semaphore::new(MAX_ANSWERING));
        let (answers, mut answered) = mpsc::channel::<PeerAnswer>(MAX_ANSWERING);
        loop {
            let has_slot = slots.available_permits() > 0;
            let call: PeerCall = tokio::select! {
                biased;
                answer = answered.recv() => {
                    let Some(answer) = answer else { return Ok(()) };
                    let writing = frame::write(reader.stream_mut(), &answer);
                    match self.host.timeout(PEER_TIMEOUT, writing).await {
                        Some(result) => result?,
                        None => return Err(io::ErrorKind::TimedOut.into()),
                    }
                    continue;
                }
                call = reader.next(MAX_CALL), if has_slot => call?,
            };
            let (number, Some(call)) = (call.number, call.call) else {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "an unknown call",
                ));
            };
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return Ok(());
            };
            let (answers, answering) = (answers.clone(), answering(call));
            let task = async move {
                let answer = Some(answering.await);
                // The connection may have gone meanwhile.
                let _ = answers.send(PeerAnswer { number, answer }).await;
                drop(slot);
            };
            self.host.spawn("peer-answer", Box::pin(task));
        }
    }
}

/// Sends what is queued and hands the answers to whoever waits for them.
async fn ask(
    host: &Arc<dyn Host>,
    identity: Identity,
    peer: PeerAddress,
    mut queue: mpsc::Receiver<Waiting>,
) -> io::Result<()> {
    let Some(address) = peer.addresses.first() else {
        return Err(io::ErrorKind::NotFound.into());
    };
    // The leader knows whoever applied the same entries; a stranger is answered on no channel.
    let urls = Vec::new();
    let opening = dial::open(host, identity, urls, peer.member_id, address, CHANNEL_CALLS);
    let (mut reader, mut stream) = opening.await?;
    let mut asked: BTreeMap<u64, oneshot::Sender<peer_answer::Answer>> = BTreeMap::new();
    let mut number = 0;
    loop {
        let next = tokio::select! {
            biased;
            answer = reader.next::<PeerAnswer>(MAX_PAYLOAD) => Next::Answer(answer?),
            waiting = queue.recv(), if asked.len() < MAX_QUEUED => Next::Call(waiting),
        };
        match next {
            Next::Answer(answer) => {
                if let Some(waiting) = asked.remove(&answer.number)
                    && let Some(answer) = answer.answer
                {
                    let _ = waiting.send(answer);
                }
            }
            Next::Call(None) => return Ok(()),
            // Somebody gave up: after a power loss the other side of the connection may no longer
            // exist and nothing else would say so. The others ask again on a new one.
            Next::Call(Some(_)) if asked.values().any(oneshot::Sender::is_closed) => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Next::Call(Some(waiting)) => {
                number += 1;
                let call = PeerCall {
                    number,
                    call: Some(waiting.call),
                };
                asked.insert(number, waiting.answer);
                let writing = async {
                    frame::write(&mut stream, &call).await?;
                    stream.flush().await
                };
                match host.timeout(PEER_TIMEOUT, writing).await {
                    Some(result) => result?,
                    None => return Err(io::ErrorKind::TimedOut.into()),
                }
            }
        }
    }
}

enum Next {
    Answer(PeerAnswer),
    Call(Option<Waiting>),
}
