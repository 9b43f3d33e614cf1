//! The cluster's and the store's upkeep: alarms, quota, defragmentation, moving the leader,
//! downgrades.

use tokio::sync::oneshot;

use crate::api::proto::etcdserverpb as pb;
use crate::api::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::api::proto::vetcdpb::log_request::Request;
use crate::host::HostExt;
use crate::mvcc::KeyRanges;
use crate::raft::Role;

use super::alarms;
use super::refusal::Refusal;
use super::{RequestError, Response, Server};

/// Something to be done by the apply task, which alone owns the backend.
pub(super) enum Order {
    /// Build the store's file anew. The answer says what went wrong, if anything did.
    Defragment(oneshot::Sender<Result<(), String>>),
    /// Read these keys, in a store that has not been read as a whole. The answer comes when a state
    /// that knows them is published.
    Learn(KeyRanges, oneshot::Sender<()>),
}

/// Something in progress: counted until it ends or whoever asked for it goes away.
struct Running<'a>(&'a prometheus::IntGauge);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Server {
    /// Lists, raises or disarms alarms.
    ///
    /// # Errors
    /// An unclear outcome.
    pub async fn alarm(
        &self,
        request: pb::AlarmRequest,
    ) -> Result<Vec<pb::AlarmMember>, RequestError> {
        if request.action() == AlarmAction::Get {
            let published = self.linearizable().await?;
            return Ok(published.alarms.of_kind(request.alarm()));
        }
        match self.propose_own(Request::Alarm(request)).await? {
            Response::Alarms(alarms) => Ok(alarms),
            _ => Err(RequestError::Stopped),
        }
    }

    /// Refuses a request that would make the store grow where there is no space for it; raises the alarm
    /// where that is news: beyond the quota. What is refused here has never been in the log.
    ///
    /// # Errors
    /// [`Refusal::NoSpace`]: nothing was proposed.
    pub async fn check_quota(&self, request: &Request) -> Result<(), RequestError> {
        let cost = alarms::cost(request);
        if cost == 0 {
            return Ok(());
        }
        if self.is_out_of_space() {
            return Err(Refusal::NoSpace.into());
        }
        if self
            .quota
            .is_none_or(|quota| self.sizes.in_use() + cost < quota)
        {
            return Ok(());
        }
        // Whether or not the alarm is raised, this request is refused.
        self.raise_no_space().await;
        Err(Refusal::NoSpace.into())
    }

    /// The most the store may hold (bytes); `None` without a limit.
    pub fn quota(&self) -> Option<u64> {
        self.quota
    }

    /// Builds the store's file anew, without the space that compaction has freed. Requests go on
    /// meanwhile.
    ///
    /// # Errors
    /// What the disk says; the old file is then still in use.
    pub async fn defragment(&self) -> Result<(), DefragmentError> {
        let (answer, heard) = oneshot::channel();
        let metrics = &self.metrics.upkeep;
        let begun = self.host.now();
        metrics.defragmenting.inc();
        let _running = Running(&metrics.defragmenting);
        let done = match self.orders.send(Order::Defragment(answer)).await {
            Ok(()) => heard.await.ok(),
            Err(_) => None,
        };
        if matches!(done, Some(Ok(()))) {
            let seconds = self.host.now().since(begun).as_secs_f64();
            metrics.defragment_seconds.observe(seconds);
        }
        match done {
            Some(result) => result.map_err(DefragmentError::Failed),
            None => Err(DefragmentError::Stopped),
        }
    }

    /// Gives the leadership to member `to`, and waits until it has it.
    ///
    /// # Errors
    /// This member does not lead, `to` cannot lead, or does not in time.
    pub async fn move_leader(&self, to: u64) -> Result<(), Refusal> {
        if self.raft.status().role != Role::Leader {
            return Err(Refusal::NotLeader);
        }
        let members = self.serializable().members.clone();
        if members.get(to).is_none_or(|member| member.is_learner) {
            return Err(Refusal::BadTransferee);
        }
        self.raft.transfer_leadership(to).await;
        let moving = async {
            while self.raft.status().leader != to {
                self.host.sleep(self.tick).await;
            }
        };
        match self.host.timeout(self.timeout, moving).await {
            Some(()) => Ok(()),
            None => Err(Refusal::TransferTimeout),
        }
    }

    /// Answers a request about downgrades: no earlier version could read this version's data, so
    /// there is nothing to downgrade to and never a downgrade to cancel.
    ///
    /// # Errors
    /// Always one.
    pub async fn downgrade(&self, request: &pb::DowngradeRequest) -> Result<(), RequestError> {
        use pb::downgrade_request::DowngradeAction;
        match DowngradeAction::try_from(request.action) {
            Ok(DowngradeAction::Cancel) => {
                self.linearizable().await?;
                Err(Refusal::NoDowngrade.into())
            }
            Ok(DowngradeAction::Validate | DowngradeAction::Enable) => {
                if !is_version(&request.version) {
                    return Err(Refusal::DowngradeFormat.into());
                }
                self.linearizable().await?;
                Err(Refusal::DowngradeTarget.into())
            }
            Err(_) => Err(Refusal::UnknownMethod.into()),
        }
    }
}

/// Why the store's file was not built anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefragmentError {
    /// The disk refused; the old file is still in use.
    #[error("{0}")]
    Failed(String),
    /// The member is stopping.
    #[error("etcdserver: server stopped")]
    Stopped,
}

/// `MAJOR.MINOR` or `MAJOR.MINOR.PATCH`, perhaps with a suffix.
fn is_version(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = core.split('.').collect();
    let number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (2..=3).contains(&parts.len()) && parts.iter().all(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for good in ["3.5", "3.5.0", "3.5.0-rc.1", "10.20.30+x"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", "3", "3.", "a.b", "3.5.0.1", "v3.5", "-3.5"] {
            assert!(!is_version(bad), "{bad}");
        }
    }
}
