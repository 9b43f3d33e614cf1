//! Reads the keys of one TOML table by its [`Table`] of documentation.
//!
//! Opening refuses keys that the documentation does not know; a key that is absent gets the default
//! that is documented, so that the two cannot drift apart; finishing insists that every documented
//! key was read. All errors point at the value.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use super::schema::{Choice, KeyDoc, Kind, Table};
use super::source::{self, Node, Place, Problem, Value, nearest};
use super::units::{self, Bandwidth, Offset, Rate};

/// A source index for values that stand in no source: documented defaults.
const NOWHERE: usize = usize::MAX;

/// A duration as scenarios state it: fixed, or drawn from the seed between two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Shortest.
    pub min: Duration,
    /// Longest; equal to `min` when fixed.
    pub max: Duration,
}

/// One table being read.
pub struct Fields<'a> {
    node: &'a Node,
    table: &'static Table,
    extra: &'static [KeyDoc],
    read: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Fields<'a> {
    /// Opens `node`, refusing unknown keys.
    ///
    /// # Errors
    /// When it is no table or has a key that neither `table` nor `extra` documents.
    pub fn open(
        node: &'a Node,
        table: &'static Table,
        extra: &'static [KeyDoc],
    ) -> Result<Fields<'a>, Problem> {
        let Value::Table(entries) = &node.value else {
            return Err(Problem::at(
                node.place.clone(),
                format!(
                    "`{}` is a table of keys, not {}",
                    table.name,
                    node.value.shape()
                ),
            ));
        };
        let fields = Fields {
            node,
            table,
            extra,
            read: RefCell::default(),
        };
        for (key, _) in entries {
            if fields.doc(&key.name).is_none() {
                return Err(unknown_key(
                    &key.name,
                    &key.place,
                    &fields.known(),
                    table.name,
                ));
            }
        }
        Ok(fields)
    }

    fn known(&self) -> Vec<&'static str> {
        let mut known: Vec<_> = self
            .table
            .keys()
            .chain(self.extra.iter())
            .map(|key| key.name)
            .collect();
        known.sort_unstable();
        known
    }

    fn doc(&self, name: &str) -> Option<&'static KeyDoc> {
        self.table
            .key(name)
            .or_else(|| self.extra.iter().find(|key| key.name == name))
    }

    /// Where the table stands.
    pub fn place(&self) -> &Place {
        &self.node.place
    }

    /// Where `key`'s value stands; the table's place when the key is absent.
    pub fn place_of(&self, key: &str) -> Place {
        self.node
            .get(key)
            .map_or_else(|| self.node.place.clone(), |node| node.place.clone())
    }

    /// The value of `key` as written, if it was.
    pub fn written(&self, key: &'static str) -> Option<&'a Node> {
        assert!(
            self.doc(key).is_some(),
            "`{key}` of `{}` is documented",
            self.table.name
        );
        self.read.borrow_mut().insert(key);
        self.node.get(key)
    }

    /// The value of `key`, or its documented default.
    ///
    /// # Errors
    /// When it must be given and is not.
    pub fn value(&self, key: &'static str) -> Result<Cow<'a, Node>, Problem> {
        if let Some(node) = self.written(key) {
            return Ok(Cow::Borrowed(node));
        }
        let doc = self
            .doc(key)
            .expect("written() checked that the key is documented");
        match doc.default {
            Some(default) => Ok(Cow::Owned(source::parse_value(NOWHERE, default, 0))),
            None => Err(self.missing(doc)),
        }
    }

    fn missing(&self, doc: &KeyDoc) -> Problem {
        Problem::at(
            self.node.place.clone(),
            format!("`{}` needs `{}`", self.table.name, doc.name),
        )
        .label(format!("`{}` is missing here", doc.name))
        .help(doc.doc)
    }

    /// Checks that every documented key was read.
    pub fn finish(self) {
        let read = self.read.borrow();
        for key in self.known() {
            assert!(
                read.contains(key),
                "`{key}` of `{}` is documented and read",
                self.table.name
            );
        }
    }

    /// A string.
    ///
    /// # Errors
    /// When it is none.
    pub fn text(&self, key: &'static str) -> Result<String, Problem> {
        let node = self.value(key)?;
        text_of(&node, key).map(str::to_string)
    }

    /// A list of strings.
    ///
    /// # Errors
    /// When it is none.
    pub fn texts(&self, key: &'static str) -> Result<Vec<String>, Problem> {
        let node = self.value(key)?;
        list_of(&node, key)?
            .iter()
            .map(|node| text_of(node, key).map(str::to_string))
            .collect()
    }

    /// A string that `parse` understands.
    ///
    /// # Errors
    /// When it is no string, or with what `parse` says.
    pub fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Problem> {
        let node = self.value(key)?;
        parsed_node(&node, key, &parse)
    }

    /// A duration.
    ///
    /// # Errors
    /// When it is none.
    pub fn duration(&self, key: &'static str) -> Result<Duration, Problem> {
        self.parsed(key, units::parse_duration)
    }

    /// A clock's offset.
    ///
    /// # Errors
    /// When it is none.
    pub fn offset(&self, key: &'static str) -> Result<Offset, Problem> {
        self.parsed(key, Offset::parse)
    }

    /// A rate.
    ///
    /// # Errors
    /// When it is none.
    pub fn rate(&self, key: &'static str) -> Result<Rate, Problem> {
        self.parsed(key, Rate::parse)
    }

    /// A bandwidth; `None` when absent.
    ///
    /// # Errors
    /// When it is none.
    pub fn bandwidth(&self, key: &'static str) -> Result<Option<Bandwidth>, Problem> {
        self.written(key)
            .map(|node| parsed_node(node, key, &Bandwidth::parse))
            .transpose()
    }

    /// A duration, or `{ between = [shortest, longest] }`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn drawn(&self, key: &'static str) -> Result<Drawn, Problem> {
        let node = self.value(key)?;
        let Value::Table(entries) = &node.value else {
            let fixed = parsed_node(&node, key, &units::parse_duration)?;
            return Ok(Drawn {
                min: fixed,
                max: fixed,
            });
        };
        if let Some((other, _)) = entries.iter().find(|(name, _)| name.name != "between") {
            return Err(unknown_key(&other.name, &other.place, &["between"], key));
        }
        let bounds = node.get("between").map_or(&[][..], Node::elements);
        let [min, max] = bounds else {
            return Err(
                Problem::at(node.place.clone(), format!("`{key}` lacks its two bounds"))
                    .help(format!("write {key} = {{ between = [\"1s\", \"4s\"] }}")),
            );
        };
        let drawn = Drawn {
            min: parsed_node(min, key, &units::parse_duration)?,
            max: parsed_node(max, key, &units::parse_duration)?,
        };
        if drawn.min > drawn.max {
            return Err(Problem::at(
                max.place.clone(),
                "the second bound is before the first",
            ));
        }
        Ok(drawn)
    }

    /// A whole number within its documented bounds.
    ///
    /// # Errors
    /// When it is none, or out of bounds.
    pub fn count(&self, key: &'static str) -> Result<u64, Problem> {
        let node = self.value(key)?;
        let Some(KeyDoc {
            kind: Kind::Count { min, max },
            ..
        }) = self.doc(key)
        else {
            unreachable!("`{key}` is documented as a count");
        };
        match &node.value {
            Value::Integer(number) => match u64::try_from(*number) {
                Ok(number) if (*min..=*max).contains(&number) => Ok(number),
                _ => Err(Problem::at(
                    node.place.clone(),
                    format!("`{key}` must lie between {min} and {max}"),
                )),
            },
            other => Err(wrong_shape(&node, key, "a whole number", other.shape())),
        }
    }

    /// A whole number of either sign within its documented bound.
    ///
    /// # Errors
    /// When it is none, or out of bounds.
    pub fn signed(&self, key: &'static str) -> Result<i64, Problem> {
        let node = self.value(key)?;
        let Some(KeyDoc {
            kind: Kind::Signed { max },
            ..
        }) = self.doc(key)
        else {
            unreachable!("`{key}` is documented as a signed number");
        };
        match &node.value {
            Value::Integer(number) if (-max..=*max).contains(number) => Ok(*number),
            Value::Integer(_) => Err(Problem::at(
                node.place.clone(),
                format!("`{key}` must lie between -{max} and {max}"),
            )),
            other => Err(wrong_shape(&node, key, "a whole number", other.shape())),
        }
    }

    /// A percentage as a string, or a number from 0 to 1.
    ///
    /// # Errors
    /// When it is neither.
    pub fn fraction(&self, key: &'static str) -> Result<f64, Problem> {
        let node = self.value(key)?;
        let number = match &node.value {
            Value::Integer(0) => Ok(0.0),
            Value::Integer(1) => Ok(1.0),
            Value::Integer(_) => Err("a fraction lies between 0 and 1 (0% and 100%)".into()),
            Value::Float(number) => units::check_fraction(*number),
            _ => return parsed_node(&node, key, &units::parse_fraction),
        };
        number.map_err(|text| Problem::at(node.place.clone(), format!("bad `{key}`: {text}")))
    }

    /// One of the documented words.
    ///
    /// # Errors
    /// When it is another, with the nearest known one.
    pub fn choice(&self, key: &'static str) -> Result<&'static str, Problem> {
        let node = self.value(key)?;
        choice_of(&node, key, self.choices_of(key))
    }

    /// A list of documented words.
    ///
    /// # Errors
    /// As [`Fields::choice`].
    pub fn choices(&self, key: &'static str) -> Result<Vec<&'static str>, Problem> {
        let node = self.value(key)?;
        let known = self.choices_of(key);
        list_of(&node, key)?
            .iter()
            .map(|element| choice_of(element, key, known))
            .collect()
    }

    fn choices_of(&self, key: &str) -> &'static [Choice] {
        match self.doc(key).map(|doc| doc.kind) {
            Some(Kind::Choice(choices) | Kind::Choices(choices) | Kind::ZeroOr(choices)) => choices,
            _ => unreachable!("`{key}` is documented as a choice"),
        }
    }

    /// `0`, read as `None`, or one of the documented words.
    ///
    /// # Errors
    /// As [`Fields::choice`].
    pub fn zero_or_choice(&self, key: &'static str) -> Result<Option<&'static str>, Problem> {
        let node = self.value(key)?;
        let known = self.choices_of(key);
        match &node.value {
            Value::Integer(0) => Ok(None),
            Value::Text(text) if text == "0" => Ok(None),
            Value::Integer(_) | Value::Float(_) => Err(Problem::at(
                node.place.clone(),
                format!("`{key}` is 0 or a word, not another number"),
            )
            .help(list_words(key, known))),
            _ => choice_of(&node, key, known).map(Some),
        }
    }
}

fn parsed_node<T>(
    node: &Node,
    key: &str,
    parse: &impl Fn(&str) -> Result<T, String>,
) -> Result<T, Problem> {
    parse(text_of(node, key)?)
        .map_err(|text| Problem::at(node.place.clone(), format!("bad `{key}`: {text}")))
}

fn wrong_shape(node: &Node, key: &str, wanted: &str, found: &str) -> Problem {
    Problem::at(
        node.place.clone(),
        format!("`{key}` is {wanted}, not {found}"),
    )
}

/// The string in `node`.
///
/// # Errors
/// When it is something else; a bare number where a quantity is wanted says how to write it.
pub fn text_of<'a>(node: &'a Node, key: &str) -> Result<&'a str, Problem> {
    match &node.value {
        Value::Text(text) => Ok(text),
        Value::Integer(number) => Err(wrong_shape(node, key, "a string", "an integer").help(
            format!("put it in quotes, with its unit if it has one: \"{number}…\""),
        )),
        other => Err(wrong_shape(node, key, "a string", other.shape())),
    }
}

