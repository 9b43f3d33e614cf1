//! The built binary: usage errors, their exit codes and their words; what there is to learn.

use std::path::Path;
use std::process::{Command, Output};

use crate::engine::directory;

fn vetcd_sim(directory: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vetcd-sim"))
        .args(words)
        .current_dir(directory)
        .env_remove("GITHUB_ACTIONS")
        .output()
        .unwrap()
}

fn fails(words: &[&str], code: i32, wanted: &str) {
    let directory = directory();
    let output = vetcd_sim(directory.path(), words);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {error}");
    assert!(error.starts_with("error: "), "{words:?}: {error}");
    assert_eq!(error.matches("error:").count(), 1, "one error: {error}");
    assert!(error.contains(wanted), "{words:?} says {wanted:?}: {error}");
    assert!(output.stdout.is_empty(), "nothing on stdout");
    assert!(
        !directory.path().join("reports").exists(),
        "nothing was written"
    );
}

#[test]
fn usage_errors_say_what_to_do_and_exit_with_2() {
    fails(
        &["run", "--seed", "seven"],
        2,
        "a seed is a whole number from 0 to 92",
    );
    fails(
        &["run", "--seed", "99999999999999999999"],
        2,
        "a seed is a whole number",
    );
    fails(&["run", "--seeds", "5..5"], 2, "there are no seeds in 5..5");
    fails(&["run", "--seeds", "5"], 2, "A..B");
    fails(
        &["run", "--seed", "1", "--seeds", "1..3"],
        2,
        "cannot be used with",
    );
    fails(
        &["run", "scenarios/smoke/quickstrat.toml"],
        2,
        "did you mean \"scenarios/smoke/quick",
    );
    fails(
        &["run", "smoke/quickstrat"],
        2,
        "did you mean \"smoke/quickstart\"?",
    );
    fails(
        &["run", "--set", "wal-snyc=none"],
        2,
        "did you mean `wal-sync`?",
    );
    fails(&["run", "--set", "time.run=soon"], 2, "bad `run`");
    fails(&["run", "--shard", "5/4"], 2, "a shard is I/N");
    fails(&["run", "-j", "0"], 2, "threads");
    fails(&["run", "--check-determinism", "200"], 2, "percentage");
    fails(&["run", "--defect", "ack-before-snyc"], 2, "defect");
    fails(&["run", "--budget", "10"], 2, "a duration needs a unit");
    fails(&["replay", "x@smoke/quickstart"], 2, "is no seed");
    fails(
        &["replay", "7@smoke/quickstrat"],
        2,
        "did you mean \"smoke/quickstart\"?",
    );
    fails(
        &["replay", "nowhere.toml"],
        2,
        "there is no file nowhere.toml",
    );
    fails(
        &["replay", "scenarios/smoke/quickstart.toml"],
        2,
        "this is not a plan",
    );
    fails(&["verify", "scenarios/smoke"], 2, "name one scenario");
    fails(
        &[
            "compare",
            "smoke/quickstart",
            "--seeds",
            "0..2",
            "--vary",
            "wal-sync",
        ],
        2,
        "--vary",
    );
    fails(
        &[
            "compare",
            "smoke/quickstart",
            "--seeds",
            "0..2",
            "--vary",
            "wal=a,b",
        ],
        2,
        "unknown key",
    );
    fails(&["check", "nowhere.jsonl"], 2, "cannot read nowhere.jsonl");
    fails(
        &["explain", "slow-fsnyc"],
        2,
        "did you mean \"slow-fsync\"?",
    );
    fails(&["shrink", "x"], 2, "unrecognized subcommand");
}

#[test]
fn nothing_matched_exits_with_4() {
    fails(&["run", "smok"], 4, "did you mean \"smoke\"?");
    fails(&["list", "no-such-tag-anywhere"], 4, "nothing matched");
}

#[test]
fn broken_files_are_usage_errors_that_name_the_file() {
    let directory = directory();
    let write =
        |name: &str, text: &[u8]| std::fs::write(directory.path().join(name), text).unwrap();
    write("broken.toml", b"[cluster]\nmembrs = 3\n");
    write("binary.toml", &[0xff, 0xfe, 0x00]);
    write("plan.toml", b"version = 1\nseed = 3\n");
    write("result.json", b"{\"format\": ");
    for (words, wanted) in [
        (["run", "broken.toml"], "broken.toml:2:1"),
        (["run", "binary.toml"], "binary.toml: it is not UTF-8"),
        (["replay", "plan.toml"], "cut short"),
        (["replay", "result.json"], "result.json is not a result"),
    ] {
        let output = vetcd_sim(directory.path(), &words);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(wanted), "{words:?} says {wanted:?}: {error}");
    }
}

fn learn(words: &[&str]) -> String {
    let directory = directory();
    let output = vetcd_sim(directory.path(), words);
    assert_eq!(output.status.code(), Some(0), "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn everything_can_be_learnt() {
    assert!(learn(&["list"]).contains("smoke/quickstart  Three members"));
    assert!(learn(&["explain"]).contains("power-loss"));
    assert!(learn(&["explain", "slow-fsync"]).contains("latency"));
    assert!(learn(&["explain", "104"]).contains("proved nothing"));
    assert!(learn(&["explain", "exit-codes"]).contains("101"));
    assert!(learn(&["explain", "recover-within"]).contains("default: 10s"));
    assert!(learn(&["explain", "smoke/quickstart"]).contains("power-loss on leader"));
    assert!(learn(&["completions", "bash"]).contains("vetcd-sim"));
    let schema: serde_json::Value = serde_json::from_str(&learn(&["schema"])).unwrap();
    assert_eq!(
        schema["properties"]["time"]["properties"]["run"]["type"],
        "string"
    );
}

#[test]
fn commands_that_do_not_exist_yet_are_not_offered() {
    let help = learn(&["--help"]);
    for missing in ["shrink", "why", "calibrate"] {
        assert!(!help.contains(&format!("  {missing}")), "{missing}");
    }
    assert!(help.contains("compare") && help.contains("100  safety violation"));
}
