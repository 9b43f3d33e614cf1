//! Authentication as clients meet it: unmodified `etcdctl`, whose every word is compared with what
//! it says to the real etcd; the Rust client `etcd-client`; and strangers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

#[path = "support/process.rs"]
mod process;

use etcd_client::{
    ConnectOptions, Permission, PermissionType, PutOptions, RoleRevokePermissionOptions,
};
use process::{Etcdctl, Member, Printed, client, cluster, places};
use vetcd::client::Channel;

/// Hashing at the least cost keeps the tests quick.
const CHEAP: &str = "--bcrypt-cost=4";

fn etcdctl_or_skip(members: &[Member]) -> Option<Etcdctl> {
    let places: Vec<_> = members.iter().map(|member| &member.place).collect();
    Etcdctl::find(&places)
}

/// A long life of users and roles, with what can go wrong in it. Commands as they are typed, split
/// at spaces; `''` is an empty argument.
const SCRIPT: &str = "
auth status
auth status -w json
auth disable
auth enable
user add root --new-user-password=pw
auth enable
user get root
user grant-role root root
user add alice:apw
user add alice:apw
user add bob --no-password
user add '' --new-user-password=x
user add carol --new-user-password=cpw -w json
user list
user list -w json
role add r
role add r
role add ''
role add second
role list
role get r
role get nothing
role get root
role grant-permission r readwrite key
role grant-permission r read a c
role grant-permission r write a c
role grant-permission r read p/ --prefix
role grant-permission r write z --from-key
role grant-permission r read ''
role grant-permission nothing read a
role grant-permission second read c e
role grant-permission second write all
role get r
role get r -w json
role revoke-permission r nothing
role revoke-permission r a
role revoke-permission nothing a
role revoke-permission r key
role get r
user grant-role alice r
user grant-role alice r
user grant-role alice nothing
user grant-role nobody r
user grant-role carol second
user get alice
user get alice --detail
user get alice -w json
user get nobody
user revoke-role alice nothing
user revoke-role nobody r
auth status
put a 0
--user root:pw get a
auth enable
auth enable
auth status
user list
get a
put a 1
--user root:pw put a 1
--user root:pw put a 2 -w json
--user root:pw put d 1
--user root:pw put p/1 1
--user root:pw auth enable
--user root:pw auth status
--user root:wrong get a
--user nobody:x get a
--user alice:wrong get a
--user alice:apw get a
--user alice:apw put b 1
--user alice:apw put b 2 --prev-kv
--user alice:apw put d 2
--user alice:apw get p/1
--user alice:apw get p/ --prefix
--user alice:apw get p/ --from-key
--user alice:apw put p/1 1
--user alice:apw put z1 1
--user alice:apw del z1
--user alice:apw del z1 --prev-kv
--user alice:apw del z --from-key
--user alice:apw del a z
--user carol:cpw get c e
--user carol:cpw get c f
--user carol:cpw get '' --from-key
--user alice:apw user list
--user alice:apw user get alice
--user alice:apw user get root
--user alice:apw role get r
--user alice:apw role get second
--user alice:apw role list
--user alice:apw user add eve:x
--user alice:apw auth status
--user alice:apw auth disable
--user root:pw user grant-role carol r
--user root:pw user get carol --detail
--user root:pw role grant-permission second readwrite a d
--user carol:cpw put a 3 --prev-kv
--user root:pw user revoke-role carol r
--user carol:cpw put z 1
--user root:pw user delete root
--user root:pw user revoke-role root root
--user root:pw role delete root
--user root:pw role delete second
--user root:pw role delete second
--user carol:cpw get a
--user root:pw user get carol
--user root:pw user delete carol
--user root:pw user delete carol
--user carol:cpw get a
--user root:pw user list
--user root:pw auth status -w json
--user root:pw auth disable
auth disable
auth status
get a
user get alice --detail
role list
";

fn arguments(line: &str) -> Vec<&str> {
    let parts = line.split(' ');
    parts
        .map(|part| if part == "''" { "" } else { part })
        .collect()
}

