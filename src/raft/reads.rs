//! Linearizable reads without a log entry: read index (Raft thesis 6.4).
//!
//! Every request that waits when the raft loop comes around shares one round of heartbeats. A round
//! that is not confirmed within [`RETRY_AFTER`] is asked again under a *new* ID: reusing the ID
//! would let acknowledgements of the old round confirm the new one on a deposed leader (#20418).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::host::Moment;

/// How long a round may take before it is asked again.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// The most requests that may wait at once.
pub const MAX_WAITING: usize = 100_000;

/// Where a waiting request hears the index it has to wait for.
pub type Answer = oneshot::Sender<u64>;

/// The requests that wait for a read index.
pub struct Reads {
    prefix: [u8; 16],
    counter: u64,
    waiting: Vec<Answer>,
    asked: BTreeMap<u64, (Moment, Vec<Answer>)>,
}

impl Reads {
    /// IDs are made unique among members by `member_id` and among lives of a member by `nonce`.
    pub fn new(member_id: u64, nonce: u64) -> Reads {
        let mut prefix = [0; 16];
        prefix[..8].copy_from_slice(&member_id.to_be_bytes());
        prefix[8..].copy_from_slice(&nonce.to_be_bytes());
        Reads {
            prefix,
            counter: 0,
            waiting: Vec::new(),
            asked: BTreeMap::new(),
        }
    }

    /// Adds a request to the next round; drops it when too many wait.
    pub fn add(&mut self, answer: Answer) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push(answer);
        }
    }

    /// Whether a round has to be started.
    pub fn anybody_waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Starts a round for everybody who waits; the context to ask raft with, if there is anybody.
    pub fn start_round(&mut self, now: Moment) -> Option<Vec<u8>> {
        self.waiting.retain(|answer| !answer.is_closed());
        if self.waiting.is_empty() {
            return None;
        }
        self.counter += 1;
        let round = std::mem::take(&mut self.waiting);
        self.asked.insert(self.counter, (now, round));
        let mut context = self.prefix.to_vec();
        context.extend_from_slice(&self.counter.to_be_bytes());
        Some(context)
    }

    /// Answers the round with this context, if it is still wanted.
    pub fn confirm(&mut self, context: &[u8], index: u64) {
        let Some((prefix, counter)) = context.split_first_chunk::<16>() else {
            return;
        };
        let Ok(counter) = counter.try_into().map(u64::from_be_bytes) else {
            return;
        };
        if *prefix != self.prefix {
            return;
        }
        if let Some((_, answers)) = self.asked.remove(&counter) {
            for answer in answers {
                // A request that gave up no longer listens.
                let _ = answer.send(index);
            }
        }
    }

    /// Puts rounds that were asked too long ago back in the queue.
    pub fn retry_overdue(&mut self, now: Moment) {
        while let Some(entry) = self.asked.first_entry() {
            if now.since(entry.get().0) < RETRY_AFTER {
                break;
            }
            let (_, answers) = entry.remove();
            self.waiting.extend(answers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_confirmation_of_an_old_round_answers_nobody() {
        let mut reads = Reads::new(1, 2);
        let (answer, mut heard) = oneshot::channel();
        reads.add(answer);
        let first = reads
            .start_round(Moment::default())
            .expect("somebody waits");
        let later = Moment(RETRY_AFTER);
        reads.retry_overdue(later);
        let second = reads.start_round(later).expect("the request waits again");
        assert_ne!(first, second);
        reads.confirm(&first, 5);
        assert!(heard.try_recv().is_err());
        reads.confirm(&second, 7);
        assert_eq!(heard.try_recv(), Ok(7));
    }

    #[test]
    fn foreign_contexts_are_ignored() {
        let mut reads = Reads::new(1, 2);
        let (answer, mut heard) = oneshot::channel();
        reads.add(answer);
        let context = reads
            .start_round(Moment::default())
            .expect("somebody waits");
        let mut foreign = context.clone();
        foreign[0] ^= 1;
        for context in [&foreign[..], &context[..23], b""] {
            reads.confirm(context, 5);
        }
        assert!(heard.try_recv().is_err());
    }
}
