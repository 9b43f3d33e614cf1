//! Every public method of the Rust `etcd-client` against running members.
//!
//! One file a service. `inventory.rs` reads the crate's own source and names each method that no
//! call here drives, so that a later version's additions cannot be forgotten. The expectations hold
//! for the real etcd as well: run with `VETCD_BINARY=/path/to/etcd` to see it. Where etcd 3.5 and
//! the API that vetcd serves differ, the test asks [`since_3_6`].
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/process.rs"]
mod process;

/// A response's header, taken by both of its accessors.
///
/// A macro, because every response has the two of its own. The inventory knows it.
macro_rules! header {
    ($response:ident) => {{
        let seen = $response.header().expect("a header").clone();
        let taken = $response.take_header().expect("a header");
        assert!($response.header().is_none(), "the header was taken");
        crate::assert_same(&seen, &taken);
        taken
    }};
}

mod auth;
mod connect;
mod inventory;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod members;
mod watch;

use std::fmt::Debug;
use std::time::Duration;

use etcd_client::{Client, Error, ResponseHeader};
use process::{Member, cluster};
use tonic::Code;

/// How long something may take that has to happen by itself.
const SOON: Duration = Duration::from_secs(20);

/// Whether the server has what etcd's API gained after 3.5.
fn since_3_6() -> bool {
    std::env::var_os("VETCD_BINARY").is_none()
}

/// A member that is ready, and its client.
async fn one(flags: &[&str]) -> (Vec<Member>, Client) {
    let members = cluster(1, flags).await;
    let client = Client::connect([&members[0].place.client_address], None).await;
    (members, client.unwrap())
}

/// Waits for what must come.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("in time")
}

/// The status that a request was refused with.
#[track_caller]
fn refused<T: Debug>(result: Result<T, Error>) -> (Code, String) {
    match result {
        Err(Error::GRpcStatus(status)) => (status.code(), status.message().to_owned()),
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

#[track_caller]
fn assert_same(one: &ResponseHeader, other: &ResponseHeader) {
    let fields = |header: &ResponseHeader| {
        (
            header.cluster_id(),
            header.member_id(),
            header.revision(),
            header.raft_term(),
        )
    };
    assert_eq!(fields(one), fields(other));
}

/// That a header tells who answered, and at which revision.
#[track_caller]
fn assert_header(header: &ResponseHeader, revision: i64) {
    assert_ne!(header.cluster_id(), 0);
    assert_ne!(header.member_id(), 0);
    assert_ne!(header.raft_term(), 0);
    assert_eq!(header.revision(), revision);
}
