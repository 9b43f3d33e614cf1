//! `--set KEY=VALUE`: replaces or adds one value before the scenario is read, so that an override
//! is judged exactly as if it had been written in the file.
//!
//! KEY is a path (`time.run`, `network.latency.p50`, `fault.2.at`, `fault.slow-fsync-1.for`,
//! `workload.1.rate`), or the bare name of a server flag (`wal-sync`). List elements are chosen by
//! their number, counted from 1, by name, or by kind and number; a single `[[workload]]` needs none.

use super::fields::unknown_key;
use super::schema::SCENARIO;
use super::source::{self, Key, Node, Place, Problem, Value};
use super::{ServerFlags, read_fault};

/// Applies the override that is source number `index`.
pub fn apply(
    root: &mut Node,
    index: usize,
    text: &str,
    flags: &dyn ServerFlags,
) -> Result<(), Problem> {
    let whole = Place {
        source: index,
        span: 0..text.len(),
    };
    let Some(equals) = text.find('=') else {
        return Err(Problem::at(whole, "an override is KEY=VALUE")
            .help("such as --set time.run=30s or --set wal-sync=none"));
    };
    let mut path: Vec<Key> = Vec::new();
    let mut start = 0;
    for name in text[..equals].split('.') {
        let place = Place {
            source: index,
            span: start..start + name.len(),
        };
        if name.trim().is_empty() {
            return Err(Problem::at(place, "an override's key has an empty part"));
        }
        path.push(Key {
            name: name.trim().to_string(),
            place,
        });
        start += name.len() + 1;
    }
    expand_server_flag(&mut path, flags)?;
    let value = source::parse_value(index, text, equals + 1);
    set(root, &path, value)
}

/// A bare server flag stands for `cluster.server.FLAG`.
fn expand_server_flag(path: &mut Vec<Key>, flags: &dyn ServerFlags) -> Result<(), Problem> {
    let first = path[0].clone();
    if SCENARIO.key(&first.name).is_some() {
        return Ok(());
    }
    let names = flags.names();
    if path.len() == 1 && names.contains(&first.name) {
        for (at, section) in ["cluster", "server"].into_iter().enumerate() {
            path.insert(
                at,
                Key {
                    name: section.into(),
                    place: first.place.clone(),
                },
            );
        }
        return Ok(());
    }
    let mut known: Vec<&str> = SCENARIO.keys().map(|key| key.name).collect();
    known.extend(names.iter().map(String::as_str));
    known.sort_unstable();
    let mut problem = unknown_key(&first.name, &first.place, &known, "scenario");
    problem.message = format!("unknown key `{}`", first.name);
    problem.help =
        vec!["see `vetcd-sim explain keys` for all keys; server flags need no path".into()];
    Err(problem)
}

fn set(node: &mut Node, path: &[Key], value: Node) -> Result<(), Problem> {
    let Some((key, rest)) = path.split_first() else {
        *node = value;
        return Ok(());
    };
    if let Value::List(elements) = &mut node.value {
        let (at, rest) = element_at(elements, key, path, rest)?;
        return set(&mut elements[at], rest, value);
    }
    let Value::Table(entries) = &mut node.value else {
        return Err(Problem::at(
            key.place.clone(),
            format!("there is no `{}` inside {}", key.name, node.value.shape()),
        ));
    };
    let at = match entries.iter().position(|(known, _)| known.name == key.name) {
        Some(at) => at,
        None => {
            let empty = Node {
                value: Value::Table(Vec::new()),
                place: key.place.clone(),
            };
            entries.push((key.clone(), empty));
            entries.len() - 1
        }
    };
    if rest.is_empty() {
        entries[at].0 = key.clone();
    }
    set(&mut entries[at].1, rest, value)
}

/// Which element `key` chooses, and the path inside it.
fn element_at<'a>(
    elements: &[Node],
    key: &Key,
    path: &'a [Key],
    rest: &'a [Key],
) -> Result<(usize, &'a [Key]), Problem> {
    let names = element_names(elements);
    if let Ok(number) = key.name.parse::<usize>() {
        if number == 0 || number > elements.len() {
            let message = format!(
                "there is no number {number}: they are 1 to {}",
                elements.len()
            );
            return Err(Problem::at(key.place.clone(), message));
        }
        return Ok((number - 1, rest));
    }
    if let Some(at) = names.iter().position(|name| *name == key.name) {
        return Ok((at, rest));
    }
    if elements.len() == 1 && !rest_names_element(&key.name, elements) {
        return Ok((0, path));
    }
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut problem = Problem::at(
        key.place.clone(),
        format!("there is no element called `{}`", key.name),
    );
    if let Some(near) = source::nearest(&key.name, known.iter().copied()) {
        problem = problem.label(format!("did you mean `{near}`?"));
    }
    Err(problem.help(format!(
        "choose by number from 1, or by name: {}",
        known.join(", ")
    )))
}

/// Whether `name` can only be meant as an element's name: it is no key that any kind has.
fn rest_names_element(name: &str, elements: &[Node]) -> bool {
    let tables = [super::schema::FAULTS, super::schema::WORKLOADS];
    let known = tables.into_iter().any(|tables| {
        elements.iter().any(|node| {
            read_fault::table_of(node, tables, "element")
                .is_ok_and(|table| table.key(name).is_some())
        })
    });
    !known
}

/// Each element's name, or its kind and number.
fn element_names(elements: &[Node]) -> Vec<String> {
    let mut counts = std::collections::BTreeMap::new();
    let text = |node: &Node, key: &str| match node.get(key).map(|node| &node.value) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    elements
        .iter()
        .map(|node| {
            let kind = text(node, "kind").unwrap_or_default();
            let count = counts.entry(kind.clone()).or_insert(0u32);
            *count += 1;
            text(node, "name").unwrap_or_else(|| format!("{kind}-{count}"))
        })
        .collect()
}
