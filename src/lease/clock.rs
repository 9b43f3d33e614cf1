//! When leases expire: known to a leader alone, on its own monotonic clock. Pure but for a lock.
//!
//! What it must never do is end a lease before its promise. Three rules see to that:
//!
//! - A clock belongs to one term. It starts when its member finds itself leader, with every lease's
//!   whole TTL (or what a checkpoint left) and an election timeout more, and it is dropped with the
//!   leadership. Findings name their term and count only as entries of that term.
//! - A lease whose time is up stays expired: renewals no longer reach it, even before its removal
//!   is proposed.
//! - A renewal after a checkpoint needs the checkpoint taken back through the log before it is
//!   promised to anybody, or the next leader would start with less.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::{Lease, Leases};
use crate::host::Moment;

/// The removal of an expired lease that has not happened by then is proposed again.
const PROPOSE_AGAIN: Duration = Duration::from_secs(3);

/// How a long lease's remaining time is saved for the next leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointPolicy {
    /// Whether it is saved at all.
    pub enabled: bool,
    /// The time between two checkpoints of a lease, and the least it must have left for one.
    pub interval: Duration,
}

/// What members have done with leases since they started; for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Leases granted, as applied by this member.
    pub granted: AtomicU64,
    /// Leases removed, by clients or by expiry, as applied by this member.
    pub revoked: AtomicU64,
    /// Renewals promised by this member as leader.
    pub renewed: AtomicU64,
    /// Expired leases removed on this member's finding, as applied by it.
    pub expired: AtomicU64,
}

impl Counters {
    /// Adds one.
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease has its whole TTL again.
    Renewed {
        /// As granted.
        lease: Lease,
        /// A checkpoint of this number has to be taken back first.
        reset: Option<u64>,
    },
    /// Its time is up; it is about to be removed.
    Expired,
    /// There is no such lease.
    Unknown,
    /// The clock does not run for this term.
    NotLeading,
}

/// A lease to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Its ID.
    pub id: i64,
    /// Which grant.
    pub granted_index: u64,
    /// The term in which it was found.
    pub term: u64,
}

/// The deadlines. Shared by the apply task (grants, removals), the service (renewals) and the task
/// that removes what has expired.
#[derive(Debug)]
pub struct Clock {
    /// Added to every TTL when a leader starts.
    extension: Duration,
    checkpoints: CheckpointPolicy,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    term: u64,
    timed: BTreeMap<i64, Timed>,
    /// When to look at each lease for expiry.
    due: BTreeSet<(Moment, i64)>,
    /// When to look at each lease for a checkpoint.
    checkpoints: BTreeSet<(Moment, i64)>,
}

#[derive(Debug)]
struct Timed {
    lease: Lease,
    expires: Moment,
    /// Its place in `due`.
    due: Moment,
    /// Its place in `checkpoints`.
    checkpoint: Option<Moment>,
    /// Counts checkpoints proposed.
    checkpointed: u64,
    /// The newest checkpoint that a renewal has taken back.
    reset: u64,
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(0))
}

impl Clock {
    /// A clock that does not run yet.
    pub fn new(extension: Duration, checkpoints: CheckpointPolicy) -> Clock {
        Clock {
            extension,
            checkpoints,
            running: Mutex::default(),
        }
    }

    /// Makes the clock run for `term`, if it does not yet. `leases` gives the newest published
    /// leases; what is published later comes through [`Clock::granted`] and [`Clock::removed`].
    pub fn lead(&self, term: u64, now: Moment, leases: impl FnOnce() -> Leases) {
        let mut running = self.lock();
        if running.as_ref().is_some_and(|running| running.term >= term) {
            return;
        }
        let mut fresh = Running {
            term,
            timed: BTreeMap::new(),
            due: BTreeSet::new(),
            checkpoints: BTreeSet::new(),
        };
        for lease in leases().iter() {
            let expires = now + seconds(lease.start_ttl()) + self.extension;
            fresh.add(*lease, expires, self.next_checkpoint(now, expires));
        }
        *running = Some(fresh);
    }

    /// Stops the clock: this member does not lead.
    pub fn follow(&self) {
        *self.lock() = None;
    }

