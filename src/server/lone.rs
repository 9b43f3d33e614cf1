//! `--force-new-cluster`: a cluster of one member, from what is left of a larger one.
//!
//! Behind the log's last entry stand changes of the membership that remove every other member,
//! counted as committed. They are then applied like any others, so that the members, raft's own idea
//! of them and the memory of who was removed agree (#20071, #20896). The cluster and the member keep
//! their IDs.
//!
//! **Entries that this member does not know to be committed count as well.** Some of them were, and
//! were acknowledged: a member hears of a commit a moment after the client does, and writes it down
//! later still. Whoever asks for this has lost the others, who could tell; to drop such an entry can
//! lose an acknowledged write, to keep one that was never committed only gives a request without an
//! answer its effect. (etcd drops them.)

use prost::Message;

use crate::api::proto::vetcdpb::{self, LogRequest, log_request::Request};
use crate::auth::ROOT;
use crate::raft::{Identity, encode_change};
use crate::wal;

use super::{Members, Standing};

/// The log of a member made the only one.
pub struct Alone {
    /// The entries of the whole log.
    pub entries: Vec<vetcdpb::Entry>,
    /// Where the new ones begin in it.
    from: usize,
    /// Term, vote and commit.
    pub hard_state: wal::HardState,
}

impl Alone {
    /// What goes into the log.
    pub fn batch(&self) -> wal::Batch {
        wal::Batch {
            entries: self.entries[self.from..].to_vec(),
            hard_state: Some(self.hard_state),
            must_sync: true,
            ..Default::default()
        }
    }
}

/// Makes the log of a lone member. `None` when the member is none; `Some(None)` when it is alone
/// already.
pub fn make(
    standing: &Standing,
    identity: Identity,
    hard_state: wal::HardState,
    entries: &[vetcdpb::Entry],
) -> Option<Option<Alone>> {
    let own = identity.member_id;
    let members = after(&standing.members, standing.index, entries);
    let is_learner = members.get(own)?.is_learner;
    let mut changes = Vec::new();
    if is_learner {
        changes.push(Request::MemberPromote(vetcdpb::MemberPromote { id: own }));
    }
    let others = members.iter().filter(|member| member.id != own);
    changes.extend(others.map(|m| Request::MemberRemove(vetcdpb::MemberRemove { id: m.id })));
    if changes.is_empty() {
        return Some(None);
    }
    let from = entries.len();
    let last = entries.last().map_or(0, |entry| entry.index);
    let mut entries = entries.to_vec();
    // In a term of its own: a member believed lost may have written other entries in the old one.
    let mut hard_state = wal::HardState {
        term: hard_state.term + 1,
        vote: 0,
        commit: hard_state.commit.max(last),
    };
    for change in changes {
        hard_state.commit += 1;
        let request = LogRequest {
            id: 0,
            member_id: own,
            request: Some(change),
            user: ROOT.to_owned(),
            auth_revision: standing.auth.revision(),
        };
        let data = encode_change(request.encode_to_vec().into())?;
        entries.push(vetcdpb::Entry {
            kind: 1,
            term: hard_state.term,
            index: hard_state.commit,
            data,
            ..Default::default()
        });
    }
    Some(Some(Alone {
        entries,
        from,
        hard_state,
    }))
}

/// The members once the entries behind `index` are applied.
fn after(members: &Members, index: u64, entries: &[vetcdpb::Entry]) -> Members {
    let mut members = members.clone();
    let changes = entries
        .iter()
        .filter(|entry| entry.kind == 1 && entry.index > index)
        .filter_map(|entry| vetcdpb::ConfChange::decode(entry.data.clone()).ok())
        .filter_map(|change| LogRequest::decode(change.context).ok());
    for change in changes {
        // What is refused now will be refused then.
        let _ = match change.request {
            Some(Request::MemberAdd(add)) => {
                members.add(add.member.unwrap_or_default(), add.max_learners)
            }
            Some(Request::MemberRemove(remove)) => members.remove(remove.id),
            Some(Request::MemberPromote(promote)) => members.promote(promote.id),
            _ => Ok(()),
        };
    }
    members
}
