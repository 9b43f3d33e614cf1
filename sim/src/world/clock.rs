//! A node's clocks: the run's true time, seen through an offset and a drift.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use super::lock;
use super::timeline::{Alarm, Timeline, nanos};

/// The wall clock of a node without offset at the start of a run: 2030-01-01T00:00:00Z.
const WALL_CLOCK_ORIGIN: Duration = Duration::from_secs(1_893_456_000);

/// The strongest drift, in parts per million: half or one and a half times the true speed.
pub const DRIFT_MAX_PPM: i64 = 500_000;

/// The shortest sleep. A loop around a sleep of zero must not stop time.
const SLEEP_MIN_NS: u64 = 1_000;

/// How a node's clocks start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockConfig {
    /// What the monotonic clock shows at the start of the run.
    pub offset: Duration,
    /// How much faster than true time the clocks run, in parts per million (negative: slower);
    /// held within ±[`DRIFT_MAX_PPM`].
    pub drift_ppm: i64,
    /// How far the wall clock is ahead of true time, in milliseconds (negative: behind).
    pub wall_offset_ms: i64,
}

/// A node's clocks. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Clock {
    timeline: Timeline,
    state: Arc<Mutex<State>>,
}

struct State {
    offset: Duration,
    wall_offset_ms: i64,
    drift_ppm: i64,
    /// When the drift last changed: true time, and local time since the start.
    since_true_ns: u64,
    since_local_ns: u64,
}

impl State {
    /// Local time since the start of the run.
    fn local_ns(&self, true_ns: u64) -> u64 {
        let passed = true_ns - self.since_true_ns;
        if self.drift_ppm == 0 {
            return self.since_local_ns + passed;
        }
        // Asked for all the time, and wide divisions are slow: only what is long needs one.
        let gained = i64::try_from(passed).ok();
        let gained = gained.and_then(|passed| passed.checked_mul(self.drift_ppm));
        let gained = gained.map_or_else(
            || (i128::from(passed) * i128::from(self.drift_ppm) / 1_000_000) as i64,
            |product| product / 1_000_000,
        );
        (self.since_local_ns + passed).saturating_add_signed(gained)
    }

    /// The true time that passes while `local_ns` pass here, rounded up.
    fn true_span_ns(&self, local_ns: u64) -> u64 {
        if self.drift_ppm == 0 {
            return local_ns.saturating_add(1).min(u64::MAX / 2);
        }
        let rate = (1_000_000 + self.drift_ppm) as u128;
        let span = (u128::from(local_ns) * 1_000_000).div_ceil(rate) + 1;
        u64::try_from(span).unwrap_or(u64::MAX / 2)
    }
}

impl Clock {
    pub(crate) fn new(config: ClockConfig, timeline: Timeline) -> Clock {
        let state = State {
            offset: config.offset,
            wall_offset_ms: config.wall_offset_ms,
            drift_ppm: config.drift_ppm.clamp(-DRIFT_MAX_PPM, DRIFT_MAX_PPM),
            since_true_ns: 0,
            since_local_ns: 0,
        };
        Clock {
            timeline,
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn local_ns(&self) -> u64 {
        lock(&self.state).local_ns(self.timeline.now_ns())
    }

    /// The monotonic clock.
    pub(crate) fn now(&self) -> Duration {
        let now_ns = self.timeline.now_ns();
        let state = lock(&self.state);
        state.offset + Duration::from_nanos(state.local_ns(now_ns))
    }

    /// The wall clock, since the Unix epoch.
    pub(crate) fn wall_clock(&self) -> Duration {
        let offset_ms = lock(&self.state).wall_offset_ms;
        let ahead = Duration::from_millis(offset_ms.unsigned_abs());
        let straight = WALL_CLOCK_ORIGIN + Duration::from_nanos(self.local_ns());
        match offset_ms < 0 {
            true => straight.saturating_sub(ahead),
            false => straight.saturating_add(ahead),
        }
    }

    /// From now on the clocks run `drift_ppm` too fast. They do not jump. Sleeps under way may end
    /// late (never early) by what the change makes of them.
    pub(crate) fn set_drift(&self, drift_ppm: i64) {
        let now_ns = self.timeline.now_ns();
        let mut state = lock(&self.state);
        state.since_local_ns = state.local_ns(now_ns);
        state.since_true_ns = now_ns;
        state.drift_ppm = drift_ppm.clamp(-DRIFT_MAX_PPM, DRIFT_MAX_PPM);
    }

    /// The wall clock jumps.
    pub(crate) fn step_wall_clock(&self, by_ms: i64) {
        let mut state = lock(&self.state);
        state.wall_offset_ms = state.wall_offset_ms.saturating_add(by_ms);
    }

    /// Completes once `duration` (at least a microsecond) has passed on this clock.
    pub(crate) fn sleep(&self, duration: Duration) -> LocalSleep {
        let span_ns = nanos(duration).max(SLEEP_MIN_NS);
        let until_ns = self.local_ns().saturating_add(span_ns);
        let true_ns = lock(&self.state).true_span_ns(span_ns);
        let alarm = self
            .timeline
            .sleep_until(self.timeline.now_ns().saturating_add(true_ns));
        LocalSleep {
            clock: self.clone(),
            until_ns,
            alarm,
        }
    }
}

/// A sleep on a node's clock.
pub(crate) struct LocalSleep {
    clock: Clock,
    until_ns: u64,
    alarm: Alarm,
}

impl Future for LocalSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if Pin::new(&mut self.alarm).poll(context).is_pending() {
                return Poll::Pending;
            }
            let left_ns = self.until_ns.saturating_sub(self.clock.local_ns());
            if left_ns == 0 {
                return Poll::Ready(());
            }
            // The clock was slowed down meanwhile.
            let true_ns = lock(&self.clock.state).true_span_ns(left_ns);
            let at_ns = self.clock.timeline.now_ns().saturating_add(true_ns);
            self.alarm.postpone(at_ns);
        }
    }
}
