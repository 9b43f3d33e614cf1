//! Watch over real connections. Every expectation here was first put to a running etcd 3.5.1: run
//! with `VETCD_BINARY=/path/to/etcd` to see that it still meets them. Where a later etcd differs
//! from 3.5.1 and vetcd follows the later one, the test says so and is left out there.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

#[path = "support/process.rs"]
mod process;

use std::io::Read;
use std::time::Duration;

use process::{Etcdctl, Member, client, cluster};
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::api::proto::mvccpb::event::EventType;
use vetcd::client::watch::{cancel, create, progress};
use vetcd::client::{Client, WatchStream};

/// How long an answer that must come may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn on_etcd() -> bool {
    std::env::var_os("VETCD_BINARY").is_some()
}

fn one(key: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

async fn next(stream: &mut WatchStream) -> pb::WatchResponse {
    let response = tokio::time::timeout(PATIENCE, stream.next()).await;
    response.expect("an answer in time").unwrap().unwrap()
}

/// The events of a response: kind, key, value, mod revision.
fn events(response: &pb::WatchResponse) -> Vec<(EventType, String, String, i64)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let shown = response.events.iter().map(|event| {
        let kv = event.kv.as_ref().unwrap();
        (
            event.r#type(),
            text(&kv.key),
            text(&kv.value),
            kv.mod_revision,
        )
    });
    shown.collect()
}

/// Events of further responses until `count` have come, with the number of responses.
async fn gather(stream: &mut WatchStream, count: usize) -> Vec<(EventType, String, String, i64)> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(events(&next(stream).await));
    }
    all
}

async fn put(client: &mut Client, key: &str, value: &str) -> i64 {
    let request = pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    };
    client.put(request).await.unwrap().header.unwrap().revision
}

async fn compact(client: &mut Client, revision: i64) {
    let request = pb::CompactionRequest {
        revision,
        physical: true,
    };
    client.compact(request).await.unwrap();
}

async fn single() -> (Vec<Member>, Client) {
    let members = cluster(1, &[]).await;
    let client = client(&[&members[0].place]);
    (members, client)
}

