//! Real processes under the testbed's own checker: three members of `vetcd` on loopback, driven by
//! the `etcd-client` crate; the leader is killed with SIGKILL under load and started again from its
//! data directory. What the clients saw must be strictly serializable, nothing acknowledged may be
//! lost, and all members must hold the same.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "this test lives in the real world, and a failure of its own steps is a failed test"
)]

#[path = "../../tests/support/ports.rs"]
mod ports;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcd_client::{Client, Compare, CompareOp, ConnectOptions, GetOptions, Txn, TxnOp};
use vetcd::client::{FailureClass as ClientFailure, classify};
use vetcd_sim::check::{self, Verdict};
use vetcd_sim::history::{
    self, Body, Delete, DeleteBody, Failure, FailureClass, History, KeyValue, Operand, Operation,
    Outcome, Put, PutBody, Range, RangeBody, Relation, Request, Response, TxnBody,
};

const CLIENTS: u32 = 6;
const KEYS: u64 = 5;
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// One member's process; killed when the test ends, however it ends.
struct Member {
    name: String,
    client_url: String,
    arguments: Vec<String>,
    log: PathBuf,
    process: Child,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Member {
    fn launch(name: String, client_url: String, arguments: Vec<String>, log: PathBuf) -> Member {
        let process = launch(&arguments, &log);
        Member {
            name,
            client_url,
            arguments,
            log,
            process,
        }
    }

    fn kill_9(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn restart(&mut self) {
        self.process = launch(&self.arguments, &self.log);
    }

    fn stop(&mut self) {
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let status = self.process.wait().unwrap();
        assert!(
            status.success(),
            "{} did not stop cleanly: {status}",
            self.name
        );
    }
}

fn launch(arguments: &[String], log: &Path) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    Command::new(server_binary())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// The server beside this test's own binary. Built here where a test run of this crate alone has
/// not built it.
fn server_binary() -> PathBuf {
    static BINARY: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    BINARY
        .get_or_init(|| {
            let deps = std::env::current_exe().unwrap();
            let profile = deps.parent().unwrap().parent().unwrap().to_owned();
            let binary = profile.join("vetcd");
            if !binary.exists() {
                let status = Command::new(env!("CARGO"))
                    .args(["build", "--package", "vetcd", "--bin", "vetcd"])
                    .status()
                    .unwrap();
                assert!(status.success(), "cannot build the server");
            }
            binary
        })
        .clone()
}

fn start_cluster(directory: &Path) -> Vec<Member> {
    let urls: Vec<String> = ports::addresses(6)
        .iter()
        .map(|address| format!("http://{address}"))
        .collect();
    let (peers, clients) = urls.split_at(3);
    let cluster: Vec<String> = (0..3).map(|i| format!("m{}={}", i + 1, peers[i])).collect();
    (0..3)
        .map(|i| {
            let name = format!("m{}", i + 1);
            let arguments = vec![
                format!("--name={name}"),
                format!("--data-dir={}", directory.join(&name).display()),
                format!("--listen-peer-urls={}", peers[i]),
                format!("--initial-advertise-peer-urls={}", peers[i]),
                format!("--listen-client-urls={}", clients[i]),
                format!("--advertise-client-urls={}", clients[i]),
                format!("--initial-cluster={}", cluster.join(",")),
                "--heartbeat-interval=50".to_owned(),
                "--election-timeout=500".to_owned(),
            ];
            let log = directory.join(format!("{name}.log"));
            Member::launch(name, clients[i].clone(), arguments, log)
        })
        .collect()
}

async fn connect(url: &str) -> Option<Client> {
    let options = ConnectOptions::new()
        .with_connect_timeout(Duration::from_secs(1))
        .with_timeout(CALL_TIMEOUT);
    Client::connect([url], Some(options)).await.ok()
}

async fn wait_until_serving(member: &Member) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if let Some(mut client) = connect(&member.client_url).await
            && client.get("ready?", None).await.is_ok()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let log = std::fs::read_to_string(&member.log).unwrap_or_default();
    panic!("{} does not serve; its log:\n{log}", member.name);
}

async fn leader_of(members: &[Member]) -> usize {
    for (index, member) in members.iter().enumerate() {
        if let Some(mut client) = connect(&member.client_url).await
            && let Ok(status) = client.status().await
            && let Some(header) = status.header()
            && header.member_id() == status.leader()
        {
            return index;
        }
    }
    panic!("no member says that it leads");
}

/// The clients' common notebook.
#[derive(Clone)]
struct Notebook {
    started: Instant,
    operations: Arc<Mutex<Vec<Operation>>>,
}

impl Notebook {
    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn write(&self, client: u32, member: u32, invoked: u64, request: Request, outcome: Outcome) {
        let returned = (!matches!(outcome, Outcome::Unknown(_))).then(|| self.now());
        let mut operations = self.operations.lock().unwrap();
        let id = operations.len() as u64;
        operations.push(Operation {
            id,
            client,
            member: Some(member),
            invoked,
            returned,
            request,
            outcome,
        });
    }
}

fn key_value(kv: &etcd_client::KeyValue) -> KeyValue {
    KeyValue {
        key: Bytes::copy_from_slice(kv.key()),
        value: Bytes::copy_from_slice(kv.value()),
        create_revision: kv.create_revision(),
        mod_revision: kv.mod_revision(),
        version: kv.version(),
        lease: kv.lease(),
    }
}

fn range_body(kvs: &[etcd_client::KeyValue], count: i64, more: bool) -> RangeBody {
    RangeBody {
        kvs: kvs.iter().map(key_value).collect(),
        more,
        count,
    }
}

fn failed(error: &etcd_client::Error) -> Outcome {
    if let etcd_client::Error::GRpcStatus(status) = error
        && classify(status) == ClientFailure::Rejected
    {
        return Outcome::Failed(Failure {
            class: FailureClass::Rejected,
            message: status.message().to_owned(),
        });
    }
    Outcome::Unknown(error.to_string())
}

fn answered(revision: Option<i64>, body: Body) -> Outcome {
    Outcome::Ok(Response {
        revision: revision.expect("every answer has a header"),
        body,
    })
}

/// One client: a simple generator, deterministic in what it asks though not in when.
async fn drive(number: u32, urls: Vec<String>, notebook: Notebook, until: Instant) {
    let mut random = vetcd_sim::rng::Stream::new(7, &format!("client/{number}"));
    let mut endpoint = number as usize % urls.len();
    let mut connection: Option<Client> = None;
    let mut written = 0;
    let mut seen = std::collections::BTreeMap::<String, i64>::new();
    while Instant::now() < until {
        let Some(client) = &mut connection else {
            endpoint = (endpoint + 1) % urls.len();
            connection = connect(&urls[endpoint]).await;
            continue;
        };
        let key = format!("k{}", random.range(0..KEYS));
        written += 1;
        let value = format!("c{number}-{written}");
        let invoked = notebook.now();
        let (request, outcome) = match random.range(0..10) {
            0..4 => put(client, &key, &value).await,
            4..7 => get(client, &key, &mut seen).await,
            7 => list(client).await,
            8 => delete(client, &key).await,
            _ => swap(client, &key, &value, seen.get(&key).copied().unwrap_or(0)).await,
        };
        let lost = !matches!(outcome, Outcome::Ok(_));
        notebook.write(number, endpoint as u32 + 1, invoked, request, outcome);
        if lost {
            connection = None;
        }
    }
}

async fn put(client: &mut Client, key: &str, value: &str) -> (Request, Outcome) {
    let request = Request::Put(Put {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    });
    let outcome = match client.put(key, value, None).await {
        Ok(done) => answered(
            done.header().map(|header| header.revision()),
            Body::Put(PutBody::default()),
        ),
        Err(error) => failed(&error),
    };
    (request, outcome)
}

async fn get(
    client: &mut Client,
    key: &str,
    seen: &mut std::collections::BTreeMap<String, i64>,
) -> (Request, Outcome) {
    let request = Request::Range(Range {
        key: key.to_owned().into(),
        ..Default::default()
    });
    let outcome = match client.get(key, None).await {
        Ok(found) => {
            let revision = found.kvs().first().map_or(0, |kv| kv.mod_revision());
            seen.insert(key.to_owned(), revision);
            answered(
                found.header().map(|header| header.revision()),
                Body::Range(range_body(found.kvs(), found.count(), found.more())),
            )
        }
        Err(error) => failed(&error),
    };
    (request, outcome)
}

async fn list(client: &mut Client) -> (Request, Outcome) {
    let request = Request::Range(Range {
        key: Bytes::from_static(b"k"),
        range_end: Bytes::from_static(b"l"),
        ..Default::default()
    });
    let options = GetOptions::new().with_range("l");
    let outcome = match client.get("k", Some(options)).await {
        Ok(found) => answered(
            found.header().map(|header| header.revision()),
            Body::Range(range_body(found.kvs(), found.count(), found.more())),
        ),
        Err(error) => failed(&error),
    };
    (request, outcome)
}

async fn delete(client: &mut Client, key: &str) -> (Request, Outcome) {
    let request = Request::Delete(Delete {
        key: key.to_owned().into(),
        ..Default::default()
    });
    let outcome = match client.delete(key, None).await {
        Ok(done) => answered(
            done.header().map(|header| header.revision()),
            Body::Delete(DeleteBody {
                deleted: done.deleted(),
                previous: Vec::new(),
            }),
        ),
        Err(error) => failed(&error),
    };
    (request, outcome)
}

async fn swap(client: &mut Client, key: &str, value: &str, seen: i64) -> (Request, Outcome) {
    let request = Request::Txn(history::Txn {
        compare: vec![history::Compare {
            key: key.to_owned().into(),
            range_end: Bytes::new(),
            relation: Relation::Equal,
            operand: Operand::ModRevision(seen),
        }],
        then: vec![Request::Put(Put {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..Default::default()
        })],
        otherwise: Vec::new(),
    });
    let txn = Txn::new()
        .when([Compare::mod_revision(key, CompareOp::Equal, seen)])
        .and_then([TxnOp::put(key, value, None)]);
    let outcome = match client.txn(txn).await {
        Ok(done) => {
            let responses = match done.succeeded() {
                true => vec![Body::Put(PutBody::default())],
                false => Vec::new(),
            };
            answered(
                done.header().map(|header| header.revision()),
                Body::Txn(TxnBody {
                    succeeded: done.succeeded(),
                    responses,
                }),
            )
        }
        Err(error) => failed(&error),
    };
    (request, outcome)
}

/// A last read of everything through each member, recorded like any other operation: an
/// acknowledged write that is gone shows here at the latest.
async fn read_back(members: &[Member], notebook: &Notebook) {
    for (index, member) in members.iter().enumerate() {
        wait_until_serving(member).await;
        let mut client = connect(&member.client_url)
            .await
            .expect("the member serves");
        let invoked = notebook.now();
        let (request, outcome) = list(&mut client).await;
        assert!(
            matches!(outcome, Outcome::Ok(_)),
            "{}: {outcome:?}",
            member.name
        );
        notebook.write(CLIENTS, index as u32 + 1, invoked, request, outcome);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_killed_under_load_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut members = start_cluster(directory.path());
    for member in &members {
        wait_until_serving(member).await;
    }
    let urls: Vec<String> = members
        .iter()
        .map(|member| member.client_url.clone())
        .collect();
    let notebook = Notebook {
        started: Instant::now(),
        operations: Arc::default(),
    };
    let until = Instant::now() + Duration::from_secs(8);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(drive(number, urls.clone(), notebook.clone(), until)))
        .collect();

    tokio::time::sleep(Duration::from_secs(2)).await;
    let leader = leader_of(&members).await;
    let before_kill = notebook.now();
    members[leader].kill_9();
    tokio::time::sleep(Duration::from_secs(2)).await;
    members[leader].restart();
    for client in clients {
        client.await.unwrap();
    }
    read_back(&members, &notebook).await;

    let operations = notebook.operations.lock().unwrap().clone();
    let answered = |after: u64| {
        operations
            .iter()
            .filter(|op| op.invoked > after && matches!(op.outcome, Outcome::Ok(_)))
            .count()
    };
    assert!(answered(0) > 100, "too little happened to prove anything");
    assert!(
        answered(before_kill) > 20,
        "the cluster did not go on without its leader"
    );
    let history = History {
        operations,
        ..History::default()
    };
    match check::strict_serializability::check(&history, &check::Options::default()) {
        Verdict::Ok(_) => {}
        other => panic!("{other:?}"),
    }
    for member in &mut members {
        member.stop();
    }
}
