//! Histories that others recorded: each format with a history that is right and one that is not,
//! readers that survive anything, and the judge of objects against brute force.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod brute;
mod golden;
mod hostile;

use std::path::{Path, PathBuf};

use vetcd_sim::check::objects::verify::verify;
use vetcd_sim::check::{Options, Verdict, objects};
use vetcd_sim::cli::Judge;
use vetcd_sim::history::read::{Content, Format, Input, Model, detect, read};
use vetcd_sim::report::{JudgedHistory, Verdict as Result};
use vetcd_sim::run::HistoryJudge;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/fixtures")
}

fn load(name: &str) -> Input {
    let path = fixtures().join(name);
    if !path.is_dir() {
        return file(&std::fs::read(path).unwrap());
    }
    let mut files = Vec::new();
    for client in ["client-1", "client-2"] {
        for kind in ["operations.json", "watch.json"] {
            if let Ok(bytes) = std::fs::read(path.join(client).join(kind)) {
                files.push((format!("{client}/{kind}"), bytes));
            }
        }
    }
    Input {
        is_directory: true,
        files,
    }
}

fn file(bytes: &[u8]) -> Input {
    Input {
        is_directory: false,
        files: vec![(String::new(), bytes.to_vec())],
    }
}

fn judge(name: &str) -> JudgedHistory {
    HistoryJudge.judge(&load(name), None, None).unwrap()
}

/// The story of what is wrong.
fn story(judged: &JudgedHistory) -> String {
    let failed = judged
        .checks
        .iter()
        .filter(|check| !check.detail.is_empty());
    failed
        .flat_map(|check| &check.detail)
        .fold(String::new(), |story, line| story + line + "\n")
}

#[test]
fn formats_and_models_are_found_out() {
    for (name, format, model) in [
        ("register.good.log", Format::JepsenLog, Model::Register),
        ("registers.good.edn", Format::Edn, Model::Register),
        ("lists.good.edn", Format::Edn, Model::ListAppend),
        ("kv.good.edn", Format::Edn, Model::Kv),
        ("report.good", Format::Robustness, Model::Etcd),
    ] {
        let input = load(name);
        assert_eq!(detect(&input).unwrap(), format, "{name}");
        assert_eq!(read(&input, None, None).unwrap().model, model, "{name}");
    }
    let own = file(b"{\"format\":\"vetcd-history\",\"version\":1}\n");
    assert_eq!(detect(&own).unwrap(), Format::Vetcd);
    let problem = detect(&file(b"something else")).unwrap_err().to_string();
    assert!(problem.contains("say --format"), "{problem}");
    let unclear = file(b"{:type :invoke, :f :enqueue, :value 1, :process 0}");
    let problem = read(&unclear, None, None).unwrap_err().to_string();
    assert!(problem.contains("say --model"), "{problem}");
    let empty = Input {
        is_directory: true,
        files: Vec::new(),
    };
    assert!(
        detect(&empty)
            .unwrap_err()
            .to_string()
            .contains("operations.json")
    );
}

#[test]
fn what_is_right_passes() {
    for name in [
        "register.good.log",
        "registers.good.edn",
        "lists.good.edn",
        "kv.good.edn",
        "report.good",
    ] {
        let judged = judge(name);
        assert_eq!(judged.verdict, Result::Pass, "{name}: {}", story(&judged));
        if let Content::Objects(history) = read(&load(name), None, None).unwrap().content {
            let certificate = objects::check(&history, &Options::default()).ok().unwrap();
            verify(&history, &certificate.steps).unwrap();
        }
    }
    // What was seen of an operation of unknown outcome happened.
    let counts = judge("report.good");
    assert_eq!((counts.operations.ok, counts.operations.unknown), (2, 1));
    assert!(
        counts
            .notes
            .iter()
            .any(|note| note == "left out: 1 of revocations of leases")
    );
}

#[test]
fn what_is_wrong_does_not() {
    for name in [
        "register.bad.log",
        "registers.bad.edn",
        "lists.bad.edn",
        "kv.bad.edn",
        "report.bad",
    ] {
        let judged = judge(name);
        assert_eq!(judged.verdict, Result::SafetyViolation, "{name}");
        let check = judged
            .checks
            .iter()
            .find(|check| check.counterexample.is_some());
        let json = check.unwrap().counterexample.as_ref().unwrap();
        assert!(
            json["operations"].as_array().unwrap().len() <= 3,
            "{name}: {json}"
        );
    }
}

#[test]
fn another_model_may_be_asked_for() {
    // Without its revisions, the history with the wrong header is fine.
    let history = b"{\"format\":\"vetcd-history\",\"version\":1}
{\"id\":0,\"client\":0,\"invoked\":1,\"returned\":2,\"request\":{\"op\":\"put\",\"key\":\"k\",\"value\":\"v\"},\
\"outcome\":{\"ok\":{\"revision\":9,\"body\":{\"op\":\"put\"}}}}\n";
    let judged = |model| HistoryJudge.judge(&file(history), None, model).unwrap();
    assert_eq!(judged(None).verdict, Result::SafetyViolation);
    assert_eq!(judged(Some(Model::Kv)).verdict, Result::Pass);
    let problem = HistoryJudge
        .judge(&file(history), None, Some(Model::Register))
        .unwrap_err();
    assert!(problem.contains("--model does not fit"), "{problem}");
}

#[test]
fn out_of_budget_is_no_pass() {
    let text: String = (0..12)
        .map(|n| format!("{{:type :invoke, :f :write, :value {n}, :process {n}}}\n"))
        .chain((0..12).map(|n| format!("{{:type :ok, :f :write, :value {n}, :process {n}}}\n")))
        .collect();
    let reads: String = [3, 4, 3]
        .map(|value| {
            format!(
                "{{:type :invoke, :f :read, :value nil, :process 0}}\n\
                 {{:type :ok, :f :read, :value {value}, :process 0}}\n"
            )
        })
        .concat();
    let recording = read(&file((text + &reads).as_bytes()), None, None).unwrap();
    let Content::Objects(history) = recording.content else {
        panic!("not about objects");
    };
    let options = Options {
        steps_max: 100,
        ..Options::default()
    };
    let verdict = objects::check(&history, &options);
    assert!(matches!(verdict, Verdict::Undetermined(_)), "{verdict}");
    let verdict = objects::check(&history, &Options::default());
    let found = verdict.violation().unwrap();
    let ids: Vec<u64> = found.operations.iter().map(|witness| witness.id).collect();
    assert_eq!(ids, [12, 13, 14], "{found}");
}
