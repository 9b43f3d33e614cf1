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
    assert_eq!(counts.workloads, 9);
    assert!(counts.points > 100, "{counts:?}");
    assert!(counts.failed > 10, "{counts:?}");
    assert!(counts.outcomes > 1000, "{counts:?}");
    assert!(counts.disks > 200, "{counts:?}");
}

#[test]
fn workloads_are_all_sequences_and_a_name_is_read_back() {
    let all = Options::new(2, 2).workloads();
    let busy = all.iter().filter(|w| w.pace == Pace::Busy).count();
    // Where the first of two writes to the log, something waits when the second begins.
    assert_eq!((all.len() - busy, busy), (1 + 8 + 64, 4 * 8));
    for pace in Pace::ALL {
        assert_eq!(pace.name().parse(), Ok(pace));
        let mut one = Options::new(2, 2);
        one.paces = vec![pace];
        assert_eq!(one.workloads().len(), 1 + 8 + 64);
    }
    assert!("slow".parse::<Pace>().unwrap_err().contains("quiet, busy"));
    for operation in Operation::ALL {
        assert_eq!(operation.name().parse(), Ok(operation));
    }
    let error = "apend".parse::<Operation>().unwrap_err();
    assert!(error.contains("known are append, cut"), "{error}");
}

#[test]
fn a_saved_state_is_read_back_and_gone_back_to() {
    let state = SavedState {
        workload: Workload {
            operations: vec![Operation::Append, Operation::Commit],
            pace: Pace::Busy,
        },
        fail_at: None,
        point: 40,
        sector: 512,
        death: Death::Power(vec![true, false, true]),
        defects: Vec::new(),
    };
    let failure = Failure {
        state: state.clone(),
        reason: "for the test".into(),
    };
    assert_eq!(
        failure.file_name(),
        "enumerate-append-commit-busy-at40.json"
    );
    let text = failure.to_json();
    assert_eq!(SavedState::from_json(&text), Ok(state.clone()));
    assert_eq!(replay(&state), Ok(None));
    let beyond = SavedState {
        point: 1_000_000,
        ..state
    };
    assert!(replay(&beyond).unwrap_err().contains("has become shorter"));
    let newer = text.replace("\"version\": 2", "\"version\": 3");
    let error = SavedState::from_json(&newer).unwrap_err();
    assert!(
        error.contains("of version 3, and this build reads"),
        "{error}"
    );
    assert!(SavedState::from_json("{}").is_err());
}

#[cfg(not(feature = "defects"))]
#[test]
fn a_mistake_that_is_not_built_in_is_refused() {
    let mut options = Options::new(0, 2);
    options.defects.push("retry-failed-sync".into());
    let error = enumerate(&options, &|_, _| {}).unwrap_err();
    assert!(error.contains("not built in"), "{error}");
}

/// The workload of `operation` alone has a state in which something acknowledged is lost, and the
/// saved state is one as well.
#[cfg(feature = "defects")]
fn finds(defect: &str, operation: Operation) {
    let mut options = Options::new(1, 64);
    options.of = vec![operation];
    options.defects.push(defect.into());
    let report = find(&options);
    let failure = report.failures.first().unwrap();
    let lost = failure.reason.contains("acknowledged entries are lost");
    assert!(
        lost || failure.reason.contains("refuses to start"),
        "{}",
        failure.reason
    );
    let state = SavedState::from_json(&failure.to_json()).unwrap();
    assert_eq!(replay(&state), Ok(Some(failure.reason.clone())));
    let mended = SavedState {
        defects: Vec::new(),
        ..state
    };
    // Without the mistake a member whose sync failed stops sooner, and there is no such point.
    let wrong = replay(&mended);
    assert!(!matches!(wrong, Ok(Some(_))), "{wrong:?}");
}

#[cfg(feature = "defects")]
#[test]
fn a_directory_that_is_not_synced_is_found() {
    finds("no-directory-sync", Operation::Cut);
}

#[cfg(feature = "defects")]
#[test]
fn a_sync_that_is_tried_again_is_found() {
    finds("retry-failed-sync", Operation::Append);
}

/// In the busy workload alone: at a quiet pace nothing waits when the next group comes.
#[cfg(feature = "defects")]
#[test]
fn a_commit_index_that_waits_and_is_written_last_is_found() {
    let mut options = Options::new(2, 16);
    options.of = vec![Operation::Append];
    options.defects.push("put-off-last".into());
    let report = find(&options);
    let [failure] = &report.failures[..] else {
        panic!("{:?}", report.failures);
    };
    assert_eq!(failure.state.workload.pace, Pace::Busy);
    let forgotten = failure.reason.contains("a vote is forgotten");
    assert!(forgotten, "{}", failure.reason);
    let state = SavedState::from_json(&failure.to_json()).unwrap();
    assert_eq!(replay(&state), Ok(Some(failure.reason.clone())));
}
