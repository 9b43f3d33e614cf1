//! Finds scenarios by path, name, directory or tag.
#![allow(clippy::disallowed_methods)] // The user's files, outside every simulation.

use std::path::{Path, PathBuf};

use super::{CliError, Engine, Environment};
use crate::scenario::source::nearest;
use crate::scenario::{Scenario, load, name_of};

/// Most files looked at below one directory: a mistyped `/` must not read a whole disk.
const FILES_MAX: usize = 10_000;
/// Deepest nesting of directories looked into.
const DEPTH_MAX: usize = 8;

/// The directory that scenarios live in, below the working directory or one of its parents.
const SCENARIOS: &str = "scenarios";

/// Loads the scenarios that `what` selects, sorted by name within each argument, each once.
pub fn find(
    what: &[String],
    sets: &[String],
    environment: &Environment,
    engine: Engine<'_>,
) -> Result<Vec<Scenario>, CliError> {
    let mut shown: Vec<String> = Vec::new();
    if what.is_empty() {
        shown = library(environment)?;
        if shown.is_empty() {
            return Err(CliError::NothingMatched(format!(
                "there is no {SCENARIOS}/ here with scenarios in it; name a scenario's file"
            )));
        }
    }
    for word in what {
        for path in select(word, environment, engine)? {
            if !shown.contains(&path) {
                shown.push(path);
            }
        }
    }
    shown
        .iter()
        .map(|path| {
            Ok(load(
                &environment.directory.join(path),
                path,
                sets,
                engine.flags,
            )?)
        })
        .collect()
}

/// Loads the one scenario at a path or of a name.
pub fn find_one(
    word: &str,
    sets: &[String],
    environment: &Environment,
    engine: Engine<'_>,
) -> Result<Scenario, CliError> {
    let shown = by_path_or_name(word, environment)?.ok_or_else(|| no_such(word, environment))?;
    let path = environment.directory.join(&shown);
    if path.is_dir() {
        return Err(CliError::Usage(format!(
            "{word} is a directory; name one scenario"
        )));
    }
    Ok(load(&path, &shown, sets, engine.flags)?)
}

/// The paths that one argument selects.
fn select(
    word: &str,
    environment: &Environment,
    engine: Engine<'_>,
) -> Result<Vec<String>, CliError> {
    if let Some(shown) = by_path_or_name(word, environment)? {
        if !environment.directory.join(&shown).is_dir() {
            return Ok(vec![shown]);
        }
        let files = files_below(&environment.directory, &shown)?;
        if files.is_empty() {
            let message = format!("there is no scenario (*.toml) below {word}");
            return Err(CliError::NothingMatched(message));
        }
        return Ok(files);
    }
    if word.contains(['/', '\\']) || word.ends_with(".toml") {
        return Err(no_such(word, environment));
    }
    by_tag(word, environment, engine)
}

/// The path that `word` means when it is a path, or a name below the scenarios' directory.
fn by_path_or_name(word: &str, environment: &Environment) -> Result<Option<String>, CliError> {
    if word.is_empty() {
        return Err(CliError::Usage("the empty string names no scenario".into()));
    }
    if environment.directory.join(word).exists() {
        return Ok(Some(
            word.trim_start_matches("./")
                .trim_end_matches('/')
                .to_string(),
        ));
    }
    let found = library(environment)?
        .into_iter()
        .find(|path| name_of(path) == word);
    if found.is_some() {
        return Ok(found);
    }
    let below = library_directory(environment).map(|directory| format!("{directory}/{word}"));
    Ok(below.filter(|path| environment.directory.join(path).is_dir()))
}

fn by_tag(
    tag: &str,
    environment: &Environment,
    engine: Engine<'_>,
) -> Result<Vec<String>, CliError> {
    let (mut found, mut tags, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for path in library(environment)? {
        let scenario = load(&environment.directory.join(&path), &path, &[], engine.flags)?;
        if scenario.tags.iter().any(|known| known == tag) {
            found.push(path);
        }
        names.push(scenario.name);
        tags.extend(scenario.tags);
    }
    if !found.is_empty() {
        return Ok(found);
    }
    tags.sort();
    tags.dedup();
    let known = tags.iter().chain(&names).map(String::as_str);
    let mut message = format!("nothing matched: no scenario has the tag or name \"{tag}\"");
    if let Some(near) = nearest(tag, known) {
        message += &format!("; did you mean \"{near}\"?");
    }
    if !tags.is_empty() {
        message += &format!("\n  = help: tags: {}", tags.join(", "));
    }
    Err(CliError::NothingMatched(message))
}

fn no_such(word: &str, environment: &Environment) -> CliError {
    let known = library(environment).unwrap_or_default();
    let names: Vec<String> = known.iter().map(|path| name_of(path)).collect();
    let candidates = known.iter().chain(&names).map(String::as_str);
    let mut message = format!("there is no scenario \"{word}\"");
    match nearest(word, candidates) {
        Some(near) => message += &format!("\n  = help: did you mean \"{near}\"?"),
        None => message += "\n  = help: `vetcd-sim list` shows the scenarios there are",
    }
    CliError::Usage(message)
}

/// The scenarios' directory as shown to the user.
fn library_directory(environment: &Environment) -> Option<String> {
    let mut shown = String::from(SCENARIOS);
    for directory in environment.directory.ancestors() {
        if directory.join(SCENARIOS).is_dir() {
            return Some(shown);
        }
        shown = format!("../{shown}");
    }
    None
}

/// All scenarios of the scenarios' directory, as shown to the user.
fn library(environment: &Environment) -> Result<Vec<String>, CliError> {
    match library_directory(environment) {
        Some(directory) => files_below(&environment.directory, &directory),
        None => Ok(Vec::new()),
    }
}

/// The `*.toml` files below `base/shown`, as shown to the user, sorted.
fn files_below(base: &Path, shown: &str) -> Result<Vec<String>, CliError> {
    let mut files = Vec::new();
    let mut pending = vec![(base.join(shown), shown.to_string(), 0)];
    while let Some((directory, shown, depth)) = pending.pop() {
        let unreadable = |error| CliError::Usage(format!("cannot read {shown}: {error}"));
        for entry in std::fs::read_dir(&directory).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let (path, below): (PathBuf, String) = (entry.path(), format!("{shown}/{name}"));
            let kind = entry.file_type().map_err(unreadable)?;
            if kind.is_dir() && depth < DEPTH_MAX && !name.starts_with('.') {
                pending.push((path, below, depth + 1));
            } else if name.ends_with(".toml") && path.is_file() {
                files.push(below);
            }
            if files.len() + pending.len() > FILES_MAX {
                let message = format!("more than {FILES_MAX} files below {shown}: name fewer");
                return Err(CliError::Usage(message));
            }
        }
    }
    files.sort();
    Ok(files)
}
