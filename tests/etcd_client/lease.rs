//! Leases: granted, kept alive, asked about, revoked, and running out.

use std::time::Duration;

use etcd_client::{
    Client, Error, GetResponse, LeaseClient, LeaseClientPrefix, LeaseGrantOptions,
    LeaseGrantResponse, LeaseKeepAliveResponse, LeaseKeepAliveStream, LeaseKeeper,
    LeaseLeasesResponse, LeaseRevokeResponse, LeaseStatus, LeaseTimeToLiveOptions,
    LeaseTimeToLiveResponse, PutOptions,
};
use futures::StreamExt;
use tonic::Code;

use crate::process::Member;
use crate::{SOON, assert_header, one, refused, soon};

#[tokio::test(flavor = "multi_thread")]
async fn from_the_grant_to_the_end() {
    let (_members, mut client): (Vec<Member>, Client) = one(&[]).await;
    // The server draws an ID where none is asked for.
    let mut drawn: LeaseGrantResponse = client.lease_grant(60, None).await.unwrap();
    assert!(drawn.id() > 0);
    assert_eq!((drawn.ttl(), drawn.error()), (60, ""));
    assert_header(&header!(drawn), 1);
    let mut lease: LeaseClient = client.lease_client();
    let options = LeaseGrantOptions::new().with_id(0x77);
    let granted: LeaseGrantResponse = lease.grant(30, Some(options.clone())).await.unwrap();
    assert_eq!((granted.id(), granted.ttl()), (0x77, 30));
    assert_eq!(
        refused(lease.grant(30, Some(options)).await),
        (
            Code::FailedPrecondition,
            "etcdserver: lease already exists".to_owned()
        )
    );
    assert_eq!(
        refused(lease.grant(9_000_000_001, None).await),
        (
            Code::OutOfRange,
            "etcdserver: too large lease TTL".to_owned()
        )
    );

    for key in ["app/a", "app/b", "other"] {
        let options = PutOptions::new().with_lease(0x77);
        client.put(key, "1", Some(options)).await.unwrap();
    }
    let mut asked: LeaseTimeToLiveResponse = client.lease_time_to_live(0x77, None).await.unwrap();
    assert_eq!((asked.id(), asked.granted_ttl()), (0x77, 30));
    assert!((25..=30).contains(&asked.ttl()), "{}", asked.ttl());
    assert!(asked.keys().is_empty(), "nobody asked for them");
    assert_header(&header!(asked), 4);
    let with_keys = || Some(LeaseTimeToLiveOptions::new().with_keys());
    let asked: LeaseTimeToLiveResponse = lease.time_to_live(0x77, with_keys()).await.unwrap();
    let mut keys = asked.keys().to_vec();
    keys.sort();
    assert_eq!(keys, [&b"app/a"[..], b"app/b", b"other"]);
    let mut below: LeaseClientPrefix = LeaseClientPrefix::new(lease.clone(), b"app/".to_vec());
    let asked: LeaseTimeToLiveResponse = below.time_to_live(0x77, with_keys()).await.unwrap();
    let mut keys = asked.keys().to_vec();
    keys.sort();
    assert_eq!(keys[..2], [b"a", b"b"]);

    let mut all: LeaseLeasesResponse = client.leases().await.unwrap();
    let id = |status: &LeaseStatus| status.id();
    let mut ids: Vec<i64> = all.leases().iter().map(id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0x77, drawn.id()]);
    assert_header(&header!(all), 4);

    let mut revoked: LeaseRevokeResponse = client.lease_revoke(0x77).await.unwrap();
    assert_header(&header!(revoked), 5);
    let got: GetResponse = client.get("app/a", None).await.unwrap();
    assert_eq!(got.count(), 0, "the keys end with the lease");
    let mut revoked: LeaseRevokeResponse = lease.revoke(drawn.id()).await.unwrap();
    assert_header(&header!(revoked), 5);
    let all: LeaseLeasesResponse = lease.leases().await.unwrap();
    assert!(all.leases().is_empty());
    assert_eq!(
        refused(lease.revoke(0x77).await),
        (
            Code::NotFound,
            "etcdserver: requested lease not found".to_owned()
        )
    );
    let asked: LeaseTimeToLiveResponse = lease.time_to_live(0x77, None).await.unwrap();
    assert_eq!(
        (asked.id(), asked.ttl(), asked.granted_ttl()),
        (0x77, -1, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_lives_while_it_is_kept_alive() {
    let (_members, mut client): (Vec<Member>, Client) = one(&[]).await;
    let options = LeaseGrantOptions::new().with_id(5);
    let granted: LeaseGrantResponse = client.lease_grant(3, Some(options)).await.unwrap();
    let ttl = granted.ttl();
    let options = PutOptions::new().with_lease(5);
    client.put("a", "1", Some(options)).await.unwrap();

    let (mut keeper, mut stream): (LeaseKeeper, LeaseKeepAliveStream) =
        client.lease_keep_alive(5).await.unwrap();
    assert_eq!(keeper.id(), 5);
    // For longer than it would last by itself.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        keeper.keep_alive().await.unwrap();
        let mut kept: LeaseKeepAliveResponse = soon(stream.message()).await.unwrap().unwrap();
        assert_eq!((kept.id(), kept.ttl()), (5, ttl));
        assert_header(&header!(kept), 2);
    }
    let got: GetResponse = client.get("a", None).await.unwrap();
    assert_eq!(got.count(), 1, "it was kept alive");

    let begin = std::time::Instant::now();
    loop {
        let got: GetResponse = client.get("a", None).await.unwrap();
        if got.count() == 0 {
            break;
        }
        assert!(begin.elapsed() < SOON, "the lease does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    keeper.keep_alive().await.unwrap();
    let gone: LeaseKeepAliveResponse = soon(stream.next()).await.unwrap().unwrap();
    assert_eq!((gone.id(), gone.ttl()), (5, 0));
    let mut lease: LeaseClient = client.lease_client();
    let unknown = lease.keep_alive(5).await;
    assert!(
        matches!(&unknown, Err(Error::LeaseKeepAliveError(reason)) if reason == "lease not found"),
        "{unknown:?}"
    );
}
