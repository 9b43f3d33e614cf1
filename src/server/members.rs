//! The members of the cluster as the log has them: IDs, names, URLs, and who was removed.
//!
//! Every change is checked again when it is applied, against the members as of that entry, so that
//! of two changes that exclude each other the one that comes first in the log wins, on all members
//! alike. A removed member's ID is remembered and never used again: a member that was cut off while
//! it was removed must not come back as another one.

use im::{OrdMap, OrdSet};

use crate::api::proto::etcdserverpb as pb;
use crate::api::proto::vetcdpb;

use super::refusal::Refusal;

/// The members by ID; cheap to clone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members {
    current: OrdMap<u64, vetcdpb::ClusterMember>,
    removed: OrdSet<u64>,
}

impl Members {
    /// From their stored form; nobody was removed.
    pub fn from_wire(members: impl IntoIterator<Item = vetcdpb::ClusterMember>) -> Members {
        Members {
            current: members
                .into_iter()
                .map(|member| (member.id, member))
                .collect(),
            removed: OrdSet::new(),
        }
    }

    /// With the IDs of those who were removed.
    pub fn with_removed(mut self, removed: impl IntoIterator<Item = u64>) -> Members {
        self.removed = removed.into_iter().collect();
        self
    }

    /// In their stored form, by ID.
    pub fn to_wire(&self) -> Vec<vetcdpb::ClusterMember> {
        self.current.values().cloned().collect()
    }

    /// The IDs of removed members, ascending.
    pub fn removed(&self) -> impl Iterator<Item = u64> {
        self.removed.iter().copied()
    }

    /// Whether the member was removed.
    pub fn was_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// One member.
    pub fn get(&self, id: u64) -> Option<&vetcdpb::ClusterMember> {
        self.current.get(&id)
    }

    /// Whether no member is known.
    pub fn is_empty(&self) -> bool {
        self.current.is_empty()
    }

    /// All members, by ID.
    pub fn iter(&self) -> impl Iterator<Item = &vetcdpb::ClusterMember> {
        self.current.values()
    }

    /// The members that vote, by ID.
    pub fn voters(&self) -> impl Iterator<Item = &vetcdpb::ClusterMember> {
        self.iter().filter(|member| !member.is_learner)
    }

    /// What raft has to make of these members.
    pub fn conf_state(&self) -> vetcdpb::ConfState {
        let (learners, voters): (Vec<_>, Vec<_>) = self.iter().partition(|m| m.is_learner);
        vetcdpb::ConfState {
            voters: voters.iter().map(|member| member.id).collect(),
            learners: learners.iter().map(|member| member.id).collect(),
            ..Default::default()
        }
    }

    /// Adds a member.
    ///
    /// # Errors
    /// Its ID was used before, one of its URLs is taken, or there are `max_learners` already.
    pub fn add(
        &mut self,
        member: vetcdpb::ClusterMember,
        max_learners: u32,
    ) -> Result<(), Refusal> {
        if member.id == 0 || self.was_removed(member.id) {
            return Err(Refusal::MemberNotFound);
        }
        if self.get(member.id).is_some() {
            return Err(Refusal::MemberExists);
        }
        self.check_urls(&member.peer_urls, None)?;
        let learners = self.iter().filter(|other| other.is_learner).count();
        if member.is_learner && learners >= max_learners as usize {
            return Err(Refusal::TooManyLearners);
        }
        self.current.insert(member.id, member);
        Ok(())
    }

    /// Removes a member, for good.
    ///
    /// # Errors
    /// It is not there, or it is the last one that votes.
    pub fn remove(&mut self, id: u64) -> Result<(), Refusal> {
        let member = self.get(id).ok_or(Refusal::MemberNotFound)?;
        if !member.is_learner && self.voters().count() == 1 {
            return Err(Refusal::NotEnoughStarted);
        }
        self.current.remove(&id);
        self.removed.insert(id);
        Ok(())
    }

    /// Gives a member other peer URLs, and nothing else (etcd's #21736 cleared `is_learner`).
    ///
    /// # Errors
    /// It is not there, or another member has one of the URLs.
    pub fn update(&mut self, id: u64, peer_urls: Vec<String>) -> Result<(), Refusal> {
        if self.get(id).is_none() {
            return Err(Refusal::MemberNotFound);
        }
        self.check_urls(&peer_urls, Some(id))?;
        if let Some(member) = self.current.get_mut(&id) {
            member.peer_urls = peer_urls;
        }
        Ok(())
    }

