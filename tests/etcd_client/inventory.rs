//! What of the crate's public API the tests of this folder call.
//!
//! The crate's source says what there is: the types that its root exports and their `pub fn`s. The
//! tests' source says what is called, as (type, method): every `Type::method(…)`, every builder chain
//! behind one as long as it stays with its type, and every `name.method(…)` where `name` was given
//! its type (`let name: Type`, or a parameter). The compiler has checked those types, so a method
//! called `header` counts for the one response it was called on. Hence the annotations in this folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

/// Public methods that no test can call, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "ConnectOptions",
        "with_openssl_tls",
        "needs the crate's OpenSSL, which needs a C compiler and headers; with_tls is driven",
    ),
    (
        "GetStreamResponse",
        "message",
        "etcd 3.7's KV.RangeStream is refused by etcd 3.5, 3.6 and vetcd; the refusal is tested",
    ),
    ("DowngradeResponse", "header", NO_DOWNGRADE),
    ("DowngradeResponse", "take_header", NO_DOWNGRADE),
    ("DowngradeResponse", "version", NO_DOWNGRADE),
    ("KeyValue", "key_str_unchecked", UNSAFE),
    ("KeyValue", "value_str_unchecked", UNSAFE),
    ("LeaderKey", "key_str_unchecked", UNSAFE),
    ("LeaderKey", "name_str_unchecked", UNSAFE),
    ("Permission", "key_str_unchecked", UNSAFE),
    ("Permission", "range_end_str_unchecked", UNSAFE),
];
const NO_DOWNGRADE: &str = "vetcd refuses every downgrade; the refusals are tested";
const UNSAFE: &str = "unsafe code is forbidden here; it is its checked sibling without the check";

type Method = (String, String);

/// The public methods, and whether each returns its own type.
struct Api(BTreeMap<Method, bool>);

impl Api {
    /// From the text of the crate's files; `root` is its `lib.rs`.
    fn read(root: &str, files: &[String]) -> Api {
        let exports = Regex::new(r"(?m)^pub use crate::[^;]*;").unwrap();
        let name = Regex::new(r"\b[A-Z]\w*").unwrap();
        let exported: BTreeSet<&str> = exports
            .find_iter(root)
            .filter(|export| !export.as_str().contains("::openssl_tls::"))
            .flat_map(|export| name.find_iter(export.as_str()).map(|found| found.as_str()))
            .collect();
        // The sources are as rustfmt leaves them: an item begins and ends in the first column.
        let item = Regex::new(r"(?ms)^impl(?:<[^>]*>)? (\w+) \{\n(.*?)^\}").unwrap();
        let method = Regex::new(
            r"(?m)^    pub (?:const |async |unsafe )*fn (\w+)[^{]*?(-> Self\s*)?(?:where[^{]*)?\{",
        )
        .unwrap();
        let mut methods = BTreeMap::new();
        for file in files {
            for item in item.captures_iter(file) {
                if !exported.contains(&item[1]) {
                    continue;
                }
                for method in method.captures_iter(&item[2]) {
                    let key = (item[1].to_owned(), method[1].to_owned());
                    methods.insert(key, method.get(2).is_some());
                }
            }
        }
        Api(methods)
    }

    fn knows(&self, type_name: &str) -> bool {
        self.0.keys().any(|(known, _)| known == type_name)
    }

    /// The methods that `source` calls.
    fn called_in(&self, source: &str) -> BTreeSet<Method> {
        let comments = Regex::new(r"(?m)//.*$").unwrap();
        let source = comments.replace_all(source, "");
        let token = Regex::new(
            r"(?x)
            (?P<fn>\bfn\s+\w+)
            | \blet\s+\((?P<names>[^()]*)\)\s*:\s*\((?P<types>[^()]*)\)
            | \b(?P<bound>\w+)\s*:\s*&?\s*(?:mut\s+)?(?P<type>[A-Z]\w*)\b
            | \b(?:let|for)\s+(?:mut\s+)?(?P<unknown>\w+)\s*(?:=|in\b)
            | \bheader!\((?P<header>\w+)\)
            | \b(?P<owner>\w+)\s*(?:::|\.)\s*(?P<method>\w+)\s*\(",
        )
        .unwrap();
        let mut called = BTreeSet::new();
        let mut bound: BTreeMap<String, String> = BTreeMap::new();
        for found in token.captures_iter(&source) {
            let text = |name: &str| found.name(name).map(|found| found.as_str());
            if text("fn").is_some() {
                bound.clear();
            } else if let (Some(names), Some(types)) = (text("names"), text("types")) {
                for (name, type_name) in names.split(',').zip(types.split(',')) {
                    let name = name.trim().trim_start_matches("mut ");
                    bound.insert(name.to_owned(), type_name.trim().to_owned());
                }
            } else if let (Some(name), Some(type_name)) = (text("bound"), text("type")) {
                bound.insert(name.to_owned(), type_name.to_owned());
            } else if let Some(name) = text("unknown") {
                bound.remove(name);
            } else if let Some(name) = text("header") {
                if let Some(type_name) = bound.get(name) {
                    called.insert((type_name.clone(), "header".to_owned()));
                    called.insert((type_name.clone(), "take_header".to_owned()));
                }
            } else if let (Some(owner), Some(method)) = (text("owner"), text("method")) {
                let type_name = match self.knows(owner) {
                    true => owner,
                    false => bound.get(owner).map_or("", String::as_str),
                };
                let rest = &source[found.get(0).unwrap().end()..];
                self.follow(type_name, method, rest, &mut called);
            }
        }
        called.retain(|method| self.0.contains_key(method));
        called
    }

    /// A call and the chain behind it: `rest` begins within the call's parentheses.
    fn follow(&self, owner: &str, method: &str, rest: &str, called: &mut BTreeSet<Method>) {
        let next = Regex::new(r"^\s*\.\s*(\w+)\s*\(").unwrap();
        let (mut method, mut rest) = (method.to_owned(), rest);
        loop {
            let key = (owner.to_owned(), method);
            let stays = self.0.get(&key) == Some(&true);
            called.insert(key);
            if !stays {
                return;
            }
            rest = behind_parenthesis(rest);
            let Some(found) = next.captures(rest) else {
                return;
            };
            method = found[1].to_owned();
            rest = &rest[found[0].len()..];
        }
    }
}

/// What follows the parenthesis that is open where `text` begins.
fn behind_parenthesis(text: &str) -> &str {
    let mut depth = 1;
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[index + 1..];
        }
    }
    ""
}

