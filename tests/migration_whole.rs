//! A whole store, from etcd to vetcd and back: ten thousand keys with their history, leases, users,
//! roles, permissions and an alarm. After each move everything that a client can ask for is compared:
//! keys, values, revisions, versions and leases at several revisions, the history as a watch tells
//! it, the hash of all records, leases with their keys, who may do what, and the alarms.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

#[path = "support/lone.rs"]
mod lone;
#[path = "support/process.rs"]
mod process;

use std::path::Path;

use etcd_client::{
    AlarmAction, AlarmOptions, AlarmType, Client, CompactionOptions, ConnectOptions, EventType,
    GetOptions, KeyValue, LeaseTimeToLiveOptions, Permission, PutOptions,
    RoleRevokePermissionOptions, Txn, TxnOp, WatchOptions,
};
use lone::{Server, borrowed, json, ok, restore_arguments, vetcdutl_ok};
use process::{Etcdctl, Place, places};
use tempfile::TempDir;

const KEYS: u32 = 10_000;
/// Operations in one transaction; servers take 128.
const AT_ONCE: usize = 100;
const ROOT: (&str, &str) = ("root", "secret");
const LAST: &str = "the last write";
/// A member of the first cluster, for all that the others know.
const ALARMED: u64 = 0x1234_5678_9abc_def0;

async fn connect(place: &Place, user: Option<(&str, &str)>) -> Client {
    let mut options = ConnectOptions::new();
    if let Some((name, password)) = user {
        options = options.with_user(name, password);
    }
    let connected = Client::connect([place.client_url()], Some(options)).await;
    connected.unwrap()
}

/// A key's version, field by field.
type Version = (Vec<u8>, Vec<u8>, i64, i64, i64, i64);

fn version(kv: &KeyValue) -> Version {
    (
        kv.key().to_vec(),
        kv.value().to_vec(),
        kv.create_revision(),
        kv.mod_revision(),
        kv.version(),
        kv.lease(),
    )
}

/// Everything that a client can ask for.
#[derive(Debug, PartialEq)]
struct View {
    revision: i64,
    compacted: i64,
    hash: u32,
    /// All keys at some revisions.
    keys: Vec<(i64, Vec<Version>)>,
    /// Deleted or not, the version, and the one before.
    history: Vec<(bool, Version, Option<Version>)>,
    /// ID, granted time to live, keys.
    leases: Vec<(i64, i64, Vec<Vec<u8>>)>,
    users: Vec<(String, Vec<String>)>,
    roles: Vec<(String, Vec<Permission>)>,
    auth: String,
    alarms: Vec<(u64, i32)>,
}

impl View {
    /// Of the store at `place`, compacted at `compacted`, whose last change is a put of [`LAST`].
    async fn of(place: &Place, ctl: &Etcdctl, compacted: i64) -> View {
        let mut client = connect(place, Some(ROOT)).await;
        let last = client.get(LAST, None).await.unwrap();
        let revision = last.header().unwrap().revision();
        assert_eq!(last.kvs()[0].mod_revision(), revision);
        let hash = client.hash_kv(0).await.unwrap();
        assert_eq!(hash.compact_version(), compacted);
        let mut keys = Vec::new();
        for quarter in 0..=4 {
            let at = compacted + (revision - compacted) * quarter / 4;
            let all = GetOptions::new().with_all_keys().with_revision(at);
            let found = client.get("", Some(all)).await.unwrap();
            keys.push((at, found.kvs().iter().map(version).collect()));
        }
        let before = GetOptions::new().with_revision(compacted - 1);
        let refused = client.get(LAST, Some(before)).await.unwrap_err();
        assert!(refused.to_string().contains("compacted"), "{refused}");
        View {
            revision,
            compacted,
            hash: hash.hash(),
            keys,
            history: history(&mut client, compacted, revision).await,
            leases: leases(&mut client).await,
            users: users(&mut client).await,
            roles: roles(&mut client).await,
            auth: auth_status(ctl),
            alarms: alarms(&mut client).await,
        }
    }
}

