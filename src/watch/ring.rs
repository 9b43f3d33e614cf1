//! The newest events, for those who are not far behind.
//!
//! A watch that is a little late finds its events here, encoded already and even when a compaction
//! has passed them in the meantime; one that is later reads the store's records. The ring is bounded
//! by number and by memory, whoever reads it or does not.

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::Event;

/// The most events kept.
pub const EVENTS_MAX: usize = 4096;
/// About the most memory kept, in bytes, beside one revision's events.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// The events of all keys from [`Ring::start`] on, in order.
#[derive(Debug)]
pub struct Ring {
    start: i64,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

impl Ring {
    /// An empty ring that holds everything from `start` on.
    pub fn new(start: i64) -> Ring {
        Ring {
            start,
            events: VecDeque::new(),
            bytes: 0,
        }
    }

    /// The first main revision whose events are all here.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// Adds the next event.
    pub fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.weight();
        self.events.push_back(event);
    }

    /// Drops the oldest revisions, whole, until the rest is within the bounds. The newest revision
    /// stays.
    pub fn trim(&mut self) {
        while self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            let (Some(oldest), Some(newest)) = (self.events.front(), self.events.back()) else {
                return;
            };
            let revision = oldest.revision();
            if revision == newest.revision() {
                return;
            }
            while let Some(event) = self.events.pop_front_if(|e| e.revision() == revision) {
                self.bytes -= event.weight();
            }
            self.start = revision + 1;
        }
    }

    /// The events from main revision `revision` on.
    pub fn from(&self, revision: i64) -> impl Iterator<Item = &Arc<Event>> {
        let first = self.events.partition_point(|e| e.revision() < revision);
        self.events.range(first..)
    }
}