    /// A lease was granted, and is published.
    pub fn granted(&self, lease: Lease, now: Moment) {
        if let Some(running) = self.lock().as_mut()
            && !running.timed.contains_key(&lease.id)
        {
            let expires = now + seconds(lease.ttl);
            running.add(lease, expires, self.next_checkpoint(now, expires));
        }
    }

    /// A lease was removed, and that is published.
    pub fn removed(&self, lease: Lease) {
        if let Some(running) = self.lock().as_mut()
            && let Some(timed) = running.timed.get(&lease.id)
            && timed.lease.granted_index == lease.granted_index
        {
            running.remove(lease.id);
        }
    }

    /// Gives a lease its whole TTL again.
    pub fn renew(&self, term: u64, id: i64, now: Moment) -> Renewal {
        let mut running = self.lock();
        let Some(running) = running.as_mut().filter(|running| running.term == term) else {
            return Renewal::NotLeading;
        };
        let Some(timed) = running.timed.get(&id) else {
            return Renewal::Unknown;
        };
        if timed.expires <= now {
            return Renewal::Expired;
        }
        let lease = timed.lease;
        let expires = now + seconds(lease.ttl);
        let checkpoint = self.next_checkpoint(now, expires);
        let reset = (timed.checkpointed > timed.reset).then_some(timed.checkpointed);
        running.schedule(id, expires, expires, checkpoint);
        Renewal::Renewed { lease, reset }
    }

    /// The checkpoint of this number, and all before it, were taken back through the log.
    pub fn reset_done(&self, term: u64, id: i64, checkpoint: u64) {
        if let Some(running) = self.lock().as_mut()
            && running.term == term
            && let Some(timed) = running.timed.get_mut(&id)
        {
            timed.reset = timed.reset.max(checkpoint);
        }
    }

    /// What a lease has left; `None` when the clock does not know it.
    pub fn remaining(&self, term: u64, id: i64, now: Moment) -> Option<Duration> {
        let running = self.lock();
        let running = running.as_ref().filter(|running| running.term == term)?;
        Some(running.timed.get(&id)?.expires.since(now))
    }

    /// Hands the leases whose time is up to `propose`, at most `limit`, those first that expired
    /// first, until it refuses one. They come again after a while unless they are removed.
    pub fn expire(&self, now: Moment, limit: usize, mut propose: impl FnMut(Expired) -> bool) {
        let mut running = self.lock();
        let Some(running) = running.as_mut() else {
            return;
        };
        for _ in 0..limit {
            let Some(&(due, id)) = running.due.first() else {
                return;
            };
            let Some(timed) = running.timed.get(&id).filter(|_| due <= now) else {
                return;
            };
            let expired = Expired {
                id,
                granted_index: timed.lease.granted_index,
                term: running.term,
            };
            let expires = timed.expires;
            if !propose(expired) {
                return;
            }
            running.schedule(id, expires, now + PROPOSE_AGAIN, None);
        }
    }

    /// Hands leases that need a checkpoint, and the seconds each has left, to `propose`, at most
    /// `limit` at once. Called under the clock's lock, so that a renewal that follows is proposed
    /// behind it.
    pub fn checkpoint(
        &self,
        now: Moment,
        limit: usize,
        propose: impl FnOnce(u64, Vec<Lease>) -> bool,
    ) {
        if !self.checkpoints.enabled {
            return;
        }
        let mut running = self.lock();
        let Some(running) = running.as_mut() else {
            return;
        };
        let due = running.checkpoints.iter();
        let due: Vec<i64> = due
            .take_while(|(at, _)| *at <= now)
            .take(limit)
            .map(|(_, id)| *id)
            .collect();
        let mut saved = Vec::with_capacity(due.len());
        for id in due {
            let Some(timed) = running.timed.get_mut(&id) else {
                continue;
            };
            // Rounded up: a checkpoint must never take anything away.
            let left = timed.expires.since(now) + Duration::from_millis(999);
            let left = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
            timed.checkpointed += 1;
            saved.push(Lease {
                remaining_ttl: left.clamp(1, timed.lease.ttl),
                ..timed.lease
            });
            let (expires, due) = (timed.expires, timed.due);
            let next = self.next_checkpoint(now, expires);
            running.schedule(id, expires, due, next);
        }
        if !saved.is_empty() && !propose(running.term, saved) {
            tracing::debug!("a lease checkpoint was not proposed; the next one will be");
        }
    }

