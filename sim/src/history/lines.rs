//! A history as lines of JSON: a header that names the format, then one operation a line, then a
//! line with a name of its own for everything else: `watch`, `auth`, `lease`, `lease_end`,
//! `observation`, and of a run that was saved `evidence`, `store` and `written`.
//!
//! The reader trusts nothing: a line too long, a header of another format, an operation that
//! contradicts itself or an id used twice is an error that names the line. Blank lines are skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};

use super::{
    AuthRecord, History, LeaseOperation, Observation, Operation, Outcome, Removal, Request, Watch,
};
use crate::check::{Evidence, KnownOrder, Record};

/// The longest line that is read, in bytes.
pub const LINE_LENGTH_MAX: u64 = 64 << 20;

const FORMAT: &str = "vetcd-history";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
}

/// A line that is no operation's, by its name.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Watch(Watch),
    Auth(AuthRecord),
    Lease(LeaseOperation),
    LeaseEnd(Removal),
    Observation(Observation),
    Evidence(Box<Evidence>),
    Store(Store),
    Written(Written),
}

/// How the lines of [`Line`] begin.
const NAMES: [&str; 8] = [
    "watch",
    "auth",
    "lease",
    "lease_end",
    "observation",
    "evidence",
    "store",
    "written",
];

/// What the members' record of revisions covers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Store {
    compacted: i64,
    revision: i64,
}

/// One revision of the members' record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    revision: i64,
    /// All of its changes, although it was compacted.
    #[serde(default, skip_serializing_if = "is_false")]
    whole: bool,
    changes: Vec<Record>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

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

/// Writes values as lines.
struct Writer<W> {
    out: W,
    line: usize,
    text: Vec<u8>,
}

impl<W: Write> Writer<W> {
    fn line(&mut self, value: &impl Serialize) -> Result<(), HistoryError> {
        self.line += 1;
        let line = self.line;
        let failed = |source| HistoryError::Io { line, source };
        self.text.clear();
        serde_json::to_writer(&mut self.text, value).map_err(|e| failed(e.into()))?;
        self.text.push(b'\n');
        self.out.write_all(&self.text).map_err(failed)
    }

    fn named(&mut self, name: &str, value: &impl Serialize) -> Result<(), HistoryError> {
        self.line(&BTreeMap::from([(name, value)]))
    }
}

impl History {
    /// Writes the history, header first.
    ///
    /// # Errors
    /// When `out` refuses.
    pub fn write(&self, out: impl Write) -> Result<(), HistoryError> {
        let mut out = Writer {
            out,
            line: 0,
            text: Vec::new(),
        };
        out.line(&Header {
            format: FORMAT.to_owned(),
            version: VERSION,
        })?;
        let leases = &self.leases;
        self.operations.iter().try_for_each(|o| out.line(o))?;
        self.watches
            .iter()
            .try_for_each(|w| out.named("watch", w))?;
        self.auth.iter().try_for_each(|a| out.named("auth", a))?;
        let mut operations = leases.operations.iter();
        operations.try_for_each(|o| out.named("lease", o))?;
        let mut removals = leases.removals.iter();
        removals.try_for_each(|r| out.named("lease_end", r))?;
        let mut observations = leases.observations.iter();
        observations.try_for_each(|o| out.named("observation", o))?;
        if let Some(evidence) = &self.evidence {
            out.named("evidence", evidence)?;
            if let Some(known) = &evidence.known_order {
                let KnownOrder {
                    compacted,
                    revision,
                    ..
                } = *known;
                out.named(
                    "store",
                    &Store {
                        compacted,
                        revision,
                    },
                )?;
                for (revision, changes) in &known.records {
                    let written = Written {
                        revision: *revision,
                        whole: known.whole.contains(revision),
                        changes: changes.clone(),
                    };
                    out.named("written", &written)?;
                }
            }
        }
        let line = out.line;
        let flushed = out.out.flush();
        flushed.map_err(|source| HistoryError::Io { line, source })
    }

    /// Reads what [`History::write`] wrote.
    ///
    /// # Errors
    /// Names the first line that is wrong, and how.
    pub fn read(mut input: impl BufRead) -> Result<History, HistoryError> {
        let mut reader = Reader::default();
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
            if headed {
                reader.line(&text).map_err(wrong)?;
                continue;
            }
            let header: Header = serde_json::from_slice(&text)
                .map_err(|e| wrong(format!("not the header of a history: {e}")))?;
            if header.format != FORMAT || header.version != VERSION {
                let found = format!("\"{}\" version {}", header.format, header.version);
                return Err(wrong(format!(
                    "\"{FORMAT}\" version {VERSION} expected, not {found}"
                )));
            }
            headed = true;
        }
        if !headed {
            return Err(HistoryError::Line {
                line: 1,
                problem: "no header: empty".to_owned(),
            });
        }
        Ok(reader.history)
    }
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    history: History,
    /// The IDs of operations, watches, lease operations and observations.
    ids: [BTreeSet<u64>; 4],
}

