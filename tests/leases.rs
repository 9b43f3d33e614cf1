//! Leases, locks and elections on members that run as processes, through the public `etcd-client`
//! crate and the unmodified `etcdctl`. What is expected is what etcd 3.5.1 answers: set
//! `VETCD_BINARY` to an etcd to see it pass there as well.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

#[path = "support/process.rs"]
mod process;

use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, Error, LeaderKey, LeaseGrantOptions, LeaseTimeToLiveOptions,
    LockOptions, ProclaimOptions, PutOptions, ResignOptions, Txn, TxnOp,
};
use process::{Etcdctl, Member, cluster};

async fn connect(members: &[&Member]) -> Client {
    let endpoints: Vec<_> = members.iter().map(|m| m.place.client_url()).collect();
    Client::connect(endpoints, None).await.unwrap()
}

/// The code and text of a refusal.
fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> (i32, String) {
    match result {
        Err(Error::GRpcStatus(status)) => (status.code() as i32, status.message().to_owned()),
        other => panic!("expected a refusal: {other:?}"),
    }
}

async fn renew(client: &mut Client, id: i64) -> i64 {
    let (mut keeper, mut answers) = client.lease_keep_alive(id).await.unwrap();
    keeper.keep_alive().await.unwrap();
    answers.message().await.unwrap().unwrap().ttl()
}

async fn grant(client: &mut Client, id: i64, ttl: i64) -> i64 {
    let options = LeaseGrantOptions::new().with_id(id);
    client.lease_grant(ttl, Some(options)).await.unwrap().id()
}

