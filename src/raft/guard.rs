//! Refuses peer messages on which raft-rs would panic.
//!
//! raft-rs treats a violated assumption as a bug of its own process and panics. Seen from a member,
//! some of those assumptions are about other processes: a broken or hostile peer, or one whose
//! durability setting let it forget what it had acknowledged. [`check`] looks at a message before
//! raft does and tells the three cases apart: fine, to be ignored, and proof that the cluster's
//! logs have diverged, upon which this member must stop rather than follow or fight.

use raft::eraftpb::{Message, MessageType};

use crate::storage::REPLACE;

/// Why a message is not given to raft.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// The message makes no sense; it is dropped and counted.
    #[error("malformed message from member {from:x}: {what}")]
    Malformed {
        /// The sending member's ID.
        from: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The leader's log contradicts entries that this member knows to be committed.
    #[error(
        "the leader {leader:x} sent entry {index} of term {theirs}, but this member has committed \
         that index in term {ours}: some member has lost entries that it had acknowledged, and no \
         member can tell which of the two is right. Once that is settled, the other must go: \
         {REPLACE}"
    )]
    Diverged {
        /// The leader's member ID.
        leader: u64,
        /// The index in question.
        index: u64,
        /// The leader's term at that index.
        theirs: u64,
        /// This member's term at that index.
        ours: u64,
    },
}

/// The member's own state, as raft has it: what it has taken in but not yet handed out for
/// persisting counts as well.
pub struct Own<T> {
    /// The member's ID.
    pub id: u64,
    /// Its term.
    pub term: u64,
    /// Its committed index.
    pub committed: u64,
    /// Its last index.
    pub last: u64,
    /// The term of the entry at an index, if it is there.
    pub term_of: T,
}

/// Checks a message from a peer against the member's own state.
pub fn check(message: &Message, own: &Own<impl Fn(u64) -> Option<u64>>) -> Result<(), Refusal> {
    let malformed = |what| {
        Err(Refusal::Malformed {
            from: message.from,
            what,
        })
    };
    if message.to != own.id {
        return malformed("not addressed to this member");
    }
    if message.from == 0 || message.from == own.id {
        return malformed("no valid sender");
    }
    // Indices near the limit would overflow raft's arithmetic.
    const LIMIT: u64 = u64::MAX / 4;
    if message.index > LIMIT || message.commit > LIMIT || message.term > LIMIT {
        return malformed("index or term out of range");
    }
    match message.msg_type {
        MessageType::MsgAppend => {
            for (offset, entry) in message.entries.iter().enumerate() {
                if entry.index != message.index + 1 + offset as u64 {
                    return malformed("entries are not contiguous");
                }
                if entry.term > message.term {
                    return malformed("entry from a future term");
                }
            }
            if message.term >= own.term {
                check_committed(message, own)?;
            }
        }
        MessageType::MsgHeartbeat if message.term >= own.term && message.commit > own.last => {
            return malformed("heartbeat commits entries this member does not hold");
        }
        MessageType::MsgSnapshot => {
            let metadata = message.get_snapshot().get_metadata();
            if metadata.index == 0 || metadata.get_conf_state().voters.is_empty() {
                return malformed("snapshot without metadata");
            }
        }
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp if message.entries.len() != 1 => {
            return malformed("read index without its context");
        }
        MessageType::MsgPropose if message.entries.is_empty() => {
            return malformed("empty proposal");
        }
        _ => {}
    }
    Ok(())
}

fn check_committed(
    message: &Message,
    own: &Own<impl Fn(u64) -> Option<u64>>,
) -> Result<(), Refusal> {
    for entry in message.entries.iter().filter(|e| e.index <= own.committed) {
        match (own.term_of)(entry.index) {
            Some(ours) if ours != entry.term => {
                return Err(Refusal::Diverged {
                    leader: message.from,
                    index: entry.index,
                    theirs: entry.term,
                    ours,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::eraftpb::Entry;

    /// Member 1 in term 3, with entries 1 to 5, committed up to `committed`.
    fn judged(message: &Message, committed: u64) -> Result<(), Refusal> {
        let own = Own {
            id: 1,
            term: 3,
            committed,
            last: 5,
            term_of: |index| (1..=5).contains(&index).then_some(2),
        };
        check(message, &own)
    }

    fn append(index: u64, terms: &[u64]) -> Message {
        let mut message = Message {
            msg_type: MessageType::MsgAppend,
            to: 1,
            from: 2,
            term: 3,
            index,
            ..Default::default()
        };
        message.entries = terms
            .iter()
            .enumerate()
            .map(|(offset, term)| Entry {
                index: index + 1 + offset as u64,
                term: *term,
                ..Default::default()
            })
            .collect::<Vec<_>>()
            .into();
        message
    }

    #[test]
    fn divergence_below_the_commit_is_told_apart_from_an_ordinary_conflict() {
        assert_eq!(judged(&append(3, &[2, 3]), 4), Ok(()));
        assert_eq!(
            judged(&append(3, &[3]), 4),
            Err(Refusal::Diverged {
                leader: 2,
                index: 4,
                theirs: 3,
                ours: 2
            })
        );
        let mut stale = append(3, &[1]);
        stale.term = 2;
        assert_eq!(
            judged(&stale, 4),
            Ok(()),
            "raft ignores old terms by itself"
        );
    }

    #[test]
    fn nonsense_is_malformed() {
        let mut gap = append(3, &[2, 3]);
        gap.entries[1].index = 9;
        let mut elsewhere = append(3, &[2]);
        elsewhere.to = 7;
        let mut future = append(3, &[2]);
        future.entries[0].term = 9;
        let mut heartbeat = append(0, &[]);
        heartbeat.msg_type = MessageType::MsgHeartbeat;
        heartbeat.commit = 6;
        let mut snapshot = append(0, &[]);
        snapshot.msg_type = MessageType::MsgSnapshot;
        let mut read = append(0, &[]);
        read.msg_type = MessageType::MsgReadIndex;
        let mut huge = append(0, &[]);
        huge.index = u64::MAX;
        for message in [gap, elsewhere, future, heartbeat, snapshot, read, huge] {
            let verdict = judged(&message, 4);
            assert!(
                matches!(verdict, Err(Refusal::Malformed { .. })),
                "{message:?}: {verdict:?}"
            );
        }
    }
}
