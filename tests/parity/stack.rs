//! A cluster of one program or the other, and the `etcdctl` that talks to it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::process::{self, Place};

/// How long a cluster may take to serve its first request.
const READY: Duration = Duration::from_secs(30);

/// What kind of cluster a script runs on.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    members: usize,
    tls: bool,
    auth: bool,
}

impl Shape {
    pub const SINGLE: Shape = Shape {
        members: 1,
        tls: false,
        auth: false,
    };
    pub const THREE: Shape = Shape {
        members: 3,
        ..Shape::SINGLE
    };

    /// Client and peer certificates, both checked.
    pub fn with_tls(self) -> Shape {
        Shape { tls: true, ..self }
    }

    /// Authentication is on, and commands run as root.
    pub fn as_root(self) -> Shape {
        Shape { auth: true, ..self }
    }
}

/// A server to run, and the etcdctl to ask it with.
pub struct Program {
    pub name: &'static str,
    server: PathBuf,
    ctl: PathBuf,
}

/// The real etcd, then vetcd; `None`, with a message, where there is no etcd.
pub fn programs() -> Option<[Program; 2]> {
    let ctl = process::find_etcdctl()?;
    let etcd = ctl.with_file_name("etcd");
    assert!(etcd.is_file(), "there is no etcd beside {}", ctl.display());
    let vetcd = PathBuf::from(process::server_program());
    Some(
        [("etcd", etcd), ("vetcd", vetcd)].map(|(name, server)| Program {
            name,
            server,
            ctl: ctl.clone(),
        }),
    )
}

/// A running cluster. Its processes are killed when it is dropped.
pub struct Stack {
    pub places: Vec<Place>,
    pub folder: TempDir,
    ctl: PathBuf,
    scheme: &'static str,
    global: Vec<String>,
    servers: Vec<Child>,
}

impl Stack {
    /// Starts a cluster and waits until it serves.
    pub async fn start(program: &Program, shape: Shape) -> Stack {
        let folder = TempDir::new().unwrap();
        let places = process::places(shape.members);
        let certificates = shape.tls.then(|| Certificates::generate(folder.path()));
        let scheme = if shape.tls { "https" } else { "http" };
        let mut stack = Stack {
            ctl: program.ctl.clone(),
            scheme,
            global: certificates.as_ref().map(ctl_flags).unwrap_or_default(),
            servers: Vec::new(),
            places,
            folder,
        };
        for place in stack.places.clone() {
            let mut flags = stack.server_flags(&place);
            flags.extend(certificates.iter().flat_map(server_flags));
            let folder = stack.folder.path();
            stack
                .servers
                .push(spawn(&program.server, &flags, folder, &place.name));
        }
        stack.wait_until_ready(program.name);
        if shape.auth {
            stack.turn_auth_on();
        }
        stack
    }

    /// The client URL of each member, in the order of their names.
    pub fn endpoints(&self) -> Vec<String> {
        let url = |place: &Place| format!("{}://{}", self.scheme, place.client_address);
        self.places.iter().map(url).collect()
    }

    /// Runs a command with `input` on its standard input, to its end.
    pub fn run(&self, arguments: &[String], input: Option<&str>) -> Output {
        let mut child = self.spawn(arguments, Stdio::piped(), Stdio::piped());
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, input.unwrap_or_default().as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    /// Starts a command that goes on, its output into `file`.
    pub fn start_command(&self, arguments: &[String], file: &Path) -> Child {
        let output = std::fs::File::create(file).unwrap();
        self.spawn(arguments, output.into(), Stdio::null())
    }

    fn spawn(&self, arguments: &[String], stdout: Stdio, stderr: Stdio) -> Child {
        Command::new(&self.ctl)
            .env_clear()
            .env("ETCDCTL_API", "3")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(self.folder.path())
            .arg(format!("--endpoints={}", self.endpoints().join(",")))
            .args(&self.global)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap()
    }

    fn server_flags(&self, place: &Place) -> Vec<String> {
        let url = |address: &str| format!("{}://{address}", self.scheme);
        let initial: Vec<_> = self
            .places
            .iter()
            .map(|place| format!("{}={}", place.name, url(&place.peer_address)))
            .collect();
        let data = self.folder.path().join(format!("{}.data", place.name));
        vec![
            format!("--name={}", place.name),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={}", url(&place.client_address)),
            format!("--advertise-client-urls={}", url(&place.client_address)),
            format!("--listen-peer-urls={}", url(&place.peer_address)),
            format!("--initial-advertise-peer-urls={}", url(&place.peer_address)),
            format!("--initial-cluster={}", initial.join(",")),
        ]
    }

    fn wait_until_ready(&self, name: &str) {
        let begin = Instant::now();
        for endpoint in self.endpoints() {
            let probe = [format!("--endpoints={endpoint}"), "get".into(), "\0".into()];
            let probe = [&probe[0], &probe[1], &"probe".to_owned()].map(Clone::clone);
            while !self.run(&probe, None).status.success() {
                let log = || std::fs::read_to_string(self.folder.path().join("m1.log"));
                assert!(begin.elapsed() < READY, "{name} is not ready: {:?}", log());
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    fn turn_auth_on(&mut self) {
        for command in [
            "user add root:secret",
            "user grant-role root root",
            "auth enable",
        ] {
            let words: Vec<_> = command.split(' ').map(str::to_owned).collect();
            let output = self.run(&words, None);
            assert!(output.status.success(), "{command}: {output:?}");
        }
        self.global.push("--user=root:secret".to_owned());
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn spawn(server: &Path, flags: &[String], folder: &Path, name: &str) -> Child {
    let log = std::fs::File::create(folder.join(format!("{name}.log"))).unwrap();
    Command::new(server)
        .args(flags)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn ctl_flags(certificates: &Certificates) -> Vec<String> {
    vec![
        format!("--cacert={}", certificates.authority.display()),
        format!("--cert={}", certificates.certificate.display()),
        format!("--key={}", certificates.key.display()),
    ]
}

fn server_flags(certificates: &Certificates) -> Vec<String> {
    let Certificates {
        authority,
        certificate,
        key,
    } = certificates;
    ["", "peer-"]
        .iter()
        .flat_map(|prefix| {
            [
                format!("--{prefix}cert-file={}", certificate.display()),
                format!("--{prefix}key-file={}", key.display()),
                format!("--{prefix}trusted-ca-file={}", authority.display()),
                format!("--{prefix}client-cert-auth"),
            ]
        })
        .collect()
}
