//! Jepsen's `history.edn`, and the traces of key-value stores that Porcupine is tested with: maps
//! of `:type`, `:process`, `:f` and `:value`, one an event.
//!
//! What `:f` means depends on the model:
//!
//! - `register`: `:read`, `:write` and `:cas`; a register holds nothing at first. With several
//!   registers every value is `[key value]`.
//! - `kv`: `:get`, `:put` and `:append`, of `:key` or of `[key value]`; a key holds the empty text at
//!   first, and appending makes it longer.
//! - `list-append`: `:value` is a transaction of `[:r key list]` and `[:append key element]`.
//!
//! A failure (`:fail`) did not happen; `:info`, and no answer at all, leave the outcome unknown.
//! Events of anything but a numbered process are skipped. `:time`, in nanoseconds, is believed as
//! long as it never goes back; else the n-th event is given the time n µs.

use bytes::Bytes;

use super::edn::{Edn, Reader};
use super::jepsen_log::one;
use super::pairs::Pairs;
use super::{Content, Format, Model, ReadError, Recording};
use crate::history::objects::{Access, Value};

pub(super) fn read(text: &str, model: Option<Model>) -> Result<Recording, ReadError> {
    let clock = has_clock(text)?;
    let mut model = model;
    let mut pairs = Pairs::default();
    let mut reader = Reader::new(text);
    let mut events = 0_u64;
    while let Some((start, event)) = reader.next_value()? {
        let wrong = |problem: String| ReadError::at(text, start, problem);
        if !matches!(event, Edn::Map(_)) {
            return Err(wrong(format!(
                "{} is not the map of an event",
                brief(&event)
            )));
        }
        events += 1;
        let Some(process) = event.get("process").and_then(Edn::integer) else {
            continue;
        };
        let Some(function) = event.get("f").and_then(Edn::keyword) else {
            return Err(wrong("an event without :f".to_owned()));
        };
        let model = match model {
            Some(model) => model,
            None => *model.insert(model_of(function).map_err(wrong)?),
        };
        let at = match (clock, event.get("time").and_then(Edn::integer)) {
            (true, Some(time)) => u64::try_from(time).unwrap_or(0),
            _ => events * 1_000,
        };
        let kind = event.get("type").and_then(Edn::keyword);
        match kind {
            Some("invoke") => {
                let accesses = accesses(model, function, &event, false).map_err(wrong)?;
                pairs.invoke(process, at, accesses)
            }
            Some("ok") => {
                let accesses = accesses(model, function, &event, true).map_err(wrong)?;
                pairs.ok(process, at, Some(accesses))
            }
            Some("fail") => pairs.fail(process),
            Some("info") => {
                pairs.unknown += 1;
                pairs.info(process)
            }
            _ => Err("an event's :type is :invoke, :ok, :fail or :info".to_owned()),
        }
        .map_err(wrong)?;
    }
    let Some(model) = model else {
        return Err(ReadError::of("no event of a numbered process in this"));
    };
    let mut notes = Vec::new();
    if !clock {
        notes.push("no clock that never goes back: the n-th event is shown as n µs".to_owned());
    }
    if pairs.failed > 0 {
        let text = format!(
            "{} failed operations are taken not to have happened",
            pairs.failed
        );
        notes.push(text);
    }
    let initial = match model {
        Model::Kv => Value::One(Bytes::new()),
        Model::ListAppend => Value::List(Vec::new()),
        Model::Register | Model::Etcd => Value::Nil,
    };
    Ok(Recording {
        format: Format::Edn,
        model,
        content: Content::Objects(pairs.history(initial)),
        notes,
    })
}

/// Whether every event says when it happened, and no time goes back.
fn has_clock(text: &str) -> Result<bool, ReadError> {
    let mut reader = Reader::new(text);
    let mut last = i64::MIN;
    while let Some((_, event)) = reader.next_value()? {
        match event.get("time").and_then(Edn::integer) {
            Some(time) if time >= last => last = time,
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn model_of(function: &str) -> Result<Model, String> {
    Ok(match function {
        "read" | "write" | "cas" => Model::Register,
        "get" | "put" | "append" => Model::Kv,
        "txn" => Model::ListAppend,
        other => {
            let problem = "what that is cannot be told: say --model register, kv or list-append";
            return Err(format!(":f :{other}: {problem}"));
        }
    })
}

fn brief(event: &Edn) -> String {
    let text = event.to_string();
    match text.char_indices().nth(40) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}

/// What an event asks for, or what it says happened.
fn accesses(model: Model, function: &str, event: &Edn, done: bool) -> Result<Vec<Access>, String> {
    let value = event.get("value").unwrap_or(&Edn::Nil);
    match model {
        Model::Register => register(function, value, done).map(|access| vec![access]),
        Model::Kv => kv(function, event.get("key"), value, done).map(|access| vec![access]),
        Model::ListAppend => {
            let steps = value.sequence();
            let steps = steps.ok_or_else(|| format!("{} is no transaction", brief(value)))?;
            steps.iter().map(|step| list(step, done)).collect()
        }
        Model::Etcd => Err("events like this say nothing about revisions: \
                            --model register, kv or list-append"
            .to_owned()),
    }
}

fn register(function: &str, value: &Edn, done: bool) -> Result<Access, String> {
    let only = Edn::Text("register".to_owned());
    let (key, value) = match (function, value.sequence()) {
        ("cas", Some([key, pair])) if pair.sequence().is_some() => (key, pair),
        ("read" | "write", Some([key, value])) => (key, value),
        _ => (&only, value),
    };
    let key = Bytes::from(key.plain());
    Ok(match (function, value.sequence()) {
        ("read", None) => Access::Read(key, done.then(|| one(value))),
        ("write", None) => Access::Write(key, one(value)),
        ("cas", Some([from, to])) => Access::Swap(key, [one(from), one(to)], done.then_some(true)),
        _ => return Err(format!("no register does :{function} {}", brief(value))),
    })
}

fn kv(function: &str, key: Option<&Edn>, value: &Edn, done: bool) -> Result<Access, String> {
    let (key, value) = match (key, value.sequence()) {
        (Some(key), _) => (key, value),
        (None, Some([key, value])) => (key, value),
        _ => return Err("an event without :key".to_owned()),
    };
    let key = Bytes::from(key.plain());
    let text = match value {
        Edn::Nil => Bytes::new(),
        value => Bytes::from(value.plain()),
    };
    Ok(match function {
        "get" | "read" => Access::Read(key, done.then_some(Value::One(text))),
        "put" | "write" => Access::Write(key, Value::One(text)),
        "append" => Access::Append(key, text),
        other => return Err(format!("no key-value store does :{other}")),
    })
}

fn list(step: &Edn, done: bool) -> Result<Access, String> {
    let wrong = || {
        let step = brief(step);
        format!("{step} is neither [:r key list] nor [:append key element]")
    };
    let Some([function, key, value]) = step.sequence() else {
        return Err(wrong());
    };
    let key = Bytes::from(key.plain());
    match (function.keyword(), value) {
        (Some("r"), _) if !done => Ok(Access::Read(key, None)),
        (Some("r"), Edn::Nil) => Ok(Access::Read(key, Some(Value::List(Vec::new())))),
        (Some("r"), Edn::Sequence(items)) => {
            let items = items.iter().map(|item| item.plain().into()).collect();
            Ok(Access::Read(key, Some(Value::List(items))))
        }
        (Some("append"), value) => Ok(Access::Append(key, value.plain().into())),
        _ => Err(wrong()),
    }
}