/// Where cargo keeps the crate's source.
fn crate_folder() -> Option<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version=1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let packages = metadata["packages"].as_array()?;
    let found = packages
        .iter()
        .find(|found| found["name"] == "etcd-client")?;
    let manifest = Path::new(found["manifest_path"].as_str()?);
    Some(manifest.parent()?.to_owned())
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

fn texts(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    rust_files(folder, &mut files);
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    texts.collect()
}

#[test]
fn every_public_method_is_driven() {
    let Some(folder) = crate_folder() else {
        eprintln!("skipped: cargo does not say where the source of etcd-client is");
        return;
    };
    let root = fs::read_to_string(folder.join("src/lib.rs")).unwrap();
    let api = Api::read(&root, &texts(&folder.join("src")));
    // A change of the crate's style must not empty the inventory unnoticed.
    assert!(api.0.len() > 300, "only {} methods were found", api.0.len());

    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/etcd_client");
    let called: BTreeSet<Method> = texts(&tests)
        .iter()
        .flat_map(|source| api.called_in(source))
        .collect();
    let excepted: BTreeSet<Method> = EXCEPTIONS
        .iter()
        .map(|(type_name, method, _)| (type_name.to_string(), method.to_string()))
        .collect();
    let shown = |methods: Vec<&Method>| -> Vec<String> {
        let shown = methods
            .iter()
            .map(|(owner, method)| format!("{owner}::{method}"));
        shown.collect()
    };
    let missing = api
        .0
        .keys()
        .filter(|method| !called.contains(*method) && !excepted.contains(*method));
    let missing = shown(missing.collect());
    assert!(missing.is_empty(), "not driven: {missing:#?}");
    let needless = excepted
        .iter()
        .filter(|method| called.contains(*method) || !api.0.contains_key(*method));
    let needless = shown(needless.collect());
    assert!(needless.is_empty(), "no exception any more: {needless:?}");
    eprintln!(
        "{} methods, {} with a reason not driven",
        api.0.len(),
        excepted.len()
    );
}

#[test]
fn the_inventory_tells_who_is_called() {
    let root = "pub use crate::a::{One, Two};\n#[cfg(x)]\n    pub use crate::a::Inner;\n";
    let source = "
impl One {
    /// Not counted: pub fn nothing() {
    pub const fn new() -> Self {
    }
    pub fn with(mut self, key: impl Into<Vec<u8>>) -> Self {
    }
    pub async fn header<E: AsRef<str>, S>(
        &mut self,
        urls: S,
    ) -> Result<Two>
    where
        S: AsRef<[E]>,
    {
    }
    pub(crate) fn hidden() {}
    fn private() {}
}

impl From<Two> for One {
    pub fn not_one() {}
}

impl Two {
    pub fn header(&self) -> Option<&Self> {
    }
    pub unsafe fn with(self) -> Self {
    }
}

impl Inner {
    pub fn inner() {
    }
}
";
    let api = Api::read(root, &[source.to_owned()]);
    let named = |methods: BTreeSet<Method>| -> Vec<String> {
        let named = methods
            .iter()
            .map(|(owner, name)| format!("{owner}::{name}"));
        named.collect()
    };
    assert_eq!(
        named(api.0.keys().cloned().collect()),
        [
            "One::header",
            "One::new",
            "One::with",
            "Two::header",
            "Two::with"
        ]
    );
    let called = |source: &str| named(api.called_in(source));
    assert_eq!(called("one.header(); // One::new()"), [""; 0]);
    assert_eq!(called("One::new().with((1, 2)).header()").len(), 3);
    assert_eq!(called("let one = One::new(); one.header()"), ["One::new"]);
    assert_eq!(
        called("let mut two: Two = f(); two\n    .header()"),
        ["Two::header"]
    );
    assert_eq!(
        called("let two: Two = f(); let two = g(); two.header()"),
        [""; 0]
    );
    assert_eq!(called("fn f(two: &mut Two) { two.with() }"), ["Two::with"]);
    assert_eq!(
        called("fn f(two: &Two) {} fn g(two: T) { two.with() }"),
        [""; 0]
    );
    let pair = "let (mut one, two): (One, Two) = f(); one.with(); two.header()";
    assert_eq!(called(pair), ["One::with", "Two::header"]);
    // A method that returns another type ends the chain.
    assert_eq!(called("One::header().with()"), ["One::header"]);
}
