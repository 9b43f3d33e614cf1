//! Changes of the membership: what is checked before one is proposed, and waiting for it.
//!
//! A change is checked three times. Here, against what this member knows, for what only a running
//! cluster can tell: whether enough members have started and are reachable. At the leader when it
//! is proposed ([`crate::raft`]): whether another change is pending, whether a learner has caught
//! up. And when it is applied ([`Members`](super::Members)), which alone decides.

use std::time::Duration;

use crate::api::proto::vetcdpb::log_request::Request;
use crate::api::proto::vetcdpb::{self, ClusterMember};
use crate::auth::Caller;
use crate::config::{MemberUrl, member_id_at};
use crate::host::HostExt;

use super::refusal::Refusal;
use super::{Members, RequestError, Response, Server};

/// A member counts as healthy when it has been connected for this long (etcd's).
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait before a change is proposed again that met another one.
const PENDING_PAUSE: Duration = Duration::from_millis(20);

/// What guards a change of the membership, from the flags.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Refuse changes that endanger the quorum.
    pub strict: bool,
    /// Learners allowed at a time.
    pub max_learners: u32,
}

impl Server {
    /// Adds a member at `peer_urls`; returns it and all members.
    ///
    /// # Errors
    /// A [`Refusal`], or an unclear outcome.
    pub async fn add_member(
        &self,
        caller: Caller,
        peer_urls: &[String],
        is_learner: bool,
    ) -> Result<(ClusterMember, Members), RequestError> {
        let peer_urls = checked_urls(peer_urls)?;
        if self.policy.strict {
            self.may_add(is_learner)?;
        }
        let member = ClusterMember {
            id: member_id_at(&peer_urls, self.host.wall_clock().as_secs()),
            peer_urls,
            is_learner,
            ..Default::default()
        };
        let add = vetcdpb::MemberAdd {
            member: Some(member.clone()),
            max_learners: self.policy.max_learners,
        };
        let members = self.reconfigure(caller, Request::MemberAdd(add)).await?;
        Ok((member, members))
    }

    /// Removes a member; returns those who stay.
    ///
    /// # Errors
    /// A [`Refusal`], or an unclear outcome.
    pub async fn remove_member(&self, caller: Caller, id: u64) -> Result<Members, RequestError> {
        if self.policy.strict {
            self.may_remove(id)?;
        }
        let remove = vetcdpb::MemberRemove { id };
        self.reconfigure(caller, Request::MemberRemove(remove))
            .await
    }

    /// Gives a member other peer URLs; returns all members.
    ///
    /// # Errors
    /// A [`Refusal`], or an unclear outcome.
    pub async fn update_member(
        &self,
        caller: Caller,
        id: u64,
        peer_urls: &[String],
    ) -> Result<Members, RequestError> {
        let peer_urls = checked_urls(peer_urls)?;
        let update = vetcdpb::MemberUpdate { id, peer_urls };
        // No matter of raft's, so an ordinary entry.
        let update = Request::MemberUpdate(update);
        match self.propose_as(caller, update).await? {
            Response::Members(members) => Ok(members),
            _ => Err(RequestError::Stopped),
        }
    }

    /// Lets a learner vote that has caught up; returns all members.
    ///
    /// # Errors
    /// A [`Refusal`], or an unclear outcome.
    pub async fn promote_member(&self, caller: Caller, id: u64) -> Result<Members, RequestError> {
        let promoting = async {
            let members = self.linearizable().await?.members.clone();
            if self.policy.strict && !enough_started(&members, None, Some(true)) {
                return Err(Refusal::NotEnoughStarted.into());
            }
            let promote = vetcdpb::MemberPromote { id };
            self.reconfigure(caller, Request::MemberPromote(promote))
                .await
        };
        let promoted = promoting.await;
        let metrics = &self.metrics.upkeep;
        match &promoted {
            Ok(_) => metrics.promotions.inc(),
            Err(error) => {
                let reason = error.to_string();
                metrics
                    .failed_promotions
                    .with_label_values(&[reason.as_str()])
                    .inc();
            }
        }
        promoted
    }

    fn may_add(&self, is_learner: bool) -> Result<(), Refusal> {
        let members = self.serializable().members.clone();
        if !is_learner && !may_add_voter(&members) {
            return Err(Refusal::NotEnoughStarted);
        }
        let (healthy, voters) = self.healthy_voters(&members);
        match healthy == voters {
            true => Ok(()),
            false => Err(Refusal::Unhealthy),
        }
    }

