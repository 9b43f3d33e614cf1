//! One direction of a link: when a segment handed over now leaves and arrives.

use std::time::Duration;

use super::LinkConfig;
use crate::rng::Stream;
use crate::world::timeline::nanos;

/// Losses in a row after which a segment gets through anyway.
const LOSSES_MAX: u32 = 12;

pub(super) struct Link {
    pub(super) config: LinkConfig,
    pub(super) cut: bool,
    draws: Stream,
    /// When the sender's interface has sent everything it was given.
    busy_until_ns: u64,
}

/// A segment's way over the link.
pub(super) struct Passage {
    /// When its successful transmission leaves the sender.
    pub(super) departs_ns: u64,
    /// When it reaches the receiver's kernel.
    pub(super) arrives_ns: u64,
    /// How often it was lost before.
    pub(super) losses: u32,
}

/// Retransmission time-outs: the first, and the longest.
#[derive(Clone, Copy)]
pub(super) struct Backoff {
    pub(super) min: Duration,
    pub(super) max: Duration,
}

impl Backoff {
    /// The wait before retransmission number `attempt` (from zero).
    fn wait_ns(&self, attempt: u32) -> u64 {
        let doubled = nanos(self.min).saturating_mul(1 << attempt.min(32));
        doubled.clamp(1, nanos(self.max).max(1))
    }

    /// The first retransmission at or after `not_before_ns` of what was lost at `lost_ns`.
    pub(super) fn next_attempt_ns(&self, lost_ns: u64, not_before_ns: u64) -> u64 {
        let mut at_ns = lost_ns;
        let mut attempt = 0;
        while at_ns < not_before_ns || attempt == 0 {
            let wait_ns = self.wait_ns(attempt);
            if wait_ns >= nanos(self.max) && at_ns < not_before_ns {
                // The time-out no longer grows: skip ahead in one step.
                let steps = (not_before_ns - at_ns).div_ceil(wait_ns).max(1);
                return at_ns + steps * wait_ns;
            }
            at_ns += wait_ns;
            attempt += 1;
        }
        at_ns
    }
}

impl Link {
    pub(super) fn new(config: LinkConfig, draws: Stream) -> Link {
        Link {
            config,
            cut: false,
            draws,
            busy_until_ns: 0,
        }
    }

    /// Sends `bytes` at `now_ns`.
    pub(super) fn send(&mut self, now_ns: u64, bytes: usize, backoff: Backoff) -> Passage {
        let departs_ns = self.occupy(now_ns, bytes);
        self.pass(departs_ns, backoff)
    }

    /// Sends `bytes` at `at_ns`, which may lie ahead: nobody else waits for the interface.
    pub(super) fn send_later(&mut self, at_ns: u64, bytes: usize, backoff: Backoff) -> Passage {
        let departs_ns = at_ns.saturating_add(self.transmission_ns(bytes));
        self.pass(departs_ns, backoff)
    }

    fn pass(&mut self, mut departs_ns: u64, backoff: Backoff) -> Passage {
        let mut losses = 0;
        while losses < LOSSES_MAX && self.draws.chance(self.config.loss.min(0.99)) {
            departs_ns += backoff.wait_ns(losses);
            losses += 1;
        }
        let arrives_ns = departs_ns + self.latency_ns();
        Passage {
            departs_ns,
            arrives_ns,
            losses,
        }
    }

    /// Takes the interface for `bytes`; returns when the last of them has left.
    pub(super) fn occupy(&mut self, now_ns: u64, bytes: usize) -> u64 {
        let start_ns = self.busy_until_ns.max(now_ns);
        self.busy_until_ns = start_ns.saturating_add(self.transmission_ns(bytes));
        self.busy_until_ns
    }

    fn transmission_ns(&self, bytes: usize) -> u64 {
        match self.config.bandwidth {
            Some(rate) => (bytes as u64).saturating_mul(1_000_000_000) / rate.max(1),
            None => 0,
        }
    }

    /// The latency of a packet too small to matter otherwise.
    pub(super) fn latency_ns(&mut self) -> u64 {
        nanos(self.draws.sample(&self.config.latency))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Latency;

    #[test]
    fn retransmissions_back_off_and_then_keep_their_pace() {
        let backoff = Backoff {
            min: Duration::from_millis(200),
            max: Duration::from_secs(3),
        };
        let ms = 1_000_000;
        // 200, 600, 1400, 3000, then every three seconds.
        assert_eq!(backoff.next_attempt_ns(0, 0), 200 * ms);
        assert_eq!(backoff.next_attempt_ns(0, 201 * ms), 600 * ms);
        assert_eq!(backoff.next_attempt_ns(0, 1401 * ms), 3000 * ms);
        assert_eq!(backoff.next_attempt_ns(0, 3001 * ms), 6000 * ms);
        assert_eq!(backoff.next_attempt_ns(0, 600_000 * ms), 600_000 * ms);
    }

    #[test]
    fn bandwidth_is_shared_and_loss_delays() {
        let config = LinkConfig {
            latency: Latency::constant(Duration::from_millis(1)),
            loss: 0.0,
            bandwidth: Some(1_000_000),
        };
        let backoff = Backoff {
            min: Duration::from_millis(200),
            max: Duration::from_secs(3),
        };
        let mut link = Link::new(config, Stream::new(1, "link"));
        assert_eq!(link.send(0, 1000, backoff).arrives_ns, 2_000_000);
        assert_eq!(link.send(0, 1000, backoff).arrives_ns, 3_000_000);
        link.config.loss = 1.0;
        let passage = link.send(10_000_000, 0, backoff);
        assert!(passage.losses > 0);
        assert!(passage.departs_ns >= 210_000_000);
    }
}
