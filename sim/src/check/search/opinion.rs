//! The second opinion on a violation: is the data wrong, or only what is said about revisions?
//!
//! It adds words to a verdict that is certain without it, so it may cost little: it looks at a part
//! of the history, searches each key by itself where it can, and gives up early.

use super::model::{Data, Decisions};
use super::{is_judged, parts, solve};
use crate::check::{Counterexample, Verdict, unseen};
use crate::history::{History, Operation, Outcome, display_seconds};

/// A second opinion looks at no more operations than this.
const SECOND_OPINION_OPERATIONS_MAX: usize = 5_000;
/// A second opinion takes no more steps than this: it explains a verdict that is certain without it.
const SECOND_OPINION_STEPS_MAX: u64 = 50_000;
/// In a long history, a second opinion starts this many revisions before the conflict.
const SECOND_OPINION_REVISIONS: i64 = 200;

/// Judges the part of a history around a counterexample again, with revisions ignored: is the data
/// wrong, or only what is said about revisions?
pub(in crate::check) fn second_opinion(
    history: &History,
    counterexample: &Counterexample,
) -> String {
    counted_opinion(history, counterexample).0
}

/// A second opinion, and how many steps it took.
fn counted_opinion(history: &History, counterexample: &Counterexample) -> (String, u64) {
    let Some(end) = counterexample
        .operations
        .iter()
        .filter_map(|o| o.returned)
        .max()
    else {
        let opinion = "not judged: no operation of the counterexample returned";
        return (opinion.to_owned(), 0);
    };
    let mut window: Vec<Operation> = history
        .operations
        .iter()
        .filter(|o| o.invoked <= end && is_judged(o))
        .cloned()
        .collect();
    for operation in &mut window {
        if operation.returned.is_none_or(|returned| returned > end) {
            operation.outcome = Outcome::Unknown("after the window".to_owned());
        }
    }
    let mut data = Data::default();
    let mut from = String::new();
    let witnesses = counterexample.operations.iter();
    let ids: Vec<u64> = witnesses.map(|witness| witness.id).collect();
    if window.len() > SECOND_OPINION_OPERATIONS_MAX {
        let Some((start, revision)) = cut(&mut window, &ids) else {
            let opinion = "not judged: too many operations lead up to the conflict";
            return (opinion.to_owned(), 0);
        };
        data = start;
        from = format!(" from revision {revision} on");
    }
    let window: Vec<&Operation> = window
        .iter()
        .filter(|operation| is_judged(operation))
        .collect();
    let window = unseen::without_unseen(&window);
    let window: Vec<&Operation> = window.iter().collect();
    let mut steps_left = SECOND_OPINION_STEPS_MAX;
    let what = format!(
        "{} operations{from} up to {}",
        window.len(),
        display_seconds(end)
    );
    // Where the witnesses are is where the conflict is likely to be.
    let leased = data.keys.values().any(|held| held.1 != 0);
    let mut parts = match leased {
        true => vec![window.clone()],
        false => parts(&window),
    };
    parts.sort_by_key(|part| !part.iter().any(|operation| ids.contains(&operation.id)));
    let solved = parts
        .into_iter()
        .map(|part| solve(data.clone(), &part, &mut steps_left))
        .find(|verdict| !verdict.is_ok());
    let opinion = match solved {
        None | Some(Verdict::Ok(_)) => {
            format!("the data of {what} can be put in order: the revisions are wrong")
        }
        Some(Verdict::Violation(_)) => {
            format!("no order explains the data of {what} either: the data is wrong")
        }
        Some(Verdict::Undetermined(_)) => format!("no verdict on {what} within the budget"),
    };
    (opinion, SECOND_OPINION_STEPS_MAX - steps_left)
}

