//! Refuses peer messages on which raft-rs would panic.
//!
//! raft-rs treats a violated assumption as a bug of its own process and panics. Seen from a member,
//! some of those assumptions are about other processes: a broken or hostile peer, or one whose
//! durability setting let it forget what it had acknowledged. [`check`] looks at a message before
//! raft does and tells the three cases apart: fine, to be ignored, and proof that the cluster's
//! logs have diverged, upon which this member must stop rather than follow or fight.

use raft::eraftpb::{ConfState, Message, MessageType};

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
    let numbers = [
        message.index,
        message.commit,
        message.term,
        message.log_term,
        message.commit_term,
        message.reject_hint,
        message.get_snapshot().get_metadata().index,
        message.get_snapshot().get_metadata().term,
    ];
    if numbers.iter().any(|number| *number > LIMIT) {
        return malformed("index or term out of range");
    }
    // No vetcd asks for one this way.
    if message.request_snapshot != 0 {
        return malformed("request for a snapshot");
    }
    // What is on its way to the leader has no term, and raft would not pass it on with one. All else
    // has one: without it raft would take the message for its own.
    let is_request = matches!(
        message.msg_type,
        MessageType::MsgPropose | MessageType::MsgReadIndex
    );
    if is_request != (message.term == 0) {
        return malformed("a term where none belongs, or none where one does");
    }
    match message.msg_type {
        MessageType::MsgAppend => {
            // raft takes 0 for the term of an entry that is not there, and would find it equal.
            if message.index > 0 && message.log_term == 0 {
                return malformed("entries that follow one without a term");
            }
            let mut term = message.log_term.max(1);
            for (offset, entry) in message.entries.iter().enumerate() {
                if entry.index != message.index + 1 + offset as u64 {
                    return malformed("entries are not contiguous");
                }
                if entry.term > message.term {
                    return malformed("entry from a future term");
                }
                if entry.term < term {
                    return malformed("entry from an earlier term than the one before");
                }
                term = entry.term;
            }
            if message.term >= own.term {
                check_committed(message, own)?;
            }
        }
        MessageType::MsgHeartbeat if message.term >= own.term && message.commit > own.last => {
            return malformed("heartbeat commits entries this member does not hold");
        }
        MessageType::MsgAppendResponse if message.term == own.term && message.index > own.last => {
            return malformed("acknowledgement of entries this member does not hold");
        }
        MessageType::MsgSnapshot => {
            let metadata = message.get_snapshot().get_metadata();
            if metadata.index == 0 || metadata.term == 0 {
                return malformed("snapshot without metadata");
            }
            if metadata.term > message.term {
                return malformed("snapshot from a future term");
            }
            if !is_possible(metadata.get_conf_state()) {
                return malformed("snapshot of an impossible membership");
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

/// Whether members can be these: somebody votes, nobody is named twice, and there is none of the
/// joint memberships that vetcd does not use.
fn is_possible(members: &ConfState) -> bool {
    let mut named: Vec<u64> = members.voters.clone();
    named.extend(&members.learners);
    named.sort_unstable();
    let joint = !members.voters_outgoing.is_empty()
        || !members.learners_next.is_empty()
        || members.auto_leave;
    let distinct = named.windows(2).all(|pair| pair[0] != pair[1]);
    !members.voters.is_empty() && distinct && named[0] != 0 && !joint
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
            log_term: 2,
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
        (stale.term, stale.log_term) = (2, 1);
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
        read.term = 0;
        let mut huge = append(0, &[]);
        huge.index = u64::MAX;
        let mut hint = append(5, &[]);
        hint.reject_hint = u64::MAX;
        let mut from_nowhere = append(7, &[2]);
        from_nowhere.log_term = 0;
        let back = append(3, &[3, 2]);
        let mut acknowledged = append(6, &[]);
        acknowledged.msg_type = MessageType::MsgAppendResponse;
        let mut request = append(5, &[]);
        request.msg_type = MessageType::MsgAppendResponse;
        request.request_snapshot = 4;
        let mut undated = append(3, &[2]);
        undated.term = 0;
        let mut dated_read = append(0, &[0]);
        dated_read.msg_type = MessageType::MsgReadIndex;
        let mut dated_proposal = append(0, &[0]);
        dated_proposal.msg_type = MessageType::MsgPropose;
        for message in [
            undated,
            dated_read,
            dated_proposal,
            gap,
            elsewhere,
            future,
            heartbeat,
            snapshot,
            read,
            huge,
            hint,
            from_nowhere,
            back,
            acknowledged,
            request,
        ] {
            let verdict = judged(&message, 4);
            assert!(
                matches!(verdict, Err(Refusal::Malformed { .. })),
                "{message:?}: {verdict:?}"
            );
        }
    }

    #[test]
    fn a_snapshot_names_each_member_once() {
        let snapshot = |change: fn(&mut ConfState), term| {
            let mut message = append(0, &[]);
            message.msg_type = MessageType::MsgSnapshot;
            let metadata = message.mut_snapshot().mut_metadata();
            (metadata.index, metadata.term) = (9, term);
            let members = metadata.mut_conf_state();
            members.voters = vec![1, 2];
            members.learners = vec![3];
            change(members);
            judged(&message, 4)
        };
        assert_eq!(snapshot(|_| {}, 3), Ok(()));
        for (change, term) in [
            ((|_| {}) as fn(&mut ConfState), 0),
            (|_| {}, 4),
            (|members| members.voters.clear(), 3),
            (|members| members.voters.push(2), 3),
            (|members| members.voters.push(0), 3),
            (|members| members.learners.push(1), 3),
            (|members| members.voters_outgoing.push(1), 3),
            (|members| members.learners_next.push(1), 3),
            (|members| members.auto_leave = true, 3),
        ] {
            assert!(matches!(
                snapshot(change, term),
                Err(Refusal::Malformed { .. })
            ));
        }
    }
}
