//! The Maintenance service's snapshot: a database as etcd's tools take it.
//!
//! The stream is that of one moment, whatever is written meanwhile, and is encoded piece by piece
//! as the client takes it: a slow client costs a few pieces of memory and stalls nobody.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::STORAGE_VERSION;
use super::proto::etcdserverpb::SnapshotResponse;
use crate::host::{Host, HostExt};
use crate::server::{Published, Server, etcd_snapshot};
use crate::snapshot::etcd_schema::Encoder;

/// Pieces (of 32 KiB) encoded in one go.
const BATCH: usize = 8;
/// Pieces that wait for the client, at most.
const QUEUE: usize = 2 * BATCH;

type Item = Result<SnapshotResponse, Status>;

/// Begins to stream `published`.
pub(super) fn start(server: &Server, published: Arc<Published>) -> ReceiverStream<Item> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (host, metrics) = (server.host().clone(), server.metrics().clone());
    let begun = host.now();
    let sending = async move {
        send(host.clone(), published, sender).await;
        let seconds = host.now().since(begun).as_secs_f64();
        metrics.upkeep.snapshot_seconds.observe(seconds);
    };
    server.host().spawn("snapshot-stream", Box::pin(sending));
    ReceiverStream::new(receiver)
}

async fn send(host: Arc<dyn Host>, published: Arc<Published>, client: mpsc::Sender<Item>) {
    let preparing = host.run_blocking(move || {
        let records = etcd_snapshot::records(&published);
        Encoder::new(published.state.clone(), &records)
    });
    let encoder = match preparing.await {
        Some(Ok(encoder)) => encoder,
        Some(Err(error)) => {
            let status = Status::internal(format!("the store has no database form: {error}"));
            _ = client.send(Err(status)).await;
            return;
        }
        None => return,
    };
    let mut remaining = encoder.bytes();
    tracing::info!(bytes = remaining, "sending a snapshot to a client");
    let mut checksum = Sha256::new();
    let mut encoder = Some(encoder);
    while let Some(mut encoding) = encoder.take() {
        // Reserved before the work, so that nothing is encoded ahead of a client that is slow.
        let Ok(permits) = client.reserve_many(BATCH).await else {
            tracing::info!("the client of a snapshot went away");
            return;
        };
        let working = host.run_blocking(move || {
            let mut checksum = checksum;
            let chunks: Vec<Bytes> = encoding.by_ref().take(BATCH).collect();
            chunks.iter().for_each(|chunk| checksum.update(chunk));
            (encoding, checksum, chunks)
        });
        let Some((encoding, summed, chunks)) = working.await else {
            return;
        };
        checksum = summed;
        if chunks.len() == BATCH {
            encoder = Some(encoding);
        }
        for (permit, blob) in permits.zip(chunks) {
            remaining = remaining.saturating_sub(blob.len() as u64);
            permit.send(Ok(piece(remaining, blob)));
        }
    }
    let checksum = checksum.finalize();
    let last = piece(0, Bytes::copy_from_slice(&checksum));
    if client.send(Ok(last)).await.is_ok() {
        tracing::info!("sent a snapshot to a client");
    }
}

fn piece(remaining_bytes: u64, blob: Bytes) -> SnapshotResponse {
    SnapshotResponse {
        header: None,
        remaining_bytes,
        blob,
        version: STORAGE_VERSION.to_owned(),
    }
}
