//! Randomness: one ChaCha stream per purpose, derived from (seed, name).
//!
//! Every consumer asks for a stream of its own by name (`link/m1-m2`, `disk/m3`, `client/7`), so
//! taking one consumer out of a run never shifts what another draws: shrinking depends on it.
//! Draws are a pure function of (seed, name, position) on every machine: the distributions use
//! IEEE-exact operations only, never the platform's `libm`, whose last bit differs between versions.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// A stream of random draws that belongs to one purpose.
#[derive(Clone, Debug)]
pub struct Stream {
    inner: ChaCha8Rng,
}

impl Stream {
    /// The stream for `name` under `seed`: equal arguments, equal draws.
    pub fn new(seed: u64, name: &str) -> Stream {
        let mut state = derive(seed, name);
        let mut key = [0u8; 32];
        for word in key.chunks_exact_mut(8) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            word.copy_from_slice(&finish(state).to_le_bytes());
        }
        Stream {
            inner: ChaCha8Rng::from_seed(key),
        }
    }

    /// A uniform 64-bit integer.
    pub fn next_u64(&mut self) -> u64 {
        self.inner.next_u64()
    }

    /// Fills `buffer` with uniform bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        self.inner.fill_bytes(buffer);
    }

    /// A uniform integer in `range` (half open).
    ///
    /// # Panics
    /// When the range is empty: there is nothing to draw.
    pub fn range(&mut self, range: std::ops::Range<u64>) -> u64 {
        assert!(
            range.start < range.end,
            "cannot draw from the empty range {range:?}"
        );
        let width = range.end - range.start;
        // Multiply-shift; the bias is below 2^-32 for every width a simulation uses.
        let scaled = (u128::from(self.next_u64()) * u128::from(width)) >> 64;
        range.start + scaled as u64
    }

    /// A uniform index below `length`; `None` when there is none.
    pub fn index(&mut self, length: usize) -> Option<usize> {
        (length > 0).then(|| self.range(0..length as u64) as usize)
    }

    /// A uniform float in `[0, 1)`, with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// True with probability `p`. Draws nothing when the answer is certain.
    pub fn chance(&mut self, p: f64) -> bool {
        if p <= 0.0 {
            return false;
        }
        p >= 1.0 || self.unit() < p
    }

    /// A uniform duration in `range`, to the nanosecond.
    pub fn duration(&mut self, range: std::ops::Range<Duration>) -> Duration {
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.range(nanos(range.start)..nanos(range.end)))
    }

    /// An exponentially distributed duration with the given mean (gaps of a Poisson process).
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        let u = 1.0 - self.unit();
        scale(mean, -ln(u))
    }

    /// A standard normal draw, within ±6.
    pub fn normal(&mut self) -> f64 {
        loop {
            let u = 2.0 * self.unit() - 1.0;
            let v = 2.0 * self.unit() - 1.0;
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                return (u * (-2.0 * ln(s) / s).sqrt()).clamp(-6.0, 6.0);
            }
        }
    }

    /// A draw from `distribution`.
    pub fn sample(&mut self, distribution: &Latency) -> Duration {
        if distribution.sigma == 0.0 {
            return distribution.p50;
        }
        scale(distribution.p50, exp(distribution.sigma * self.normal()))
    }

    /// Puts `items` in a uniformly random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.range(0..end as u64 + 1) as usize);
        }
    }

    /// A uniformly chosen element.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        self.index(items.len()).map(|index| &items[index])
    }
}

/// A log-normal distribution of durations, given by its median and its 99th percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    p50: Duration,
    p99: Duration,
    sigma: f64,
}

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;

impl Latency {
    /// Half of the draws are below `p50`, 99 % below `p99`. A `p99` below `p50` counts as `p50`.
    pub fn new(p50: Duration, p99: Duration) -> Latency {
        let p99 = p99.max(p50);
        let sigma = match p50.is_zero() {
            true => 0.0,
            false => ln(p99.as_nanos() as f64 / p50.as_nanos() as f64) / Z99,
        };
        Latency { p50, p99, sigma }
    }

    /// Always the same duration.
    pub fn constant(duration: Duration) -> Latency {
        Latency::new(duration, duration)
    }

    /// The median.
    pub fn p50(&self) -> Duration {
        self.p50
    }

    /// The 99th percentile.
    pub fn p99(&self) -> Duration {
        self.p99
    }
}

