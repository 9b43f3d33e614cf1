//! Building the store's file anew, without the space that compaction has freed, while requests go on;
//! and saying how long that will take.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::apply::Error;
use crate::api::proto::vetcdpb::BackendMeta;
use crate::backend::{self, Backend, Size};
use crate::host::{Host, HostExt, Moment};
use crate::metrics::Metrics;
use crate::mvcc::State;

/// The time left is told again after so long.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// The time left is not told before so much is done: a guess from less is worth nothing.
const TELL_FROM: Duration = Duration::from_millis(100);

/// What the new file is to hold.
pub(super) struct Defragment {
    pub(super) state: State,
    pub(super) meta: BackendMeta,
    pub(super) path: PathBuf,
}

/// The new store and its size; or why the old one is still in use, or nothing is.
pub(super) type Built = Result<(Backend, Option<Size>), backend::Error>;

impl Defragment {
    /// Builds it.
    ///
    /// # Errors
    /// The process is going down.
    pub(super) async fn run(
        self,
        host: &Arc<dyn Host>,
        metrics: &Arc<Metrics>,
    ) -> Result<Built, Error> {
        let Defragment { state, meta, path } = self;
        let records = state.record_count() as u64;
        tracing::info!(records, "the store's file is built anew");
        let (disk, clock, told) = (host.disk(), host.clone(), metrics.clone());
        let building = host.run_blocking(move || {
            let mut forecast = Forecast::new(records, clock.now());
            let built = Backend::replace_telling(disk, &path, &state, &meta, &mut |done| {
                let Some(left) = forecast.left(done, clock.now()) else {
                    return;
                };
                told.upkeep.defragment_left.set(left.as_secs_f64());
                if forecast.is_news(clock.now()) {
                    let seconds = left.as_secs_f64().ceil();
                    tracing::info!(
                        done,
                        records,
                        seconds,
                        "building the store's file; so long to go"
                    );
                }
            });
            told.upkeep.defragment_left.set(0.0);
            let took = clock.now().since(forecast.begun);
            let built = built?;
            tracing::info!(?took, "the store's file is built anew and in use");
            let size = built.size().ok();
            Ok((built, size))
        });
        building.await.ok_or(Error::Interrupted)
    }
}

/// Guesses how long work will go on from how long it took so far.
struct Forecast {
    total: u64,
    begun: Moment,
    told: Option<Moment>,
}

impl Forecast {
    fn new(total: u64, begun: Moment) -> Forecast {
        Forecast {
            total,
            begun,
            told: None,
        }
    }

    /// The time left when so much of the total is done; `None` while that would be a blind guess.
    fn left(&self, done: u64, now: Moment) -> Option<Duration> {
        let took = now.since(self.begun);
        if done == 0 || took < TELL_FROM {
            return None;
        }
        let rest = self.total.saturating_sub(done) as f64 / done as f64;
        Duration::try_from_secs_f64(took.as_secs_f64() * rest).ok()
    }

    /// Whether it is time to tell it; then it is told now.
    fn is_news(&mut self, now: Moment) -> bool {
        let is_due = self.told.is_none_or(|told| now.since(told) >= TELL_EVERY);
        if is_due {
            self.told = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_what_is_done() {
        let begun = Moment::default();
        let after = |seconds: u64| begun + Duration::from_secs(seconds);
        let mut forecast = Forecast::new(100, begun);
        assert_eq!(forecast.left(10, begun), None);
        assert_eq!(forecast.left(0, after(9)), None);
        assert_eq!(forecast.left(10, after(2)), Some(Duration::from_secs(18)));
        assert_eq!(forecast.left(50, after(8)), Some(Duration::from_secs(8)));
        assert_eq!(forecast.left(101, after(9)), Some(Duration::ZERO));
        assert!(forecast.is_news(after(2)));
        assert!(!forecast.is_news(after(6)));
        assert!(forecast.is_news(after(7)));
    }
}
