//! Convergence: once nothing is going on any more, all members hold the same store.
//!
//! A difference at the same revision means that replicas applied different things: the worst fault
//! a replicated store can have. Different revisions mean that some member never caught up.

use std::fmt;

use serde::Serialize;

use super::{Counterexample, Verdict};

const GUARANTEE: &str = "convergence";

/// What one member says about its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemberState {
    /// The member.
    pub member: u32,
    /// The revision that `hash` was taken at: the member's last.
    pub revision: i64,
    /// The revision up to which it was compacted.
    pub compact_revision: i64,
    /// The hash of all it holds.
    pub hash: u64,
}

/// What all members agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// How many members were asked.
    pub members: usize,
    /// The revision they all are at.
    pub revision: i64,
    /// The hash they all have.
    pub hash: u64,
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} members agree at revision {}",
            self.members, self.revision
        )
    }
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MemberState {
            member,
            revision,
            compact_revision,
            hash,
        } = self;
        write!(
            f,
            "member {member} is at revision {revision}, compacted at {compact_revision}, "
        )?;
        write!(f, "with hash {hash:016x}")
    }
}

/// Judges the members' last words.
pub fn check(members: &[MemberState]) -> Verdict<Agreement> {
    let Some(first) = members.first() else {
        return Verdict::Undetermined("no member was asked".to_owned());
    };
    let same = |other: &&MemberState| {
        MemberState {
            member: first.member,
            ..**other
        } == *first
    };
    if let Some(other) = members.iter().find(|other| !same(other)) {
        let what = if other.revision != first.revision {
            "revision"
        } else if other.compact_revision != first.compact_revision {
            "compacted revision"
        } else {
            "content at the same revision"
        };
        let (one, two) = (first.member, other.member);
        let summary = format!("members {one} and {two} differ in their {what}");
        let start = Counterexample::new(GUARANTEE, summary);
        return members
            .iter()
            .map(ToString::to_string)
            .fold(start, Counterexample::because)
            .into();
    }
    Verdict::Ok(Agreement {
        members: members.len(),
        revision: first.revision,
        hash: first.hash,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn state(member: u32) -> MemberState {
        MemberState {
            member,
            revision: 43,
            compact_revision: 7,
            hash: 1,
        }
    }

    #[test]
    fn equal_members_agree() {
        let verdict = check(&[state(1), state(2), state(3)]);
        assert_eq!(
            verdict,
            Verdict::Ok(Agreement {
                members: 3,
                revision: 43,
                hash: 1
            })
        );
    }

    #[test]
    fn every_field_counts() {
        type Change = fn(&mut MemberState);
        let changes: [(Change, &str); 3] = [
            (|state| state.revision = 41, "revision"),
            (|state| state.compact_revision = 8, "compacted revision"),
            (|state| state.hash = 2, "content"),
        ];
        for (change, word) in changes {
            let mut odd = state(3);
            change(&mut odd);
            let counterexample = check(&[state(1), state(2), odd]).violation().unwrap();
            assert!(
                counterexample.summary.contains("members 1 and 3"),
                "{counterexample}"
            );
            assert!(counterexample.summary.contains(word), "{counterexample}");
        }
    }

    #[test]
    fn nobody_asked_is_no_pass() {
        assert!(matches!(check(&[]), Verdict::Undetermined(_)));
    }
}
