//! Each guarantee with a history that keeps it and one that breaks it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;

use super::*;
use crate::history::{
    Body, Compact, Delete, DeleteBody, KeyValue, Operation, Outcome, Put, PutBody, Request,
    Response,
};

const SECOND: u64 = 1_000_000_000;

/// Revisions 2…7: a=1, b=1, a=2, a deleted, a=3, b=2; written at second 2…7, answered at once.
fn written() -> History {
    let put = |key: &str, value: &str| {
        Request::Put(Put {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            ..Put::default()
        })
    };
    let delete = Request::Delete(Delete {
        key: Bytes::from_static(b"a"),
        ..Delete::default()
    });
    let requests = [
        put("a", "1"),
        put("b", "1"),
        put("a", "2"),
        delete,
        put("a", "3"),
        put("b", "2"),
    ];
    let operations = requests.into_iter().zip(0..).map(|(request, id)| {
        let body = match &request {
            Request::Delete(_) => Body::Delete(DeleteBody {
                deleted: 1,
                previous: Vec::new(),
            }),
            _ => Body::Put(PutBody::default()),
        };
        Operation {
            id,
            client: 0,
            member: None,
            invoked: (id + 2) * SECOND,
            returned: Some((id + 2) * SECOND + 1),
            request,
            outcome: Outcome::Ok(Response {
                revision: id as i64 + 2,
                body,
            }),
        }
    });
    History {
        operations: operations.collect(),
        watches: Vec::new(),
        ..History::default()
    }
}

fn kv(key: &str, value: &str, create: i64, revision: i64, version: i64) -> KeyValue {
    KeyValue {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        create_revision: create,
        mod_revision: revision,
        version,
        lease: 0,
    }
}

fn put(key: &str, value: &str, create: i64, revision: i64, version: i64) -> WatchEvent {
    WatchEvent {
        kv: kv(key, value, create, revision, version),
        ..WatchEvent::default()
    }
}

fn deletion(key: &str, revision: i64) -> WatchEvent {
    WatchEvent {
        deleted: true,
        kv: kv(key, "", 0, revision, 0),
        previous: None,
    }
}

/// The six events of [`written`].
fn all() -> Vec<WatchEvent> {
    vec![
        put("a", "1", 2, 2, 1),
        put("b", "1", 3, 3, 1),
        put("a", "2", 2, 4, 2),
        deletion("a", 5),
        put("a", "3", 6, 6, 1),
        put("b", "2", 3, 7, 2),
    ]
}

fn at(second: u64, revision: i64, news: News) -> WatchResponse {
    WatchResponse {
        at: second * SECOND,
        revision,
        news,
    }
}

fn shown(second: u64, events: &[WatchEvent]) -> WatchResponse {
    let revision = events.last().unwrap().revision();
    let events = events.to_vec();
    let more = false;
    at(second, revision, News::Events { events, more })
}

/// A watch of everything from revision `start` on, created at second 1.
fn watch(start: i64, responses: Vec<WatchResponse>) -> Watch {
    let created = at(1, 1, News::Created);
    Watch {
        key: Bytes::from_static(b"a"),
        range_end: Bytes::from_static(b"z"),
        start,
        opened: SECOND,
        responses: [vec![created], responses].concat(),
        ..Watch::default()
    }
}

fn judge_with(watches: Vec<Watch>, options: &Options<'_>) -> Verdict<Statistics> {
    let history = History {
        watches: watches
            .into_iter()
            .zip(0..)
            .map(|(watch, id)| Watch { id, ..watch })
            .collect(),
        ..written()
    };
    history.check().unwrap();
    check(&history, options)
}

#[track_caller]
fn passes(watch: Watch) -> Statistics {
    judge_with(vec![watch], &Options::default()).ok().unwrap()
}

#[track_caller]
fn breaks(guarantee: &str, watch: Watch) {
    let verdict = judge_with(vec![watch], &Options::default());
    let found = verdict.violation().expect("a violation");
    let begins = found.summary.starts_with(&format!("{guarantee}: "));
    assert!(begins, "{guarantee} expected, not: {found}");
}

#[test]
fn everything_in_order_passes() {
    let events = all();
    let one_by_one: Vec<_> = (2..).zip(&events).collect();
    let one_by_one = one_by_one
        .into_iter()
        .map(|(second, event)| shown(second, std::slice::from_ref(event)));
    let statistics = passes(watch(0, one_by_one.collect()));
    assert_eq!((statistics.watches, statistics.events), (1, 6));
    passes(watch(1, vec![shown(8, &events)]));
    passes(watch(4, vec![shown(8, &events[2..])]));
    passes(watch(0, vec![]));
}

