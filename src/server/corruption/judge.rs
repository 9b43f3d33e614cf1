//! From the members' answers to who is corrupt; pure.
//!
//! Where a majority of the members agrees, those that differ from it are corrupt, the leader
//! included. Where there is no majority it cannot be told who is wrong, and the finding names
//! member 0, which stands for the cluster (as etcd's check of compactions does).

use std::collections::BTreeMap;

use crate::mvcc::StateHash;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// The revision that was compared; 0 for none.
    pub revision: i64,
    /// Whether all members were compared.
    pub complete: bool,
    /// The members whose stores differ, by ID; 0 when it cannot be told whose.
    pub corrupt: Vec<u64>,
}

/// What a member said of its newest state.
#[derive(Clone, Debug)]
pub struct Said {
    pub member: u64,
    /// Its newest revision when it was asked.
    pub revision: i64,
    /// Its compaction then.
    pub compact_revision: i64,
    /// The hash that it was asked for, if it has that revision.
    pub hash: Option<StateHash>,
}

impl Said {
    /// The compaction revision to compare its hash at.
    pub fn compared_at(&self) -> Option<i64> {
        self.hash.map(|hash| hash.compact_revision)
    }
}

/// The answers to a question about the newest revision.
#[derive(Clone, Debug)]
pub struct Newest {
    /// The asking member.
    pub own: u64,
    /// How many members there are, the asking one included.
    pub members: usize,
    /// The asking member's newest revision, read after the answers.
    pub revision: i64,
    /// Its compaction then.
    pub compact_revision: i64,
    pub said: Vec<Said>,
    /// The asking member's hashes at the compactions that were answered.
    pub own_hashes: Vec<StateHash>,
}

/// Whether all members hold the same at `revision`, and none is further than has been committed.
pub fn newest(revision: i64, answers: &Newest) -> Finding {
    let mut corrupt = Vec::new();
    let mut groups = Groups::new(answers.own);
    for said in &answers.said {
        if said.revision > answers.revision || said.compact_revision > answers.compact_revision {
            corrupt.push(said.member);
            continue;
        }
        let mut own = answers.own_hashes.iter();
        let own = own.find(|own| Some(own.compact_revision) == said.compared_at());
        if let (Some(their), Some(own)) = (said.hash, own) {
            match their == *own {
                true => groups.same(said.member),
                false => groups.other(said.member, their),
            }
        }
    }
    let compared = groups.members();
    corrupt.extend(groups.blame(answers.members));
    Finding {
        revision,
        complete: compared == answers.members,
        corrupt,
    }
}

/// Compares the newest compaction of `own` that every member has finished, or the newest that shows
/// a difference; `said` has the other members' hashes.
pub fn compactions(
    own_id: u64,
    members: usize,
    own: &[StateHash],
    said: &[(u64, Vec<StateHash>)],
) -> Finding {
    for own in own.iter().rev() {
        let mut groups = Groups::new(own_id);
        for (member, hashes) in said {
            match hashes.iter().find(|hash| hash.revision == own.revision) {
                Some(hash) if hash == own => groups.same(*member),
                Some(hash) => groups.other(*member, *hash),
                None => {}
            }
        }
        let complete = groups.members() == members;
        let corrupt = groups.blame(members);
        if complete || !corrupt.is_empty() {
            return Finding {
                revision: own.revision,
                complete,
                corrupt,
            };
        }
    }
    Finding::default()
}

/// Members by what they hold.
struct Groups {
    agreeing: Vec<u64>,
    others: BTreeMap<(i64, u32), Vec<u64>>,
}

impl Groups {
    fn new(own: u64) -> Groups {
        Groups {
            agreeing: vec![own],
            others: BTreeMap::new(),
        }
    }

    /// `member` holds what the asking one does.
    fn same(&mut self, member: u64) {
        self.agreeing.push(member);
    }

    fn other(&mut self, member: u64, hash: StateHash) {
        let key = (hash.compact_revision, hash.hash);
        self.others.entry(key).or_default().push(member);
    }

    fn members(&self) -> usize {
        self.agreeing.len() + self.others.values().map(Vec::len).sum::<usize>()
    }

