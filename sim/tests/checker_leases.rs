//! The judges of leases and locks on histories written by hand: each guarantee kept, and broken.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use vetcd_sim::check::lease::{self, Bounds};
use vetcd_sim::check::{KnownOrder, Options, Record, Verdict, lock, strict_serializability};
use vetcd_sim::history::{
    Body, Compare, Delete, DeleteBody, History, LeaseAnswer, LeaseHistory, LeaseOperation,
    LeaseOutcome, LeaseRequest, Operand, Operation, Outcome, Put, PutBody, Range, RangeBody,
    Relation, Removal, Request, Response, Txn, TxnBody,
};

const SECOND: u64 = 1_000_000_000;

fn bounds() -> Bounds {
    Bounds {
        drift_ppm: 0,
        election_timeout: SECOND,
        slack: 5 * SECOND,
        leaders: vec![0],
        faults: Vec::new(),
        end: 100 * SECOND,
    }
}

fn operation(
    client: u32,
    from: u64,
    to: u64,
    request: LeaseRequest,
    answer: LeaseAnswer,
) -> LeaseOperation {
    LeaseOperation {
        id: from * 1_000 + to,
        client,
        member: None,
        invoked: from * SECOND,
        returned: Some(to * SECOND),
        request,
        outcome: LeaseOutcome::Ok(answer),
    }
}

fn grant(from: u64, to: u64, id: i64, ttl: i64) -> LeaseOperation {
    operation(
        1,
        from,
        to,
        LeaseRequest::Grant { id, ttl },
        LeaseAnswer::Granted { ttl },
    )
}

fn renew(from: u64, to: u64, id: i64, ttl: i64) -> LeaseOperation {
    operation(
        1,
        from,
        to,
        LeaseRequest::KeepAlive { id },
        LeaseAnswer::Renewed { ttl },
    )
}

fn times(from: u64, to: u64, id: i64, ttl: i64) -> LeaseOperation {
    operation(
        1,
        from,
        to,
        LeaseRequest::TimeToLive { id },
        LeaseAnswer::Times { ttl },
    )
}

fn revoke(from: u64, to: u64, id: i64) -> LeaseOperation {
    operation(
        1,
        from,
        to,
        LeaseRequest::Revoke { id },
        LeaseAnswer::Revoked,
    )
}

fn unknown(mut operation: LeaseOperation) -> LeaseOperation {
    operation.returned = None;
    operation.outcome = LeaseOutcome::Unknown("time-out".to_owned());
    operation
}

fn expired(at: u64, id: i64) -> Removal {
    Removal {
        id,
        at: at * SECOND,
        expired: true,
        revision: 9,
    }
}

fn revoked(at: u64, id: i64) -> Removal {
    Removal {
        expired: false,
        ..expired(at, id)
    }
}

fn judge(
    operations: &[LeaseOperation],
    removals: &[Removal],
    bounds: &Bounds,
) -> Verdict<lease::Report> {
    let leases = LeaseHistory {
        operations: operations.to_vec(),
        removals: removals.to_vec(),
        ..LeaseHistory::default()
    };
    lease::check(&leases, &History::default(), None, bounds)
}

#[track_caller]
fn passes(operations: &[LeaseOperation], removals: &[Removal]) -> lease::Report {
    let verdict = judge(operations, removals, &bounds());
    assert!(verdict.is_ok(), "{verdict}");
    verdict.ok().unwrap()
}

#[track_caller]
fn fails(operations: &[LeaseOperation], removals: &[Removal], why: &str) {
    let verdict = judge(operations, removals, &bounds());
    let summary = verdict.violation().expect("a violation").summary;
    assert!(summary.contains(why), "{summary}");
}

#[test]
fn a_lease_may_end_once_every_promise_has_passed() {
    let operations = [grant(10, 11, 7, 5), renew(13, 14, 7, 5)];
    let report = passes(&operations, &[expired(18, 7)]);
    assert_eq!((report.leases, report.promises, report.expired), (1, 2, 1));
}

#[test]
fn a_lease_must_not_end_before_a_grants_promise() {
    fails(
        &[grant(10, 11, 7, 5)],
        &[expired(14, 7)],
        "before its promise",
    );
}

#[test]
fn a_lease_must_not_end_before_a_renewals_promise() {
    let operations = [grant(10, 11, 7, 5), renew(13, 14, 7, 5)];
    fails(&operations, &[expired(16, 7)], "before its promise");
    // A renewal of unknown outcome promises nothing.
    passes(
        &[grant(10, 11, 7, 5), unknown(renew(13, 14, 7, 5))],
        &[expired(16, 7)],
    );
    // One that was answered only after the end, but with a TTL, does.
    let operations = [grant(10, 11, 7, 5), renew(14, 17, 7, 5)];
    fails(&operations, &[expired(16, 7)], "before its promise");
}