async fn history(client: &mut Client, from: i64, to: i64) -> Vec<(bool, Version, Option<Version>)> {
    let options = WatchOptions::new().with_all_keys().with_prev_key();
    let options = options.with_start_revision(from);
    let mut watch = client.watch("", Some(options)).await.unwrap();
    let mut history = Vec::new();
    while history
        .last()
        .is_none_or(|(_, last, _): &(_, Version, _)| last.3 < to)
    {
        let response = watch.message().await.unwrap().unwrap();
        assert!(!response.canceled(), "{}", response.cancel_reason());
        for event in response.events() {
            let deleted = event.event_type() == EventType::Delete;
            let before = event.prev_kv().map(version);
            history.push((deleted, version(event.kv().unwrap()), before));
        }
    }
    history
}

async fn leases(client: &mut Client) -> Vec<(i64, i64, Vec<Vec<u8>>)> {
    let mut leases = Vec::new();
    for lease in client.leases().await.unwrap().leases() {
        let options = LeaseTimeToLiveOptions::new().with_keys();
        let times = client.lease_time_to_live(lease.id(), Some(options)).await;
        let times = times.unwrap();
        assert!(
            (1..=times.granted_ttl()).contains(&times.ttl()),
            "{times:?}"
        );
        let mut keys = times.keys().to_vec();
        keys.sort();
        leases.push((lease.id(), times.granted_ttl(), keys));
    }
    leases.sort();
    leases
}

async fn users(client: &mut Client) -> Vec<(String, Vec<String>)> {
    let mut users = Vec::new();
    for name in client.user_list().await.unwrap().users() {
        let user = client.user_get(name.as_str()).await.unwrap();
        users.push((name.clone(), user.roles().to_vec()));
    }
    users.sort();
    users
}

async fn roles(client: &mut Client) -> Vec<(String, Vec<Permission>)> {
    let mut roles = Vec::new();
    for name in client.role_list().await.unwrap().roles() {
        let role = client.role_get(name.as_str()).await.unwrap();
        // The role `root` may do everything, which newer versions say and etcd 3.5.1 does not.
        let shown = match name.as_str() {
            "root" => Vec::new(),
            _ => role.permissions(),
        };
        roles.push((name.clone(), shown));
    }
    roles.sort_by(|a, b| a.0.cmp(&b.0));
    roles
}

fn auth_status(ctl: &Etcdctl) -> String {
    let status = json(&ctl.ok(&["--user=root:secret", "auth", "status", "-w", "json"]));
    format!("{} at {}", status["enabled"], status["authRevision"])
}

async fn alarms(client: &mut Client) -> Vec<(u64, i32)> {
    let none = AlarmType::None;
    let found = client.alarm(AlarmAction::Get, none, None).await.unwrap();
    let alarms = found.alarms().iter();
    alarms.map(|a| (a.member_id(), a.alarm() as i32)).collect()
}

async fn alarm(client: &mut Client, action: AlarmAction) {
    let mut options = AlarmOptions::new();
    options.with_member(ALARMED);
    let done = client
        .alarm(action, AlarmType::Nospace, Some(options))
        .await;
    done.unwrap();
}

/// `operations`, in order, in as many transactions as it takes.
async fn run(client: &mut Client, operations: Vec<TxnOp>) {
    for some in operations.chunks(AT_ONCE) {
        client.txn(Txn::new().and_then(some)).await.unwrap();
    }
}

fn key(number: u32) -> String {
    format!("k/{number:05}")
}

/// Puts every `step`th key from `first` on, with the lease that `lease` says.
fn puts(first: u32, step: usize, round: u32, lease: impl Fn(u32) -> i64) -> Vec<TxnOp> {
    let chosen = (first..KEYS).step_by(step);
    let put = |number: u32| {
        let value = format!("value {round} of {number}");
        let options = PutOptions::new().with_lease(lease(number));
        TxnOp::put(key(number), value, Some(options))
    };
    chosen.map(put).collect()
}