/// Replaces the operations up to a revision some way before the conflict by the state they lead
/// to, if every revision so far has a writer of known outcome.
fn cut(window: &mut Vec<Operation>, ids: &[u64]) -> Option<(Data, i64)> {
    let revision = |operation: &Operation| operation.response().map(|response| response.revision);
    let conflict = window
        .iter()
        .filter(|operation| ids.contains(&operation.id));
    let last = conflict.filter_map(revision).min()? - SECOND_OPINION_REVISIONS;
    let is_writer = |o: &&Operation| o.response().is_some_and(|r| r.body.is_effect());
    let mut writers: Vec<&Operation> = window.iter().filter(is_writer).collect();
    writers.retain(|operation| revision(operation).is_some_and(|revision| revision <= last));
    writers.sort_by_key(|operation| revision(operation));
    let mut data = Data::default();
    for (expected, writer) in (2..=last).zip(&writers) {
        let body = writer.response().map(|response| &response.body);
        if revision(writer) != Some(expected)
            || !data.execute(&writer.request, body, &mut Decisions::default())
        {
            return None;
        }
    }
    if i64::try_from(writers.len()) != Ok(last - 1) {
        return None;
    }
    window.retain(|operation| revision(operation).is_none_or(|revision| revision > last));
    (window.len() <= SECOND_OPINION_OPERATIONS_MAX).then_some((data, last))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::check::{Options, strict_serializability};
    use crate::history::{Body, KeyValue, Put, PutBody, Range, RangeBody, Request, Response, Txn};

    fn put(key: &str, value: &str) -> Request {
        Request::Put(Put {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            ..Put::default()
        })
    }

    fn operation(id: u64, times: (u64, u64), request: Request, answer: Option<Body>) -> Operation {
        let revision = i64::try_from(id).unwrap() + 2;
        Operation {
            id,
            client: 0,
            member: None,
            invoked: times.0,
            returned: answer.is_some().then_some(times.1),
            request,
            outcome: match answer {
                Some(body) => Outcome::Ok(Response { revision, body }),
                None => Outcome::Unknown("time-out".to_owned()),
            },
        }
    }

    /// Two writes, one after the other, a read that shows the first of them after both, and `many`
    /// operations of unknown outcome from before.
    fn stale_read_among(many: impl Fn(u64) -> Request) -> (History, Counterexample) {
        let wrote = || Some(Body::Put(PutBody::default()));
        let kv = KeyValue {
            key: Bytes::from_static(b"k0"),
            value: Bytes::from_static(b"x"),
            create_revision: 2,
            mod_revision: 2,
            version: 1,
            lease: 0,
        };
        let read = Request::Range(Range {
            key: kv.key.clone(),
            ..Range::default()
        });
        let shown = Body::Range(RangeBody {
            kvs: vec![kv],
            more: false,
            count: 1,
        });
        let mut operations = vec![
            operation(0, (1_000, 1_001), put("k0", "x"), wrote()),
            operation(1, (1_002, 1_003), put("k0", "y"), wrote()),
            operation(2, (1_004, 1_005), read, Some(shown)),
        ];
        if let Outcome::Ok(response) = &mut operations[2].outcome {
            response.revision = 2;
        }
        for id in 3..403 {
            operations.push(operation(id, (id, id), many(id), None));
        }
        let history = History {
            operations,
            ..History::default()
        };
        let options = Options {
            second_opinion: false,
            ..Options::default()
        };
        let found = strict_serializability::check(&history, &options).violation();
        (history, found.unwrap())
    }

    #[test]
    fn hundreds_of_unknown_outcomes_hardly_cost_a_second_opinion_anything() {
        let many = |id: u64| put(&format!("k{}", id % 10), &format!("unseen {id}"));
        let (history, counterexample) = stale_read_among(many);
        let (opinion, steps) = counted_opinion(&history, &counterexample);
        assert!(opinion.contains("the data is wrong"), "{opinion}");
        assert!(steps < 100, "{steps}");
    }

    #[test]
    fn a_second_opinion_ends_where_many_keys_hang_together() {
        let many = |id: u64| {
            let then = [1, 7].map(|n| put(&format!("k{}", id * n % 40), &format!("unseen {id}")));
            Request::Txn(Txn {
                then: then.to_vec(),
                ..Txn::default()
            })
        };
        let (history, counterexample) = stale_read_among(many);
        let (opinion, steps) = counted_opinion(&history, &counterexample);
        assert!(opinion.contains("no verdict"), "{opinion}");
        assert_eq!(steps, SECOND_OPINION_STEPS_MAX);
    }

    #[test]
    fn what_nobody_wrote_needs_no_search() {
        let many = |id: u64| put(&format!("k{}", id % 10), &format!("unseen {id}"));
        let (mut history, counterexample) = stale_read_among(many);
        if let Outcome::Ok(Response {
            body: Body::Range(body),
            ..
        }) = &mut history.operations[2].outcome
        {
            body.kvs[0].value = Bytes::from_static(b"z");
        }
        let (opinion, steps) = counted_opinion(&history, &counterexample);
        assert!(opinion.contains("the data is wrong"), "{opinion}");
        assert_eq!(steps, 0);
    }
}
