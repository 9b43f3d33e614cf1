//! Keys: puts, gets, deletes, compactions, transactions, and a client that sees one prefix alone.

use etcd_client::{
    Client, CompactionOptions, CompactionResponse, Compare, CompareOp, DeleteOptions,
    DeleteResponse, GetOptions, GetResponse, KeyValue, KvClient, KvClientPrefix, PutOptions,
    PutResponse, ResponseHeader, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse, TxnResponse,
};
use tonic::Code;

use crate::process::Member;
use crate::{assert_header, one, refused};

/// Keys and values, in the answer's order.
fn pairs(response: &GetResponse) -> Vec<(&str, &str)> {
    fn pair(kv: &KeyValue) -> (&str, &str) {
        (kv.key_str().unwrap(), kv.value_str().unwrap())
    }
    response.kvs().iter().map(pair).collect()
}

/// The keys alone, in the answer's order.
fn keys(response: &GetResponse) -> Vec<&str> {
    pairs(response).into_iter().map(|(key, _)| key).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn puts() {
    let (_members, mut client): (Vec<Member>, Client) = one(&[]).await;
    let mut put: PutResponse = client.put("a", "1", None).await.unwrap();
    assert!(put.prev_key().is_none());
    assert_header(&header!(put), 2);

    let kv: KvClient = client.kv_client();
    let kv: KvClient = kv.max_decoding_message_size(64 << 20);
    let mut kv: KvClient = kv.max_encoding_message_size(1 << 20);
    let options = PutOptions::new().with_prev_key();
    let mut put: PutResponse = kv.put("a", "2", Some(options)).await.unwrap();
    let previous: &KeyValue = put.prev_key().unwrap();
    assert_eq!((previous.key(), previous.value()), (&b"a"[..], &b"1"[..]));
    assert_eq!(previous.create_revision(), 2);
    assert_eq!(previous.mod_revision(), 2);
    assert_eq!(previous.version(), 1);
    assert_eq!(previous.lease(), 0);
    let previous: KeyValue = put.take_prev_key().unwrap();
    assert_eq!(previous.into_key_value(), (b"a".to_vec(), b"1".to_vec()));
    assert!(put.prev_key().is_none(), "it was taken");

    // A lease; then the value without the lease, and the lease without the value.
    client
        .lease_grant(60, Some(etcd_client::LeaseGrantOptions::new().with_id(77)))
        .await
        .unwrap();
    let options = PutOptions::new().with_lease(77);
    kv.put("a", "3", Some(options)).await.unwrap();
    let options = PutOptions::new().with_ignore_lease();
    kv.put("a", "4", Some(options)).await.unwrap();
    let options = PutOptions::new().with_ignore_value();
    kv.put("a", "", Some(options)).await.unwrap();
    let mut got: GetResponse = kv.get("a", None).await.unwrap();
    let now: &KeyValue = &got.kvs()[0];
    assert_eq!((now.value(), now.lease()), (&b"4"[..], 0));
    assert_eq!((now.version(), now.mod_revision()), (5, 6));
    assert_header(&header!(got), 6);

    let options = || Some(PutOptions::new().with_ignore_value());
    let invalid = |message: &str| (Code::InvalidArgument, format!("etcdserver: {message}"));
    assert_eq!(
        refused(kv.put("none", "", options()).await),
        invalid("key not found")
    );
    assert_eq!(
        refused(kv.put("a", "x", options()).await),
        invalid("value is provided")
    );
    assert_eq!(
        refused(kv.put("", "x", None).await),
        invalid("key is not provided")
    );
    let options = PutOptions::new().with_lease(404);
    assert_eq!(
        refused(kv.put("a", "x", Some(options)).await),
        (
            Code::NotFound,
            "etcdserver: requested lease not found".to_owned()
        )
    );
    // The client's own bound comes before the server's; how it is told is the client's affair.
    let large = vec![b'x'; 1 << 20];
    refused(kv.put("a", large, None).await);
    let got: GetResponse = kv.get("a", None).await.unwrap();
    let now: &KeyValue = &got.kvs()[0];
    assert_eq!(now.value(), b"4");
}

/// Puts `p/1` to `p/3` and `q` at the revisions 2 to 5, and `p/1` again at 6.
async fn fill(client: &mut Client) {
    for (key, value) in [
        ("p/1", "d"),
        ("p/2", "c"),
        ("p/3", "b"),
        ("q", "a"),
        ("p/1", "e"),
    ] {
        client.put(key, value, None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gets() {
    let (_members, mut client): (Vec<Member>, Client) = one(&[]).await;
    fill(&mut client).await;
    let mut got: GetResponse = client.get("p/1", None).await.unwrap();
    assert_eq!(pairs(&got), [("p/1", "e")]);
    assert_eq!((got.count(), got.more()), (1, false));
    let taken = got.take_kvs();
    let kv: &KeyValue = &taken[0];
    assert_eq!(
        (kv.create_revision(), kv.mod_revision(), kv.version()),
        (2, 6, 2)
    );
    assert!(got.kvs().is_empty(), "they were taken");
    assert_header(&header!(got), 6);

    let mut kv: KvClient = client.kv_client();
    let sorted = |target, order| GetOptions::new().with_prefix().with_sort(target, order);
    for (key, options, expected) in [
        (
            "p/1",
            GetOptions::new().with_range("p/3"),
            &["p/1", "p/2"][..],
        ),
        ("p/3", GetOptions::new().with_from_key(), &["p/3", "q"]),
        (
            "p/",
            GetOptions::new().with_prefix(),
            &["p/1", "p/2", "p/3"],
        ),
        (
            "",
            GetOptions::new().with_all_keys(),
            &["p/1", "p/2", "p/3", "q"],
        ),
        (
            "p/",
            GetOptions::new().with_prefix().with_serializable(),
            &["p/1", "p/2", "p/3"],
        ),
        (
            "p/",
            sorted(SortTarget::Key, SortOrder::Ascend),
            &["p/1", "p/2", "p/3"],
        ),
        (
            "p/",
            sorted(SortTarget::Key, SortOrder::Descend),
            &["p/3", "p/2", "p/1"],
        ),
        (
            "p/",
            sorted(SortTarget::Version, SortOrder::Descend),
            &["p/1", "p/2", "p/3"],
        ),
        (
            "p/",
            sorted(SortTarget::Create, SortOrder::Descend),
            &["p/3", "p/2", "p/1"],
        ),
        (
            "p/",
            sorted(SortTarget::Mod, SortOrder::Ascend),
            &["p/2", "p/3", "p/1"],
        ),
        (
            "p/",
            sorted(SortTarget::Value, SortOrder::Ascend),
            &["p/3", "p/2", "p/1"],
        ),
        (
            "p/",
            GetOptions::new().with_prefix().with_min_mod_revision(4),
            &["p/1", "p/3"],
        ),
        (
            "p/",
            GetOptions::new().with_prefix().with_max_mod_revision(4),
            &["p/2", "p/3"],
        ),
        (
            "p/",
            GetOptions::new().with_prefix().with_min_create_revision(3),
            &["p/2", "p/3"],
        ),
        (
            "p/",
            GetOptions::new().with_prefix().with_max_create_revision(3),
            &["p/1", "p/2"],
        ),
    ] {
        let shown = format!("{key} {options:?}");
        let got: GetResponse = kv.get(key, Some(options)).await.unwrap();
        assert_eq!(keys(&got), expected, "{shown}");
    }
    let options = GetOptions::new().with_prefix().with_limit(2);
    let got: GetResponse = kv.get("p/", Some(options)).await.unwrap();
    assert_eq!(keys(&got), ["p/1", "p/2"]);
    assert_eq!((got.count(), got.more()), (3, true));
    let options = GetOptions::new().with_prefix().with_revision(3);
    let got: GetResponse = kv.get("p/", Some(options)).await.unwrap();
    assert_eq!(pairs(&got), [("p/1", "d"), ("p/2", "c")]);
    let options = GetOptions::new().with_prefix().with_keys_only();
    let got: GetResponse = kv.get("p/", Some(options)).await.unwrap();
    assert_eq!(pairs(&got), [("p/1", ""), ("p/2", ""), ("p/3", "")]);
    let options = GetOptions::new().with_prefix().with_count_only();
    let got: GetResponse = kv.get("p/", Some(options)).await.unwrap();
    assert_eq!((got.count(), got.kvs().len()), (3, 0));

    let options = GetOptions::new().with_revision(99);
    assert_eq!(
        refused(kv.get("q", Some(options)).await),
        (
            Code::OutOfRange,
            "etcdserver: mvcc: required revision is a future revision".to_owned()
        )
    );
    let stream = kv.get_stream("p/", None).await;
    assert_eq!(refused(stream).0, Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_and_compactions() {
    let (_members, mut client): (Vec<Member>, Client) = one(&[]).await;
    fill(&mut client).await;
    let mut deleted: DeleteResponse = client.delete("none", None).await.unwrap();
    assert_eq!((deleted.deleted(), deleted.prev_kvs().len()), (0, 0));
    assert_header(&header!(deleted), 6);

    let mut kv: KvClient = client.kv_client();
    let options = DeleteOptions::new().with_range("p/2").with_prev_key();
    let mut deleted: DeleteResponse = kv.delete("p/1", Some(options)).await.unwrap();
    assert_eq!((deleted.deleted(), deleted.prev_kvs().len()), (1, 1));
    let previous: &KeyValue = &deleted.take_prev_kvs()[0];
    assert_eq!(previous.value(), b"e");
    assert!(deleted.prev_kvs().is_empty(), "they were taken");
    let options = DeleteOptions::new().with_prefix();
    let deleted: DeleteResponse = kv.delete("p/", Some(options)).await.unwrap();
    assert_eq!((deleted.deleted(), deleted.prev_kvs().len()), (2, 0));
    let options = DeleteOptions::new().with_from_key();
    let deleted: DeleteResponse = kv.delete("q", Some(options)).await.unwrap();
    assert_eq!(deleted.deleted(), 1);
    fill(&mut client).await;
    let options = DeleteOptions::new().with_all_keys();
    let deleted: DeleteResponse = kv.delete("", Some(options)).await.unwrap();
    assert_eq!(deleted.deleted(), 4);

    let mut compacted: CompactionResponse = client.compact(5, None).await.unwrap();
    assert_header(&header!(compacted), 15);
    let options = CompactionOptions::new().with_physical();
    let mut compacted: CompactionResponse = kv.compact(10, Some(options)).await.unwrap();
    assert_header(&header!(compacted), 15);
    let range = |what: &str| {
        (
            Code::OutOfRange,
            format!("etcdserver: mvcc: required revision {what}"),
        )
    };
    assert_eq!(
        refused(kv.compact(10, None).await),
        range("has been compacted")
    );
    assert_eq!(
        refused(kv.compact(99, None).await),
        range("is a future revision")
    );
    let options = GetOptions::new().with_revision(9);
    assert_eq!(
        refused(kv.get("q", Some(options)).await),
        range("has been compacted")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions() {
    let (_members, mut client): (Vec<Member>, Client) = one(&[]).await;
    fill(&mut client).await;
    let txn = Txn::new()
        .when([
            Compare::version("p/1", CompareOp::Equal, 2),
            Compare::version("p/1", CompareOp::Greater, 1),
            Compare::create_revision("p/1", CompareOp::Less, 3),
            Compare::mod_revision("p/1", CompareOp::NotEqual, 2),
            Compare::value("p/1", CompareOp::Equal, "e"),
            Compare::lease("p/1", CompareOp::Equal, 0),
            Compare::version("p/1", CompareOp::Greater, 0).with_range("q"),
            Compare::value("p/", CompareOp::Greater, "a").with_prefix(),
        ])
        .and_then([
            TxnOp::put("r", "1", Some(PutOptions::new().with_prev_key())),
            TxnOp::get("p/", Some(GetOptions::new().with_prefix())),
            TxnOp::delete("q", Some(DeleteOptions::new().with_prev_key())),
            TxnOp::txn(
                Txn::new()
                    .when([Compare::version("p/1", CompareOp::Equal, 9)])
                    .or_else([TxnOp::get("r", None)]),
            ),
        ])
        .or_else([TxnOp::get("q", None)]);
    let mut done: TxnResponse = client.txn(txn.clone()).await.unwrap();
    assert!(done.succeeded());
    let [
        TxnOpResponse::Put(put),
        TxnOpResponse::Get(got),
        TxnOpResponse::Delete(deleted),
        TxnOpResponse::Txn(nested),
    ] = &done.op_responses()[..]
    else {
        panic!("{done:?}");
    };
    assert!(put.prev_key().is_none());
    assert_eq!(keys(got), ["p/1", "p/2", "p/3"]);
    assert_eq!(deleted.deleted(), 1);
    assert!(!nested.succeeded());
    let [TxnOpResponse::Get(inner)] = &nested.op_responses()[..] else {
        panic!("{nested:?}");
    };
    // What the transaction wrote is seen by what comes later in it.
    assert_eq!(pairs(inner), [("r", "1")]);
    assert_header(&header!(done), 7);

    let mut kv: KvClient = client.kv_client();
    kv.put("p/4", "a", None).await.unwrap();
    let mut undone: TxnResponse = kv.txn(txn).await.unwrap();
    assert!(!undone.succeeded(), "p/4 is not above a");
    let [TxnOpResponse::Get(got)] = &undone.op_responses()[..] else {
        panic!("{undone:?}");
    };
    assert_eq!(got.count(), 0);
    assert_header(&header!(undone), 8);
    let twice = Txn::new().and_then([TxnOp::put("x", "1", None), TxnOp::put("x", "2", None)]);
    assert_eq!(
        refused(kv.txn(twice).await),
        (
            Code::InvalidArgument,
            "etcdserver: duplicate key given in txn request".to_owned()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_one_prefix() {
    let (_members, mut client): (Vec<Member>, Client) = one(&[]).await;
    let mut below: KvClientPrefix = KvClientPrefix::new(client.kv_client(), b"app/".to_vec());
    below.put("a", "1", None).await.unwrap();
    let options = PutOptions::new().with_prev_key();
    let put: PutResponse = below.put("a", "2", Some(options)).await.unwrap();
    let previous: &KeyValue = put.prev_key().unwrap();
    assert_eq!(previous.key(), b"a");
    client.put("b", "outside", None).await.unwrap();
    let options = GetOptions::new().with_prefix();
    let got: GetResponse = below.get("", Some(options)).await.unwrap();
    assert_eq!(pairs(&got), [("a", "2")]);
    let got: GetResponse = client.get("app/a", None).await.unwrap();
    assert_eq!(pairs(&got), [("app/a", "2")]);
    let txn = Txn::new()
        .when([Compare::value("a", CompareOp::Equal, "2")])
        .and_then([TxnOp::get("a", None)]);
    let done: TxnResponse = below.txn(txn).await.unwrap();
    let [TxnOpResponse::Get(got)] = &done.op_responses()[..] else {
        panic!("{done:?}");
    };
    assert_eq!(pairs(got), [("a", "2")]);
    let options = DeleteOptions::new().with_prefix().with_prev_key();
    let deleted: DeleteResponse = below.delete("", Some(options)).await.unwrap();
    assert_eq!(deleted.deleted(), 1);
    let got: GetResponse = client.get("b", None).await.unwrap();
    let header: &ResponseHeader = got.header().unwrap();
    assert_eq!((got.count(), header.revision()), (1, 5));
}
