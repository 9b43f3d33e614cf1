//! Membership: members that the cluster has removed stop, and those that remain agree on who they are.
//!
//! A member that goes on after its removal can disturb elections, serve stale reads, and answer for
//! data that nobody replicates to it any more.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Counterexample, Verdict};

const GUARANTEE: &str = "membership";

/// What became of a removed member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovedMember {
    /// Its number.
    pub member: u32,
    /// When its removal was certain, in seconds of virtual time.
    pub at: String,
    /// Whether its process ended by itself.
    pub stopped: bool,
}

/// What the members that remain say about who the members are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// Who says so.
    pub member: u32,
    /// The raft index it speaks of.
    pub index: u64,
    /// The IDs of voters, as raft counts them.
    pub voters: Vec<u64>,
    /// The IDs of voters, as clients are told.
    pub listed: Vec<u64>,
}

/// What was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    removed: usize,
    voters: usize,
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settled { removed, voters } = self;
        write!(
            f,
            "{removed} removed members stopped, {voters} voters agree"
        )
    }
}

/// Judges what is left at the end of a run.
pub fn check(removed: &[RemovedMember], views: &[View]) -> Verdict<Settled> {
    if let Some(zombie) = removed.iter().find(|removed| !removed.stopped) {
        let summary = format!(
            "member {} was removed at {} and did not stop",
            zombie.member, zombie.at
        );
        return Counterexample::new(GUARANTEE, summary)
            .instead("a process that ends by itself", "one that goes on")
            .into();
    }
    let Some(newest) = views.iter().max_by_key(|view| view.index) else {
        return Verdict::Undetermined("no member was asked".to_owned());
    };
    for view in views {
        if view.voters != view.listed {
            let summary = format!(
                "member {} lists other voters than its raft counts",
                view.member
            );
            return Counterexample::new(GUARANTEE, summary)
                .instead(format!("{:x?}", view.voters), format!("{:x?}", view.listed))
                .into();
        }
        if view.index == newest.index && view.voters != newest.voters {
            let summary = format!(
                "members {} and {} count different voters at index {}",
                view.member, newest.member, view.index
            );
            return Counterexample::new(GUARANTEE, summary)
                .instead(
                    format!("{:x?}", newest.voters),
                    format!("{:x?}", view.voters),
                )
                .into();
        }
    }
    Verdict::Ok(Settled {
        removed: removed.len(),
        voters: newest.voters.len(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn view(member: u32, voters: &[u64]) -> View {
        View {
            member,
            index: 9,
            voters: voters.to_vec(),
            listed: voters.to_vec(),
        }
    }

    fn removed(stopped: bool) -> RemovedMember {
        RemovedMember {
            member: 2,
            at: "3.0 s".to_owned(),
            stopped,
        }
    }

    #[test]
    fn a_member_that_goes_on_after_its_removal_is_found() {
        let views = [view(1, &[1, 3]), view(3, &[1, 3])];
        assert!(matches!(check(&[removed(true)], &views), Verdict::Ok(_)));
        let found = check(&[removed(true), removed(false)], &views);
        let found = found.violation().unwrap();
        assert!(found.summary.contains("did not stop"), "{found}");
    }

    #[test]
    fn members_that_disagree_about_the_voters_are_found() {
        let views = [view(1, &[1, 3]), view(3, &[1, 4])];
        let found = check(&[], &views).violation().unwrap();
        assert!(found.summary.contains("different voters"), "{found}");
        let mut two_minds = view(1, &[1, 3]);
        two_minds.listed = vec![1];
        let found = check(&[], &[two_minds]).violation().unwrap();
        assert!(found.summary.contains("lists other voters"), "{found}");
        let mut behind = view(3, &[1, 4]);
        behind.index = 5;
        let verdict = check(&[], &[view(1, &[1, 3]), behind]);
        assert!(
            matches!(verdict, Verdict::Ok(_)),
            "another time, another answer"
        );
    }
}
