//! Serializable reads: each shows the store exactly as it was at the revision in its header, and
//! that revision had been written when the read returned. It may be as old as it likes.
//!
//! Judged against the order that explains the rest of the history. Where operations of unknown
//! outcome could be ordered in several ways, and the order at hand does not agree with the reads,
//! the judgement is made again with the reads taking part in finding the order.
//!
//! Monotonic per member: whatever a member has answered, it does not show less later, unless it began
//! anew with what its disk held. So a session that stays with a member never goes back. Where nobody
//! knows when members began anew, this is not judged, and the reads are counted.
//!
//! **Not judged**: refusals of serializable reads, and whether an old revision that was read had
//! been compacted at the member that answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::certificate::{Certificate, Step};
use super::store::{Context, Keys, apply, expire, judge};
use super::{Counterexample, Options, Start, Verdict, strict_serializability};
use crate::history::{History, Operation, Outcome, Request, display_seconds};

const GUARANTEE: &str = "serializable reads";

/// How many serializable reads were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Reads that show the store as it was.
    pub judged: u64,
    /// Reads that showed an older revision than was written when they were invoked.
    pub stale: u64,
    /// Refused reads, and those of unknown outcome.
    pub not_checked: u64,
    /// Reads that show no less than what their member had answered before.
    pub monotonic: u64,
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} reads, {} of them stale; ", self.judged, self.stale)?;
        if self.monotonic > 0 {
            write!(f, "{} never behind their member; ", self.monotonic)?;
        }
        write!(f, "not checked: {} without an answer", self.not_checked)
    }
}

/// Judges the serializable reads of a history whose other operations `certificate` explains, where
/// nobody knows when members began anew.
pub fn check(
    history: &History,
    certificate: &Certificate,
    options: &Options<'_>,
) -> Verdict<Statistics> {
    check_with_starts(history, certificate, None, options)
}

/// The same; `starts` tells when members began anew, where that is known.
pub fn check_with_starts(
    history: &History,
    certificate: &Certificate,
    starts: Option<&[Start]>,
    options: &Options<'_>,
) -> Verdict<Statistics> {
    let monotonic = match starts.map_or(Ok(0), |starts| never_back(history, starts)) {
        Ok(monotonic) => monotonic,
        Err(counterexample) => return Verdict::Violation(counterexample),
    };
    let with = |statistics| Statistics {
        monotonic,
        ..statistics
    };
    let first = match against(history, certificate) {
        Ok(statistics) => return Verdict::Ok(with(statistics)),
        Err(counterexample) => counterexample,
    };
    match strict_serializability::judge(history, options, true) {
        Verdict::Ok(joint) => match against(history, &joint) {
            Ok(statistics) => Verdict::Ok(with(statistics)),
            Err(_) => Verdict::Undetermined("the order found does not stand up".to_owned()),
        },
        Verdict::Violation(_) => Verdict::Violation(first),
        Verdict::Undetermined(reason) => Verdict::Undetermined(reason),
    }
}

/// That no read shows less than what its member had answered before it was invoked; how many reads
/// that was judged of.
fn never_back(history: &History, starts: &[Start]) -> Result<u64, Box<Counterexample>> {
    let mut by_member: BTreeMap<u32, Vec<(&Operation, i64)>> = BTreeMap::new();
    for operation in &history.operations {
        if let (Some(member), Some(response)) = (operation.member, operation.response()) {
            let answered = by_member.entry(member).or_default();
            answered.push((operation, response.revision));
        }
    }
    let mut judged = 0;
    for (member, answered) in by_member {
        let of_member = starts.iter().filter(|start| start.member == member);
        let mut begun: Vec<u64> = of_member.map(|start| start.at).collect();
        begun.sort_unstable();
        // How often the member had begun by then.
        let life = |at: u64| begun.partition_point(|begun| *begun <= at);
        let mut by_end = answered.clone();
        by_end.sort_by_key(|(operation, _)| operation.returned);
        let mut by_start = answered;
        by_start.retain(|(operation, _)| operation.request.is_serializable());
        by_start.sort_by_key(|(operation, _)| operation.invoked);
        let mut ended = by_end.into_iter().peekable();
        // What each life of the member has shown.
        let mut shown: BTreeMap<usize, (&Operation, i64)> = BTreeMap::new();
        for (read, revision) in by_start {
            while let Some((before, at)) =
                ended.next_if(|(before, _)| before.returned.is_some_and(|at| at < read.invoked))
            {
                let most = shown.entry(life(before.invoked)).or_insert((before, at));
                if most.1 < at {
                    *most = (before, at);
                }
            }
            // Around a start nobody knows which life answered.
            if life(read.invoked) != life(read.returned.unwrap_or(u64::MAX)) {
                continue;
            }
            let Some((before, most)) = shown.get(&life(read.invoked)) else {
                continue;
            };
            judged += 1;
            if revision < *most {
                let summary = format!(
                    "operation {} shows revision {revision}, although member {member} had answered \
                     with {most}",
                    read.id
                );
                let told = Counterexample::new(GUARANTEE, summary)
                    .with(*before)
                    .with(read)
                    .because(format!(
                        "operation {} returned at {}, before operation {} was called at {}, and the \
                         member did not begin anew between",
                        before.id,
                        display_seconds(before.returned.unwrap_or_default()),
                        read.id,
                        display_seconds(read.invoked)
                    ))
                    .instead(
                        format!("revision {most} or later"),
                        format!("revision {revision}"),
                    );
                return Err(told.into());
            }
        }
    }
    Ok(judged)
}

