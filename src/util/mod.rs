//! `vetcdutl`: what can be done with snapshots and data directories while no member runs.
//!
//! Commands, flags and output formats are `etcdutl`'s where it has them. Results go to the standard
//! output, everything else to the standard error stream. Exit codes: 0 done, 1 it could not be done,
//! 2 the command line is wrong. Every message says what to do about it.

mod cli;
mod data_dir;
mod key_index;
mod output;
mod restore;
mod snapshot_file;
#[cfg(test)]
mod tests;
mod wal_dump;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{CommandFactory, Parser};

use crate::api::API_VERSION;
use crate::host::Disk;
use cli::{Cli, Command, KeyIndexCommand, SnapshotCommand, WalCommand};

/// It could not be done.
const FAILED: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;

/// Where a command writes.
pub struct Streams<'a> {
    /// Results.
    pub out: &'a mut dyn Write,
    /// Progress, notes and errors.
    pub err: &'a mut dyn Write,
}

/// Why a command ended early.
#[derive(Debug)]
enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// It could not be done.
    Failed(String),
    /// Nobody reads the results any more.
    Closed,
}

impl From<std::io::Error> for Failure {
    /// Only writing results gives a bare error.
    fn from(error: std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Failed(format!("cannot write the result: {error}")),
        }
    }
}

fn failed(message: impl ToString) -> Failure {
    Failure::Failed(message.to_string())
}

/// An error of a file, with the file's name.
fn about(path: &Path) -> impl Fn(&dyn std::fmt::Display) -> Failure + '_ {
    move |error| failed(format!("{}: {error}", path.display()))
}

/// The files that a command reads or makes.
struct Files {
    disk: Arc<dyn Disk>,
}

/// Runs the command in `arguments` (without the program's name) on `disk`; returns the exit code.
pub fn run<A: Into<OsString> + Clone>(
    arguments: impl IntoIterator<Item = A>,
    disk: Arc<dyn Disk>,
    streams: &mut Streams<'_>,
) -> u8 {
    let line = arguments.into_iter().map(Into::into);
    let line = std::iter::once(OsString::from("vetcdutl")).chain(line);
    let cli = match Cli::try_parse_from(line) {
        Ok(cli) => cli,
        // Help and the version are no failure. Where nobody reads, the exit code is all there is.
        Err(error) if error.use_stderr() => {
            _ = write!(streams.err, "{error}");
            return USAGE;
        }
        Err(shown) => {
            _ = write!(streams.out, "{shown}");
            return 0;
        }
    };
    match execute(&cli, &Files { disk }, streams) {
        Ok(()) | Err(Failure::Closed) => 0,
        Err(Failure::Usage(message)) => {
            _ = writeln!(streams.err, "vetcdutl: {message}\nTry: vetcdutl --help");
            USAGE
        }
        Err(Failure::Failed(message)) => {
            _ = writeln!(streams.err, "vetcdutl: {message}");
            FAILED
        }
    }
}

fn execute(cli: &Cli, files: &Files, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let format = cli.write_out;
    match &cli.command {
        Command::Snapshot(SnapshotCommand::Status { file }) => {
            let status = files.status(file)?;
            output::status(streams.out, format, &status)
        }
        Command::Snapshot(SnapshotCommand::Restore(flags)) => files.restore(flags, streams),
        Command::Defrag { data_dir } => files.defragment(data_dir, streams),
        Command::Hashkv {
            file,
            data_dir,
            rev,
        } => {
            let hash = files.hash_kv(file.as_deref(), data_dir.as_deref(), *rev, streams)?;
            output::hash_kv(streams.out, format, &hash)
        }
        Command::Wal(WalCommand::Dump { directory }) => files.wal_dump(directory, streams),
        Command::KeyIndex(KeyIndexCommand::Status { path }) => {
            let index = files.key_index(path)?;
            output::key_index(streams.out, format, &index)
        }
        Command::Version => {
            writeln!(
                streams.out,
                "vetcdutl version: {}",
                env!("CARGO_PKG_VERSION")
            )?;
            let api = API_VERSION
                .rsplit_once('.')
                .map_or(API_VERSION, |(api, _)| api);
            Ok(writeln!(streams.out, "API version: {api}")?)
        }
        Command::Completion { shell } => {
            let mut command = Cli::command();
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command, "vetcdutl", &mut script);
            Ok(streams.out.write_all(&script)?)
        }
        Command::Manual => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            Ok(streams.out.write_all(&page)?)
        }
    }
}

impl Files {
    /// Whether there is anything at `path` that a restore must not touch.
    fn holds_anything(&self, path: &Path) -> Result<bool, Failure> {
        let there = self.disk.exists(path).map_err(|e| about(path)(&e))?;
        if !there {
            return Ok(false);
        }
        let names = self.disk.list_dir(path).map_err(|e| about(path)(&e))?;
        Ok(!names.is_empty())
    }

    /// Opens an existing file for reading.
    fn open(&self, path: &Path) -> Result<Arc<dyn crate::host::File>, Failure> {
        let opened = self.disk.open(path, crate::host::OpenMode::Read);
        opened.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => failed(format!("there is no file {}", path.display())),
            _ => about(path)(&error),
        })
    }
}

/// `directory`/member/wal, or `directory` itself where it is a log's.
fn wal_directory(disk: &dyn Disk, directory: &Path) -> PathBuf {
    let inside = crate::server::offline::wal_dir(directory);
    match disk.exists(&inside) {
        Ok(true) => inside,
        _ => directory.to_owned(),
    }
}