#[test]
fn a_fast_clock_may_end_a_lease_a_little_early_and_no_more() {
    let drifting = Bounds {
        drift_ppm: 250_000,
        ..bounds()
    };
    let operations = [grant(10, 11, 7, 10)];
    assert!(judge(&operations, &[expired(18, 7)], &drifting).is_ok());
    assert!(judge(&operations, &[expired(17, 7)], &drifting).is_violation());
}

#[test]
fn a_revocation_needs_somebody_who_asked() {
    passes(&[grant(10, 11, 7, 5), revoke(12, 14, 7)], &[revoked(13, 7)]);
    passes(
        &[grant(10, 11, 7, 5), unknown(revoke(12, 14, 7))],
        &[revoked(15, 7)],
    );
    fails(
        &[grant(10, 11, 7, 5)],
        &[revoked(12, 7)],
        "nobody had asked",
    );
    let late = [grant(10, 11, 7, 5), revoke(13, 14, 7)];
    fails(&late, &[revoked(12, 7)], "nobody had asked");
}

#[test]
fn the_dead_stay_dead() {
    let end = [expired(15, 7)];
    passes(
        &[
            grant(10, 11, 7, 5),
            renew(16, 17, 7, 0),
            times(18, 19, 7, -1),
        ],
        &end,
    );
    fails(
        &[grant(10, 11, 7, 5), times(16, 17, 7, 3)],
        &end,
        "that it lives",
    );
    let end = [revoked(13, 7)];
    let renewed = [grant(10, 11, 7, 5), revoke(12, 14, 7), renew(15, 16, 7, 5)];
    fails(&renewed, &end, "that it lives");
    // A question that overlaps the end may be answered either way.
    passes(
        &[grant(10, 11, 7, 5), revoke(12, 14, 7), times(12, 14, 7, 3)],
        &end,
    );
}

#[test]
fn an_answered_revocation_has_happened() {
    fails(
        &[grant(10, 11, 7, 5), revoke(12, 13, 7)],
        &[],
        "was still there",
    );
    fails(
        &[grant(10, 11, 7, 5), revoke(12, 13, 7)],
        &[revoked(14, 7)],
        "was still there",
    );
}

#[test]
fn no_lease_lives_forever() {
    fails(&[grant(10, 11, 7, 5)], &[], "nothing put its end off");
    // 11 s + 5 s TTL + 2 s for elections + 5 s slack = 23 s.
    passes(&[grant(10, 11, 7, 5)], &[expired(22, 7)]);
    fails(
        &[grant(10, 11, 7, 5)],
        &[expired(24, 7)],
        "nothing put its end off",
    );
    passes(
        &[grant(10, 11, 7, 5), renew(14, 15, 7, 5)],
        &[expired(26, 7)],
    );
    passes(
        &[grant(10, 11, 7, 5), unknown(renew(14, 15, 7, 5))],
        &[expired(35, 7)],
    );
}

#[test]
fn faults_and_new_leaders_put_an_end_off() {
    let new_leader = Bounds {
        leaders: vec![0, 20 * SECOND],
        ..bounds()
    };
    let operations = [grant(10, 11, 7, 5)];
    assert!(judge(&operations, &[expired(31, 7)], &new_leader).is_ok());
    assert!(judge(&operations, &[expired(33, 7)], &new_leader).is_violation());
    let fault = Bounds {
        faults: vec![(12 * SECOND, 40 * SECOND)],
        ..bounds()
    };
    assert!(judge(&operations, &[expired(39, 7)], &fault).is_ok());
    assert!(judge(&operations, &[expired(51, 7)], &fault).is_ok());
    assert!(judge(&operations, &[expired(53, 7)], &fault).is_violation());
}

#[test]
fn a_lease_ends_once() {
    fails(
        &[grant(10, 11, 7, 5)],
        &[expired(15, 7), expired(16, 7)],
        "ended twice",
    );
}

// Keys.

fn ok(id: u64, request: Request, revision: i64, body: Body) -> Operation {
    Operation {
        id,
        client: 1,
        member: None,
        invoked: id * SECOND,
        returned: Some(id * SECOND + SECOND / 2),
        request,
        outcome: Outcome::Ok(Response { revision, body }),
    }
}

