//! Locks and elections.

use etcd_client::{
    CampaignResponse, Client, ElectionClient, GetResponse, KeyValue, LeaderKey, LeaderResponse,
    LeaseGrantOptions, LockClient, LockOptions, LockResponse, ObserveStream, ProclaimOptions,
    ProclaimResponse, ResignOptions, ResignResponse, ResponseHeader, UnlockResponse,
};
use futures::StreamExt;
use tonic::Code;

use crate::process::Member;
use crate::{assert_header, one, refused, soon};

async fn grant(client: &mut Client, id: i64) {
    let options = LeaseGrantOptions::new().with_id(id);
    client.lease_grant(60, Some(options)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn locks() {
    let (_members, mut client): (Vec<Member>, Client) = one(&[]).await;
    grant(&mut client, 0x1a).await;
    grant(&mut client, 0x1b).await;
    let options = LockOptions::new().with_lease(0x1a);
    let mut held: LockResponse = client.lock("l", Some(options)).await.unwrap();
    assert_eq!(held.key(), b"l/1a");
    assert_header(&header!(held), 2);

    let mut lock: LockClient = client.lock_client();
    let waiting = tokio::spawn(async move {
        let options = LockOptions::new().with_lease(0x1b);
        lock.lock("l", Some(options)).await.unwrap()
    });
    // The second waits in line: his key is there, the lock is not his.
    soon(async {
        loop {
            let got: GetResponse = client.get("l/1b", None).await.unwrap();
            if got.count() == 1 {
                break;
            }
        }
    })
    .await;
    assert!(!waiting.is_finished());
    let mut unlocked: UnlockResponse = client.unlock("l/1a").await.unwrap();
    assert_header(&header!(unlocked), 4);
    let held: LockResponse = soon(waiting).await.unwrap();
    assert_eq!(held.key(), b"l/1b");
    let mut lock: LockClient = client.lock_client();
    lock.unlock(held.key()).await.unwrap();
    let got: GetResponse = client.get("l/1b", None).await.unwrap();
    assert_eq!(got.count(), 0);

    // Without a lease of the client's own the server grants one of a minute.
    let held: LockResponse = lock.lock("own", None).await.unwrap();
    let name = String::from_utf8(held.key().to_vec()).unwrap();
    let lease = i64::from_str_radix(name.strip_prefix("own/").unwrap(), 16).unwrap();
    let asked = client.lease_time_to_live(lease, None).await.unwrap();
    assert_eq!(asked.granted_ttl(), 60);
    let options = LockOptions::new().with_lease(0x404);
    assert_eq!(
        refused(lock.lock("x", Some(options)).await).1,
        "etcdserver: requested lease not found"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn elections() {
    let (_members, mut client): (Vec<Member>, Client) = one(&[]).await;
    grant(&mut client, 0x2a).await;
    grant(&mut client, 0x2b).await;
    assert_eq!(
        refused(client.leader("e").await),
        (Code::Unknown, "election: no leader".to_owned())
    );
    let mut campaign: CampaignResponse = client.campaign("e", "ann", 0x2a).await.unwrap();
    let key: &LeaderKey = campaign.leader().unwrap();
    assert_eq!((key.name(), key.name_str().unwrap()), (&b"e"[..], "e"));
    assert_eq!((key.key(), key.key_str().unwrap()), (&b"e/2a"[..], "e/2a"));
    assert_eq!((key.rev(), key.lease()), (2, 0x2a));
    let ann: LeaderKey = campaign.take_leader().unwrap();
    assert!(campaign.leader().is_none(), "it was taken");
    assert_header(&header!(campaign), 2);

    let mut election: ElectionClient = client.election_client();
    let mut observed: ObserveStream = client.observe("e").await.unwrap();
    let mut first: LeaderResponse = soon(observed.message()).await.unwrap().unwrap();
    let value = |response: &LeaderResponse| response.kv().unwrap().value().to_vec();
    assert_eq!(value(&first), b"ann");
    let header: ResponseHeader = header!(first);
    assert_eq!(header.revision(), 2);

    let options = ProclaimOptions::new().with_leader(ann.clone());
    let mut proclaimed: ProclaimResponse = client.proclaim("ann 2", Some(options)).await.unwrap();
    assert_header(&header!(proclaimed), 3);
    let again: LeaderResponse = soon(observed.next()).await.unwrap().unwrap();
    assert_eq!(value(&again), b"ann 2");
    let mut now: LeaderResponse = election.leader("e").await.unwrap();
    let kv: KeyValue = now.take_kv().unwrap();
    assert_eq!((kv.key(), kv.value()), (&b"e/2a"[..], &b"ann 2"[..]));
    assert!(now.kv().is_none(), "it was taken");
    assert_header(&header!(now), 3);

    // Bob waits until Ann resigns; a key made by hand is as good as one that was given.
    let mut bobs: ElectionClient = client.election_client();
    let waiting = tokio::spawn(async move { bobs.campaign("e", "bob", 0x2b).await.unwrap() });
    soon(async {
        loop {
            let got: GetResponse = client.get("e/2b", None).await.unwrap();
            if got.count() == 1 {
                break;
            }
        }
    })
    .await;
    let by_hand: LeaderKey = LeaderKey::new()
        .with_name("e")
        .with_key("e/2a")
        .with_rev(ann.rev())
        .with_lease(ann.lease());
    let options = ResignOptions::new().with_leader(by_hand);
    let mut resigned: ResignResponse = client.resign(Some(options)).await.unwrap();
    assert_header(&header!(resigned), 5);
    let campaign: CampaignResponse = soon(waiting).await.unwrap();
    let bob = campaign.leader().unwrap().clone();
    let next: LeaderResponse = soon(observed.message()).await.unwrap().unwrap();
    assert_eq!(value(&next), b"bob");

    // Who leads no more cannot proclaim.
    let options = ProclaimOptions::new().with_leader(ann);
    let refusal = refused(election.proclaim("x", Some(options)).await);
    assert_eq!(refusal, (Code::Unknown, "election: not leader".to_owned()));
    let mut observed: ObserveStream = election.observe("e").await.unwrap();
    let first: LeaderResponse = soon(observed.message()).await.unwrap().unwrap();
    assert_eq!(value(&first), b"bob");
    let options = ResignOptions::new().with_leader(bob);
    election.resign(Some(options)).await.unwrap();
    assert_eq!(refused(client.leader("e").await).1, "election: no leader");
    let nobody = refused(election.proclaim("x", None).await);
    assert_eq!(nobody.0, Code::Unknown);
    assert_eq!(nobody.1, "\"leader\" field must be provided");
}
