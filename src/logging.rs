//! Where log messages go and what they look like: part of the binary, not of the server.

use std::fs::{File, OpenOptions};
use std::io;
use std::sync::Arc;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;
use vetcd::config::{Config, LogFormat, LogLevel};

/// Sends log messages where `--log-outputs` says.
///
/// # Errors
/// A sentence when a file cannot be opened.
pub fn start(config: &Config) -> Result<(), String> {
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
    let outputs = config.operations.log_outputs.iter();
    let outputs = outputs.map(|name| open(name)).collect::<Result<_, _>>()?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(Outputs(outputs));
    match config.log_format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
        LogFormat::Console => registry.with(lines.with_ansi(false)).init(),
    }
    Ok(())
}

#[derive(Clone)]
enum Output {
    Stderr,
    Stdout,
    File(Arc<File>),
}

#[allow(
    clippy::disallowed_methods,
    reason = "the binary stands outside the host it makes"
)]
fn open(name: &str) -> Result<Output, String> {
    match name {
        // journald reads the standard error stream of what systemd starts.
        "default" | "stderr" | "systemd/journal" => Ok(Output::Stderr),
        "stdout" => Ok(Output::Stdout),
        path => OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map(|file| Output::File(Arc::new(file)))
            .map_err(|error| format!("--log-outputs {path}: {error}")),
    }
}

struct Outputs(Vec<Output>);

impl<'a> MakeWriter<'a> for Outputs {
    type Writer = Tee<'a>;

    fn make_writer(&'a self) -> Tee<'a> {
        Tee(&self.0)
    }
}

/// Writes a message, which comes in one piece, to every output. One that fails (a full disk, a
/// closed pipe) keeps nothing from the others: a log must never stop the server.
struct Tee<'a>(&'a [Output]);

impl io::Write for Tee<'_> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        for output in self.0 {
            let _ = match output {
                Output::Stderr => io::stderr().write_all(message),
                Output::Stdout => io::stdout().write_all(message),
                Output::File(file) => (&**file).write_all(message),
            };
        }
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
