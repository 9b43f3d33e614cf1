//! The commit index that waits for the log's next group, and its place in that group.
//!
//! It was acknowledged when it was put off, so it may be lost; but it carries the term and the vote
//! of its time, and so must stand before everything that was queued later. Pure; the
//! [`Writer`](super::Writer) goes by it, and so does the testbed where it enumerates crashes.

use super::{Batch, HardState};
use crate::defect;
use crate::defects::Defects;

/// At most one hard state: a later one takes the place of an earlier one.
#[derive(Clone, Debug, Default)]
pub struct PutOff {
    hard_state: Option<HardState>,
}

impl PutOff {
    /// Puts off a batch that holds nothing but a commit index; the newest counts.
    pub fn put_off(&mut self, batch: &Batch) {
        self.hard_state = batch.hard_state.or(self.hard_state.take());
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.hard_state.is_none()
    }

    /// What waits, with the group that takes it along behind it; an empty `group` when none came in
    /// time. Nothing waits afterwards.
    pub fn with_group(&mut self, mut group: Vec<Batch>, defects: &Defects) -> Vec<Batch> {
        if let Some(hard_state) = self.hard_state.take() {
            let waited = Batch {
                hard_state: Some(hard_state),
                ..Batch::default()
            };
            match defect!(defects, PutOffLast) {
                true => group.push(waited),
                false => group.insert(0, waited),
            }
        }
        group
    }
}
