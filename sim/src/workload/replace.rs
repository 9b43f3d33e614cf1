//! The `replace` workload: an operator who does what a member that refuses its damaged disk asks for
//! (`vetcd::storage::REPLACE`): removes it, adds it, and starts it with an empty data directory.
//!
//! Like the operator of the `membership` workload he goes by what the cluster says its members are,
//! not by what he believes to have done, so that a request whose outcome he never heard needs no
//! special care. What he does to a machine is done only when its member has refused to start: one that
//! crashed comes back by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vetcd::api::proto::etcdserverpb as pb;
use vetcd::client::{CallError, Client};
use vetcd::host::Host;

use crate::cluster::{Cluster, peer_url_of};
use crate::scenario::ReplaceWorkload;

/// Runs until it is aborted. `server` are the flags that the members have.
pub async fn replace(
    host: Arc<dyn Host>,
    workload: ReplaceWorkload,
    server: BTreeMap<String, String>,
    machines: Cluster,
    client: Client,
) {
    let mut operator = Operator {
        server,
        machines,
        client,
        replacing: BTreeSet::new(),
    };
    loop {
        host.sleep(workload.every).await;
        if let Err(error) = operator.round().await {
            tracing::debug!(status = %error.status, "the operator was refused");
            operator.client.next_endpoint();
        }
    }
}

struct Operator {
    server: BTreeMap<String, String>,
    machines: Cluster,
    client: Client,
    /// Machines whose member refused, until another has taken its place.
    replacing: BTreeSet<u32>,
}

impl Operator {
    /// At most one step for each machine.
    async fn round(&mut self) -> Result<(), CallError> {
        let refused = self.machines.refused();
        self.replacing.extend(&refused);
        for machine in self.replacing.clone() {
            let request = pb::MemberListRequest { linearizable: true };
            let members = self.client.member_list(request).await?.members;
            let url = peer_url_of(machine);
            let listed = members
                .iter()
                .find(|member| member.peer_ur_ls.contains(&url));
            match listed {
                Some(member) if refused.contains(&machine) => {
                    let request = pb::MemberRemoveRequest { id: member.id };
                    self.client.member_remove(request).await?;
                }
                None => {
                    self.machines.removed(machine);
                    let request = pb::MemberAddRequest {
                        peer_ur_ls: vec![url],
                        is_learner: false,
                    };
                    self.client.member_add(request).await?;
                }
                Some(member) if member.name.is_empty() => self.start(machine, &members),
                Some(_) => {
                    self.replacing.remove(&machine);
                }
            }
        }
        Ok(())
    }

    /// Starts the member that was added, unless that has been done and it only has not said its name.
    fn start(&mut self, machine: u32, members: &[pb::Member]) {
        if self.machines.is_up(machine) {
            return;
        }
        let urls = members.iter().flat_map(|member| &member.peer_ur_ls);
        let on = urls.filter_map(|url| self.machines.machine_at(url));
        let named: Vec<(String, String)> = on
            .map(|machine| (format!("m{machine}"), peer_url_of(machine)))
            .collect();
        if let Err(error) = self.machines.replace(machine, &named, &self.server) {
            tracing::error!(%error, "a new member has impossible flags");
        }
    }
}
