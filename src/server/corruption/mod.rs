//! Whether the members hold the same keys and values, as they must: asked before a member serves
//! (`--experimental-initial-corrupt-check`), and by the leader again and again, of the newest
//! revision (`--corrupt-check-time`) and of what finished compactions left
//! (`--experimental-compact-hash-check-enabled`). A difference raises the alarm CORRUPT.
//!
//! **A false alarm is worse than a missed difference**, for it stops every write. So nothing is
//! compared but hashes of one revision at one compaction revision, and whatever a member cannot
//! say (it lags, has compacted the revision, does not answer, or may not show its state yet) counts
//! as nothing said. Two things make that rare without guessing: a member that lags is waited for
//! a moment, and of two members at different compactions the one behind hashes its store as if it
//! were at the other's ([`crate::mvcc::State::hash_as_compacted`]).
//!
//! As in etcd, only keys and values are compared, not leases, users or members; the testbed
//! compares those as well.

mod judge;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::api::proto::etcdserverpb as pb;
use crate::api::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::api::proto::vetcdpb::{
    CompactHashes, CompactHashesCall, HashKv, HashKvAnswer, StoreHash, peer_answer::Answer,
    peer_call::Call,
};
use crate::config::Check;
use crate::host::{Event, Host, HostExt};
use crate::mvcc::{State, StateHash};
use crate::raft::{Calls, PeerAddress, Role};

use super::{Members, RequestError, Server};
use judge::{Finding, Newest, Said};
pub use start::{Inconsistent, check_at_start};

/// How long a member that is asked may take to come to the index it is asked about.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Hashes that other members' questions may have computed at a time.
const HASHING: usize = 1;

/// What a member remembers of its checks.
pub struct Monitor {
    /// The newest compaction that all members are known to have come out of alike.
    compared: AtomicI64,
    hashing: Semaphore,
}

impl Default for Monitor {
    fn default() -> Monitor {
        Monitor {
            compared: AtomicI64::new(0),
            hashing: Semaphore::new(HASHING),
        }
    }
}

/// Compares every so often, while this member leads, for as long as it lives.
pub async fn keep_checking(server: Arc<Server>, check: Check, every: Duration) {
    loop {
        server.host.sleep(every).await;
        if server.raft.status().role != Role::Leader || !server.whole.is_read() {
            continue;
        }
        let found = match check {
            Check::Newest => server.compare_newest().await,
            Check::Compactions => server.compare_compactions().await,
        };
        match found {
            Ok(finding) => server.report(check, finding).await,
            Err(error) => tracing::warn!(?check, %error, "could not compare the members' stores"),
        }
    }
}

/// The hash of `state`, computed aside; `None` where there is none to compare.
async fn hash(
    host: &Arc<dyn Host>,
    state: State,
    revision: i64,
    compact_revision: i64,
) -> Option<StateHash> {
    let hashing = host.run_blocking(move || state.hash_as_compacted(revision, compact_revision));
    hashing.await?.ok()
}

/// Asks the other members, all at once; who does not answer within `timeout` is left out.
async fn ask_all(
    host: &Arc<dyn Host>,
    calls: &Arc<Calls>,
    (members, own): (&Members, u64),
    call: Call,
    timeout: Duration,
) -> Vec<(u64, Answer)> {
    let others = members.iter().filter(|member| member.id != own);
    let asking = others.map(|member| {
        let asking = calls.call(PeerAddress::of(member), call);
        async move { Some((member.id, host.timeout(timeout, asking).await??)) }
    });
    let answers = futures::future::join_all(asking).await;
    answers.into_iter().flatten().collect()
}

fn to_wire(hash: &StateHash) -> StoreHash {
    StoreHash {
        hash: hash.hash,
        revision: hash.revision,
        compact_revision: hash.compact_revision,
    }
}

fn from_wire(hash: &StoreHash) -> StateHash {
    StateHash {
        hash: hash.hash,
        revision: hash.revision,
        compact_revision: hash.compact_revision,
    }
}

impl Server {
    /// Answers the leader's, or a starting member's, question; `None` when it cannot.
    pub(super) async fn answer_check(&self, call: &Call) -> Option<Answer> {
        match call {
            Call::HashKv(asked) => self.answer_hash(asked).await.map(Answer::HashKv),
            Call::CompactHashes(_) => {
                let trusted = self.host.timeout(CATCH_UP, self.reached(0)).await??;
                let hashes = trusted.state.compact_hashes().map(to_wire).collect();
                Some(Answer::CompactHashes(CompactHashes { hashes }))
            }
            _ => None,
        }
    }

