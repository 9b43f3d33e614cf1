//! Where the apply task shows its newest state, and where reads wait for one.
//!
//! tokio's `watch` would do, but it wakes those who wait in an order drawn from a generator that is
//! seeded by a counter of the process: two runs of one seed in one process would differ. Here they
//! are woken in the order in which they came.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use tokio::sync::oneshot;

use super::{Members, Published};
use crate::raft::Applied;

/// The newest state, and who waits for a newer one. Bounded by the requests in progress.
pub struct Board {
    inner: Mutex<Inner>,
}

struct Inner {
    current: Arc<Published>,
    waiting: Vec<Waiting>,
}

struct Waiting {
    index: u64,
    term: u64,
    answer: oneshot::Sender<Arc<Published>>,
}

impl Board {
    /// Shows a first state.
    pub fn new(current: Published) -> Board {
        Board {
            inner: Mutex::new(Inner {
                current: Arc::new(current),
                waiting: Vec::new(),
            }),
        }
    }

    /// The newest state.
    pub fn latest(&self) -> Arc<Published> {
        self.lock().current.clone()
    }

    /// Shows `state`, and wakes those who waited for it.
    pub fn publish(&self, state: Published) {
        let mut inner = self.lock();
        inner.current = Arc::new(state);
        let current = inner.current.clone();
        for waiting in std::mem::take(&mut inner.waiting) {
            if current.index >= waiting.index && current.term >= waiting.term {
                // Whoever gave up no longer listens.
                let _ = waiting.answer.send(current.clone());
            } else if !waiting.answer.is_closed() {
                inner.waiting.push(waiting);
            }
        }
    }

    /// A state at `index` or later whose last entry is of `term` or later; `None` when none can
    /// come any more.
    pub async fn reached(&self, index: u64, term: u64) -> Option<Arc<Published>> {
        let heard = {
            let mut inner = self.lock();
            if inner.current.index >= index && inner.current.term >= term {
                return Some(inner.current.clone());
            }
            let (answer, heard) = oneshot::channel();
            inner.waiting.push(Waiting {
                index,
                term,
                answer,
            });
            heard
        };
        heard.await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// What raft sees of the state machine, from before its store has been read: until then nothing is
/// applied, so the members are those that stand beside the keys.
pub struct Window {
    at_boot: (u64, Members),
    board: OnceLock<Arc<Board>>,
}

impl Window {
    /// Shows the members as of raft index `index`.
    pub fn new(index: u64, members: Members) -> Window {
        Window {
            at_boot: (index, members),
            board: OnceLock::new(),
        }
    }

    /// The store has been read: from now on `board` is shown.
    pub fn open(&self, board: Arc<Board>) {
        // A store is read once.
        let _ = self.board.set(board);
    }
}

impl Applied for Window {
    fn members(&self) -> (u64, Members) {
        match self.board.get().map(|board| board.latest()) {
            Some(latest) => (latest.index, latest.members.clone()),
            None => self.at_boot.clone(),
        }
    }

    fn latest(&self) -> Option<Arc<Published>> {
        let latest = self.board.get()?.latest();
        (!latest.state.is_partial()).then_some(latest)
    }
}