async fn put(client: &mut Client, key: &str, lease: i64) -> Result<i64, Error> {
    let options = PutOptions::new().with_lease(lease);
    let response = client.put(key, "v", Some(options)).await?;
    Ok(response.header().unwrap().revision())
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_granted_renewed_and_revoked() {
    let members = cluster(1, &[]).await;
    let mut client = connect(&[&members[0]]).await;
    let granted = client.lease_grant(60, None).await.unwrap();
    assert!(granted.id() > 0);
    assert_eq!(granted.ttl(), 60);
    assert_eq!(granted.header().unwrap().revision(), 1);
    // Raised to the minimum, even from below zero; a negative ID is as good as another.
    let options = LeaseGrantOptions::new().with_id(-5);
    let short = client.lease_grant(-3, Some(options.clone())).await.unwrap();
    assert_eq!((short.id(), short.ttl()), (-5, 2));
    let again = client.lease_grant(9, Some(options)).await;
    let exists = (9, "etcdserver: lease already exists".to_owned());
    assert_eq!(refusal(again), exists);
    let too_large = client.lease_grant(9_000_000_001, None).await;
    let expected = (11, "etcdserver: too large lease TTL".to_owned());
    assert_eq!(refusal(too_large), expected);
    let unknown = (5, "etcdserver: requested lease not found".to_owned());
    assert_eq!(refusal(client.lease_revoke(77).await), unknown);
    assert_eq!(refusal(put(&mut client, "k", 77).await), unknown);
    assert_eq!(renew(&mut client, -5).await, 2);
    assert_eq!(renew(&mut client, granted.id()).await, 60);
    let listed = client.leases().await.unwrap();
    let mut ids: Vec<_> = listed.leases().iter().map(|lease| lease.id()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [-5, granted.id()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_and_go_with_their_lease() {
    let members = cluster(1, &[]).await;
    let mut client = connect(&[&members[0]]).await;
    for id in [7, 8] {
        grant(&mut client, id, 60).await;
    }
    for key in ["c", "a", "b"] {
        put(&mut client, key, 7).await.unwrap();
    }
    // Another lease takes a key over; no lease detaches it; a transaction attaches as well.
    put(&mut client, "b", 8).await.unwrap();
    put(&mut client, "d", 7).await.unwrap();
    put(&mut client, "d", 0).await.unwrap();
    let options = PutOptions::new().with_lease(7);
    let txn = Txn::new().and_then([TxnOp::put("e", "v", Some(options))]);
    client.txn(txn).await.unwrap();
    let with_keys = || Some(LeaseTimeToLiveOptions::new().with_keys());
    let times = client.lease_time_to_live(7, with_keys()).await.unwrap();
    assert_eq!(times.granted_ttl(), 60);
    assert!((57..=60).contains(&times.ttl()), "{}", times.ttl());
    let mut keys = times.keys().to_vec();
    keys.sort();
    assert_eq!(keys, [b"a", b"c", b"e"]);
    let times = client.lease_time_to_live(99, with_keys()).await.unwrap();
    assert_eq!(
        (times.ttl(), times.granted_ttl(), times.keys().len()),
        (-1, 0, 0)
    );
    let before = put(&mut client, "f", 0).await.unwrap();
    let revoked = client.lease_revoke(7).await.unwrap();
    assert_eq!(revoked.header().unwrap().revision(), before + 1);
    let left = client.get("", Some(etcd_client::GetOptions::new().with_all_keys()));
    let left = left.await.unwrap();
    let left: Vec<_> = left.kvs().iter().map(|kv| kv.key()).collect();
    assert_eq!(left, [b"b", b"d", b"f"]);
    assert_eq!(renew(&mut client, 8).await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_renews_expires_and_takes_its_keys() {
    let members = cluster(1, &[]).await;
    let mut client = connect(&[&members[0]]).await;
    grant(&mut client, 7, 2).await;
    put(&mut client, "k", 7).await.unwrap();
    while !client.get("k", None).await.unwrap().kvs().is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let times = client.lease_time_to_live(7, None).await.unwrap();
    assert_eq!(times.ttl(), -1);
    assert_eq!(times.header().unwrap().revision(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_renews_and_tells_times() {
    let members = cluster(3, &[]).await;
    let mut first = connect(&[&members[0]]).await;
    grant(&mut first, 7, 60).await;
    put(&mut first, "k", 7).await.unwrap();
    for member in &members {
        let mut client = connect(&[member]).await;
        assert_eq!(renew(&mut client, 7).await, 60);
        let options = LeaseTimeToLiveOptions::new().with_keys();
        let times = client.lease_time_to_live(7, Some(options)).await.unwrap();
        assert_eq!(
            (times.granted_ttl(), times.keys()),
            (60, &[b"k".to_vec()][..])
        );
        let unknown = client.lease_time_to_live(8, None).await.unwrap();
        assert_eq!(unknown.ttl(), -1);
        assert_eq!(client.leases().await.unwrap().leases().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_survive_a_restart() {
    let mut members = cluster(1, &[]).await;
    let mut client = connect(&[&members[0]]).await;
    grant(&mut client, 7, 600).await;
    grant(&mut client, 8, 600).await;
    put(&mut client, "k", 7).await.unwrap();
    client.lease_revoke(8).await.unwrap();
    members[0].kill();
    members[0].start();
    members[0].wait_until_ready().await;
    let mut client = connect(&[&members[0]]).await;
    let options = LeaseTimeToLiveOptions::new().with_keys();
    let times = client.lease_time_to_live(7, Some(options)).await.unwrap();
    assert_eq!(
        (times.granted_ttl(), times.keys()),
        (600, &[b"k".to_vec()][..])
    );
    assert_eq!(client.lease_time_to_live(8, None).await.unwrap().ttl(), -1);
    client.lease_revoke(7).await.unwrap();
    assert!(client.get("k", None).await.unwrap().kvs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_has_one_holder_at_a_time() {
    let members = cluster(1, &[]).await;
    let mut first = connect(&[&members[0]]).await;
    for id in [0x1f, -0x1f] {
        grant(&mut first, id, 60).await;
    }
    let lock = |id| Some(LockOptions::new().with_lease(id));
    let held = first.lock("l", lock(0x1f)).await.unwrap();
    assert_eq!(held.key(), b"l/1f");
    // The same session holds it already.
    assert_eq!(first.lock("l", lock(0x1f)).await.unwrap().key(), b"l/1f");
    let mut second = connect(&[&members[0]]).await;
    let waiting = tokio::spawn(async move { second.lock("l", lock(-0x1f)).await });
    while first.get("l/-1f", None).await.unwrap().kvs().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!waiting.is_finished());
    first.unlock(held.key()).await.unwrap();
    let next = waiting.await.unwrap().unwrap();
    assert_eq!(next.key(), b"l/-1f");
    // The lock's key, if its creation is compared, fences writes of its holder.
    let created = first.get(next.key(), None).await.unwrap().kvs()[0].create_revision();
    let fence = [Compare::create_revision(
        next.key(),
        CompareOp::Equal,
        created,
    )];
    let write = Txn::new()
        .when(fence)
        .and_then([TxnOp::put("x", "v", None)]);
    assert!(first.txn(write).await.unwrap().succeeded());
    let unknown = (2, "etcdserver: requested lease not found".to_owned());
    assert_eq!(refusal(first.lock("l", lock(77)).await), unknown);
    let no_key = (2, "etcdserver: key is not provided".to_owned());
    assert_eq!(refusal(first.unlock("").await), no_key);
    // Without a lease the server makes one.
    let own = first.lock("m", None).await.unwrap();
    let kv = first.get(own.key(), None).await.unwrap().kvs()[0].clone();
    assert_eq!(own.key(), format!("m/{:x}", kv.lease()).as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_lock_beyond_his_lease_is_told_so() {
    let members = cluster(1, &[]).await;
    let mut first = connect(&[&members[0]]).await;
    let held = first.lock("l", None).await.unwrap();
    grant(&mut first, 7, 60).await;
    let mut second = connect(&[&members[0]]).await;
    let options = Some(LockOptions::new().with_lease(7));
    let waiting = tokio::spawn(async move { second.lock("l", options).await });
    while first.get("l/7", None).await.unwrap().kvs().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    first.lease_revoke(7).await.unwrap();
    first.unlock(held.key()).await.unwrap();
    let expired = (2, "mutex: session is expired".to_owned());
    assert_eq!(refusal(waiting.await.unwrap()), expired);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_client_that_goes_away_leaves_the_queue() {
    let members = cluster(1, &[]).await;
    let mut first = connect(&[&members[0]]).await;
    let held = first.lock("l", None).await.unwrap();
    grant(&mut first, 7, 600).await;
    let mut second = connect(&[&members[0]]).await;
    let options = Some(LockOptions::new().with_lease(7));
    let waiting = tokio::spawn(async move { second.lock("l", options).await });
    while first.get("l/7", None).await.unwrap().kvs().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    waiting.abort();
    while !first.get("l/7", None).await.unwrap().kvs().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    first.unlock(held.key()).await.unwrap();
    first.lock("l", None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn elections_are_won_proclaimed_observed_and_given_up() {
    let members = cluster(1, &[]).await;
    let mut first = connect(&[&members[0]]).await;
    let no_leader = (2, "election: no leader".to_owned());
    assert_eq!(refusal(first.leader("e").await), no_leader);
    let missing = (2, "\"leader\" field must be provided".to_owned());
    assert_eq!(refusal(first.resign(None).await), missing);
    for id in [7, 8] {
        grant(&mut first, id, 60).await;
    }
    let mut observed = first.observe("e").await.unwrap();
    let won = first.campaign("e", "one", 7).await.unwrap();
    let leader = won.leader().unwrap().clone();
    assert_eq!((leader.name(), leader.key()), (&b"e"[..], &b"e/7"[..]));
    assert_eq!((leader.rev(), leader.lease()), (2, 7));
    let mut second = connect(&[&members[0]]).await;
    let waiting = tokio::spawn(async move { second.campaign("e", "two", 8).await });
    while first.get("e/8", None).await.unwrap().kvs().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let proclaim = ProclaimOptions::new().with_leader(leader.clone());
    first.proclaim("uno", Some(proclaim)).await.unwrap();
    let now = first.leader("e").await.unwrap();
    let kv = now.kv().unwrap();
    assert_eq!((kv.key(), kv.value()), (&b"e/7"[..], &b"uno"[..]));
    // Proof of something that never was proves nothing.
    let false_proof = leader.clone().with_rev(99);
    let proclaim = ProclaimOptions::new().with_leader(false_proof.clone());
    let not_leader = (2, "election: not leader".to_owned());
    assert_eq!(
        refusal(first.proclaim("x", Some(proclaim)).await),
        not_leader
    );
    first
        .resign(Some(ResignOptions::new().with_leader(false_proof)))
        .await
        .unwrap();
    assert!(!waiting.is_finished());
    first
        .resign(Some(ResignOptions::new().with_leader(leader)))
        .await
        .unwrap();
    let won = waiting.await.unwrap().unwrap();
    assert_eq!(won.leader().unwrap().key(), b"e/8");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let shown = observed.message().await.unwrap().unwrap();
        seen.push(shown.kv().unwrap().value().to_vec());
    }
    assert_eq!(seen, [&b"one"[..], b"uno", b"two"]);
    let unknown = (2, "etcdserver: requested lease not found".to_owned());
    assert_eq!(refusal(first.campaign("e", "x", 77).await), unknown);
    let key = LeaderKey::new()
        .with_name("e")
        .with_key("e/9")
        .with_rev(3)
        .with_lease(9);
    let resigned = first
        .resign(Some(ResignOptions::new().with_leader(key)))
        .await;
    resigned.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_grants_lists_renews_and_revokes() {
    let members = cluster(1, &[]).await;
    let Some(ctl) = Etcdctl::find(&[&members[0].place]) else {
        return;
    };
    let granted = ctl.ok(&["lease", "grant", "100"]);
    let id = granted.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(granted, format!("lease {id} granted with TTL(100s)"));
    let raised = ctl.ok(&["lease", "grant", "0"]);
    assert!(raised.ends_with(" granted with TTL(2s)"), "{raised}");
    ctl.ok(&["put", "a2", "y", "--lease", &id]);
    ctl.ok(&["put", "a1", "x", "--lease", &id]);
    let times = ctl.ok(&["lease", "timetolive", &id, "--keys"]);
    let (head, tail) = times.split_once("remaining(").unwrap();
    assert_eq!(head, format!("lease {id} granted with TTL(100s), "));
    assert!(tail.ends_with("s), attached keys([a1 a2])"), "{times}");
    assert!(ctl.ok(&["lease", "list"]).contains(&id));
    assert_eq!(
        ctl.ok(&["lease", "keep-alive", "--once", &id]),
        format!("lease {id} keepalived with TTL(100)")
    );
    assert_eq!(
        ctl.ok(&["lease", "revoke", &id]),
        format!("lease {id} revoked")
    );
    assert_eq!(ctl.ok(&["get", "--prefix", "a"]), "");
    assert_eq!(
        ctl.ok(&["lease", "timetolive", &id]),
        format!("lease {id} already expired")
    );
    let unknown = "etcdserver: requested lease not found";
    for command in [
        &["lease", "revoke", "77"][..],
        &["lease", "keep-alive", "--once", "77"],
        &["put", "k", "v", "--lease=77"],
    ] {
        assert!(ctl.fails(command).contains(unknown), "{command:?}");
    }
}
