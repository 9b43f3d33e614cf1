//! The `lock` workload: clients contend for a few locks through the Lock service, do fenced writes
//! while they hold one, and give it back, or die and let the lease take it away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vetcd::client::Client;
use vetcd::host::Host;

use super::Session;
use super::lease::lease_id;
use crate::history::{
    Body, Compare, LeaseAnswer, LeaseOutcome, LeaseRequest, Operand, Outcome, Put, Range, Relation,
    Request, Txn,
};
use crate::rng::Stream;
use crate::scenario::LockWorkload;

/// The share of holders that die with the lock.
const DIE: f64 = 0.15;
/// The share of holders that stop for longer than their lease, and then write as if nothing was.
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
        let holder = Holder {
            name: Bytes::from(format!("lock{}", random.range(0..locks))),
            lease: lease_id(number, count),
            ttl: workload.ttl,
            hold: workload.hold,
            written: format!("c{number}-{count}"),
        };
        holder.turn(&host, &mut random, &mut client, &session).await;
        host.sleep(random.exponential(workload.pause)).await;
    }
}

struct Holder {
    name: Bytes,
    lease: i64,
    ttl: i64,
    hold: Duration,
    written: String,
}

impl Holder {
    async fn turn(
        &self,
        host: &Arc<dyn Host>,
        random: &mut Stream,
        client: &mut Client,
        session: &Session,
    ) {
        let grant = LeaseRequest::Grant {
            id: self.lease,
            ttl: self.ttl,
        };
        if !matches!(
            session.lease_call(client, &grant).await,
            LeaseOutcome::Ok(_)
        ) {
            return client.next_endpoint();
        }
        let lock = LeaseRequest::Lock {
            name: self.name.clone(),
            lease: self.lease,
        };
        let LeaseOutcome::Ok(LeaseAnswer::Locked { key }) = session.lease_call(client, &lock).await
        else {
            client.next_endpoint();
            return;
        };
        self.work(host, random, client, session, &key).await;
        if random.chance(DIE) {
            return;
        }
        let unlock = LeaseRequest::Unlock { key };
        if !matches!(
            session.lease_call(client, &unlock).await,
            LeaseOutcome::Ok(_)
        ) {
            client.next_endpoint();
        }
        let revoke = LeaseRequest::Revoke { id: self.lease };
        if !matches!(
            session.lease_call(client, &revoke).await,
            LeaseOutcome::Ok(_)
        ) {
            client.next_endpoint();
        }
    }

    /// Writes under the lock, fenced by the revision that created its key.
    async fn work(
        &self,
        host: &Arc<dyn Host>,
        random: &mut Stream,
        client: &mut Client,
        session: &Session,
        key: &Bytes,
    ) {
        let get = Request::Range(Range {
            key: key.clone(),
            ..Default::default()
        });
        let Outcome::Ok(found) = session.call(client, &get).await else {
            return client.next_endpoint();
        };
        let Body::Range(found) = found.body else {
            return;
        };
        let Some(created) = found.kvs.first().map(|kv| kv.create_revision) else {
            return;
        };
        if random.chance(LINGER) {
            for _ in 0..8 {
                let quarter = Duration::from_secs(self.ttl.unsigned_abs()) / 4;
                host.sleep(quarter).await;
                let renew = LeaseRequest::KeepAlive { id: self.lease };
                if !matches!(
                    session.lease_call(client, &renew).await,
                    LeaseOutcome::Ok(_)
                ) {
                    client.next_endpoint();
                }
            }
        }
        for number in 0..3 {
            host.sleep(random.exponential(self.hold / 3)).await;
            if random.chance(OVERSLEEP) {
                host.sleep(Duration::from_secs(self.ttl.unsigned_abs()) * 2)
                    .await;
            }
            let write = Request::Txn(Txn {
                compare: vec![Compare {
                    key: key.clone(),
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
            });
            match session.call(client, &write).await {
                Outcome::Ok(response) => {
                    let lost = matches!(&response.body, Body::Txn(txn) if !txn.succeeded);
                    if lost {
                        return;
                    }
                }
                _ => client.next_endpoint(),
            }
            let renew = LeaseRequest::KeepAlive { id: self.lease };
            match session.lease_call(client, &renew).await {
                LeaseOutcome::Ok(LeaseAnswer::Renewed { ttl: 0 }) => return,
                LeaseOutcome::Ok(_) => {}
                _ => client.next_endpoint(),
            }
        }
    }
}
