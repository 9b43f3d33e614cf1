//! Joining a cluster that runs already (`--initial-cluster-state existing`).
//!
//! The member was added by `MemberAdd`, which gave it an ID that only the cluster knows. Before its
//! first start it asks the members named by `--initial-cluster` who the members are, finds itself by
//! its peer URLs, and checks that both sides mean the same cluster. It then starts with an empty log
//! and no membership of its own, so that it can neither campaign nor mistake itself for a cluster,
//! and is fed by the leader.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::api::proto::vetcdpb::ClusterMember;
use crate::host::Host;
use crate::raft::{Identity, PeerAddress, Told, ask_members};

use super::Members;

/// How long the members are asked again when none answers.
const ASK_FOR: Duration = Duration::from_secs(60);
/// The pause between two rounds of asking.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Rounds in which the answers may not fit the flags: all who answer may lag behind the change that
/// added this member.
const MISFITS: u32 = 5;

/// Why a member cannot join.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No member answered.
    #[error(
        "cannot fetch cluster info from peer urls: none of {asked} answered: {last}. Check \
         --initial-cluster, or start with --initial-cluster-state new to make a new cluster"
    )]
    NobodyAnswers {
        /// Whom it was asked.
        asked: String,
        /// What the last one said.
        last: String,
    },
    /// `--initial-cluster` names nobody else.
    #[error("--initial-cluster-state existing needs the other members in --initial-cluster to ask")]
    NobodyToAsk,
    /// The two sides do not mean the same members.
    #[error(
        "error validating peerURLs: member count is unequal: --initial-cluster has {flags}, the \
         cluster has {cluster}: give it as `member add` printed it"
    )]
    Count {
        /// Members in the flags.
        flags: usize,
        /// Members in the cluster.
        cluster: usize,
    },
    /// A member of the cluster is not in `--initial-cluster`.
    #[error(
        "error validating peerURLs: no match found for existing member {id:x} at {urls} in \
         --initial-cluster: give it as `member add` printed it"
    )]
    Unmatched {
        /// The member's ID.
        id: u64,
        /// Its peer URLs.
        urls: String,
    },
}

/// The cluster that a member is to join.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// The cluster's ID and this member's.
    pub identity: Identity,
    /// The members as of the answer.
    pub members: Members,
}

/// Asks the other members in `flags` until one answers, and finds `own` among those they name.
///
/// # Errors
/// None answers for a while, or the answer does not fit the flags.
pub async fn discover(
    host: &Arc<dyn Host>,
    flags: &[ClusterMember],
    own: u64,
) -> Result<Joined, Error> {
    let others = flags.iter().filter(|member| member.id != own);
    let addresses: Vec<String> = others
        .flat_map(|member| PeerAddress::of(member).addresses)
        .collect();
    if addresses.is_empty() {
        return Err(Error::NobodyToAsk);
    }
    let begun = host.now();
    let mut misfits = 0;
    loop {
        let mut last = String::new();
        let mut newest: Option<Told> = None;
        for address in &addresses {
            match ask_members(host, address).await {
                Ok(told)
                    if newest
                        .as_ref()
                        .is_none_or(|newest| newest.index < told.index) =>
                {
                    newest = Some(told);
                }
                Ok(_) => {}
                Err(error) => last = error.to_string(),
            }
        }
        if let Some(told) = newest {
            match matched(told.cluster_id, told.members, flags, own) {
                Err(error) if misfits < MISFITS => {
                    misfits += 1;
                    last = error.to_string();
                }
                fits_or_never_will => return fits_or_never_will,
            }
        }
        if host.now().since(begun) >= ASK_FOR {
            return Err(Error::NobodyAnswers {
                asked: addresses.join(", "),
                last,
            });
        }
        tracing::warn!(last, "cannot join yet");
        host.sleep(ASK_EVERY).await;
    }
}

/// Finds each member of the cluster in the flags, by its peer URLs.
fn matched(
    cluster_id: u64,
    members: Members,
    flags: &[ClusterMember],
    own: u64,
) -> Result<Joined, Error> {
    let count = members.iter().count();
    if count != flags.len() {
        return Err(Error::Count {
            flags: flags.len(),
            cluster: count,
        });
    }
    let urls = |member: &ClusterMember| member.peer_urls.iter().cloned().collect::<BTreeSet<_>>();
    let mut member_id = 0;
    for member in members.iter() {
        let Some(flag) = flags.iter().find(|flag| urls(flag) == urls(member)) else {
            return Err(Error::Unmatched {
                id: member.id,
                urls: member.peer_urls.join(","),
            });
        };
        if flag.id == own {
            member_id = member.id;
        }
    }
    Ok(Joined {
        identity: Identity {
            cluster_id,
            member_id,
        },
        members,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn member(id: u64, urls: &[&str]) -> ClusterMember {
        ClusterMember {
            id,
            peer_urls: urls.iter().map(ToString::to_string).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn a_member_finds_itself_by_its_urls() {
        let cluster =
            Members::from_wire([member(71, &["http://a:1"]), member(72, &["http://b:1"])]);
        let flags = [member(1, &["http://b:1"]), member(2, &["http://a:1"])];
        let joined = matched(9, cluster.clone(), &flags, 1).unwrap();
        let Identity {
            cluster_id,
            member_id,
        } = joined.identity;
        assert_eq!((cluster_id, member_id), (9, 72));
        let fewer = matched(9, cluster.clone(), &flags[..1], 1).unwrap_err();
        assert_eq!(
            fewer,
            Error::Count {
                flags: 1,
                cluster: 2
            }
        );
        let other = [member(1, &["http://b:1"]), member(2, &["http://c:1"])];
        let error = matched(9, cluster, &other, 1).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("existing member 47 at http://a:1")
        );
    }
}
