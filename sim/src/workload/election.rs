//! The `election` workload: candidates campaign for a few offices, say this and that while they
//! lead, and resign, or die and let their lease end; observers are told who leads, on one stream
//! after another, and ask now and then.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vetcd::api::proto::v3electionpb as pb;
use vetcd::client::Client;
use vetcd::host::{Host, HostExt};

use super::lease::lease_id;
use super::turn::Turn;
use super::{Session, convert};
use crate::history::{LeaseAnswer, LeaseOutcome, LeaseRequest};
use crate::rng::Stream;
use crate::scenario::ElectionWorkload;

/// The share of speeches before which a leader sleeps for longer than its lease.
const OVERSLEEP: f64 = 0.08;
/// The most a leader says after its first words.
const SPEECHES: u64 = 5;
/// Pause before an observer tries another member.
const RETRY: Duration = Duration::from_millis(200);

fn office(workload: &ElectionWorkload, random: &mut Stream) -> Bytes {
    let number = random.range(0..u64::from(workload.elections.max(1)));
    Bytes::from(format!("office{number}"))
}

/// Runs one candidate until it is aborted.
pub async fn candidate(
    host: Arc<dyn Host>,
    workload: ElectionWorkload,
    number: u32,
    mut random: Stream,
    mut client: Client,
    session: Session,
) {
    for count in 1.. {
        let name = office(&workload, &mut random);
        let lease = lease_id(number, count);
        let mut turn = Turn {
            host: &host,
            random: &mut random,
            client: &mut client,
            session: &session,
            lease,
            ttl: workload.ttl,
        };
        let words = format!("c{number}-{count}");
        let campaign = LeaseRequest::Campaign {
            name,
            lease,
            value: Bytes::from(format!("{words} runs")),
        };
        if let Some(LeaseAnswer::Elected { key, created }) = turn.begin(&campaign).await {
            lead(&mut turn, &key, created, workload.hold / 3, &words).await;
            turn.end(&LeaseRequest::Resign { key, created }).await;
        }
        host.sleep(random.exponential(workload.pause)).await;
    }
}

/// Says this and that, and goes on after it has lost the office, until it is told so.
async fn lead(turn: &mut Turn<'_>, key: &Bytes, created: i64, step: Duration, words: &str) {
    for number in 0..turn.random.range(0..SPEECHES + 1) {
        turn.pass(step, OVERSLEEP).await;
        let proclaim = LeaseRequest::Proclaim {
            key: key.clone(),
            created,
            value: Bytes::from(format!("{words} says {number}")),
        };
        match turn.session.lease_call(turn.client, &proclaim).await {
            LeaseOutcome::Ok(_) => {}
            LeaseOutcome::Failed(_) => return,
            LeaseOutcome::Unknown(_) => turn.client.next_endpoint(),
        }
        if !turn.renew().await {
            return;
        }
    }
}

/// Runs one observer until it is aborted.
pub async fn observer(
    host: Arc<dyn Host>,
    workload: ElectionWorkload,
    mut random: Stream,
    mut client: Client,
    session: Session,
) {
    loop {
        let name = office(&workload, &mut random);
        let ask = LeaseRequest::Leader { name: name.clone() };
        session.lease_call(&mut client, &ask).await;
        let position = session.observe(client.endpoint(), &name);
        let request = pb::LeaderRequest {
            name: session.sent_election(&name),
        };
        if let Ok(mut stream) = client.observe(request).await {
            // A stream for a while, until it breaks or falls silent.
            let until = host.now() + random.exponential(workload.timeout);
            while host.now() < until {
                let waiting = host.timeout(workload.timeout, stream.next());
                match waiting.await {
                    Some(Ok(Some(response))) => session.told(position, convert::leader(response)),
                    Some(Ok(None) | Err(_)) | None => break,
                }
            }
        }
        client.next_endpoint();
        host.sleep(RETRY).await;
    }
}