    /// Lets a learner vote.
    ///
    /// # Errors
    /// It is not there, or no learner.
    pub fn promote(&mut self, id: u64) -> Result<(), Refusal> {
        let member = self.current.get_mut(&id).ok_or(Refusal::MemberNotFound)?;
        if !member.is_learner {
            return Err(Refusal::NotLearner);
        }
        member.is_learner = false;
        Ok(())
    }

    fn check_urls(&self, urls: &[String], owner: Option<u64>) -> Result<(), Refusal> {
        let mut others = self.iter().filter(|member| Some(member.id) != owner);
        let taken = others.any(|member| member.peer_urls.iter().any(|url| urls.contains(url)));
        match taken {
            true => Err(Refusal::PeerUrlExists),
            false => Ok(()),
        }
    }

    /// Takes over what a member publishes about itself; an unknown member changes nothing.
    pub fn publish(&mut self, attributes: &vetcdpb::MemberAttributes) {
        if let Some(member) = self.current.get_mut(&attributes.member_id) {
            member.name = attributes.name.clone();
            member.client_urls = attributes.client_urls.clone();
        }
    }

    /// As the Cluster service shows them.
    pub fn to_api(&self) -> Vec<pb::Member> {
        self.iter().map(to_api).collect()
    }
}

/// One member as the Cluster service shows it.
pub fn to_api(member: &vetcdpb::ClusterMember) -> pb::Member {
    pb::Member {
        id: member.id,
        name: member.name.clone(),
        peer_ur_ls: member.peer_urls.clone(),
        client_ur_ls: member.client_urls.clone(),
        is_learner: member.is_learner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, is_learner: bool) -> vetcdpb::ClusterMember {
        vetcdpb::ClusterMember {
            id,
            peer_urls: vec![format!("http://m{id}:2380")],
            is_learner,
            ..Default::default()
        }
    }

    fn three() -> Members {
        Members::from_wire([member(1, false), member(2, false), member(3, true)])
    }

    #[test]
    fn an_id_is_used_once() {
        let mut members = three();
        assert_eq!(members.add(member(2, false), 1), Err(Refusal::MemberExists));
        assert_eq!(members.remove(2), Ok(()));
        assert_eq!(members.remove(2), Err(Refusal::MemberNotFound));
        let again = members.add(member(2, false), 1);
        assert_eq!(again, Err(Refusal::MemberNotFound));
        assert_eq!(members.removed().collect::<Vec<_>>(), [2]);
        let other = vetcdpb::ClusterMember {
            id: 4,
            ..member(2, false)
        };
        assert_eq!(members.add(other, 1), Ok(()), "the URL is free again");
    }

    #[test]
    fn urls_have_one_owner_and_learners_a_limit() {
        let mut members = three();
        let stolen = vetcdpb::ClusterMember {
            id: 4,
            ..member(1, false)
        };
        assert_eq!(members.add(stolen, 1), Err(Refusal::PeerUrlExists));
        assert_eq!(
            members.add(member(4, true), 1),
            Err(Refusal::TooManyLearners)
        );
        assert_eq!(members.add(member(4, true), 2), Ok(()));
        let url = |id| vec![format!("http://m{id}:2380")];
        assert_eq!(members.update(1, url(2)), Err(Refusal::PeerUrlExists));
        assert_eq!(members.update(9, url(9)), Err(Refusal::MemberNotFound));
        assert_eq!(members.update(3, url(9)), Ok(()));
        assert!(members.get(3).is_some_and(|member| member.is_learner));
    }

    #[test]
    fn promotion_is_for_learners_and_a_voter_stays() {
        let mut members = three();
        assert_eq!(members.promote(9), Err(Refusal::MemberNotFound));
        assert_eq!(members.promote(1), Err(Refusal::NotLearner));
        let before = members.conf_state();
        assert_eq!((before.voters, before.learners), (vec![1, 2], vec![3]));
        assert_eq!(members.promote(3), Ok(()));
        assert_eq!(members.conf_state().voters, [1, 2, 3]);
        assert_eq!((members.remove(1), members.remove(2)), (Ok(()), Ok(())));
        assert_eq!(members.remove(3), Err(Refusal::NotEnoughStarted));
    }
}
