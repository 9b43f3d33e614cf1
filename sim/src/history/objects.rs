//! Histories of objects without revisions: registers, strings that grow, lists that grow.
//!
//! Others record such histories; what they have in common is here, apart from a store's
//! [`History`](super::History), because nothing in them says in which order writes happened.
//! [`crate::check::objects`] judges them.

use std::fmt;

use bytes::Bytes;

use super::display::{seconds, short};
use super::{FailureClass, Nanoseconds};

/// Lists longer than this are shortened when shown, in elements.
const SHOWN_MAX: usize = 8;

/// Everything the processes of one test did, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectHistory {
    /// What every object holds before anything happens.
    pub initial: Value,
    /// The operations; their ids are distinct.
    pub operations: Vec<ObjectOperation>,
}

/// What one process asked for at once, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectOperation {
    /// Distinct within the history.
    pub id: u64,
    /// Who invoked it.
    pub process: i64,
    /// When it was invoked.
    pub invoked: Nanoseconds,
    /// When it returned; `None` when its outcome is unknown: it may have happened, or may yet.
    pub returned: Option<Nanoseconds>,
    /// What was done, in this order and all at once.
    pub accesses: Vec<Access>,
}

/// One step of an operation, on one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Read an object; `None` when nobody wrote down what was found.
    Read(Bytes, Option<Value>),
    /// Replaced what an object holds.
    Write(Bytes, Value),
    /// Put something at the end of a list or a string.
    Append(Bytes, Bytes),
    /// Replaced the first value by the second, had it been there. The last part says whether it
    /// was; `None` when nobody wrote that down.
    Swap(Bytes, [Value; 2], Option<bool>),
}

/// What an object holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Nothing.
    #[default]
    Nil,
    /// One value, or a string that grows.
    One(Bytes),
    /// A list that grows.
    List(Vec<Bytes>),
}

impl Access {
    /// The object.
    pub fn key(&self) -> &Bytes {
        match self {
            Access::Read(key, _)
            | Access::Write(key, _)
            | Access::Append(key, _)
            | Access::Swap(key, ..) => key,
        }
    }

    /// Whether the object was certainly left as it was.
    pub fn is_read(&self) -> bool {
        matches!(self, Access::Read(..) | Access::Swap(_, _, Some(false)))
    }
}

impl ObjectOperation {
    /// Whether nothing was changed.
    pub fn is_read(&self) -> bool {
        self.accesses.iter().all(Access::is_read)
    }

    /// Whether its fate is unknown.
    pub fn is_unknown(&self) -> bool {
        self.returned.is_none()
    }
}

impl ObjectHistory {
    /// Whether every operation makes sense, and none has another's id.
    ///
    /// # Errors
    /// Says what contradicts what.
    pub fn check(&self) -> Result<(), String> {
        let mut ids: Vec<u64> = self.operations.iter().map(|o| o.id).collect();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two operations have the id {}", pair[0]));
        }
        let early = |o: &&ObjectOperation| o.returned.is_some_and(|at| at < o.invoked);
        match self.operations.iter().find(early) {
            Some(early) => Err(format!(
                "operation {} returned before it was invoked",
                early.id
            )),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Nil => f.write_str("nothing"),
            Value::One(value) => f.write_str(&short(value)),
            Value::List(list) => {
                let hidden = list.len().saturating_sub(SHOWN_MAX);
                let shown: Vec<String> = list[hidden..].iter().map(short).collect();
                let start = match hidden {
                    0 => String::new(),
                    hidden => format!("({hidden} more) "),
                };
                write!(f, "[{start}{}]", shown.join(" "))
            }
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Access::Read(key, Some(found)) => write!(f, "read {} -> {found}", short(key)),
            Access::Read(key, None) => write!(f, "read {}", short(key)),
            Access::Write(key, value) => write!(f, "write {} = {value}", short(key)),
            Access::Append(key, value) => write!(f, "append {} to {}", short(value), short(key)),
            Access::Swap(key, [from, to], swapped) => {
                write!(f, "swap {} from {from} to {to}", short(key))?;
                match swapped {
                    Some(true) => f.write_str(" -> done"),
                    Some(false) => f.write_str(" -> it held something else"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for ObjectOperation {
    /// `operation 7 (process 2, 5.201 s to 5.310 s): read x -> 3`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, process) = (self.id, self.process);
        write!(f, "operation {id} (process {process}, ")?;
        match self.returned {
            Some(returned) => write!(f, "{} to {}): ", seconds(self.invoked), seconds(returned))?,
            None => write!(f, "from {}): ", seconds(self.invoked))?,
        }
        for (index, access) in self.accesses.iter().enumerate() {
            let before = if index == 0 { "" } else { "; " };
            write!(f, "{before}{access}")?;
        }
        if self.is_unknown() {
            f.write_str(" -> outcome unknown")?;
        }
        Ok(())
    }
}

/// What a refusal in the words of an etcd server means.
pub(super) fn class_of(message: &str) -> FailureClass {
    if message.contains("revision has been compacted") {
        FailureClass::Compacted
    } else if message.contains("is a future revision") {
        FailureClass::FutureRevision
    } else if message.contains("requested lease not found") {
        FailureClass::LeaseNotFound
    } else {
        FailureClass::Rejected
    }
}
