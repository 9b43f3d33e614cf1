//! The `lock` workload: clients contend for a few locks through the Lock service, do fenced writes
//! while they hold one, and give it back, or die and let the lease take it away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vetcd::client::Client;
use vetcd::host::Host;

use super::Session;
use super::lease::lease_id;
use super::turn::Turn;
use crate::history::{
    Body, Compare, LeaseAnswer, LeaseRequest, Operand, Outcome, Put, Range, Relation, Request, Txn,
};
use crate::rng::Stream;
use crate::scenario::LockWorkload;

/// The share of writes before which a holder stops for longer than its lease, to go on as if nothing
/// was.
const OVERSLEEP: f64 = 0.1;

/// The share of holders that renew their lease for twice its TTL: longer than others may wait.
const LINGER: f64 = 0.1;

/// Runs one client until it is aborted.
pub async fn lock(
    host: Arc<dyn Host>,
    workload: LockWorkload,
    number: u32,
    mut random: Stream,
    mut client: Client,
    session: Session,
) {
    let locks = u64::from(workload.locks.max(1));
    for count in 1.. {
        let name = Bytes::from(format!("lock{}", random.range(0..locks)));
        let lease = lease_id(number, count);
        let mut turn = Turn {
            host: &host,
            random: &mut random,
            client: &mut client,
            session: &session,
            lease,
            ttl: workload.ttl,
        };
        let ask = LeaseRequest::Lock {
            name: name.clone(),
            lease,
        };
        if let Some(LeaseAnswer::Locked { key }) = turn.begin(&ask).await {
            let holder = Holder {
                name,
                key: key.clone(),
                step: workload.hold / 3,
                written: format!("c{number}-{count}"),
            };
            holder.work(&mut turn).await;
            turn.end(&LeaseRequest::Unlock { key }).await;
        }
        host.sleep(random.exponential(workload.pause)).await;
    }
}

struct Holder {
    name: Bytes,
    key: Bytes,
    step: Duration,
    written: String,
}

impl Holder {
    /// Writes under the lock, fenced by the revision that created its key.
    async fn work(&self, turn: &mut Turn<'_>) {
        let get = Request::Range(Range {
            key: self.key.clone(),
            ..Default::default()
        });
        let Outcome::Ok(found) = turn.session.call(turn.client, &get).await else {
            return turn.client.next_endpoint();
        };
        let Body::Range(found) = found.body else {
            return;
        };
        let Some(created) = found.kvs.first().map(|kv| kv.create_revision) else {
            return;
        };
        if turn.random.chance(LINGER) {
            for _ in 0..8 {
                turn.host.sleep(turn.lasts() / 4).await;
                turn.renew().await;
            }
        }
        for number in 0..3 {
            turn.pass(self.step, OVERSLEEP).await;
            let write = self.fenced_write(created, number);
            match turn.session.call(turn.client, &write).await {
                Outcome::Ok(response) => {
                    let lost = matches!(&response.body, Body::Txn(txn) if !txn.succeeded);
                    if lost {
                        return;
                    }
                }
                _ => turn.client.next_endpoint(),
            }
            if !turn.renew().await {
                return;
            }
        }
    }

    fn fenced_write(&self, created: i64, number: u32) -> Request {
        Request::Txn(Txn {
            compare: vec![Compare {
                key: self.key.clone(),
                range_end: Bytes::new(),
                relation: Relation::Equal,
                operand: Operand::CreateRevision(created),
            }],
            then: vec![Request::Put(Put {
                key: Bytes::from([b"fenced/", &self.name[..]].concat()),
                value: Bytes::from(format!("{}-{number}", self.written)),
                ..Default::default()
            })],
            otherwise: Vec::new(),
        })
    }
}
