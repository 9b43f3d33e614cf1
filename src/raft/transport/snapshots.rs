//! Sending the store to a follower that has fallen behind the compacted log, and receiving it.
//!
//! The sender streams an immutable view of its store, so it neither stops applying nor copies
//! anything. The receiver writes the stream to a file, verifies it, makes it durable under its final
//! name, and only then hands the message to raft: from that moment on a crash finds either the old
//! state or a snapshot that can be installed again.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::api::proto::vetcdpb::{RaftMessage, SnapshotAnswer, SnapshotOffer};
use crate::host::{File, Host, HostExt, Moment, OpenMode, Stream};
use crate::metrics::UpkeepMetrics;
use crate::raft::Input;
use crate::raft::convert::message_from_wire;
use crate::server::Published;
use crate::snapshot;

use super::frame::{self, MAX_PAYLOAD, Reader};
use super::{CHANNEL_SNAPSHOT, Identity, PEER_TIMEOUT, PeerAddress, dial};

/// Published states kept for snapshots about to be sent.
const MAX_OFFERED: usize = 4;
/// How much a receiver gathers before it writes to disk (bytes).
const WRITE_STEP: usize = 1 << 20;
/// The largest offer frame (bytes).
const MAX_OFFER: usize = 64 << 10;
/// Reading back and verifying a received snapshot is bounded by this.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(600);

/// Where snapshots come from and go to.
pub struct SnapshotStore {
    directory: PathBuf,
    offered: Mutex<BTreeMap<u64, Arc<Published>>>,
    /// One snapshot is received at a time.
    receiving: tokio::sync::Mutex<()>,
}

impl SnapshotStore {
    /// Received snapshots go into `directory`, which exists.
    pub fn new(directory: PathBuf) -> SnapshotStore {
        SnapshotStore {
            directory,
            offered: Mutex::default(),
            receiving: tokio::sync::Mutex::default(),
        }
    }

    /// Keeps `published` so that a snapshot message with its index can be sent.
    pub fn offer(&self, published: Arc<Published>) {
        let mut offered = self.offered.lock().unwrap_or_else(|e| e.into_inner());
        offered.insert(published.index, published);
        while offered.len() > MAX_OFFERED {
            offered.pop_first();
        }
    }

    fn offered(&self, index: u64) -> Option<Arc<Published>> {
        let offered = self.offered.lock().unwrap_or_else(|e| e.into_inner());
        offered.get(&index).cloned()
    }

    /// The file of the snapshot at `index` and `term`.
    pub fn path(&self, index: u64, term: u64) -> PathBuf {
        self.directory.join(snapshot::file_name(index, term))
    }
}

