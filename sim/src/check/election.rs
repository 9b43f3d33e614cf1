//! Elections: one leader at a time, and everybody is told of the leaders in one order.
//!
//! - **One leader.** Two clients that both certainly led at one moment ([`super::holding`]).
//! - **In order.** Whoever is told of a leader after somebody was told of another is told of that
//!   one or a later: by the revision that created the leader's key, and of one leader by the
//!   revision of what he said. An observer's first news counts from when he began; what he is told
//!   later comes in order, and each once.
//! - **True.** A leader's key and what he says were asked for by a candidate before.
//! - **Agreement.** One revision says the same to all.
//! - **Not from the past.** Nobody who asks is told of a leader who had certainly gone before he
//!   asked, or that there is none while one certainly led throughout.
//!
//! An observer may miss leaders, and what they said, if others followed quickly: only the last is
//! promised. Undetermined when nobody was elected and nobody was told of a leader.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use super::holding::{Holding, Kind, Lives, one_at_a_time};
use super::{Counterexample, Verdict, Witness};
use crate::history::{
    Leader, LeaseAnswer, LeaseHistory, LeaseOperation, LeaseOutcome, LeaseRequest, Nanoseconds,
    display_seconds, display_short, lease_name,
};

const GUARANTEE: &str = "elections";
/// How a server says that nobody leads.
const NO_LEADER: &str = "no leader";

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How often a client was elected.
    pub elected: u64,
    /// How often a leader lost the office with its lease.
    pub lost: u64,
    /// Answers to the question who leads.
    pub asked: u64,
    /// What observers were told.
    pub observed: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            elected,
            lost,
            asked,
            observed,
        } = self;
        write!(
            f,
            "elected {elected} times, one at a time ({lost} lost with their leases); {asked} answers \
             and {observed} observations name them in order"
        )
    }
}

type Judged = Result<(), Box<Counterexample>>;

/// Judges the elections of a history. `told` says whether members told of every lease's end.
pub fn check(leases: &LeaseHistory, told: bool) -> Verdict<Report> {
    let mut judge = Judge {
        leases,
        lives: Lives::of(leases, told),
        said: BTreeMap::new(),
        report: Report::default(),
    };
    let result = judge.judge();
    let report = judge.report;
    match result {
        Err(counterexample) => Verdict::Violation(counterexample),
        Ok(()) if report.elected + report.asked + report.observed == 0 => {
            Verdict::Undetermined("nobody was elected, and nobody was told of a leader".to_owned())
        }
        Ok(()) => Verdict::Ok(report),
    }
}

struct Judge<'a> {
    leases: &'a LeaseHistory,
    lives: Lives<'a>,
    /// When it was first asked that a key should say something.
    said: BTreeMap<(Bytes, &'a Bytes), Nanoseconds>,
    report: Report,
}

/// Somebody was told of a leader.
struct Statement<'a> {
    leader: Leader,
    /// It cannot be older than this.
    since: Nanoseconds,
    /// It was so by then.
    at: Nanoseconds,
    /// Whether what the leader says is known; a candidate only learns that he leads.
    whole: bool,
    teller: Teller<'a>,
}

enum Teller<'a> {
    Answer(&'a LeaseOperation),
    Observation(&'a crate::history::Observation),
}

impl Statement<'_> {
    fn witness(&self) -> Witness {
        match self.teller {
            Teller::Answer(operation) => operation.into(),
            Teller::Observation(observation) => {
                let mut witness = Witness::from(observation);
                let at = display_seconds(self.at);
                witness.text = format!("{}, told at {at}: {}", witness.text, self.leader);
                witness.returned = Some(self.at);
                witness
            }
        }
    }

    fn name(&self) -> String {
        match self.teller {
            Teller::Answer(operation) => format!("lease operation {}", operation.id),
            Teller::Observation(observation) => format!("observation {}", observation.id),
        }
    }

    /// The least that whoever is told later must be told.
    fn floor(&self) -> (i64, i64) {
        (self.leader.created, self.leader.modified)
    }

    /// The most that this may stand for.
    fn ceiling(&self) -> (i64, i64) {
        match self.whole {
            true => self.floor(),
            false => (self.leader.created, i64::MAX),
        }
    }
}

/// The key of a candidate, as etcd makes it.
fn key_of(name: &Bytes, lease: i64) -> Bytes {
    Bytes::from([name, &b"/"[..], lease_name(lease).as_bytes()].concat())
}

