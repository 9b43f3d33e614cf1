//! Reads faults of both formats: a scenario's, whose times may be ranges, and a plan's.

use std::time::Duration;

use super::fault::{Direction, Fault, FaultRule, Files, Meanwhile, Pages, Shape};
use super::fields::{Fields, unknown_key};
use super::schema::{self, FAULTS, KeyDoc, Table};
use super::source::{Node, Place, Problem, Value};
use super::target::Target;

/// What a fault must fit into.
pub struct FaultContext {
    /// Size of the cluster.
    pub members: u32,
    /// Length of the safety phase.
    pub run: Duration,
    /// What power losses do unless they say otherwise.
    pub power_loss: super::PowerLoss,
}

/// How a format reads its times.
pub struct TimeReader<T> {
    /// Reads the time under a key.
    pub read: fn(&Fields<'_>, &'static str) -> Result<T, Problem>,
    /// The longest it can come out as.
    pub longest: fn(&T) -> Duration,
}

/// The documentation of the fault that `node` describes.
///
/// # Errors
/// When its kind is missing or unknown.
pub fn table_of(
    node: &Node,
    tables: &'static [Table],
    what: &str,
) -> Result<&'static Table, Problem> {
    let Value::Table(entries) = &node.value else {
        return Err(Problem::at(
            node.place.clone(),
            format!("a {what} is a table: write [[{what}]]"),
        ));
    };
    let kinds = tables[0].key("kind").map(|key| key.kind);
    let Some(schema::Kind::Choice(kinds)) = kinds else {
        unreachable!("the first key of every {what} is its kind");
    };
    let Some(kind) = node.get("kind") else {
        let names: Vec<_> = tables.iter().map(|table| table.name).collect();
        if let Some((key, _)) = entries
            .iter()
            .find(|(key, _)| tables.iter().all(|table| table.key(&key.name).is_none()))
        {
            return Err(unknown_key(&key.name, &key.place, &["kind"], what));
        }
        return Err(
            Problem::at(node.place.clone(), format!("`{what}` needs `kind`"))
                .label("`kind` is missing here")
                .help(format!("kinds of {what}: {}", names.join(", "))),
        );
    };
    let name = super::fields::choice_of(kind, &format!("kind of {what}"), kinds)?;
    Ok(tables
        .iter()
        .find(|table| table.name == name)
        .expect("every kind has a table"))
}

/// One fault as read, before its name is settled.
pub struct ReadFault<'a, T> {
    /// The table, for the extra keys; the reader calls `finish`.
    pub fields: Fields<'a>,
    /// `name`, when given.
    pub name: Option<String>,
    /// Whom it happens to.
    pub on: Target,
    /// When it fires.
    pub at: T,
    /// What happens.
    pub fault: Fault<T>,
}

/// Reads one fault of either format.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read_fault<'a, T>(
    node: &'a Node,
    extra: &'static [KeyDoc],
    context: &FaultContext,
    time: &TimeReader<T>,
) -> Result<ReadFault<'a, T>, Problem> {
    let table = table_of(node, FAULTS, "fault")?;
    let fields = Fields::open(node, table, extra)?;
    fields.written("kind");
    let name = match fields.written("name") {
        Some(node) => Some(name_of(node)?),
        None => None,
    };
    let on = target(&fields, "on", context.members)?;
    let at = (time.read)(&fields, "at")?;
    if (time.longest)(&at) >= context.run {
        return Err(Problem::at(
            fields.place_of("at"),
            "the fault would fire after the run's end",
        )
        .help(format!(
            "the run lasts {}; fire before that, or raise `run` in [time]",
            super::units::format_duration(context.run)
        )));
    }
    let read = |key| within_run(&fields, key, context, time);
    let fault = match table.name {
        "partition" => Fault::Partition {
            lasts: read("for")?,
            shape: read_shape(&fields, context, on)?,
        },
        "crash" => Fault::Crash {
            restart_after: read("restart-after")?,
        },
        "power-loss" => read_power_loss(&fields, context, read("restart-after")?)?,
        "pause" => Fault::Pause {
            lasts: read("for")?,
        },
        "slow-fsync" => Fault::SlowFsync {
            lasts: read("for")?,
            latency: read("latency")?,
        },
        "fsync-lies" => Fault::FsyncLies {
            lasts: fields.written("for").map(|_| read("for")).transpose()?,
        },
        "disk-full" => Fault::DiskFull {
            lasts: read("for")?,
        },
        "fsync-error" => Fault::FsyncError {
            lasts: read("for")?,
            pages: Pages::from_name(fields.choice("pages")?)
                .expect("the choices of `pages` are its names"),
        },
        "write-error" => Fault::WriteError {
            lasts: read("for")?,
        },
        "read-error" => Fault::ReadError {
            lasts: read("for")?,
        },
        "bit-flip" => Fault::BitFlip {
            restart_after: read("restart-after")?,
            files: Files::from_name(fields.choice("files")?)
                .expect("the choices of `files` are its names"),
            bits: u32::try_from(fields.count("bits")?).unwrap_or(u32::MAX),
            process: Meanwhile::from_name(fields.choice("process")?)
                .expect("the choices of `process` are its names"),
        },
        other => unreachable!("`{other}` is no documented kind"),
    };
    Ok(ReadFault {
        fields,
        name,
        on,
        at,
        fault,
    })
}

