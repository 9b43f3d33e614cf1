//! The comparison before a member serves: its store must hold what the others hold at the same
//! revision. Who does not answer, lags behind that revision or has compacted it says nothing, as in
//! etcd; a member that starts together with all others so finds nobody to compare with.

use std::sync::Arc;

use crate::api::proto::vetcdpb::{HashKv, peer_answer::Answer, peer_call::Call};
use crate::config::Config;
use crate::host::Host;
use crate::mvcc::FIRST_REVISION;
use crate::raft::{Calls, Identity};
use crate::server::{Published, REQUEST_TIMEOUT};

use super::{ask_all, from_wire, hash};

/// The store differs from another member's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "member {member:x} found data inconsistency with peers: at revision {revision} and compaction \
     {compact_revision} its hash is {own:08x}, that of {other:x} is {theirs:08x}. It does not start. \
     Find out which is right with `etcdctl endpoint hashkv`; move the data directory of the wrong \
     one away, remove that member from the cluster and add it anew"
)]
pub struct Inconsistent {
    /// This member.
    pub member: u64,
    /// The member that holds something else.
    pub other: u64,
    /// The revision they were compared at.
    pub revision: i64,
    /// The compaction revision they were compared at.
    pub compact_revision: i64,
    /// This member's hash.
    pub own: u32,
    /// The other's.
    pub theirs: u32,
}

/// Compares the store of a member that is about to start with those of the others. One that may have
/// lost writes (`trusted_from_term` above zero) is not compared: what it holds may be on a line that
/// the cluster has given up, as the setting permits.
///
/// # Errors
/// [`Inconsistent`] with the first member whose store differs.
pub async fn check_at_start(
    host: &Arc<dyn Host>,
    config: &Config,
    identity: Identity,
    published: &Published,
    trusted_from_term: u64,
) -> Result<(), Inconsistent> {
    let state = &published.state;
    if state.revision() == FIRST_REVISION {
        return Ok(());
    }
    if trusted_from_term > 0 {
        tracing::warn!(
            "no corruption check at start: --wal-sync permits losing acknowledged writes"
        );
        return Ok(());
    }
    let (revision, compacted) = (state.revision(), state.compact_revision());
    let call = Call::HashKv(HashKv {
        index: 0,
        revision,
        compact_revision: compacted,
    });
    let calls = Calls::new(host.clone(), identity);
    let members = (&published.members, identity.member_id);
    let timeout = REQUEST_TIMEOUT + 2 * std::time::Duration::from_millis(config.election_timeout);
    let mut compared = 0;
    for (other, answer) in ask_all(host, &calls, members, call, timeout).await {
        let Answer::HashKv(answer) = answer else {
            continue;
        };
        let Some(their) = answer.hash.as_ref().map(from_wire) else {
            tracing::info!(
                other = format_args!("{other:x}"),
                revision,
                "the other member lags, or has compacted this revision: not compared"
            );
            continue;
        };
        let own = hash(host, state.clone(), revision, their.compact_revision).await;
        let Some(own) = own.filter(|own| own.compact_revision == their.compact_revision) else {
            continue;
        };
        if own != their {
            return Err(Inconsistent {
                member: identity.member_id,
                other,
                revision,
                compact_revision: own.compact_revision,
                own: own.hash,
                theirs: their.hash,
            });
        }
        compared += 1;
    }
    tracing::info!(compared, revision, "no corruption found at start");
    Ok(())
}
