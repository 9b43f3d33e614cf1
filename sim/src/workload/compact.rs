//! The `compact` workload: one client that asks for the newest revision every so often and compacts
//! some way behind it, as a Kubernetes API server does.

use std::sync::Arc;

use bytes::Bytes;
use vetcd::client::Client;
use vetcd::host::Host;

use super::Session;
use crate::history::{Compact, Outcome, Range, Request};
use crate::scenario::CompactWorkload;

/// Runs until it is aborted.
pub async fn compact(
    host: Arc<dyn Host>,
    workload: CompactWorkload,
    mut client: Client,
    session: Session,
) {
    loop {
        host.sleep(workload.every).await;
        let newest = Request::Range(Range {
            key: Bytes::from_static(b"k0"),
            ..Default::default()
        });
        let revision = match session.call(&mut client, &newest).await {
            Outcome::Ok(response) => response.revision - workload.keep as i64,
            Outcome::Failed(_) | Outcome::Unknown(_) => {
                client.next_endpoint();
                continue;
            }
        };
        if revision < 1 {
            continue;
        }
        let compact = Request::Compact(Compact { revision });
        if let Outcome::Unknown(_) = session.call(&mut client, &compact).await {
            client.next_endpoint();
        }
    }
}
