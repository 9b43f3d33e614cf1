//! What it costs to judge strict serializability: `cargo bench -p vetcd-sim --bench checker`.
//!
//! One table: time, memory beyond the parsed history, and growth against the smallest size of the
//! same shape, where 1.00 is linear. `--quick` leaves out the million, `--only 1000000` all else.

use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use vetcd_sim::check::{KnownOrder, Options, Verdict, strict_serializability};
use vetcd_sim::history::History;

mod generate;

use generate::{Shape, generate};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What one judgement took.
struct Cost {
    seconds: f64,
    bytes: usize,
    verdict: String,
}

/// How long this thread has been on a processor, where the system tells: others that want the same
/// processor do not count then.
#[allow(clippy::disallowed_methods, reason = "the system's own account")]
fn busy_time() -> Option<Duration> {
    let text = std::fs::read("/proc/thread-self/schedstat").ok()?;
    let text = String::from_utf8(text).ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn measure(history: &History, known: Option<&KnownOrder>) -> Cost {
    let options = Options {
        known_order: known,
        ..Options::default()
    };
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let (start, busy) = (Instant::now(), busy_time());
    let verdict = strict_serializability::check(history, &options);
    let took = match (busy, busy_time()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        _ => start.elapsed(),
    };
    Cost {
        seconds: took.as_secs_f64(),
        bytes: ALLOCATOR.peak_usage().saturating_sub(before),
        verdict: match verdict {
            Verdict::Ok(certificate) => format!("ok, {} steps", certificate.statistics.steps),
            verdict => verdict.to_string(),
        },
    }
}

/// The least of several measurements is the one least disturbed; a short one is disturbed more.
fn repeats(operations: u64) -> u64 {
    (2_000_000 / operations).clamp(2, 30)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let only = arguments.iter().position(|argument| argument == "--only");
    let only = only.and_then(|at| arguments.get(at + 1)?.parse::<u64>().ok());
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let sizes = [10_000, 100_000, 1_000_000];
    println!(
        "{:>10} {:>7} {:>7} {:>8} {:>7} {:>8} {:>6} {:>6} {:>6}  verdict",
        "operations", "clients", "unknown", "values", "record", "seconds", "ns/op", "B/op", "growth"
    );
    for (unknown_per_mille, values) in [(0, u64::MAX), (5, u64::MAX), (50, u64::MAX), (50, 5)] {
        for clients in [8, 100, 1000] {
            let mut first = [None; 2];
            for operations in sizes {
                if (quick && operations == 1_000_000) || only.is_some_and(|only| only != operations) {
                    continue;
                }
                let shape = Shape {
                    operations,
                    clients,
                    unknown_per_mille,
                    values,
                };
                let (history, known) = generate(shape);
                for (with, known) in [(0, None), (1, Some(&known))] {
                    if with == 1 && unknown_per_mille == 0 {
                        continue;
                    }
                    let cost = (0..repeats(operations))
                        .map(|_| measure(&history, known))
                        .min_by(|a, b| a.seconds.total_cmp(&b.seconds));
                    let Some(cost) = cost else { continue };
                    let each = cost.seconds / operations as f64;
                    let growth = each / *first[with].get_or_insert(each);
                    println!(
                        "{operations:>10} {clients:>7} {:>5.1} % {:>8} {:>7} {:>8.3} {:>6.0} {:>6} {growth:>6.2}  {}",
                        unknown_per_mille as f64 / 10.0,
                        if values == u64::MAX { "unique".to_owned() } else { values.to_string() },
                        ["without", "with"][with],
                        cost.seconds,
                        each * 1e9,
                        cost.bytes / operations as usize,
                        cost.verdict,
                    );
                }
            }
        }
    }
}