fn against(
    history: &History,
    certificate: &Certificate,
) -> Result<Statistics, Box<Counterexample>> {
    let reads: Vec<&Operation> = history
        .operations
        .iter()
        .filter(|o| o.request.is_serializable())
        .collect();
    let mut statistics = Statistics::default();
    if reads.is_empty() {
        return Ok(statistics);
    }
    let past = Past::new(history, certificate, &reads);
    for read in reads {
        let Outcome::Ok(response) = &read.outcome else {
            statistics.not_checked += 1;
            continue;
        };
        past.judge(read, response.revision)?;
        statistics.judged += 1;
        statistics.stale += u64::from(past.is_stale(read, response.revision));
    }
    Ok(statistics)
}

/// What the store held, at every revision that a read shows.
struct Past<'a> {
    states: BTreeMap<i64, Keys<'a>>,
    /// By revision, from 2 on: the latest invocation up to its write, and its return.
    written: Vec<(u64, u64)>,
    /// By revision, from 2 on: the operation that wrote it.
    writers: Vec<Option<&'a Operation>>,
}

impl<'a> Past<'a> {
    fn new(history: &'a History, certificate: &Certificate, reads: &[&Operation]) -> Past<'a> {
        let mut demanded = BTreeSet::new();
        for read in reads {
            demanded.extend(read.response().map(|response| response.revision));
            demanded.extend(revisions_named(&read.request));
        }
        let by_id: BTreeMap<u64, &Operation> = history
            .operations
            .iter()
            .map(|operation| (operation.id, operation))
            .collect();
        let mut keys = Keys::new();
        let mut past = Past {
            states: BTreeMap::new(),
            written: Vec::new(),
            writers: Vec::new(),
        };
        past.states.insert(1, keys.clone());
        let (mut revision, mut latest_call) = (1, 0);
        for step in &certificate.steps {
            let writer = match step {
                Step::Expiry(lease) => {
                    expire(&mut keys, *lease);
                    None
                }
                Step::Operation(id) | Step::Branches(id, _) => {
                    let Some(operation) = by_id.get(id) else {
                        continue;
                    };
                    latest_call = latest_call.max(operation.invoked);
                    let operation: &'a Operation = operation;
                    let silent = operation.response().is_some_and(|r| !r.body.is_effect());
                    let refused = matches!(operation.outcome, Outcome::Failed(_));
                    if silent || refused || apply(&mut keys, &operation.request, revision).is_none()
                    {
                        continue;
                    }
                    Some(operation)
                }
            };
            revision += 1;
            let returned = writer
                .and_then(|writer| writer.returned)
                .unwrap_or(u64::MAX);
            past.written.push((latest_call, returned));
            past.writers.push(writer);
            if demanded.contains(&revision) {
                past.states.insert(revision, keys.clone());
            }
        }
        past
    }

    fn judge(&self, read: &'a Operation, revision: i64) -> Result<(), Box<Counterexample>> {
        let Some(response) = read.response() else {
            return Ok(());
        };
        let summary = |what: &str| format!("operation {} {what}", read.id);
        let Some(state) = self.states.get(&revision) else {
            let what = summary(&format!(
                "shows revision {revision}, which was never reached"
            ));
            return Err(Counterexample::new(GUARANTEE, what).with(read).into());
        };
        let slot = usize::try_from(revision - 2).ok();
        let writer = slot
            .and_then(|slot| self.writers.get(slot))
            .copied()
            .flatten();
        let (called, _) = slot
            .and_then(|slot| self.written.get(slot))
            .copied()
            .unwrap_or_default();
        if read.returned.is_some_and(|returned| called > returned) {
            let what = summary(&format!("shows revision {revision} before it was written"));
            let reason = format!(
                "operation {} returned at {}, revision {revision} cannot have been written before {}",
                read.id,
                display_seconds(read.returned.unwrap_or_default()),
                display_seconds(called)
            );
            let start = Counterexample::new(GUARANTEE, what)
                .with(read)
                .because(reason);
            return Err(writer.into_iter().fold(start, Counterexample::with).into());
        }
        let look = |revision: i64| self.states.get(&revision).cloned();
        let context = Context {
            before: revision,
            revision,
            past: &look,
        };
        judge(&mut state.clone(), &read.request, &response.body, &context).map_err(|mismatch| {
            let what = summary(&format!(
                "shows what revision {revision} never was: {}",
                mismatch.what
            ));
            let start = Counterexample::new(GUARANTEE, what)
                .with(read)
                .instead(mismatch.expected, mismatch.found);
            Box::new(writer.into_iter().fold(start, Counterexample::with))
        })
    }

    /// Whether a later revision had been acknowledged when the read was invoked.
    fn is_stale(&self, read: &Operation, revision: i64) -> bool {
        let next = usize::try_from(revision - 1)
            .ok()
            .and_then(|slot| self.written.get(slot));
        next.is_some_and(|(_, returned)| *returned < read.invoked)
    }
}

fn revisions_named(request: &Request) -> Vec<i64> {
    match request {
        Request::Range(range) if range.revision > 0 => vec![range.revision],
        Request::Txn(txn) => txn
            .then
            .iter()
            .chain(&txn.otherwise)
            .flat_map(revisions_named)
            .collect(),
        _ => Vec::new(),
    }
}
