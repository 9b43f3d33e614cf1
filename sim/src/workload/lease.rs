//! The `lease` workload: clients that grant leases, hang keys on them, renew them for a while, and
//! then revoke them or let them expire, asking now and then how much time is left.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vetcd::client::Client;
use vetcd::host::Host;

use super::Session;
use crate::history::{LeaseAnswer, LeaseOutcome, LeaseRequest, Outcome, Put, Range, Request};
use crate::rng::Stream;
use crate::scenario::LeaseWorkload;

/// The most keys on one lease.
const KEYS: u64 = 4;
/// The most renewals of one lease.
const RENEWALS: u64 = 6;

/// A lease ID that no other client of the run uses; a few are negative, which is as good.
pub fn lease_id(client: u32, count: i64) -> i64 {
    let id = i64::from(client + 1) << 32 | count;
    if count % 8 == 7 { -id } else { id }
}

/// Runs one client until it is aborted.
pub async fn lease(
    host: Arc<dyn Host>,
    workload: LeaseWorkload,
    number: u32,
    mut random: Stream,
    mut client: Client,
    session: Session,
) {
    for count in 1.. {
        let one = OneLease {
            id: lease_id(number, count),
            ttl: workload.ttl + random.range(0..3) as i64,
            prefix: format!("l{number}/{count}/"),
        };
        one.live(&host, &mut random, &mut client, &session).await;
        host.sleep(random.exponential(workload.pause)).await;
    }
}

struct OneLease {
    id: i64,
    ttl: i64,
    prefix: String,
}

impl OneLease {
    async fn live(
        &self,
        host: &Arc<dyn Host>,
        random: &mut Stream,
        client: &mut Client,
        session: &Session,
    ) {
        let (id, ttl) = (self.id, self.ttl);
        let granted = session
            .lease_call(client, &LeaseRequest::Grant { id, ttl })
            .await;
        if !matches!(granted, LeaseOutcome::Ok(_)) {
            client.next_endpoint();
            return;
        }
        for key in 0..random.range(0..KEYS) {
            let put = Request::Put(Put {
                key: Bytes::from(format!("{}{key}", self.prefix)),
                value: Bytes::from(format!("{id:x}")),
                lease: id,
                ..Default::default()
            });
            if !matches!(session.call(client, &put).await, Outcome::Ok(_)) {
                client.next_endpoint();
            }
        }
        let third = Duration::from_secs(ttl.unsigned_abs()) / 3;
        for _ in 0..random.range(0..RENEWALS) {
            // Sometimes too late.
            let late = if random.chance(0.1) { 3 } else { 1 };
            host.sleep(random.duration(third / 2..third * late)).await;
            let request = match random.chance(0.25) {
                true => LeaseRequest::TimeToLive { id },
                false => LeaseRequest::KeepAlive { id },
            };
            match session.lease_call(client, &request).await {
                LeaseOutcome::Ok(
                    LeaseAnswer::Renewed { ttl: 0 } | LeaseAnswer::Times { ttl: -1 },
                ) => {
                    break;
                }
                LeaseOutcome::Ok(_) => {}
                _ => client.next_endpoint(),
            }
        }
        if random.chance(0.5) {
            let revoked = session
                .lease_call(client, &LeaseRequest::Revoke { id })
                .await;
            if !matches!(revoked, LeaseOutcome::Ok(_)) {
                client.next_endpoint();
            }
        } else if random.chance(0.5) {
            // Watches it go.
            host.sleep(third * 4).await;
            session
                .lease_call(client, &LeaseRequest::TimeToLive { id })
                .await;
        }
        let mut range_end = self.prefix.clone().into_bytes();
        if let Some(last) = range_end.last_mut() {
            *last += 1;
        }
        let range = Request::Range(Range {
            key: Bytes::from(self.prefix.clone()),
            range_end: range_end.into(),
            ..Default::default()
        });
        if !matches!(session.call(client, &range).await, Outcome::Ok(_)) {
            client.next_endpoint();
        }
    }
}