    /// Who differs from the majority of `members`.
    fn blame(mut self, members: usize) -> Vec<u64> {
        if self.others.is_empty() {
            return Vec::new();
        }
        let quorum = members / 2 + 1;
        let mut groups = vec![std::mem::take(&mut self.agreeing)];
        groups.extend(self.others.into_values());
        let Some(majority) = groups.iter().position(|group| group.len() >= quorum) else {
            return vec![0];
        };
        groups.remove(majority);
        let mut corrupt = groups.concat();
        corrupt.sort_unstable();
        corrupt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(hash: u32, revision: i64, compact_revision: i64) -> StateHash {
        StateHash {
            hash,
            compact_revision,
            revision,
        }
    }

    fn said(member: u64, hash: Option<StateHash>) -> Said {
        Said {
            member,
            revision: 10,
            compact_revision: 5,
            hash,
        }
    }

    fn ask(members: usize, said: Vec<Said>) -> Finding {
        let answers = Newest {
            own: 1,
            members,
            revision: 10,
            compact_revision: 5,
            said,
            own_hashes: vec![hash(77, 10, 5), hash(66, 10, 4)],
        };
        newest(10, &answers)
    }

    fn found(complete: bool, corrupt: &[u64]) -> Finding {
        Finding {
            revision: 10,
            complete,
            corrupt: corrupt.to_vec(),
        }
    }

    #[test]
    fn equal_members_are_not_blamed_at_whichever_compaction() {
        let both = vec![
            said(2, Some(hash(77, 10, 5))),
            said(3, Some(hash(66, 10, 4))),
        ];
        assert_eq!(ask(3, both), found(true, &[]));
    }

    #[test]
    fn what_is_not_said_is_not_held_against_anybody() {
        let lagging = Said {
            revision: 8,
            compact_revision: 3,
            ..said(2, None)
        };
        assert_eq!(ask(3, vec![lagging]), found(false, &[]));
        // At a compaction that the asking member has no hash for.
        let elsewhere = said(2, Some(hash(1, 10, 3)));
        assert_eq!(ask(3, vec![elsewhere]), found(false, &[]));
        assert_eq!(ask(3, Vec::new()), found(false, &[]));
    }

    #[test]
    fn whoever_differs_from_the_majority_is_corrupt() {
        let (good, bad) = (Some(hash(77, 10, 5)), Some(hash(78, 10, 5)));
        let one = vec![said(2, good), said(3, bad)];
        assert_eq!(ask(3, one), found(true, &[3]));
        let leader = vec![said(2, bad), said(3, bad)];
        assert_eq!(ask(3, leader), found(true, &[1]));
        let alone = vec![said(2, bad)];
        assert_eq!(ask(3, alone), found(false, &[0]));
        let all_three = vec![said(2, bad), said(3, Some(hash(79, 10, 5)))];
        assert_eq!(ask(3, all_three), found(true, &[0]));
        let two_of_five = vec![
            said(2, good),
            said(3, bad),
            said(4, good),
            said(5, Some(hash(1, 10, 5))),
        ];
        assert_eq!(ask(5, two_of_five), found(true, &[3, 5]));
    }

    #[test]
    fn nobody_can_be_ahead_of_what_is_committed() {
        let ahead = Said {
            revision: 11,
            ..said(2, None)
        };
        assert_eq!(ask(3, vec![ahead]), found(false, &[2]));
        let compacted = Said {
            compact_revision: 6,
            ..said(2, None)
        };
        assert_eq!(ask(3, vec![compacted]), found(false, &[2]));
    }

    #[test]
    fn the_newest_compaction_that_all_have_finished_counts() {
        let own = [hash(1, 10, 10), hash(2, 20, 20), hash(3, 30, 30)];
        let lagging = (2, vec![hash(1, 10, 10), hash(2, 20, 20)]);
        let whole = (3, own.to_vec());
        let finding = compactions(1, 3, &own, &[lagging.clone(), whole.clone()]);
        let at = |revision, complete, corrupt: &[u64]| Finding {
            revision,
            complete,
            corrupt: corrupt.to_vec(),
        };
        assert_eq!(finding, at(20, true, &[]));
        // Restarted: remembers none.
        let restarted = (2, Vec::new());
        let finding = compactions(1, 3, &own, &[restarted, whole]);
        assert_eq!(finding, Finding::default());
        let other = (3, vec![hash(1, 10, 10), hash(9, 20, 20)]);
        let finding = compactions(1, 3, &own, &[lagging, other.clone()]);
        assert_eq!(finding, at(20, true, &[3]));
        let finding = compactions(1, 3, &own, &[other]);
        assert_eq!(finding, at(20, false, &[0]), "one does not answer");
    }
}
