//! Clients that wait for their request to be applied on this member.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::{RequestError, Response};

/// What the apply task found out.
pub type Outcome = Result<Response, RequestError>;

/// The waiting requests by ID. Its size is bounded by the requests in progress, each of which has
/// a time-out.
#[derive(Default)]
pub struct Waiters {
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<Outcome>>>,
}

impl Waiters {
    /// Registers request `id`, which is unique in this process; dropping the waiter ends it.
    pub fn register(self: &Arc<Self>, id: u64) -> Waiter {
        let (sender, outcome) = oneshot::channel();
        self.lock().insert(id, sender);
        Waiter {
            id,
            outcome,
            waiters: self.clone(),
        }
    }

    /// Whether somebody waits for request `id`.
    pub fn has(&self, id: u64) -> bool {
        self.lock().contains_key(&id)
    }

    /// Answers request `id`, if somebody still waits for it.
    pub fn complete(&self, id: u64, outcome: Outcome) {
        if let Some(sender) = self.lock().remove(&id) {
            // The client may have gone in this very moment.
            let _ = sender.send(outcome);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Outcome>>> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Resolves to the outcome, or to `None` when the member stops first.
pub struct Waiter {
    id: u64,
    outcome: oneshot::Receiver<Outcome>,
    waiters: Arc<Waiters>,
}

impl Future for Waiter {
    type Output = Option<Outcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Outcome>> {
        Pin::new(&mut self.outcome).poll(context).map(Result::ok)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiters.lock().remove(&self.id);
    }
}
