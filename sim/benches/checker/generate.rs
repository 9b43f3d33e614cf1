//! Valid histories of any size, from a store that is executed while it is asked.
//!
//! The mix: 40 % get, 3 % range of everything, 32 % put, 5 % delete, 14 % compare and swap, and 6 %
//! transactions that put two keys and read one; 10 keys. Operations take effect 1 µs apart, each
//! somewhere in the middle of about as many others as there are clients. Half of those of unknown
//! outcome are executed, half of these long after the client gave up.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use vetcd_sim::check::{KnownOrder, Record};
use vetcd_sim::history::*;

/// What a history is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many operations.
    pub operations: u64,
    /// How many clients, each waiting for its answer before it goes on.
    pub clients: u64,
    /// How many in a thousand are of unknown outcome.
    pub unknown_per_mille: u64,
    /// How many different values are written; they repeat beyond.
    pub values: u64,
    /// Which of the many histories like that.
    pub seed: u64,
}

struct Generator {
    random: ChaCha8Rng,
    keys: BTreeMap<Bytes, KeyValue>,
    revision: i64,
    known: KnownOrder,
}

/// A valid history, and the store's own record of what it holds.
pub fn generate(shape: Shape) -> (History, KnownOrder) {
    let Shape {
        operations: count,
        clients,
        unknown_per_mille,
        values,
        seed,
    } = shape;
    let mut generator = Generator {
        random: ChaCha8Rng::seed_from_u64(seed),
        keys: BTreeMap::new(),
        revision: 1,
        known: KnownOrder::default(),
    };
    let mut operations = Vec::new();
    let mut late: VecDeque<(u64, Request)> = VecDeque::new();
    for id in 0..count {
        while let Some((_, request)) = late.pop_front_if(|(due, _)| *due <= id) {
            generator.execute(&request);
        }
        let point = (id + 2 * clients) * 1000;
        let invoked = point - generator.below(clients * 500);
        let returned = point + generator.below(clients * 500);
        let request = generator.request(id, values);
        let unknown = generator.below(1000) < unknown_per_mille;
        let outcome = match (unknown, generator.below(4)) {
            (false, _) => Outcome::Ok(generator.execute(&request)),
            (true, fate) => {
                match fate {
                    0 | 1 => {}
                    2 => drop(generator.execute(&request)),
                    _ => late.push_back((id + 2 * clients, request.clone())),
                }
                Outcome::Unknown("time-out".to_owned())
            }
        };
        operations.push(Operation {
            id,
            client: u32::try_from(id % clients).unwrap_or(0),
            member: None,
            invoked,
            returned: (!unknown).then_some(returned),
            request,
            outcome,
        });
    }
    generator.known.revision = generator.revision;
    let history = History {
        operations,
        ..History::default()
    };
    (history, generator.known)
}

impl Generator {
    fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit
    }

    fn request(&mut self, id: u64, values: u64) -> Request {
        let key = Bytes::from(format!("key{}", self.below(10)));
        let put = Put {
            key: key.clone(),
            value: Bytes::from((id % values).to_string()),
            ..Put::default()
        };
        let get = Range {
            key: key.clone(),
            ..Range::default()
        };
        match self.below(100) {
            0..40 => Request::Range(get),
            40..43 => Request::Range(Range {
                key: Bytes::from_static(b"a"),
                range_end: Bytes::from_static(b"\0"),
                ..Range::default()
            }),
            43..75 => Request::Put(put),
            75..80 => Request::Delete(Delete {
                key,
                ..Delete::default()
            }),
            80..94 => {
                let modified = self.keys.get(&key).map_or(0, |held| held.mod_revision);
                let wrong = i64::from(self.below(3) == 0);
                Request::Txn(Txn {
                    compare: vec![Compare {
                        key,
                        range_end: Bytes::new(),
                        relation: Relation::Equal,
                        operand: Operand::ModRevision(modified + wrong),
                    }],
                    then: vec![Request::Put(put)],
                    otherwise: vec![Request::Range(get)],
                })
            }
            _ => {
                let other = Put {
                    key: Bytes::from(format!("key{}x", self.below(3))),
                    ..put.clone()
                };
                Request::Txn(Txn {
                    then: vec![Request::Put(put), Request::Range(get), Request::Put(other)],
                    ..Txn::default()
                })
            }
        }
    }

    fn execute(&mut self, request: &Request) -> Response {
        let body = self.answer(request);
        self.revision += i64::from(body.is_effect());
        Response {
            revision: self.revision,
            body,
        }
    }

    fn answer(&mut self, request: &Request) -> Body {
        let next = self.revision + 1;
        match request {
            Request::Range(range) => {
                let one = || self.keys.get(&range.key).into_iter();
                let kvs: Vec<KeyValue> = match &range.range_end[..] {
                    [] => one().cloned().collect(),
                    _ => self.keys.values().cloned().collect(),
                };
                Body::Range(RangeBody {
                    count: i64::try_from(kvs.len()).unwrap_or(0),
                    kvs,
                    more: false,
                })
            }
            Request::Put(put) => {
                let old = self.keys.get(&put.key);
                let new = KeyValue {
                    key: put.key.clone(),
                    value: put.value.clone(),
                    create_revision: old.map_or(next, |old| old.create_revision),
                    mod_revision: next,
                    version: old.map_or(1, |old| old.version + 1),
                    lease: 0,
                };
                self.keys.insert(put.key.clone(), new);
                self.record(&put.key, Some(&put.value));
                Body::Put(PutBody::default())
            }
            Request::Delete(delete) => {
                let gone = self.keys.remove(&delete.key).is_some();
                if gone {
                    self.record(&delete.key, None);
                }
                Body::Delete(DeleteBody {
                    deleted: i64::from(gone),
                    previous: Vec::new(),
                })
            }
            Request::Txn(txn) => {
                let succeeded = txn.compare.iter().all(|compare| {
                    let held = self.keys.get(&compare.key);
                    compare.operand == Operand::ModRevision(held.map_or(0, |h| h.mod_revision))
                });
                let requests = if succeeded { &txn.then } else { &txn.otherwise };
                Body::Txn(TxnBody {
                    succeeded,
                    responses: requests.iter().map(|r| self.answer(r)).collect(),
                })
            }
            Request::Compact(_) => Body::Compact,
        }
    }

    fn record(&mut self, key: &Bytes, value: Option<&Bytes>) {
        let changes = self.known.records.entry(self.revision + 1).or_default();
        changes.push(Record {
            key: key.clone(),
            value: value.cloned(),
        });
    }
}
