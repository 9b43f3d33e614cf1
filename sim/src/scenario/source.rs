//! TOML with places: every key and value remembers where it was written, so that an error can show
//! the line with a caret.
//!
//! A scenario has one file and any number of `--set` overrides; each is a [`Source`] of its own.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The largest scenario or plan that is read, in bytes.
pub const SOURCE_LENGTH_MAX: usize = 4 << 20;

/// A text that values come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file's path as the user gave it, or `--set`.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Bytes `span` of source number `source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into the list of sources.
    pub source: usize,
    /// Byte range in that source.
    pub span: Range<usize>,
}

/// A key as written.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
}

/// A value as written.
#[derive(Clone, Debug)]
pub struct Node {
    /// What was written.
    pub value: Value,
    /// Where it stands.
    pub place: Place,
}

/// The shapes a TOML value may have.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string.
    Text(String),
    /// An integer within 64 bits.
    Integer(i64),
    /// A number with a fraction, or an integer that does not fit.
    Float(f64),
    /// `true` or `false`.
    Flag(bool),
    /// A date; no key of ours takes one.
    Date(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values in the order of their place in the source.
    Table(Vec<(Key, Node)>),
}

impl Value {
    /// What to call it in an error.
    pub fn shape(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Flag(_) => "a boolean",
            Value::Date(_) => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

impl Node {
    /// The value under `key`, when this is a table that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Table(entries) => entries
                .iter()
                .find(|(k, _)| k.name == key)
                .map(|(_, node)| node),
            _ => None,
        }
    }

    /// The elements, when this is a list.
    pub fn elements(&self) -> &[Node] {
        match &self.value {
            Value::List(elements) => elements,
            _ => &[],
        }
    }
}

/// Reads source number `index` as a TOML document.
///
/// # Errors
/// The first syntax error.
pub fn parse_document(index: usize, text: &str) -> Result<Node, Problem> {
    let table = DeTable::parse(text).map_err(|error| syntax(index, &error))?;
    Ok(table_node(index, table.get_ref(), table.span()))
}

/// Reads bytes `from..` of source number `index` as one TOML value; what is no TOML value is taken
/// as a bare string, so that `--set wal-sync=always` needs no quotes inside quotes.
pub fn parse_value(index: usize, text: &str, from: usize) -> Node {
    let rest = &text[from..];
    match DeValue::parse(rest) {
        Ok(value) => {
            let mut node = value_node(index, &value);
            shift(&mut node, from);
            node
        }
        Err(_) => Node {
            value: Value::Text(rest.to_string()),
            place: Place {
                source: index,
                span: from..text.len(),
            },
        },
    }
}

fn shift(node: &mut Node, by: usize) {
    node.place.span = node.place.span.start + by..node.place.span.end + by;
    match &mut node.value {
        Value::List(elements) => elements.iter_mut().for_each(|element| shift(element, by)),
        Value::Table(entries) => {
            for (key, node) in entries {
                key.place.span = key.place.span.start + by..key.place.span.end + by;
                shift(node, by);
            }
        }
        _ => {}
    }
}

fn syntax(index: usize, error: &toml::de::Error) -> Problem {
    let message = error
        .message()
        .lines()
        .next()
        .unwrap_or("not TOML")
        .to_string();
    match error.span() {
        Some(span) => Problem::at(
            Place {
                source: index,
                span,
            },
            format!("not TOML: {message}"),
        ),
        None => Problem::general(format!("not TOML: {message}")),
    }
}

fn table_node(source: usize, table: &DeTable<'_>, span: Range<usize>) -> Node {
    let mut entries: Vec<(Key, Node)> = table
        .iter()
        .map(|(key, value)| {
            let place = Place {
                source,
                span: key.span(),
            };
            (
                Key {
                    name: key.get_ref().to_string(),
                    place,
                },
                value_node(source, value),
            )
        })
        .collect();
    entries.sort_by_key(|(key, _)| key.place.span.start);
    Node {
        value: Value::Table(entries),
        place: Place { source, span },
    }
}

