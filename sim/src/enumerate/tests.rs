//! The enumeration finds nothing in the server, and finds what is built in to be found.

use super::*;

fn find(options: &Options) -> Report {
    enumerate(options, &|_, _| {}).unwrap()
}

#[test]
fn all_workloads_of_one_operation_recover() {
    let report = find(&Options::new(1, 24));
    if let Some(failure) = report.failures.first() {
        panic!("{}", failure.to_json());
    }
    let counts = report.counts;
    assert_eq!(counts.workloads, 7);
    assert!(counts.points > 100, "{counts:?}");
    assert!(counts.failed > 10, "{counts:?}");
    assert!(counts.outcomes > 1000, "{counts:?}");
    assert!(counts.disks > 200, "{counts:?}");
}