fn put(id: u64, key: &'static str, lease: i64, revision: i64) -> Operation {
    let put = Put {
        key: key.into(),
        value: "v".into(),
        lease,
        ..Default::default()
    };
    ok(
        id,
        Request::Put(put),
        revision,
        Body::Put(PutBody::default()),
    )
}

fn gone(key: &'static str) -> Record {
    Record {
        key: key.into(),
        value: None,
    }
}

fn there(key: &'static str) -> Record {
    Record {
        key: key.into(),
        value: Some("v".into()),
    }
}

fn known(records: &[(i64, &[Record])]) -> KnownOrder {
    KnownOrder {
        compacted: 0,
        revision: records.iter().map(|(at, _)| *at).max().unwrap_or(1),
        records: records
            .iter()
            .map(|(at, all)| (*at, all.to_vec()))
            .collect(),
        ..KnownOrder::default()
    }
}

fn judge_keys(operations: &[Operation], known: &KnownOrder, end: i64) -> Verdict<lease::Report> {
    let leases = LeaseHistory {
        operations: vec![grant(1, 1, 7, 5)],
        removals: vec![Removal {
            revision: end,
            ..expired(10, 7)
        }],
        ..LeaseHistory::default()
    };
    let history = History {
        operations: operations.to_vec(),
        ..History::default()
    };
    lease::check(&leases, &history, Some(known), &bounds())
}

#[test]
fn keys_go_with_their_lease() {
    let puts = [put(2, "a", 7, 2), put(3, "b", 7, 3)];
    let both = known(&[
        (2, &[there("a")]),
        (3, &[there("b")]),
        (4, &[gone("a"), gone("b")]),
    ]);
    let verdict = judge_keys(&puts, &both, 4);
    assert_eq!(verdict.ok().unwrap().keys, 2);
    let one = known(&[(2, &[there("a")]), (3, &[there("b")]), (4, &[gone("a")])]);
    let found = judge_keys(&puts, &one, 4).violation().unwrap();
    assert!(
        found.summary.contains("key b outlived"),
        "{}",
        found.summary
    );
    let two = known(&[
        (2, &[there("a")]),
        (3, &[there("b")]),
        (4, &[gone("a")]),
        (5, &[gone("b")]),
    ]);
    let found = judge_keys(&puts, &two, 4).violation().unwrap();
    assert!(
        found.summary.contains("key b outlived"),
        "{}",
        found.summary
    );
}

#[test]
fn a_key_must_not_vanish_by_itself() {
    let puts = [put(2, "a", 7, 2)];
    let early = known(&[(2, &[there("a")]), (3, &[gone("a")]), (4, &[there("x")])]);
    let found = judge_keys(&puts, &early, 4).violation().unwrap();
    assert!(found.summary.contains("vanished"), "{}", found.summary);
    let delete = Delete {
        key: "a".into(),
        ..Default::default()
    };
    let deleted = DeleteBody {
        deleted: 1,
        ..Default::default()
    };
    let delete = ok(3, Request::Delete(delete), 3, Body::Delete(deleted));
    assert!(judge_keys(&[puts[0].clone(), delete], &early, 4).is_ok());
}

#[test]
fn strict_serializability_takes_the_end_of_a_lease_for_a_hidden_operation() {
    let read = |id, revision, kvs: Vec<_>| {
        let range = Range {
            key: "a".into(),
            range_end: "z".into(),
            ..Default::default()
        };
        let body = RangeBody {
            count: kvs.len() as i64,
            kvs,
            more: false,
        };
        ok(id, Request::Range(range), revision, Body::Range(body))
    };
    let puts = [put(2, "a", 7, 2), put(3, "b", 7, 3)];
    let judge = |operations: &[Operation], known: &KnownOrder| {
        let history = History {
            operations: operations.to_vec(),
            ..History::default()
        };
        let options = Options {
            known_order: Some(known),
            ..Default::default()
        };
        strict_serializability::check(&history, &options)
    };
    let both = known(&[
        (2, &[there("a")]),
        (3, &[there("b")]),
        (4, &[gone("a"), gone("b")]),
    ]);
    let all = [puts.to_vec(), vec![read(5, 4, Vec::new())]].concat();
    let certificate = judge(&all, &both).ok().unwrap();
    assert_eq!(certificate.statistics.lease_expiries, 1);
    // Half of the keys in one revision and half in the next is not the end of a lease.
    let halves = known(&[
        (2, &[there("a")]),
        (3, &[there("b")]),
        (4, &[gone("a")]),
        (5, &[gone("b")]),
    ]);
    let all = [puts.to_vec(), vec![read(5, 5, Vec::new())]].concat();
    assert!(judge(&all, &halves).is_violation());
    // Keys without a lease do not vanish.
    let free = [put(2, "a", 0, 2), put(3, "b", 0, 3), read(5, 4, Vec::new())];
    assert!(judge(&free, &both).is_violation());
}

