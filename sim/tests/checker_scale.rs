//! Histories of ten thousand operations, from the generator of the benchmark: decided, whatever is
//! unknown, and not passed when one answer is wrong. How long it takes is the benchmark's business.
//!
//! And long ones by hand, in which what was long verified turns out to have been otherwise.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use vetcd_sim::check::certificate::Step;
use vetcd_sim::check::{KnownOrder, Options, Verdict, certificate, strict_serializability};
use vetcd_sim::history::*;

#[path = "../benches/checker/generate.rs"]
mod generate;

use generate::{Shape, generate};

fn shape(clients: u64, unknown_per_mille: u64, values: u64) -> Shape {
    Shape {
        operations: 10_000,
        clients,
        unknown_per_mille,
        values,
        seed: 1,
    }
}

/// Passes the history with no more than a few judgements for each operation.
#[track_caller]
fn passes(history: &History, known: Option<&KnownOrder>) {
    let options = Options {
        known_order: known,
        steps_max: 3 * history.operations.len() as u64,
        ..Options::default()
    };
    let verdict = strict_serializability::check(history, &options);
    let Verdict::Ok(order) = verdict else {
        panic!("{verdict}");
    };
    certificate::verify(history, &order).unwrap();
}

#[test]
fn few_unknown_outcomes_are_no_effort() {
    for clients in [8, 1000] {
        let (history, known) = generate(shape(clients, 5, u64::MAX));
        passes(&history, None);
        passes(&history, Some(&known));
    }
}

/// Who wrote what cannot be told by values, and there is no record of the final store.
#[test]
fn five_percent_unknown_and_repeated_values_are_decided() {
    for clients in [8, 100, 1000] {
        for values in [1, 5, u64::MAX] {
            let (history, _) = generate(shape(clients, 50, values));
            passes(&history, None);
        }
    }
}

#[test]
fn one_wrong_version_is_found_among_unknown_outcomes() {
    let (mut history, _) = generate(shape(8, 20, 5));
    let mut operations = history.operations.iter_mut().rev();
    let read = operations.find_map(|operation| match &mut operation.outcome {
        Outcome::Ok(Response {
            body: Body::Range(body),
            ..
        }) => body.kvs.first_mut(),
        _ => None,
    });
    read.unwrap().version += 1;
    let verdict = strict_serializability::check(&history, &Options::default());
    assert!(verdict.is_violation(), "{verdict}");
}

/// A history that is written down operation by operation, none at the same time as another but for
/// those of unknown outcome.
#[derive(Default)]
struct Told {
    operations: Vec<Operation>,
    revision: i64,
}

impl Told {
    fn add(&mut self, request: Request, body: Option<Body>) -> u64 {
        let id = self.operations.len() as u64;
        let revision = self.revision;
        self.operations.push(Operation {
            id,
            client: 0,
            member: None,
            invoked: id * 10,
            returned: body.is_some().then_some(id * 10 + 5),
            request,
            outcome: match body {
                Some(body) => Outcome::Ok(Response { revision, body }),
                None => Outcome::Unknown("time-out".to_owned()),
            },
        });
        id
    }

    fn put(&mut self, key: &'static str, value: &'static str) {
        self.revision += 1;
        self.add(put(key, value), Some(Body::Put(PutBody::default())));
    }

    /// More writes than the verifier stays behind the search, to another key.
    fn much_else(&mut self) {
        (0..2000).for_each(|_| self.put("else", "?"));
    }

    fn judge(self) -> (History, Verdict<certificate::Certificate>) {
        let history = History {
            operations: self.operations,
            ..History::default()
        };
        let options = Options {
            second_opinion: false,
            ..Options::default()
        };
        let verdict = strict_serializability::check(&history, &options);
        (history, verdict)
    }
}

fn put(key: &'static str, value: &'static str) -> Request {
    Request::Put(Put {
        key: Bytes::from_static(key.as_bytes()),
        value: Bytes::from_static(value.as_bytes()),
        ..Put::default()
    })
}

/// Only the number of keys in the end tells which of two operations wrote revision 3.
#[test]
fn the_search_goes_back_past_what_was_verified() {
    for count in 0..=4 {
        let mut told = Told {
            revision: 1,
            ..Told::default()
        };
        told.put("deleted", "?");
        let delete = Request::Delete(Delete {
            key: Bytes::from_static(b"deleted"),
            ..Delete::default()
        });
        let deletes = told.add(delete, None);
        let puts = told.add(put("put", "?"), None);
        told.revision += 1;
        told.much_else();
        let everything = Range {
            key: Bytes::from_static(b"a"),
            range_end: Bytes::from_static(b"\0"),
            count_only: true,
            ..Range::default()
        };
        let counted = RangeBody {
            count,
            ..RangeBody::default()
        };
        told.add(Request::Range(everything), Some(Body::Range(counted)));
        let (history, verdict) = told.judge();
        // The deleted key or the put one, and the one that is written all the time.
        let writer = match count {
            1 => deletes,
            3 => puts,
            _ => {
                assert!(verdict.is_violation(), "{count}: {verdict}");
                continue;
            }
        };
        let Verdict::Ok(order) = verdict else {
            panic!("{count}: {verdict}");
        };
        certificate::verify(&history, &order).unwrap();
        assert_eq!(order.steps[1], Step::Operation(writer));
        assert_eq!(order.statistics.unknown_executed, 1);
    }
}

/// Three operations of unknown outcome put a key; the values of two of them are seen much later.
#[test]
fn an_operation_is_needed_later_than_where_it_was_verified() {
    for seen in ["twice", "once"] {
        let mut told = Told {
            revision: 1,
            ..Told::default()
        };
        for value in ["twice", "once", "twice"] {
            told.add(put("key", value), None);
        }
        told.revision += 1;
        told.put("key", "seen by nobody before");
        for (value, version) in [("twice", 3), (seen, 4)] {
            told.much_else();
            told.revision += 1;
            let get = Range {
                key: Bytes::from_static(b"key"),
                ..Range::default()
            };
            let shown = RangeBody {
                kvs: vec![KeyValue {
                    key: Bytes::from_static(b"key"),
                    value: Bytes::from_static(value.as_bytes()),
                    create_revision: 2,
                    mod_revision: told.revision,
                    version,
                    lease: 0,
                }],
                more: false,
                count: 1,
            };
            told.add(Request::Range(get), Some(Body::Range(shown)));
        }
        let (history, verdict) = told.judge();
        let Verdict::Ok(order) = verdict else {
            panic!("{seen}: {verdict}");
        };
        certificate::verify(&history, &order).unwrap();
        assert_eq!(order.statistics.unknown_executed, 3);
    }
}
