//! How fast a million operations are judged. Not run by default:
//! `cargo test --release -p vetcd-sim --test checker_speed -- --ignored --nocapture`

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use vetcd_sim::check::{KnownOrder, Options, Record, Verdict, certificate, strict_serializability};
use vetcd_sim::history::*;

struct Generator {
    random: ChaCha8Rng,
    keys: BTreeMap<Bytes, KeyValue>,
    revision: i64,
    known: KnownOrder,
    /// How many different values are written; they repeat beyond.
    values: u64,
}

impl Generator {
    fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit
    }

    fn put(&mut self, put: &Put, revision: i64) {
        let old = self.keys.get(&put.key);
        let new = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            create_revision: old.map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.map_or(1, |old| old.version + 1),
            lease: 0,
        };
        self.keys.insert(put.key.clone(), new);
        let record = Record {
            key: put.key.clone(),
            value: Some(put.value.clone()),
        };
        self.known.records.entry(revision).or_default().push(record);
    }

    /// 40 % get, 3 % list, 32 % put, 5 % delete, 14 % compare and swap, 6 % put two and read one.
    fn operation(&mut self, id: u64) -> (Request, Response) {
        let key = Bytes::from(format!("key{}", self.below(10)));
        let put = Put {
            key: key.clone(),
            value: Bytes::from((id % self.values).to_string()),
            ..Put::default()
        };
        let get = Range {
            key: key.clone(),
            ..Range::default()
        };
        let held = self.keys.get(&key).cloned();
        let next = self.revision + 1;
        let found = |held: &Option<KeyValue>| {
            let kvs: Vec<_> = held.iter().cloned().collect();
            Body::Range(RangeBody {
                count: kvs.len() as i64,
                kvs,
                more: false,
            })
        };
        let done = || Body::Put(PutBody::default());
        let (request, body) = match self.below(100) {
            0..40 => (Request::Range(get), found(&held)),
            40..43 => {
                let kvs: Vec<_> = self.keys.values().cloned().collect();
                let all = Range {
                    range_end: Bytes::from_static(b"\0"),
                    ..get
                };
                let all = Range {
                    key: Bytes::from_static(b"a"),
                    ..all
                };
                (
                    Request::Range(all),
                    Body::Range(RangeBody {
                        count: kvs.len() as i64,
                        kvs,
                        more: false,
                    }),
                )
            }
            43..75 => {
                self.put(&put, next);
                (Request::Put(put), done())
            }
            75..80 => {
                let body = DeleteBody {
                    deleted: i64::from(held.is_some()),
                    previous: vec![],
                };
                if self.keys.remove(&key).is_some() {
                    let record = Record {
                        key: key.clone(),
                        value: None,
                    };
                    self.known.records.insert(next, vec![record]);
                }
                (
                    Request::Delete(Delete {
                        key,
                        ..Delete::default()
                    }),
                    Body::Delete(body),
                )
            }
            80..94 => {
                let modified = held.as_ref().map_or(0, |held| held.mod_revision);
                let succeeded = self.below(3) > 0;
                let operand = Operand::ModRevision(if succeeded { modified } else { modified + 1 });
                let compare = vec![Compare {
                    key,
                    range_end: Bytes::new(),
                    relation: Relation::Equal,
                    operand,
                }];
                if succeeded {
                    self.put(&put, next);
                }
                let responses = vec![if succeeded { done() } else { found(&held) }];
                let (then, otherwise) = (vec![Request::Put(put)], vec![Request::Range(get)]);
                (
                    Request::Txn(Txn {
                        compare,
                        then,
                        otherwise,
                    }),
                    Body::Txn(TxnBody {
                        succeeded,
                        responses,
                    }),
                )
            }
            _ => {
                let other = Put {
                    key: Bytes::from(format!("key{}x", self.below(3))),
                    ..put.clone()
                };
                self.put(&put, next);
                self.put(&other, next);
                let seen = found(&self.keys.get(&put.key).cloned());
                let then = vec![Request::Put(put), Request::Range(get), Request::Put(other)];
                let responses = vec![done(), seen, done()];
                (
                    Request::Txn(Txn {
                        then,
                        ..Txn::default()
                    }),
                    Body::Txn(TxnBody {
                        succeeded: true,
                        responses,
                    }),
                )
            }
        };
        if body.is_effect() {
            self.revision = next;
        }
        (
            request,
            Response {
                revision: self.revision,
                body,
            },
        )
    }
}

/// `clients` clients, all busy; one operation in `unknown_one_in` is of unknown outcome, and half of
/// those are executed.
fn generate(count: u64, clients: u64, unknown_one_in: u64) -> (History, KnownOrder) {
    generate_values(count, clients, unknown_one_in, u64::MAX)
}