fn deletes(first: u32, step: usize) -> Vec<TxnOp> {
    let chosen = (first..KEYS).step_by(step);
    chosen
        .map(|number| TxnOp::delete(key(number), None))
        .collect()
}

async fn newest(client: &mut Client) -> i64 {
    let answer = client.get("nothing", None).await.unwrap();
    answer.header().unwrap().revision()
}

/// Fills an etcd that nobody has used; returns the revision at which it is compacted.
async fn fill(place: &Place) -> i64 {
    let mut client = connect(place, None).await;
    let mut ids = Vec::new();
    for number in 0..20 {
        let granted = client.lease_grant(3600 + 60 * number, None).await.unwrap();
        ids.push(granted.id());
    }
    // Every 50th key hangs on one of the leases; the last lease stays without keys.
    let lease = |number: u32| match number % 50 {
        7 => ids[number as usize / 50 % 19],
        _ => 0,
    };
    run(&mut client, puts(0, 1, 1, lease)).await;
    run(&mut client, puts(0, 3, 2, lease)).await;
    run(&mut client, deletes(5, 11)).await;
    client
        .put("large", "B".repeat(1 << 20), None)
        .await
        .unwrap();
    client.put("empty", "", None).await.unwrap();
    client
        .put([0xff, 0, 0xfe], [0, 0xff, 0x80], None)
        .await
        .unwrap();
    client
        .put("before the compaction", "1", None)
        .await
        .unwrap();
    let compacted = newest(&mut client).await;
    // What can only be read in the past.
    run(&mut client, puts(0, 7, 3, lease)).await;
    run(&mut client, deletes(3, 13)).await;
    run(&mut client, puts(3, 26, 4, |_| 0)).await;
    client.lease_revoke(ids[4]).await.unwrap();
    let physical = CompactionOptions::new().with_physical();
    client.compact(compacted, Some(physical)).await.unwrap();

    for role in ["root", "reader", "writer", "idle"] {
        client.role_add(role).await.unwrap();
    }
    for (role, permission) in [
        ("reader", Permission::read("k/").with_prefix()),
        ("reader", Permission::read("empty")),
        ("writer", Permission::write("k/1").with_range_end("k/2")),
        ("writer", Permission::read_write("large").with_from_key()),
        ("idle", Permission::read_write("gone")),
    ] {
        client
            .role_grant_permission(role, permission)
            .await
            .unwrap();
    }
    client
        .role_revoke_permission("idle", "gone", None::<RoleRevokePermissionOptions>)
        .await
        .unwrap();
    for (user, password, roles) in [
        (ROOT.0, ROOT.1, &["root"][..]),
        ("ann", "reads", &["reader"]),
        ("bob", "writes", &["reader", "writer"]),
    ] {
        client.user_add(user, password, None).await.unwrap();
        for role in roles {
            client.user_grant_role(user, *role).await.unwrap();
        }
    }
    client.put(LAST, "on etcd", None).await.unwrap();
    client.auth_enable().await.unwrap();
    let mut root = connect(place, Some(ROOT)).await;
    alarm(&mut root, AlarmAction::Activate).await;
    compacted
}

/// A day's work on the store that has moved.
async fn change(place: &Place) {
    let mut client = connect(place, Some(ROOT)).await;
    alarm(&mut client, AlarmAction::Deactivate).await;
    let granted = client.lease_grant(7200, None).await.unwrap();
    let lease = granted.id();
    run(&mut client, puts(1, 500, 5, |_| lease)).await;
    run(&mut client, deletes(2, 17)).await;
    client.user_add("eve", "new", None).await.unwrap();
    client.user_grant_role("eve", "writer").await.unwrap();
    client.user_delete("bob").await.unwrap();
    client.put(LAST, "on vetcd", None).await.unwrap();
    alarm(&mut client, AlarmAction::Activate).await;
}

