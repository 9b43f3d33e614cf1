//! Unmodified `etcdctl` changes the members and looks after the store, of vetcd and of the real etcd;
//! what it prints is the same but for IDs, addresses, sizes and versions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

#[path = "support/process.rs"]
mod process;

use std::path::Path;
use std::time::{Duration, Instant};

use process::{Etcdctl, Member, Place, client, places};
use vetcd::api::proto::etcdserverpb as pb;

/// How long something may take that has to happen by itself.
const SOON: Duration = Duration::from_secs(30);

/// One telling of a story: a cluster, and what `etcdctl` printed, made comparable.
struct Story {
    places: Vec<Place>,
    members: Vec<Member>,
    transcript: Vec<String>,
}

impl Story {
    async fn begin(server: Option<&Path>, flags: &[&str]) -> Story {
        let places = places(3);
        let mut story = Story {
            places,
            members: Vec::new(),
            transcript: Vec::new(),
        };
        story.start(server, 1, flags).await;
        story
    }

    /// Starts member `number`, the first as a new cluster, others as the cluster knows them.
    async fn start(&mut self, server: Option<&Path>, number: usize, flags: &[&str]) {
        let mut flags = flags.to_vec();
        if number > 1 {
            flags.push("--initial-cluster-state=existing");
        }
        let all = &self.places[..number];
        let mut member = Member::new(&all[number - 1], all, &flags);
        if let Some(server) = server {
            member = member.with_program(server);
        }
        member.start();
        self.members.push(member);
        let place = self.places[number - 1].clone();
        let begin = Instant::now();
        while client(&[&place])
            .status()
            .await
            .map_or(true, |s| s.leader == 0)
        {
            assert!(begin.elapsed() < SOON, "{} does not start", place.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn ctl(&self, number: usize) -> Etcdctl {
        Etcdctl::find(&[&self.places[number - 1]]).unwrap()
    }

    /// The ID of member `number` as `etcdctl` writes it.
    fn id(&self, number: usize) -> String {
        let list = self.ctl(1).ok(&["member", "list"]);
        let url = self.places[number - 1].peer_url();
        let line = list.lines().find(|line| line.contains(&url)).unwrap();
        line.split(',').next().unwrap().to_owned()
    }

    /// Runs a command at member `number` and writes down what it printed.
    fn say(&mut self, number: usize, arguments: &[&str]) {
        let printed = self.ctl(number).run(arguments);
        let mut lines: Vec<String> = printed
            .stdout
            .lines()
            .chain(printed.stderr.lines())
            .filter(|line| !line.is_empty() && !line.starts_with('{'))
            .map(|line| self.comparable(line))
            .collect();
        lines.sort();
        let command: Vec<_> = arguments.iter().map(|word| self.comparable(word)).collect();
        self.transcript
            .push(format!("{number}$ {}", command.join(" ")));
        self.transcript.extend(lines);
    }

    /// Runs a command until it succeeds, then writes it down: what it needs takes its time. A removal
    /// whose answer came too late has succeeded when the member is not found.
    fn say_once_it_works(&mut self, number: usize, arguments: &[&str]) {
        let begin = Instant::now();
        let is_removal = arguments.starts_with(&["member", "remove"]);
        for attempt in 1.. {
            let printed = self.ctl(number).run(arguments);
            let gone = is_removal && printed.stderr.contains("member not found");
            if printed.success || (gone && attempt > 1) {
                break;
            }
            let error = printed.stderr;
            assert!(begin.elapsed() < SOON, "{arguments:?}: {error}");
            std::thread::sleep(Duration::from_millis(100));
        }
        let command: Vec<_> = arguments.iter().map(|word| self.comparable(word)).collect();
        self.transcript
            .push(format!("{number}$ {} works", command.join(" ")));
    }

    fn comparable(&self, line: &str) -> String {
        // A drawn ID may begin with a zero, which etcdctl shows as a blank. And a member that is
        // added twice within a second gets the same ID twice: either refusal is right then.
        let mut line = line
            .replace("to cluster  ", "to cluster ")
            .replace("in cluster  ", "in cluster ")
            .replace("Member  ", "Member ")
            .replace("member ID already exist", "Peer URLs already exists");
        for place in &self.places {
            line = line.replace(&place.client_url(), &format!("CLIENT-{}", place.name));
            line = line.replace(&place.peer_url(), &format!("PEER-{}", place.name));
        }
        let words = line.split_inclusive([' ', ',', ':', '=']).map(|word| {
            let bare = word.trim_end_matches([' ', ',', ':', '=']);
            let rest = &word[bare.len()..];
            let hex = bare.len() >= 13 && bare.bytes().all(|b| b.is_ascii_hexdigit());
            match hex {
                true => format!("ID{rest}"),
                false => word.to_owned(),
            }
        });
        let line: String = words.collect();
        if let Some(members) = line.strip_prefix("ETCD_INITIAL_CLUSTER=\"") {
            let mut members: Vec<&str> = members.trim_end_matches('"').split(',').collect();
            members.sort_unstable();
            return format!("ETCD_INITIAL_CLUSTER={}", members.join(","));
        }
        // Of a status: not the version, the size, the term and the indexes.
        let fields: Vec<&str> = line.split(", ").collect();
        match fields.len() {
            10 => [&fields[..2], &fields[4..6], &fields[9..]]
                .concat()
                .join(", "),
            _ => line,
        }
    }
}

async fn membership(server: Option<&Path>) -> Vec<String> {
    let mut story = Story::begin(server, &[]).await;
    let peer: Vec<String> = story.places.iter().map(Place::peer_url).collect();
    let at = |number: usize| format!("--peer-urls={}", peer[number - 1]);
    story.say(1, &["member", "list"]);
    story.say(1, &["member", "add", "m2", &at(2), "--learner"]);
    story.say(1, &["member", "list"]);
    story.say(1, &["member", "add", "m3", &at(3), "--learner"]);
    story.say(1, &["member", "add", "m3", &at(2)]);
    story.say(1, &["member", "add", "m3", "--peer-urls=nonsense"]);
    let second = story.id(2);
    story.say(1, &["member", "promote", &second]);
    story.say(1, &["member", "promote", "1234"]);
    story.say(1, &["put", "a", "b"]);
    story.start(server, 2, &[]).await;
    story.say_once_it_works(2, &["get", "a", "--consistency=s"]);
    story.say(2, &["get", "a", "--consistency=s"]);
    story.say(1, &["endpoint", "status", "--cluster"]);
    story.say_once_it_works(1, &["member", "promote", &second]);
    story.say(1, &["member", "promote", &second]);
    story.say(1, &["member", "list", "--consistency=s"]);
    story.say_once_it_works(1, &["member", "add", "m3", &at(3)]);
    story.start(server, 3, &[]).await;
    story.say_once_it_works(3, &["get", "a"]);
    story.say(1, &["member", "list"]);
    story.say(1, &["member", "update", &second, &at(1)]);
    story.say(1, &["member", "update", "1234", &at(2)]);
    story.say(1, &["member", "update", &second, &at(2)]);
    story.say(1, &["move-leader", "1234"]);
    story.say(2, &["move-leader", &second]);
    story.say(1, &["move-leader", &second]);
    story.say(2, &["endpoint", "status"]);
    story.say(1, &["endpoint", "hashkv", "--cluster"]);
    story.say(1, &["defrag"]);
    story.say(1, &["defrag", "--cluster"]);
    story.say(1, &["alarm", "list"]);
    story.say(1, &["alarm", "disarm"]);
    story.say(1, &["downgrade", "validate", "nonsense"]);
    story.say(1, &["downgrade", "validate", "3.7"]);
    story.say(1, &["downgrade", "enable", "2.3"]);
    story.say(1, &["downgrade", "cancel"]);
    story.say(1, &["member", "remove", "1234"]);
    story.say_once_it_works(1, &["member", "remove", &second]);
    let status = story.members[1].wait_for_end(SOON);
    story
        .transcript
        .push(format!("m2 ended: {:?}", status.code()));
    // It led: nobody may do so now.
    story.say_once_it_works(1, &["get", "a"]);
    story.say(1, &["member", "remove", &second]);
    story.say_once_it_works(3, &["get", "a"]);
    story.say(1, &["member", "list"]);
    story.say(3, &["get", "a"]);
    // The removed member does not come back, and its ID is not used again.
    story.say_once_it_works(1, &["member", "add", "m2", &at(2), "--learner"]);
    assert_ne!(story.id(2), second);
    story.transcript
}

async fn quota(server: Option<&Path>) -> Vec<String> {
    let mut story = Story::begin(server, &["--quota-backend-bytes=2000000"]).await;
    let value = "v".repeat(100_000);
    let begin = Instant::now();
    loop {
        let printed = story.ctl(1).run(&["put", "big", &value]);
        if !printed.success {
            assert!(
                printed.stderr.contains("mvcc: database space exceeded"),
                "{printed:?}"
            );
            break;
        }
        assert!(begin.elapsed() < SOON, "the quota is never reached");
    }
    story.say(1, &["put", "k", "v"]);
    story.say(1, &["del", "nothing"]);
    story.say(1, &["get", "k"]);
    let listed = story.ctl(1).ok(&["alarm", "list"]);
    assert!(listed.contains("NOSPACE"), "{listed}");
    let status = story.ctl(1).ok(&["endpoint", "status"]);
    assert!(status.contains("alarm:NOSPACE"), "{status}");
    let health = story.ctl(1).run(&["endpoint", "health"]);
    assert!(!health.success, "{health:?}");
    let revision = client(&[&story.places[0]])
        .range(pb::RangeRequest {
            key: bytes::Bytes::from_static(b"k"),
            ..Default::default()
        })
        .await
        .unwrap();
    let revision = revision.header.unwrap().revision.to_string();
    story.ctl(1).ok(&["compaction", "--physical", &revision]);
    story.say(1, &["defrag"]);
    let disarmed = story.ctl(1).ok(&["alarm", "disarm"]);
    assert!(disarmed.contains("alarm:NOSPACE"), "{disarmed}");
    story.say_once_it_works(1, &["put", "k", "v"]);
    story.say(1, &["get", "k"]);
    story.say(1, &["alarm", "list"]);
    story.transcript
}

fn real_etcd() -> Option<std::path::PathBuf> {
    Etcdctl::find(&[])?.beside("etcd")
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_as_with_etcd() {
    let Some(etcd) = real_etcd() else {
        return;
    };
    let (ours, theirs) = tokio::join!(membership(None), membership(Some(&etcd)));
    assert_eq!(ours.join("\n"), theirs.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_is_emptied_as_with_etcd() {
    let Some(etcd) = real_etcd() else {
        return;
    };
    let (ours, theirs) = tokio::join!(quota(None), quota(Some(&etcd)));
    assert_eq!(ours.join("\n"), theirs.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_answers_what_needs_no_quorum() {
    let mut story = Story::begin(None, &[]).await;
    let Some(ctl) = Etcdctl::find(&[&story.places[0]]) else {
        return;
    };
    ctl.ok(&["put", "a", "b"]);
    let url = format!("--peer-urls={}", story.places[1].peer_url());
    ctl.ok(&["member", "add", "m2", &url, "--learner"]);
    story.start(None, 2, &[]).await;
    story.say_once_it_works(2, &["get", "a", "--consistency=s"]);
    let learner = story.ctl(2);
    for refused in [
        &["get", "a"][..],
        &["put", "a", "c"],
        &["member", "list"],
        &["alarm", "list"],
    ] {
        let error = learner.fails(refused);
        assert!(
            error.contains("rpc not supported for learner"),
            "{refused:?}: {error}"
        );
    }
    assert!(learner.ok(&["endpoint", "status"]).contains(", true, "));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_member_makes_a_new_cluster_of_what_is_left() {
    let Some(_) = Etcdctl::find(&[]) else {
        return;
    };
    let mut members = process::cluster(3, &[]).await;
    let all: Vec<Place> = members.iter().map(|member| member.place.clone()).collect();
    let every: Vec<&Place> = all.iter().collect();
    Etcdctl::find(&every).unwrap().ok(&["put", "a", "b"]);
    for member in &mut members {
        member.kill();
    }
    let mut left = members.remove(0).with_flag("--force-new-cluster");
    left.start();
    left.wait_until_ready().await;
    let ctl = Etcdctl::find(&every[..1]).unwrap();
    assert_eq!(ctl.ok(&["get", "a"]), "a\nb");
    assert_eq!(ctl.ok(&["member", "list"]).lines().count(), 1);
    assert_eq!(ctl.ok(&["put", "a", "c"]), "OK");
    // Without the flag it stays what it is now.
    left.kill();
    let mut left = left.without_flag("--force-new-cluster");
    left.start();
    left.wait_until_ready().await;
    assert_eq!(ctl.ok(&["get", "a"]), "a\nc");
    assert_eq!(ctl.ok(&["member", "list"]).lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_that_was_away_is_told_and_does_not_start_again() {
    let Some(_) = Etcdctl::find(&[]) else {
        return;
    };
    let mut members = process::cluster(3, &["--strict-reconfig-check=false"]).await;
    let id = {
        let status = client(&[&members[2].place]).status().await.unwrap();
        format!("{:x}", status.header.unwrap().member_id)
    };
    members[2].kill();
    // It may have led: a request that its successors forward to it is lost.
    members[0].wait_until_ready().await;
    let ctl = Etcdctl::find(&[&members[0].place]).unwrap();
    ctl.ok(&["member", "remove", &id]);
    for _ in 0..2 {
        members[2].start();
        assert_eq!(members[2].wait_for_end(SOON).code(), Some(0));
        let log = members[2].log();
        assert!(
            log.contains("this member was removed from its cluster"),
            "{log}"
        );
    }
}
