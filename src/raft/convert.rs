//! Between raft-rs's message types and vetcd's own wire types.
//!
//! raft-rs brings an old protobuf runtime whose decoder recurses without bound on hostile input, so
//! nothing from the network or the disk is ever decoded with it: bytes become [`vetcdpb`] types,
//! and those become raft-rs's.

use raft::eraftpb;

use crate::api::proto::vetcdpb;

/// A message or entry kind that this version does not know.
#[derive(Debug, thiserror::Error)]
#[error("unknown {what} kind {kind}")]
pub struct UnknownKind {
    what: &'static str,
    kind: u32,
}

const MESSAGE_KINDS: [(u32, eraftpb::MessageType); 13] = [
    (2, eraftpb::MessageType::MsgPropose),
    (3, eraftpb::MessageType::MsgAppend),
    (4, eraftpb::MessageType::MsgAppendResponse),
    (5, eraftpb::MessageType::MsgRequestVote),
    (6, eraftpb::MessageType::MsgRequestVoteResponse),
    (7, eraftpb::MessageType::MsgSnapshot),
    (8, eraftpb::MessageType::MsgHeartbeat),
    (9, eraftpb::MessageType::MsgHeartbeatResponse),
    (14, eraftpb::MessageType::MsgTimeoutNow),
    (15, eraftpb::MessageType::MsgReadIndex),
    (16, eraftpb::MessageType::MsgReadIndexResp),
    (17, eraftpb::MessageType::MsgRequestPreVote),
    (18, eraftpb::MessageType::MsgRequestPreVoteResponse),
];

pub fn entry_to_wire(entry: &eraftpb::Entry) -> vetcdpb::Entry {
    vetcdpb::Entry {
        kind: entry.entry_type as u32,
        term: entry.term,
        index: entry.index,
        data: entry.data.clone(),
        context: entry.context.clone(),
    }
}

pub fn entry_from_wire(entry: vetcdpb::Entry) -> Result<eraftpb::Entry, UnknownKind> {
    let entry_type = match entry.kind {
        0 => eraftpb::EntryType::EntryNormal,
        1 => eraftpb::EntryType::EntryConfChange,
        2 => eraftpb::EntryType::EntryConfChangeV2,
        kind => {
            return Err(UnknownKind {
                what: "entry",
                kind,
            });
        }
    };
    Ok(eraftpb::Entry {
        entry_type,
        term: entry.term,
        index: entry.index,
        data: entry.data,
        context: entry.context,
        ..Default::default()
    })
}

pub fn conf_state_to_wire(conf: &eraftpb::ConfState) -> vetcdpb::ConfState {
    vetcdpb::ConfState {
        voters: conf.voters.clone(),
        learners: conf.learners.clone(),
        voters_outgoing: conf.voters_outgoing.clone(),
        learners_next: conf.learners_next.clone(),
        auto_leave: conf.auto_leave,
    }
}

pub fn conf_state_from_wire(conf: vetcdpb::ConfState) -> eraftpb::ConfState {
    eraftpb::ConfState {
        voters: conf.voters,
        learners: conf.learners,
        voters_outgoing: conf.voters_outgoing,
        learners_next: conf.learners_next,
        auto_leave: conf.auto_leave,
        ..Default::default()
    }
}

pub fn message_to_wire(message: &eraftpb::Message) -> vetcdpb::RaftMessage {
    let snapshot = message.snapshot.as_ref().map(|snapshot| {
        let metadata = snapshot.get_metadata();
        vetcdpb::SnapshotMetadata {
            conf_state: Some(conf_state_to_wire(metadata.get_conf_state())),
            index: metadata.index,
            term: metadata.term,
        }
    });
    vetcdpb::RaftMessage {
        kind: message.msg_type as u32,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: message.entries.iter().map(entry_to_wire).collect(),
        commit: message.commit,
        commit_term: message.commit_term,
        snapshot,
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context.clone(),
        priority: message.priority,
    }
}

pub fn message_from_wire(message: vetcdpb::RaftMessage) -> Result<eraftpb::Message, UnknownKind> {
    let msg_type = MESSAGE_KINDS
        .iter()
        .find(|(kind, _)| *kind == message.kind)
        .map(|(_, msg_type)| *msg_type)
        .ok_or(UnknownKind {
            what: "message",
            kind: message.kind,
        })?;
    let mut converted = eraftpb::Message {
        msg_type,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        commit: message.commit,
        commit_term: message.commit_term,
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context,
        priority: message.priority,
        ..Default::default()
    };
    converted.entries = message
        .entries
        .into_iter()
        .map(entry_from_wire)
        .collect::<Result<Vec<_>, _>>()?
        .into();
    if let Some(metadata) = message.snapshot {
        let target = converted.mut_snapshot().mut_metadata();
        target.index = metadata.index;
        target.term = metadata.term;
        target.set_conf_state(conf_state_from_wire(
            metadata.conf_state.unwrap_or_default(),
        ));
    }
    Ok(converted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        for (kind, msg_type) in MESSAGE_KINDS {
            assert_eq!(kind, msg_type as u32);
            let mut message = eraftpb::Message {
                msg_type,
                to: 1,
                from: 2,
                term: 3,
                log_term: 4,
                index: 5,
                commit: 6,
                commit_term: 7,
                request_snapshot: 8,
                reject: true,
                reject_hint: 9,
                context: bytes::Bytes::from_static(b"context"),
                priority: -1,
                ..Default::default()
            };
            message.entries = vec![eraftpb::Entry {
                entry_type: eraftpb::EntryType::EntryConfChangeV2,
                term: 3,
                index: 6,
                data: bytes::Bytes::from_static(b"data"),
                ..Default::default()
            }]
            .into();
            let metadata = message.mut_snapshot().mut_metadata();
            metadata.index = 11;
            metadata.term = 2;
            metadata.mut_conf_state().voters = vec![1, 2, 3];
            let back = message_from_wire(message_to_wire(&message)).expect("kinds are known");
            assert_eq!(back, message);
        }
    }

    #[test]
    fn local_and_unknown_kinds_are_refused() {
        for kind in [0, 1, 10, 11, 12, 19, u32::MAX] {
            let message = vetcdpb::RaftMessage {
                kind,
                ..Default::default()
            };
            assert!(message_from_wire(message).is_err(), "kind {kind}");
        }
        let entry = vetcdpb::Entry {
            kind: 3,
            ..Default::default()
        };
        assert!(entry_from_wire(entry).is_err());
    }
}
