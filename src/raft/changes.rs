//! Changes of the membership in the raft loop.
//!
//! A change is a `ConfChange` entry, one at a time, in force once it is applied (not, as in the
//! thesis, once it is appended): raft-rs lets no member campaign that has a committed change still
//! to apply (known bug 63). Here the leader decides whether a change may enter the log at all. One
//! that may not is replaced by an ordinary entry that says why, so that the member that proposed it
//! hears the reason the same way as it would have heard of success, whoever leads.
//!
//! **A member that was removed** keeps raft's old membership, which still has it: raft-rs cannot
//! lead, or even store entries, without being in its own configuration. That is safe, since quorums
//! of the old and the new membership overlap. It takes no new requests. A leader goes on sending
//! heartbeats until a majority of those who stay know that its removal is committed (with two
//! members the other one could otherwise never elect itself), hands the leadership to one of them,
//! and ends.

use bytes::Bytes;
use prost::Message as _;
use raft::StateRole;
use raft::eraftpb::{self, EntryType, Message};

use crate::api::proto::vetcdpb::change_refused::Reason;
use crate::api::proto::vetcdpb::log_request::Request;
use crate::api::proto::vetcdpb::{ChangeRefused, ConfChange, LogRequest};
use crate::host::Event;

use super::convert::conf_state_to_wire;
use super::node::{Node, entry};
use super::{Error, Reconfigured};

/// A learner may vote once it has this part of the leader's log, in percent (etcd's).
const READY_PERCENT: u64 = 90;
/// How long a removed leader waits at most for those who stay, in election timeouts.
const LEAVING_ELECTIONS: usize = 10;
/// How long a removed member that does not lead goes on, in ticks: time to answer its clients.
const LEAVING_TICKS: usize = 3;

/// A member on its way out.
pub struct Leaving {
    /// The raft index of its removal.
    index: u64,
    /// Ticks left at most.
    ticks_left: usize,
    /// Ticks left once it does not lead any more.
    quiet_ticks_left: usize,
}

/// The kind of raft's change that a request asks for, and for which member.
fn change_of(request: &LogRequest) -> Option<(eraftpb::ConfChangeType, u64)> {
    match &request.request {
        Some(Request::MemberAdd(add)) => {
            let member = add.member.as_ref()?;
            let kind = match member.is_learner {
                true => eraftpb::ConfChangeType::AddLearnerNode,
                false => eraftpb::ConfChangeType::AddNode,
            };
            Some((kind, member.id))
        }
        Some(Request::MemberPromote(promote)) => {
            Some((eraftpb::ConfChangeType::AddNode, promote.id))
        }
        Some(Request::MemberRemove(remove)) => {
            Some((eraftpb::ConfChangeType::RemoveNode, remove.id))
        }
        _ => None,
    }
}

/// The data of a change's log entry. `None` when the request is no change of the membership.
pub fn encode_change(request: Bytes) -> Option<Bytes> {
    let decoded = LogRequest::decode(request.clone()).ok()?;
    let (kind, node_id) = change_of(&decoded)?;
    let change = ConfChange {
        id: decoded.id,
        kind: kind as u32,
        node_id,
        context: request,
    };
    Some(change.encode_to_vec().into())
}

impl Node {
    pub(super) fn propose_change(&mut self, request: Bytes) {
        match encode_change(request) {
            Some(data) => self.propose(entry(EntryType::EntryConfChange, data)),
            None => tracing::warn!("a request that changes no membership was proposed as one"),
        }
    }

    /// Looks at changes of the membership before they go to raft, which reads them with a decoder
    /// that must not see anything foreign; `false` when the proposal is to be dropped. On the
    /// leader, replaces what it does not take.
    pub(super) fn admit_proposal(&self, message: &mut Message) -> bool {
        if self.leaving.is_some() {
            return false;
        }
        let leads = self.raft.raft.state == StateRole::Leader;
        for proposed in message.mut_entries().iter_mut() {
            match proposed.entry_type {
                EntryType::EntryNormal => continue,
                EntryType::EntryConfChangeV2 => return false,
                EntryType::EntryConfChange => {}
            }
            let Ok(change) = ConfChange::decode(proposed.data.clone()) else {
                return false;
            };
            // Nothing but what this member would have made of the request itself.
            let Some(data) = encode_change(change.context.clone()) else {
                return false;
            };
            let Ok(request) = LogRequest::decode(change.context) else {
                return false;
            };
            proposed.data = data;
            if let Some(reason) = self.refuse(&request).filter(|_| leads) {
                let refused = LogRequest {
                    request: Some(Request::ChangeRefused(ChangeRefused {
                        reason: reason as i32,
                    })),
                    ..request
                };
                *proposed = entry(EntryType::EntryNormal, refused.encode_to_vec().into());
            }
        }
        true
    }

