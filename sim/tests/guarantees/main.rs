//! Every guarantee with a history that keeps it, one that breaks it, and one of which it cannot be
//! said: hand-written, in the text files beside this one. They go through their file's format and
//! through the judges of `vetcd-sim check`, as the histories of saved runs do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parse;
mod saved;

use std::collections::BTreeSet;

use parse::{Stories, Story, stories};
use vetcd_sim::check::{Options, Verdict, serializable_reads, strict_serializability};
use vetcd_sim::cli::Judge;
use vetcd_sim::history::History;
use vetcd_sim::history::read::{Format, Input};
use vetcd_sim::report::{CheckVerdict, JudgedHistory};
use vetcd_sim::run::HistoryJudge;

/// What is guaranteed, and whether there can be a history that does not decide it.
const GUARANTEES: &[&str] = &[
    "order: put",
    "order: real time",
    "order: range and its options",
    "order: delete range",
    "order: transaction",
    "order: nested transaction",
    "order: reads at old revisions",
    "order: compaction",
    "order: lease expiry",
    "order: unknown outcomes",
    "order: no request is done twice",
    "order: revisions are right",
    "serializable reads: some applied prefix",
    "serializable reads: never the future",
    "serializable reads: a member never goes back",
    "watch: created first",
    "watch: filter",
    "watch: ordered",
    "watch: unique",
    "watch: atomic",
    "watch: fragments only where asked for",
    "watch: reliable",
    "watch: resumable",
    "watch: bookmarkable",
    "watch: previous value",
    "watch: create and version fields",
    "watch: no event of the future",
    "watch: streams agree",
    "watch: caught up after healing",
    "watch: cancelled only when compacted or asked",
    "lease: none ends before its promise",
    "lease: none lives forever",
    "lease: a revocation was asked for",
    "lease: the dead stay dead",
    "lease: keys go with it",
    "lease: by clients' accounts alone, none ends early",
    "lease: by clients' accounts alone, the dead stay dead",
    "lock: one holder at a time",
    "lock: lost with its lease",
    "lock: not given to a lease that has ended",
    "lock: fencing revisions increase",
    "lock: by clients' accounts alone",
    "election: one leader at a time",
    "election: leaders are observed in order",
    "election: nobody is told of an older leader than another was",
    "election: leaders say only what they asked to say",
    "election: one revision says the same to all",
    "election: no leader of the past, and no silence about one",
    "no acknowledged write is lost",
    "a loss that the setting permits is no more than that",
    "convergence: the same state everywhere",
    "convergence: consistent with the same index",
    "convergence: the same voters and learners",
    "members that were removed stop",
    "served again in time after healing",
    "raft safety",
    "nothing succeeds without permission",
    "nothing permitted is denied",
];

/// Raft's safety is watched at every step from inside: there is always an answer, or no such check.
const ALWAYS_DECIDED: &[&str] = &["raft safety"];

/// A budget in which a muddle is not sorted out.
const STEPS_FEW: u64 = 100;

fn all() -> Stories {
    let mut all = Stories::new();
    for text in [
        include_str!("order.txt"),
        include_str!("watch.txt"),
        include_str!("leases.txt"),
        include_str!("members.txt"),
    ] {
        all.extend(stories(text));
    }
    all
}

fn judge(file: Vec<u8>) -> JudgedHistory {
    let input = Input {
        is_directory: false,
        files: vec![(String::new(), file)],
    };
    HistoryJudge
        .judge(&input, Some(Format::Vetcd), None)
        .unwrap()
}

/// What a check says of a story; `None` when it does not apply.
fn said(check: &str, lines: &[String]) -> (Option<CheckVerdict>, String) {
    let mut story = Story::default();
    lines.iter().for_each(|line| story.line(line));
    let muddled = lines.iter().any(|line| line.starts_with("muddle"));
    let verdict = match (muddled, check) {
        (true, _) => with_few_steps(check, &History::read(&story.file()[..]).unwrap()),
        (false, _) => {
            let judged = judge(story.file());
            let result = judged
                .checks
                .into_iter()
                .find(|result| result.name == check);
            return match result {
                Some(result) => {
                    let story = format!("{}\n{}", result.text, result.detail.join("\n"));
                    if result.verdict == CheckVerdict::Fail {
                        readable(&result.counterexample, check, &story);
                    }
                    (Some(result.verdict), story)
                }
                None => (None, "there is no such check".to_owned()),
            };
        }
    };
    let shown = match verdict {
        Verdict::Ok(()) => CheckVerdict::Pass,
        Verdict::Violation(_) => CheckVerdict::Fail,
        Verdict::Undetermined(_) => CheckVerdict::Undetermined,
    };
    (Some(shown), format!("{:?}", shown))
}

fn with_few_steps(check: &str, history: &History) -> Verdict<()> {
    let few = Options {
        steps_max: STEPS_FEW,
        ..Options::default()
    };
    if check == "strict-serializability" {
        return strict_serializability::check(history, &few).map(drop);
    }
    let certificate = strict_serializability::check(history, &Options::default());
    let certificate = certificate.ok().expect("an order of the other operations");
    serializable_reads::check(history, &certificate, &few).map(drop)
}

/// A counterexample names operations with their times, or what members said, and for machines too.
fn readable(counterexample: &Option<serde_json::Value>, check: &str, story: &str) {
    if check == "raft-safety" {
        return;
    }
    println!("{story}\n");
    let value = counterexample
        .as_ref()
        .unwrap_or_else(|| panic!("no counterexample: {story}"));
    let shown = value["operations"].as_array().unwrap();
    let from_members = ["convergence", "membership", "liveness"].contains(&check);
    assert!(from_members || !shown.is_empty(), "no operations: {story}");
    assert!(shown.len() <= 3, "too many operations: {story}");
    for operation in shown {
        assert!(operation["invoked"].is_u64(), "no time: {operation}");
        let text = operation["text"].as_str().unwrap();
        assert!(text.contains(" s"), "no time: {text}");
    }
    let argued = !value["reasons"].as_array().unwrap().is_empty();
    assert!(
        argued || value["expected"].is_string(),
        "no argument: {story}"
    );
}

#[test]
fn every_guarantee_has_its_three_histories() {
    let all = all();
    for guarantee in GUARANTEES {
        for verdict in ["pass", "fail", "undetermined"] {
            let never = verdict == "undetermined" && ALWAYS_DECIDED.contains(guarantee);
            let there = all.contains_key(&((*guarantee).to_owned(), verdict.to_owned()));
            assert_eq!(there, !never, "{guarantee}: {verdict}");
        }
    }
    let known: BTreeSet<&str> = GUARANTEES.iter().copied().collect();
    for (guarantee, verdict) in all.keys() {
        assert!(
            known.contains(guarantee.as_str()),
            "{guarantee} is not listed"
        );
        assert!(["pass", "fail", "undetermined"].contains(&verdict.as_str()));
    }
}

#[test]
fn each_is_judged_as_written_down() {
    let mut wrong = Vec::new();
    for ((guarantee, verdict), (check, lines)) in &all() {
        let expected = match verdict.as_str() {
            "pass" => CheckVerdict::Pass,
            "fail" => CheckVerdict::Fail,
            _ => CheckVerdict::Undetermined,
        };
        let (found, story) = said(check, lines);
        if found != Some(expected) {
            wrong.push(format!("{guarantee} | {verdict}: {found:?}: {story}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
