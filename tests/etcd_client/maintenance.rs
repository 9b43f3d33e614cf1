//! One member looked after: its status, alarms, hashes, snapshot, defragmentation, downgrade.

use etcd_client::{
    AlarmAction, AlarmMember, AlarmOptions, AlarmResponse, AlarmType, Client, DefragmentResponse,
    DowngradeInfo, DowngradeOptions, HashKvResponse, HashResponse, MaintenanceClient,
    ResponseHeader, SnapshotResponse, SnapshotStreaming, StatusResponse,
};
use tonic::Code;

use crate::process::Member;
use crate::{assert_header, one, refused, since_3_6, soon};

#[tokio::test(flavor = "multi_thread")]
async fn status() {
    let (_members, mut client): (Vec<Member>, Client) =
        one(&["--quota-backend-bytes=1073741824"]).await;
    client.put("a", "1", None).await.unwrap();
    // The store is committed, and its size told, within moments.
    let mut status: StatusResponse = soon(async {
        loop {
            let status: StatusResponse = client.status().await.unwrap();
            if status.raft_used_db_size() > 0 {
                return status;
            }
        }
    })
    .await;
    assert!(status.version().starts_with("3."), "{}", status.version());
    assert!(status.db_size() > 0);
    assert!(status.raft_used_db_size() <= status.db_size());
    assert!(status.raft_index() > 0 && status.raft_term() > 0);
    assert!(status.raft_applied_index() > 0 && status.raft_applied_index() <= status.raft_index());
    assert!(status.errors().is_empty() && !status.is_learner());
    if since_3_6() {
        assert_eq!(status.storage_version(), "3.6.0");
        assert_eq!(status.db_size_quota(), 1 << 30);
        let downgrade: &DowngradeInfo = status.downgrade_info().unwrap();
        assert_eq!(
            (downgrade.enabled(), downgrade.target_version()),
            (false, "")
        );
    }
    let leader = status.leader();
    let header: ResponseHeader = header!(status);
    assert_header(&header, 2);
    assert_eq!(header.member_id(), leader);
    let mut maintenance: MaintenanceClient = client.maintenance_client();
    let again: StatusResponse = maintenance.status().await.unwrap();
    assert_eq!(again.leader(), leader);
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms() {
    let (_members, mut client): (Vec<Member>, Client) = one(&[]).await;
    let member = client.status().await.unwrap().leader();
    let mut none: AlarmResponse = client
        .alarm(AlarmAction::Get, AlarmType::None, None)
        .await
        .unwrap();
    assert!(none.alarms().is_empty());
    assert_header(&header!(none), 1);

    let mut maintenance: MaintenanceClient = client.maintenance_client();
    let mut options: AlarmOptions = AlarmOptions::new();
    options.with_member(member);
    let nospace = AlarmType::Nospace;
    let raised: AlarmResponse = maintenance
        .alarm(AlarmAction::Activate, nospace, Some(options.clone()))
        .await
        .unwrap();
    let alarm: &AlarmMember = &raised.alarms()[0];
    assert_eq!((alarm.member_id(), alarm.alarm()), (member, nospace));
    assert_eq!(
        refused(client.put("a", "1", None).await),
        (
            Code::ResourceExhausted,
            "etcdserver: mvcc: database space exceeded".to_owned()
        )
    );
    client.get("a", None).await.unwrap();
    let status: StatusResponse = client.status().await.unwrap();
    assert_eq!(status.errors().len(), 1, "{:?}", status.errors());
    let lifted: AlarmResponse = client
        .alarm(AlarmAction::Deactivate, nospace, Some(options))
        .await
        .unwrap();
    assert_eq!(lifted.alarms().len(), 1);
    client.put("a", "1", None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_defragmentation_and_downgrade() {
    let (_members, mut client): (Vec<Member>, Client) = one(&[]).await;
    for value in ["1", "2", "3"] {
        client.put("a", value, None).await.unwrap();
    }
    let mut hash: HashResponse = client.hash().await.unwrap();
    assert_ne!(hash.hash(), 0);
    assert_eq!(header!(hash).revision(), 4);
    let mut maintenance: MaintenanceClient = client.maintenance_client();
    maintenance.hash().await.unwrap();

    let mut before: HashKvResponse = client.hash_kv(3).await.unwrap();
    let mut after: HashKvResponse = maintenance.hash_kv(0).await.unwrap();
    assert_ne!(before.hash(), after.hash());
    assert_eq!(
        (before.compact_version(), after.compact_version()),
        (-1, -1)
    );
    if since_3_6() {
        assert_eq!((before.hash_revision(), after.hash_revision()), (3, 4));
    }
    assert_eq!(header!(before).revision(), 4);
    assert_eq!(header!(after).revision(), 4);
    client.compact(3, None).await.unwrap();
    let compacted: HashKvResponse = client.hash_kv(0).await.unwrap();
    assert_eq!(compacted.compact_version(), 3);
    let refusal = refused(client.hash_kv(99).await);
    assert_eq!(
        refusal.1,
        "etcdserver: mvcc: required revision is a future revision"
    );

    let mut done: DefragmentResponse = client.defragment().await.unwrap();
    // etcd leaves this header empty.
    let _: Option<&ResponseHeader> = done.header();
    let _: Option<ResponseHeader> = done.take_header();
    maintenance.defragment().await.unwrap();
    client.get("a", None).await.unwrap();

    // Every target is refused: there is no older vetcd. etcd refuses its own version.
    for own in ["3.5.0", "3.6.0"] {
        let validate = DowngradeOptions::Validate(own.to_owned());
        let refusal = refused(maintenance.downgrade(validate).await);
        assert_eq!(refusal.1, "etcdserver: invalid downgrade target version");
    }
    let enable = DowngradeOptions::Enable("three".to_owned());
    let refusal = refused(maintenance.downgrade(enable).await);
    assert_eq!(
        refusal.1,
        "etcdserver: wrong downgrade target version format"
    );
    let refusal = refused(maintenance.downgrade(DowngradeOptions::Cancel).await);
    assert_eq!(refusal.1, "etcdserver: no inflight downgrade job");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot() {
    let (_members, mut client): (Vec<Member>, Client) = one(&[]).await;
    client.put("a", vec![b'x'; 100_000], None).await.unwrap();
    let mut stream: SnapshotStreaming = client.snapshot().await.unwrap();
    let (mut bytes, mut remaining) = (0, u64::MAX);
    while let Some(mut part) = soon(stream.message()).await.unwrap() {
        bytes += take_part(&mut part, &mut remaining);
    }
    assert_eq!(remaining, 0);
    assert!(bytes > 100_000, "{bytes}");
    let mut maintenance: MaintenanceClient = client.maintenance_client();
    let mut stream: SnapshotStreaming = maintenance.snapshot().await.unwrap();
    let mut first = soon(stream.message()).await.unwrap().unwrap();
    assert!(take_part(&mut first, &mut u64::MAX.clone()) > 0);
}

/// The bytes of one part; what remains after it must become less.
fn take_part(part: &mut SnapshotResponse, remaining: &mut u64) -> u64 {
    assert!(part.remaining_bytes() <= *remaining);
    *remaining = part.remaining_bytes();
    if since_3_6() {
        assert_eq!(part.version(), "3.6.0");
    }
    // etcd leaves this header out.
    assert!(part.header().is_none());
    assert!(part.take_header().is_none());
    part.blob().len() as u64
}
