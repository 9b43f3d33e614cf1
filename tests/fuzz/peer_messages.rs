//! Raft messages as a hostile member sends them: one of each kind, with numbers that are relative to
//! those of whoever gets them.

use bytes::Bytes;
use prost::Message as _;
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::api::proto::vetcdpb::{
    ConfChange, ConfState, Entry, LogRequest, MemberRemove, RaftMessage, SnapshotMetadata,
    log_request::Request,
};

/// The numbers that a member's messages are relative to: in a message, 8 stands for the base, what
/// is close to 8 for what is close to the base, and 0 and everything from 64 on for itself.
pub struct Base {
    pub to: u64,
    pub from: u64,
    pub term: u64,
    pub index: u64,
}

impl Base {
    fn number(base: u64, relative: u64) -> u64 {
        match relative {
            1..64 => (base + relative).saturating_sub(8),
            other => other,
        }
    }

    /// The message in absolute numbers.
    pub fn message(&self, mut message: RaftMessage) -> RaftMessage {
        let term = |relative: &mut u64| *relative = Base::number(self.term, *relative);
        let index = |relative: &mut u64| *relative = Base::number(self.index, *relative);
        if message.to == 0 {
            message.to = self.to;
        }
        if message.from == 0 {
            message.from = self.from;
        }
        term(&mut message.term);
        term(&mut message.log_term);
        term(&mut message.commit_term);
        index(&mut message.index);
        index(&mut message.commit);
        index(&mut message.reject_hint);
        for entry in &mut message.entries {
            term(&mut entry.term);
            index(&mut entry.index);
        }
        if let Some(snapshot) = &mut message.snapshot {
            term(&mut snapshot.term);
            index(&mut snapshot.index);
            let members = snapshot.conf_state.iter_mut();
            for id in
                members.flat_map(|members| members.voters.iter_mut().chain(&mut members.learners))
            {
                match *id {
                    1 => *id = self.to,
                    3 => *id = self.from,
                    _ => {}
                }
            }
        }
        message
    }
}

fn put(key: &str) -> LogRequest {
    LogRequest {
        id: 77,
        member_id: 3,
        request: Some(Request::Put(pb::PutRequest {
            key: key.as_bytes().to_vec().into(),
            value: vec![b'v'; 30].into(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn entry(kind: u32, term: u64, index: u64, data: Vec<u8>) -> Entry {
    Entry {
        kind,
        term,
        index,
        data: data.into(),
        context: Bytes::new(),
    }
}

fn removal() -> Vec<u8> {
    let request = LogRequest {
        id: 78,
        member_id: 3,
        request: Some(Request::MemberRemove(MemberRemove { id: 5 })),
        ..Default::default()
    };
    let change = ConfChange {
        id: 0,
        kind: 1,
        node_id: 5,
        context: request.encode_to_vec().into(),
    };
    change.encode_to_vec()
}

/// One message of each kind that members send, as a follower or as a leader of the next term.
pub fn raft_messages() -> Vec<RaftMessage> {
    let message = |kind, term| RaftMessage {
        kind,
        term,
        ..Default::default()
    };
    let data = || put("k").encode_to_vec();
    let mut messages = Vec::new();
    for term in [7, 8, 9, 12] {
        for kind in [4, 5, 6, 9, 14, 15, 16, 17, 18] {
            messages.push(RaftMessage {
                index: 8,
                log_term: 8,
                commit: 8,
                commit_term: 8,
                reject: term == 7,
                reject_hint: if term == 7 { 7 } else { 0 },
                context: vec![0; 8].into(),
                entries: match kind {
                    15 | 16 => vec![entry(0, 0, 0, vec![1; 16])],
                    _ => Vec::new(),
                },
                ..message(kind, term)
            });
        }
        messages.push(RaftMessage {
            entries: vec![entry(0, 0, 0, data()), entry(1, 0, 0, removal())],
            ..message(2, term)
        });
        for index in [8, 10] {
            messages.push(RaftMessage {
                index,
                log_term: 8,
                commit: 9,
                entries: vec![
                    entry(0, 8, index + 1, data()),
                    entry(0, term, index + 2, Vec::new()),
                ],
                ..message(3, term)
            });
        }
        messages.push(RaftMessage {
            commit: 8,
            context: vec![0; 8].into(),
            ..message(8, term)
        });
        messages.push(offer(term));
    }
    // Without a term, by which raft would know its own messages.
    for kind in 2..=18 {
        messages.push(RaftMessage {
            index: 8,
            log_term: 8,
            commit: 8,
            entries: vec![entry(0, 0, 0, data())],
            ..message(kind, 0)
        });
    }
    messages.push(RaftMessage {
        index: 8,
        log_term: 8,
        commit: 12,
        entries: vec![
            entry(1, 9, 9, removal()),
            entry(0, 9, 10, data()),
            entry(2, 9, 11, Vec::new()),
        ],
        ..message(3, 9)
    });
    messages
}

pub fn offer(term: u64) -> RaftMessage {
    RaftMessage {
        kind: 7,
        term,
        snapshot: Some(SnapshotMetadata {
            conf_state: Some(ConfState {
                voters: vec![1, 3],
                ..Default::default()
            }),
            index: 13,
            term: 8,
        }),
        ..Default::default()
    }
}
