//! What this member has counted since its start, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of the cluster's and the store's upkeep.
#[derive(Debug, Default)]
pub struct Counters {
    promotions: [AtomicU64; 2],
    defragmentations: AtomicU64,
    defragmenting: AtomicU64,
    leader_moves: AtomicU64,
}

impl Counters {
    /// Learners promoted by requests to this member.
    pub fn promotions_done(&self) -> u64 {
        self.promotions[1].load(Ordering::Relaxed)
    }

    /// Promotions that this member was asked for and that failed.
    pub fn promotions_failed(&self) -> u64 {
        self.promotions[0].load(Ordering::Relaxed)
    }

    /// Defragmentations that succeeded.
    pub fn defragmentations(&self) -> u64 {
        self.defragmentations.load(Ordering::Relaxed)
    }

    /// Defragmentations in progress.
    pub fn defragmenting(&self) -> u64 {
        self.defragmenting.load(Ordering::Relaxed)
    }

    /// Times this member gave its leadership to another on request.
    pub fn leader_moves(&self) -> u64 {
        self.leader_moves.load(Ordering::Relaxed)
    }

    pub(super) fn count_promotion(&self, done: bool) {
        self.promotions[usize::from(done)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_leader_move(&self) {
        self.leader_moves.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn begin_defragmentation(&self) {
        self.defragmenting.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end_defragmentation(&self, done: bool) {
        self.defragmenting.fetch_sub(1, Ordering::Relaxed);
        self.defragmentations
            .fetch_add(u64::from(done), Ordering::Relaxed);
    }
}