/// Streams the store at `message`'s snapshot index to a peer; returns that index.
pub async fn send(
    host: Arc<dyn Host>,
    identity: Identity,
    peer: PeerAddress,
    message: RaftMessage,
    store: Arc<SnapshotStore>,
) -> io::Result<u64> {
    let index = message
        .snapshot
        .as_ref()
        .map_or(0, |metadata| metadata.index);
    let Some(published) = store.offered(index) else {
        let text = format!("the store at index {index} is no longer held");
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    };
    let address = &peer.addresses[0];
    let urls = dial::own_urls(&published.members, identity);
    let channel = CHANNEL_SNAPSHOT;
    let opening = dial::open(&host, identity, urls, peer.member_id, address, channel);
    let (mut answers, mut stream) = opening.await?;
    let mut buffer = BytesMut::new();
    let offer = SnapshotOffer {
        message: Some(message),
        bytes: 0,
    };
    frame::encode(&offer, &mut buffer);
    let encoder = snapshot::Encoder::new(published.state.clone(), published.meta(identity));
    let end = std::iter::once(Bytes::new());
    for chunk in encoder.chain(end) {
        frame::encode_bytes(&chunk, &mut buffer);
        let writing = async {
            stream.write_all(&buffer).await?;
            stream.flush().await
        };
        match host.timeout(PEER_TIMEOUT, writing).await {
            Some(result) => result?,
            None => return Err(io::ErrorKind::TimedOut.into()),
        }
        buffer.clear();
    }
    match host.timeout(VERIFY_TIMEOUT, answers.next(MAX_OFFER)).await {
        Some(answer) => {
            let answer: SnapshotAnswer = answer?;
            match answer.refusal.as_str() {
                "" => Ok(index),
                refusal => Err(io::Error::other(refusal.to_owned())),
            }
        }
        None => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Receives a snapshot, and hands its message to raft once it is verified and durable.
pub async fn receive(
    host: &Arc<dyn Host>,
    mut reader: Reader<Box<dyn Stream>>,
    store: &Arc<SnapshotStore>,
    metrics: &UpkeepMetrics,
    inputs: &mpsc::Sender<Input>,
) -> io::Result<()> {
    let _one_at_a_time = store.receiving.lock().await;
    let offer: SnapshotOffer = match host.timeout(PEER_TIMEOUT, reader.next(MAX_OFFER)).await {
        Some(offer) => offer?,
        None => return Err(io::ErrorKind::TimedOut.into()),
    };
    let invalid = |text: &'static str| io::Error::new(io::ErrorKind::InvalidData, text);
    let message = offer.message.ok_or(invalid("offer without a message"))?;
    let message =
        message_from_wire(message).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    if message.msg_type != raft::eraftpb::MessageType::MsgSnapshot {
        return Err(invalid("offer of something else than a snapshot"));
    }
    let metadata = message.get_snapshot().get_metadata();
    let (index, term) = (metadata.index, metadata.term);
    let path = store.path(index, term);
    let temporary = path.with_extension("tmp");
    let begun = host.now();
    let outcome = async {
        let sync_begun = write_stream(host, &mut reader, &temporary).await?;
        let seconds = host.now().since(sync_begun).as_secs_f64();
        metrics.snapshot_fsync_seconds.observe(seconds);
        verify_and_name(host, temporary.clone(), path.clone(), index).await
    }
    .await;
    let answer = SnapshotAnswer {
        refusal: match &outcome {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        },
    };
    frame::write(reader.stream_mut(), &answer).await?;
    outcome?;
    let seconds = host.now().since(begun).as_secs_f64();
    metrics.snapshot_save_seconds.observe(seconds);
    tracing::info!(index, term, "received a snapshot");
    let _ = inputs.send(Input::Peer(message)).await;
    Ok(())
}

async fn on_disk<T: Send + 'static>(
    host: &Arc<dyn Host>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    host.run_blocking(work)
        .await
        .unwrap_or_else(|| Err(io::Error::other("disk work did not finish")))
}

/// Writes what comes to a file and syncs it; when that began.
async fn write_stream(
    host: &Arc<dyn Host>,
    reader: &mut Reader<Box<dyn Stream>>,
    temporary: &std::path::Path,
) -> io::Result<Moment> {
    let disk = host.disk();
    let path = temporary.to_owned();
    let file: Arc<dyn File> = on_disk(host, move || {
        let file = disk.open(&path, OpenMode::OpenOrCreate)?;
        file.set_len(0)?;
        Ok(file)
    })
    .await?;
    let mut offset = 0u64;
    let mut gathered = BytesMut::new();
    loop {
        let chunk = match host
            .timeout(PEER_TIMEOUT, reader.next_bytes(MAX_PAYLOAD))
            .await
        {
            Some(chunk) => chunk?,
            None => return Err(io::ErrorKind::TimedOut.into()),
        };
        gathered.extend_from_slice(&chunk);
        if gathered.len() >= WRITE_STEP || (chunk.is_empty() && !gathered.is_empty()) {
            let data = gathered.split().freeze();
            let (file, at) = (file.clone(), offset);
            offset += data.len() as u64;
            on_disk(host, move || file.write_at(at, &data)).await?;
        }
        if chunk.is_empty() {
            let begun = host.now();
            on_disk(host, move || file.sync_data()).await?;
            return Ok(begun);
        }
    }
}

async fn verify_and_name(
    host: &Arc<dyn Host>,
    temporary: PathBuf,
    path: PathBuf,
    index: u64,
) -> io::Result<()> {
    let disk = host.disk();
    on_disk(host, move || {
        let (_, meta) = snapshot::read_file(disk.as_ref(), &temporary)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if meta.consistent_index != index {
            let text = format!(
                "snapshot of index {} offered as {index}",
                meta.consistent_index
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        disk.rename(&temporary, &path)?;
        crate::host::sync_parent(disk.as_ref(), &path)
    })
    .await
}
