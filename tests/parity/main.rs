//! The same `etcdctl` commands against a real etcd and against vetcd: what they print must be equal,
//! apart from what no two clusters share (IDs, ports, terms, sizes, durations).
//!
//! The commands are in `scripts/`, one a line; [`script`] has the syntax. A line that is known to
//! differ says so and why, and `docs/compatibility.md` lists it. The tests need etcd and etcdctl
//! 3.5.1 and are skipped with a message where they cannot be found (see `support/process.rs`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

#[path = "../support/process.rs"]
mod process;

mod certificates;
mod normal;
mod script;
mod stack;

use script::Transcript;
use stack::{Shape, Stack};

/// Plays `scripts` one after the other on both programs and compares.
async fn compare(shape: Shape, scripts: &[&str]) {
    let Some(programs) = stack::programs() else {
        return;
    };
    let mut transcripts = Vec::new();
    for program in programs {
        let stack = Stack::start(&program, shape).await;
        let mut transcript = Transcript::default();
        for script in scripts {
            script::play(script, &stack, &mut transcript);
        }
        transcripts.push(transcript);
    }
    let [etcd, vetcd] = &transcripts[..] else {
        unreachable!("two programs")
    };
    script::assert_equal(etcd, vetcd);
}

macro_rules! scripts {
    ($($name:literal),+) => {
        &[$(include_str!(concat!("scripts/", $name, ".txt"))),+]
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_on_one_member() {
    compare(Shape::SINGLE, scripts!["kv"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_on_three_members() {
    compare(Shape::THREE, scripts!["kv"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches() {
    compare(Shape::SINGLE, scripts!["watch"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_locks_and_elections() {
    compare(Shape::SINGLE, scripts!["lease"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_and_watches_on_three_members() {
    compare(Shape::THREE, scripts!["watch", "lease"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_of_one_member() {
    compare(Shape::SINGLE, scripts!["maintenance"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_of_three_members() {
    compare(Shape::THREE, scripts!["three"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn membership() {
    compare(Shape::SINGLE, scripts!["member"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_roles() {
    compare(Shape::SINGLE, scripts!["auth"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_else_with_auth_on() {
    let shape = Shape::SINGLE.as_root();
    compare(shape, scripts!["kv", "watch", "lease"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_client_certificates() {
    compare(Shape::THREE.with_tls(), scripts!["kv", "watch", "lease"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_perf_comes_to_a_verdict() {
    let Some([_, vetcd]) = stack::programs() else {
        return;
    };
    let stack = Stack::start(&vetcd, Shape::SINGLE).await;
    // Whether the figures are good enough is this machine's affair; that there are some is not.
    let output = stack.run(&["check".into(), "perf".into(), "--load=s".into()], None);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for figure in ["Throughput", "Slowest request", "Stddev"] {
        assert!(text.contains(figure), "{output:?}");
    }
}
