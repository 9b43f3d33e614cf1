//! One lie in each of many long histories: whenever brute force on the operations around it says
//! that nothing explains them, the judge must say so of the whole.
//!
//! A history is a chain of blocks of eight operations that overlap, 4 000 operations in all, with
//! silence between blocks. So what the store held before a block is known, and brute force need only
//! look at the block. `VETCD_MUTATIONS` sets the number of histories (1 000 for the full count; 60
//! by default), `VETCD_FUZZ_SEED` draws others.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use vetcd_sim::check::{Options, Verdict, certificate, strict_serializability};
use vetcd_sim::history::*;

const BLOCK: usize = 8;
const BLOCKS: usize = 500;
/// Times between the blocks, longer than any lie moves an operation.
const SILENCE: u64 = 1_000;

/// The least that a store is, for the requests drawn here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Small {
    revision: i64,
    keys: BTreeMap<Bytes, (Bytes, i64, i64, i64)>,
}

impl Small {
    fn shown(&self, key: &Bytes, end: &Bytes) -> RangeBody {
        let kvs: Vec<KeyValue> = self
            .keys
            .iter()
            .filter(|(k, _)| *k == key || (!end.is_empty() && *k > key))
            .map(|(k, (value, create, modified, version))| KeyValue {
                key: k.clone(),
                value: value.clone(),
                create_revision: *create,
                mod_revision: *modified,
                version: *version,
                lease: 0,
            })
            .collect();
        RangeBody {
            count: kvs.len() as i64,
            kvs,
            more: false,
        }
    }

    fn answer(&mut self, request: &Request) -> Body {
        match request {
            Request::Range(range) => Body::Range(self.shown(&range.key, &range.range_end)),
            Request::Put(put) => {
                let old = self.shown(&put.key, &Bytes::new()).kvs.pop();
                self.revision += 1;
                let (create, version) = match &old {
                    Some(old) => (old.create_revision, old.version + 1),
                    None => (self.revision, 1),
                };
                let new = (put.value.clone(), create, self.revision, version);
                self.keys.insert(put.key.clone(), new);
                Body::Put(PutBody {
                    previous: old.filter(|_| put.prev_kv),
                })
            }
            Request::Delete(delete) => {
                let gone = self.keys.remove(&delete.key).is_some();
                self.revision += i64::from(gone);
                Body::Delete(DeleteBody {
                    deleted: i64::from(gone),
                    previous: vec![],
                })
            }
            Request::Txn(txn) => {
                let succeeded = txn.compare.iter().all(|compare| {
                    let modified = self.keys.get(&compare.key).map_or(0, |held| held.2);
                    compare.operand == Operand::ModRevision(modified)
                });
                let list = if succeeded { &txn.then } else { &txn.otherwise };
                Body::Txn(TxnBody {
                    succeeded,
                    responses: list.iter().map(|request| self.answer(request)).collect(),
                })
            }
            Request::Compact(_) => panic!("no compactions are drawn"),
        }
    }
}

