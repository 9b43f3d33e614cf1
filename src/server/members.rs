//! The members of the cluster as the log has them: IDs, names and URLs.

use im::OrdMap;

use crate::api::proto::etcdserverpb as pb;
use crate::api::proto::vetcdpb;

/// The members by ID; cheap to clone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members(OrdMap<u64, vetcdpb::ClusterMember>);

impl Members {
    /// From their stored form.
    pub fn from_wire(members: impl IntoIterator<Item = vetcdpb::ClusterMember>) -> Members {
        Members(
            members
                .into_iter()
                .map(|member| (member.id, member))
                .collect(),
        )
    }

    /// In their stored form, by ID.
    pub fn to_wire(&self) -> Vec<vetcdpb::ClusterMember> {
        self.0.values().cloned().collect()
    }

    /// One member.
    pub fn get(&self, id: u64) -> Option<&vetcdpb::ClusterMember> {
        self.0.get(&id)
    }

    /// All members, by ID.
    pub fn iter(&self) -> impl Iterator<Item = &vetcdpb::ClusterMember> {
        self.0.values()
    }

    /// Takes over what a member publishes about itself; an unknown member changes nothing.
    pub fn publish(&mut self, attributes: &vetcdpb::MemberAttributes) {
        if let Some(member) = self.0.get_mut(&attributes.member_id) {
            member.name = attributes.name.clone();
            member.client_urls = attributes.client_urls.clone();
        }
    }

    /// As the Cluster service shows them.
    pub fn to_api(&self) -> Vec<pb::Member> {
        self.iter()
            .map(|member| pb::Member {
                id: member.id,
                name: member.name.clone(),
                peer_ur_ls: member.peer_urls.clone(),
                client_ur_ls: member.client_urls.clone(),
                is_learner: member.is_learner,
            })
            .collect()
    }
}