/// The name of a line that has one.
fn name_of(text: &[u8]) -> Option<&'static str> {
    let inside = text.trim_ascii_start().strip_prefix(b"{")?;
    let quoted = inside.trim_ascii_start().strip_prefix(b"\"")?;
    let end = quoted.iter().position(|byte| *byte == b'"')?;
    NAMES
        .into_iter()
        .find(|name| name.as_bytes() == &quoted[..end])
}

impl Reader {
    fn once(&mut self, kind: usize, what: &str, id: u64) -> Result<(), String> {
        match self.ids[kind].insert(id) {
            true => Ok(()),
            false => Err(format!("a second {what} with id {id}")),
        }
    }

    fn line(&mut self, text: &[u8]) -> Result<(), String> {
        if name_of(text).is_none() {
            let operation: Operation = serde_json::from_slice(text).map_err(|e| e.to_string())?;
            operation.check()?;
            self.once(0, "operation", operation.id)?;
            self.history.operations.push(operation);
            return Ok(());
        }
        match serde_json::from_slice(text).map_err(|e| e.to_string())? {
            Line::Watch(watch) => {
                watch.check()?;
                self.once(1, "watch", watch.id)?;
                self.history.watches.push(watch);
            }
            Line::Auth(record) => self.history.auth.push(record),
            Line::Lease(operation) => {
                operation.check()?;
                self.once(2, "lease operation", operation.id)?;
                self.history.leases.operations.push(operation);
            }
            Line::LeaseEnd(removal) => self.history.leases.removals.push(removal),
            Line::Observation(observation) => {
                observation.check()?;
                self.once(3, "observation", observation.id)?;
                self.history.leases.observations.push(observation);
            }
            Line::Evidence(evidence) => match &mut self.history.evidence {
                None => self.history.evidence = Some(evidence),
                Some(_) => return Err("evidence for the second time".to_owned()),
            },
            Line::Store(Store {
                compacted,
                revision,
            }) => {
                let known = self.known_order();
                (known.compacted, known.revision) = (compacted, revision);
            }
            Line::Written(Written {
                revision,
                whole,
                changes,
            }) => {
                let known = self.known_order();
                if whole {
                    known.whole.insert(revision);
                }
                if known.records.insert(revision, changes).is_some() {
                    return Err(format!("revision {revision} for the second time"));
                }
            }
        }
        Ok(())
    }

    fn known_order(&mut self) -> &mut KnownOrder {
        let evidence = self.history.evidence.get_or_insert_default();
        evidence.known_order.get_or_insert_default()
    }
}

impl History {
    /// Whether every operation makes sense, and none has another's id.
    ///
    /// # Errors
    /// Says what contradicts what.
    pub fn check(&self) -> Result<(), String> {
        let mut sense = Sense::default();
        for operation in &self.operations {
            sense.look(operation);
        }
        sense.of(&self.operations)?;
        self.check_the_rest()
    }

    /// Whether everything but the operations makes sense.
    pub(crate) fn check_the_rest(&self) -> Result<(), String> {
        self.watches.iter().try_for_each(Watch::check)?;
        let leases = &self.leases;
        leases
            .operations
            .iter()
            .try_for_each(LeaseOperation::check)?;
        leases.observations.iter().try_for_each(Observation::check)
    }
}

/// Whether operations make sense, found while somebody looks at all of them anyway.
#[derive(Default)]
pub(crate) struct Sense {
    problem: Option<String>,
    /// The least id that is greater than all so far; `None` when they do not ascend.
    next: Option<u64>,
    begun: bool,
}

impl Sense {
    /// Looks at the next operation.
    pub(crate) fn look(&mut self, operation: &Operation) {
        if self.problem.is_none() {
            self.problem = operation.check().err();
        }
        let ascends = !self.begun || self.next.is_some_and(|next| operation.id >= next);
        self.next = operation.id.checked_add(1).filter(|_| ascends);
        self.begun = true;
    }

    /// What came of it; `operations` are those that were looked at.
    ///
    /// # Errors
    /// Says what contradicts what.
    pub(crate) fn of(self, operations: &[Operation]) -> Result<(), String> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        // Most histories are in the order of their ids, and then no two are the same.
        if self.next.is_some() {
            return Ok(());
        }
        let mut ids: Vec<u64> = operations.iter().map(|operation| operation.id).collect();
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