/// What is the same whoever answers: the outcome, the words without IDs, and the complaint without
/// the client's own log of its attempts.
fn normalised(printed: &Printed) -> (bool, String, Vec<String>) {
    let complaints = printed.stderr.lines().filter(|line| !line.starts_with('{'));
    let mut said = printed.stdout.clone();
    for field in ["cluster_id", "member_id", "raft_term"] {
        let name = format!("\"{field}\":");
        if let Some(start) = said.find(&name).map(|at| at + name.len()) {
            let digits = said[start..].find(|c: char| !c.is_ascii_digit()).unwrap();
            said.replace_range(start..start + digits, "_");
        }
    }
    (
        printed.success,
        said,
        complaints.map(str::to_owned).collect(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_says_what_it_says_to_etcd() {
    let ours = cluster(1, &[CHEAP]).await;
    let Some(to_us) = etcdctl_or_skip(&ours) else {
        return;
    };
    let Some(etcd) = to_us.beside("etcd") else {
        return;
    };
    let places = places(1);
    let mut real = Member::new(&places[0], &places, &[CHEAP]).with_program(&etcd);
    real.start();
    real.wait_until_ready().await;
    let to_etcd = Etcdctl::find(&[&real.place]).unwrap();
    let mut differing = Vec::new();
    for line in SCRIPT.lines().filter(|line| !line.is_empty()) {
        let arguments = arguments(line);
        let (ours, theirs) = (to_us.run(&arguments), to_etcd.run(&arguments));
        if normalised(&ours) != normalised(&theirs) {
            differing.push(format!("{line}\n  vetcd: {ours:?}\n  etcd:  {theirs:?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_survive_kill_and_restart_and_so_do_refusals() {
    let mut members = cluster(1, &[CHEAP]).await;
    let Some(ctl) = etcdctl_or_skip(&members) else {
        return;
    };
    for line in [
        "user add root:pw",
        "user grant-role root root",
        "user add alice:apw",
        "role add r",
        "role grant-permission r readwrite a",
        "user grant-role alice r",
        "auth enable",
    ] {
        ctl.ok(&arguments(line));
    }
    members[0].kill();
    members[0].start();
    let begin = std::time::Instant::now();
    while !ctl.run(&arguments("--user alice:apw put a 1")).success {
        assert!(begin.elapsed() < process::READY, "alice cannot write");
    }
    let error = ctl.fails(&arguments("--user alice:apw put b 1"));
    assert!(error.contains("permission denied"), "{error}");
    let error = ctl.fails(&["get", "a"]);
    assert!(error.contains("user name is empty"), "{error}");
    ctl.ok(&arguments("--user root:pw role revoke-permission r a"));
    let error = ctl.fails(&arguments("--user alice:apw put a 2"));
    assert!(error.contains("permission denied"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_at_every_member_and_newer_etcd_s_refusals_hold() {
    let members = cluster(3, &[CHEAP]).await;
    let Some(ctl) = etcdctl_or_skip(&members) else {
        return;
    };
    for line in [
        "user add root:pw",
        "user grant-role root root",
        "auth enable",
    ] {
        ctl.ok(&arguments(line));
    }
    let endpoint = &members[0].place.client_address;
    let first = etcd_client::Client::connect([endpoint], None)
        .await
        .unwrap();
    let mut first = first.auth_client();
    let token = first
        .authenticate("root".into(), "pw".into())
        .await
        .unwrap();
    let token = token.token().to_owned();
    for member in &members {
        let mut client = client(&[&member.place]);
        let channel = client.channel().await.unwrap();
        for (header, value) in [
            ("token", token.clone()),
            ("authorization", token.clone()),
            ("authorization", format!("Bearer {token}")),
        ] {
            let mut request = tonic::Request::new(range("a"));
            let value = value.parse().unwrap();
            request.metadata_mut().insert(header, value);
            vetcd::client::kv(channel.clone())
                .range(request)
                .await
                .unwrap();
        }
        let mut request = tonic::Request::new(range("a"));
        request
            .metadata_mut()
            .insert("token", "AAAAAAAAAAAAAAAA.1".parse().unwrap());
        let refused = vetcd::client::kv(channel).range(request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated);
        assert_eq!(refused.message(), "etcdserver: invalid auth token");
    }
    // etcd 3.5.1 lets anybody do these; later releases do not (CVE-2026-33413).
    for line in [
        "compaction 1",
        "endpoint status",
        "member list",
        "alarm list",
    ] {
        let printed = ctl.run(&arguments(line));
        let said = format!("{}{}", printed.stdout, printed.stderr);
        assert!(said.contains("user name is empty"), "{line}: {said}");
    }
    ctl.ok(&arguments("--user root:pw user add alice:apw"));
    let error = ctl.fails(&arguments("--user alice:apw compaction 1"));
    assert!(error.contains("permission denied"), "{error}");
    ctl.ok(&arguments("--user alice:apw member list"));
    ctl.ok(&arguments("--user alice:apw endpoint status"));
}

fn range(key: &'static str) -> vetcd::api::proto::etcdserverpb::RangeRequest {
    vetcd::api::proto::etcdserverpb::RangeRequest {
        key: key.into(),
        ..Default::default()
    }
}

/// The unary methods of every service that the protocol definitions name.
fn unary_methods() -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/proto");
    let mut methods = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let (mut package, mut service) = ("", "");
        for line in text.lines().map(str::trim) {
            let word = |keyword: &str| line.strip_prefix(keyword)?.split([' ', ';', '(']).next();
            if let Some(name) = word("package ") {
                package = name;
            } else if let Some(name) = word("service ") {
                service = name;
            } else if let Some(name) = word("rpc ")
                && !line.contains("stream ")
            {
                methods.push(format!("/{package}.{service}/{name}"));
            }
        }
    }
    methods.sort();
    methods
}

async fn call_empty(channel: Channel, method: &str) -> Result<(), tonic::Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = http::uri::PathAndQuery::try_from(method).unwrap();
    grpc.unary(tonic::Request::new(()), path, codec)
        .await
        .map(|_| ())
}

/// Whatever services are added later: a stranger gets nothing from any of them.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_by_every_method() {
    /// Answers everybody: it is how one stops being a stranger. And what a load balancer asks.
    const OPEN: [&str; 2] = [
        "/etcdserverpb.Auth/Authenticate",
        "/grpc.health.v1.Health/Check",
    ];
    let members = cluster(1, &[CHEAP]).await;
    let mut etcd = etcd_client::Client::connect([&members[0].place.client_address], None)
        .await
        .unwrap();
    etcd.user_add("root", "pw", None).await.unwrap();
    etcd.user_grant_role("root", "root").await.unwrap();
    etcd.auth_enable().await.unwrap();
    let mut stranger = client(&[&members[0].place]);
    let channel = stranger.channel().await.unwrap();
    let methods = unary_methods();
    assert!(methods.len() > 30, "{methods:?}");
    let mut served = Vec::new();
    for method in methods {
        if OPEN.contains(&&*method) {
            continue;
        }
        let answer = call_empty(channel.clone(), &method).await;
        let refused = answer.as_ref().is_err_and(|status| {
            let unimplemented = status.code() == tonic::Code::Unimplemented;
            // An empty request may be refused for what it lacks before it is asked who sends it.
            let message = status.message();
            unimplemented
                || message == "etcdserver: user name is empty"
                || message == "etcdserver: key is not provided"
        });
        if !refused {
            served.push(format!("{method}: {answer:?}"));
        }
    }
    assert!(served.is_empty(), "{}", served.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_client_drives_everything() {
    let members = cluster(1, &[CHEAP]).await;
    let endpoint = members[0].place.client_address.clone();
    let mut admin = etcd_client::Client::connect([&endpoint], None)
        .await
        .unwrap();
    admin.role_add("r").await.unwrap();
    admin.role_add("gone").await.unwrap();
    let both = Permission::read_write("a").with_prefix();
    admin.role_grant_permission("r", both).await.unwrap();
    let open = Permission::new(PermissionType::Read, "x").with_from_key();
    admin.role_grant_permission("r", open).await.unwrap();
    let revoke = RoleRevokePermissionOptions::new().with_from_key();
    admin
        .role_revoke_permission("r", "x", Some(revoke))
        .await
        .unwrap();
    let granted = admin.role_get("r").await.unwrap().permissions();
    assert_eq!(granted.len(), 1);
    assert_eq!(
        (granted[0].key(), granted[0].range_end()),
        (&b"a"[..], &b"b"[..])
    );
    admin.role_delete("gone").await.unwrap();
    assert_eq!(admin.role_list().await.unwrap().roles(), ["r"]);

    for name in ["root", "alice", "bob"] {
        admin
            .user_add(name, format!("{name}-pw"), None)
            .await
            .unwrap();
    }
    admin.user_grant_role("root", "root").await.unwrap();
    admin.user_grant_role("alice", "r").await.unwrap();
    admin.user_grant_role("bob", "r").await.unwrap();
    admin.user_revoke_role("bob", "r").await.unwrap();
    assert_eq!(admin.user_get("alice").await.unwrap().roles(), ["r"]);
    assert_eq!(
        admin.user_list().await.unwrap().users(),
        ["alice", "bob", "root"]
    );
    admin.auth_enable().await.unwrap();

    let user = |name: &str, password: &str| Some(ConnectOptions::new().with_user(name, password));
    let connect = async |name: &str, password: &str| {
        etcd_client::Client::connect([&endpoint], user(name, password)).await
    };
    let mut root = connect("root", "root-pw").await.unwrap();
    let mut alice = connect("alice", "alice-pw").await.unwrap();
    assert!(connect("alice", "bob-pw").await.is_err());
    alice.put("a1", "1", None).await.unwrap();
    let previous = PutOptions::new().with_prev_key();
    alice.put("a1", "2", Some(previous)).await.unwrap();
    let denied = alice.put("b1", "1", None).await.unwrap_err().to_string();
    assert!(denied.contains("permission denied"), "{denied}");
    let mut bob = connect("bob", "bob-pw").await.unwrap();
    assert!(bob.get("a1", None).await.is_err());
    // The token outlives changes, but not that of the password.
    root.user_grant_role("bob", "r").await.unwrap();
    bob.get("a1", None).await.unwrap();
    root.user_change_password("bob", "new").await.unwrap();
    let invalid = bob.get("a1", None).await.unwrap_err().to_string();
    assert!(invalid.contains("invalid auth token"), "{invalid}");
    connect("bob", "new")
        .await
        .unwrap()
        .get("a1", None)
        .await
        .unwrap();
    root.user_delete("bob").await.unwrap();
    root.auth_disable().await.unwrap();
    admin.put("b1", "1", None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_tokens_work_and_age_with_every_change() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, include_bytes!("../src/auth/testdata/rsa-pkcs1.pem")).unwrap();
    let flag = format!(
        "--auth-token=jwt,sign-method=RS256,priv-key={}",
        key.display()
    );
    let members = cluster(1, &[CHEAP, &flag]).await;
    let endpoint = members[0].place.client_address.clone();
    let mut admin = etcd_client::Client::connect([&endpoint], None)
        .await
        .unwrap();
    admin.user_add("root", "pw", None).await.unwrap();
    admin.user_grant_role("root", "root").await.unwrap();
    admin.auth_enable().await.unwrap();
    let user = Some(ConnectOptions::new().with_user("root", "pw"));
    let mut root = etcd_client::Client::connect([&endpoint], user)
        .await
        .unwrap();
    root.put("a", "1", None).await.unwrap();
    root.user_add("alice", "pw", None).await.unwrap();
    let old = root.put("a", "2", None).await.unwrap_err().to_string();
    assert!(old.contains("revision of auth store is old"), "{old}");
    if let Some(ctl) = etcdctl_or_skip(&members) {
        ctl.ok(&arguments("--user root:pw put a 3"));
        assert_eq!(ctl.ok(&arguments("--user root:pw get a")), "a\n3");
    }
}
