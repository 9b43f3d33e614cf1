//! `vetcd`, the server: flags in, one member on the operating system, an exit code out.
//!
//! Exit codes: 0 after a stop that was asked for (or help, or removal from the cluster), 1 when the
//! member failed while it ran, 2 when it could not start for a reason its user has to mend. `vetcd
//! completions SHELL` and `vetcd manual` print what packages install.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use vetcd::config::{Config, Error};
use vetcd::host::os::OsHost;

mod logging;
mod papers;
mod systemd;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(code) = papers::print(&arguments) {
        return code;
    }
    let environment = |name: &str| std::env::var(name).ok();
    let config =
        match Config::from_sources(arguments, environment, |path| std::fs::read_to_string(path)) {
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
    if let Err(error) = logging::start(&config) {
        tell(&error);
        return ExitCode::from(USAGE);
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
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
    match vetcd::server::run(host, config, stopping, |_| systemd::notify("READY=1")).await {
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
            systemd::notify("STOPPING=1");
            stop.send_replace(true);
        }
    });
    Ok(())
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