#[test]
fn created_first() {
    let mut early = watch(0, vec![]);
    early.responses.insert(0, at(1, 1, News::Progress));
    breaks("created first", early);
    breaks("created first", watch(0, vec![at(2, 1, News::Created)]));
    let ended = at(2, 0, News::Ended("cut".to_owned()));
    passes(watch(0, vec![ended.clone()]));
    breaks("created first", watch(0, vec![ended, shown(8, &all())]));
}

#[test]
fn filter() {
    let only_b: Vec<_> = vec![all()[1].clone(), all()[5].clone()];
    let b = Watch {
        key: Bytes::from_static(b"b"),
        range_end: Bytes::new(),
        ..watch(0, vec![shown(8, &only_b)])
    };
    passes(b.clone());
    breaks(
        "filter",
        Watch {
            responses: watch(0, vec![shown(8, &all())]).responses,
            ..b
        },
    );
    let kinds = |no_put, no_delete, events: &[WatchEvent]| Watch {
        no_put,
        no_delete,
        ..watch(0, vec![shown(8, events)])
    };
    passes(kinds(true, false, &all()[3..4]));
    breaks("filter", kinds(true, false, &all()));
    breaks("filter", kinds(false, true, &all()));
    breaks("filter", watch(4, vec![shown(8, &all())]));
}

#[test]
fn ordered_unique_and_atomic() {
    let events = all();
    let mut swapped = events.clone();
    swapped.swap(1, 2);
    swapped[5..].fill(events[5].clone());
    breaks("ordered", watch(0, vec![shown(8, &swapped)]));
    let mut twice = events.clone();
    twice.insert(1, events[0].clone());
    breaks("unique", watch(0, vec![shown(8, &twice)]));
}

/// Revision 8 writes two keys.
fn with_transaction(watch: Watch) -> Verdict<Statistics> {
    let mut history = written();
    let puts = ["c", "d"].map(|key| {
        Request::Put(Put {
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::from_static(b"t"),
            ..Put::default()
        })
    });
    history.operations.push(Operation {
        id: 6,
        client: 0,
        member: None,
        invoked: 8 * SECOND,
        returned: Some(8 * SECOND + 1),
        request: Request::Txn(crate::history::Txn {
            then: puts.to_vec(),
            ..Default::default()
        }),
        outcome: Outcome::Ok(Response {
            revision: 8,
            body: Body::Txn(crate::history::TxnBody {
                succeeded: true,
                responses: vec![Body::Put(PutBody::default()); 2],
            }),
        }),
    });
    history.watches = vec![watch];
    check(&history, &Options::default())
}

#[test]
fn a_revision_is_whole() {
    let (c, d) = (put("c", "t", 8, 8, 1), put("d", "t", 8, 8, 1));
    let pair = [c.clone(), d.clone()];
    let whole = watch(8, vec![shown(9, &pair)]);
    assert!(with_transaction(whole).is_ok());
    let says = |watch, text: &str| {
        let found = with_transaction(watch).violation().expect("a violation");
        assert!(found.summary.starts_with(text), "{found}");
    };
    let part = |second, event: &WatchEvent, more| {
        let events = vec![event.clone()];
        at(second, 8, News::Events { events, more })
    };
    says(watch(8, vec![part(9, &c, false)]), "reliable: ");
    says(
        watch(8, vec![shown(9, &[d.clone(), c.clone()])]),
        "ordered: ",
    );
    says(
        watch(8, vec![part(9, &c, true), part(9, &d, false)]),
        "atomic: ",
    );
    let fragments = Watch {
        fragment: true,
        ..watch(8, vec![part(9, &c, true), part(9, &d, false)])
    };
    assert!(with_transaction(fragments).is_ok());
    let broken_off = Watch {
        fragment: true,
        ..watch(8, vec![part(9, &c, true), at(10, 8, News::Progress)])
    };
    says(broken_off, "atomic: ");
    // Two responses without the mark; the second comes at a revision that is over.
    let mut apart = watch(8, vec![part(9, &c, false), part(9, &d, false)]);
    apart.key = Bytes::from_static(b"d");
    apart.range_end = Bytes::new();
    says(apart, "filter: ");
}

