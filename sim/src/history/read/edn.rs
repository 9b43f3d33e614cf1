//! A reader of EDN, Clojure's data notation, one value at a time.
//!
//! Bounded and without panics on any input: nesting has a limit, and nothing is allocated beyond
//! what the text holds. What a history has no use for is read and reduced: tags are dropped, lists
//! and vectors are one, numbers stay text.

use std::fmt;

use super::ReadError;

/// The deepest nesting.
const DEPTH_MAX: usize = 64;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Edn {
    Nil,
    Bool(bool),
    /// As written.
    Number(String),
    Text(String),
    /// Without the colon.
    Keyword(String),
    Symbol(String),
    /// A list or a vector.
    Sequence(Vec<Edn>),
    Set(Vec<Edn>),
    Map(Vec<(Edn, Edn)>),
}

impl Edn {
    /// What a map holds for a keyword.
    pub(super) fn get(&self, name: &str) -> Option<&Edn> {
        let Edn::Map(pairs) = self else { return None };
        let is_name = |key: &Edn| matches!(key, Edn::Keyword(keyword) if keyword == name);
        pairs
            .iter()
            .find(|(key, _)| is_name(key))
            .map(|(_, value)| value)
    }

    pub(super) fn keyword(&self) -> Option<&str> {
        match self {
            Edn::Keyword(name) => Some(name),
            _ => None,
        }
    }

    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Edn::Number(text) => text.trim_end_matches('N').parse().ok(),
            _ => None,
        }
    }

    pub(super) fn sequence(&self) -> Option<&[Edn]> {
        match self {
            Edn::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// A text for itself, anything else as it is written.
    pub(super) fn plain(&self) -> String {
        match self {
            Edn::Text(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Edn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, open: &str, items: &[Edn], close: char| {
            f.write_str(open)?;
            for (index, item) in items.iter().enumerate() {
                write!(f, "{}{item}", if index == 0 { "" } else { " " })?;
            }
            write!(f, "{close}")
        };
        match self {
            Edn::Nil => f.write_str("nil"),
            Edn::Bool(value) => write!(f, "{value}"),
            Edn::Number(text) | Edn::Symbol(text) => f.write_str(text),
            Edn::Text(text) => write!(f, "{text:?}"),
            Edn::Keyword(name) => write!(f, ":{name}"),
            Edn::Sequence(items) => list(f, "[", items, ']'),
            Edn::Set(items) => list(f, "#{", items, '}'),
            Edn::Map(pairs) => {
                f.write_str("{")?;
                for (index, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}{key} {value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Reads the values of a text one after another; a text that is one long vector or list is read as
/// its elements.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    started: bool,
    /// Where the vector around everything began, and what ends it.
    around: Option<(usize, u8)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Reader<'a> {
        Reader {
            text,
            at: 0,
            started: false,
            around: None,
        }
    }

    /// The next value and the offset at which it begins; `None` at the end.
    pub(super) fn next_value(&mut self) -> Result<Option<(usize, Edn)>, ReadError> {
        self.skip()?;
        if !self.started {
            self.started = true;
            let close = match self.peek() {
                Some(b'[') => Some(b']'),
                Some(b'(') => Some(b')'),
                _ => None,
            };
            if let Some(close) = close {
                self.around = Some((self.at, close));
                self.at += 1;
                self.skip()?;
            }
        }
        match (self.peek(), self.around) {
            (None, None) => Ok(None),
            (None, Some((start, _))) => Err(self.wrong(start, "this never ends")),
            (Some(byte), Some((_, close))) if byte == close => {
                self.at += 1;
                self.around = None;
                self.skip()?;
                match self.peek() {
                    None => Ok(None),
                    Some(_) => Err(self.wrong(self.at, "more after the end")),
                }
            }
            _ => {
                let start = self.at;
                self.value(0).map(|value| Some((start, value)))
            }
        }
    }

    /// An error at an offset.
    pub(super) fn wrong(&self, at: usize, problem: impl Into<String>) -> ReadError {
        ReadError::at(self.text, at, problem)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips white space, commas, comments and discarded values.
    fn skip(&mut self) -> Result<(), ReadError> {
        self.skip_within(0)
    }

    fn skip_within(&mut self, depth: usize) -> Result<(), ReadError> {
        if depth > DEPTH_MAX {
            let problem = format!("nested more than {DEPTH_MAX} deep");
            return Err(self.wrong(self.at, problem));
        }
        loop {
            match self.peek() {
                Some(byte) if byte.is_ascii_whitespace() || byte == b',' || byte == 0x0b => {
                    self.at += 1;
                }
                Some(b';') => {
                    let rest = &self.text.as_bytes()[self.at..];
                    let end = rest.iter().position(|byte| *byte == b'\n');
                    self.at += end.unwrap_or(rest.len());
                }
                Some(b'#') if self.text.as_bytes().get(self.at + 1) == Some(&b'_') => {
                    self.at += 2;
                    self.skip_within(depth + 1)?;
                    self.value(depth + 1)?;
                }
                _ => return Ok(()),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Edn, ReadError> {
        let start = self.at;
        if depth > DEPTH_MAX {
            return Err(self.wrong(start, format!("nested more than {DEPTH_MAX} deep")));
        }
        match self.peek() {
            None => Err(self.wrong(start, "a value is missing")),
            Some(b'[') => self.items(b']', depth).map(Edn::Sequence),
            Some(b'(') => self.items(b')', depth).map(Edn::Sequence),
            Some(b'{') => self.map(depth),
            Some(b'"') => self.string().map(Edn::Text),
            Some(b'\\') => self.character(),
            Some(b'#') => match self.text.as_bytes().get(self.at + 1) {
                Some(b'{') => {
                    self.at += 1;
                    self.items(b'}', depth).map(Edn::Set)
                }
                // Symbolic values such as ##NaN.
                Some(b'#') => {
                    self.at += 2;
                    let name = self.token();
                    Ok(Edn::Symbol(format!("##{name}")))
                }
                _ => {
                    self.at += 1;
                    if self.token().is_empty() {
                        return Err(self.wrong(start, "a tag without a name"));
                    }
                    self.skip_within(depth + 1)?;
                    self.value(depth + 1)
                }
            },
            Some(byte @ (b']' | b')' | b'}')) => {
                let problem = format!("'{}' closes nothing", char::from(byte));
                Err(self.wrong(start, problem))
            }
            Some(_) => {
                let token = self.token();
                match atom(token) {
                    Some(value) => Ok(value),
                    None => Err(self.wrong(start, format!("{token:?} is no value"))),
                }
            }
        }
    }

    fn items(&mut self, close: u8, depth: usize) -> Result<Vec<Edn>, ReadError> {
        let start = self.at;
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip_within(depth + 1)?;
            match self.peek() {
                None => return Err(self.wrong(start, "this never ends")),
                Some(byte) if byte == close => {
                    self.at += 1;
                    return Ok(items);
                }
                Some(_) => items.push(self.value(depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Edn, ReadError> {
        let start = self.at;
        let items = self.items(b'}', depth)?;
        if items.len() % 2 == 1 {
            return Err(self.wrong(start, "a map with a key that has no value"));
        }
        let mut items = items.into_iter();
        let mut pairs = Vec::new();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            pairs.push((key, value));
        }
        Ok(Edn::Map(pairs))
    }

    fn string(&mut self) -> Result<String, ReadError> {
        let start = self.at;
        let mut value = String::new();
        let mut characters = self.text[start + 1..].char_indices();
        while let Some((offset, character)) = characters.next() {
            match character {
                '"' => {
                    self.at = start + 1 + offset + 1;
                    return Ok(value);
                }
                '\\' => {
                    let escaped = characters.next().map(|(_, escaped)| escaped);
                    value.push(match escaped {
                        Some('n') => '\n',
                        Some('t') => '\t',
                        Some('r') => '\r',
                        Some('b') => '\u{8}',
                        Some('f') => '\u{c}',
                        Some(same @ ('"' | '\\' | '/')) => same,
                        Some('u') => {
                            let digits: String = characters
                                .by_ref()
                                .take(4)
                                .map(|(_, digit)| digit)
                                .collect();
                            // Half of a pair of surrogates is no character.
                            let code = u32::from_str_radix(&digits, 16).ok();
                            match code.and_then(char::from_u32) {
                                Some(character) if digits.len() == 4 => character,
                                _ => {
                                    let at = start + 1 + offset;
                                    return Err(self.wrong(at, "no such character"));
                                }
                            }
                        }
                        _ => return Err(self.wrong(start + 1 + offset, "no such escape")),
                    });
                }
                character => value.push(character),
            }
        }
        Err(self.wrong(start, "a text that never ends"))
    }

    fn character(&mut self) -> Result<Edn, ReadError> {
        let start = self.at;
        self.at += 1;
        let Some(first) = self.text[self.at..].chars().next() else {
            return Err(self.wrong(start, "a character is missing"));
        };
        // The first character may itself be a delimiter: "\(" is one.
        self.at += first.len_utf8();
        self.token();
        Ok(Edn::Text(self.text[start + 1..self.at].to_owned()))
    }

    /// Everything up to the next delimiter.
    fn token(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let is_end = |byte: u8| byte.is_ascii_whitespace() || b",;()[]{}\"\\".contains(&byte);
        let end = rest.bytes().position(is_end).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }
}

fn atom(token: &str) -> Option<Edn> {
    let number = |text: &str| {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        digits.starts_with(|first: char| first.is_ascii_digit())
    };
    Some(match token {
        "" | ":" => return None,
        "nil" => Edn::Nil,
        "true" => Edn::Bool(true),
        "false" => Edn::Bool(false),
        text if text.starts_with(':') => Edn::Keyword(text[1..].to_owned()),
        text if number(text) => Edn::Number(text.to_owned()),
        text => Edn::Symbol(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Edn {
        Reader::new(text).next_value().unwrap().unwrap().1
    }

    fn refused(text: &str) -> String {
        let mut reader = Reader::new(text);
        loop {
            match reader.next_value() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{text:?} was accepted"),
                Err(error) => return error.to_string(),
            }
        }
    }

    #[test]
    fn values() {
        let map = one("{:a 1, :b [x \"y\\n\" \\z nil], :c #{true} #_ gone :d #tag {:e -2.5N}}");
        let shown = "{:a 1, :b [x \"y\\n\" \"z\" nil], :c #{true}, :d {:e -2.5N}}";
        assert_eq!(map.to_string(), shown);
        assert_eq!(
            one("; first\n {:k \"\\u00e4\"}").get("k").unwrap().plain(),
            "ä"
        );
        assert_eq!(one("{:n -12}").get("n").unwrap().integer(), Some(-12));
        assert_eq!(one("\\(").plain(), "(");
    }

    #[test]
    fn a_vector_around_everything_is_no_value() {
        for text in [
            "[{:a 1}\n {:a 2}]",
            "({:a 1} {:a 2}) ; end",
            "{:a 1}\n{:a 2}\n",
        ] {
            let mut reader = Reader::new(text);
            let mut found = Vec::new();
            while let Some((_, value)) = reader.next_value().unwrap() {
                found.push(value.get("a").unwrap().integer().unwrap());
            }
            assert_eq!(found, [1, 2], "{text}");
        }
    }

    #[test]
    fn errors_say_where() {
        for (text, expected) in [
            ("{:a 1}\n{:a", "line 2, column 1: this never ends"),
            ("{:a}", "line 1, column 1: a map with a key"),
            ("{:a \"b}", "line 1, column 5: a text that never ends"),
            ("{:ä \"\\q\"}", "line 1, column 6: no such escape"),
            ("{:a \"\\ud800\"}", "line 1, column 6: no such character"),
            ("{:a ]}", "line 1, column 5: ']' closes nothing"),
            ("[1] 2", "line 1, column 5: more after the end"),
            ("{:a # 1}", "line 1, column 5: a tag without a name"),
        ] {
            let found = refused(text);
            assert!(found.starts_with(expected), "{text}: {found}");
        }
        let deep = "x ".to_owned() + &"[".repeat(100_000);
        assert!(refused(&deep).contains("nested more than 64 deep"));
        assert!(refused(&("x ".to_owned() + &"#_".repeat(100_000))).contains("nested"));
        assert!(refused(&("x ".to_owned() + &"#a ".repeat(100_000))).contains("nested"));
    }
}
