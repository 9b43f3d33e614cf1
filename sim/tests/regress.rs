//! Plans of runs that once found a bug, run again: each must pass. A plan fixes every choice, so it
//! still means what it meant when the code around it has changed; `CHANGELOG.md` tells the stories.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test reads files, and a failure of its own steps is a failed test"
)]

use vetcd_sim::cluster::Flags;
use vetcd_sim::explore::{RunOptions, Runner};
use vetcd_sim::plan::Plan;
use vetcd_sim::report::Verdict;
use vetcd_sim::run::SimRunner;

#[test]
fn every_plan_that_once_found_a_bug_passes() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/regress");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "plan")
        })
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "the plans are gone");
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let plan = Plan::parse(&name, &text, &Flags).unwrap();
        let output = SimRunner.run(&plan, &RunOptions::default());
        let result = output.result;
        assert_eq!(result.verdict, Verdict::Pass, "{name}: {}", result.reason);
    }
}
