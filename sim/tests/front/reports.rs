//! Reports of made-up results, word for word.

use std::time::Duration;

use vetcd_sim::compare::{Comparison, Vary, share_bounds};
use vetcd_sim::explore::{RunOptions, Runner};
use vetcd_sim::plan::Plan;
use vetcd_sim::report::{
    LatencySummary, RunResult, Style, Verdict, github, json, markdown, terminal,
};
use vetcd_sim::scenario::{Scenario, Source, parse};

use crate::fake::{Fake, Flags, passed};
use crate::golden;

fn quickstart(sets: &[&str]) -> Scenario {
    let text = include_str!("../../../scenarios/smoke/quickstart.toml").to_string();
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let source = Source {
        name: "scenarios/smoke/quickstart.toml".into(),
        text,
    };
    parse(source, &sets, &Flags).unwrap()
}

fn result(seed: u64, sets: &[&str]) -> RunResult {
    let plan = Plan::draw(&quickstart(sets), seed);
    Fake::default().run(&plan, &RunOptions::default()).result
}

#[test]
fn one_run_in_the_terminal() {
    golden::check(
        "single-pass.txt",
        &terminal::single(&result(7, &[]), Style::PLAIN, true),
    );
    golden::check(
        "single-fail.txt",
        &terminal::single(&result(107, &[]), Style::PLAIN, false),
    );
    let lost = terminal::single(&result(8, &["wal-sync=none"]), Style::PLAIN, false);
    assert!(
        lost.contains("expected loss: 48 acknowledged writes"),
        "{lost}"
    );
}

#[test]
fn colours_are_all_that_colour_adds() {
    let coloured = terminal::single(&result(107, &[]), Style { color: true }, true);
    let plain = terminal::single(&result(107, &[]), Style { color: false }, true);
    assert!(coloured.contains("\x1b[1;31m"));
    let mut stripped = String::new();
    for part in coloured.split("\x1b[") {
        let text = part
            .split_once('m')
            .filter(|(code, _)| code.chars().all(|c| c.is_ascii_digit() || c == ';'));
        stripped += text.map_or(part, |(_, text)| text);
    }
    assert_eq!(stripped, plain);
}

#[test]
fn many_runs_in_the_terminal() {
    let mut summary = vetcd_sim::report::Summary::default();
    let mut text = String::new();
    for seed in [1, 2, 100, 200, 300, 600, 700] {
        let result = result(seed, &[]);
        text += &terminal::brief(&result, Style::PLAIN);
        summary.add(&result);
    }
    text += &summary.show(Style::PLAIN);
    assert_eq!(summary.verdict(), Verdict::SafetyViolation);
    golden::check("many.txt", &text);
}

#[test]
fn one_run_as_json_and_back() {
    let plan = Plan::draw(&quickstart(&[]), 107);
    let result = result(107, &[]);
    let text = json::result(&result, &plan.to_toml());
    golden::check("result.json", &text);
    let saved: json::SavedResult = serde_json::from_str(&text).unwrap();
    assert_eq!(
        saved.result,
        RunResult {
            wall_time: Duration::ZERO,
            ..result
        }
    );
    assert_eq!(Plan::parse("plan", &saved.plan, &Flags).unwrap(), plan);
}

#[test]
fn wall_time_is_in_no_compared_output() {
    let slow = RunResult {
        wall_time: Duration::from_secs(99),
        ..result(107, &[])
    };
    let fast = RunResult {
        wall_time: Duration::from_millis(1),
        ..slow.clone()
    };
    assert_eq!(json::result(&slow, ""), json::result(&fast, ""));
    assert_eq!(
        markdown::runs(std::slice::from_ref(&slow)),
        markdown::runs(std::slice::from_ref(&fast))
    );
    assert_eq!(
        terminal::brief(&slow, Style::PLAIN),
        terminal::brief(&fast, Style::PLAIN)
    );
}

#[test]
fn runs_as_markdown_and_annotations() {
    let results: Vec<RunResult> = [7, 107, 200]
        .iter()
        .map(|seed| result(*seed, &[]))
        .collect();
    golden::check("runs.md", &markdown::runs(&results));
    let annotations: String = results.iter().map(github::annotation).collect();
    golden::check("annotations.txt", &annotations);
}

fn comparison() -> Comparison {
    let vary = Vary::parse("wal-sync=always,batch:2ms,none").unwrap();
    let mut comparison = Comparison::new(&quickstart(&[]), vary, (0, 40));
    for seed in 0..40 {
        for (index, value) in ["always", "batch:2ms", "none"].iter().enumerate() {
            let mut result = result(seed, &[&format!("wal-sync={value}")]);
            if index == 1 && seed == 9 {
                result.verdict = Verdict::LivenessViolation;
                result.reason = "no leader".into();
                result.lost_writes.audited = false;
            }
            comparison.add(index, &result);
        }
    }
    comparison
}

#[test]
fn a_comparison_in_every_form() {
    let comparison = comparison();
    golden::check("comparison.txt", &comparison.terminal(Style::PLAIN));
    golden::check("comparison.md", &comparison.markdown());
    golden::check("comparison.json", &comparison.json());
    assert_eq!(comparison.verdict(), Verdict::LivenessViolation);
}

#[test]
fn none_lost_is_never_a_bare_zero() {
    let (low, high) = share_bounds(0, 400);
    assert_eq!((low, high), (0.0, 0.0075));
    assert_eq!(share_bounds(400, 400).1, 1.0);
    let (low, high) = share_bounds(200, 400);
    assert!(low > 0.45 && high < 0.55);
    assert_eq!(share_bounds(0, 0), (0.0, 1.0));
    let row = &comparison().rows()[0];
    assert!(
        row.sentence.contains("95 % upper bound: 7.5 % of runs"),
        "{}",
        row.sentence
    );
}

#[test]
fn runs_that_could_not_be_done_are_in_no_denominator() {
    let vary = Vary::parse("wal-sync=always").unwrap();
    let mut comparison = Comparison::new(&quickstart(&[]), vary, (0, 2));
    let plan = Plan::draw(&quickstart(&[]), 0);
    comparison.add(0, &passed(&plan));
    comparison.add(0, &RunResult::internal_error(&plan, "out of memory"));
    let row = &comparison.rows()[0];
    assert_eq!((row.runs, row.internal_errors), (1, 1));
    assert!(
        row.sentence.contains("1 more could not be done"),
        "{}",
        row.sentence
    );
}

#[test]
fn percentiles_are_by_nearest_rank() {
    let mut latencies: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
    let summary = LatencySummary::of(&mut latencies);
    assert_eq!(
        (summary.p50, summary.p99),
        (Duration::from_millis(50), Duration::from_millis(99))
    );
    assert_eq!(LatencySummary::of(&mut []), LatencySummary::default());
    let one = LatencySummary::of(&mut [Duration::from_millis(3)]);
    assert_eq!((one.count, one.p99), (1, Duration::from_millis(3)));
}

#[test]
fn the_severest_verdict_wins() {
    let mut codes: Vec<u8> = Verdict::ALL
        .iter()
        .map(|verdict| verdict.exit_code())
        .collect();
    assert_eq!(codes, [0, 3, 1, 104, 101, 103, 102, 100]);
    let mut sorted = Verdict::ALL.to_vec();
    sorted.sort();
    assert_eq!(sorted, Verdict::ALL);
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), Verdict::ALL.len());
}