/// The list in `node`.
///
/// # Errors
/// When it is something else.
pub fn list_of<'a>(node: &'a Node, key: &str) -> Result<&'a [Node], Problem> {
    match &node.value {
        Value::List(elements) => Ok(elements),
        other => Err(wrong_shape(node, key, "a list", other.shape())),
    }
}

/// The one of `known` that `node` names.
///
/// # Errors
/// When it names none, with the nearest.
pub fn choice_of(
    node: &Node,
    key: &str,
    known: &'static [Choice],
) -> Result<&'static str, Problem> {
    let word = text_of(node, key)?;
    if let Some(choice) = known.iter().find(|choice| choice.name == word) {
        return Ok(choice.name);
    }
    let mut problem = Problem::at(node.place.clone(), format!("unknown {key} \"{word}\""));
    if let Some(near) = nearest(word, known.iter().map(|choice| choice.name)) {
        problem = problem.label(format!("did you mean \"{near}\"?"));
    }
    Err(problem.help(list_words(key, known)))
}

fn list_words(key: &str, known: &[Choice]) -> String {
    let words: Vec<_> = known.iter().map(|choice| choice.name).collect();
    format!("{key} is one of: {}", words.join(", "))
}

/// The problem of a key that is not known in a table called `table`.
pub fn unknown_key(name: &str, place: &Place, known: &[&str], table: &str) -> Problem {
    let mut problem = Problem::at(place.clone(), format!("unknown key `{name}` in `{table}`"));
    if let Some(near) = nearest(name, known.iter().copied()) {
        problem = problem.label(format!("did you mean `{near}`?"));
    }
    problem.help(format!("keys of `{table}`: {}", known.join(", ")))
}
