//! What members log during a run, with virtual time, for `replay --trace`.

use std::fmt;

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::prelude::*;

use crate::explore::TraceLevel;
use crate::world::World;

/// Logs to stderr on this thread until the guard drops; without a level, logs nothing, whatever
/// the process's own settings are.
pub fn start(world: &World, level: Option<TraceLevel>) -> DefaultGuard {
    let level = match level {
        None => LevelFilter::OFF,
        Some(TraceLevel::Error) => LevelFilter::ERROR,
        Some(TraceLevel::Warn) => LevelFilter::WARN,
        Some(TraceLevel::Info) => LevelFilter::INFO,
        Some(TraceLevel::Debug) => LevelFilter::DEBUG,
        Some(TraceLevel::Trace) => LevelFilter::TRACE,
    };
    if level == LevelFilter::OFF {
        return tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
    }
    let filter = Targets::new()
        .with_target("vetcd", level)
        .with_target("vetcd_sim", level)
        .with_default(LevelFilter::WARN);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_timer(VirtualTime(world.clone()));
    tracing::subscriber::set_default(tracing_subscriber::registry().with(filter).with(lines))
}

struct VirtualTime(World);

impl FormatTime for VirtualTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:>12.6}s", self.0.now_ns() as f64 / 1e9)
    }
}
