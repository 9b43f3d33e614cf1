//! Jepsen's log of one register: `INFO  jepsen.util - 3 :invoke :cas [1 2]`.
//!
//! The register holds nothing at first. Words are separated by tabs or spaces; lines about anything
//! else are skipped. The order of lines is the order of time: the logs carry no clock, so the n-th
//! event is given the time n µs. Here `:fail :cas` is an answer: the register held another value.
//! Every other failure leaves the outcome unknown, and so does the end of the log.

use bytes::Bytes;

use super::edn::{Edn, Reader};
use super::pairs::Pairs;
use super::{Content, Format, Model, ReadError, Recording};
use crate::history::objects::{Access, Value};

/// The word that begins what a line says.
const LOGGER: &str = "jepsen.util";

/// Whether a text looks like such a log.
pub(super) fn is_log(start: &str) -> bool {
    start.lines().any(|line| event(line).is_some())
}

/// The process, the kind of the event, the function, and where the value begins.
fn event(line: &str) -> Option<(i64, &str, &str, &str)> {
    let (_, rest) = line.split_once(LOGGER)?;
    let rest = rest.trim_start().strip_prefix('-')?.trim_start();
    let (process, rest) = rest.split_once(char::is_whitespace)?;
    let (kind, rest) = rest.trim_start().split_once(char::is_whitespace)?;
    let rest = rest.trim();
    // Without a value the value is the empty end of the line: its place is still needed.
    let (function, value) = rest
        .split_once(char::is_whitespace)
        .unwrap_or(rest.split_at(rest.len()));
    let known = [":invoke", ":ok", ":fail", ":info"].contains(&kind)
        && [":read", ":write", ":cas"].contains(&function);
    let process = process.parse().ok()?;
    known.then_some((process, kind, function, value.trim_start()))
}

pub(super) fn read(text: &str) -> Result<Recording, ReadError> {
    let mut pairs = Pairs::default();
    let mut now = 0;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let start = offset;
        offset += line.len();
        let Some((process, kind, function, value)) = event(line) else {
            continue;
        };
        now += 1_000;
        let column = value.as_ptr() as usize - line.as_ptr() as usize;
        let wrong = |problem: String| ReadError::at(text, start + column, problem);
        let value = match value {
            "" => Edn::Nil,
            value => Reader::new(&format!("{{:value {value}}}"))
                .next_value()
                .ok()
                .flatten()
                .and_then(|(_, map)| map.get("value").cloned())
                .ok_or_else(|| wrong(format!("{:?} is no value", value.trim_end())))?,
        };
        match kind {
            ":invoke" => {
                let access = access(function, &value, None).map_err(wrong)?;
                pairs.invoke(process, now, vec![access]).map_err(wrong)?;
            }
            ":ok" => {
                let access = access(function, &value, Some(true)).map_err(wrong)?;
                pairs.ok(process, now, Some(vec![access])).map_err(wrong)?;
            }
            ":fail" if function == ":cas" => {
                let asked = pairs.asked(process).and_then(<[Access]>::first);
                let Some(Access::Swap(key, values, _)) = asked else {
                    return Err(wrong(format!("process {process} asked for no :cas")));
                };
                let failed = Access::Swap(key.clone(), values.clone(), Some(false));
                pairs.ok(process, now, Some(vec![failed])).map_err(wrong)?;
            }
            _ => {
                pairs.unknown += 1;
                pairs.info(process).map_err(wrong)?;
            }
        }
    }
    if now == 0 {
        return Err(ReadError::of("no line of this is about an operation"));
    }
    Ok(Recording {
        format: Format::JepsenLog,
        model: Model::Register,
        content: Content::Objects(pairs.history(Value::Nil)),
        notes: vec!["no clock: the n-th event is shown as n µs".to_owned()],
    })
}

fn access(function: &str, value: &Edn, done: Option<bool>) -> Result<Access, String> {
    let register = Bytes::from_static(b"register");
    Ok(match function {
        ":read" => Access::Read(register, done.map(|_| one(value))),
        ":write" => Access::Write(register, one(value)),
        _ => match value.sequence() {
            Some([from, to]) => Access::Swap(register, [one(from), one(to)], done),
            _ => return Err(format!("{value} is not the two values of a :cas")),
        },
    })
}

/// The value of a register.
pub(super) fn one(value: &Edn) -> Value {
    match value {
        Edn::Nil => Value::Nil,
        value => Value::One(value.plain().into()),
    }
}
