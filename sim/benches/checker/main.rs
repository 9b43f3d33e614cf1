//! What it costs to judge strict serializability: `cargo bench -p vetcd-sim --bench checker`.
//!
//! One table: processor time of the one thread, memory beyond the parsed history, and growth against
//! the smallest size of the same shape, where 1.00 is linear. "record" tells whether the store's own
//! record of its revisions was given as evidence. `--quick` leaves out the million, `--only 1000000`
//! all else. With `--porcupine`, and a Go toolchain, Porcupine judges some of the histories too.
//!
//! Every size is measured on a million operations: one history of that length, or a hundred
//! different ones of ten thousand, each judged once and then the next. So all sizes find the history
//! in memory and not in the processor's cache, and none is known to the branch predictor by heart.
//! "again" is what one more judgement of the history judged last costs: of a short one much is in the
//! caches then. What is shown is the median of [`ROUNDS`].
//!
//! Measured on a busy machine of two processors, for 8, 100 and 1000 clients: a million operations
//! take 0.35 to 0.42 s where all outcomes are known, 0.43 to 0.53 s with 0.5 % unknown and 0.7 to 1.4 s
//! with 5 %; growth from ten thousand is 1.0 to 1.2 up to 0.5 % unknown, 1.2 to 1.8 beyond, where
//! choices cost more than reading.

use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use vetcd_sim::check::{KnownOrder, Options, Verdict, strict_serializability};
use vetcd_sim::history::History;

mod generate;
mod porcupine;

use generate::{Shape, generate};
use porcupine::Porcupine;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Operations judged in one measurement, at least.
const ROUND_OPERATIONS: u64 = 1_000_000;
/// How often each is measured.
const ROUNDS: usize = 5;

/// How long Porcupine may try.
const PORCUPINE_SECONDS_MAX: u64 = 20;

/// What one judgement took.
struct Cost {
    seconds: f64,
    bytes: usize,
    verdict: String,
}

/// A history, and the store's own record of its revisions.
type Subject = (History, KnownOrder);

/// How long this thread has been on a processor, where the system tells: others that want the same
/// processor do not count then.
#[allow(clippy::disallowed_methods, reason = "the system's own account")]
fn busy_time() -> Option<Duration> {
    let text = std::fs::read("/proc/thread-self/schedstat").ok()?;
    let text = String::from_utf8(text).ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

/// Judges some histories, each so many times in a row; the cost of one judgement.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn measure(subjects: &[Subject], with_record: bool, times: usize) -> Cost {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let (start, busy) = (Instant::now(), busy_time());
    let mut said = String::new();
    for (history, known) in subjects {
        let options = Options {
            known_order: with_record.then_some(known),
            ..Options::default()
        };
        for _ in 0..times {
            said = match strict_serializability::check(history, &options) {
                Verdict::Ok(certificate) => format!("ok, {} steps", certificate.statistics.steps),
                verdict => verdict.to_string(),
            };
        }
    }
    let took = match (busy, busy_time()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        _ => start.elapsed(),
    };
    Cost {
        seconds: took.as_secs_f64() / (subjects.len() * times) as f64,
        bytes: ALLOCATOR.peak_usage().saturating_sub(before),
        verdict: said,
    }
}

/// The median cost of one judgement.
fn median(subjects: &[Subject], with_record: bool, times: usize) -> Option<Cost> {
    let mut costs: Vec<Cost> = (0..ROUNDS)
        .map(|_| measure(subjects, with_record, times))
        .collect();
    costs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    costs.into_iter().nth(ROUNDS / 2)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--porcupine") {
        side_by_side();
        return;
    }
    let only = arguments.iter().position(|argument| argument == "--only");
    let only = only.and_then(|at| arguments.get(at + 1)?.parse::<u64>().ok());
    let wanted = |operations: &u64| match only {
        Some(only) => only == *operations,
        None => *operations < 1_000_000 || !has("--quick"),
    };
    println!(
        "{:>10} {:>7} {:>7} {:>6} {:>7} {:>7} {:>6} {:>6} {:>5} {:>6}  verdict",
        "operations",
        "clients",
        "unknown",
        "values",
        "record",
        "seconds",
        "ns/op",
        "again",
        "B/op",
        "growth"
    );
    for (unknown_per_mille, values) in [(0, u64::MAX), (5, u64::MAX), (50, u64::MAX), (50, 5)] {
        for clients in [8, 100, 1000] {
            let mut first = [None; 2];
            for operations in [10_000, 100_000, 1_000_000].into_iter().filter(wanted) {
                let shape = Shape {
                    operations,
                    clients,
                    unknown_per_mille,
                    values,
                    seed: 1,
                };
                let seeds = 1..=ROUND_OPERATIONS.div_ceil(operations);
                let subjects = seeds.map(|seed| generate(Shape { seed, ..shape }));
                let subjects: Vec<Subject> = subjects.collect();
                row(shape, &subjects, false, &mut first[0]);
                if unknown_per_mille > 0 {
                    row(shape, &subjects, true, &mut first[1]);
                }
            }
        }
    }
}

/// Measures histories of one shape and prints what one took.
fn row(shape: Shape, subjects: &[Subject], with_record: bool, first: &mut Option<f64>) {
    let again = usize::try_from(ROUND_OPERATIONS.div_ceil(shape.operations)).unwrap_or(1);
    let (Some(cost), Some(again)) = (
        median(subjects, with_record, 1),
        median(&subjects[subjects.len() - 1..], with_record, again),
    ) else {
        return;
    };
    let each = cost.seconds / shape.operations as f64;
    let growth = each / *first.get_or_insert(each);
    println!(
        "{:>10} {:>7} {:>5.1} % {:>6} {:>7} {:>7.3} {:>6.0} {:>6.0} {:>5} {growth:>6.2}  {}",
        shape.operations,
        shape.clients,
        shape.unknown_per_mille as f64 / 10.0,
        match shape.values {
            u64::MAX => "unique".to_owned(),
            values => values.to_string(),
        },
        if with_record { "with" } else { "without" },
        cost.seconds,
        each * 1e9,
        again.seconds / shape.operations as f64 * 1e9,
        cost.bytes as u64 / shape.operations,
        cost.verdict,
    );
}

/// Judges small histories with Porcupine as well.
fn side_by_side() {
    let porcupine = match Porcupine::build() {
        Ok(porcupine) => porcupine,
        Err(reason) => {
            println!("not compared with Porcupine, which cannot be built here: {reason}");
            return;
        }
    };
    println!(
        "{:>10} {:>7} {:>7} {:>9}  Porcupine: verdict, seconds",
        "operations", "clients", "unknown", "seconds"
    );
    for (clients, unknown_per_mille) in [(5, 0), (5, 5), (20, 0), (20, 5), (100, 0)] {
        for operations in [100, 1_000, 10_000, 100_000] {
            let shape = Shape {
                operations,
                clients,
                unknown_per_mille,
                values: u64::MAX,
                seed: 1,
            };
            let subject = generate(shape);
            let times = usize::try_from(ROUND_OPERATIONS / operations).unwrap_or(1);
            let cost = measure(std::slice::from_ref(&subject), false, times);
            let other = porcupine
                .judge(&subject.0, PORCUPINE_SECONDS_MAX)
                .unwrap_or_else(|error| error.to_string());
            println!(
                "{operations:>10} {clients:>7} {:>5.1} % {:>9.5}  {other}",
                unknown_per_mille as f64 / 10.0,
                cost.seconds
            );
            // What is too much for it does not become less with more operations.
            if !other.starts_with("ok") {
                break;
            }
        }
    }
}
