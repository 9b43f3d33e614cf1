//! Finding the events of a watch that is far behind, in the store's records.

use std::sync::Arc;

use super::event::Event;
use super::interest::{Interest, Keys};
use crate::mvcc::{Record, State};

/// About the most bytes of events gathered for one response; a revision is never split.
pub const RESPONSE_BYTES: usize = 512 * 1024;
/// The most records looked at in one go, beside the rest of a revision.
const RECORDS_MAX: usize = 1000;

/// A piece of the past that a watch has to be shown.
#[derive(Debug)]
pub struct Scan {
    /// What the watch wants.
    pub interest: Arc<Interest>,
    /// The first revision to look at.
    pub from: i64,
    /// The last.
    pub upto: i64,
    /// The store, at [`Scan::upto`] or later, nothing at or above [`Scan::from`] compacted.
    pub state: State,
}

impl Scan {
    /// The next events, whole revisions; and where to go on, when the end was not reached.
    pub fn run(&self) -> (Vec<Arc<Event>>, Option<i64>) {
        match &self.interest.keys {
            Keys::One(key) => self.gather(self.state.versions_from(key, self.from)),
            Keys::Range { .. } => self.gather(self.state.records_from(self.from)),
        }
    }

    fn gather<'a>(
        &self,
        records: impl Iterator<Item = &'a Arc<Record>>,
    ) -> (Vec<Arc<Event>>, Option<i64>) {
        let mut events = Vec::new();
        let (mut seen, mut bytes, mut last) = (0, 0, self.from);
        for record in records {
            let revision = record.revision.main;
            if revision > self.upto {
                break;
            }
            if revision != last && (seen >= RECORDS_MAX || bytes >= RESPONSE_BYTES) {
                return (events, Some(revision));
            }
            (seen, last) = (seen + 1, revision);
            if self.interest.wants(record) {
                bytes += record.kv.key.len() + record.kv.value.len();
                events.push(Arc::new(Event::new(record, &self.state)));
            }
        }
        (events, None)
    }
}