#[test]
fn a_revision_in_two_responses_is_torn() {
    // Without evidence of the revision, and without a header that passes it.
    let (c, d) = (put("c", "t", 8, 8, 1), put("d", "t", 8, 8, 1));
    let mut history = written();
    let unknown = |id: u64, key: &'static str| Operation {
        id,
        client: 0,
        member: None,
        invoked: 8 * SECOND,
        returned: None,
        request: Request::Put(Put {
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::from_static(b"t"),
            ..Put::default()
        }),
        outcome: Outcome::Unknown(String::new()),
    };
    history
        .operations
        .extend([unknown(6, "c"), unknown(7, "d")]);
    let torn = |revision| {
        let events = |event: &WatchEvent| News::Events {
            events: vec![event.clone()],
            more: false,
        };
        watch(8, vec![at(9, revision, events(&c)), at(9, 8, events(&d))])
    };
    history.watches = vec![torn(8)];
    let found = check(&history, &Options::default()).violation().unwrap();
    assert!(found.summary.starts_with("bookmarkable: "), "{found}");
}

#[test]
fn reliable() {
    let mut gap = all();
    gap.remove(2);
    breaks(
        "reliable",
        watch(0, vec![shown(3, &all()[..1]), shown(8, &gap[1..])]),
    );
    breaks("resumable", watch(0, vec![shown(8, &all()[1..])]));
    breaks("resumable", watch(4, vec![shown(8, &all()[3..])]));
    // Left out at the end is not yet shown, unless progress says that it is passed.
    passes(watch(0, vec![shown(8, &all()[..5])]));
    let passed = at(9, 7, News::Progress);
    breaks("reliable", watch(0, vec![shown(8, &all()[..5]), passed]));
}

#[test]
fn the_members_record_is_evidence_too() {
    let mut known = KnownOrder {
        revision: 7,
        ..KnownOrder::default()
    };
    for event in all() {
        let record = Record {
            key: event.kv.key.clone(),
            value: (!event.deleted).then(|| event.kv.value.clone()),
        };
        known.records.insert(event.revision(), vec![record]);
    }
    let mut history = written();
    for operation in &mut history.operations {
        operation.outcome = Outcome::Unknown("no answer".to_owned());
        operation.returned = None;
    }
    let mut gap = all();
    gap.remove(2);
    history.watches = vec![watch(0, vec![shown(8, &gap)])];
    let without = check(&history, &Options::default());
    assert!(matches!(without, Verdict::Undetermined(_)), "{without}");
    fn options(known: &KnownOrder) -> Options<'_> {
        Options {
            known_order: Some(known),
            ..Options::default()
        }
    }
    assert!(check(&history, &options(&known)).is_violation());
    history.watches = vec![watch(0, vec![shown(8, &all())])];
    assert!(check(&history, &options(&known)).is_ok());
    // Compacted, it may be incomplete.
    known.compacted = 5;
    known.records.remove(&4);
    history.watches = vec![watch(0, vec![shown(8, &gap)])];
    assert!(check(&history, &options(&known)).is_ok());
}

#[test]
fn bookmarkable() {
    let events = all();
    let progress = |second, revision| at(second, revision, News::Progress);
    passes(watch(
        0,
        vec![
            progress(2, 1),
            shown(5, &events[..3]),
            progress(6, 4),
            progress(6, 4),
        ],
    ));
    let back = vec![shown(5, &events[..3]), progress(6, 3)];
    breaks("bookmarkable", watch(0, back));
    let mut ahead = shown(4, &events[..1]);
    ahead.revision = 3;
    breaks(
        "bookmarkable",
        watch(0, vec![ahead, shown(8, &events[1..])]),
    );
    let mut behind = shown(8, &events);
    behind.revision = 6;
    breaks("bookmarkable", watch(0, vec![behind]));
    breaks("bookmarkable", watch(6, vec![progress(8, 4)]));
}

#[test]
fn nothing_untrue_and_nothing_from_the_future() {
    breaks("true", watch(0, vec![shown(6, &all())]));
    breaks("true", watch(0, vec![shown(2, &[put("a", "1", 2, 3, 1)])]));
    breaks("true", watch(0, vec![shown(8, &[put("a", "?", 2, 2, 1)])]));
    breaks("true", watch(0, vec![shown(8, &[put("b", "1", 2, 2, 1)])]));
    breaks("true", watch(0, vec![shown(8, &[put("a", "1", 2, 2, 2)])]));
    breaks("true", watch(0, vec![at(3, 9, News::Progress)]));
}

