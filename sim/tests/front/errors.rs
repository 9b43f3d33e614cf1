//! What a user is told about a broken scenario, word for word.

use proptest::prelude::*;
use vetcd_sim::plan::Plan;
use vetcd_sim::scenario::{Source, parse};

use crate::fake::Flags;
use crate::golden;

fn error_of(text: &str, sets: &[&str]) -> String {
    let source = Source {
        name: "scenarios/broken.toml".into(),
        text: text.into(),
    };
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    match parse(source, &sets, &Flags) {
        Ok(scenario) => panic!("accepted as {scenario:?}"),
        Err(error) => error.to_string(),
    }
}

/// Broken scenarios and the overrides they are run with.
const BROKEN: &[(&str, &[&str])] = &[
    ("descripton = \"x\"", &[]),
    ("[cluster]\nmembrs = 3", &[]),
    ("[cluster]\nmembers = 0", &[]),
    ("[cluster]\nmembers = \"three\"", &[]),
    ("[cluster.server]\nwal-snyc = \"always\"", &[]),
    ("[cluster.server]\nwal-sync = \"sometimes\"", &[]),
    ("[time]\nrun = 60", &[]),
    ("[time]\nrun = \"60\"", &[]),
    ("[time]\nrun = \"60 parsecs\"", &[]),
    ("[time]\nrun = \"0s\"", &[]),
    ("[network]\nlatency = { p50 = \"4ms\" }", &[]),
    ("[network]\nlatency = { p50 = \"4ms\", p99 = \"1ms\" }", &[]),
    ("[network]\nloss = \"120%\"", &[]),
    ("[network]\nbandwidth = \"fast\"", &[]),
    ("[disk]\nprofile = \"nvm\"", &[]),
    ("[disk]\npower-loss = { torn-sector = 500 }", &[]),
    ("[workload]\nkind = \"kv\"", &[]),
    ("[[workload]]\nclients = 8", &[]),
    ("[[workload]]\nkind = \"kv\"\nrate = \"400\"", &[]),
    (
        "[[workload]]\nkind = \"kv\"\nmix = { put = 0, get = 0, range = 0, delete = 0, cas = 0, txn = 0 }",
        &[],
    ),
    (
        "[[fault]]\nkind = \"powerloss\"\non = \"all\"\nat = \"1s\"",
        &[],
    ),
    (
        "[[fault]]\nkind = \"pause\"\non = \"laeder\"\nat = \"1s\"\nfor = \"1s\"",
        &[],
    ),
    (
        "[[fault]]\nkind = \"pause\"\non = \"member 4\"\nat = \"1s\"\nfor = \"1s\"",
        &[],
    ),
    (
        "[cluster]\nmembers = 1\n[[fault]]\nkind = \"pause\"\non = \"follower\"\nat = \"1s\"\nfor = \"1s\"",
        &[],
    ),
    (
        "[[fault]]\nkind = \"pause\"\non = \"leader\"\nat = \"61s\"\nfor = \"1s\"",
        &[],
    ),
    (
        "[[fault]]\nkind = \"pause\"\non = \"leader\"\nat = { between = [\"50s\", \"70s\"] }\nfor = \"1s\"",
        &[],
    ),
    (
        "[[fault]]\nkind = \"pause\"\non = \"leader\"\nat = { between = [\"5s\"] }\nfor = \"1s\"",
        &[],
    ),
    (
        "[[fault]]\nkind = \"pause\"\non = \"leader\"\nat = { betwixt = [\"5s\", \"6s\"] }\nfor = \"1s\"",
        &[],
    ),
    (
        "[[fault]]\nkind = \"pause\"\non = \"leader\"\nat = \"1s\"",
        &[],
    ),
    (
        "[[fault]]\nkind = \"pause\"\non = \"leader\"\nat = \"1s\"\nfor = \"2m\"",
        &[],
    ),
    (
        "[[fault]]\nkind = \"partition\"\non = \"leader\"\nat = \"1s\"\nfor = \"1s\"\ndirection = \"in\"",
        &[],
    ),
    (
        "[[fault]]\nkind = \"partition\"\non = \"leader\"\nat = \"1s\"\nfor = \"1s\"\nshape = \"partial\"",
        &[],
    ),
    (
        "[[fault]]\nkind = \"crash\"\nname = \"a\"\non = \"leader\"\nat = \"1s\"\n\n[[fault]]\nkind = \"crash\"\nname = \"a\"\non = \"leader\"\nat = \"2s\"",
        &[],
    ),
    ("[expect]\nmust-reach = [\"leader-stepped-up\"]", &[]),
    ("[expect]\nlost-acknowledged-writes = 3", &[]),
    ("[swarm]\nfaults = [\"partitions\"]\nbudget = 2", &[]),
    ("[time\nrun = \"60s\"", &[]),
    ("[time]\nrun = \"1s\"\nrun = \"2s\"", &[]),
    ("", &["wal-snyc=none"]),
    ("", &["wal-sync=sometimes"]),
    ("", &["time.rum=3s"]),
    ("", &["time.run"]),
    (
        "[[fault]]\nkind = \"crash\"\non = \"leader\"\nat = \"1s\"",
        &["fault.2.at=3s"],
    ),
    (
        "[[fault]]\nkind = \"crash\"\non = \"leader\"\nat = \"1s\"",
        &["fault.crush-1.at=3s"],
    ),
];

