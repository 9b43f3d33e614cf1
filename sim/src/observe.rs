//! What members say about their insides during a run, and raft's safety properties checked on it.
//!
//! - Election safety: at most one leader in a term (Raft paper, figure 3).
//! - State machine safety: no two members apply different entries at one index (ibid.).
//! - Log matching, as far as it is applied: terms never fall from one index to the next.
//! - Hard state: the term that a member is in never goes back while it runs; nor, over a restart,
//!   behind one that it led: it had asked for votes, so its vote was on its disk.
//! - Apply order: a member applies each index once, in order, except after a restart, when it goes
//!   on right behind what its backend holds.
//!
//! A member's own finding that stores differ counts as a breach, too.
//!
//! The properties are checked at every event, so a violation is found where it happens and not
//! when a client stumbles over it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use vetcd::host::Event;

use crate::history::Removal;

/// One event worth showing on a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// When, in virtual nanoseconds.
    pub at_ns: u64,
    /// The member's number.
    pub member: u32,
    /// What.
    pub event: Event,
}

/// A raft safety property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// When it showed, in virtual nanoseconds.
    pub at_ns: u64,
    /// What was seen.
    pub text: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s: {}", self.at_ns as f64 / 1e9, self.text)
    }
}

/// The most breaches kept: the first ones tell the story.
const MAX_BREACHES: usize = 8;

/// Hears every member; clones listen into the same book.
#[derive(Clone, Default)]
pub struct Observer(Arc<Mutex<Book>>);

/// Voters and learners, by ID.
type Membership = (Vec<u64>, Vec<u64>);

#[derive(Default)]
struct Book {
    timeline: Vec<Happening>,
    /// Who led each term.
    leaders: BTreeMap<u64, u32>,
    /// What was applied at each index first: term, checksum, by whom.
    applied: BTreeMap<u64, (u64, u32, u32)>,
    /// The index each member applied last.
    last: BTreeMap<u32, u64>,
    /// The voters and learners from each change of them on, and who said so first.
    memberships: BTreeMap<u64, (Membership, u32)>,
    /// The term each member was in last, in this life of its process.
    terms: BTreeMap<u32, u64>,
    /// The newest term each member led, which must have been on its disk.
    led: BTreeMap<u32, u64>,
    leading: BTreeSet<u32>,
    started: BTreeSet<u32>,
    elections: u64,
    reached: BTreeSet<&'static str>,
    breaches: Vec<Breach>,
    /// The ends of leases, by ID and grant, as the first member told them.
    removals: BTreeMap<(i64, u64), Removal>,
}

impl Observer {
    /// Takes in what `member` says.
    pub fn hear(&self, at_ns: u64, member: u32, event: Event) {
        let mut book = self.lock();
        if let Event::BecameLeader { term }
        | Event::Campaigned { term }
        | Event::Follows { term, .. } = &event
        {
            book.in_term(at_ns, member, *term);
        }
        match &event {
            Event::Applied {
                index,
                term,
                checksum,
            } => return book.applied(at_ns, member, *index, *term, *checksum),
            Event::LeaseEnded {
                id,
                granted_index,
                expired,
                revision,
            } => {
                let first = book.removals.entry((*id, *granted_index));
                first.or_insert(Removal {
                    id: *id,
                    at: at_ns,
                    expired: *expired,
                    revision: *revision,
                });
                return;
            }
            Event::BecameLeader { term } => book.became_leader(at_ns, member, *term),
            Event::SteppedDown { .. } => {
                book.leading.remove(&member);
                book.reached.insert("leader-stepped-down");
            }
            Event::Started { applied, .. } => {
                book.leading.remove(&member);
                book.terms.remove(&member);
                book.last.insert(member, *applied);
                if !book.started.insert(member) {
                    book.reached.insert("member-restarted");
                }
            }
            Event::SnapshotInstalled { index } => {
                book.last.insert(member, *index);
                book.reached.insert("snapshot-installed");
            }
            Event::TornTailCut { .. } => _ = book.reached.insert("torn-tail-cut"),
            Event::Campaigned { .. } => book.elections += 1,
            Event::Reconfigured {
                index,
                voters,
                learners,
            } => book.reconfigured(at_ns, member, *index, voters, learners),
            Event::StoresCompared { compaction, .. } => {
                book.reached.insert(match compaction {
                    true => "compactions-compared",
                    false => "stores-compared",
                });
                return;
            }
            Event::CorruptionFound {
                member: corrupt,
                revision,
                compaction,
            } => book.corruption(at_ns, member, (*corrupt, *revision), *compaction),
            Event::StoreRead { applied } if *applied > 0 => {
                book.reached.insert("served-unread");
            }
            Event::Removed => _ = book.reached.insert("member-removed"),
            Event::Follows { .. }
            | Event::SnapshotSent { .. }
            | Event::LogCompacted { .. }
            | Event::StoreRead { .. }
            | Event::Rebuilding => {}
        }
        book.timeline.push(Happening {
            at_ns,
            member,
            event,
        });
    }