#[test]
fn previous_values() {
    let with = |index: usize, previous: Option<KeyValue>| {
        let mut events = all();
        events[2].previous = Some(kv("a", "1", 2, 2, 1));
        events[3].previous = Some(kv("a", "2", 2, 4, 2));
        events[5].previous = Some(kv("b", "1", 3, 3, 1));
        if index < events.len() {
            events[index].previous = previous;
        }
        Watch {
            prev_kv: true,
            ..watch(0, vec![shown(8, &events)])
        }
    };
    passes(with(99, None));
    breaks("previous value", with(2, None));
    breaks("previous value", with(3, None));
    breaks("previous value", with(2, Some(kv("a", "x", 2, 2, 1))));
    breaks("previous value", with(2, Some(kv("b", "1", 2, 2, 1))));
    breaks("previous value", with(3, Some(kv("a", "1", 2, 2, 1))));
    breaks("previous value", with(0, Some(kv("a", "0", 1, 1, 1))));
    let unasked = Watch {
        prev_kv: false,
        ..with(99, None)
    };
    breaks("previous value", unasked);
}

fn compact(history: &mut History, revision: i64, second: u64) {
    history.operations.push(Operation {
        id: 100,
        client: 1,
        member: None,
        invoked: second * SECOND,
        returned: Some(second * SECOND + 1),
        request: Request::Compact(Compact { revision }),
        outcome: Outcome::Ok(Response {
            revision: 7,
            body: Body::Compact,
        }),
    });
}

#[test]
fn a_compaction_excuses_a_missing_previous_value_and_a_cancellation() {
    let verdict = |watch: Watch, compaction: Option<i64>| {
        let mut history = written();
        if let Some(revision) = compaction {
            compact(&mut history, revision, 7);
        }
        history.watches = vec![watch];
        check(&history, &Options::default())
    };
    let bare = Watch {
        prev_kv: true,
        ..watch(4, vec![shown(8, &all()[2..5])])
    };
    assert!(verdict(bare.clone(), Some(5)).is_ok());
    assert!(verdict(bare.clone(), Some(4)).is_violation());
    assert!(verdict(bare, None).is_violation());

    let cancelled = |compacted| News::Cancelled {
        compacted,
        reason: String::new(),
    };
    let gone = |compacted| {
        watch(
            2,
            vec![shown(3, &all()[..2]), at(8, 0, cancelled(compacted))],
        )
    };
    assert!(verdict(gone(5), Some(5)).is_ok());
    assert!(verdict(gone(5), None).is_violation(), "nobody compacted");
    assert!(verdict(gone(4), Some(4)).is_violation(), "nothing was lost");
    assert!(verdict(gone(0), Some(5)).is_violation(), "no reason");
    let asked = Watch {
        cancelled: Some(4 * SECOND),
        ..gone(0)
    };
    assert!(verdict(asked, None).is_ok());
}

#[test]
fn agreement() {
    let whole = watch(0, vec![shown(8, &all())]);
    let both = |other: Watch| judge_with(vec![whole.clone(), other], &Options::default());
    assert!(both(watch(4, vec![shown(9, &all()[2..])])).is_ok());
    let mut events = all();
    events[5].kv.lease = 9;
    let found = both(watch(6, vec![shown(9, &events[4..])]));
    let found = found.violation().expect("a violation");
    assert!(found.summary.starts_with("agreement: "), "{found}");
}

#[test]
fn create_revisions_and_versions_are_followed() {
    let mut events = all();
    events[5] = put("b", "2", 2, 7, 2);
    let found = judge_with(
        vec![watch(6, vec![shown(9, &events[4..])])],
        &Options::default(),
    );
    let found = found.violation().expect("a violation");
    assert!(found.summary.starts_with("true: "), "{found}");
}

#[test]
fn a_watch_from_now_on_shows_nothing_older() {
    let from_now = |first: usize| {
        let mut watch = watch(0, vec![shown(8, &all()[first..])]);
        watch.responses[0] = at(4, 4, News::Created);
        judge_with(vec![watch], &Options::default())
    };
    assert!(from_now(3).is_ok());
    let found = from_now(2).violation().expect("a violation");
    assert!(found.summary.starts_with("bookmarkable: "), "{found}");
}

#[test]
fn caught_up() {
    let known = KnownOrder {
        revision: 7,
        ..KnownOrder::default()
    };
    let options = |settled| Options {
        known_order: Some(&known),
        settled,
        ..Options::default()
    };
    let verdict = |watch, settled| judge_with(vec![watch], &options(settled));
    let late = watch(0, vec![shown(8, &all()[..4])]);
    assert!(verdict(late.clone(), None).is_ok());
    assert!(verdict(late.clone(), Some(0)).is_ok(), "opened afterwards");
    assert!(verdict(late, Some(8 * SECOND)).is_violation());
    let done = watch(0, vec![shown(8, &all()), at(9, 7, News::Progress)]);
    assert!(verdict(done, Some(8 * SECOND)).is_ok());
    let ended = watch(0, vec![at(9, 0, News::Ended(String::new()))]);
    assert!(verdict(ended, Some(8 * SECOND)).is_ok());
    let silent = Watch {
        responses: Vec::new(),
        ..watch(0, vec![])
    };
    assert!(verdict(silent, Some(8 * SECOND)).is_violation());
}

