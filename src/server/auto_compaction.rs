//! `--auto-compaction-mode`: the leader compacts by itself, with etcd's timing.
//!
//! By time: the revision is noted ten times an hour, or ten times a period shorter than that, and
//! the store is compacted every hour, or every such period, at the revision of one period ago; for
//! the first time after one whole period. By revision: every five minutes at so many revisions ago.
//! Every member takes notes, so that one that becomes leader knows the past; only the leader acts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::api::proto::etcdserverpb::CompactionRequest;
use crate::api::proto::vetcdpb::log_request::Request;
use crate::config::Retention;
use crate::host::Moment;
use crate::mvcc;
use crate::raft::Role;

use super::{RequestError, Server};

/// The longest time between two compactions by time.
const PERIOD_MAX: Duration = Duration::from_secs(60 * 60);
/// How often the revision is noted between two of them.
const NOTES: u32 = 10;
/// The time between two compactions by revision.
const REVISION_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Compacts until the task is ended.
pub async fn run(server: Arc<Server>, retention: Retention) {
    let mut schedule = Schedule::new(retention, server.host.now());
    loop {
        schedule.note(server.serializable().state.revision());
        server.host.sleep(schedule.interval()).await;
        if server.raft_status().role != Role::Leader {
            continue;
        }
        let revision = server.serializable().state.revision();
        let Some(revision) = schedule.due(server.host.now(), revision) else {
            continue;
        };
        let request = Request::Compaction(CompactionRequest {
            revision,
            physical: false,
        });
        match server.propose_own(request).await {
            Ok(_) => {
                tracing::info!(revision, "compacted automatically");
                schedule.done(revision, server.host.now());
            }
            // Somebody was faster.
            Err(RequestError::Store(mvcc::Error::Compacted)) => {
                schedule.done(revision, server.host.now());
            }
            Err(error) => tracing::warn!(revision, %error, "automatic compaction failed"),
        }
    }
}

/// When to compact, and at which revision; pure.
#[derive(Debug)]
struct Schedule {
    retention: Retention,
    /// The revisions of the last period, oldest first.
    notes: VecDeque<i64>,
    last_revision: i64,
    last_success: Moment,
    first: bool,
}

impl Schedule {
    fn new(retention: Retention, now: Moment) -> Schedule {
        Schedule {
            retention,
            notes: VecDeque::new(),
            last_revision: 0,
            last_success: now,
            first: true,
        }
    }

    /// The time between two looks.
    fn interval(&self) -> Duration {
        match self.retention {
            Retention::Age(period) => period.min(PERIOD_MAX) / NOTES,
            Retention::Revisions(_) => REVISION_INTERVAL,
        }
    }

    fn note(&mut self, revision: i64) {
        let Retention::Age(period) = self.retention else {
            return;
        };
        let interval = self.interval().as_nanos().max(1);
        // The longest period a flag can give makes some ten million notes; etcd keeps them too.
        let kept = (period.as_nanos() / interval) as usize + 1;
        self.notes.push_back(revision);
        while self.notes.len() > kept {
            self.notes.pop_front();
        }
    }

    /// The revision to compact at now, if it is time.
    fn due(&mut self, now: Moment, current: i64) -> Option<i64> {
        let revision = match self.retention {
            Retention::Revisions(kept) => current.saturating_sub(kept),
            Retention::Age(period) => {
                let wait = match self.first {
                    true => period,
                    false => period.min(PERIOD_MAX),
                };
                if now.since(self.last_success) < wait {
                    return None;
                }
                *self.notes.front()?
            }
        };
        if revision <= 0 || revision == self.last_revision {
            return None;
        }
        self.first = false;
        Some(revision)
    }

    fn done(&mut self, revision: i64, now: Moment) {
        self.last_revision = revision;
        self.last_success = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks for `hours`, one revision a second, and returns when it compacted and at what.
    fn hours(period: Duration, hours: u64) -> Vec<(u64, i64)> {
        let mut schedule = Schedule::new(Retention::Age(period), Moment::default());
        let mut now = Moment::default();
        let mut compacted = Vec::new();
        while now.0 < Duration::from_secs(hours * 3600) {
            schedule.note(now.0.as_secs() as i64);
            now = now + schedule.interval();
            let current = now.0.as_secs() as i64;
            if let Some(revision) = schedule.due(now, current) {
                schedule.done(revision, now);
                compacted.push((now.0.as_secs() / 60, revision / 60));
            }
        }
        compacted
    }

    #[test]
    fn every_hour_the_revision_of_a_period_ago() {
        // Until two looks after 5 h the notes begin with the one taken at 0, which here is nothing
        // to compact at.
        let got = hours(Duration::from_secs(5 * 3600), 8);
        assert_eq!(got, [(312, 6), (372, 66), (432, 126)]);
    }

    #[test]
    fn short_periods_are_kept_whole() {
        let got = hours(Duration::from_secs(600), 1);
        assert_eq!(got, [(12, 1), (22, 11), (32, 21), (42, 31), (52, 41)]);
    }

    #[test]
    fn revisions_are_kept_by_number() {
        let mut schedule = Schedule::new(Retention::Revisions(100), Moment::default());
        let now = Moment::default();
        assert_eq!(schedule.due(now, 100), None);
        assert_eq!(schedule.due(now, 150), Some(50));
        schedule.done(50, now);
        assert_eq!(schedule.due(now, 150), None, "nothing new");
        assert_eq!(schedule.due(now, 151), Some(51));
        assert_eq!(schedule.interval(), Duration::from_secs(300));
    }
}
