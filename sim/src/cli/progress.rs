//! Progress on stderr and the wall clock: what a user sees of real time. Nothing here reaches a
//! simulation or a result that is compared.
#![allow(clippy::disallowed_methods)] // The user's clock, outside every simulation.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Measures wall time.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts at zero.
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A bar on stderr, or nothing.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar for `total` runs (`None`: nobody knows); hidden unless `visible`.
    pub fn new(total: Option<u64>, visible: bool) -> Progress {
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        bar.set_draw_target(match visible {
            true => ProgressDrawTarget::stderr_with_hz(8),
            false => ProgressDrawTarget::hidden(),
        });
        let template = match total {
            Some(_) => "{msg:>12} [{bar:30}] {pos}/{len} runs, {elapsed}, {eta} left",
            None => "{msg:>12} {pos} runs, {elapsed}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        bar.set_style(style.progress_chars("=> "));
        bar.set_message("Running");
        if visible {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Progress(bar)
    }

    /// One more run is done, `failed` so far.
    pub fn done(&self, failed: u64) {
        if failed > 0 {
            self.0.set_message(format!("{failed} failed"));
        }
        self.0.inc(1);
    }

    /// Does something to the terminal with the bar out of the way.
    pub fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.suspend(work)
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}
