//! The production server has no deliberate mistakes in it, not even their names.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

use vetcd::defects::Defects;

/// The names in `src/defects.rs`; the test with the feature on sees to it that none is missing.
const NAMES: [&str; 13] = [
    "ack-before-sync",
    "vote-before-sync",
    "local-read",
    "apply-twice",
    "half-transaction",
    "no-directory-sync",
    "retry-failed-sync",
    "stale-expiry",
    "lock-unchecked",
    "compact-before-watch",
    "permission-at-propose",
    "unread-as-absent",
    "value-cut-short",
];

fn server_holds(text: &str) -> bool {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_vetcd")).unwrap();
    // Something that is there for sure, or the search would find nothing in anything.
    let holds = |text: &str| binary.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(holds("etcdserver: request timed out"));
    holds(text)
}

#[cfg(not(feature = "defects"))]
#[test]
fn the_production_server_does_not_know_the_names_of_defects() {
    for name in NAMES {
        assert!(!server_holds(name), "{name}");
    }
}

#[cfg(not(feature = "defects"))]
#[test]
fn no_defect_can_be_chosen_in_production() {
    for name in NAMES {
        assert_eq!(
            Defects::by_name([name]),
            Err(format!(
                "defect \"{name}\" is not built in: build with `--features defects`"
            ))
        );
    }
    assert_eq!(Defects::by_name([]), Ok(Defects::default()));
}

/// Shows that the search can fail: a server built with the mistakes links what tells their names.
#[cfg(feature = "defects")]
#[test]
fn a_server_built_with_defects_knows_their_names() {
    let all: Vec<_> = vetcd::defects::Defect::ALL
        .iter()
        .map(|defect| defect.name())
        .collect();
    assert_eq!(all, NAMES);
    for name in NAMES {
        assert!(server_holds(name), "{name}");
        assert!(Defects::by_name([name]).is_ok());
    }
}
