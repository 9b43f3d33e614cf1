//! The `kv` workload: puts, gets, ranges, deletes, compare-and-swap and multi-key transactions on a
//! small set of keys, so that operations meet.
//!
//! Written values are unique (client and counter), which lets a checker tell who wrote what. Think
//! times are exponential around the rate's share of each client, so load comes in bursts as in life.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vetcd::client::Client;
use vetcd::host::Host;

use super::Session;
use crate::history::{Body, Compare, Delete, Operand, Outcome, Put, Range, Relation, Request, Txn};
use crate::rng::Stream;
use crate::scenario::KvWorkload;

/// The share of gets that any member may answer from what it happens to hold.
const SERIALIZABLE: f64 = 0.1;

/// Runs one client until it is aborted.
pub async fn kv(
    host: Arc<dyn Host>,
    workload: KvWorkload,
    number: u32,
    mut random: Stream,
    mut client: Client,
    session: Session,
) {
    let per_second = workload.rate.per_second() / f64::from(workload.clients.max(1));
    let think = Duration::from_secs_f64(1.0 / per_second.max(1e-6));
    let mut generator = Generator {
        keys: workload.keys.max(1),
        value_size: workload.value_size as usize,
        number,
        written: 0,
        revisions: BTreeMap::new(),
    };
    let weights = workload.mix.weights();
    let mut due = host.now();
    loop {
        // Arrivals follow their own schedule; a client that is behind it goes on at once.
        due = due + random.exponential(think);
        let now = host.now();
        match due.since(now) {
            Duration::ZERO => due = now,
            wait => host.sleep(wait).await,
        }
        let request = generator.draw(&weights, &mut random);
        let outcome = session.call(&mut client, &request).await;
        match outcome {
            Outcome::Ok(response) => generator.learn(&request, &response.body),
            Outcome::Failed(_) | Outcome::Unknown(_) => client.next_endpoint(),
        }
    }
}

struct Generator {
    keys: u32,
    value_size: usize,
    number: u32,
    written: u64,
    /// The revision at which this client last saw each key, for its compare-and-swaps.
    revisions: BTreeMap<Bytes, i64>,
}

impl Generator {
    fn draw(&mut self, weights: &[(&'static str, u32)], random: &mut Stream) -> Request {
        let total: u64 = weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut draw = random.range(0..total.max(1));
        let mut kind = "get";
        for (name, weight) in weights {
            if draw < u64::from(*weight) {
                kind = name;
                break;
            }
            draw -= u64::from(*weight);
        }
        match kind {
            "put" => self.put(random),
            "range" => Request::Range(Range {
                key: Bytes::from_static(b"k"),
                range_end: Bytes::from_static(b"l"),
                ..Default::default()
            }),
            "delete" => Request::Delete(Delete {
                key: self.key(random),
                ..Default::default()
            }),
            "cas" => self.compare_and_swap(random),
            "txn" => self.transaction(random),
            _ => Request::Range(Range {
                key: self.key(random),
                serializable: random.chance(SERIALIZABLE),
                ..Default::default()
            }),
        }
    }

    fn key(&self, random: &mut Stream) -> Bytes {
        Bytes::from(format!("k{}", random.range(0..u64::from(self.keys))))
    }

    fn put(&mut self, random: &mut Stream) -> Request {
        let key = self.key(random);
        self.put_at(key)
    }

    fn put_at(&mut self, key: Bytes) -> Request {
        self.written += 1;
        let mut value = format!("c{}-{}", self.number, self.written);
        while value.len() < self.value_size {
            value.push('.');
        }
        Request::Put(Put {
            key,
            value: value.into(),
            ..Default::default()
        })
    }

    fn compare_and_swap(&mut self, random: &mut Stream) -> Request {
        let key = self.key(random);
        let seen = self.revisions.get(&key).copied().unwrap_or(0);
        let put = self.put_at(key.clone());
        Request::Txn(Txn {
            compare: vec![Compare {
                key: key.clone(),
                range_end: Bytes::new(),
                relation: Relation::Equal,
                operand: Operand::ModRevision(seen),
            }],
            then: vec![put],
            otherwise: vec![get(key)],
        })
    }

    /// Writes two keys and reads between, so that half a transaction would show.
    fn transaction(&mut self, random: &mut Stream) -> Request {
        let first = self.key(random);
        let mut second = self.key(random);
        if second == first {
            second = Bytes::from([&first[..], b"'"].concat());
        }
        let put_first = self.put_at(first.clone());
        let put_second = self.put_at(second.clone());
        Request::Txn(Txn {
            compare: Vec::new(),
            then: vec![put_first, get(second), put_second, get(first)],
            otherwise: Vec::new(),
        })
    }

    fn learn(&mut self, request: &Request, body: &Body) {
        match (request, body) {
            (Request::Range(range), Body::Range(found)) => {
                if found.kvs.is_empty() && range.range_end.is_empty() {
                    self.revisions.remove(&range.key);
                }
                for kv in &found.kvs {
                    self.revisions.insert(kv.key.clone(), kv.mod_revision);
                }
            }
            (Request::Txn(txn), Body::Txn(done)) => {
                let branch = match done.succeeded {
                    true => &txn.then,
                    false => &txn.otherwise,
                };
                for (request, body) in branch.iter().zip(&done.responses) {
                    self.learn(request, body);
                }
            }
            _ => {}
        }
    }
}

fn get(key: Bytes) -> Request {
    Request::Range(Range {
        key,
        ..Default::default()
    })
}