/// The same with so many different values.
fn generate_values(
    count: u64,
    clients: u64,
    unknown_one_in: u64,
    values: u64,
) -> (History, KnownOrder) {
    let mut generator = Generator {
        random: ChaCha8Rng::seed_from_u64(1),
        keys: BTreeMap::new(),
        revision: 1,
        known: KnownOrder::default(),
        values,
    };
    let mut operations = Vec::new();
    for id in 0..count {
        // Each takes effect at 1 µs intervals, somewhere in the middle of as many others as there
        // are clients.
        let point = (id + 2 * clients) * 1000;
        let invoked = point - generator.below(clients * 500);
        let returned = Some(point + generator.below(clients * 500));
        let unknown = generator.below(unknown_one_in) == 0;
        let executed = !unknown || generator.below(2) == 0;
        let before = (!executed).then(|| {
            (
                generator.keys.clone(),
                generator.revision,
                generator.known.records.len(),
            )
        });
        let (request, response) = generator.operation(id);
        if let Some((keys, revision, _)) = before {
            generator.known.records.remove(&(revision + 1));
            (generator.keys, generator.revision) = (keys, revision);
        }
        operations.push(Operation {
            id,
            client: (id % clients) as u32,
            member: None,
            invoked,
            returned: returned.filter(|_| !unknown),
            request,
            outcome: match unknown {
                true => Outcome::Unknown("time-out".to_owned()),
                false => Outcome::Ok(response),
            },
        });
    }
    generator.known.revision = generator.revision;
    (
        History {
            operations,
            ..History::default()
        },
        generator.known,
    )
}

fn measure(name: &str, history: &History, known: Option<&KnownOrder>) {
    let options = Options {
        known_order: known,
        ..Options::default()
    };
    let start = Instant::now();
    let verdict = strict_serializability::check(history, &options);
    let took = start.elapsed();
    let start = Instant::now();
    if let Verdict::Ok(certificate) = &verdict {
        certificate::verify(history, certificate).unwrap();
    }
    println!(
        "{name}: {took:?}, of which verifier {:?}: {verdict}",
        start.elapsed()
    );
    assert!(verdict.is_ok(), "{verdict}");
}

#[test]
fn ten_thousand_operations_are_no_effort() {
    let (history, known) = generate(10_000, 8, 50);
    measure("10k, 2 % unknown", &history, None);
    measure(
        "10k, 2 % unknown, final store known",
        &history,
        Some(&known),
    );
    let mut stale = history;
    let read =
        stale
            .operations
            .iter_mut()
            .rev()
            .find_map(|operation| match &mut operation.outcome {
                Outcome::Ok(Response {
                    body: Body::Range(body),
                    ..
                }) => body.kvs.first_mut(),
                _ => None,
            });
    read.unwrap().version += 1;
    let verdict = strict_serializability::check(&stale, &Options::default());
    assert!(verdict.is_violation(), "{verdict}");
}

/// Who wrote what cannot be told by values, and there is no record of the final store.
#[test]
fn five_percent_unknown_and_repeated_values_are_decided() {
    let (history, _) = generate_values(10_000, 8, 20, 5);
    measure("10k, 5 % unknown, 5 values", &history, None);
}

/// Many unknown outcomes at once, without a record of the final store; prints, and says nothing else,
/// because beyond some number of clients no verdict is the right verdict.
#[test]
#[ignore = "takes a while; measures"]
fn five_percent_unknown_at_scale() {
    for (count, clients, values) in [
        (100_000, 8, u64::MAX),
        (100_000, 8, 5),
        (100_000, 100, u64::MAX),
        (100_000, 100, 5),
        (1_000_000, 8, 5),
    ] {
        let (history, _) = generate_values(count, clients, 20, values);
        let start = Instant::now();
        let verdict = strict_serializability::check(&history, &Options::default());
        let took = start.elapsed();
        println!("{count}, {clients} clients, {values} values: {took:?}: {verdict}");
        assert!(!verdict.is_violation(), "{verdict}");
    }
}

#[test]
#[ignore = "takes a while; measures"]
fn a_million_operations() {
    for (clients, one_in) in [(8, u64::MAX), (8, 200), (100, 200)] {
        let (history, known) = generate(1_000_000, clients, one_in);
        measure(
            &format!("1M, {clients} clients, 1/{one_in} unknown"),
            &history,
            None,
        );
        measure("  final store known", &history, Some(&known));
        let mut text = Vec::new();
        let start = Instant::now();
        history.write(&mut text).unwrap();
        let wrote = start.elapsed();
        let start = Instant::now();
        let same = History::read(&text[..]).unwrap();
        println!(
            "  {} MB written in {wrote:?}, read in {:?}",
            text.len() >> 20,
            start.elapsed()
        );
        assert!(same == history);
    }
}
