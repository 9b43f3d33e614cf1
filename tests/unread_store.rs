//! A process that is killed and comes back with a store it has not read yet.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

#[path = "support/http.rs"]
mod http;
#[path = "support/process.rs"]
mod process;

use std::time::{Duration, Instant};

use http::Http;
use process::{Member, client, cluster};
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::client::Client;

const LIMIT: Duration = Duration::from_secs(30);
const INDEXED: &str = "--experimental-key-index-from-bytes=0";

async fn put(client: &mut Client, key: &str, value: &str) {
    let request = pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    };
    client.put(request).await.unwrap();
}

/// The values of a range of keys.
async fn values(client: &mut Client, key: &str, range_end: &str) -> Vec<String> {
    let request = pb::RangeRequest {
        key: key.to_owned().into(),
        range_end: range_end.to_owned().into(),
        ..Default::default()
    };
    let found = client.range(request).await.unwrap().kvs;
    let values = found.into_iter().map(|kv| kv.value.to_vec());
    values
        .map(|value| String::from_utf8(value).unwrap())
        .collect()
}

/// Waits until the log has `words` so many times.
async fn logged(member: &Member, words: &str, times: usize) {
    let begin = Instant::now();
    while member.log().matches(words).count() < times {
        assert!(begin.elapsed() < LIMIT, "never logged: {words}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn indexed(member: &Member) {
    let path = member.data_dir().join("member/snap/db.keys");
    let begin = Instant::now();
    while !path.exists() {
        assert!(begin.elapsed() < LIMIT, "no index is written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_member_serves_what_it_had_and_reads_the_rest() {
    let mut members = cluster(1, &[INDEXED]).await;
    let member = &mut members[0];
    let mut client = client(&[&member.place]);
    for number in 0..50 {
        put(&mut client, &format!("k{number:02}"), &format!("v{number}")).await;
    }
    indexed(member).await;
    // The last of these are in the log alone.
    put(&mut client, "k07", "later").await;
    put(&mut client, "k99", "latest").await;
    member.kill();

    member.start();
    member.wait_until_ready().await;
    assert_eq!(values(&mut client, "k07", "").await, ["later"]);
    assert_eq!(values(&mut client, "k48", "k98").await, ["v48", "v49"]);
    put(&mut client, "k48", "after").await;
    assert_eq!(values(&mut client, "k48", "").await, ["after"]);
    assert_eq!(values(&mut client, "k", "l").await.len(), 51);
    logged(member, "it is read while clients are served", 1).await;

    // What needs the whole store, twice: the second time without an index to begin with.
    for times in 2..4 {
        let newest = client.range(pb::RangeRequest {
            key: "k".into(),
            ..Default::default()
        });
        let revision = newest.await.unwrap().header.unwrap().revision;
        let compaction = pb::CompactionRequest {
            revision,
            physical: true,
        };
        client.compact(compaction).await.unwrap();
        put(&mut client, "k50", "compacted").await;
        indexed(member).await;
        member.kill();
        if times == 3 {
            std::fs::write(member.data_dir().join("member/snap/db.keys"), "rubbish").unwrap();
        }
        member.start();
        member.wait_until_ready().await;
        assert_eq!(values(&mut client, "k50", "").await, ["compacted"]);
        assert_eq!(values(&mut client, "k", "l").await.len(), 52);
        if times == 3 {
            logged(member, "the index of the store's keys cannot be used", 1).await;
        }
    }
    assert_eq!(member.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_built_anew_is_indexed_again() {
    let members = cluster(1, &[INDEXED]).await;
    let member = &members[0];
    put(&mut client(&[&member.place]), "k", "v").await;
    indexed(member).await;
    // Whatever comes of the put is in the index by then, and nothing else is written.
    tokio::time::sleep(Duration::from_secs(1)).await;
    std::fs::remove_file(member.data_dir().join("member/snap/db.keys")).unwrap();
    let http = Http::new(&member.place.client_address);
    let answer = http.post("/v3/maintenance/defragment", "{}").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    indexed(member).await;
}
