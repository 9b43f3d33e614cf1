//! True virtual time and its timers.
//!
//! The clock is madsim's: it stands still while a task runs and jumps to the next timer when none
//! is ready. Two things are ours. Timers are exact to the nanosecond (madsim's own `sleep` rounds
//! up to a millisecond). And a sleeping future owns one timer however often it is polled, which
//! wakes nobody once the future is dropped: madsim pushes a timer per poll and cancels none.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use madsim::time::TimeHandle;

use super::lock;

/// A view of the run's clock; nanoseconds since the start of the run.
#[derive(Clone)]
pub(crate) struct Timeline {
    source: Source,
}

#[derive(Clone)]
enum Source {
    /// The clock of a simulation.
    Running(TimeHandle),
    /// A clock that its owner moves by hand: for a disk outside of any simulation.
    Set(Arc<AtomicU64>),
}

impl Timeline {
    /// The clock of the madsim runtime that the calling thread is in.
    pub(crate) fn current() -> Timeline {
        Timeline {
            source: Source::Running(TimeHandle::current()),
        }
    }

    /// A clock that stands at zero until [`Timeline::set`] moves it.
    pub(crate) fn standing() -> Timeline {
        Timeline {
            source: Source::Set(Arc::default()),
        }
    }

    /// Moves a standing clock.
    ///
    /// # Panics
    /// On the clock of a simulation, which moves by itself.
    pub(crate) fn set(&self, now_ns: u64) {
        match &self.source {
            Source::Set(clock) => clock.store(now_ns, Ordering::Relaxed),
            Source::Running(_) => panic!("a simulation's clock is not set"),
        }
    }

    /// Nanoseconds since the start of the run.
    pub(crate) fn now_ns(&self) -> u64 {
        match &self.source {
            Source::Running(time) => nanos(time.elapsed()),
            Source::Set(clock) => clock.load(Ordering::Relaxed),
        }
    }

    /// Wakes `waker` once, at `at_ns` or right now when that has passed. Cannot be cancelled.
    pub(crate) fn wake_at(&self, at_ns: u64, waker: &Waker) {
        let now_ns = self.now_ns();
        if at_ns <= now_ns {
            waker.wake_by_ref();
            return;
        }
        let Source::Running(time) = &self.source else {
            panic!("nobody waits on a standing clock");
        };
        let now = time.now_instant();
        let mut sleep = time.sleep_until(now);
        Pin::new(&mut sleep).reset(now + Duration::from_nanos(at_ns - now_ns));
        // Polling a pending madsim sleep arms a timer; the sleep itself is not needed any more.
        let poll = Pin::new(&mut sleep).poll(&mut Context::from_waker(waker));
        assert!(
            poll.is_pending(),
            "the clock stands still while a task runs"
        );
    }

    /// Completes at `at_ns`.
    pub(crate) fn sleep_until(&self, at_ns: u64) -> Alarm {
        Alarm {
            timeline: self.clone(),
            at_ns,
            bell: None,
        }
    }
}

/// A duration in nanoseconds, saturating after 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A future that completes at a point in true virtual time.
pub(crate) struct Alarm {
    timeline: Timeline,
    at_ns: u64,
    bell: Option<Arc<Bell>>,
}

impl Alarm {
    /// Moves the alarm to a later time.
    pub(crate) fn postpone(&mut self, at_ns: u64) {
        self.at_ns = self.at_ns.max(at_ns);
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.timeline.now_ns() >= self.at_ns {
            return Poll::Ready(());
        }
        if let Some(bell) = &self.bell {
            let mut ring = lock(&bell.0);
            if let Some(waker) = ring.as_mut() {
                waker.clone_from(context.waker());
                return Poll::Pending;
            }
        }
        // Not armed yet, or rung too early because the alarm was postponed.
        let bell = Arc::new(Bell(Mutex::new(Some(context.waker().clone()))));
        self.timeline
            .wake_at(self.at_ns, &Waker::from(bell.clone()));
        self.bell = Some(bell);
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(bell) = &self.bell {
            drop(lock(&bell.0).take());
        }
    }
}

/// What an armed timer rings: whoever waits now, or nobody.
struct Bell(Mutex<Option<Waker>>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Runs inside madsim's timer lock: wake only, never arm.
        let waker = lock(&self.0).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