struct Draw(ChaCha8Rng);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0.next_u64() % limit
    }

    fn request(&mut self, store: &Small, id: u64) -> Request {
        let key = Bytes::from(vec![b'a' + self.below(4) as u8]);
        // Half of the values repeat, half are unique.
        let value = match self.below(2) {
            0 => Bytes::from(self.below(2).to_string()),
            _ => Bytes::from(format!("v{id}")),
        };
        let put = Put {
            key: key.clone(),
            value,
            lease: 0,
            prev_kv: self.below(2) == 0,
        };
        let get = Range {
            key: key.clone(),
            ..Range::default()
        };
        match self.below(20) {
            0..8 => Request::Put(put),
            8..13 => Request::Range(get),
            13 => Request::Range(Range {
                key: Bytes::from_static(b"a"),
                range_end: Bytes::from_static(b"\0"),
                ..Range::default()
            }),
            14..16 => Request::Delete(Delete {
                key,
                ..Delete::default()
            }),
            _ => {
                let modified = store.keys.get(&key).map_or(0, |held| held.2);
                Request::Txn(Txn {
                    compare: vec![Compare {
                        key,
                        range_end: Bytes::new(),
                        relation: Relation::Equal,
                        operand: Operand::ModRevision(modified - i64::from(self.below(3) == 0)),
                    }],
                    then: vec![Request::Put(put)],
                    otherwise: vec![Request::Range(get)],
                })
            }
        }
    }

    /// A valid history, and the store before each block.
    fn history(&mut self) -> (History, Vec<Small>) {
        let mut store = Small {
            revision: 1,
            keys: BTreeMap::new(),
        };
        let (mut operations, mut before) = (Vec::new(), Vec::new());
        for block in 0..BLOCKS {
            before.push(store.clone());
            for place in 0..BLOCK {
                let id = (block * BLOCK + place) as u64;
                let point = (block as u64 + 1) * SILENCE + 10 * place as u64;
                let request = self.request(&store, id);
                let body = store.answer(&request);
                operations.push(Operation {
                    id,
                    client: place as u32,
                    member: Some(1 + place as u32 % 3),
                    invoked: point - self.below(40),
                    returned: Some(point + self.below(40)),
                    request,
                    outcome: Outcome::Ok(Response {
                        revision: store.revision,
                        body,
                    }),
                });
            }
        }
        (
            History {
                operations,
                ..History::default()
            },
            before,
        )
    }

    /// Falsifies one operation of a block, or two.
    fn lie(&mut self, block: &mut [Operation]) {
        let at = self.below(BLOCK as u64) as usize;
        let other = self.below(BLOCK as u64) as usize;
        let sign = if self.below(2) == 0 { 1 } else { -1 };
        let kind = self.below(11);
        let operation = &mut block[at];
        let Outcome::Ok(response) = &mut operation.outcome else {
            return;
        };
        match kind {
            0 => response.revision += sign,
            1..=4 => {
                let Some(kv) = first(&mut response.body) else {
                    response.revision += sign;
                    return;
                };
                match kind {
                    1 => kv.value = Bytes::from_static(b"0"),
                    2 => kv.mod_revision += sign,
                    3 => kv.version += sign,
                    _ => kv.create_revision += sign,
                }
            }
            5 => match &mut response.body {
                Body::Range(body) => drop(body.kvs.pop()),
                Body::Delete(body) => body.deleted = 1 - body.deleted,
                Body::Txn(body) => body.succeeded = !body.succeeded,
                _ => response.revision += sign,
            },
            6 => {
                let taken = operation.outcome.clone();
                let given = std::mem::replace(&mut block[other].outcome, taken);
                block[at].outcome = given;
            }
            7 => {
                operation.invoked -= 60;
                operation.returned = operation.returned.map(|returned| returned - 60);
            }
            8 => operation.invoked = operation.returned.unwrap(),
            9 => {
                operation.outcome = Outcome::Unknown("erased".to_owned());
                operation.returned = None;
            }
            _ => {
                operation.invoked += 60;
                operation.returned = operation.returned.map(|returned| returned + 60);
            }
        }
        let invoked = block[at].invoked;
        let returned = &mut block[at].returned;
        *returned = returned.map(|returned| returned.max(invoked));
    }
}

fn first(body: &mut Body) -> Option<&mut KeyValue> {
    match body {
        Body::Range(body) => body.kvs.first_mut(),
        Body::Put(body) => body.previous.as_mut(),
        Body::Txn(body) => body.responses.iter_mut().find_map(first),
        _ => None,
    }
}

/// Whether some order of the block explains its answers.
fn explainable(before: &Small, block: &[Operation]) -> bool {
    let mut seen = BTreeSet::new();
    let mut stack = vec![(0_u32, before.clone())];
    while let Some((done, store)) = stack.pop() {
        let open: Vec<usize> = (0..block.len()).filter(|i| done & 1 << i == 0).collect();
        let Some(deadline) = open.iter().filter_map(|i| block[*i].returned).min() else {
            return true;
        };
        for i in open.into_iter().filter(|i| block[*i].invoked <= deadline) {
            let mut store = store.clone();
            let body = store.answer(&block[i].request);
            let fits = block[i].response().is_none_or(|response| {
                body == response.body && store.revision == response.revision
            });
            if fits {
                let next = (done | 1 << i, store);
                if seen.insert(next.clone()) {
                    stack.push(next);
                }
            }
        }
    }
    false
}

#[test]
fn no_lie_in_a_long_history_is_overlooked() {
    let count = super::number("VETCD_MUTATIONS", 60);
    let mut draw = Draw(ChaCha8Rng::seed_from_u64(super::number(
        "VETCD_FUZZ_SEED",
        1,
    )));
    // Found in the block itself; found although the block alone can be explained; harmless.
    let (mut in_block, mut beyond, mut harmless) = (0, 0, 0);
    let options = Options {
        second_opinion: false,
        ..Options::default()
    };
    for _ in 0..count {
        let (mut history, before) = draw.history();
        let block = draw.below(BLOCKS as u64) as usize;
        let range = block * BLOCK..(block + 1) * BLOCK;
        draw.lie(&mut history.operations[range.clone()]);
        let explainable = explainable(&before[block], &history.operations[range]);
        match strict_serializability::check(&history, &options) {
            Verdict::Ok(certificate) => {
                certificate::verify(&history, &certificate).unwrap();
                assert!(explainable, "a lie in block {block} was overlooked");
                harmless += 1;
            }
            Verdict::Violation(_) if explainable => beyond += 1,
            Verdict::Violation(_) => in_block += 1,
            verdict @ Verdict::Undetermined(_) => panic!("{verdict}"),
        }
    }
    println!(
        "of {count} lies brute force calls {in_block} violations, all of them found; {beyond} more \
         were found that only later operations betray; {harmless} were harmless"
    );
    assert!(in_block * 2 > count && harmless > 0);
}
