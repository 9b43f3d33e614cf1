//! Unmodified `etcdctl` against members that run as processes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/process.rs"]
mod process;

use process::{Etcdctl, cluster};

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_put_read_and_deleted() {
    let members = cluster(1, &[]).await;
    let Some(ctl) = Etcdctl::find(&[&members[0].place]) else {
        return;
    };
    assert_eq!(ctl.ok(&["put", "a/1", "one"]), "OK");
    assert_eq!(ctl.ok(&["put", "a/2", "two"]), "OK");
    assert_eq!(ctl.ok(&["put", "a/1", "uno", "--prev-kv"]), "OK\na/1\none");
    assert_eq!(ctl.ok(&["get", "a/1"]), "a/1\nuno");
    assert_eq!(ctl.ok(&["get", "a/1", "--rev=2"]), "a/1\none");
    assert_eq!(
        ctl.ok(&["get", "--prefix", "a/", "--print-value-only"]),
        "uno\ntwo"
    );
    assert_eq!(
        ctl.ok(&[
            "get",
            "--prefix",
            "a/",
            "--order=DESCEND",
            "--limit=1",
            "--keys-only"
        ]),
        "a/2"
    );
    assert_eq!(ctl.ok(&["get", "a/1", "--consistency=s"]), "a/1\nuno");
    assert_eq!(ctl.ok(&["del", "--prefix", "a/"]), "2");
    assert_eq!(ctl.ok(&["get", "--prefix", "a/"]), "");
    assert_eq!(ctl.ok(&["del", "nothing"]), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_compacted() {
    let members = cluster(1, &[]).await;
    let Some(ctl) = Etcdctl::find(&[&members[0].place]) else {
        return;
    };
    for value in ["1", "2", "3"] {
        ctl.ok(&["put", "k", value]);
    }
    assert_eq!(ctl.ok(&["compaction", "3"]), "compacted revision 3");
    assert_eq!(ctl.ok(&["get", "k", "--rev=3"]), "k\n2");
    let error = ctl.fails(&["get", "k", "--rev=2"]);
    assert!(
        error.contains("mvcc: required revision has been compacted"),
        "{error}"
    );
    let error = ctl.fails(&["get", "k", "--rev=9"]);
    assert!(
        error.contains("mvcc: required revision is a future revision"),
        "{error}"
    );
    let error = ctl.fails(&["compaction", "3"]);
    assert!(
        error.contains("mvcc: required revision has been compacted"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_list_themselves_and_are_healthy() {
    let members = cluster(3, &[]).await;
    let places: Vec<_> = members.iter().map(|member| &member.place).collect();
    let Some(ctl) = Etcdctl::find(&places) else {
        return;
    };
    let list = ctl.ok(&["member", "list"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    for place in places {
        let line = list.lines().find(|line| line.contains(&place.peer_url()));
        let line = line.unwrap_or_else(|| panic!("{} is missing: {list}", place.name));
        assert!(line.contains(", started, "), "{line}");
        assert!(line.contains(&place.client_url()), "{line}");
    }
    let health = ctl.run(&["endpoint", "health"]);
    assert!(health.success, "{health:?}");
    let status = ctl.ok(&["endpoint", "status"]);
    assert_eq!(status.lines().count(), 3, "{status}");
    let leaders = status
        .lines()
        .filter(|line| line.split(", ").nth(4) == Some("true"));
    assert_eq!(leaders.count(), 1, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_and_restart() {
    let mut members = cluster(1, &[]).await;
    let Some(ctl) = Etcdctl::find(&[&members[0].place]) else {
        return;
    };
    ctl.ok(&["put", "k", "v"]);
    members[0].kill();
    members[0].start();
    members[0].wait_until_ready().await;
    assert_eq!(ctl.ok(&["get", "k"]), "k\nv");
}
