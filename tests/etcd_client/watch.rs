//! Watches: a stream with several of them, its two halves, and what each option changes.

use etcd_client::{
    Client, Event, EventType, GetOptions, KeyValue, Txn, TxnOp, WatchClient, WatchFilterType,
    WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream, WatchStream,
};
use futures::StreamExt;

use crate::process::Member;
use crate::{assert_header, one, refused, soon};

/// Kind, key, value and revision.
type Seen = (EventType, String, String, i64);

fn seen(event: &Event) -> Seen {
    let kv: &KeyValue = event.kv().unwrap();
    (
        event.event_type(),
        kv.key_str().unwrap().to_owned(),
        kv.value_str().unwrap().to_owned(),
        kv.mod_revision(),
    )
}

fn put(key: &str, value: &str, revision: i64) -> Seen {
    (EventType::Put, key.to_owned(), value.to_owned(), revision)
}

fn delete(key: &str, revision: i64) -> Seen {
    (EventType::Delete, key.to_owned(), String::new(), revision)
}

/// The next response; the stream must not have ended.
async fn next(stream: &mut WatchStream) -> WatchResponse {
    soon(stream.message()).await.unwrap().unwrap()
}

/// The next `count` events of the stream, whichever watch they are for.
async fn events(stream: &mut WatchStream, count: usize) -> Vec<Seen> {
    let mut all = Vec::new();
    while all.len() < count {
        let response: WatchResponse = next(stream).await;
        all.extend(response.events().iter().map(seen));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_several_watches() {
    let (_members, mut client): (Vec<Member>, Client) = one(&[]).await;
    let mut stream: WatchStream = client.watch("a", None).await.unwrap();
    let mut created: WatchResponse = next(&mut stream).await;
    assert!(created.created() && !created.canceled());
    assert_eq!((created.watch_id(), created.compact_revision()), (0, 0));
    assert_eq!(created.cancel_reason(), "");
    assert!(created.events().is_empty());
    assert_header(&header!(created), 1);

    client.put("a", "1", None).await.unwrap();
    client.put("a", "2", None).await.unwrap();
    client.delete("a", None).await.unwrap();
    let expected = [put("a", "1", 2), put("a", "2", 3), delete("a", 4)];
    assert_eq!(events(&mut stream, 3).await, expected);

    // Another on the same stream, under an ID of the client's choice; the ID cannot be had twice.
    let options = WatchOptions::new().with_watch_id(7).with_prev_key();
    stream.watch("b", Some(options)).await.unwrap();
    let created: WatchResponse = next(&mut stream).await;
    assert_eq!((created.watch_id(), created.created()), (7, true));
    client.put("b", "1", None).await.unwrap();
    client.put("b", "2", None).await.unwrap();
    let mut previous = Vec::new();
    while previous.len() < 2 {
        let response: WatchResponse = next(&mut stream).await;
        assert_eq!(response.watch_id(), 7);
        for index in 0..response.events().len() {
            let event: &Event = &response.events()[index];
            previous.push(event.prev_kv().map(|kv| kv.value().to_vec()));
        }
    }
    assert_eq!(previous, [None, Some(b"1".to_vec())]);
    stream.cancel(7).await.unwrap();
    let canceled: WatchResponse = next(&mut stream).await;
    assert!(canceled.canceled() && !canceled.created());
    assert_eq!((canceled.watch_id(), canceled.cancel_reason()), (7, ""));
    stream.request_progress().await.unwrap();
    let mut progress: WatchResponse = next(&mut stream).await;
    assert_eq!((progress.watch_id(), progress.events().len()), (-1, 0));
    assert_header(&header!(progress), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_halves_of_a_stream() {
    let (_members, client): (Vec<Member>, Client) = one(&[]).await;
    let watch: WatchClient = client.watch_client();
    let mut watch: WatchClient = watch.max_decoding_message_size(64 << 20);
    let stream: WatchStream = watch.watch("a", None).await.unwrap();
    let (mut sender, mut responses): (WatchRequestSender, WatchResponseStream) = stream.split();
    let created: WatchResponse = soon(responses.message()).await.unwrap().unwrap();
    assert!(created.created());
    let options = WatchOptions::new().with_watch_id(9);
    sender.watch("b", Some(options)).await.unwrap();
    let created: WatchResponse = soon(responses.next()).await.unwrap().unwrap();
    assert_eq!((created.created(), created.watch_id()), (true, 9));
    sender.cancel(9).await.unwrap();
    let canceled: WatchResponse = soon(responses.message()).await.unwrap().unwrap();
    assert_eq!((canceled.canceled(), canceled.watch_id()), (true, 9));
    sender.request_progress().await.unwrap();
    let progress: WatchResponse = soon(responses.message()).await.unwrap().unwrap();
    assert_eq!(progress.watch_id(), -1);
    // Whoever drops the sender has said all he wants to; the stream goes on.
    drop(sender);
    let mut client = client;
    client.put("a", "1", None).await.unwrap();
    let response: WatchResponse = soon(responses.message()).await.unwrap().unwrap();
    assert_eq!(response.events().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_options_choose() {
    let (_members, mut client): (Vec<Member>, Client) = one(&[]).await;
    for (key, value) in [("p/1", "a"), ("p/2", "b"), ("q", "c"), ("p/1", "d")] {
        client.put(key, value, None).await.unwrap();
    }
    client.delete("p/2", None).await.unwrap();
    let one = [put("p/1", "a", 2), put("p/1", "d", 5)];
    let below_p = [
        put("p/1", "a", 2),
        put("p/2", "b", 3),
        put("p/1", "d", 5),
        delete("p/2", 6),
    ];
    let from_p2 = [put("p/2", "b", 3), put("q", "c", 4), delete("p/2", 6)];
    let all = [
        put("p/1", "a", 2),
        put("p/2", "b", 3),
        put("q", "c", 4),
        put("p/1", "d", 5),
        delete("p/2", 6),
    ];
    let deletes = [WatchFilterType::NoPut];
    let puts = [WatchFilterType::NoDelete];
    for (key, options, expected) in [
        ("p/1", WatchOptions::new().with_start_revision(1), &one[..]),
        (
            "p/1",
            WatchOptions::new().with_range("p/2").with_start_revision(1),
            &one,
        ),
        (
            "p/1",
            WatchOptions::new().with_range("p/3").with_start_revision(2),
            &below_p,
        ),
        (
            "p/",
            WatchOptions::new().with_prefix().with_start_revision(1),
            &below_p,
        ),
        (
            "p/2",
            WatchOptions::new().with_from_key().with_start_revision(1),
            &from_p2,
        ),
        (
            "",
            WatchOptions::new().with_all_keys().with_start_revision(1),
            &all,
        ),
        (
            "",
            WatchOptions::new().with_all_keys().with_start_revision(5),
            &all[3..],
        ),
        (
            "p/",
            WatchOptions::new()
                .with_prefix()
                .with_start_revision(1)
                .with_filters(deletes),
            &below_p[3..],
        ),
        (
            "p/",
            WatchOptions::new()
                .with_prefix()
                .with_start_revision(1)
                .with_filters(puts),
            &below_p[..3],
        ),
        // The key of the call wins over the option's.
        (
            "p/1",
            WatchOptions::new().with_key("q").with_start_revision(1),
            &one,
        ),
    ] {
        let shown = format!("{key} {options:?}");
        let mut stream: WatchStream = client.watch(key, Some(options)).await.unwrap();
        assert_eq!(
            events(&mut stream, expected.len()).await,
            expected,
            "{shown}"
        );
    }

    // What is gone cannot be told, and the client learns from where on it can.
    client.compact(4, None).await.unwrap();
    let options = WatchOptions::new().with_start_revision(3);
    let mut stream: WatchStream = client.watch("q", Some(options)).await.unwrap();
    let created: WatchResponse = next(&mut stream).await;
    assert!(created.created() && !created.canceled());
    let canceled: WatchResponse = next(&mut stream).await;
    assert!(canceled.canceled());
    assert_eq!(canceled.compact_revision(), 4);
    // An answer to an ordinary read says the same.
    let options = GetOptions::new().with_revision(3);
    assert!(
        refused(client.get("q", Some(options)).await)
            .1
            .contains("compacted")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_revisions_in_fragments_and_progress_without_events() {
    let flags = [
        "--max-request-bytes=65536",
        "--max-txn-ops=8",
        "--experimental-watch-progress-notify-interval=200ms",
    ];
    let (_members, mut client): (Vec<Member>, Client) = one(&flags).await;
    const EACH: usize = 60_000;
    const COUNT: usize = 20;
    for number in 0..COUNT {
        let value = vec![b'a' + number as u8; EACH];
        client
            .put(format!("f/{number:02}"), value, None)
            .await
            .unwrap();
    }
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(1)
        .with_fragment()
        .with_progress_notify();
    let mut stream: WatchStream = client.watch("f/", Some(options)).await.unwrap();
    let (mut keys, mut responses) = (Vec::new(), 0);
    while keys.len() < COUNT {
        let response: WatchResponse = soon(stream.next()).await.unwrap().unwrap();
        let sizes = response
            .events()
            .iter()
            .map(|event| event.kv().unwrap().value().len());
        assert!(
            sizes.sum::<usize>() <= 65_536 + (512 << 10),
            "a fragment is bounded"
        );
        responses += usize::from(!response.events().is_empty());
        keys.extend(response.events().iter().map(|event| seen(event).1));
    }
    assert!(responses > 1, "{responses}");
    let expected: Vec<String> = (0..COUNT).map(|number| format!("f/{number:02}")).collect();
    assert_eq!(keys, expected);
    // Nothing happens any more, and the watch is told so.
    let mut progress: WatchResponse = next(&mut stream).await;
    assert!(progress.events().is_empty() && !progress.canceled());
    assert_eq!(progress.watch_id(), 0);
    assert_header(&header!(progress), 1 + COUNT as i64);
    let too_many: Vec<TxnOp> = (0..9)
        .map(|number| TxnOp::get(format!("{number}"), None))
        .collect();
    let refusal = refused(client.txn(Txn::new().and_then(too_many)).await);
    assert_eq!(refusal.1, "etcdserver: too many operations in txn request");
}
