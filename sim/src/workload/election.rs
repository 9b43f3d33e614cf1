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
use super::{Session, convert};
use crate::history::{LeaseAnswer, LeaseOutcome, LeaseRequest};
use crate::rng::Stream;
use crate::scenario::ElectionWorkload;

/// The share of leaders that die in office.
const DIE: f64 = 0.15;
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
        let one = Candidate {
            name: office(&workload, &mut random),
            lease: lease_id(number, count),
            ttl: workload.ttl,
            hold: workload.hold,
            words: format!("c{number}-{count}"),
        };
        one.run(&host, &mut random, &mut client, &session).await;
        host.sleep(random.exponential(workload.pause)).await;
    }
}

struct Candidate {
    name: Bytes,
    lease: i64,
    ttl: i64,
    hold: Duration,
    words: String,
}

impl Candidate {
    async fn run(
        &self,
        host: &Arc<dyn Host>,
        random: &mut Stream,
        client: &mut Client,
        session: &Session,
    ) {
        let (id, ttl) = (self.lease, self.ttl);
        let grant = LeaseRequest::Grant { id, ttl };
        if answer(session, client, &grant).await.is_none() {
            return;
        }
        let campaign = LeaseRequest::Campaign {
            name: self.name.clone(),
            lease: self.lease,
            value: Bytes::from(format!("{} runs", self.words)),
        };
        let elected = answer(session, client, &campaign).await;
        let Some(LeaseAnswer::Elected { key, created }) = elected else {
            return;
        };
        self.lead(host, random, client, session, &key, created)
            .await;
        if random.chance(DIE) {
            return;
        }
        let resign = LeaseRequest::Resign { key, created };
        answer(session, client, &resign).await;
        let revoke = LeaseRequest::Revoke { id };
        answer(session, client, &revoke).await;
    }

    /// Says this and that, and goes on after it has lost the office, until it is told so.
    async fn lead(
        &self,
        host: &Arc<dyn Host>,
        random: &mut Stream,
        client: &mut Client,
        session: &Session,
        key: &Bytes,
        created: i64,
    ) {
        let ttl = Duration::from_secs(self.ttl.unsigned_abs());
        for number in 0..random.range(0..SPEECHES + 1) {
            host.sleep(random.exponential(self.hold / 3)).await;
            if random.chance(OVERSLEEP) {
                host.sleep(ttl * 2).await;
            }
            let proclaim = LeaseRequest::Proclaim {
                key: key.clone(),
                created,
                value: Bytes::from(format!("{} says {number}", self.words)),
            };
            let said = session.lease_call(client, &proclaim).await;
            match said {
                LeaseOutcome::Ok(_) => {}
                LeaseOutcome::Failed(_) => return,
                LeaseOutcome::Unknown(_) => client.next_endpoint(),
            }
            let renew = LeaseRequest::KeepAlive { id: self.lease };
            match answer(session, client, &renew).await {
                Some(LeaseAnswer::Renewed { ttl: 0 }) => return,
                _ => continue,
            }
        }
    }
}

/// The answer to a request; turns to the next member when there is none.
async fn answer(
    session: &Session,
    client: &mut Client,
    request: &LeaseRequest,
) -> Option<LeaseAnswer> {
    match session.lease_call(client, request).await {
        LeaseOutcome::Ok(answer) => Some(answer),
        _ => {
            client.next_endpoint();
            None
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
