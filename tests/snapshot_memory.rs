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
#[path = "fuzz/mutate.rs"]
#[allow(dead_code, reason = "only the members' numbers are drawn here")]
mod mutate;
#[path = "fuzz/world.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod world;

use std::time::Duration;

use member::{Cluster, client_address};
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::client::{Client, ClientOptions, maintenance};

const VALUE_BYTES: usize = 1 << 20;
const FEW_KEYS: usize = 24;
const MANY_KEYS: usize = 3 * FEW_KEYS;
/// What may be under way between member and client whatever the size, HTTP/2's windows above all.
const UNDER_WAY_BYTES: u64 = 12 << 20;
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

/// A member that holds so many large values, and its client.
fn filled(keys: usize) -> (Cluster, Client) {
    let cluster = Cluster::start(1, 1, &[]);
    let address = vec![client_address(1)];
    let mut client = Client::new(cluster.client_host(), address, ClientOptions::default());
    let filling = async {
        for number in 0..keys {
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
    (cluster, client)
}

#[test]
fn a_snapshot_takes_no_more_memory_for_a_larger_store() {
    let (cluster, mut client) = filled(FEW_KEYS);
    let (few_bytes, few_most) = take(&cluster, &mut client, false);
    let (cluster, mut client) = filled(MANY_KEYS);
    let (bytes, most) = take(&cluster, &mut client, false);
    assert!(bytes > 2 * few_bytes, "{bytes} bytes, {few_bytes} bytes");
    let slack = VALUE_BYTES as u64;
    assert!(
        most < UNDER_WAY_BYTES && most < few_most + slack,
        "{few_most} bytes for a snapshot of {few_bytes}, {most} for one of {bytes}"
    );
    // And the count would notice.
    let (bytes, most) = take(&cluster, &mut client, true);
    assert!(
        most > bytes,
        "{most} bytes for a snapshot of {bytes} that is kept"
    );
}
