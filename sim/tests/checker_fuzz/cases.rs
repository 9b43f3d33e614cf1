//! Small histories: drawn as plans that shrink well, executed on the naive store, then perhaps
//! falsified.

use bytes::Bytes;
use proptest::prelude::*;
use vetcd_sim::check::KnownOrder;
use vetcd_sim::history::*;

use crate::naive::{Naive, changes};

/// One operation to be.
#[derive(Clone, Debug)]
pub struct OpPlan {
    kind: u8,
    key: u8,
    value: u16,
    detail: u8,
    before: u8,
    after: u8,
    fate: u8,
}

/// One falsification to be.
#[derive(Clone, Debug)]
pub struct MutationPlan {
    kind: u8,
    at: u8,
    other: u8,
    up: bool,
}

/// A history to be.
#[derive(Clone, Debug)]
pub struct CasePlan {
    keys: u8,
    values: u16,
    /// Leaves out what only some stores have: compactions, leases, serializable reads.
    plain: bool,
    /// Half of the outcomes are unknown, not a quarter.
    doubtful: bool,
    /// Power is lost before this operation, where a loss is asked for, and
    loss: u8,
    /// takes the store back to before this one.
    back_to: u8,
    operations: Vec<OpPlan>,
    mutations: Vec<MutationPlan>,
}

pub fn case() -> impl Strategy<Value = CasePlan> {
    let operation = (
        0..40_u8,
        0..3_u8,
        0..1000_u16,
        any::<u8>(),
        0..30_u8,
        0..30_u8,
        0..8_u8,
    )
        .prop_map(|(kind, key, value, detail, before, after, fate)| OpPlan {
            kind,
            key,
            value,
            detail,
            before,
            after,
            fate,
        });
    let mutation = (0..12_u8, 0..9_u8, 0..9_u8, any::<bool>()).prop_map(|(kind, at, other, up)| {
        MutationPlan {
            kind,
            at,
            other,
            up,
        }
    });
    let keys = 1..4_u8;
    let values = prop_oneof![Just(2_u16), Just(1000)];
    let operations = prop::collection::vec(operation, 1..10);
    let mutations = prop::collection::vec(mutation, 0..3);
    let loss = (0..9_u8, 0..9_u8);
    let flags = (any::<bool>(), prop::bool::weighted(0.2));
    (keys, values, flags, loss, operations, mutations).prop_map(
        |(keys, values, (plain, doubtful), (loss, back_to), operations, mutations)| CasePlan {
            keys,
            values,
            plain,
            doubtful,
            loss,
            back_to,
            operations,
            mutations,
        },
    )
}

impl CasePlan {
    fn key(&self, number: u8) -> Bytes {
        Bytes::from(vec![b'a' + number % self.keys])
    }

    fn value(&self, number: u16) -> Bytes {
        Bytes::from((number % self.values).to_string())
    }

    /// Executes the plan, one operation every 10 ns; then falsifies what it says it does. Also
    /// returns what the store held before that.
    pub fn history(&self) -> (History, KnownOrder) {
        let (mut history, known) = self.execute(None);
        for mutation in &self.mutations {
            mutate(&mut history.operations, mutation);
        }
        (history, known)
    }

    /// Like [`CasePlan::history`], with one more falsification: the revision of the first
    /// serializable read is one off as often as not.
    pub fn history_with_doubtful_read(&self) -> History {
        let (mut history, _) = self.history();
        let read = history
            .operations
            .iter_mut()
            .find(|o| o.request.is_serializable());
        if let Some(Operation {
            outcome: Outcome::Ok(response),
            ..
        }) = read
        {
            response.revision += [0, 0, 1, -1][usize::from(self.loss % 4)];
            response.revision = response.revision.max(1);
        }
        history
    }

    /// Executes the plan with a power loss on the way that takes the store back; also returns when.
    pub fn history_with_loss(&self) -> (History, KnownOrder, u64) {
        let (history, known) = self.execute(Some((self.loss, self.loss.min(self.back_to))));
        (history, known, 95 + 10 * u64::from(self.loss))
    }

