//! The `membership` workload: an operator who exchanges members under load.
//!
//! It goes by what the cluster says, never by what it believes to have done: each round it asks for
//! the members, brings machines in line with the answer (a member that has not started is started, a
//! machine that is no member any more is expected to stop), and then takes one step. So a request
//! whose outcome it never heard needs no special care.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vetcd::api::proto::etcdserverpb as pb;
use vetcd::client::{CallError, Client};
use vetcd::host::Host;

use crate::cluster::{Cluster, peer_url_of};
use crate::rng::Stream;
use crate::scenario::MembershipWorkload;

/// The cluster is never made smaller than this.
const VOTERS_MIN: usize = 3;
/// A cluster of more voters loses one rather than growing further.
const VOTERS_MAX: usize = 5;
/// How often a learner that does not catch up is removed instead of waited for.
const IMPATIENCE: f64 = 0.03;

/// Runs until it is aborted. `server` are the flags that new members get.
pub async fn membership(
    host: Arc<dyn Host>,
    workload: MembershipWorkload,
    server: BTreeMap<String, String>,
    machines: Cluster,
    mut random: Stream,
    client: Client,
) {
    let mut operator = Operator {
        server,
        machines,
        client,
        ids: BTreeMap::new(),
    };
    loop {
        host.sleep(workload.every).await;
        if let Err(error) = operator.round(&mut random).await {
            tracing::debug!(status = %error.status, "the operator was refused");
            operator.client.next_endpoint();
        }
    }
}

struct Operator {
    server: BTreeMap<String, String>,
    machines: Cluster,
    client: Client,
    /// The member ID that each machine was last seen with.
    ids: BTreeMap<u32, u64>,
}

impl Operator {
    async fn round(&mut self, random: &mut Stream) -> Result<(), CallError> {
        let request = pb::MemberListRequest { linearizable: true };
        let members = self.client.member_list(request).await?.members;
        let on = self.bring_in_line(&members);
        let learner = members.iter().find(|member| member.is_learner);
        if let Some(learner) = learner {
            let id = learner.id;
            let started = !learner.name.is_empty();
            if random.chance(IMPATIENCE) {
                return self.remove(id).await;
            }
            return match started {
                true => {
                    let request = pb::MemberPromoteRequest { id };
                    self.client.member_promote(request).await.map(drop)
                }
                false => Ok(()),
            };
        }
        let voters: Vec<u64> = members.iter().map(|member| member.id).collect();
        let free: Vec<u32> = self
            .machines
            .machines()
            .into_iter()
            .filter(|machine| !on.contains(machine) && !self.machines.is_up(*machine))
            .collect();
        let shrink =
            voters.len() > VOTERS_MIN && (voters.len() >= VOTERS_MAX || random.chance(0.7));
        if shrink {
            return self.remove(voters[pick(random, voters.len())]).await;
        }
        match free.is_empty() {
            true => Ok(()),
            false => {
                let request = pb::MemberAddRequest {
                    peer_ur_ls: vec![peer_url_of(free[pick(random, free.len())])],
                    is_learner: true,
                };
                self.client.member_add(request).await.map(drop)
            }
        }
    }

    async fn remove(&mut self, id: u64) -> Result<(), CallError> {
        let request = pb::MemberRemoveRequest { id };
        self.client.member_remove(request).await.map(drop)
    }

    /// Starts members that have not been, and tells the cluster's keeper who is none any more.
    /// Returns the machines of members.
    fn bring_in_line(&mut self, members: &[pb::Member]) -> BTreeSet<u32> {
        let mut on = BTreeMap::new();
        for member in members {
            let url = member.peer_ur_ls.first();
            if let Some(machine) = url.and_then(|url| self.machines.machine_at(url)) {
                on.insert(machine, member.id);
            }
        }
        let named: Vec<(String, String)> = on
            .keys()
            .map(|machine| (format!("m{machine}"), peer_url_of(*machine)))
            .collect();
        for (machine, known) in self.ids.clone() {
            if on.get(&machine) != Some(&known) {
                self.machines.removed(machine);
                self.ids.remove(&machine);
            }
        }
        for (machine, id) in &on {
            let unstarted = members.iter().any(|m| m.id == *id && m.name.is_empty());
            let again = unstarted && self.machines.gave_up(*machine);
            if self.ids.contains_key(machine) && !again {
                continue;
            }
            if !unstarted {
                self.ids.insert(*machine, *id);
            } else if !self.machines.is_up(*machine) {
                match self.machines.join(*machine, &named, &self.server) {
                    Ok(()) => _ = self.ids.insert(*machine, *id),
                    Err(error) => tracing::error!(%error, "a new member has impossible flags"),
                }
            }
        }
        on.into_keys().collect()
    }
}

fn pick(random: &mut Stream, length: usize) -> usize {
    random.range(0..length as u64) as usize
}
