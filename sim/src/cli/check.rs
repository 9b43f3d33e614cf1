//! `vetcd-sim check`: judges what somebody recorded.

use std::path::Path;

use super::args::{CheckArgs, HistoryReportFormat};
use super::{CliError, Engine, Environment, Streams};
use crate::history::read::Input;
use crate::report::{JudgedHistory, json, terminal};

/// The most that is read, in bytes.
const LENGTH_MAX: u64 = 4 << 30;
/// The files of a report directory that are read.
const REPORT_FILES: [&str; 2] = ["operations.json", "watch.json"];

/// Judges a history recorded elsewhere.
pub fn check(
    args: &CheckArgs,
    environment: &Environment,
    engine: Engine<'_>,
    streams: &mut Streams<'_>,
) -> Result<u8, CliError> {
    let shown = args.history.as_str();
    let path = environment.directory.join(shown);
    let input = input(&path)
        .map_err(|problem| CliError::Usage(format!("cannot read {shown}: {problem}")))?;
    let judged = engine
        .judge
        .judge(&input, args.format, args.model)
        .map_err(|error| CliError::Usage(format!("{shown} is not a history: {error}")))?;
    show(shown, &judged, args.report, environment, streams)
}

/// Prints what is said about a history.
pub fn show(
    shown: &str,
    judged: &JudgedHistory,
    report: HistoryReportFormat,
    environment: &Environment,
    streams: &mut Streams<'_>,
) -> Result<u8, CliError> {
    let verdict = judged.verdict;
    let text = match report {
        HistoryReportFormat::Terminal => {
            terminal::history(shown, judged, verdict, environment.style)
        }
        HistoryReportFormat::Json => json::history(shown, judged),
    };
    streams.out.write_all(text.as_bytes())?;
    Ok(verdict.exit_code())
}

/// Reads a file, or of a directory the files that a report consists of.
fn input(path: &Path) -> Result<Input, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    let mut left = LENGTH_MAX;
    let mut read = |path: &Path| -> Result<Vec<u8>, String> {
        let length = std::fs::metadata(path)
            .map_err(|error| error.to_string())?
            .len();
        left = left
            .checked_sub(length)
            .ok_or_else(|| format!("longer than {LENGTH_MAX} bytes"))?;
        read_bytes(path).map_err(|error| error.to_string())
    };
    let mut files = Vec::new();
    if !metadata.is_dir() {
        files.push((String::new(), read(path)?));
    } else {
        for directory in entries(path)?.into_iter().chain([String::new()]) {
            for name in REPORT_FILES {
                let file = path.join(&directory).join(name);
                if file.is_file() {
                    let shown = Path::new(&directory).join(name).display().to_string();
                    let bytes = read(&file).map_err(|problem| format!("{shown}: {problem}"))?;
                    files.push((shown, bytes));
                }
            }
        }
    }
    Ok(Input {
        is_directory: metadata.is_dir(),
        files,
    })
}

/// The names of the directories in a directory, in order.
#[allow(clippy::disallowed_methods)] // The user's directory, outside every simulation.
fn entries(path: &Path) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        if entry.path().is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[allow(clippy::disallowed_methods)] // The user's file, outside every simulation.
fn read_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}