    fn execute(&self, loss: Option<(u8, u8)>) -> (History, KnownOrder) {
        let mut store = Naive::new();
        let mut stores = Vec::new();
        let mut operations = Vec::new();
        for (index, plan) in self.operations.iter().enumerate() {
            let point = 100 + 10 * index as u64;
            stores.push(store.clone());
            if let Some((at, back_to)) = loss
                && usize::from(at) == index
            {
                store = stores[usize::from(back_to)].clone();
            }
            let Some(request) = self.request(plan, &store) else {
                let lease = store.leases().first().copied();
                lease.into_iter().for_each(|lease| store.expire(lease));
                continue;
            };
            // One in four is of unknown outcome, and half of those are not executed.
            let fate = if self.doubtful {
                plan.fate % 4
            } else {
                plan.fate
            };
            let outcome = match fate {
                0 => Outcome::Unknown("lost".to_owned()),
                fate => match store.execute(&request) {
                    _ if fate == 1 => Outcome::Unknown("time-out".to_owned()),
                    Ok(response) => Outcome::Ok(response),
                    Err(class) => Outcome::Failed(Failure {
                        class,
                        message: String::new(),
                    }),
                },
            };
            let returned = (fate > 1).then(|| point + u64::from(plan.after));
            let invoked = point - u64::from(plan.before);
            operations.push(Operation {
                id: index as u64,
                client: index as u32,
                member: None,
                invoked,
                returned,
                request,
                outcome,
            });
        }
        let records = (2..=store.revision())
            .map(|revision| (revision, changes(&store, revision)))
            .collect();
        let known = KnownOrder {
            compacted: 0,
            revision: store.revision(),
            records,
            ..KnownOrder::default()
        };
        (
            History {
                operations,
                ..History::default()
            },
            known,
        )
    }

    fn request(&self, plan: &OpPlan, store: &Naive) -> Option<Request> {
        let key = self.key(plan.key);
        let value = self.value(plan.value);
        let flag = plan.detail & 1 == 1;
        let all = Bytes::from_static(b"\0");
        let put = Put {
            key: key.clone(),
            value,
            lease: 0,
            prev_kv: flag,
        };
        let get = Range {
            key: key.clone(),
            ..Range::default()
        };
        let list = Range {
            key: Bytes::from_static(b"a"),
            range_end: all.clone(),
            ..get.clone()
        };
        let delete = Delete {
            key: key.clone(),
            range_end: Bytes::new(),
            prev_kv: flag,
        };
        let other = Put {
            key: self.key(plan.key + 1),
            prev_kv: false,
            ..put.clone()
        };
        let old = 1 + i64::from(plan.detail >> 1) % (store.revision() + 1);
        let simple = Request::Put(put.clone());
        let plain = |request: Request| if self.plain { simple.clone() } else { request };
        let txn = |compare, then, otherwise| {
            Request::Txn(Txn {
                compare,
                then,
                otherwise,
            })
        };
        let compare = |operand| Compare {
            key: key.clone(),
            range_end: Bytes::new(),
            relation: match plan.detail >> 4 {
                0..=9 => Relation::Equal,
                10 | 11 => Relation::Greater,
                12 | 13 => Relation::Less,
                _ => Relation::NotEqual,
            },
            operand,
        };
        let held = store.keys().get(&key);
        let modified =
            held.map_or(0, |held| held.modified) - i64::from(plan.detail.is_multiple_of(4));
        Some(match plan.kind {
            0..=9 => Request::Put(put),
            10..=15 => Request::Range(get),
            16 | 17 => Request::Range(Range {
                limit: i64::from(plan.detail >> 6),
                keys_only: plan.detail.is_multiple_of(5),
                count_only: plan.detail.is_multiple_of(7),
                ..list
            }),
            18..=20 => Request::Delete(delete),
            21 => Request::Delete(Delete {
                key: self.key(0),
                range_end: all,
                prev_kv: flag,
            }),
            22..=24 => txn(
                vec![compare(Operand::ModRevision(modified))],
                vec![Request::Put(put)],
                vec![Request::Range(get)],
            ),
            25 => txn(
                vec![compare(Operand::CreateRevision(0))],
                vec![Request::Put(put)],
                if flag {
                    vec![Request::Put(Put {
                        value: self.value(7),
                        ..other
                    })]
                } else {
                    vec![]
                },
            ),
            26 => txn(
                vec![compare(Operand::Value(
                    self.value(u16::from(plan.detail >> 5)),
                ))],
                vec![Request::Put(put), Request::Range(list)],
                vec![Request::Delete(delete)],
            ),
            27 => txn(
                vec![compare(Operand::Version(i64::from(plan.detail >> 6)))],
                vec![Request::Delete(delete), Request::Range(get)],
                vec![],
            ),
            28 if self.keys > 1 => txn(
                vec![],
                vec![Request::Put(put), Request::Range(list), Request::Put(other)],
                vec![],
            ),
            29 => {
                let inner = txn(
                    vec![compare(Operand::CreateRevision(0))],
                    vec![Request::Put(put)],
                    vec![Request::Range(get)],
                );
                let first = if self.keys > 1 {
                    vec![Request::Put(other), inner]
                } else {
                    vec![inner]
                };
                txn(vec![], first, vec![])
            }
            30 | 31 => plain(Request::Compact(Compact { revision: old })),
            32 | 33 => Request::Range(Range {
                revision: old,
                ..list
            }),
            34 => plain(txn(
                vec![],
                vec![
                    Request::Put(put),
                    Request::Range(Range {
                        revision: old,
                        ..list
                    }),
                ],
                vec![],
            )),
            35 | 36 => plain(Request::Range(Range {
                serializable: true,
                ..get
            })),
            37 => plain(Request::Put(Put {
                lease: 1 + i64::from(flag),
                ..put
            })),
            38 if !self.plain => return None,
            _ => Request::Put(put),
        })
    }
}

