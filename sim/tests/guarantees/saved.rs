//! A run that is saved is judged from its file as it was judged when it ran, and a corrupted copy is
//! not.

use vetcd_sim::cluster::Flags;
use vetcd_sim::explore::{RunOptions, RunOutput, Runner};
use vetcd_sim::history::{History, LeaseAnswer, LeaseOutcome, LeaseRequest, News, Watch};
use vetcd_sim::plan::Plan;
use vetcd_sim::report::{CheckVerdict, JudgedHistory, Verdict};
use vetcd_sim::run::SimRunner;
use vetcd_sim::scenario::{Source, parse};

const SCENARIO: &str = r#"
description = "All that is judged, in a few seconds, across a crash of the leader"
tags = ["test"]

[time]
run = "12s"
recover-within = "30s"

[[workload]]
kind = "kv"
clients = 3
rate = "60/s"

[[workload]]
kind = "lease"
clients = 2
ttl = 2

[[workload]]
kind = "lock"
clients = 3
ttl = 2

[[workload]]
kind = "election"
clients = 3
observers = 2
ttl = 2

[[workload]]
kind = "watch"
clients = 1

[[fault]]
kind = "crash"
on = "leader"
at = "5s"
restart-after = "1s"

[expect]
must-reach = ["leader-changed"]
"#;

fn run() -> RunOutput {
    let source = Source {
        name: "saved.toml".to_owned(),
        text: SCENARIO.to_owned(),
    };
    let scenario = parse(source, &[], &Flags).unwrap();
    let plan = Plan::draw(&scenario, 3);
    SimRunner.run(&plan, &RunOptions::default())
}

fn judged(history: &History) -> JudgedHistory {
    let mut file = Vec::new();
    history.write(&mut file).unwrap();
    super::judge(file)
}

#[test]
fn a_saved_run_has_the_verdict_of_the_run() {
    let output = run();
    assert_eq!(
        output.result.verdict,
        Verdict::Pass,
        "{}",
        output.result.reason
    );
    let again = judged(&output.history);
    assert_eq!(again.verdict, output.result.verdict);
    assert_eq!(again.checks, output.result.checks);
    assert_eq!(again.operations, output.result.operations);
    assert_eq!(again.outages, output.result.outages);
    for name in [
        "strict-serializability",
        "serializable-reads",
        "no-lost-writes",
        "leases",
        "locks",
        "elections",
        "watch",
        "convergence",
        "liveness",
        "raft-safety",
    ] {
        assert!(
            again.checks.iter().any(|check| check.name == name),
            "{name}"
        );
    }

    type Corruption = (&'static str, fn(&mut History));
    let corruptions: [Corruption; 6] = [
        ("leases", |history| {
            history.leases.removals.retain(|removal| !removal.expired);
        }),
        ("locks", |history| {
            let operations = &mut history.leases.operations;
            operations.retain(|o| !matches!(o.request, LeaseRequest::Unlock { .. }));
            history.leases.removals.clear();
        }),
        ("elections", |history| {
            let told = history.leases.operations.iter_mut().find_map(|operation| {
                match &mut operation.outcome {
                    LeaseOutcome::Ok(LeaseAnswer::Leads(leader)) => Some(leader),
                    _ => None,
                }
            });
            told.unwrap().value = "never said".into();
        }),
        ("watch", |history| {
            let shows = |watch: &Watch| {
                let responses = watch.responses.iter().enumerate();
                let events = responses.filter(|(_, r)| matches!(r.news, News::Events { .. }));
                events.map(|(index, _)| index).collect::<Vec<_>>()
            };
            let mut watches = history.watches.iter_mut();
            let watch = watches.find(|watch| shows(watch).len() > 2).unwrap();
            watch.responses.remove(shows(watch)[1]);
        }),
        ("convergence", |history| {
            let insides = history.evidence.as_mut().unwrap().insides.as_mut().unwrap();
            insides.members[1].hash ^= 1;
        }),
        ("no-lost-writes", |history| {
            let known = history
                .evidence
                .as_mut()
                .unwrap()
                .known_order
                .as_mut()
                .unwrap();
            known.revision -= 20;
            known.records.split_off(&(known.revision + 1));
        }),
    ];
    for (name, corrupt) in corruptions {
        let mut copy = output.history.clone();
        corrupt(&mut copy);
        let judged = judged(&copy);
        assert_eq!(judged.verdict, Verdict::SafetyViolation, "{name}");
        let check = judged.checks.iter().find(|check| check.name == name);
        assert_eq!(check.unwrap().verdict, CheckVerdict::Fail, "{name}");
    }
}