fn name_of(node: &Node) -> Result<String, Problem> {
    let name = super::fields::text_of(node, "name")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 60 || !name.chars().all(plain) {
        return Err(Problem::at(
            node.place.clone(),
            "a name is made of letters, digits and dashes",
        ));
    }
    Ok(name.to_string())
}

fn within_run<T>(
    fields: &Fields<'_>,
    key: &'static str,
    context: &FaultContext,
    time: &TimeReader<T>,
) -> Result<T, Problem> {
    let value = (time.read)(fields, key)?;
    if (time.longest)(&value) > context.run {
        let run = super::units::format_duration(context.run);
        return Err(Problem::at(
            fields.place_of(key),
            format!("`{key}` is longer than the run, which lasts {run}"),
        ));
    }
    Ok(value)
}

fn target(fields: &Fields<'_>, key: &'static str, members: u32) -> Result<Target, Problem> {
    fields.parsed(key, |text| {
        let target = Target::parse(text)?;
        target.check(members)?;
        Ok(target)
    })
}

fn read_shape(fields: &Fields<'_>, context: &FaultContext, on: Target) -> Result<Shape, Problem> {
    if context.members < 2 {
        return Err(Problem::at(
            fields.place().clone(),
            "a cluster of one cannot be partitioned",
        ));
    }
    let shape = fields.choice("shape")?;
    let only_for = |key: &'static str, wanted: &str| match fields.written(key) {
        Some(node) if shape != wanted => Err(Problem::at(
            node.place.clone(),
            format!("`{key}` belongs to shape = \"{wanted}\", and this is \"{shape}\""),
        )),
        _ => Ok(()),
    };
    only_for("direction", "one-way")?;
    only_for("with", "partial")?;
    Ok(match shape {
        "two-way" => Shape::TwoWay,
        "one-way" => {
            let direction = Direction::from_name(fields.choice("direction")?);
            Shape::OneWay(direction.expect("the choices of `direction` are its names"))
        }
        _ => {
            if fields.written("with").is_none() {
                return Err(Problem::at(
                    fields.place_of("shape"),
                    "a partial partition needs `with`",
                )
                .help("with = \"member 2\": the other end of the cut"));
            }
            let with = target(fields, "with", context.members)?;
            if with == on && matches!(on, Target::Member(_) | Target::Leader | Target::All) {
                return Err(Problem::at(
                    fields.place_of("with"),
                    format!("both ends of the cut are \"{on}\""),
                ));
            }
            Shape::Partial { with }
        }
    })
}

fn read_power_loss<T>(
    fields: &Fields<'_>,
    context: &FaultContext,
    restart_after: T,
) -> Result<Fault<T>, Problem> {
    let default = context.power_loss;
    let unsynced = match fields.written("unsynced") {
        Some(_) => super::sections::unsynced(fields)?,
        None => default.unsynced,
    };
    let torn_sector = match fields.written("torn-sector") {
        Some(_) => super::sections::torn_sector(fields)?,
        None => default.torn_sector,
    };
    Ok(Fault::PowerLoss {
        restart_after,
        unsynced,
        torn_sector,
    })
}

/// Gives every unnamed fault its kind and number, and refuses two of one name.
///
/// # Errors
/// When a name is taken.
pub fn settle_names(faults: &mut [(FaultRule, Place)]) -> Result<(), Problem> {
    let mut counts = std::collections::BTreeMap::new();
    for (rule, _) in faults.iter_mut() {
        let count = counts.entry(rule.fault.kind()).or_insert(0u32);
        *count += 1;
        if !rule.named {
            rule.name = format!("{}-{count}", rule.fault.kind());
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for (rule, place) in faults.iter() {
        if !seen.insert(rule.name.clone()) {
            let message = format!("two faults are called \"{}\"", rule.name);
            return Err(Problem::at(place.clone(), message));
        }
    }
    Ok(())
}