/// A 64-bit seed for `name` under `seed`, for components that want an integer.
pub fn derive(seed: u64, name: &str) -> u64 {
    let mut state = finish(seed ^ 0x7665_7463_645f_7369);
    for byte in name.bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        state ^= state >> 29;
    }
    finish(state ^ name.len() as u64)
}

/// A bijective mixer: every input bit reaches every output bit.
fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn scale(base: Duration, factor: f64) -> Duration {
    Duration::from_nanos((base.as_nanos() as f64 * factor) as u64)
}

/// Natural logarithm of a positive normal float, the same on every machine (error below 1e-12).
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut power = s;
    let mut sum = 0.0;
    for term in 0..9 {
        sum += power / (2 * term + 1) as f64;
        power *= square;
    }
    2.0 * sum + exponent as f64 * std::f64::consts::LN_2
}

/// The exponential of `x` in ±700, the same on every machine (relative error below 1e-12).
fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    // Adding 0.5 and truncating towards zero is a floor for what is not negative.
    let shifted = x * std::f64::consts::LOG2_E + 2048.5;
    let power = shifted as i64 - 2048;
    let rest = x - power as f64 * std::f64::consts::LN_2;
    let mut term = 1.0;
    let mut sum = 1.0;
    for step in 1..14 {
        term *= rest / step as f64;
        sum += term;
    }
    sum * f64::from_bits(((power + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_seed_and_name_alone() {
        let mut a = Stream::new(7, "link/m1-m2");
        let mut b = Stream::new(7, "link/m1-m2");
        let first: Vec<u64> = (0..64).map(|_| a.next_u64()).collect();
        // Another consumer in between changes nothing.
        Stream::new(7, "link/m2-m1").next_u64();
        let second: Vec<u64> = (0..64).map(|_| b.next_u64()).collect();
        assert_eq!(first, second);
        assert_ne!(first[0], Stream::new(8, "link/m1-m2").next_u64());
        assert_ne!(first[0], Stream::new(7, "link/m1-m3").next_u64());
    }

    #[test]
    fn names_do_not_collide() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..20 {
            for a in 0..50 {
                for b in 0..10 {
                    assert!(seen.insert(derive(seed, &format!("link/m{a}-m{b}"))));
                }
            }
        }
    }

    #[test]
    fn own_logarithm_and_exponential_are_close_to_the_true_ones() {
        for step in 1..2000 {
            let x = step as f64 * 0.013;
            assert!((ln(x) - x.ln()).abs() < 1e-11, "ln {x}");
            let y = x - 13.0;
            assert!((exp(y) / y.exp() - 1.0).abs() < 1e-11, "exp {y}");
        }
        assert!((ln(1e-16) - 1e-16f64.ln()).abs() < 1e-10);
    }

    #[test]
    fn latencies_have_the_percentiles_asked_for() {
        let latency = Latency::new(Duration::from_micros(500), Duration::from_millis(4));
        let mut stream = Stream::new(1, "test");
        let mut draws: Vec<Duration> = (0..40_000).map(|_| stream.sample(&latency)).collect();
        draws.sort();
        let p50 = draws[20_000].as_micros() as f64;
        let p99 = draws[39_600].as_micros() as f64;
        assert!((p50 / 500.0 - 1.0).abs() < 0.05, "p50 {p50}");
        assert!((p99 / 4000.0 - 1.0).abs() < 0.15, "p99 {p99}");
        let constant = Latency::constant(Duration::from_millis(3));
        assert_eq!(stream.sample(&constant), Duration::from_millis(3));
        assert_eq!(
            stream.sample(&Latency::constant(Duration::ZERO)),
            Duration::ZERO
        );
    }

    #[test]
    fn helpers_stay_in_bounds() {
        let mut stream = Stream::new(3, "bounds");
        let mut total = Duration::ZERO;
        for _ in 0..20_000 {
            assert!((10..13).contains(&stream.range(10..13)));
            total += stream.exponential(Duration::from_millis(10));
        }
        let mean = total / 20_000;
        assert!(mean > Duration::from_micros(9500) && mean < Duration::from_micros(10_500));
        assert!(!stream.chance(0.0));
        assert!(stream.chance(1.0));
        let hits = (0..20_000).filter(|_| stream.chance(0.25)).count();
        assert!((4700..5300).contains(&hits), "{hits}");
        let mut items: Vec<u32> = (0..100).collect();
        stream.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        assert_eq!(stream.pick::<u8>(&[]), None);
    }
}
