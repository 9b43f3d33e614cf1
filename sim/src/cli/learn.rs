//! `vetcd-sim list`, `explain`, `schema`, `completions` and `manual`: what there is and what it means.

use std::fmt::Write as _;

use clap::CommandFactory;

use super::args::{Arguments, CompletionsArgs, ExplainArgs, ListArgs};
use super::find::{find, find_one};
use super::{CliError, Engine, Environment, Streams};
use crate::report::json::pretty;
use crate::report::style::{Style, Tone};
use crate::scenario::reference::{Entry, entries, json_schema};
use crate::scenario::source::nearest;
use crate::scenario::{Scenario, format_duration};

/// Lists scenarios, one a line.
pub fn list(
    args: &ListArgs,
    environment: &Environment,
    engine: Engine<'_>,
    streams: &mut Streams<'_>,
) -> Result<u8, CliError> {
    let scenarios = find(&args.what, &[], environment, engine)?;
    let style = environment.style;
    let width = scenarios
        .iter()
        .map(|scenario| scenario.name.len())
        .max()
        .unwrap_or(0);
    for scenario in &scenarios {
        let name = style.paint(Tone::Name, &format!("{:<width$}", scenario.name));
        let tags = style.paint(Tone::Dim, &format!("[{}]", scenario.tags.join(", ")));
        writeln!(streams.out, "{name}  {} {tags}", scenario.description)?;
    }
    Ok(0)
}

/// Explains one name, or lists all names.
pub fn explain(
    args: &ExplainArgs,
    environment: &Environment,
    engine: Engine<'_>,
    streams: &mut Streams<'_>,
) -> Result<u8, CliError> {
    let entries = entries(&engine.flags.names());
    let style = environment.style;
    let Some(name) = &args.name else {
        streams
            .out
            .write_all(contents(&entries, style).as_bytes())?;
        return Ok(0);
    };
    let text = match matching(&entries, name) {
        found if !found.is_empty() => {
            let texts: Vec<String> = found.iter().map(|entry| show(entry, style)).collect();
            texts.join("\n")
        }
        _ => match find_one(name, &[], environment, engine) {
            Ok(scenario) => describe(&scenario, style),
            Err(_) => return Err(unknown(name, &entries)),
        },
    };
    streams.out.write_all(text.as_bytes())?;
    Ok(0)
}

/// Entries of that name, or of that sort (`faults`, `events`, `exit-codes`, `keys`), or keys whose
/// last part is that name.
fn matching<'a>(entries: &'a [Entry], name: &str) -> Vec<&'a Entry> {
    let wanted = name.trim_start_matches("--").to_lowercase();
    let by = |test: &dyn Fn(&Entry) -> bool| -> Vec<&'a Entry> {
        entries.iter().filter(|entry| test(entry)).collect()
    };
    // Reports may write a check's name in words: strict serializability.
    let hyphened = wanted.replace(' ', "-");
    let exact = by(&|entry| entry.name == wanted || entry.name == hyphened);
    if !exact.is_empty() {
        return exact;
    }
    let member = wanted.starts_with("member ");
    if member {
        return by(&|entry| entry.name == "member N");
    }
    let sort = wanted.replace('-', " ");
    let of_sort = by(&|entry| entry.sort == sort || format!("{}s", entry.sort) == sort);
    if !of_sort.is_empty() {
        return of_sort;
    }
    let suffix = format!(".{wanted}");
    by(&|entry| entry.name.ends_with(&suffix))
}

fn unknown(name: &str, entries: &[Entry]) -> CliError {
    let mut message = format!("nothing is called \"{name}\"");
    if let Some(near) = nearest(name, entries.iter().map(|entry| entry.name.as_str())) {
        message += &format!("; did you mean \"{near}\"?");
    }
    message += "\n  = help: `vetcd-sim explain` lists everything that can be explained";
    CliError::Usage(message)
}

fn show(entry: &Entry, style: Style) -> String {
    format!(
        "{} ({})\n  {}\n",
        style.paint(Tone::Name, &entry.name),
        entry.sort,
        entry.text.replace('\n', "\n  ")
    )
}

fn contents(entries: &[Entry], style: Style) -> String {
    let mut out = String::new();
    let width = entries
        .iter()
        .map(|entry| entry.name.len())
        .max()
        .unwrap_or(0);
    let mut sort = "";
    for entry in entries {
        // Sections and their keys stand together: one heading for both.
        let heading = match entry.sort {
            "section" | "list of tables" | "key" => "keys",
            other => other,
        };
        if heading != sort {
            sort = heading;
            let _ = writeln!(out, "{}", style.paint(Tone::Good, sort));
        }
        let first = entry.text.lines().next().unwrap_or_default();
        let _ = writeln!(out, "  {:<width$}  {first}", entry.name);
    }
    out
}

fn describe(scenario: &Scenario, style: Style) -> String {
    let mut out = format!("{} (scenario)\n", style.paint(Tone::Name, &scenario.name));
    let _ = writeln!(out, "  {}", scenario.description);
    let _ = writeln!(
        out,
        "  {} members for {}, recovering within {}",
        scenario.cluster.members,
        format_duration(scenario.time.run),
        format_duration(scenario.time.recover_within)
    );
    for (flag, value) in &scenario.cluster.server {
        let _ = writeln!(out, "  --{flag} {value}");
    }
    for rule in &scenario.faults {
        let at = match rule.at.min == rule.at.max {
            true => format_duration(rule.at.min),
            false => {
                format!(
                    "{} to {}",
                    format_duration(rule.at.min),
                    format_duration(rule.at.max)
                )
            }
        };
        let _ = writeln!(out, "  at {at}: {} on {}", rule.fault.kind(), rule.on);
    }
    let _ = writeln!(out, "  vetcd-sim run {}", scenario.path);
    out
}

/// Prints the JSON schema.
pub fn schema(engine: Engine<'_>, streams: &mut Streams<'_>) -> Result<u8, CliError> {
    let schema = json_schema(&engine.flags.names());
    streams.out.write_all(pretty(&schema).as_bytes())?;
    Ok(0)
}

/// Prints completions.
pub fn completions(args: &CompletionsArgs, streams: &mut Streams<'_>) -> Result<u8, CliError> {
    let mut text = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut Arguments::command(),
        "vetcd-sim",
        &mut text,
    );
    streams.out.write_all(&text)?;
    Ok(0)
}

/// Prints the manual page.
pub fn manual(streams: &mut Streams<'_>) -> Result<u8, CliError> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Arguments::command()).render(&mut text)?;
    streams.out.write_all(&text)?;
    Ok(0)
}
