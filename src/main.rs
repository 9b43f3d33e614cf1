//! `vetcd`, the server: flags in, one member on the operating system, an exit code out.
//!
//! Exit codes: 0 after a stop that was asked for (or help, or removal from the cluster), 1 when the member failed while it ran,
//! 2 when it could not start for a reason its user has to mend.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;
use vetcd::config::{Config, Error, LogFormat, LogLevel};
use vetcd::host::os::OsHost;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    let config = match Config::from_arguments(arguments, |name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(Error::Shown(text)) => {
            // Nobody reads it any more when this fails.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            tell(&format!("{error}\nTry: vetcd --help"));
            return ExitCode::from(USAGE);
        }
    };
    start_logging(&config);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tell(&format!("cannot start the runtime: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let code = runtime.block_on(run(&runtime, config));
    // Disk work still running is not waited for: whatever was acknowledged is on disk already.
    runtime.shutdown_background();
    code
}

/// Runs the member until it ends or a signal stops it.
async fn run(runtime: &Runtime, config: Config) -> ExitCode {
    let (stop, stopping) = watch::channel(false);
    if let Err(error) = stop_on_signals(runtime, stop) {
        tell(&format!("cannot listen for signals: {error}"));
        return ExitCode::from(FAILED);
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        name = config.name,
        "starting"
    );
    #[cfg(feature = "defects")]
    {
        let known = vetcd::defects::Defect::ALL
            .iter()
            .map(|defect| defect.name());
        let known = known.collect::<Vec<_>>().join(", ");
        tracing::warn!(known, "built with deliberate mistakes: not for production");
    }
    let host = Arc::new(OsHost::new(runtime.handle().clone()));
    match vetcd::server::run(host, config, stopping, |_| {}).await {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) if error.is_removal() => {
            // As etcd does: the operator asked for it, and a restart would change nothing.
            tell(&with_causes(&error));
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(&with_causes(&error));
            ExitCode::from(if error.is_usage() { USAGE } else { FAILED })
        }
    }
}

/// Turns the first SIGTERM or SIGINT into a stop; a second one ends the process at once.
#[allow(
    clippy::disallowed_methods,
    reason = "the binary stands outside the host it makes"
)]
fn stop_on_signals(runtime: &Runtime, stop: watch::Sender<bool>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    runtime.spawn(async move {
        for urgent in [false, true] {
            let name = tokio::select! {
                biased;
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if urgent {
                std::process::exit(i32::from(FAILED));
            }
            tracing::info!(signal = name, "stopping");
            stop.send_replace(true);
        }
    });
    Ok(())
}

/// Sends log messages to the standard error stream.
fn start_logging(config: &Config) {
    let level = match config.log_level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    // The libraries' own debugging would drown the server's.
    let filter = Targets::new()
        .with_target("vetcd", level)
        .with_default(level.min(LevelFilter::WARN));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
        LogFormat::Console => registry.with(lines.with_ansi(false)).init(),
    }
}

/// Writes the one line that says why the process ends.
fn tell(message: &str) {
    // With the standard error stream gone only the exit code is left.
    let _ = writeln!(std::io::stderr(), "vetcd: {message}");
}

/// An error and what it comes from, in one line; causes whose text is already in it are left out.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