impl<'a> Judge<'a> {
    fn judge(&mut self) -> Judged {
        let mut holdings: BTreeMap<&'a Bytes, Vec<Holding<'a>>> = BTreeMap::new();
        let mut statements: BTreeMap<&'a Bytes, Vec<Statement<'a>>> = BTreeMap::new();
        let mut nobody: Vec<(&'a Bytes, &'a LeaseOperation)> = Vec::new();
        for operation in &self.leases.operations {
            let at = operation.returned.unwrap_or(operation.invoked);
            match (&operation.request, &operation.outcome) {
                (LeaseRequest::Campaign { name, lease, value }, outcome) => {
                    self.asked(key_of(name, *lease), value, operation.invoked);
                    let LeaseOutcome::Ok(LeaseAnswer::Elected { key, created }) = outcome else {
                        continue;
                    };
                    self.report.elected += 1;
                    let resigns = |request: &LeaseRequest| {
                        matches!(request, LeaseRequest::Resign { key: k, created: c }
                            if k == key && c == created)
                    };
                    let leases = self.leases;
                    let holding = Holding::new(operation, *lease, leases, &self.lives, resigns);
                    self.report.lost += u64::from(holding.is_lost(&self.lives));
                    holdings.entry(name).or_default().push(holding);
                    statements.entry(name).or_default().push(Statement {
                        leader: Leader {
                            key: key.clone(),
                            value: Bytes::new(),
                            created: *created,
                            modified: *created,
                        },
                        since: operation.invoked,
                        at,
                        whole: false,
                        teller: Teller::Answer(operation),
                    });
                }
                (LeaseRequest::Proclaim { key, value, .. }, _) => {
                    self.asked(key.clone(), value, operation.invoked);
                }
                (LeaseRequest::Leader { name }, LeaseOutcome::Ok(LeaseAnswer::Leads(leader))) => {
                    self.report.asked += 1;
                    statements.entry(name).or_default().push(Statement {
                        leader: leader.clone(),
                        since: operation.invoked,
                        at,
                        whole: true,
                        teller: Teller::Answer(operation),
                    });
                }
                (LeaseRequest::Leader { name }, LeaseOutcome::Failed(why))
                    if why.contains(NO_LEADER) =>
                {
                    self.report.asked += 1;
                    nobody.push((name, operation));
                }
                _ => {}
            }
        }
        for observation in &self.leases.observations {
            let mut last: Option<&Leader> = None;
            for (at, leader) in &observation.told {
                self.report.observed += 1;
                if let Some(last) = last
                    && (leader.created, leader.modified) <= (last.created, last.modified)
                {
                    let summary = "an observer is told of leaders out of order, or twice";
                    let told = Counterexample::new(GUARANTEE, summary)
                        .with(observation)
                        .because(format!("at {} it was told: {leader}", display_seconds(*at)))
                        .because(format!("before that: {last}"))
                        .instead(
                            format!(
                                "what came after create {}, mod {}",
                                last.created, last.modified
                            ),
                            format!("create {}, mod {}", leader.created, leader.modified),
                        );
                    return Err(Box::new(told));
                }
                last = Some(leader);
                statements
                    .entry(&observation.name)
                    .or_default()
                    .push(Statement {
                        leader: leader.clone(),
                        since: observation.opened,
                        at: *at,
                        whole: true,
                        teller: Teller::Observation(observation),
                    });
            }
        }
        for (name, operation) in nobody {
            let held = holdings.get(name).into_iter().flatten();
            self.nobody(name, operation, held)?;
        }
        let kind = Kind {
            guarantee: GUARANTEE,
            noun: "election",
        };
        for (name, holdings) in holdings {
            one_at_a_time(kind, name, holdings, &self.lives)?;
        }
        for statements in statements.values() {
            statements
                .iter()
                .try_for_each(|told| self.true_and_new(told))?;
            agreement(statements)?;
            in_order(statements)?;
        }
        Ok(())
    }

    fn asked(&mut self, key: Bytes, value: &'a Bytes, at: Nanoseconds) {
        let first = self.said.entry((key, value)).or_insert(at);
        *first = at.min(*first);
    }

    /// That a candidate asked for it, and had not gone before it was asked.
    fn true_and_new(&self, told: &Statement<'_>) -> Judged {
        let leader = &told.leader;
        if told.whole {
            let asked = self.said.get(&(leader.key.clone(), &leader.value));
            if asked.is_none_or(|asked| *asked > told.at) {
                let what = match asked {
                    Some(asked) => format!("first asked for at {}", display_seconds(*asked)),
                    None => "nobody asked for it".to_owned(),
                };
                let summary = format!("{} tells what no leader can have said", told.name());
                let counterexample = Counterexample::new(GUARANTEE, summary)
                    .with(told.witness())
                    .because(format!("{leader}: {what}"))
                    .instead(
                        "what a candidate or leader asked to say before",
                        display_short(&leader.value),
                    );
                return Err(Box::new(counterexample));
            }
        }
        let resigned = self.leases.operations.iter().find(|operation| {
            let same = matches!(&operation.request, LeaseRequest::Resign { key, created }
                if *key == leader.key && *created == leader.created);
            let done = matches!(operation.outcome, LeaseOutcome::Ok(_));
            same && done && operation.returned.is_some_and(|at| at < told.since)
        });
        let lease = leader.key.rsplit(|byte| *byte == b'/').next();
        let lease = lease.and_then(number);
        let removal = lease.and_then(|lease| self.lives.removal(lease));
        let removal = removal.filter(|removal| removal.at < told.since);
        if resigned.is_none() && removal.is_none() {
            return Ok(());
        }
        let summary = format!(
            "{} tells of a leader who had gone before it was called at {}",
            told.name(),
            display_seconds(told.since)
        );
        let mut counterexample = Counterexample::new(GUARANTEE, summary).with(told.witness());
        if let Some(resigned) = resigned {
            let at = display_seconds(resigned.returned.unwrap_or_default());
            counterexample = counterexample
                .with(resigned)
                .because(format!("he had resigned by {at}"));
        }
        if let Some(removal) = removal {
            counterexample = counterexample.because(removal.to_string());
        }
        let counterexample = counterexample.instead("a later leader, or none", leader.to_string());
        Err(Box::new(counterexample))
    }