    /// When there is next something to do.
    pub fn next_due(&self) -> Option<Moment> {
        let running = self.lock();
        let running = running.as_ref()?;
        let due = running.due.first();
        let checkpoint = running
            .checkpoints
            .first()
            .filter(|_| self.checkpoints.enabled);
        due.into_iter().chain(checkpoint).map(|(at, _)| *at).min()
    }

    fn next_checkpoint(&self, now: Moment, expires: Moment) -> Option<Moment> {
        let at = now + self.checkpoints.interval;
        (self.checkpoints.enabled && at < expires).then_some(at)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Running {
    fn add(&mut self, lease: Lease, expires: Moment, checkpoint: Option<Moment>) {
        let timed = Timed {
            lease,
            expires,
            due: expires,
            checkpoint: None,
            // A lease that an earlier leader checkpointed has one to take back.
            checkpointed: u64::from(lease.remaining_ttl != 0),
            reset: 0,
        };
        self.timed.insert(lease.id, timed);
        self.schedule(lease.id, expires, expires, checkpoint);
    }

    fn schedule(&mut self, id: i64, expires: Moment, due: Moment, checkpoint: Option<Moment>) {
        let Some(timed) = self.timed.get_mut(&id) else {
            return;
        };
        self.due.remove(&(timed.due, id));
        if let Some(at) = timed.checkpoint {
            self.checkpoints.remove(&(at, id));
        }
        timed.expires = expires;
        timed.due = due;
        timed.checkpoint = checkpoint;
        self.due.insert((due, id));
        if let Some(at) = checkpoint {
            self.checkpoints.insert((at, id));
        }
    }

    fn remove(&mut self, id: i64) {
        if let Some(timed) = self.timed.remove(&id) {
            self.due.remove(&(timed.due, id));
            if let Some(at) = timed.checkpoint {
                self.checkpoints.remove(&(at, id));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const EXTENSION: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn clock(enabled: bool) -> Clock {
        Clock::new(
            EXTENSION,
            CheckpointPolicy {
                enabled,
                interval: Duration::from_secs(300),
            },
        )
    }

    fn leases(all: &[(i64, i64)]) -> Leases {
        let mut leases = Leases::default();
        for ((id, ttl), index) in all.iter().zip(2..) {
            leases.grant(*id, *ttl, index).unwrap();
        }
        leases
    }

    fn expired(clock: &Clock, now: Moment) -> Vec<i64> {
        let mut found = Vec::new();
        clock.expire(now, 100, |expired| {
            found.push(expired.id);
            true
        });
        found
    }

    fn renewed(renewal: Renewal) -> bool {
        matches!(renewal, Renewal::Renewed { .. })
    }

    #[test]
    fn a_new_leader_gives_the_whole_ttl_and_an_election_timeout_more() {
        let clock = clock(false);
        clock.lead(3, at(100), || leases(&[(1, 10), (2, 20)]));
        assert_eq!(
            clock.remaining(3, 1, at(100)),
            Some(Duration::from_secs(11))
        );
        assert!(expired(&clock, at(110)).is_empty());
        assert_eq!(expired(&clock, at(111)), [1]);
        assert_eq!(clock.next_due(), Some(at(114)));
        // The same term again changes nothing; a new one starts anew.
        clock.lead(3, at(112), || leases(&[(1, 10)]));
        assert_eq!(clock.remaining(3, 2, at(112)), Some(Duration::from_secs(9)));
        clock.lead(4, at(112), || leases(&[(1, 10)]));
        assert_eq!(
            clock.remaining(4, 1, at(112)),
            Some(Duration::from_secs(11))
        );
        assert_eq!(clock.remaining(4, 2, at(112)), None);
    }

    #[test]
    fn a_clock_serves_only_its_own_term() {
        let clock = clock(false);
        assert_eq!(clock.renew(0, 1, at(0)), Renewal::NotLeading);
        clock.lead(3, at(0), || leases(&[(1, 10)]));
        assert_eq!(clock.renew(2, 1, at(1)), Renewal::NotLeading);
        assert!(renewed(clock.renew(3, 1, at(1))));
        clock.follow();
        assert_eq!(clock.renew(3, 1, at(1)), Renewal::NotLeading);
        assert!(expired(&clock, at(1000)).is_empty());
    }

    #[test]
    fn renewal_puts_expiry_off_until_the_time_is_up_and_never_after() {
        let clock = clock(false);
        clock.lead(3, at(0), Leases::default);
        let lease = *leases(&[(1, 10)]).get(1).unwrap();
        clock.granted(lease, at(0));
        assert!(renewed(clock.renew(3, 1, at(9))));
        assert!(expired(&clock, at(18)).is_empty());
        // Expired from here on, whether or not somebody has looked.
        assert_eq!(clock.renew(3, 1, at(19)), Renewal::Expired);
        assert_eq!(expired(&clock, at(19)), [1]);
        assert_eq!(clock.renew(3, 1, at(19)), Renewal::Expired);
        // The removal got lost: it is proposed again, but not at once.
        assert!(expired(&clock, at(20)).is_empty());
        assert_eq!(expired(&clock, at(22)), [1]);
        clock.removed(lease);
        assert_eq!(clock.renew(3, 1, at(23)), Renewal::Unknown);
        assert!(expired(&clock, at(1000)).is_empty());
    }

    #[test]
    fn the_removal_of_an_earlier_grant_leaves_the_later_one() {
        let clock = clock(false);
        clock.lead(3, at(0), || leases(&[(1, 10)]));
        let earlier = Lease {
            granted_index: 1,
            ..*leases(&[(1, 10)]).get(1).unwrap()
        };
        clock.removed(earlier);
        assert!(renewed(clock.renew(3, 1, at(1))));
    }

    #[test]
    fn removals_are_bounded_and_come_in_the_order_of_expiry() {
        let clock = clock(false);
        clock.lead(3, at(0), || leases(&[(1, 30), (2, 20), (3, 10)]));
        let mut found = Vec::new();
        clock.expire(at(100), 2, |expired| {
            found.push(expired.id);
            true
        });
        assert_eq!(found, [3, 2]);
        assert_eq!(expired(&clock, at(100)), [1]);
        // A refused proposal keeps its place.
        clock.lead(4, at(200), || leases(&[(1, 1)]));
        clock.expire(at(300), 9, |_| false);
        assert_eq!(expired(&clock, at(300)), [1]);
    }

    #[test]
    fn long_leases_are_checkpointed_and_a_renewal_takes_it_back() {
        let clock = clock(true);
        clock.lead(3, at(0), || leases(&[(1, 1000), (2, 200)]));
        let take = |now| {
            let mut saved = Vec::new();
            clock.checkpoint(now, 100, |term, leases| {
                assert_eq!(term, 3);
                saved.extend(leases.iter().map(|lease| (lease.id, lease.remaining_ttl)));
                true
            });
            saved
        };
        assert_eq!(take(at(299)), []);
        assert_eq!(clock.next_due(), Some(at(201)));
        assert_eq!(take(at(300)), [(1, 701)]);
        assert_eq!(take(at(301)), []);
        let Renewal::Renewed {
            reset: Some(checkpoint),
            ..
        } = clock.renew(3, 1, at(301))
        else {
            panic!("the checkpoint must be taken back");
        };
        // Not yet taken back: the next renewal must do it as well.
        assert!(matches!(
            clock.renew(3, 1, at(302)),
            Renewal::Renewed { reset: Some(_), .. }
        ));
        clock.reset_done(3, 1, checkpoint);
        assert!(matches!(
            clock.renew(3, 1, at(303)),
            Renewal::Renewed { reset: None, .. }
        ));
        assert_eq!(take(at(602)), []);
        assert_eq!(take(at(603)), [(1, 700)]);
    }

    #[test]
    fn a_lease_that_another_leader_checkpointed_is_reset_by_its_renewal() {
        let clock = clock(true);
        clock.lead(3, at(0), || {
            let mut leases = leases(&[(1, 1000)]);
            leases.checkpoint(1, 2, 400);
            leases
        });
        assert_eq!(clock.remaining(3, 1, at(0)), Some(Duration::from_secs(401)));
        assert!(matches!(
            clock.renew(3, 1, at(1)),
            Renewal::Renewed { reset: Some(1), .. }
        ));
    }
}
