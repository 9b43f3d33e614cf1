//! Operations as sentences, for counterexamples and logs.

use std::fmt;

use bytes::Bytes;

use super::text::encode;
use super::{
    Body, Compare, FailureClass, KeyValue, Nanoseconds, Operand, Operation, Outcome, Relation,
    Request,
};

/// Keys and values longer than this are shortened, in characters.
const TEXT_LENGTH_MAX: usize = 40;
/// Lists longer than this are shortened, in elements.
const LIST_LENGTH_MAX: usize = 8;

/// A key or value, shortened when long, quoted when it would be hard to tell where it ends.
pub(crate) fn short(bytes: &Bytes) -> String {
    let text = encode(bytes);
    if text.chars().count() > TEXT_LENGTH_MAX {
        let start: String = text.chars().take(TEXT_LENGTH_MAX).collect();
        return format!("{start:?}... ({} bytes)", bytes.len());
    }
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '"') {
        return text;
    }
    format!("{text:?}")
}

/// A time in seconds, with as many decimals as it takes but at least three.
pub(crate) fn seconds(at: u64) -> String {
    let text = format!("{}.{:09}", at / 1_000_000_000, at % 1_000_000_000);
    let cut = text.trim_end_matches('0').len().max(text.len() - 6);
    format!("{} s", &text[..cut])
}

fn span(key: &Bytes, range_end: &Bytes) -> String {
    match &range_end[..] {
        [] => short(key),
        [0] => format!("[{}, end)", short(key)),
        _ => format!("[{}, {})", short(key), short(range_end)),
    }
}

fn list<T>(f: &mut fmt::Formatter<'_>, items: &[T], separator: &str) -> fmt::Result
where
    T: fmt::Display,
{
    for (index, item) in items.iter().take(LIST_LENGTH_MAX).enumerate() {
        let before = if index == 0 { "" } else { separator };
        write!(f, "{before}{item}")?;
    }
    if items.len() > LIST_LENGTH_MAX {
        write!(f, "{separator}... ({} in all)", items.len())?;
    }
    Ok(())
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Range(range) => {
                write!(f, "get {}", span(&range.key, &range.range_end))?;
                for (name, number) in [("revision", range.revision), ("limit", range.limit)] {
                    if number != 0 {
                        write!(f, " {name} {number}")?;
                    }
                }
                let flags = [
                    ("serializable", range.serializable),
                    ("keys only", range.keys_only),
                    ("count only", range.count_only),
                ];
                flags
                    .iter()
                    .filter(|flag| flag.1)
                    .try_for_each(|flag| write!(f, " {}", flag.0))
            }
            Request::Put(put) => {
                write!(f, "put {} = {}", short(&put.key), short(&put.value))?;
                if put.lease != 0 {
                    write!(f, " lease {}", put.lease)?;
                }
                Ok(())
            }
            Request::Delete(delete) => {
                write!(f, "delete {}", span(&delete.key, &delete.range_end))
            }
            Request::Txn(txn) if txn.compare.is_empty() && txn.otherwise.is_empty() => {
                f.write_str("txn {")?;
                list(f, &txn.then, "; ")?;
                f.write_str("}")
            }
            Request::Txn(txn) => {
                f.write_str("txn if ")?;
                list(f, &txn.compare, " and ")?;
                f.write_str(" then {")?;
                list(f, &txn.then, "; ")?;
                f.write_str("} else {")?;
                list(f, &txn.otherwise, "; ")?;
                f.write_str("}")
            }
            Request::Compact(compact) => write!(f, "compact revision {}", compact.revision),
        }
    }
}

impl fmt::Display for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relation = match self.relation {
            Relation::Equal => "=",
            Relation::Greater => ">",
            Relation::Less => "<",
            Relation::NotEqual => "!=",
        };
        let key = span(&self.key, &self.range_end);
        match &self.operand {
            Operand::Version(number) => write!(f, "version({key}) {relation} {number}"),
            Operand::CreateRevision(number) => write!(f, "create({key}) {relation} {number}"),
            Operand::ModRevision(number) => write!(f, "mod({key}) {relation} {number}"),
            Operand::Value(value) => write!(f, "value({key}) {relation} {}", short(value)),
            Operand::Lease(number) => write!(f, "lease({key}) {relation} {number}"),
        }
    }
}

impl fmt::Display for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", short(&self.key), short(&self.value))?;
        let KeyValue {
            create_revision,
            mod_revision,
            version,
            ..
        } = self;
        write!(f, " (mod {mod_revision}")?;
        if *create_revision != KeyValue::NOT_RECORDED {
            write!(f, ", create {create_revision}")?;
        }
        write!(f, ", version {version}")?;
        if ![0, KeyValue::NOT_RECORDED].contains(&self.lease) {
            write!(f, ", lease {}", self.lease)?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Range(body) if body.kvs.is_empty() => write!(f, "count {}", body.count),
            Body::Range(body) => {
                list(f, &body.kvs, ", ")?;
                write!(
                    f,
                    ", count {}{}",
                    body.count,
                    if body.more { ", more" } else { "" }
                )
            }
            Body::Put(body) => match &body.previous {
                Some(previous) => write!(f, "done, before it {previous}"),
                None => f.write_str("done"),
            },
            Body::Delete(body) => {
                write!(f, "deleted {}", body.deleted)?;
                if !body.previous.is_empty() {
                    f.write_str(", before it ")?;
                    list(f, &body.previous, ", ")?;
                }
                Ok(())
            }
            Body::Txn(body) => {
                f.write_str(if body.succeeded { "then {" } else { "else {" })?;
                list(f, &body.responses, "; ")?;
                f.write_str("}")
            }
            Body::Compact => f.write_str("done"),
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FailureClass::Compacted => "revision compacted",
            FailureClass::FutureRevision => "future revision",
            FailureClass::InvalidArgument => "invalid argument",
            FailureClass::LeaseNotFound => "lease not found",
            FailureClass::Rejected => "rejected",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Ok(response) => write!(f, "{}, revision {}", response.body, response.revision),
            Outcome::Failed(failure) => write!(f, "refused: {}", failure.class),
            Outcome::Unknown(reason) => write!(f, "outcome unknown: {reason}"),
        }
    }
}

/// `, member 1, 5.201 s to 5.310 s`
pub(super) fn where_and_when(
    f: &mut fmt::Formatter<'_>,
    member: Option<u32>,
    invoked: Nanoseconds,
    returned: Option<Nanoseconds>,
) -> fmt::Result {
    if let Some(member) = member {
        write!(f, ", member {member}")?;
    }
    write!(f, ", {} to ", seconds(invoked))?;
    match returned {
        Some(returned) => f.write_str(&seconds(returned)),
        None => f.write_str("?"),
    }
}

impl fmt::Display for Operation {
    /// `operation 7 (client 2, member 1, 5.201 s to 5.310 s): put k = v -> done, revision 16`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {} (client {}", self.id, self.client)?;
        where_and_when(f, self.member, self.invoked, self.returned)?;
        write!(f, "): {} -> {}", self.request, self.outcome)
    }
}
