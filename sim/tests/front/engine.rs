//! The commands that run plans, on the made-up runner.

use std::path::Path;

use clap::Parser;
use vetcd_sim::cli::args::Arguments;
use vetcd_sim::cli::{Engine, Environment, Streams, execute};
use vetcd_sim::report::Style;

use crate::fake::{Fake, Flags, Words};

/// A working directory with two scenarios.
pub fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let scenarios = directory.path().join("scenarios/smoke");
    std::fs::create_dir_all(&scenarios).unwrap();
    let quickstart = include_str!("../../../scenarios/smoke/quickstart.toml");
    std::fs::write(scenarios.join("quickstart.toml"), quickstart).unwrap();
    let tiny = "tags = [\"tiny\"]\n[time]\nrun = \"5s\"\n";
    std::fs::write(scenarios.join("tiny.toml"), tiny).unwrap();
    directory
}

struct Ran {
    code: u8,
    out: String,
    err: String,
}

fn run_with(environment: &Environment, words: &[&str]) -> Ran {
    let arguments = Arguments::try_parse_from([&["vetcd-sim"], words].concat()).unwrap();
    let fake = Fake::default();
    let engine = Engine {
        runner: &fake,
        flags: &Flags,
        judge: &Words,
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams {
        out: &mut out,
        err: &mut err,
    };
    let code = execute(arguments, environment, engine, &mut streams);
    Ran {
        code,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

fn environment(directory: &Path) -> Environment {
    Environment {
        directory: directory.to_path_buf(),
        style: Style::PLAIN,
        progress: false,
        github: false,
        program: "vetcd-sim".into(),
    }
}

fn run(directory: &Path, words: &[&str]) -> Ran {
    run_with(&environment(directory), words)
}

#[test]
fn one_run_prints_its_verdict_and_the_line_that_replays_it() {
    let directory = directory();
    let ran = run(
        directory.path(),
        &["run", "smoke/quickstart", "--seed", "7"],
    );
    assert_eq!(ran.code, 0);
    assert!(ran.out.contains("every check passed"), "{}", ran.out);
    assert!(
        ran.out
            .contains("vetcd-sim replay 7@scenarios/smoke/quickstart.toml"),
        "{}",
        ran.out
    );
    assert!(
        !directory.path().join("reports").exists(),
        "a pass leaves no files"
    );
}

#[test]
fn each_verdict_has_its_exit_code() {
    let directory = directory();
    for (seed, code) in [
        ("1", 0),
        ("100", 100),
        ("200", 101),
        ("300", 3),
        ("400", 1),
        ("600", 104),
        ("700", 102),
    ] {
        let ran = run(directory.path(), &["run", "tiny", "--seed", seed]);
        assert_eq!(ran.code, code, "seed {seed}: {}{}", ran.out, ran.err);
    }
}

#[test]
fn a_failure_is_saved_and_can_be_replayed_from_every_file() {
    let directory = directory();
    let ran = run(
        directory.path(),
        &["run", "smoke/quickstart", "--seed", "105"],
    );
    assert_eq!(ran.code, 100);
    assert!(
        ran.out.contains("reports/smoke-quickstart-105/"),
        "{}",
        ran.out
    );
    let saved = directory.path().join("reports/smoke-quickstart-105");
    for file in ["plan.toml", "result.json", "history.jsonl"] {
        assert!(saved.join(file).is_file(), "{file}");
    }
    for what in [
        "reports/smoke-quickstart-105/plan.toml",
        "reports/smoke-quickstart-105/result.json",
        "105@smoke/quickstart",
        "105@scenarios/smoke/quickstart.toml",
    ] {
        let again = run(directory.path(), &["replay", what]);
        assert_eq!(again.code, 100, "{what}: {}{}", again.out, again.err);
        assert!(again.out.contains("stale read"));
    }
}

#[test]
fn the_replay_line_repeats_settings() {
    let directory = directory();
    let words = [
        "run",
        "tiny",
        "--seed",
        "101",
        "--set",
        "wal-sync=none",
        "--set",
        "time.run=4 s",
    ];
    let ran = run(directory.path(), &words);
    let line = "vetcd-sim replay 101@scenarios/smoke/tiny.toml --set wal-sync=none --set \
                'time.run=4 s'";
    assert!(ran.out.contains(line), "{}", ran.out);
}

#[test]
fn output_does_not_depend_on_threads() {
    let directory = directory();
    let words = ["run", "smoke", "--seeds", "90..130", "-j"];
    let one = run(directory.path(), &[&words[..], &["1"]].concat());
    let four = run(directory.path(), &[&words[..], &["4"]].concat());
    assert_eq!(one.code, 100);
    assert_eq!(one.out, four.out);
    assert_eq!(one.out.matches("PASS ").count(), 20);
    assert!(
        one.out.contains("80 runs: 20 passed, 60 safety violation"),
        "{}",
        one.out
    );
}

#[test]
fn quiet_shows_failures_alone() {
    let directory = directory();
    let ran = run(
        directory.path(),
        &["run", "tiny", "--seeds", "98..=100", "--quiet"],
    );
    assert!(
        !ran.out.contains("seed 98") && ran.out.contains("seed 100"),
        "{}",
        ran.out
    );
}

#[test]
fn json_is_all_of_stdout() {
    let directory = directory();
    let words = ["run", "tiny", "--seeds", "98..102", "--report", "json"];
    let ran = run(directory.path(), &words);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["runs"].as_array().unwrap().len(), 4);
    assert_eq!(report["verdict"], "safety-violation");
    assert_eq!(report["exit-code"], 100);
    assert_eq!(report["runs"][0]["seed"], 98);
}

#[test]
fn fail_fast_stops_at_the_first_failure() {
    let directory = directory();
    let ran = run(
        directory.path(),
        &[
            "run",
            "tiny",
            "--seeds",
            "98..200",
            "--fail-fast",
            "-j",
            "3",
        ],
    );
    assert_eq!(ran.code, 100);
    assert!(
        ran.out.contains("3 runs: 2 passed, 1 safety violation"),
        "{}",
        ran.out
    );
}

#[test]
fn shards_share_the_runs_out() {
    let directory = directory();
    let mut seeds = Vec::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let words = [
            "run", "tiny", "--seeds", "0..10", "--shard", shard, "--report", "json",
        ];
        let ran = run(directory.path(), &words);
        let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let runs = report["runs"].as_array().unwrap();
        seeds.extend(runs.iter().map(|run| run["seed"].as_u64().unwrap()));
    }
    seeds.sort_unstable();
    assert_eq!(seeds, (0..10).collect::<Vec<_>>());
    let empty = run(
        directory.path(),
        &["run", "tiny", "--seed", "1", "--shard", "2/2"],
    );
    assert_eq!(empty.code, 4);
}

#[test]
fn determinism_is_checked_on_the_share_asked_for() {
    let directory = directory();
    let words = ["run", "tiny", "--seeds", "500..520", "--check-determinism"];
    let quarter = run(directory.path(), &[&words[..], &["25%"]].concat());
    assert_eq!(quarter.code, 103);
    assert!(
        quarter.out.contains("20 runs: 15 passed, 5 nondeterminism"),
        "{}",
        quarter.out
    );
    let none = run(directory.path(), &[&words[..], &["0%"]].concat());
    assert_eq!(none.code, 0);
    let honest = [
        "run",
        "tiny",
        "--seeds",
        "0..9",
        "--check-determinism",
        "100%",
    ];
    assert_eq!(run(directory.path(), &honest).code, 0);
}

#[test]
fn verify_names_the_first_event_that_differs() {
    let directory = directory();
    let ran = run(directory.path(), &["verify", "smoke/tiny", "--seed", "500"]);
    assert_eq!(ran.code, 103);
    assert!(
        ran.out.contains("the first difference is event 3"),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .contains("-       0.260s  member 1  0000000000000000"),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .contains("+       0.260s  member 1  0000000000000001"),
        "{}",
        ran.out
    );
    let same = run(directory.path(), &["verify", "smoke/tiny", "--seed", "3"]);
    assert_eq!(same.code, 0);
    assert!(same.out.contains("two runs, 4 events"), "{}", same.out);
}

#[test]
fn a_comparison_pairs_seeds_and_names_witnesses() {
    let directory = directory();
    let words = [
        "compare",
        "smoke/quickstart",
        "--vary",
        "wal-sync=always,none",
        "--seeds",
        "0..20",
        "-j",
        "3",
        "--out",
        "study",
    ];
    let ran = run(directory.path(), &words);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out
            .contains("no acknowledged write lost in 20 audited runs"),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .contains("lost in 20 of 20 runs (as the setting allows"),
        "{}",
        ran.out
    );
    // The witness runs with the scenario's own expectations taken out, as the comparison did.
    let witness = "replay 19@scenarios/smoke/quickstart.toml --set 'expect.must-reach=[]' --set \
                   wal-sync=none";
    assert!(ran.out.contains(witness), "{}", ran.out);
    for file in ["comparison.json", "comparison.md"] {
        assert!(directory.path().join("study").join(file).is_file());
    }
}