#[test]
fn errors_point_at_the_line_and_suggest() {
    let mut text = String::new();
    for (broken, sets) in BROKEN {
        text += &format!("error: {}\n\n", error_of(broken, sets));
    }
    golden::check("errors.txt", &text);
}

#[test]
fn every_error_names_a_place() {
    for (broken, sets) in BROKEN {
        let error = error_of(broken, sets);
        assert!(error.contains(" --> ") && error.contains('^'), "{error}");
    }
}

#[test]
fn overrides_are_judged_like_the_file() {
    let text =
        "[[fault]]\nkind = \"crash\"\non = \"leader\"\nat = \"1s\"\n[[workload]]\nkind = \"kv\"";
    let sets = [
        "wal-sync=none",
        "time.run=30s",
        "fault.1.at=5s",
        "fault.crash-1.restart-after={ between = [\"1s\", \"2s\"] }",
        "workload.rate=70/s",
        "cluster.members=5",
        "network.latency.p50=1ms",
        "network.latency.p99=9ms",
    ];
    let source = Source {
        name: "scenarios/a/b.toml".into(),
        text: text.into(),
    };
    let sets: Vec<String> = sets.map(String::from).to_vec();
    let scenario = parse(source, &sets, &Flags).unwrap();
    let plan = Plan::draw(&scenario, 3).to_toml();
    for wanted in [
        "\"wal-sync\" = \"none\"",
        "run = \"30s\"",
        "at = \"5s\"",
        "rate = \"70/s\"",
        "members = 5",
        "latency = { p50 = \"1ms\", p99 = \"9ms\" }",
    ] {
        assert!(plan.contains(wanted), "{wanted} in\n{plan}");
    }
    assert_eq!(scenario.name, "a/b");
}

proptest! {
    #[test]
    fn no_scenario_text_panics(text in ".{0,200}") {
        let source = Source { name: "x".into(), text };
        let _ = parse(source, &[], &Flags);
    }

    #[test]
    fn no_damage_to_a_scenario_panics(at in 0usize..2000, bytes in proptest::collection::vec(any::<u8>(), 1..6)) {
        let mut text = include_bytes!("../../../scenarios/smoke/quickstart.toml").to_vec();
        let at = at % text.len();
        text.splice(at..(at + bytes.len()).min(text.len()), bytes);
        if let Ok(text) = String::from_utf8(text) {
            let source = Source { name: "x".into(), text };
            if let Ok(scenario) = parse(source, &[], &Flags) {
                Plan::draw(&scenario, 1);
            }
        }
    }

    #[test]
    fn no_override_panics(set in "[a-z.=0-9\\[\\]{}\"-]{0,40}") {
        let text = include_str!("../../../scenarios/smoke/quickstart.toml").to_string();
        let _ = parse(Source { name: "x".into(), text }, &[set], &Flags);
    }
}
