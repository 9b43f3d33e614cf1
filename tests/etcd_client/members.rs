//! Three members: who they are, who leads, who joins, who leaves; and a client of several of them.

use std::time::{Duration, Instant};

use etcd_client::{
    Client, ClusterClient, ConnectOptions, GetOptions, MaintenanceClient, Member, MemberAddOptions,
    MemberAddResponse, MemberListResponse, MemberPromoteResponse, MemberRemoveResponse,
    MemberUpdateResponse, MoveLeaderResponse, ResponseHeader, StatusResponse,
};
use tonic::Code;

use crate::process::{self, Place, cluster, places};
use crate::{SOON, refused};

/// Asks again until `done` says so.
async fn until<T, F: Future<Output = T>>(mut ask: impl FnMut() -> F, done: impl Fn(&T) -> bool) -> T
where
    T: std::fmt::Debug,
{
    let begin = Instant::now();
    loop {
        let answer = ask().await;
        if done(&answer) {
            return answer;
        }
        assert!(begin.elapsed() < SOON, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn connect(member: &process::Member) -> Client {
    let client = Client::connect([member.place.client_url()], None).await;
    client.unwrap()
}

/// The index of the member that leads, once all agree on it.
async fn leader(members: &[process::Member]) -> (usize, u64) {
    let ask = || async {
        let mut led = Vec::new();
        for member in members {
            let mut client: Client = connect(member).await;
            let status: StatusResponse = client.status().await.ok()?;
            led.push((status.header()?.member_id(), status.leader()));
        }
        let leader = led[0].1;
        let agreed = led.iter().all(|(_, other)| *other == leader);
        let index = led.iter().position(|(id, _)| *id == leader)?;
        agreed.then_some((index, leader))
    };
    until(ask, Option::is_some).await.unwrap()
}

async fn listed(client: &mut Client) -> Vec<(u64, String)> {
    let list: MemberListResponse = client.member_list().await.unwrap();
    let pair = |entry: &Member| (entry.id(), entry.name().to_owned());
    list.members().iter().map(pair).collect()
}

/// The header says who answered; a change of members has no revision.
fn assert_answered(header: &ResponseHeader) {
    assert_ne!(header.cluster_id(), 0);
    assert_ne!(header.member_id(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go() {
    let mut members = cluster(3, &["--strict-reconfig-check=false"]).await;
    let mut client: Client = connect(&members[0]).await;
    for member in &members {
        // Each publishes its client URLs soon after it serves.
        let place = member.place.clone();
        let ask = || async {
            let mut client: Client = connect(member).await;
            client.member_list().await.unwrap()
        };
        let mut list: MemberListResponse = until(ask, |list: &MemberListResponse| {
            list.members()
                .iter()
                .all(|entry: &Member| !entry.client_urls().is_empty())
        })
        .await;
        assert_answered(&header!(list));
        let found = list
            .members()
            .iter()
            .find(|entry: &&Member| entry.name() == place.name);
        let entry: &Member = found.unwrap();
        assert_eq!(entry.peer_urls(), [place.peer_url()]);
        assert_eq!(entry.client_urls(), [place.client_url()]);
        assert!(!entry.is_learner() && entry.id() != 0);
    }
    move_the_leader(&members).await;

    // A fourth joins as a learner and is promoted when it has caught up.
    let new = places(1).remove(0);
    let options = MemberAddOptions::new().with_is_learner();
    let peers = [new.peer_address.clone()];
    let mut added: MemberAddResponse = client.member_add(peers, Some(options)).await.unwrap();
    let entry: &Member = added.member().unwrap();
    let id = entry.id();
    assert!(entry.is_learner() && entry.name().is_empty());
    assert_eq!(entry.peer_urls(), [new.peer_url()]);
    assert_eq!(added.member_list().len(), 4);
    assert_answered(&header!(added));
    let mut cluster_client: ClusterClient = client.cluster_client();
    assert_eq!(
        refused(cluster_client.member_promote(id).await),
        (
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member which is in sync with leader".to_owned()
        )
    );
    members.push(join(&new, &members));
    let ask = || {
        let mut client: Client = client.clone();
        async move { client.member_promote(id).await }
    };
    let promoted = until(ask, Result::is_ok).await;
    let mut promoted: MemberPromoteResponse = promoted.unwrap();
    let voters = promoted
        .members()
        .iter()
        .filter(|entry: &&Member| !entry.is_learner());
    assert_eq!(voters.count(), 4);
    assert_answered(&header!(promoted));
    assert_eq!(
        refused(client.member_promote(id).await),
        (
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member".to_owned()
        )
    );
    members[3].wait_until_ready().await;

    // It moves, on paper at least, and is then removed.
    let elsewhere = "http://127.0.0.1:1".to_owned();
    let mut updated: MemberUpdateResponse =
        client.member_update(id, [elsewhere.clone()]).await.unwrap();
    let moved = updated
        .members()
        .iter()
        .find(|entry: &&Member| entry.id() == id);
    let entry: &Member = moved.unwrap();
    assert_eq!(entry.peer_urls(), std::slice::from_ref(&elsewhere));
    assert_answered(&header!(updated));
    cluster_client
        .member_update(id, [new.peer_url()])
        .await
        .unwrap();
    let mut removed: MemberRemoveResponse = client.member_remove(id).await.unwrap();
    assert_eq!(removed.members().len(), 3);
    assert_answered(&header!(removed));
    let gone = (Code::NotFound, "etcdserver: member not found".to_owned());
    assert_eq!(refused(cluster_client.member_remove(id).await), gone);
    assert_eq!(refused(client.member_update(id, [elsewhere]).await), gone);
    // etcd 3.5.1's followers pass this on again and again until its time is over.
    let (index, _) = leader(&members[..3]).await;
    let mut leading: Client = connect(&members[index]).await;
    assert_eq!(refused(leading.member_promote(id).await), gone);
    let list: MemberListResponse = cluster_client.member_list().await.unwrap();
    assert_eq!(list.members().len(), 3);
    let another = places(1).remove(0);
    let added: MemberAddResponse = cluster_client
        .member_add([another.peer_url()], None)
        .await
        .unwrap();
    let entry: &Member = added.member().unwrap();
    assert!(!entry.is_learner());
    cluster_client.member_remove(entry.id()).await.unwrap();

    several_endpoints(&members[..3]).await;
    without_a_leader(&mut members).await;
}

/// A member that joins the cluster that `members` are.
fn join(place: &Place, members: &[process::Member]) -> process::Member {
    let mut all: Vec<Place> = members.iter().map(|member| member.place.clone()).collect();
    let mut place = place.clone();
    place.name = "m4".to_owned();
    all.push(place.clone());
    let mut member = process::Member::new(&place, &all, &["--initial-cluster-state=existing"]);
    member.start();
    member
}

async fn move_the_leader(members: &[process::Member]) {
    let (index, id) = leader(members).await;
    let mut client: Client = connect(&members[index]).await;
    let ids = listed(&mut client).await;
    let target = ids.iter().find(|(other, _)| *other != id).unwrap().0;
    let mut moved: MoveLeaderResponse = client.move_leader(target).await.unwrap();
    assert!(moved.header().is_none(), "etcd leaves it out");
    assert!(moved.take_header().is_none());
    let (index, now) = leader(members).await;
    assert_eq!(now, target);
    let other = &members[(index + 1) % members.len()];
    let mut maintenance: MaintenanceClient = connect(other).await.maintenance_client();
    assert_eq!(
        refused(maintenance.move_leader(id).await),
        (
            Code::FailedPrecondition,
            "etcdserver: not leader".to_owned()
        )
    );
    let mut maintenance: MaintenanceClient = connect(&members[index]).await.maintenance_client();
    let refusal = refused(maintenance.move_leader(404).await);
    assert_eq!(refusal.1, "etcdserver: bad leader transferee");
}

/// Who answers a client: any of the endpoints that it has at the time.
async fn several_endpoints(members: &[process::Member]) {
    let urls: Vec<String> = members
        .iter()
        .map(|member| member.place.client_url())
        .collect();
    let mut client: Client = Client::connect([&urls[0]], None).await.unwrap();
    let ids: Vec<u64> = {
        let mut ids = Vec::new();
        for member in members {
            let mut client: Client = connect(member).await;
            let status: StatusResponse = client.status().await.unwrap();
            ids.push(status.header().unwrap().member_id());
        }
        ids
    };
    assert_eq!(answering(&mut client, 10).await, [ids[0]]);
    client.add_endpoint(&urls[1]).await.unwrap();
    client.remove_endpoint(&urls[0]).await.unwrap();
    let ask = || {
        let mut client: Client = client.clone();
        async move { answering(&mut client, 5).await }
    };
    until(ask, |answering| *answering == [ids[1]]).await;
    // All at once, and one of them is not there.
    let mut all: Client = Client::connect(&urls, None).await.unwrap();
    all.add_endpoint("http://127.0.0.1:1").await.unwrap();
    all.remove_endpoint("http://127.0.0.1:1").await.unwrap();
    let answering = answering(&mut all, 60).await;
    assert!(answering.iter().all(|id| ids.contains(id)), "{answering:?}");
    assert!(
        answering.len() > 1,
        "the requests are spread: {answering:?}"
    );
}

/// The IDs of those who answer `count` requests, each once, in order.
async fn answering(client: &mut Client, count: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let got = client.get("k", None).await.unwrap();
        ids.push(got.header().unwrap().member_id());
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// A member that is alone with two others dead knows of no leader, and says so to who asks for one.
async fn without_a_leader(members: &mut [process::Member]) {
    members[1].kill();
    members[2].kill();
    let urls = [members[0].place.client_url()];
    let options = ConnectOptions::new().with_require_leader(true);
    let strict: Client = Client::connect(&urls, Some(options)).await.unwrap();
    let serializable = || Some(GetOptions::new().with_serializable());
    let ask = || {
        let mut strict: Client = strict.clone();
        async move { strict.get("k", serializable()).await }
    };
    let answer = until(ask, Result::is_err).await;
    assert_eq!(
        refused(answer),
        (Code::Unavailable, "etcdserver: no leader".to_owned())
    );
    let mut lenient: Client = connect(&members[0]).await;
    lenient.get("k", serializable()).await.unwrap();
    // A client's own patience ends before the server's.
    let options = ConnectOptions::new().with_timeout(Duration::from_millis(300));
    let mut hasty: Client = Client::connect(&urls, Some(options)).await.unwrap();
    let begin = Instant::now();
    let refusal = refused(hasty.put("k", "1", None).await);
    assert!(
        matches!(
            refusal.0,
            Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable
        ),
        "{refusal:?}"
    );
    assert!(begin.elapsed() < Duration::from_secs(5));
}