#[test]
fn what_a_server_need_not_promise() {
    let known = KnownOrder {
        revision: 7,
        ..KnownOrder::default()
    };
    let verdict = |watch, leeway| {
        let options = Options {
            known_order: Some(&known),
            settled: Some(8 * SECOND),
            leeway,
            ..Options::default()
        };
        judge_with(vec![watch], &options)
    };
    // A header runs ahead of what is still to come; progress must not.
    let ahead = Leeway {
        headers_ahead: true,
        ..Leeway::default()
    };
    let progress = at(9, 7, News::Progress);
    let mut early = shown(4, &all()[..1]);
    early.revision = 3;
    let parts = watch(0, vec![early, shown(8, &all()[1..]), progress.clone()]);
    assert!(verdict(parts.clone(), Leeway::default()).is_violation());
    assert!(verdict(parts, ahead).is_ok());
    let early = at(4, 3, News::Progress);
    let overtaken = watch(0, vec![early, shown(8, &all()), progress]);
    assert!(verdict(overtaken, ahead).is_violation());

    // Of whom nobody asks how far it has come, the last event is enough, and the last but one is not.
    let unasked = Leeway {
        progress_unasked: true,
        ..Leeway::default()
    };
    let quiet = Watch {
        no_delete: true,
        ..watch(0, vec![])
    };
    let shows = |count| {
        let puts = all().into_iter().filter(|event| !event.deleted);
        let puts: Vec<WatchEvent> = puts.take(count).collect();
        let mut watch = quiet.clone();
        watch.responses.push(shown(8, &puts));
        watch
    };
    let puts = all().iter().filter(|event| !event.deleted).count();
    assert!(verdict(shows(puts), unasked).is_ok());
    assert!(verdict(shows(puts - 1), unasked).is_violation());
}

#[test]
fn a_permitted_loss_parts_the_evidence() {
    // Power fails at second 5; what was revision 4 before may be another afterwards.
    let losses = [5 * SECOND];
    let options = Options {
        losses: &losses,
        ..Options::default()
    };
    let verdict = |watch| judge_with(vec![watch], &options);
    let mut gap = all();
    gap.remove(1);
    let before = |events: &[WatchEvent]| watch(2, vec![shown(4, events)]);
    assert!(verdict(before(&all()[..3])).is_ok());
    assert!(verdict(before(&gap[..2])).is_violation());
    let across = verdict(watch(2, vec![shown(8, &gap)])).ok().unwrap();
    assert_eq!(across.across_losses, 1);
    let after = |events: &[WatchEvent]| {
        let mut watch = watch(6, vec![shown(8, events)]);
        watch.opened = 6 * SECOND;
        watch.responses[0].at = 6 * SECOND;
        watch
    };
    assert!(verdict(after(&all()[4..])).is_ok());
    assert!(verdict(after(&all()[5..])).is_violation());
}

#[test]
fn lines_bring_back_what_was_written() {
    let mut history = written();
    let bytes = Bytes::from_static(b"\xff");
    history.watches = vec![
        watch(0, vec![shown(8, &all()), at(9, 7, News::Progress)]),
        Watch {
            id: 1,
            member: Some(3),
            resumes: Some(0),
            cancelled: Some(4),
            key: bytes,
            prev_kv: true,
            fragment: true,
            no_put: true,
            ..watch(
                3,
                vec![
                    at(9, 0, News::Ended("cut".to_owned())),
                    at(
                        9,
                        0,
                        News::Cancelled {
                            compacted: 4,
                            reason: "r".to_owned(),
                        },
                    ),
                ],
            )
        },
    ];
    let mut file = Vec::new();
    history.write(&mut file).unwrap();
    assert_eq!(History::read(&file[..]).unwrap(), history);
    let again = History {
        watches: vec![history.watches[0].clone(); 2],
        ..History::default()
    };
    let mut file = Vec::new();
    again.write(&mut file).unwrap();
    let error = History::read(&file[..]).unwrap_err().to_string();
    assert!(
        error.contains("line 3: a second watch with id 0"),
        "{error}"
    );
}