    fn may_remove(&self, id: u64) -> Result<(), Refusal> {
        let members = self.serializable().members.clone();
        if members.get(id).is_some_and(|member| member.is_learner) {
            return Ok(());
        }
        if !enough_started(&members, Some(id), None) {
            return Err(Refusal::NotEnoughStarted);
        }
        let own = self.identity.member_id;
        if id != own && self.raft.connected_since(id).is_none() {
            // A member that is down is no part of the working quorum.
            return Ok(());
        }
        let (healthy, voters) = self.healthy_voters(&members);
        match healthy > (voters - 1) / 2 + 1 {
            true => Ok(()),
            false => Err(Refusal::Unhealthy),
        }
    }

    /// How many voters this member has been connected to for long enough, itself included, and how
    /// many voters there are.
    fn healthy_voters(&self, members: &Members) -> (usize, usize) {
        let now = self.host.now();
        let healthy = members.voters().filter(|member| {
            let since = self.raft.connected_since(member.id);
            member.id == self.identity.member_id
                || since.is_some_and(|since| now.since(since) > HEALTH_INTERVAL)
        });
        (healthy.count(), members.voters().count())
    }

    /// Proposes a change as raft's own kind of entry, again while another one is pending.
    async fn reconfigure(&self, caller: Caller, request: Request) -> Result<Members, RequestError> {
        let trying = async {
            loop {
                match self.propose_change(caller.clone(), request.clone()).await {
                    Err(RequestError::Refused(Refusal::ChangePending)) => {
                        self.host.sleep(PENDING_PAUSE).await;
                    }
                    Ok(Response::Members(members)) => return Ok(members),
                    Ok(_) => return Err(RequestError::Stopped),
                    Err(error) => return Err(error),
                }
            }
        };
        let tried = self.host.timeout(self.timeout, trying).await;
        tried.unwrap_or(Err(RequestError::Timeout))
    }
}

/// The URLs as etcd keeps them: parsed, sorted.
fn checked_urls(urls: &[String]) -> Result<Vec<String>, Refusal> {
    let parse = |url: &String| url.parse::<MemberUrl>().map_err(|_| Refusal::BadUrls);
    let urls = urls.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    if urls.is_empty() {
        return Err(Refusal::BadUrls);
    }
    let mut urls: Vec<String> = urls.iter().map(MemberUrl::to_string).collect();
    urls.sort();
    urls.dedup();
    Ok(urls)
}

/// Whether a new voter, which has not started, leaves a quorum of started members. The second
/// member of a cluster is always let in: there is no other way to grow.
fn may_add_voter(members: &Members) -> bool {
    let started = members.voters().filter(|member| is_started(member)).count();
    (started == 1 && members.voters().count() == 1) || enough_started(members, None, Some(false))
}

fn is_started(member: &ClusterMember) -> bool {
    !member.name.is_empty()
}

/// Whether the started voters are a quorum once `without` is gone and `with` (started or not) has
/// come.
fn enough_started(members: &Members, without: Option<u64>, with: Option<bool>) -> bool {
    let left = || members.voters().filter(|member| Some(member.id) != without);
    let started =
        left().filter(|member| is_started(member)).count() + usize::from(with == Some(true));
    let voters = left().count() + usize::from(with.is_some());
    started > voters / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Voters, `true` for those that have started.
    fn members(started: &[bool]) -> Members {
        let members = (1..).zip(started).map(|(id, started)| ClusterMember {
            id,
            name: if *started {
                format!("m{id}")
            } else {
                String::new()
            },
            ..Default::default()
        });
        Members::from_wire(members)
    }

    #[test]
    fn a_cluster_grows_only_with_a_quorum_of_started_members() {
        for (started, may) in [
            (&[true][..], true),
            (&[true, false], false),
            (&[true, true], true),
            (&[true, true, false], false),
            (&[true, true, true], true),
        ] {
            assert_eq!(may_add_voter(&members(started)), may, "{started:?}");
        }
    }

    #[test]
    fn a_cluster_shrinks_only_to_a_quorum_of_started_members() {
        for (started, without, may) in [
            (&[true][..], 1, false),
            (&[true, true], 2, true),
            (&[true, false], 1, false),
            (&[true, false], 2, true),
            (&[true, true, false], 1, false),
            (&[true, true, false], 3, true),
        ] {
            let verdict = enough_started(&members(started), Some(without), None);
            assert_eq!(verdict, may, "{started:?} without {without}");
        }
    }

    #[test]
    fn urls_are_parsed_and_sorted() {
        let urls =
            |urls: &[&str]| checked_urls(&urls.iter().map(ToString::to_string).collect::<Vec<_>>());
        let sorted = vec!["http://a:1".to_owned(), "http://b:1".to_owned()];
        assert_eq!(urls(&["http://b:1", "http://a:1"]), Ok(sorted));
        assert_eq!(urls(&[]), Err(Refusal::BadUrls));
        assert_eq!(urls(&["http://a:1", "a:1"]), Err(Refusal::BadUrls));
    }
}
