//! `etcdctl snapshot save` of a large store takes a few pieces of memory, however slowly the client
//! reads: nothing is encoded ahead of it. Counted on one thread that the member, the network and the
//! client share, so the bound holds for all three together.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "this test stands outside any host"
)]

#[path = "fuzz/member.rs"]
mod member;
#[path = "fuzz/world.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod world;

use std::time::Duration;

use member::{Cluster, client_address};
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::client::{Client, ClientOptions, maintenance};

const KEYS: usize = 40;
const VALUE_BYTES: usize = 1 << 20;
/// Pieces of 32 KiB that wait in the member, what HTTP/2 lets be under way, and what else goes on.
const MEMORY_BYTES: u64 = 6 << 20;
const LONG: Duration = Duration::from_secs(3600);

/// Takes a snapshot after having looked away for a while, with a pause after each piece; `keep` keeps
/// them all. Returns its length and the most memory that was held at any time.
fn take(cluster: &Cluster, client: &mut Client, keep: bool) -> (u64, u64) {
    let mut bytes = 0;
    let used = allocation_counter::measure(|| {
        let taking = async {
            let channel = client.channel().await.unwrap();
            let answer = maintenance(channel).snapshot(pb::SnapshotRequest {}).await;
            let mut pieces = answer.unwrap().into_inner();
            tokio::time::sleep(Duration::from_secs(10)).await;
            let mut kept = Vec::new();
            while let Some(piece) = pieces.message().await.unwrap() {
                bytes += piece.blob.len() as u64;
                if keep {
                    kept.push(piece.blob.to_vec());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        cluster.run(LONG, taking).unwrap();
    });
    (bytes, used.bytes_max)
}

#[test]
fn a_snapshot_of_a_large_store_takes_a_few_pieces_of_memory() {
    let cluster = Cluster::start(1, 1, &[]);
    let address = vec![client_address(1)];
    let mut client = Client::new(cluster.client_host(), address, ClientOptions::default());
    let filling = async {
        for number in 0..KEYS {
            let put = pb::PutRequest {
                key: format!("key-{number:02}").into_bytes().into(),
                value: vec![number as u8; VALUE_BYTES].into(),
                ..Default::default()
            };
            client.put(put).await.unwrap();
        }
    };
    cluster.run(LONG, filling).unwrap();
    // Whatever the member does with new entries is done by then.
    cluster.pass(Duration::from_secs(60));

    let (bytes, most) = take(&cluster, &mut client, false);
    assert!(bytes > (KEYS * VALUE_BYTES) as u64, "{bytes} bytes");
    assert!(most < MEMORY_BYTES, "{most} bytes for a snapshot of {bytes}");
    // And the count would notice.
    let (bytes, most) = take(&cluster, &mut client, true);
    assert!(most > bytes, "{most} bytes for a snapshot of {bytes} that is kept");
}
