//! The host's promises, on real sockets and threads.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::OsHost;
use crate::host::{Host, HostExt};

fn host() -> OsHost {
    OsHost::new(tokio::runtime::Handle::current())
}

#[tokio::test(flavor = "multi_thread")]
async fn sleeping_moves_the_monotonic_clock() {
    let host = host();
    let before = host.now();
    host.sleep(Duration::from_millis(20)).await;
    assert!(host.now().since(before) >= Duration::from_millis(20));
    assert!(host.wall_clock() > Duration::from_secs(1_600_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_counts_from_the_call() {
    let host = host();
    let sleep = host.sleep(Duration::from_millis(40));
    host.sleep(Duration::from_millis(60)).await;
    let before = host.now();
    sleep.await;
    assert!(host.now().since(before) < Duration::from_millis(35));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_sleep_does_not_overflow() {
    let host = host();
    let limit = Duration::from_millis(10);
    assert_eq!(host.timeout(limit, host.sleep(Duration::MAX)).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocking_work_returns_its_value_and_a_panic_returns_none() {
    let host = host();
    assert_eq!(host.run_blocking(|| 7).await, Some(7));
    let failed: Option<u32> = host.run_blocking(|| panic!("on purpose")).await;
    assert_eq!(failed, None);
    assert_eq!(host.run_blocking(|| 8).await, Some(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn blocking_work_runs_even_when_nobody_waits() {
    let host = host();
    let done = Arc::new(AtomicBool::new(false));
    let flag = done.clone();
    drop(host.blocking(Box::new(move || flag.store(true, Ordering::SeqCst))));
    for _ in 0..500 {
        if done.load(Ordering::SeqCst) {
            return;
        }
        host.sleep(Duration::from_millis(2)).await;
    }
    panic!("the work was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_task_drops_what_it_holds() {
    let host = host();
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let task = host.spawn(
        "test",
        Box::pin(async move {
            std::future::pending::<()>().await;
            drop(sender);
        }),
    );
    task.abort();
    let waited = host.timeout(Duration::from_secs(5), receiver).await;
    assert!(matches!(waited, Some(Err(_))), "the sender was not dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_travel_both_ways() {
    let host = host();
    let mut listener = host.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_address();
    let mut client = host.connect(&address).await.unwrap();
    let mut server = listener.accept().await.unwrap();
    assert_eq!(client.peer_address(), address);
    assert!(server.peer_address().starts_with("127.0.0.1:"));

    client.write_all(b"ping").await.unwrap();
    let mut received = [0; 4];
    server.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"ping");
    server.write_all(b"pong").await.unwrap();
    client.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_keeps_its_kind_and_names_the_address() {
    let host = host();
    let listener = host.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_address();
    let error = host.listen(&address).await.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_keeps_its_kind_and_names_the_address() {
    let host = host();
    let listener = host.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_address();
    drop(listener);
    let error = host.connect(&address).await.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_differ() {
    let host = host();
    assert_ne!(host.random_u64(), host.random_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_machine_share_the_boot() {
    let (one, other) = (host(), host());
    assert!(!one.boot_id().is_empty());
    if cfg!(target_os = "linux") {
        assert_eq!(one.boot_id(), other.boot_id());
    }
}
