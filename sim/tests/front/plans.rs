//! Plans: a function of scenario and seed, stable when faults are taken out, faithful as text.

use proptest::prelude::*;
use vetcd_sim::plan::Plan;
use vetcd_sim::scenario::{Scenario, Source, parse};

use crate::fake::Flags;
use crate::golden;

fn scenario(text: &str) -> Scenario {
    let source = Source {
        name: "scenarios/test/plans.toml".into(),
        text: text.into(),
    };
    parse(source, &[], &Flags).unwrap()
}

const MANY_FAULTS: &str = r#"
[clock]
offset-max = "2s"
drift-ppm-max = 100

[[workload]]
kind = "kv"

[[workload]]
kind = "compact"

[[fault]]
kind = "crash"
on = "leader"
at = { between = ["1s", "50s"] }

[[fault]]
kind = "crash"
on = "follower"
at = { between = ["1s", "50s"] }

[[fault]]
kind = "crash"
on = "leader"
at = { between = ["2s", "50s"] }
restart-after = { between = ["1s", "3s"] }

[[fault]]
kind = "partition"
shape = "partial"
on = "leader"
with = "member 2"
at = { between = ["1s", "50s"] }
for = { between = ["100ms", "8s"] }

[[fault]]
name = "lies"
kind = "fsync-lies"
on = "minority"

[[fault]]
kind = "power-loss"
on = "all"
at = { between = ["1s", "50s"] }

[[fault]]
kind = "disk-full"
on = "leader"
at = "9s"
for = { between = ["1s", "2s"] }

[[fault]]
kind = "fsync-error"
on = "leader"
at = "10s"
for = "1s"
pages = "dropped"

[[fault]]
kind = "write-error"
on = "follower"
at = "11s"
for = "1s"

[[fault]]
kind = "read-error"
on = "all"
at = "12s"
for = "1s"

[[fault]]
kind = "bit-flip"
on = "minority"
at = "13s"
files = "store"
bits = 3
process = "running"

[[fault]]
kind = "slow-fsync"
on = "majority"
at = "7s"
for = "2s"
latency = { between = ["1ms", "2s"] }
"#;

#[test]
fn the_same_seed_gives_the_same_plan_and_another_another() {
    let scenario = scenario(MANY_FAULTS);
    assert_eq!(Plan::draw(&scenario, 7), Plan::draw(&scenario, 7));
    let times = |seed| -> Vec<_> {
        Plan::draw(&scenario, seed)
            .faults
            .iter()
            .map(|fault| (fault.at, fault.seed))
            .collect()
    };
    assert_ne!(times(7), times(8));
}

#[test]
fn the_plan_of_a_seed_does_not_change() {
    golden::check(
        "plan.toml",
        &Plan::draw(&scenario(MANY_FAULTS), 7).to_toml(),
    );
}

#[test]
fn draws_stay_within_their_bounds_and_use_them() {
    let scenario = scenario(MANY_FAULTS);
    let mut seen = Vec::new();
    for seed in 0..400 {
        let plan = Plan::draw(&scenario, seed);
        let fault = plan
            .faults
            .iter()
            .find(|fault| fault.name == "power-loss-1")
            .unwrap();
        seen.push(fault.at.as_secs_f64());
        for member in &plan.members {
            assert!(member.clock_offset.nanoseconds.abs() <= 2_000_000_000);
            assert!(member.clock_drift_ppm.abs() <= 100);
        }
    }
    assert!(seen.iter().all(|at| (1.0..=50.0).contains(at)));
    assert!(seen.iter().any(|at| *at < 4.0) && seen.iter().any(|at| *at > 47.0));
}

#[test]
fn taking_one_fault_out_leaves_all_other_draws_alone() {
    let whole = scenario(MANY_FAULTS);
    for seed in 0..20 {
        let plan = Plan::draw(&whole, seed);
        for removed in 0..whole.faults.len() {
            let mut less = whole.clone();
            less.faults.remove(removed);
            let rest = Plan::draw(&less, seed);
            let name = &whole.faults[removed].name;
            let mut wanted = plan.clone();
            wanted.faults.retain(|fault| fault.name != *name);
            assert_eq!(rest, wanted, "without {name}");
        }
    }
}

#[test]
fn taking_text_out_of_the_file_leaves_all_other_draws_alone() {
    // The counted names shift (crash-2 becomes crash-1); what was drawn for each fault must not.
    let whole = Plan::draw(&scenario(MANY_FAULTS), 5);
    let (head, faults) = MANY_FAULTS.split_once("[[fault]]").unwrap();
    let faults: Vec<&str> = faults.split("[[fault]]").collect();
    let drawn = |plan: &Plan| -> Vec<_> {
        let mut drawn: Vec<_> = plan
            .faults
            .iter()
            .map(|fault| {
                (
                    fault.at,
                    fault.seed,
                    format!("{:?} {:?}", fault.on, fault.fault),
                )
            })
            .collect();
        drawn.sort();
        drawn
    };
    for removed in 0..faults.len() {
        let mut less = faults.clone();
        less.remove(removed);
        let text = format!("{head}[[fault]]{}", less.join("[[fault]]"));
        let rest = drawn(&Plan::draw(&scenario(&text), 5));
        let whole = drawn(&whole);
        assert_eq!(rest.len() + 1, whole.len());
        assert!(
            rest.iter().all(|fault| whole.contains(fault)),
            "without fault {}",
            removed + 1
        );
    }
}