/// What `user` may and may not do is in force.
async fn ann_reads_and_no_more(place: &Place) {
    let mut ann = connect(place, Some(("ann", "reads"))).await;
    let read = ann.get(key(0), None).await.unwrap();
    assert_eq!(read.kvs().len(), 1);
    let refused = ann.get(LAST, None).await.unwrap_err();
    assert!(
        refused.to_string().contains("permission denied"),
        "{refused}"
    );
    let wrong = ConnectOptions::new().with_user("ann", "guesses");
    assert!(
        Client::connect([place.client_url()], Some(wrong))
            .await
            .is_err()
    );
    let mut root = connect(place, Some(ROOT)).await;
    let refused = root.put("more", "", None).await.unwrap_err();
    assert!(
        refused.to_string().contains("database space exceeded"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_from_etcd_to_vetcd_and_back() {
    let place = &places(1)[0];
    let Some(ctl) = Etcdctl::find(&[place]) else {
        return;
    };
    let (Some(etcd), Some(etcdutl)) = (ctl.beside("etcd"), ctl.beside("etcdutl")) else {
        return;
    };
    let vetcd = Path::new(env!("CARGO_BIN_EXE_vetcd"));
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let save = |name: &str| ctl.ok(&["--user=root:secret", "snapshot", "save", &text(name)]);
    let restore =
        |snapshot: &str, data_dir: &str| restore_arguments(place, &text(snapshot), &text(data_dir));

    let server = Server::start(&etcd, place, &path("1"), &ctl);
    let compacted = fill(place).await;
    let original = View::of(place, &ctl, compacted).await;
    ann_reads_and_no_more(place).await;
    // The store is what it is meant to be.
    let live = original.keys.last().unwrap().1.len();
    assert!((8_500..KEYS as usize).contains(&live), "{live} keys");
    assert!(
        original
            .keys
            .iter()
            .any(|(_, all)| all.iter().any(|v| v.4 == 3))
    );
    assert_eq!((original.leases.len(), original.users.len()), (19, 3));
    assert!(original.history.len() > 2_000 && original.roles.len() == 4);
    assert!(original.leases.iter().any(|(_, _, keys)| keys.len() >= 5));
    assert_eq!(original.alarms, [(ALARMED, AlarmType::Nospace as i32)]);
    save("1.db");
    server.stop();

    vetcdutl_ok(&borrowed(&restore("1.db", "2")));
    let server = Server::start(vetcd, place, &path("2"), &ctl);
    same(&View::of(place, &ctl, compacted).await, &original);
    ann_reads_and_no_more(place).await;
    change(place).await;
    let moved = View::of(place, &ctl, compacted).await;
    assert_eq!((moved.leases.len(), moved.users.len()), (20, 3));
    assert!(moved.revision > original.revision + 5 && moved.hash != original.hash);
    save("2.db");
    server.stop();
    // Nor does a restart change anything.
    let server = Server::start(vetcd, place, &path("2"), &ctl);
    same(&View::of(place, &ctl, compacted).await, &moved);
    server.stop();

    ok(&etcdutl, &borrowed(&restore("2.db", "3")));
    let server = Server::start(&etcd, place, &path("3"), &ctl);
    same(&View::of(place, &ctl, compacted).await, &moved);
    ann_reads_and_no_more(place).await;
    server.stop();
}

/// Part by part, since the whole is too long to be read.
fn same(found: &View, expected: &View) {
    assert_eq!(found.revision, expected.revision);
    assert_eq!(found.alarms, expected.alarms);
    assert_eq!(found.auth, expected.auth);
    assert_eq!(found.users, expected.users);
    assert_eq!(found.roles, expected.roles);
    assert_eq!(found.leases, expected.leases);
    for ((at, found), (_, expected)) in found.keys.iter().zip(&expected.keys) {
        first_difference(&format!("at {at}"), found, expected);
    }
    first_difference("history", &found.history, &expected.history);
    assert_eq!(found.hash, expected.hash);
    assert!(found == expected);
}

fn first_difference<T: PartialEq + std::fmt::Debug>(what: &str, found: &[T], expected: &[T]) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{what}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}