#[test]
fn a_budget_takes_new_seeds_until_it_is_spent() {
    let directory = directory();
    let ran = run(
        directory.path(),
        &[
            "run", "smoke", "--budget", "100ms", "--seed", "1000", "-j", "2",
        ],
    );
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(
        ran.out.contains("smoke/quickstart seed 1000") && ran.out.contains("smoke/tiny seed 1000")
    );
    assert!(ran.out.contains("seed 1001"), "{}", ran.out);
}

#[test]
fn histories_are_judged() {
    let directory = directory();
    for (content, code) in [("good\n", 0), ("bad\n", 100), ("long\n", 3), ("{", 2)] {
        std::fs::write(directory.path().join("history.jsonl"), content).unwrap();
        let ran = run(directory.path(), &["check", "history.jsonl"]);
        assert_eq!(ran.code, code, "{content}: {}{}", ran.out, ran.err);
    }
}

#[test]
fn github_gets_annotations_only_where_asked() {
    let directory = directory();
    let github = Environment {
        github: true,
        ..environment(directory.path())
    };
    let ran = run_with(&github, &["run", "tiny", "--seed", "101"]);
    assert!(
        ran.out
            .contains("::error file=scenarios/smoke/tiny.toml,title="),
        "{}",
        ran.out
    );
    let json = run_with(
        &github,
        &["run", "tiny", "--seed", "101", "--report", "json"],
    );
    assert!(serde_json::from_str::<serde_json::Value>(&json.out).is_ok());
    assert!(json.err.contains("::error"));
    assert!(
        !run(directory.path(), &["run", "tiny", "--seed", "101"])
            .out
            .contains("::error")
    );
}

#[test]
fn an_output_that_cannot_be_written_is_an_internal_error() {
    let directory = directory();
    std::fs::write(directory.path().join("reports"), "a file").unwrap();
    let ran = run(directory.path(), &["run", "tiny", "--seed", "101"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("cannot save below reports"), "{}", ran.err);
}