fn shown(kind: EventType, key: &str, value: &str, at: i64) -> (EventType, String, String, i64) {
    (kind, key.to_owned(), value.to_owned(), at)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_as_they_are_written() {
    let (_members, mut client) = single().await;
    put(&mut client, "k", "1").await;
    let mut stream = client.watch(create(one("k")), false).await.unwrap();
    let made = next(&mut stream).await;
    let header = made.header.unwrap();
    assert_eq!(
        (made.watch_id, made.created, made.canceled),
        (0, true, false)
    );
    assert_eq!(header.revision, 2);
    assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0);
    put(&mut client, "other", "x").await;
    put(&mut client, "k", "2").await;
    let response = next(&mut stream).await;
    assert_eq!(events(&response), [shown(EventType::Put, "k", "2", 4)]);
    assert_eq!(response.header.unwrap().revision, 4);
    let kv = response.events[0].kv.clone().unwrap();
    assert_eq!((kv.create_revision, kv.version), (2, 2));
    assert_eq!(response.events[0].prev_kv, None);
    let delete = pb::DeleteRangeRequest {
        key: "k".into(),
        ..Default::default()
    };
    client.delete_range(delete).await.unwrap();
    let response = next(&mut stream).await;
    assert_eq!(events(&response), [shown(EventType::Delete, "k", "", 5)]);
    let kv = response.events[0].kv.clone().unwrap();
    assert_eq!((kv.create_revision, kv.version), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_starts_in_the_past_and_shows_what_was_before() {
    let (_members, mut client) = single().await;
    for value in ["1", "2", "3"] {
        put(&mut client, "k", value).await;
    }
    let request = pb::WatchCreateRequest {
        start_revision: 2,
        prev_kv: true,
        ..one("k")
    };
    let mut stream = client.watch(create(request), false).await.unwrap();
    assert_eq!(next(&mut stream).await.header.unwrap().revision, 4);
    let response = next(&mut stream).await;
    let values = ["1", "2", "3"].into_iter().zip(2..);
    let expected: Vec<_> = values
        .map(|(value, at)| shown(EventType::Put, "k", value, at))
        .collect();
    assert_eq!(events(&response), expected, "one response for all of it");
    let before: Vec<Option<String>> = response
        .events
        .iter()
        .map(|event| {
            event
                .prev_kv
                .as_ref()
                .map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
        })
        .collect();
    assert_eq!(before, [None, Some("1".into()), Some("2".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_one_response() {
    let (_members, mut client) = single().await;
    let request = pb::WatchCreateRequest {
        range_end: "\0".into(),
        ..one("")
    };
    let mut stream = client.watch(create(request), false).await.unwrap();
    next(&mut stream).await;
    let operation = |key: &'static str| pb::RequestOp {
        request: Some(pb::request_op::Request::RequestPut(pb::PutRequest {
            key: key.into(),
            ..Default::default()
        })),
    };
    let txn = pb::TxnRequest {
        success: vec![operation("c"), operation("a"), operation("b")],
        ..Default::default()
    };
    client.txn(txn).await.unwrap();
    let keys: Vec<_> = events(&next(&mut stream).await)
        .into_iter()
        .map(|event| (event.1, event.3))
        .collect();
    assert_eq!(keys, [("c".into(), 2), ("a".into(), 2), ("b".into(), 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_belong_to_the_stream() {
    let (_members, mut client) = single().await;
    let numbered = |watch_id| {
        create(pb::WatchCreateRequest {
            watch_id,
            ..one("k")
        })
    };
    let mut stream = client.watch(numbered(7), false).await.unwrap();
    assert_eq!(next(&mut stream).await.watch_id, 7);
    stream.send(numbered(7)).await.unwrap();
    let refused = next(&mut stream).await;
    assert_eq!(
        (refused.watch_id, refused.created, refused.canceled),
        (-1, true, true)
    );
    assert_eq!(
        refused.cancel_reason,
        "mvcc: duplicate watch ID provided on the WatchStream"
    );
    stream.send(numbered(1)).await.unwrap();
    assert_eq!(next(&mut stream).await.watch_id, 1);
    for expected in [0, 2, 3] {
        stream.send(numbered(0)).await.unwrap();
        assert_eq!(next(&mut stream).await.watch_id, expected);
    }
    // An unknown ID is not answered; the next answer belongs to the known one.
    stream.send(cancel(99)).await.unwrap();
    stream.send(cancel(7)).await.unwrap();
    let gone = next(&mut stream).await;
    assert_eq!(
        (gone.watch_id, gone.created, gone.canceled),
        (7, false, true)
    );
    assert_eq!(
        (gone.cancel_reason.as_str(), gone.compact_revision),
        ("", 0)
    );
    let mut other = client.watch(numbered(0), false).await.unwrap();
    assert_eq!(next(&mut other).await.watch_id, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_without_keys_is_refused() {
    let (_members, mut client) = single().await;
    let request = pb::WatchCreateRequest {
        range_end: "a".into(),
        ..one("b")
    };
    let mut stream = client.watch(create(request), false).await.unwrap();
    let refused = next(&mut stream).await;
    assert_eq!(
        (refused.watch_id, refused.created, refused.canceled),
        (-1, true, true)
    );
    assert_eq!(refused.cancel_reason, "mvcc: watcher range is empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_start_is_cancelled_and_told_where_to_go_on() {
    let (_members, mut client) = single().await;
    for value in ["1", "2", "3", "4"] {
        put(&mut client, "k", value).await;
    }
    compact(&mut client, 4).await;
    let at = |start_revision| {
        create(pb::WatchCreateRequest {
            start_revision,
            ..one("k")
        })
    };
    let mut stream = client.watch(at(3), false).await.unwrap();
    let made = next(&mut stream).await;
    assert_eq!(
        (made.watch_id, made.created, made.canceled),
        (0, true, false)
    );
    let gone = next(&mut stream).await;
    assert_eq!(
        (gone.watch_id, gone.created, gone.canceled),
        (0, false, true)
    );
    assert_eq!(
        (gone.cancel_reason.as_str(), gone.compact_revision),
        ("", 4)
    );
    assert_eq!(gone.header.unwrap().revision, 0);
    stream.send(at(4)).await.unwrap();
    assert_eq!(next(&mut stream).await.watch_id, 1);
    let got = gather(&mut stream, 2).await;
    assert_eq!(
        got,
        [
            shown(EventType::Put, "k", "3", 4),
            shown(EventType::Put, "k", "4", 5)
        ]
    );
    if !on_etcd() {
        // 3.5.1 takes −1 for a very old revision, later ones refuse it.
        stream.send(at(-1)).await.unwrap();
        let refused = next(&mut stream).await;
        assert_eq!(
            (refused.watch_id, refused.created, refused.canceled),
            (-1, true, true)
        );
        assert!(refused.cancel_reason.contains("compacted"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_ranges() {
    let (_members, mut client) = single().await;
    let request = |filters| pb::WatchCreateRequest {
        range_end: "c".into(),
        filters,
        ..one("a")
    };
    let mut puts = client.watch(create(request(vec![1])), false).await.unwrap();
    let mut deletions = client.watch(create(request(vec![0])), false).await.unwrap();
    next(&mut puts).await;
    next(&mut deletions).await;
    for key in ["a", "b", "c"] {
        put(&mut client, key, "v").await;
    }
    let delete = pb::DeleteRangeRequest {
        key: "a".into(),
        range_end: "\0".into(),
        ..Default::default()
    };
    client.delete_range(delete).await.unwrap();
    put(&mut client, "bb", "w").await;
    assert_eq!(
        gather(&mut puts, 3).await,
        [
            shown(EventType::Put, "a", "v", 2),
            shown(EventType::Put, "b", "v", 3),
            shown(EventType::Put, "bb", "w", 6)
        ]
    );
    assert_eq!(
        events(&next(&mut deletions).await),
        [
            shown(EventType::Delete, "a", "", 5),
            shown(EventType::Delete, "b", "", 5)
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_response_is_split_where_that_is_allowed() {
    let (_members, mut client) = single().await;
    let value = "v".repeat(1_000_000);
    for _ in 0..4 {
        put(&mut client, "k", &value).await;
    }
    let operation = |key: &str| pb::RequestOp {
        request: Some(pb::request_op::Request::RequestDeleteRange(
            pb::DeleteRangeRequest {
                key: key.to_owned().into(),
                ..Default::default()
            },
        )),
    };
    for key in ["a", "b", "c"] {
        put(&mut client, key, &value).await;
    }
    let keys = ["a", "b", "c"];
    let txn = pb::TxnRequest {
        success: keys.into_iter().map(operation).collect(),
        ..Default::default()
    };
    let revision = client.txn(txn).await.unwrap().header.unwrap().revision;
    // One revision with three events of more than a megabyte each, because of prev_kv.
    let request = |fragment| pb::WatchCreateRequest {
        range_end: "\0".into(),
        start_revision: revision,
        prev_kv: true,
        fragment,
        ..one("a")
    };
    let mut whole = client.watch(create(request(false)), false).await.unwrap();
    next(&mut whole).await;
    let response = next(&mut whole).await;
    assert_eq!((response.events.len(), response.fragment), (3, false));
    let mut split = client.watch(create(request(true)), false).await.unwrap();
    next(&mut split).await;
    let mut parts = Vec::new();
    loop {
        let response = next(&mut split).await;
        parts.push(response.events.len());
        if !response.fragment {
            break;
        }
    }
    assert_eq!(parts, [2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_on_request_behind_all_events() {
    let (_members, mut client) = single().await;
    let mut stream = client.watch(create(one("k")), false).await.unwrap();
    next(&mut stream).await;
    stream.send(progress()).await.unwrap();
    let told = next(&mut stream).await;
    assert_eq!(
        (told.watch_id, told.events.len(), told.created),
        (-1, 0, false)
    );
    assert_eq!(told.header.unwrap().revision, 1);
    let revision = put(&mut client, "k", "v").await;
    assert_eq!(next(&mut stream).await.events.len(), 1);
    stream.send(progress()).await.unwrap();
    assert_eq!(next(&mut stream).await.header.unwrap().revision, revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_watches_are_told_of_progress_and_others_not() {
    let flag = if on_etcd() {
        "--experimental-watch-progress-notify-interval=300ms"
    } else {
        "--watch-progress-notify-interval=300ms"
    };
    let members = cluster(1, &[flag]).await;
    let mut client = client(&[&members[0].place]);
    let request = pb::WatchCreateRequest {
        progress_notify: true,
        watch_id: 5,
        ..one("k")
    };
    let mut stream = client.watch(create(request), false).await.unwrap();
    stream.send(create(one("other"))).await.unwrap();
    next(&mut stream).await;
    next(&mut stream).await;
    let revision = put(&mut client, "elsewhere", "v").await;
    let told = next(&mut stream).await;
    assert_eq!((told.watch_id, told.events.len()), (5, 0));
    let header = told.header.unwrap().revision;
    assert!((revision - 1..=revision).contains(&header), "{header}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_requires_a_leader_ends_without_one() {
    let mut members = cluster(3, &[]).await;
    let mut client = client(&[&members[0].place]);
    let mut strict = client.watch(create(one("k")), true).await.unwrap();
    let mut patient = client.watch(create(one("k")), false).await.unwrap();
    next(&mut strict).await;
    next(&mut patient).await;
    members[1].kill();
    members[2].kill();
    let ended = tokio::time::timeout(PATIENCE, strict.next()).await;
    let error = ended.expect("the stream ends").unwrap_err();
    assert_eq!(error.status.code(), tonic::Code::Unavailable);
    assert_eq!(error.status.message(), "etcdserver: no leader");
    members[1].start();
    put(&mut client, "k", "v").await;
    assert_eq!(next(&mut patient).await.events.len(), 1);
}

/// What etcdctl prints while it watches, until `lines` of it have come.
fn watched(ctl: &Etcdctl, arguments: &[&str], lines: usize) -> String {
    let mut child = ctl.spawn(arguments);
    let mut output = child.stdout.take().unwrap();
    let mut text = Vec::new();
    let mut byte = [0];
    while text.iter().filter(|b| **b == b'\n').count() < lines {
        match output.read(&mut byte) {
            Ok(1) => text.push(byte[0]),
            _ => break,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_watches() {
    let (members, mut client) = single().await;
    let Some(ctl) = Etcdctl::find(&[&members[0].place]) else {
        return;
    };
    put(&mut client, "a/1", "x").await;
    put(&mut client, "a/1", "y").await;
    put(&mut client, "a/2", "z").await;
    ctl.ok(&["del", "a/1"]);
    let printed = watched(&ctl, &["watch", "a/1", "--rev=2"], 8);
    assert_eq!(printed, "PUT\na/1\nx\nPUT\na/1\ny\nDELETE\na/1\n");
    let arguments = ["watch", "--prefix", "a/", "--rev=3", "--prev-kv"];
    let printed = watched(&ctl, &arguments, 12);
    assert_eq!(
        printed,
        "PUT\na/1\nx\na/1\ny\nPUT\na/2\nz\nDELETE\na/1\n"
            .replace("DELETE\na/1\n", "DELETE\na/1\ny\na/1\n")
    );
    compact(&mut client, 4).await;
    let error = ctl.fails(&["watch", "a/1", "--rev=2"]);
    assert!(
        error.contains("mvcc: required revision has been compacted"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_stalls_nobody_and_misses_nothing() {
    let (_members, mut client) = single().await;
    let mut reader = process_client(&_members);
    let mut sleeper = process_client(&_members);
    let mut quick = reader.watch(create(one("k")), false).await.unwrap();
    let mut slow = sleeper.watch(create(one("k")), false).await.unwrap();
    next(&mut quick).await;
    next(&mut slow).await;
    // More than the connection's windows and the server's buffers hold.
    const WRITES: i64 = 40;
    let value = "v".repeat(1 << 19);
    for revision in 2..2 + WRITES {
        assert_eq!(put(&mut client, "k", &value).await, revision);
        let got = next(&mut quick).await;
        assert_eq!(got.header.unwrap().revision, revision);
    }
    let all = gather(&mut slow, WRITES as usize).await;
    let revisions: Vec<i64> = all.into_iter().map(|event| event.3).collect();
    assert_eq!(revisions, (2..2 + WRITES).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_too_late_is_told_what_it_missed() {
    if on_etcd() {
        return; // It keeps what it has queued, however much that is.
    }
    let (_members, mut client) = single().await;
    let mut sleeper = process_client(&_members);
    let mut slow = sleeper.watch(create(one("k")), false).await.unwrap();
    next(&mut slow).await;
    const WRITES: i64 = 60;
    let value = "v".repeat(1 << 20);
    for revision in 2..2 + WRITES {
        assert_eq!(put(&mut client, "k", &value).await, revision);
    }
    compact(&mut client, 1 + WRITES).await;
    let mut expected = 2;
    let gone = loop {
        let response = next(&mut slow).await;
        if response.canceled {
            break response;
        }
        for event in events(&response) {
            assert_eq!(event.3, expected, "in order and without a gap");
            expected += 1;
        }
    };
    assert_eq!(gone.compact_revision, 1 + WRITES);
    assert!((2..1 + WRITES).contains(&expected), "{expected}");
}

fn process_client(members: &[Member]) -> Client {
    client(&[&members[0].place])
}