    /// Why this member, as leader, does not take a change.
    fn refuse(&self, request: &LogRequest) -> Option<Reason> {
        let raft = &self.raft.raft;
        if let Some(Request::MemberPromote(promote)) = &request.request {
            let Some(learner) = raft.prs().get(promote.id) else {
                return Some(Reason::MemberNotFound);
            };
            let own = raft.prs().get(raft.id).map_or(0, |own| own.matched);
            if learner.matched.saturating_mul(100) < own.saturating_mul(READY_PERCENT) {
                return Some(Reason::LearnerNotReady);
            }
        }
        raft.has_pending_conf().then_some(Reason::ChangePending)
    }

    /// Takes over the members after an applied entry or an installed snapshot.
    pub(super) fn reconfigure(&mut self, members: Reconfigured) -> Result<(), Error> {
        let own = self.raft.raft.id;
        if members.members.was_removed(own) {
            self.leave(members.index);
        } else if let Some(change) = members.change {
            let change = eraftpb::ConfChange {
                change_type: match change.kind {
                    0 => eraftpb::ConfChangeType::AddNode,
                    1 => eraftpb::ConfChangeType::RemoveNode,
                    _ => eraftpb::ConfChangeType::AddLearnerNode,
                },
                node_id: change.node_id,
                ..Default::default()
            };
            let index = members.index;
            let applied = self.raft.apply_conf_change(&change);
            let mut applied = match applied {
                Ok(conf_state) => conf_state_to_wire(&conf_state),
                Err(error) => {
                    tracing::error!(index, %error, "raft does not take a change of the membership");
                    return Err(Error::Membership { index });
                }
            };
            applied.voters.sort_unstable();
            applied.learners.sort_unstable();
            if applied != members.conf_state {
                return Err(Error::Membership { index });
            }
        }
        self.transport.set_members(&members.members);
        Ok(())
    }

    fn leave(&mut self, index: u64) {
        if self.leaving.is_some() {
            return;
        }
        tracing::warn!(index, "this member was removed from its cluster");
        self.leaving = Some(Leaving {
            index,
            ticks_left: LEAVING_ELECTIONS * self.options.election_ticks,
            quiet_ticks_left: LEAVING_TICKS,
        });
        if self.raft.raft.state == StateRole::Leader {
            self.raft.ping();
        }
    }

    /// One tick of a member that was removed.
    pub(super) fn tick_leaving(&mut self) -> Result<(), Error> {
        let leads = self.raft.raft.state == StateRole::Leader;
        let Some(leaving) = &mut self.leaving else {
            return Ok(());
        };
        leaving.ticks_left = leaving.ticks_left.saturating_sub(1);
        if !leads {
            leaving.quiet_ticks_left = leaving.quiet_ticks_left.saturating_sub(1);
        }
        if leaving.ticks_left == 0 || leaving.quiet_ticks_left == 0 {
            return Err(self.removed());
        }
        if !leads {
            // Without ticks it does not campaign; it still answers who asks for its vote.
            return Ok(());
        }
        let index = leaving.index;
        self.raft.tick();
        if let Some(successor) = self.successor(index) {
            self.raft.transfer_leader(successor);
            if let Some(leaving) = &mut self.leaving {
                leaving.ticks_left = leaving.ticks_left.min(self.options.election_ticks);
            }
        }
        Ok(())
    }

    /// Who is to lead after a removed leader, once a majority of those who stay know of its removal.
    fn successor(&self, removal: u64) -> Option<u64> {
        let raft = &self.raft.raft;
        let conf = raft.prs().conf().to_conf_state();
        let staying = conf.voters.iter().filter(|id| **id != raft.id);
        let mut known: Vec<(u64, u64)> = staying
            .filter_map(|id| Some((raft.prs().get(*id)?, *id)))
            .filter(|(progress, _)| progress.committed_index >= removal)
            .map(|(progress, id)| (progress.matched, id))
            .collect();
        known.sort_unstable();
        let majority = (conf.voters.len().saturating_sub(1)) / 2 + 1;
        known
            .last()
            .filter(|_| known.len() >= majority)
            .map(|(_, id)| *id)
    }

    /// A peer refuses this member as removed: one word is enough, for it speaks of what is
    /// committed. A leader on its way out knows already, and has its own reasons to stay.
    pub(super) fn refused_as_removed(&mut self) -> Result<(), Error> {
        match self.leaving {
            Some(_) => Ok(()),
            None => Err(self.removed()),
        }
    }

    fn removed(&self) -> Error {
        self.host.observe(Event::Removed);
        Error::Removed
    }
}