fn mutate(operations: &mut [Operation], plan: &MutationPlan) {
    if operations.is_empty() {
        return;
    }
    let at = usize::from(plan.at) % operations.len();
    let other = usize::from(plan.other) % operations.len();
    let sign = if plan.up { 1 } else { -1 };
    let time = |at: u64| {
        if plan.up {
            at + 12
        } else {
            at.saturating_sub(12)
        }
    };
    match plan.kind {
        0 => with_response(&mut operations[at], |response| response.revision += sign),
        1 => with_kv(&mut operations[at], |kv| {
            kv.value = Bytes::from_static(b"1")
        }),
        2 => with_kv(&mut operations[at], |kv| kv.mod_revision += sign),
        3 => with_kv(&mut operations[at], |kv| kv.version += sign),
        4 => with_response(&mut operations[at], |response| match &mut response.body {
            Body::Range(body) => body.count += sign,
            Body::Delete(body) => body.deleted += sign,
            Body::Txn(body) => body.succeeded = !body.succeeded,
            _ => response.revision += sign,
        }),
        5 | 6 if operations[at].returned.is_some() && operations[other].returned.is_some() => {
            let mut taken =
                std::mem::replace(&mut operations[at].outcome, Outcome::Unknown(String::new()));
            std::mem::swap(&mut taken, &mut operations[other].outcome);
            operations[at].outcome = taken;
            if at == other {
                operations[at].outcome = Outcome::Unknown("erased".to_owned());
                operations[at].returned = None;
            }
        }
        7 => {
            operations[at].invoked = time(operations[at].invoked);
            operations[at].returned = operations[at].returned.map(time);
        }
        8 => operations[at].invoked = time(operations[at].invoked),
        9 => operations[at].returned = operations[at].returned.map(time),
        10 => {
            let middle = operations[at]
                .returned
                .map(|r| r.midpoint(operations[at].invoked));
            if let Some(middle) = middle {
                operations[at].invoked = middle;
                operations[at].returned = Some(middle);
            }
        }
        _ => {
            operations[at].outcome = Outcome::Unknown("erased".to_owned());
            operations[at].returned = None;
        }
    }
    if let Some(returned) = &mut operations[at].returned {
        *returned = (*returned).max(operations[at].invoked);
    }
}

fn with_response(operation: &mut Operation, change: impl FnOnce(&mut Response)) {
    if let Outcome::Ok(response) = &mut operation.outcome {
        change(response);
    }
}

fn with_kv(operation: &mut Operation, change: impl FnOnce(&mut KeyValue)) {
    fn first(body: &mut Body) -> Option<&mut KeyValue> {
        match body {
            Body::Range(body) => body.kvs.first_mut(),
            Body::Put(body) => body.previous.as_mut(),
            Body::Delete(body) => body.previous.first_mut(),
            Body::Txn(body) => body.responses.iter_mut().find_map(first),
            Body::Compact => None,
        }
    }
    with_response(operation, |response| {
        if let Some(kv) = first(&mut response.body) {
            change(kv);
        }
    });
}