// Locks.

fn lock_of(client: u32, from: u64, to: u64, lease: i64) -> LeaseOperation {
    let name = Bytes::from("l");
    let key = Bytes::from(format!("l/{lease:x}"));
    operation(
        client,
        from,
        to,
        LeaseRequest::Lock { name, lease },
        LeaseAnswer::Locked { key },
    )
}

fn unlock(client: u32, from: u64, to: u64, lease: i64) -> LeaseOperation {
    let key = Bytes::from(format!("l/{lease:x}"));
    operation(
        client,
        from,
        to,
        LeaseRequest::Unlock { key },
        LeaseAnswer::Unlocked,
    )
}

fn judge_locks(operations: &[LeaseOperation], removals: &[Removal]) -> Verdict<lock::Report> {
    let leases = LeaseHistory {
        operations: operations.to_vec(),
        removals: removals.to_vec(),
        ..LeaseHistory::default()
    };
    lock::check(&leases, &History::default(), true)
}

#[test]
fn a_lock_is_handed_on_when_it_is_given_back_or_lost() {
    let handed = [lock_of(1, 1, 2, 7), unlock(1, 5, 9, 7), lock_of(2, 3, 6, 8)];
    let report = judge_locks(&handed, &[]).ok().unwrap();
    assert_eq!((report.held, report.lost), (2, 0));
    // The holder sleeps on; its lease does not.
    let lost = [
        lock_of(1, 1, 2, 7),
        unlock(1, 50, 51, 7),
        lock_of(2, 3, 6, 8),
    ];
    let report = judge_locks(&lost, &[expired(5, 7)]).ok().unwrap();
    assert_eq!((report.held, report.lost), (2, 1));
}

#[test]
fn two_holders_at_a_time_are_a_violation() {
    let both = [lock_of(1, 1, 2, 7), unlock(1, 8, 9, 7), lock_of(2, 3, 6, 8)];
    assert!(judge_locks(&both, &[]).is_violation());
    assert!(judge_locks(&both, &[expired(7, 7)]).is_violation());
    // Also when a short holder stands between.
    let third = [
        lock_of(1, 1, 2, 7),
        unlock(1, 50, 51, 7),
        lock_of(2, 1, 1, 8),
        unlock(2, 2, 3, 8),
        lock_of(3, 4, 10, 9),
    ];
    assert!(judge_locks(&third, &[]).is_violation());
}

#[test]
fn a_lock_must_not_be_granted_to_a_lease_that_ended_while_another_held_it() {
    let waited = [
        lock_of(1, 1, 2, 7),
        unlock(1, 20, 21, 7),
        lock_of(2, 3, 22, 8),
    ];
    let found = judge_locks(&waited, &[expired(10, 8)]).violation().unwrap();
    assert!(found.summary.contains("had ended"), "{}", found.summary);
    // Given back before the lease ended: it may have been held, and lost at once.
    let waited = [
        lock_of(1, 1, 2, 7),
        unlock(1, 9, 11, 7),
        lock_of(2, 3, 22, 8),
    ];
    assert!(judge_locks(&waited, &[expired(10, 8)]).is_ok());
}

fn fenced(id: u64, token: i64, revision: i64) -> Operation {
    let txn = Txn {
        compare: vec![Compare {
            key: format!("l/{token}").into(),
            range_end: Bytes::new(),
            relation: Relation::Equal,
            operand: Operand::CreateRevision(token),
        }],
        then: vec![Request::Put(Put {
            key: "fenced/l".into(),
            ..Default::default()
        })],
        otherwise: Vec::new(),
    };
    let body = TxnBody {
        succeeded: true,
        responses: vec![Body::Put(PutBody::default())],
    };
    ok(id, Request::Txn(txn), revision, Body::Txn(body))
}

#[test]
fn fenced_writes_come_in_the_order_of_the_holders() {
    let judge = |operations: &[Operation]| {
        let history = History {
            operations: operations.to_vec(),
            ..History::default()
        };
        lock::check(&LeaseHistory::default(), &history, true)
    };
    let report = judge(&[fenced(1, 2, 3), fenced(2, 2, 4), fenced(3, 5, 6)]);
    assert_eq!(report.ok().unwrap().fenced, 3);
    let late = judge(&[fenced(1, 2, 3), fenced(2, 5, 6), fenced(3, 2, 7)]);
    assert!(late.violation().unwrap().summary.contains("token 2"));
}
