//! TLS towards clients and between members, with certificates made here. Who must not get in is
//! tested as much as who must.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/http.rs"]
mod http;
#[path = "support/process.rs"]
mod process;

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use certificates::{Authority, Folder, connect, plain_client};
use process::{Etcdctl, Member, Place, places};
use vetcd::config::Config;
use vetcd::host::Host;
use vetcd::host::os::OsHost;
use vetcd::tls::ClientIdentity;

const SOON: Duration = Duration::from_secs(20);

/// A member that serves clients by TLS with `flags`.
async fn served(flags: &[String]) -> Member {
    let place = places(1).remove(0);
    let url = format!("https://{}", place.client_address);
    let mut all = vec![
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
    ];
    all.extend_from_slice(flags);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut member = Member::new(&place, std::slice::from_ref(&place), &all);
    member.start();
    http::Http::new(&place.client_address)
        .wait_until_served()
        .await;
    member
}

/// Whether a request over TLS is answered.
async fn answers(place: &Place, client: Arc<rustls::ClientConfig>) -> Result<u16, String> {
    let stream = connect(&place.client_address, client)
        .await
        .map_err(|error| error.to_string())?;
    let answer = http::ask(stream, "GET", "/version", "").await;
    answer
        .map(|answer| answer.status)
        .map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_with_a_good_certificate_get_in() {
    let folder = Folder::new();
    let authority = Authority::new("clients");
    let other = Authority::new("somebody else");
    let server = authority.issue("server", &["localhost", "127.0.0.1"]);
    let good = authority.issue("alice", &["client.example"]);
    let wrong_name = authority.issue("alice", &["elsewhere.example"]);
    let revoked = authority.issue("mallory", &["client.example"]);
    let foreign = other.issue("alice", &["client.example"]);
    let mut flags = folder.certificate_flags("", "server", &server);
    flags.extend([
        format!(
            "--trusted-ca-file={}",
            folder.write("ca.pem", &authority.pem())
        ),
        format!(
            "--client-crl-file={}",
            folder.write("crl.pem", &authority.revoke(&[&revoked]))
        ),
        "--client-cert-auth".to_owned(),
        "--client-cert-allowed-hostname=client.example".to_owned(),
    ]);
    let member = served(&flags).await;
    let place = &member.place;
    assert_eq!(answers(place, authority.client(Some(&good))).await, Ok(200));
    for (who, client) in [
        ("nobody", authority.client(None)),
        ("a stranger", authority.client(Some(&foreign))),
        ("a revoked client", authority.client(Some(&revoked))),
        (
            "a client of another host",
            authority.client(Some(&wrong_name)),
        ),
    ] {
        let refused = answers(place, client).await;
        assert!(refused.is_err(), "{who} got in: {refused:?}");
    }
    // Whoever does not speak TLS is told nothing.
    let plain = tokio::net::TcpStream::connect(&place.client_address)
        .await
        .unwrap();
    let plain = http::ask(plain, "GET", "/health", "");
    let answered = tokio::time::timeout(SOON, plain).await.unwrap();
    assert!(answered.is_err());
    assert_eq!(
        answers(place, authority.client(Some(&good))).await,
        Ok(200),
        "still served"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_tls_are_bounded() {
    let folder = Folder::new();
    let authority = Authority::new("ca");
    let server = authority.issue("server", &["localhost", "127.0.0.1"]);
    let files = folder.certificate_flags("", "server", &server);
    let old = || plain_client(&authority, &[&rustls::version::TLS12]);
    let new = || plain_client(&authority, &[&rustls::version::TLS13]);
    let with = |flag: &str| {
        let mut flags = files.to_vec();
        flags.push(flag.to_owned());
        flags
    };
    let strict = served(&with("--tls-min-version=TLS1.3")).await;
    assert!(answers(&strict.place, old()).await.is_err());
    assert_eq!(answers(&strict.place, new()).await, Ok(200));
    let lax = served(&with("--tls-max-version=TLS1.2")).await;
    assert_eq!(answers(&lax.place, old()).await, Ok(200));
    assert!(answers(&lax.place, new()).await.is_err());
    let picky = "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    let picky = served(&with(picky)).await;
    // The certificate is not an RSA one, and TLS 1.3 has suites of its own.
    assert!(answers(&picky.place, old()).await.is_err());
    assert_eq!(answers(&picky.place, new()).await, Ok(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_without_a_restart() {
    let folder = Folder::new();
    let authority = Authority::new("ca");
    let before = authority.issue("before", &["localhost", "127.0.0.1"]);
    let after = authority.issue("after", &["localhost", "127.0.0.1"]);
    let member = served(&folder.certificate_flags("", "server", &before)).await;
    let served_name = || async {
        let stream = connect(&member.place.client_address, authority.client(None))
            .await
            .unwrap();
        let (_, connection) = stream.get_ref();
        vetcd::tls::common_name(&connection.peer_certificates().unwrap()[0]).unwrap()
    };
    assert_eq!(served_name().await, "before");
    // Half of a renewal is not taken: the old certificate is served on.
    folder.write("server.key", &after.key_pem());
    let begin = Instant::now();
    while !member.log().contains("do not go together") {
        assert_eq!(served_name().await, "before");
        assert!(begin.elapsed() < SOON, "{}", member.log());
    }
    folder.write("server.pem", &after.chain());
    while served_name().await != "after" {
        assert!(begin.elapsed() < SOON, "{}", member.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_cannot_be_used_are_told_at_the_start() {
    let folder = Folder::new();
    let authority = Authority::new("ca");
    let (one, other) = (authority.issue("a", &["a"]), authority.issue("b", &["b"]));
    let cert = folder.write("cert.pem", &one.chain());
    for (key, reason) in [
        (folder.write("other.key", &other.key_pem()), "cert.pem"),
        (folder.write("not.key", "nothing"), "no private key"),
        (folder.path("missing.key"), "missing.key"),
    ] {
        let place = places(1).remove(0);
        let url = format!("https://{}", place.client_address);
        let flags = [
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--cert-file={cert}"),
            format!("--key-file={key}"),
        ];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut member = Member::new(&place, std::slice::from_ref(&place), &flags);
        member.start();
        assert_eq!(member.wait_for_end(SOON).code(), Some(2));
        assert!(member.log().contains(reason), "{reason}: {}", member.log());
    }
}

/// Members that speak TLS to each other; `flags` are given per member.
fn peers(places: &[Place], flags: impl Fn(usize) -> Vec<String>) -> Vec<Member> {
    let cluster: Vec<String> = places
        .iter()
        .map(|place| format!("{}=https://{}", place.name, place.peer_address))
        .collect();
    let members = places.iter().enumerate().map(|(index, place)| {
        let url = format!("https://{}", place.peer_address);
        let mut all = vec![
            format!("--listen-peer-urls={url}"),
            format!("--initial-advertise-peer-urls={url}"),
            format!("--initial-cluster={}", cluster.join(",")),
        ];
        all.extend(flags(index));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let mut member = Member::new(place, places, &all);
        member.start();
        member
    });
    members.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_with_certificates_form_a_cluster_and_others_stay_out() {
    let folder = Folder::new();
    let authority = Authority::new("peers");
    let places = places(3);
    let members = peers(&places, |index| {
        // The third member's certificate is the authority's, but not a member's.
        let name = if index == 2 { "intruder" } else { "member" };
        let issued = authority.issue(name, &["127.0.0.1"]);
        let mut flags = folder.certificate_flags("peer-", &index.to_string(), &issued);
        flags.extend([
            format!(
                "--peer-trusted-ca-file={}",
                folder.write("ca.pem", &authority.pem())
            ),
            "--peer-client-cert-auth".to_owned(),
            "--peer-cert-allowed-cn=member".to_owned(),
        ]);
        flags
    });
    members[0].wait_until_ready().await;
    members[1].wait_until_ready().await;
    let outsider = http::Http::new(&places[2].client_address);
    outsider.wait_until_served().await;
    let health = outsider.get("/health").await;
    assert_eq!(
        health.text,
        "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_make_themselves_once() {
    let places = places(3);
    let mut members = peers(&places, |_| vec!["--peer-auto-tls".to_owned()]);
    for member in &members {
        member.wait_until_ready().await;
    }
    let cert = members[0].data_dir().join("fixtures/peer/cert.pem");
    let made = fs::read(&cert).unwrap();
    members[0].kill();
    members[0].start();
    members[0].wait_until_ready().await;
    assert_eq!(fs::read(&cert).unwrap(), made);
    // Nobody else may read the key.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let folder = fs::metadata(cert.parent().unwrap()).unwrap();
        assert_eq!(folder.permissions().mode() & 0o077, 0);
    }

    let alone = served(&["--auto-tls".to_owned()]).await;
    let pem = fs::read_to_string(alone.data_dir().join("fixtures/client/cert.pem")).unwrap();
    let client = certificates::client_trusting(&pem, &[]);
    assert_eq!(answers(&alone.place, client).await, Ok(200));
    let stranger = Authority::new("ca").client(None);
    assert!(answers(&alone.place, stranger).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_over_tls() {
    let folder = Folder::new();
    let authority = Authority::new("ca");
    let server = authority.issue("server", &["localhost", "127.0.0.1"]);
    let client = authority.issue("client", &["client"]);
    let ca = folder.write("ca.pem", &authority.pem());
    let mut flags = folder.certificate_flags("", "server", &server);
    flags.extend([
        format!("--trusted-ca-file={ca}"),
        "--client-cert-auth".to_owned(),
    ]);
    let member = served(&flags).await;
    let endpoint = format!("https://{}", member.place.client_address);
    let Some(ctl) = Etcdctl::find_at(&endpoint) else {
        return;
    };
    let cert = folder.write("client.pem", &client.chain());
    let key = folder.write("client.key", &client.key_pem());
    let with = ["--cacert", &ca, "--cert", &cert, "--key", &key];
    let run = |arguments: &[&'static str]| {
        let mut all: Vec<&str> = with.to_vec();
        all.extend_from_slice(arguments);
        ctl.ok(&all)
    };
    assert_eq!(run(&["put", "k", "v"]), "OK");
    assert_eq!(run(&["get", "k"]), "k\nv");
    let refused = ctl.run(&["--cacert", &ca, "--command-timeout=1s", "get", "k"]);
    assert!(!refused.success, "{refused:?}");
}

/// Tells what requests carry of who their client is.
#[derive(Clone)]
struct Who(Arc<Mutex<Vec<Option<ClientIdentity>>>>);

impl tower_service::Service<::http::Request<hyper::body::Incoming>> for Who {
    type Response = ::http::Response<http_body_util::Empty<bytes::Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ::http::Request<hyper::body::Incoming>) -> Self::Future {
        let who = request.extensions().get::<ClientIdentity>().cloned();
        self.0.lock().unwrap().push(who);
        std::future::ready(Ok(::http::Response::new(http_body_util::Empty::new())))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_see_the_common_name_of_a_verified_client() {
    let folder = Folder::new();
    let authority = Authority::new("ca");
    let server = authority.issue("server", &["127.0.0.1"]);
    let cert = folder.write("server.pem", &server.chain());
    let key = folder.write("server.key", &server.key_pem());
    let ca = folder.write("ca.pem", &authority.pem());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let host: Arc<dyn Host> = Arc::new(OsHost::new(tokio::runtime::Handle::current()));
    for trusted in [Some(&ca), None] {
        let mut flags = vec![("cert-file", &cert), ("key-file", &key)];
        flags.extend(trusted.map(|ca| ("trusted-ca-file", ca)));
        let config = Config::from_pairs(flags).unwrap();
        let tls = vetcd::tls::Tls::start(&host, &config).await.unwrap();
        let listener = host.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_address();
        let listener = vetcd::tls::listener(listener, tls.clients());
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        let limits = vetcd::api::serve::ServeLimits::default();
        let serving =
            vetcd::api::serve::serve(host.clone(), listener, Who(seen.clone()), limits, stopped);
        let serving = tokio::spawn(serving);
        let client = authority.issue("Alice of Wonderland", &["client"]);
        let stream = connect(&address, authority.client(Some(&client)))
            .await
            .unwrap();
        http::ask(stream, "GET", "/", "").await.unwrap();
        serving.abort();
    }
    let common_name = Some("Alice of Wonderland".to_owned());
    // A certificate that nobody asked for proves nothing.
    assert_eq!(
        *seen.lock().unwrap(),
        [Some(ClientIdentity { common_name }), None]
    );
    assert!(Path::new(&cert).exists());
}

#[test]
fn common_names_are_found_and_garbage_is_survived() {
    let issued = Authority::new("ca").issue("the name", &["a"]);
    let der = issued.der();
    assert_eq!(vetcd::tls::common_name(&der).as_deref(), Some("the name"));
    for length in 0..der.len() {
        // Cut off anywhere, or with a byte changed, it must not panic.
        let _ = vetcd::tls::common_name(&der[..length]);
        let mut changed = der.to_vec();
        changed[length] ^= 0xff;
        let _ = vetcd::tls::common_name(&changed);
    }
    assert_eq!(vetcd::tls::common_name(b"not a certificate"), None);
}