    /// Forgets what is known of entries behind `index`: a loss that the setting permits has taken
    /// them, and the cluster may write others in their place.
    pub fn permit_loss(&self) {
        let mut book = self.lock();
        book.applied.clear();
        book.memberships.clear();
        book.leaders.clear();
        book.terms.clear();
        book.led.clear();
    }

    /// A member's process has died: it leads no more.
    pub fn died(&self, member: u32) {
        self.lock().leading.remove(&member);
    }

    /// The leader of the newest term, if it still leads.
    pub fn leader(&self) -> Option<u32> {
        let book = self.lock();
        let newest = book.leaders.values().next_back()?;
        book.leading.contains(newest).then_some(*newest)
    }

    /// How many times a member asked for votes.
    pub fn elections(&self) -> u64 {
        self.lock().elections
    }

    /// The names of the events that happened.
    pub fn reached(&self) -> BTreeSet<&'static str> {
        self.lock().reached.clone()
    }

    /// Everything worth a place on the timeline, in order.
    pub fn timeline(&self) -> Vec<Happening> {
        self.lock().timeline.clone()
    }

    /// The ends of leases, in the order in which they were first applied.
    pub fn removals(&self) -> Vec<Removal> {
        let mut removals: Vec<_> = self.lock().removals.values().cloned().collect();
        removals.sort_by_key(|removal| (removal.at, removal.revision, removal.id));
        removals
    }

    /// The safety properties that did not hold.
    pub fn breaches(&self) -> Vec<Breach> {
        self.lock().breaches.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Book {
    fn in_term(&mut self, at_ns: u64, member: u32, term: u64) {
        let before = self.terms.insert(member, term).unwrap_or_default();
        let led = self.led.get(&member).copied().unwrap_or_default();
        if term < before.max(led) {
            let text = format!(
                "member {member} is in term {term}, and {}",
                match before >= led {
                    true => format!("was in term {before} before"),
                    false => format!("led term {led} before its restart"),
                }
            );
            self.breach(at_ns, text);
        }
    }

    fn became_leader(&mut self, at_ns: u64, member: u32, term: u64) {
        self.leading.insert(member);
        self.led.insert(member, term);
        match self.leaders.get(&term) {
            Some(other) if *other != member => {
                let text = format!("members {other} and {member} both lead term {term}");
                self.breach(at_ns, text);
            }
            Some(_) => {}
            None => {
                if self.leaders.values().any(|other| *other != member) {
                    self.reached.insert("leader-changed");
                }
                self.leaders.insert(term, member);
            }
        }
    }

    fn applied(&mut self, at_ns: u64, member: u32, index: u64, term: u64, checksum: u32) {
        if let Some(last) = self.last.insert(member, index)
            && index != last + 1
        {
            let text = format!("member {member} applied index {index} right after {last}");
            self.breach(at_ns, text);
        }
        match self.applied.get(&index) {
            Some((first_term, first_sum, first))
                if (*first_term, *first_sum) != (term, checksum) =>
            {
                let text = format!(
                    "member {member} applied another entry at index {index} (term {term}) than \
                     member {first} had (term {first_term})"
                );
                self.breach(at_ns, text);
            }
            Some(_) => {}
            None => _ = self.applied.insert(index, (term, checksum, member)),
        }
        let before = index
            .checked_sub(1)
            .and_then(|before| self.applied.get(&before));
        if let Some((before, ..)) = before
            && *before > term
        {
            let text = format!(
                "member {member} applied an entry of term {term} at index {index}, behind one of \
                 term {before}"
            );
            self.breach(at_ns, text);
        }
    }

    /// Members must arrive at the same voters at each index, and one voter at a time: then the
    /// quorums before and after a change share a member (Raft thesis, 4.1).
    fn reconfigured(
        &mut self,
        at_ns: u64,
        member: u32,
        index: u64,
        voters: &[u64],
        learners: &[u64],
    ) {
        let now = (voters.to_vec(), learners.to_vec());
        if let Some((first, by)) = self.memberships.get(&index) {
            if *first != now {
                let text = format!(
                    "member {member} has other voters from index {index} on than member {by}"
                );
                self.breach(at_ns, text);
            }
            return;
        }
        let before = self.memberships.range(..index).next_back();
        let before = before.map(|(_, (membership, _))| membership.clone());
        if let Some((earlier, earlier_learners)) = before {
            let changed = |a: &[u64], b: &[u64]| a.iter().filter(|id| !b.contains(id)).count();
            let changes = changed(&earlier, voters) + changed(voters, &earlier);
            if changes > 1 {
                let text = format!("{changes} voters changed at once at index {index}");
                self.breach(at_ns, text);
            }
            let promoted = voters.iter().any(|id| earlier_learners.contains(id));
            if promoted {
                self.reached.insert("member-promoted");
            }
        }
        self.memberships.insert(index, (now, member));
    }

    /// A member that finds a difference is right, or the check is wrong: both are for the report.
    fn corruption(&mut self, at_ns: u64, by: u32, (id, revision): (u64, i64), compaction: bool) {
        self.reached.insert("corruption-found");
        let of = match compaction {
            true => "compactions",
            false => "newest revisions",
        };
        let text = format!(
            "member {by} compared {of} and found that the store of {id:x} differs at revision {revision}"
        );
        self.breach(at_ns, text);
    }

    fn breach(&mut self, at_ns: u64, text: String) {
        if self.breaches.len() < MAX_BREACHES {
            self.breaches.push(Breach { at_ns, text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(index: u64, term: u64, checksum: u32) -> Event {
        Event::Applied {
            index,
            term,
            checksum,
        }
    }

    #[test]
    fn two_leaders_in_a_term_are_a_breach() {
        let observer = Observer::default();
        observer.hear(1, 1, Event::BecameLeader { term: 2 });
        observer.hear(2, 2, Event::BecameLeader { term: 3 });
        assert_eq!(observer.breaches(), []);
        observer.hear(3, 3, Event::BecameLeader { term: 3 });
        assert_eq!(observer.breaches().len(), 1);
    }

    #[test]
    fn terms_never_go_back() {
        let follows = |term| Event::Follows { term, leader: 1 };
        let observer = Observer::default();
        observer.hear(1, 1, Event::BecameLeader { term: 2 });
        observer.hear(2, 1, follows(4));
        // What it only heard of may be forgotten with the process, what it led may not.
        let restart = Event::Started {
            applied: 0,
            replayed: 0,
        };
        observer.hear(3, 1, restart.clone());
        observer.hear(4, 1, follows(3));
        assert_eq!(observer.breaches(), []);
        observer.hear(5, 1, follows(2));
        assert_eq!(observer.breaches().len(), 1);
        observer.hear(6, 1, restart);
        observer.hear(7, 1, follows(1));
        assert_eq!(observer.breaches().len(), 2);
        // A loss that the setting permits may take the vote as well.
        observer.permit_loss();
        observer.hear(8, 1, follows(1));
        assert_eq!(observer.breaches().len(), 2);
    }

    #[test]
    fn terms_of_entries_never_fall() {
        let observer = Observer::default();
        observer.hear(1, 1, applied(2, 3, 7));
        observer.hear(2, 1, applied(3, 3, 8));
        assert_eq!(observer.breaches(), []);
        observer.hear(3, 1, applied(4, 2, 9));
        assert_eq!(observer.breaches().len(), 1);
    }

    fn voters(index: u64, voters: &[u64]) -> Event {
        Event::Reconfigured {
            index,
            voters: voters.to_vec(),
            learners: Vec::new(),
        }
    }

    #[test]
    fn voters_change_alike_everywhere_and_one_at_a_time() {
        let observer = Observer::default();
        observer.hear(1, 1, voters(5, &[1, 2, 3]));
        observer.hear(2, 2, voters(5, &[1, 2, 3]));
        observer.hear(3, 1, voters(7, &[1, 2]));
        observer.hear(4, 1, voters(9, &[1, 2, 4]));
        assert_eq!(observer.breaches(), []);
        observer.hear(5, 2, voters(7, &[1, 3]));
        assert_eq!(observer.breaches().len(), 1);
        observer.hear(6, 1, voters(11, &[1, 2, 5]));
        assert_eq!(observer.breaches().len(), 2);
    }

    #[test]
    fn different_entries_at_one_index_are_a_breach() {
        let observer = Observer::default();
        observer.hear(1, 1, applied(2, 1, 7));
        observer.hear(2, 2, applied(2, 1, 7));
        assert_eq!(observer.breaches(), []);
        observer.hear(3, 3, applied(2, 2, 8));
        assert_eq!(observer.breaches().len(), 1);
    }

    #[test]
    fn a_skipped_or_repeated_index_is_a_breach_and_a_restart_is_none() {
        let observer = Observer::default();
        observer.hear(1, 1, applied(2, 1, 7));
        observer.hear(2, 1, applied(3, 1, 8));
        let restart = Event::Started {
            applied: 2,
            replayed: 1,
        };
        observer.hear(3, 1, restart);
        observer.hear(4, 1, applied(3, 1, 8));
        assert_eq!(observer.breaches(), []);
        observer.hear(5, 1, applied(3, 1, 8));
        observer.hear(6, 1, applied(5, 1, 9));
        assert_eq!(observer.breaches().len(), 2);
    }
}