fn value_node(source: usize, value: &Spanned<DeValue<'_>>) -> Node {
    let place = Place {
        source,
        span: value.span(),
    };
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            match i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Float(f64::INFINITY),
            }
        }
        DeValue::Float(number) => {
            Value::Float(number.as_str().replace('_', "").parse().unwrap_or(f64::NAN))
        }
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(elements) => Value::List(
            elements
                .iter()
                .map(|element| value_node(source, element))
                .collect(),
        ),
        DeValue::Table(table) => return table_node(source, table, place.span),
    };
    Node { value, place }
}

/// One thing wrong with a scenario: what, where, and what to do.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What is wrong, without a final stop.
    pub message: String,
    /// Where; `None` when it is about the whole.
    pub place: Option<Place>,
    /// A few words beside the caret.
    pub label: String,
    /// What to do, one sentence a line.
    pub help: Vec<String>,
}

impl Problem {
    /// A problem with what stands at `place`.
    pub fn at(place: Place, message: impl Into<String>) -> Problem {
        Problem {
            message: message.into(),
            place: Some(place),
            label: String::new(),
            help: Vec::new(),
        }
    }

    /// A problem with the whole.
    pub fn general(message: impl Into<String>) -> Problem {
        Problem {
            message: message.into(),
            place: None,
            label: String::new(),
            help: Vec::new(),
        }
    }

    /// Adds the words beside the caret.
    pub fn label(mut self, label: impl Into<String>) -> Problem {
        self.label = label.into();
        self
    }

    /// Adds a line of help.
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help.push(help.into());
        self
    }

    /// Shows the problem with its line, the way a compiler would.
    pub fn render(&self, sources: &[Source]) -> String {
        let mut out = self.message.clone();
        let mut gutter = String::from(" ");
        if let Some(place) = &self.place
            && let Some(source) = sources.get(place.source)
        {
            let shown = Excerpt::of(source, &place.span);
            let number = shown.line.to_string();
            gutter = " ".repeat(number.len());
            out += &format!(
                "\n{gutter}--> {}:{}:{}\n",
                source.name, shown.line, shown.column
            );
            out += &format!(
                "{gutter} |\n{number} | {}\n{gutter} | {}",
                shown.text, shown.caret
            );
            if !self.label.is_empty() {
                out += &format!(" {}", self.label);
            }
        } else if !self.label.is_empty() {
            out += &format!(": {}", self.label);
        }
        for help in &self.help {
            out += &format!("\n{gutter} = help: {help}");
        }
        out
    }
}

/// The line that a span begins in, and carets under it.
struct Excerpt {
    line: usize,
    column: usize,
    text: String,
    caret: String,
}

impl Excerpt {
    /// At most this many characters of a line are shown.
    const WIDTH_MAX: usize = 160;

    fn of(source: &Source, span: &Range<usize>) -> Excerpt {
        let text = &source.text;
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let before = &text[line_start..start];
        let mut end = span.end.clamp(start, line_end);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        // A tab keeps its width under the caret by being shown as one space in both lines.
        let shown: String = text[line_start..line_end]
            .trim_end_matches('\r')
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(Self::WIDTH_MAX)
            .collect();
        let indent = before.chars().count().min(Self::WIDTH_MAX);
        let width = text[start..end].chars().count().clamp(1, Self::WIDTH_MAX);
        Excerpt {
            line: text[..line_start].matches('\n').count() + 1,
            column: before.chars().count() + 1,
            text: shown,
            caret: format!("{}{}", " ".repeat(indent), "^".repeat(width)),
        }
    }
}

/// A scenario or plan that cannot be used; displays as the whole explanation.
#[derive(Debug, thiserror::Error)]
#[error("{rendered}")]
pub struct ScenarioError {
    rendered: String,
}

impl ScenarioError {
    /// Renders `problem` against the sources it points into.
    pub fn new(problem: &Problem, sources: &[Source]) -> ScenarioError {
        ScenarioError {
            rendered: problem.render(sources),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The known name nearest to `word`, when one is near enough to have been meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|name| {
            (
                strsim::damerau_levenshtein(&word, &name.to_lowercase()),
                name,
            )
        })
        .filter(|(distance, name)| *distance <= 1 + word.chars().count().min(name.len()) / 3)
        .min()
        .map(|(_, name)| name)
}
