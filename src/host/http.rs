//! hyper's executor and timer on a host, shared by the serving loop and the client.
//!
//! With these two hyper starts no task and reads no clock of its own, so that the same HTTP code
//! runs in production and in the simulation.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::rt::{Executor, Sleep, Timer};

use super::quiet::QuietSleep;
use super::{Host, Moment};

/// Runs hyper's tasks (one per HTTP/2 stream) on a host.
#[derive(Clone)]
pub struct HostExecutor {
    host: Arc<dyn Host>,
}

impl HostExecutor {
    /// An executor that spawns on `host`.
    pub fn new(host: Arc<dyn Host>) -> HostExecutor {
        HostExecutor { host }
    }
}

impl<F> Executor<F> for HostExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        // Detached: a stream's task ends with its connection.
        drop(self.host.spawn("http-stream", Box::pin(task)));
    }
}

/// Tells hyper the host's time.
///
/// hyper wants `Instant`s, which only the operating system can make. One is taken as an opaque
/// origin and everything else is the host's time since then, so no behaviour depends on it.
#[derive(Clone)]
pub struct HostTimer {
    host: Arc<dyn Host>,
    origin: Instant,
    origin_moment: Moment,
}

impl HostTimer {
    /// A timer on `host`'s monotonic clock.
    #[allow(
        clippy::disallowed_methods,
        reason = "an opaque origin: only differences from it are used, and they are the host's"
    )]
    pub fn new(host: Arc<dyn Host>) -> HostTimer {
        let origin_moment = host.now();
        HostTimer {
            host,
            origin: Instant::now(),
            origin_moment,
        }
    }
}

impl Timer for HostTimer {
    fn now(&self) -> Instant {
        self.origin + self.host.now().since(self.origin_moment)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(QuietSleep::new(self.host.sleep(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }
}

impl Sleep for QuietSleep {}
