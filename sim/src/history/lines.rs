//! A history as lines of JSON: a header that names the format, then one operation or watch a line,
//! then what was done about permissions.
//!
//! The reader trusts nothing: a line too long, a header of another format, an operation that
//! contradicts itself or an id used twice is an error that names the line. Blank lines are skipped.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};

use super::{AuthRecord, History, Operation, Outcome, Request, Watch};

/// The longest line that is read, in bytes.
pub const LINE_LENGTH_MAX: u64 = 64 << 20;

const FORMAT: &str = "vetcd-history";
const VERSION: u32 = 1;

/// What the line of an [`AuthRecord`] begins with, which no operation's does.
const AUTH_LINE: &[u8] = b"{\"auth\":";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthLine<R> {
    auth: R,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
}

/// The line of a watch; any other line is an operation's.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchLine<W> {
    watch: W,
}

/// How the line of a watch begins.
const WATCH: &[u8] = b"{\"watch\"";

/// Why a history could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file itself could not be read or written.
    #[error("line {line}: {source}")]
    Io {
        /// The line, counted from 1.
        line: usize,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not what it should be.
    #[error("line {line}: {problem}")]
    Line {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

impl History {
    /// Writes the history, header first.
    ///
    /// # Errors
    /// When `out` refuses.
    pub fn write(&self, mut out: impl Write) -> Result<(), HistoryError> {
        let failed = |line| move |source| HistoryError::Io { line, source };
        let header = Header {
            format: FORMAT.to_owned(),
            version: VERSION,
        };
        let mut text = serde_json::to_vec(&header).map_err(|e| failed(1)(e.into()))?;
        for (line, operation) in (2..).zip(&self.operations) {
            text.push(b'\n');
            out.write_all(&text).map_err(failed(line - 1))?;
            text.clear();
            serde_json::to_writer(&mut text, operation).map_err(|e| failed(line)(e.into()))?;
        }
        for (line, watch) in (self.operations.len() + 2..).zip(&self.watches) {
            text.push(b'\n');
            out.write_all(&text).map_err(failed(line - 1))?;
            text.clear();
            let written = serde_json::to_writer(&mut text, &WatchLine { watch });
            written.map_err(|e| failed(line)(e.into()))?;
        }
        let first = self.operations.len() + self.watches.len() + 2;
        for (line, auth) in (first..).zip(&self.auth) {
            text.push(b'\n');
            out.write_all(&text).map_err(failed(line - 1))?;
            text.clear();
            serde_json::to_writer(&mut text, &AuthLine { auth })
                .map_err(|e| failed(line)(e.into()))?;
        }
        text.push(b'\n');
        out.write_all(&text)
            .and_then(|()| out.flush())
            .map_err(failed(
                self.operations.len() + self.watches.len() + self.auth.len() + 1,
            ))
    }

    /// Reads what [`History::write`] wrote.
    ///
    /// # Errors
    /// Names the first line that is wrong, and how.
    pub fn read(mut input: impl BufRead) -> Result<History, HistoryError> {
        let mut operations = Vec::new();
        let mut watches = Vec::new();
        let mut auth = Vec::new();
        let (mut ids, mut watch_ids) = (BTreeSet::new(), BTreeSet::new());
        let mut headed = false;
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let wrong = |problem: String| HistoryError::Line { line, problem };
            let length = (&mut input)
                .take(LINE_LENGTH_MAX + 1)
                .read_until(b'\n', &mut text)
                .map_err(|source| HistoryError::Io { line, source })?;
            if length == 0 {
                break;
            }
            if length as u64 > LINE_LENGTH_MAX {
                return Err(wrong(format!("longer than {LINE_LENGTH_MAX} bytes")));
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            if !headed {
                let header: Header = serde_json::from_slice(&text)
                    .map_err(|e| wrong(format!("not the header of a history: {e}")))?;
                if header.format != FORMAT || header.version != VERSION {
                    let found = format!("\"{}\" version {}", header.format, header.version);
                    return Err(wrong(format!(
                        "\"{FORMAT}\" version {VERSION} expected, not {found}"
                    )));
                }
                headed = true;
                continue;
            }
            if text.trim_ascii_start().starts_with(WATCH) {
                let WatchLine { watch } = serde_json::from_slice::<WatchLine<Watch>>(&text)
                    .map_err(|e| wrong(e.to_string()))?;
                watch.check().map_err(wrong)?;
                if !watch_ids.insert(watch.id) {
                    return Err(wrong(format!("a second watch with id {}", watch.id)));
                }
                watches.push(watch);
                continue;
            }
            if text.trim_ascii_start().starts_with(AUTH_LINE) {
                let line: AuthLine<AuthRecord> =
                    serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
                auth.push(line.auth);
                continue;
            }
            let operation: Operation =
                serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
            operation.check().map_err(wrong)?;
            if !ids.insert(operation.id) {
                return Err(wrong(format!(
                    "a second operation with id {}",
                    operation.id
                )));
            }
            operations.push(operation);
        }
        if !headed {
            return Err(HistoryError::Line {
                line: 1,
                problem: "no header: empty".to_owned(),
            });
        }
        Ok(History {
            operations,
            watches,
            auth,
        })
    }
}

impl History {
    /// Whether every operation makes sense, and none has another's id.
    ///
    /// # Errors
    /// Says what contradicts what.
    pub fn check(&self) -> Result<(), String> {
        self.operations.iter().try_for_each(Operation::check)?;
        self.watches.iter().try_for_each(Watch::check)?;
        let mut ids: Vec<u64> = self
            .operations
            .iter()
            .map(|operation| operation.id)
            .collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("two operations have the id {}", pair[0])),
            None => Ok(()),
        }
    }
}

impl Operation {
    /// Whether the operation makes sense by itself.
    ///
    /// # Errors
    /// Says what contradicts what.
    pub fn check(&self) -> Result<(), String> {
        let id = self.id;
        match (self.returned, &self.outcome) {
            (Some(returned), _) if returned < self.invoked => {
                return Err(format!("operation {id} returned before it was invoked"));
            }
            (None, Outcome::Ok(_) | Outcome::Failed(_)) => {
                return Err(format!(
                    "operation {id} has an outcome but no time of return"
                ));
            }
            _ => {}
        }
        if let Request::Txn(txn) = &self.request
            && txn.then.iter().chain(&txn.otherwise).any(holds_compaction)
        {
            return Err(format!(
                "operation {id} has a compaction inside a transaction"
            ));
        }
        Ok(())
    }
}

fn holds_compaction(request: &Request) -> bool {
    match request {
        Request::Compact(_) => true,
        Request::Txn(txn) => txn.then.iter().chain(&txn.otherwise).any(holds_compaction),
        _ => false,
    }
}
