//! A sleep that may sit in a busy future.
//!
//! A host's sleep may cost a new timer each time it is polled (the simulated host's does, and never
//! takes one back). [`QuietSleep`] polls the sleep it wraps once to arm it and then only when it has
//! called back, however often the future around it is polled.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

use super::BoxFuture;

/// Wraps a [`BoxFuture`] so that polling it while it is pending is nearly free.
pub struct QuietSleep {
    /// Taken out when it has completed. The mutex is never contended: it makes the type `Sync`.
    sleep: Mutex<Option<BoxFuture<()>>>,
    alarm: Arc<Alarm>,
}

/// What the wrapped sleep wakes.
struct Alarm {
    rung: AtomicBool,
    waiter: AtomicWaker,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.waiter.wake();
    }
}

impl QuietSleep {
    /// Wraps `sleep`, usually what [`super::Host::sleep`] returned.
    pub fn new(sleep: BoxFuture<()>) -> QuietSleep {
        QuietSleep {
            sleep: Mutex::new(Some(sleep)),
            alarm: Arc::new(Alarm {
                rung: AtomicBool::new(true),
                waiter: AtomicWaker::new(),
            }),
        }
    }
}

impl Future for QuietSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let slot = this.sleep.get_mut().unwrap_or_else(|e| e.into_inner());
        let Some(sleep) = slot else {
            return Poll::Ready(());
        };
        // Registered before the flag is read: a ring in between is either seen or wakes us.
        this.alarm.waiter.register(cx.waker());
        if !this.alarm.rung.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        let waker = Waker::from(this.alarm.clone());
        let polled = sleep.as_mut().poll(&mut Context::from_waker(&waker));
        if polled.is_ready() {
            *slot = None;
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::sync::atomic::AtomicUsize;

    use futures::task::noop_waker;
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_pending_sleep_is_polled_once() {
        let polls = Arc::new(AtomicUsize::new(0));
        let (wake_up, woken) = oneshot::channel::<()>();
        let counted = {
            let polls = polls.clone();
            let mut woken = Box::pin(woken);
            std::future::poll_fn(move |cx| {
                polls.fetch_add(1, Ordering::SeqCst);
                woken.as_mut().poll(cx).map(|_| ())
            })
        };
        let mut sleep = QuietSleep::new(Box::pin(counted));
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        for _ in 0..10 {
            assert!(Pin::new(&mut sleep).poll(&mut cx).is_pending());
        }
        assert_eq!(polls.load(Ordering::SeqCst), 1);

        wake_up.send(()).unwrap();
        assert!(Pin::new(&mut sleep).poll(&mut cx).is_ready());
        assert_eq!(polls.load(Ordering::SeqCst), 2);
        assert!(Pin::new(&mut sleep).poll(&mut cx).is_ready());
        assert_eq!(polls.load(Ordering::SeqCst), 2);
    }
}