#[test]
fn a_swarm_stays_within_its_budget_and_gives_valid_plans() {
    let scenario = scenario(
        "[swarm]\nfaults = [\"partition\", \"crash\", \"power-loss\", \"pause\", \"slow-fsync\", \
         \"fsync-lies\", \"disk-full\", \"fsync-error\", \"write-error\", \"read-error\", \
         \"bit-flip\"]\nbudget = 5",
    );
    let mut counts = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let plan = Plan::draw(&scenario, seed);
        assert!(plan.faults.len() <= 5);
        counts.insert(plan.faults.len());
        assert_eq!(Plan::parse("p", &plan.to_toml(), &Flags).unwrap(), plan);
    }
    assert_eq!(counts.len(), 6, "{counts:?}");
}

#[test]
fn a_plan_reads_back_as_itself() {
    for seed in 0..50 {
        let plan = Plan::draw(&scenario(MANY_FAULTS), seed);
        assert_eq!(
            Plan::parse("plan.toml", &plan.to_toml(), &Flags).unwrap(),
            plan
        );
    }
}

#[test]
fn awkward_text_survives_the_plan() {
    let mut scenario = scenario("");
    scenario.description = "quotes \" and 'ticks', a\ttab,\na line, \u{7f} and ∞ # end".into();
    scenario.overrides = vec!["a=\"b\\c\"".into()];
    let plan = Plan::draw(&scenario, 1);
    assert_eq!(
        Plan::parse("plan.toml", &plan.to_toml(), &Flags).unwrap(),
        plan
    );
}

#[test]
fn damaged_plans_are_refused_with_one_clear_error() {
    let good = Plan::draw(&scenario(MANY_FAULTS), 7).to_toml();
    let mut text = String::new();
    let mut refuse = |what: &str, plan: &str| {
        let error = Plan::parse("plan.toml", plan, &Flags).unwrap_err();
        text += &format!("# {what}\nerror: {error}\n\n");
    };
    refuse("cut at a table", &good[..good.rfind("[[fault]]").unwrap()]);
    refuse(
        "cut inside a string",
        &good[..good.rfind("latency").unwrap() + 12],
    );
    refuse(
        "of another version",
        &good.replace("version = 1", "version = 9"),
    );
    refuse("without version", "seed = 1\n");
    refuse("empty", "");
    refuse(
        "garbled",
        &good.replace("at = \"7s\"", "at = \u{1}\u{fffd}"),
    );
    refuse(
        "with an unknown key",
        &good.replace("clock-offset", "clock-ofset"),
    );
    refuse(
        "with a target that is not there",
        &good.replace("member 2", "member 8"),
    );
    refuse(
        "with a choice left open",
        &good.replace("\"7s\"", "{ between = [\"1s\", \"2s\"] }"),
    );
    refuse(
        "with a member missing",
        &good.replace("members = 3", "members = 4"),
    );
    golden::check("plan-errors.txt", &text);
}

#[test]
fn every_truncation_is_refused() {
    let good = Plan::draw(&scenario(MANY_FAULTS), 7).to_toml();
    for length in 0..good.trim_end().len() {
        if good.is_char_boundary(length) {
            assert!(
                Plan::parse("p", &good[..length], &Flags).is_err(),
                "{length}"
            );
        }
    }
}

#[test]
fn every_scenario_of_the_library_is_valid_and_plans() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut count = 0;
    let server = vetcd_sim::cluster::Flags;
    for folder in std::fs::read_dir(directory).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "plan")
            {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(
                text.starts_with("# "),
                "{}: says what it is for",
                path.display()
            );
            let name = path.display().to_string();
            let scenario = parse(Source { name, text }, &[], &server).unwrap();
            assert!(!scenario.description.is_empty() && !scenario.tags.is_empty());
            let plan = Plan::draw(&scenario, 11);
            assert_eq!(Plan::parse("p", &plan.to_toml(), &server).unwrap(), plan);
            count += 1;
        }
    }
    assert!(count >= 10, "{count} scenarios");
}

proptest! {
    #[test]
    fn no_bytes_make_the_plan_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Plan::parse("p", &String::from_utf8_lossy(&bytes), &Flags);
    }

    #[test]
    fn no_damage_to_a_plan_panics(
        seed in 0u64..50,
        at in 0usize..5000,
        bytes in proptest::collection::vec(any::<u8>(), 1..8),
    ) {
        let mut text = Plan::draw(&scenario(MANY_FAULTS), seed).to_toml().into_bytes();
        let at = at % text.len();
        text.splice(at..(at + bytes.len()).min(text.len()), bytes);
        let _ = Plan::parse("p", &String::from_utf8_lossy(&text), &Flags);
    }
}
