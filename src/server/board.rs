//! Where the apply task shows its newest state, and where reads wait for one.
//!
//! tokio's `watch` would do, but it wakes those who wait in an order drawn from a generator that is
//! seeded by a counter of the process: two runs of one seed in one process would differ. Here they
//! are woken in the order in which they came.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

use super::Published;

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
