//! Convergence: once nothing is going on any more, all members hold the same state: the same store
//! and everything else that is replicated, consistent with the same raft index, and the same voters.
//!
//! A difference at the same revision means that replicas applied different things: the worst fault
//! a replicated store can have. Different revisions mean that some member never caught up.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Counterexample, Verdict};

const GUARANTEE: &str = "convergence";

/// What one member says about its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberState {
    /// The member.
    pub member: u32,
    /// The raft index that it has applied, which its store is consistent with.
    pub index: u64,
    /// The IDs of those who vote by its account, ascending.
    pub voters: Vec<u64>,
    /// The IDs of the learners by its account, ascending.
    pub learners: Vec<u64>,
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
            index,
            voters,
            learners,
            revision,
            compact_revision,
            hash,
        } = self;
        write!(
            f,
            "member {member} has applied index {index}, is at revision {revision}, compacted at \
             {compact_revision}, with hash {hash:016x}, voters {voters:x?} and learners {learners:x?}"
        )
    }
}

/// Judges the members' last words.
pub fn check(members: &[MemberState]) -> Verdict<Agreement> {
    let Some(first) = members.first() else {
        return Verdict::Undetermined("no member was asked".to_owned());
    };
    type Aspect = (&'static str, fn(&MemberState) -> String);
    let aspects: [Aspect; 5] = [
        ("revision", |m| m.revision.to_string()),
        ("compacted revision", |m| m.compact_revision.to_string()),
        ("content at the same revision", |m| {
            format!("hash {:016x}", m.hash)
        }),
        ("applied index", |m| m.index.to_string()),
        ("voters and learners", |m| {
            format!("{:x?} and {:x?}", m.voters, m.learners)
        }),
    ];
    for other in members {
        let differs = aspects.iter().find(|(_, of)| of(first) != of(other));
        if let Some((what, of)) = differs {
            let (one, two) = (first.member, other.member);
            let summary = format!("members {one} and {two} differ in their {what}");
            let start = Counterexample::new(GUARANTEE, summary).instead(
                format!("{} as on member {one}", of(first)),
                format!("{} on member {two}", of(other)),
            );
            return members
                .iter()
                .map(ToString::to_string)
                .fold(start, Counterexample::because)
                .into();
        }
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
            index: 60,
            voters: vec![1, 2, 3],
            learners: Vec::new(),
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
        let changes: [(Change, &str); 6] = [
            (|state| state.revision = 41, "revision"),
            (|state| state.compact_revision = 8, "compacted revision"),
            (|state| state.hash = 2, "content"),
            (|state| state.index = 61, "applied index"),
            (|state| state.voters = vec![1, 2], "voters"),
            (|state| state.learners = vec![4], "learners"),
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
