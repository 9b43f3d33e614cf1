//! The serving loop and the client against each other, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::api::serve::ServeLimits;
use vetcd::client::{self, Channel, Client, ClientOptions, FailureClass};
use vetcd::host::os::OsHost;
use vetcd::host::{Host, HostExt};

#[path = "support/fake.rs"]
mod fake;

const SOON: Duration = Duration::from_secs(10);

fn host() -> Arc<OsHost> {
    Arc::new(OsHost::new(tokio::runtime::Handle::current()))
}

fn put(key: &[u8], value_size: usize) -> pb::PutRequest {
    pb::PutRequest {
        key: Bytes::copy_from_slice(key),
        value: Bytes::from(vec![1; value_size]),
        ..Default::default()
    }
}

fn client(host: &Arc<OsHost>, endpoints: &[&str]) -> Client {
    let endpoints = endpoints.iter().map(|e| e.to_string()).collect();
    Client::new(host.clone(), endpoints, ClientOptions::default())
}

/// Waits until `done` holds.
async fn until(host: &Arc<OsHost>, what: &str, done: impl Fn() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        host.sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered() {
    let host = host();
    let server = fake::start(&host, ServeLimits::default()).await;
    let mut client = client(&host, &[&server.address]);
    let request = pb::RangeRequest {
        key: Bytes::from_static(b"k"),
        ..Default::default()
    };
    let response = client.range(request).await.unwrap();
    assert_eq!(response.kvs[0].value, "k");
    assert_eq!(
        client
            .put(put(b"k", 3))
            .await
            .unwrap()
            .header
            .unwrap()
            .revision,
        3
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_one_connection() {
    let host = host();
    let limits = ServeLimits {
        connections_max: 1,
        streams_max: 5,
        ..ServeLimits::default()
    };
    let server = fake::start(&host, limits).await;
    let channel = Channel::connect(host.clone(), &server.address)
        .await
        .unwrap();
    let calls = (0..400).map(|size| {
        let mut kv = client::kv(channel.clone());
        async move { kv.put(put(b"k", size)).await.unwrap().into_inner() }
    });
    let responses = host.timeout(SOON, join_all(calls)).await.unwrap();
    for (size, response) in responses.into_iter().enumerate() {
        assert_eq!(response.header.unwrap().revision, size as i64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_pass_both_ways() {
    let host = host();
    let server = fake::start(&host, ServeLimits::default()).await;
    let mut client = client(&host, &[&server.address]);
    let size = 20 << 20;
    let answer = client.put(put(b"k", size)).await.unwrap();
    assert_eq!(answer.header.unwrap().revision, size as i64);
    let request = pb::RangeRequest {
        key: Bytes::from_static(fake::ECHO_SIZE),
        limit: size as i64,
        ..Default::default()
    };
    let answer = client.range(request).await.unwrap();
    assert_eq!(answer.kvs[0].value.len(), size);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_refusal_is_definite() {
    let host = host();
    let server = fake::start(&host, ServeLimits::default()).await;
    let mut client = client(&host, &[&server.address]);
    let error = client.put(put(fake::NO_LEADER, 0)).await.unwrap_err();
    assert_eq!(error.class, FailureClass::Rejected, "{error}");
    // A service that is not there.
    let error = client.status().await.unwrap_err();
    assert_eq!(error.class, FailureClass::Rejected, "{error}");
    assert_eq!(error.status.code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_in_a_call_leaves_the_outcome_unknown() {
    let host = host();
    let server = fake::start(&host, ServeLimits::default()).await;
    let channel = Channel::connect(host.clone(), &server.address)
        .await
        .unwrap();
    let mut kv = client::kv(channel.clone());
    let kill = async {
        until(&host, "the put begins", || {
            server.kv.begun.load(Ordering::SeqCst) == 1
        })
        .await;
        server.task.abort();
    };
    let (result, ()) = host
        .timeout(SOON, async {
            tokio::join!(kv.put(put(fake::HANG, 0)), kill)
        })
        .await
        .unwrap();
    let status = result.unwrap_err();
    assert_eq!(client::classify(&status), FailureClass::Unknown, "{status}");
    assert_eq!(status.code(), Code::Unavailable);
    // From now on nothing is sent any more.
    until(&host, "the channel closes", || channel.is_closed()).await;
    let status = kv.put(put(b"k", 0)).await.unwrap_err();
    assert_eq!(client::classify(&status), FailureClass::NotSent, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_definite_and_the_next_endpoint_serves() {
    let host = host();
    let server = fake::start(&host, ServeLimits::default()).await;
    let nobody = host.listen("127.0.0.1:0").await.unwrap();
    let refusing = nobody.local_address();
    drop(nobody);
    let mut client = client(&host, &[&refusing, &format!("http://{}", server.address)]);
    for _ in 0..2 {
        let error = client.put(put(b"k", 0)).await.unwrap_err();
        assert_eq!(error.class, FailureClass::NotSent, "{error}");
        assert!(error.status.message().contains(&refusing), "{error}");
    }
    client.next_endpoint();
    client.put(put(b"k", 0)).await.unwrap();
    client.next_endpoint();
    assert_eq!(client.endpoint(), refusing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_times_out_is_unknown_and_ends_at_the_server() {
    let host = host();
    let server = fake::start(&host, ServeLimits::default()).await;
    let options = ClientOptions {
        call_timeout: Duration::from_millis(200),
        ..ClientOptions::default()
    };
    let mut client = Client::new(host.clone(), vec![server.address.clone()], options);
    let error = client.put(put(fake::HANG, 0)).await.unwrap_err();
    assert_eq!(error.class, FailureClass::Unknown, "{error}");
    assert_eq!(error.status.code(), Code::DeadlineExceeded);
    until(&host, "the put is dropped", || {
        server.kv.ended.load(Ordering::SeqCst) == 1
    })
    .await;
    // The connection is still good.
    client.put(put(b"k", 0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_channel_ends_its_calls_on_both_sides() {
    let host = host();
    let server = fake::start(&host, ServeLimits::default()).await;
    let channel = Channel::connect(host.clone(), &server.address)
        .await
        .unwrap();
    let mut kv = client::kv(channel.clone());
    let close = async {
        until(&host, "the put begins", || {
            server.kv.begun.load(Ordering::SeqCst) == 1
        })
        .await;
        channel.close();
    };
    let (result, ()) = host
        .timeout(SOON, async {
            tokio::join!(kv.put(put(fake::HANG, 0)), close)
        })
        .await
        .unwrap();
    assert_eq!(
        client::classify(&result.unwrap_err()),
        FailureClass::Unknown
    );
    assert!(channel.is_closed());
    until(&host, "the put is dropped", || {
        server.kv.ended.load(Ordering::SeqCst) == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_last_handle_closes_the_connection() {
    let host = host();
    let mut listener = host.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_address();
    let connecting = Channel::connect(host.clone(), &address);
    let (channel, stream) = tokio::join!(connecting, listener.accept());
    let mut stream = stream.unwrap();
    // A server that never answers: the connection must end all the same.
    drop(channel.unwrap());
    let mut rest = Vec::new();
    let read = host.timeout(SOON, stream.read_to_end(&mut rest)).await;
    assert!(read.is_some(), "the connection stayed open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_calls_end_and_refuses_new_connections() {
    let host = host();
    let server = fake::start(&host, ServeLimits::default()).await;
    let channel = Channel::connect(host.clone(), &server.address)
        .await
        .unwrap();
    client::kv(channel.clone()).put(put(b"k", 0)).await.unwrap();

    let stopped_at = host.now();
    server.stop.send(true).unwrap();
    let mut ended = server.ended.clone();
    host.timeout(SOON, ended.wait_for(|ended| *ended))
        .await
        .unwrap()
        .unwrap();
    assert!(
        host.now().since(stopped_at) < ServeLimits::default().drain,
        "idle clients held it up"
    );
    until(&host, "the channel closes", || channel.is_closed()).await;
    assert!(
        Channel::connect(host.clone(), &server.address)
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_cuts_calls_that_do_not_end() {
    let host = host();
    let limits = ServeLimits {
        drain: Duration::from_millis(300),
        ..ServeLimits::default()
    };
    let server = fake::start(&host, limits).await;
    let channel = Channel::connect(host.clone(), &server.address)
        .await
        .unwrap();
    let mut kv = client::kv(channel);
    let stop = async {
        until(&host, "the put begins", || {
            server.kv.begun.load(Ordering::SeqCst) == 1
        })
        .await;
        server.stop.send(true).unwrap();
    };
    let (result, ()) = host
        .timeout(SOON, async {
            tokio::join!(kv.put(put(fake::HANG, 0)), stop)
        })
        .await
        .unwrap();
    assert_eq!(
        client::classify(&result.unwrap_err()),
        FailureClass::Unknown
    );
    until(&host, "the put is dropped", || {
        server.kv.ended.load(Ordering::SeqCst) == 1
    })
    .await;
    assert!(
        host.timeout(SOON, server.ended.clone().wait_for(|ended| *ended))
            .await
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_closed() {
    let host = host();
    let limits = ServeLimits {
        opening_timeout: Duration::from_millis(300),
        ..ServeLimits::default()
    };
    let server = fake::start(&host, limits).await;
    let whole = b"GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n".as_slice();
    for opening in [
        b"".as_slice(),
        b"PRI * HT",
        b"GET / HTTP/1.1\r\nhost: aaaaaaaa",
        whole,
    ] {
        let mut stream = host.connect(&server.address).await.unwrap();
        stream.write_all(opening).await.unwrap();
        let mut answer = Vec::new();
        let read = host.timeout(SOON, stream.read_to_end(&mut answer)).await;
        assert!(read.is_some(), "{:?} holds the connection", opening);
        assert_eq!(answer.is_empty(), opening != whole, "{opening:?}");
    }
    // An HTTP/2 client that has opened properly stays.
    let channel = Channel::connect(host.clone(), &server.address)
        .await
        .unwrap();
    host.sleep(Duration::from_millis(600)).await;
    client::kv(channel).put(put(b"k", 0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn http1_is_answered_without_a_date() {
    let host = host();
    let server = fake::start(&host, ServeLimits::default()).await;
    let mut stream = host.connect(&server.address).await.unwrap();
    let request = b"GET /nothing HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    host.timeout(SOON, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(answer.contains("grpc-status: 12"), "{answer}");
    assert!(!answer.contains("\ndate:"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_ends_only_its_own_connection() {
    let host = host();
    let server = fake::start(&host, ServeLimits::default()).await;
    let channel = Channel::connect(host.clone(), &server.address)
        .await
        .unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let rubbish: [&[u8]; 3] = [
        &[0xff; 4096],
        &[preface, [0xff; 100].as_slice()].concat(),
        preface,
    ];
    for bytes in rubbish {
        let mut stream = host.connect(&server.address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = host.timeout(SOON, stream.read_to_end(&mut answer)).await;
        assert!(read.is_some(), "the connection stayed open");
    }
    client::kv(channel).put(put(b"k", 0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_limit_wait_their_turn() {
    let host = host();
    let limits = ServeLimits {
        connections_max: 1,
        ..ServeLimits::default()
    };
    let server = fake::start(&host, limits).await;
    let first = Channel::connect(host.clone(), &server.address)
        .await
        .unwrap();
    client::kv(first.clone()).put(put(b"k", 0)).await.unwrap();
    let second = Channel::connect(host.clone(), &server.address)
        .await
        .unwrap();
    let mut kv = client::kv(second);
    let waiting = kv.put(put(b"k", 0));
    assert!(
        host.timeout(Duration::from_millis(200), waiting)
            .await
            .is_none()
    );
    drop(first);
    host.timeout(SOON, kv.put(put(b"k", 0)))
        .await
        .unwrap()
        .unwrap();
}

/// Not a check: prints what one connection carries. Run with
/// `cargo test --release --test serve_and_client -- --ignored --nocapture throughput`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn throughput_of_one_connection() {
    measure().await;
}

/// The same with everything on one thread, as in the simulation.
#[tokio::test]
#[ignore = "a measurement"]
async fn throughput_of_one_connection_on_one_thread() {
    measure().await;
}

async fn measure() {
    const CALLERS: usize = 64;
    let host = host();
    let server = fake::start(&host, ServeLimits::default()).await;
    let channel = Channel::connect(host.clone(), &server.address)
        .await
        .unwrap();
    let begin = host.now();
    let calls = (0..CALLERS).map(|_| {
        let mut kv = client::kv(channel.clone());
        let host = host.clone();
        async move {
            let mut made = 0;
            while host.now().since(begin) < Duration::from_secs(5) {
                kv.put(put(b"some-key", 256)).await.unwrap();
                made += 1;
            }
            made
        }
    });
    let made: usize = join_all(calls).await.into_iter().sum();
    let seconds = host.now().since(begin).as_secs_f64();
    println!("{:.0} puts/s, {CALLERS} at a time", made as f64 / seconds);
}
