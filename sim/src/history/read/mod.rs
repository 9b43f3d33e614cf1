//! Histories in the formats of other recorders.
//!
//! | Format | Written by | Read by |
//! |---|---|---|
//! | [`Format::Vetcd`] | `vetcd-sim run --out`, `vetcd-sim record` | [`super::lines`] |
//! | [`Format::Robustness`] | etcd's robustness tests: a report directory | [`robustness`] |
//! | [`Format::Edn`] | Jepsen (`history.edn`), Porcupine's traces of key-value stores | [`jepsen`] |
//! | [`Format::JepsenLog`] | Jepsen's log, with one register | [`jepsen_log`] |
//!
//! Readers trust nothing, hold no more than a small multiple of what they read, and say which line
//! and column is wrong. In doubt about the fate of an operation they call it unknown: that weakens
//! a verdict, and never makes it wrong.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use super::History;
use super::objects::ObjectHistory;

mod edn;
mod jepsen;
mod jepsen_log;
mod pairs;
mod robustness;

/// How much of a text is looked at to find out what it is, in bytes.
const DETECT_LENGTH: usize = 64 << 10;

/// How a history is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// vetcd's own: JSON lines after a header
    Vetcd,
    /// A report directory of etcd's robustness tests
    #[value(name = "etcd-robustness")]
    Robustness,
    /// Maps of EDN: Jepsen's history.edn, Porcupine's key-value traces
    #[value(name = "edn")]
    Edn,
    /// The lines of a Jepsen log about one register
    JepsenLog,
}

/// What the recorded system promises to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Model {
    /// Registers that are read, written and compared and set
    Register,
    /// Keys whose values are read, written and appended to
    Kv,
    /// A whole store with etcd's revisions
    Etcd,
    /// Lists that transactions read and append to
    ListAppend,
}

/// The files of one recording, by name.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Whether it is a directory; otherwise there is one file.
    pub is_directory: bool,
    /// Names (relative to the directory) and contents.
    pub files: Vec<(String, Vec<u8>)>,
}

/// A recording, read.
#[derive(Clone, Debug)]
pub struct Recording {
    /// How it was written down.
    pub format: Format,
    /// What it is about.
    pub model: Model,
    /// What was recorded.
    pub content: Content,
    /// What was left out or assumed, one sentence each.
    pub notes: Vec<String>,
}

/// What was recorded.
#[derive(Clone, Debug)]
pub enum Content {
    /// Operations on a store with revisions, and the changes of keys that watches saw, by revision.
    Store(History, Changes),
    /// Operations on objects without revisions.
    Objects(ObjectHistory),
}

/// Keys that were written (with their new value) or removed, by revision.
pub type Changes = BTreeMap<i64, Vec<(Bytes, Option<Bytes>)>>;

/// Why a recording could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// The file, where there are several.
    pub file: Option<String>,
    /// The line and the column, counted from 1, where the problem has a place.
    pub place: Option<(usize, usize)>,
    /// What is wrong, or what to do.
    pub problem: String,
}

impl ReadError {
    /// An error at an offset of a text.
    fn at(text: &str, offset: usize, problem: impl Into<String>) -> ReadError {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        ReadError {
            file: None,
            place: Some((line, column)),
            problem: problem.into(),
        }
    }

    /// An error without a place.
    fn of(problem: impl Into<String>) -> ReadError {
        ReadError {
            file: None,
            place: None,
            problem: problem.into(),
        }
    }

    fn within(mut self, file: &str) -> ReadError {
        self.file = Some(file.to_owned());
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        if let Some((line, column)) = self.place {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ReadError {}

/// Reads a recording; finds out what is not said.
///
/// # Errors
/// Says where it is wrong, or what to say because it cannot be found out.
pub fn read(
    input: &Input,
    format: Option<Format>,
    model: Option<Model>,
) -> Result<Recording, ReadError> {
    let format = match format {
        Some(format) => format,
        None => detect(input)?,
    };
    if format == Format::Robustness {
        only([Model::Etcd], model, "a robustness report is about a store")?;
        return robustness::read(input);
    }
    let Some((_, bytes)) = input.files.first().filter(|_| !input.is_directory) else {
        return Err(ReadError::of("this format is one file, not a directory"));
    };
    if format == Format::Vetcd {
        let fits = [Model::Etcd, Model::Kv];
        only(fits, model, "vetcd's own history is about a store")?;
        let history =
            History::read(&bytes[..]).map_err(|error| ReadError::of(error.to_string()))?;
        return Ok(Recording {
            format,
            model: model.unwrap_or(Model::Etcd),
            content: Content::Store(history, Changes::new()),
            notes: Vec::new(),
        });
    }
    let text = text(bytes)?;
    match format {
        Format::JepsenLog => {
            only([Model::Register], model, "a Jepsen log is about a register")?;
            jepsen_log::read(text)
        }
        _ => jepsen::read(text, model),
    }
}

fn only<const N: usize>(
    fits: [Model; N],
    model: Option<Model>,
    why: &str,
) -> Result<(), ReadError> {
    match model {
        Some(model) if !fits.contains(&model) => Err(ReadError::of(format!(
            "{why}: another --model does not fit"
        ))),
        _ => Ok(()),
    }
}

fn text(bytes: &[u8]) -> Result<&str, ReadError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = &bytes[..error.valid_up_to()];
        let valid = std::str::from_utf8(valid).unwrap_or_default();
        ReadError::at(valid, valid.len(), "this is no text: not UTF-8")
    })
}

/// Finds out how a recording is written down.
///
/// # Errors
/// Says what to say because it cannot be found out.
pub fn detect(input: &Input) -> Result<Format, ReadError> {
    let undecided = || {
        ReadError::of(
            "this looks like no format known here: say --format vetcd, etcd-robustness, edn or \
             jepsen-log",
        )
    };
    if input.is_directory {
        let is_report = |(name, _): &&(String, Vec<u8>)| name.ends_with("operations.json");
        return match input.files.iter().find(is_report) {
            Some(_) => Ok(Format::Robustness),
            None => Err(ReadError::of(
                "a directory without client-*/operations.json: no report of etcd's robustness tests",
            )),
        };
    }
    let Some((_, bytes)) = input.files.first() else {
        return Err(undecided());
    };
    let start = &bytes[..bytes.len().min(DETECT_LENGTH)];
    let start = String::from_utf8_lossy(start);
    let first = start.lines().map(str::trim).find(|line| {
        let comment = line.starts_with(';');
        !line.is_empty() && !comment
    });
    match first {
        Some(line) if line.starts_with('{') && line.contains("vetcd-history") => Ok(Format::Vetcd),
        _ if jepsen_log::is_log(&start) => Ok(Format::JepsenLog),
        Some(line) if line.starts_with(['{', '[', '(', '#']) && start.contains(":type") => {
            Ok(Format::Edn)
        }
        _ => Err(undecided()),
    }
}