    /// That nobody led at some moment of a question that was answered so.
    fn nobody<'b>(
        &self,
        name: &Bytes,
        operation: &LeaseOperation,
        mut holdings: impl Iterator<Item = &'b Holding<'b>>,
    ) -> Judged {
        let at = operation.returned.unwrap_or(operation.invoked);
        let throughout = holdings.find(|h| h.from <= operation.invoked && at <= h.until);
        let Some(holding) = throughout else {
            return Ok(());
        };
        let client = holding.operation.client;
        let summary = format!(
            "client {} was told that nobody leads {}, while client {client} did",
            operation.client,
            display_short(name)
        );
        let counterexample = Counterexample::new(GUARANTEE, summary)
            .with(holding.operation)
            .with(operation)
            .because(format!(
                "client {client} led since {}, before the question was put at {}, and still did when \
                 it was answered at {}",
                display_seconds(holding.from),
                display_seconds(operation.invoked),
                display_seconds(at)
            ))
            .instead(format!("client {client}"), "nobody");
        Err(Box::new(counterexample))
    }
}

/// The lease that a candidate's key ends in.
fn number(hex: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(hex).ok()?;
    match text.strip_prefix('-') {
        Some(digits) => i64::from_str_radix(&format!("-{digits}"), 16).ok(),
        None => i64::from_str_radix(text, 16).ok(),
    }
}

/// One revision says the same to all.
fn agreement(statements: &[Statement<'_>]) -> Judged {
    let mut by_revision: BTreeMap<i64, &Statement<'_>> = BTreeMap::new();
    for told in statements.iter().filter(|told| told.whole) {
        let first = *by_revision.entry(told.leader.modified).or_insert(told);
        if first.leader == told.leader {
            continue;
        }
        let revision = told.leader.modified;
        let (one, two) = (first.name(), told.name());
        let summary = format!("{one} and {two} tell different things of revision {revision}");
        let counterexample = Counterexample::new(GUARANTEE, summary)
            .with(first.witness())
            .with(told.witness())
            .instead(first.leader.to_string(), told.leader.to_string());
        return Err(Box::new(counterexample));
    }
    Ok(())
}

/// Nobody is told of an older leader than somebody was told of before he asked.
fn in_order(statements: &[Statement<'_>]) -> Judged {
    let mut by_end: Vec<&Statement<'_>> = statements.iter().collect();
    by_end.sort_by_key(|told| told.at);
    let mut by_start: Vec<&Statement<'_>> = statements.iter().collect();
    by_start.sort_by_key(|told| told.since);
    let mut ended = by_end.into_iter().peekable();
    let mut newest: Option<&Statement<'_>> = None;
    let mut keys: BTreeSet<(i64, &Bytes)> = BTreeSet::new();
    for told in by_start {
        while let Some(before) = ended.next_if(|before| before.at < told.since) {
            if newest.is_none_or(|newest| newest.floor() < before.floor()) {
                newest = Some(before);
            }
        }
        if let Some(before) = newest
            && told.ceiling() < before.floor()
        {
            let (one, two) = (before.name(), told.name());
            let summary = format!("{two} tells of an older leader than {one} before it");
            let (older, newer) = (&told.leader, &before.leader);
            let counterexample = Counterexample::new(GUARANTEE, summary)
                .with(before.witness())
                .with(told.witness())
                .because(format!(
                    "{two} before {one} by revision: create {} mod {} < create {} mod {}",
                    older.created, older.modified, newer.created, newer.modified
                ))
                .because(format!(
                    "{one} before {two} by real time: {one} was answered at {}, {two} was called at \
                     {}",
                    display_seconds(before.at),
                    display_seconds(told.since)
                ))
                .instead(
                    format!("{newer}, or what came after"),
                    older.to_string(),
                );
            return Err(Box::new(counterexample));
        }
        keys.insert((told.leader.created, &told.leader.key));
    }
    // A revision creates one key of an election.
    let mut pairs = keys.iter().zip(keys.iter().skip(1));
    if let Some(((created, one), (_, two))) = pairs.find(|(a, b)| a.0 == b.0) {
        let summary = format!(
            "the keys {} and {} of two leaders were created at one revision, {created}",
            display_short(one),
            display_short(two)
        );
        return Err(Box::new(Counterexample::new(GUARANTEE, summary)));
    }
    Ok(())
}
