//! Every kind of fault of a disk, shown to bite: a short run in which it strikes must notice it, and
//! pass all the same.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of the test's own steps is a failed test"
)]

use vetcd_sim::cluster::Flags;
use vetcd_sim::explore::{RunOptions, Runner};
use vetcd_sim::plan::Plan;
use vetcd_sim::report::{RunResult, Verdict};
use vetcd_sim::run::SimRunner;
use vetcd_sim::scenario::{Source, parse};

/// Eight seconds of writes with `faults`, which must lead to `events`.
fn run(faults: &str, events: &str, seed: u64) -> RunResult {
    let text = format!(
        "# A test's.\n\
         description = \"one fault of a disk\"\n\
         tags = [\"disk\"]\n\
         [cluster.server]\n\
         wal-segment-bytes = 65536\n\
         [time]\n\
         run = \"8s\"\n\
         recover-within = \"10s\"\n\
         [[workload]]\n\
         kind = \"kv\"\n\
         clients = 4\n\
         rate = \"100/s\"\n\
         value-size = 400\n\
         {faults}\n\
         [expect]\n\
         must-reach = [{events}]\n"
    );
    let name = "test.toml".to_owned();
    let scenario = parse(Source { name, text }, &[], &Flags).unwrap();
    let plan = Plan::draw(&scenario, seed);
    SimRunner.run(&plan, &RunOptions::default()).result
}

fn fault(kind: &str, more: &str) -> String {
    format!("[[fault]]\nkind = \"{kind}\"\non = \"member 2\"\nat = \"3s\"\n{more}\n")
}

/// What the judge of faulty disks said.
fn told(result: &RunResult) -> String {
    assert_eq!(result.verdict, Verdict::Pass, "{}", result.reason);
    let check = result.checks.iter().find(|check| check.name == "damage");
    check.unwrap().text.clone()
}

#[test]
fn failed_syncs_writes_and_reads_stop_a_member_which_comes_back() {
    for kind in ["fsync-error", "write-error", "read-error"] {
        let result = run(&fault(kind, "for = \"2s\""), "\"disk-error\"", 7);
        let told = told(&result);
        assert!(told.starts_with("1 members stopped"), "{kind}: {told}");
    }
}

#[test]
fn a_full_disk_is_noticed_and_left_behind() {
    let result = run(&fault("disk-full", "for = \"3s\""), "\"no-space\"", 7);
    assert!(told(&result).contains("0 damaged"));
}

#[test]
fn rot_is_refused_or_overcome() {
    for (files, process) in [("wal", "stopped"), ("store", "stopped"), ("any", "running")] {
        let more = format!("files = \"{files}\"\nbits = 64\nprocess = \"{process}\"");
        let result = run(&fault("bit-flip", &more), "\"damage-refused\"", 7);
        let told = told(&result);
        assert!(told.contains("1 damaged: 0 run"), "{files}: {told}");
    }
}

#[test]
fn no_more_members_rot_than_a_cluster_survives() {
    let on_all = fault("bit-flip", "bits = 64").replace("member 2", "all");
    let result = run(&on_all, "\"damage-refused\"", 7);
    assert!(told(&result).contains("1 damaged"), "{}", told(&result));
}