    async fn answer_hash(&self, asked: &HashKv) -> Option<HashKvAnswer> {
        let reaching = async {
            self.whole.read().await.then_some(())?;
            self.reached(asked.index).await
        };
        let published = self.host.timeout(CATCH_UP, reaching).await??;
        let state = &published.state;
        let _turn = self.corruption.hashing.acquire().await.ok()?;
        let hash = hash(
            &self.host,
            state.clone(),
            asked.revision,
            asked.compact_revision,
        );
        Some(HashKvAnswer {
            revision: state.revision(),
            compact_revision: state.compact_revision(),
            hash: hash.await.as_ref().map(to_wire),
        })
    }

    /// Compares the newest revision of all members.
    async fn compare_newest(self: &Arc<Self>) -> Result<Finding, RequestError> {
        let before = self.linearizable().await?;
        let state = &before.state;
        let (revision, compacted) = (state.revision(), state.compact_revision());
        let call = Call::HashKv(HashKv {
            index: before.index,
            revision,
            compact_revision: compacted,
        });
        let members = (&before.members, self.identity.member_id);
        let answers = ask_all(&self.host, &self.calls, members, call, self.timeout).await;
        // Whatever a member has applied was committed before this, so this state has it too.
        let after = self.linearizable().await?;
        let mut newest = Newest {
            own: self.identity.member_id,
            members: before.members.iter().count(),
            revision: after.state.revision(),
            compact_revision: after.state.compact_revision(),
            said: Vec::new(),
            own_hashes: Vec::new(),
        };
        for (member, answer) in answers {
            let Answer::HashKv(answer) = answer else {
                continue;
            };
            let their = answer.hash.as_ref().map(from_wire);
            let their = their.filter(|hash| hash.revision == revision);
            newest.said.push(Said {
                member,
                revision: answer.revision,
                compact_revision: answer.compact_revision,
                hash: their,
            });
        }
        let mut wanted: Vec<i64> = newest.said.iter().filter_map(Said::compared_at).collect();
        wanted.sort_unstable();
        wanted.dedup();
        for compact_revision in wanted {
            let own = hash(&self.host, state.clone(), revision, compact_revision).await;
            newest.own_hashes.extend(own);
        }
        Ok(judge::newest(revision, &newest))
    }

    /// Compares what the members had after the newest compaction that all have finished.
    async fn compare_compactions(self: &Arc<Self>) -> Result<Finding, RequestError> {
        let published = self.linearizable().await?;
        let compared = self.corruption.compared.load(Ordering::Relaxed);
        let own: Vec<StateHash> = published
            .state
            .compact_hashes()
            .filter(|hash| hash.revision > compared)
            .copied()
            .collect();
        if own.is_empty() {
            return Ok(Finding::default());
        }
        let members = (&published.members, self.identity.member_id);
        let call = Call::CompactHashes(CompactHashesCall {});
        let answers = ask_all(&self.host, &self.calls, members, call, self.timeout).await;
        let mut said = Vec::new();
        for (member, answer) in answers {
            if let Answer::CompactHashes(answer) = answer {
                said.push((member, answer.hashes.iter().map(from_wire).collect()));
            }
        }
        let count = published.members.iter().count();
        Ok(judge::compactions(members.1, count, &own, &said))
    }

    async fn report(&self, check: Check, finding: Finding) {
        let Finding {
            revision,
            complete,
            corrupt,
        } = finding;
        let compaction = check == Check::Compactions;
        if complete && corrupt.is_empty() {
            if compaction {
                let compared = &self.corruption.compared;
                compared.fetch_max(revision, Ordering::Relaxed);
            }
            let event = Event::StoresCompared {
                revision,
                compaction,
            };
            self.host.observe(event);
            tracing::debug!(?check, revision, "all members hold the same");
        }
        for member in corrupt {
            tracing::error!(
                ?check,
                revision,
                member = format_args!("{member:x}"),
                "a member's store differs from the others'; 0 when it cannot be told whose"
            );
            self.host.observe(Event::CorruptionFound {
                member,
                revision,
                compaction,
            });
            self.raise_corrupt(member).await;
        }
    }

    async fn raise_corrupt(&self, member_id: u64) {
        let alarm = pb::AlarmMember {
            member_id,
            alarm: pb::AlarmType::Corrupt as i32,
        };
        if self.serializable().alarms.to_wire().contains(&alarm) {
            return;
        }
        let raising = self.alarm(pb::AlarmRequest {
            action: AlarmAction::Activate as i32,
            member_id,
            alarm: alarm.alarm,
        });
        if let Err(error) = raising.await {
            tracing::error!(%error, "cannot raise the alarm CORRUPT; the next check tries again");
        }
    }
}
