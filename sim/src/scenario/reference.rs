//! The reference, drawn from the table of keys: what `explain` says and the JSON schema that
//! `schema` prints.

use serde_json::{Map, Value, json};

use super::schema::{
    self, Choice, DIRECTIONS, DISK_PROFILES, EVENTS, FAULTS, KeyDoc, Kind, LOST_WRITES, SCENARIO,
    SHAPES, TARGETS, Table, UNSYNCED, WORKLOADS,
};

/// Something that can be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name to ask for.
    pub name: String,
    /// What sort of thing it is: `fault`, `key`, `event`…
    pub sort: &'static str,
    /// The explanation; the first line stands alone.
    pub text: String,
}

/// What the checks decide, by the names that results use.
pub const CHECKS: &[Choice] = &[
    Choice {
        name: "strict-serializability",
        doc: "Is there one order of all operations that respects real time and explains every \
              answer? Decided by the order of revisions, with a certificate that a separate \
              verifier replays; where revisions are missing, by search.",
    },
    Choice {
        name: "serializable-reads",
        doc: "Did every read that asked for less than linearizability see a state that existed?",
    },
    Choice {
        name: "convergence",
        doc: "Do all members hold the same data at the same revision, by hash?",
    },
    Choice {
        name: "no-lost-writes",
        doc: "Is every write that was acknowledged still there? A loss that the durability setting \
              allows is an expected loss and is counted; any other is a violation.",
    },
    Choice {
        name: "liveness",
        doc: "After the faults are healed, does the cluster elect a leader, serve every client and \
              converge within `recover-within`?",
    },
    Choice {
        name: "must-reach",
        doc: "Did every event happen without which the scenario proves nothing?",
    },
];

/// Everything that can be explained, in the order of a table of contents.
pub fn entries(server_flags: &[String]) -> Vec<Entry> {
    let mut out = Vec::new();
    for table in FAULTS {
        out.push(table_entry("fault", table));
    }
    for table in WORKLOADS {
        out.push(table_entry("workload", table));
    }
    choices(&mut out, "check", CHECKS);
    choices(&mut out, "event", EVENTS);
    choices(&mut out, "target", TARGETS);
    choices(&mut out, "disk profile", DISK_PROFILES);
    choices(&mut out, "fate of un-synced writes", UNSYNCED);
    choices(&mut out, "shape of a partition", SHAPES);
    choices(&mut out, "direction of a partition", DIRECTIONS);
    choices(&mut out, "expectation about lost writes", LOST_WRITES);
    keys(&mut out, "", &SCENARIO);
    for flag in server_flags {
        out.push(Entry {
            name: format!("cluster.server.{flag}"),
            sort: "server flag",
            text: format!("A flag of the server: `vetcd --help` says what --{flag} does."),
        });
    }
    for verdict in crate::report::Verdict::ALL {
        out.push(Entry {
            name: verdict.exit_code().to_string(),
            sort: "exit code",
            text: format!("{}: {}", verdict.name(), verdict.doc()),
        });
    }
    for (code, text) in [
        (
            "2",
            "usage: what was typed, or a file it names, is wrong; nothing was run",
        ),
        ("4", "nothing matched: no scenario or run was selected"),
    ] {
        out.push(Entry {
            name: code.into(),
            sort: "exit code",
            text: text.into(),
        });
    }
    out
}

fn choices(out: &mut Vec<Entry>, sort: &'static str, choices: &[Choice]) {
    out.extend(choices.iter().map(|choice| {
        let mut text = choice.doc.to_string();
        // The lists of a scenario's words are phrases; alone, they are sentences.
        if let Some(first) = text.get(..1) {
            text = format!("{}{}", first.to_uppercase(), &text[1..]);
        }
        if !text.ends_with(['.', '?']) {
            text.push('.');
        }
        Entry {
            name: choice.name.into(),
            sort,
            text,
        }
    }));
}

fn table_entry(sort: &'static str, table: &Table) -> Entry {
    let mut text = table.doc.to_string();
    // An entry for one kind need not say which kind it is.
    for key in table.keys().filter(|key| key.name != "kind") {
        text += &format!("\n{}", key_line(key));
    }
    Entry {
        name: table.name.into(),
        sort,
        text,
    }
}

/// `latency = TIME (required): How long each sync takes.`
fn key_line(key: &KeyDoc) -> String {
    let presence = match key.default {
        None => "required".to_string(),
        Some(default) => format!("default: {default}"),
    };
    format!(
        "  {} = {} ({presence}): {}",
        key.name,
        describe(key.kind),
        key.doc
    )
}

fn keys(out: &mut Vec<Entry>, prefix: &str, table: &Table) {
    for key in table.keys() {
        let name = format!("{prefix}{}", key.name);
        match key.kind {
            Kind::Table(inner) => {
                out.push(Entry {
                    name: name.clone(),
                    ..table_entry("section", inner)
                });
                keys(out, &format!("{name}."), inner);
            }
            Kind::Tables(tables) => {
                let kinds: Vec<&str> = tables.iter().map(|table| table.name).collect();
                let text = format!("{} Kinds: {}.", key.doc, kinds.join(", "));
                out.push(Entry {
                    name: name.clone(),
                    sort: "list of tables",
                    text,
                });
                for inner in tables {
                    keys(out, &format!("{name}.{}.", inner.name), inner);
                }
            }
            _ => out.push(Entry {
                name,
                sort: "key",
                text: format!("{}\n{}", key.doc, key_line(key)),
            }),
        }
    }
}

/// What a key takes, in a few words.
fn describe(kind: Kind) -> String {
    let words = |choices: &[Choice]| {
        let words: Vec<String> = choices
            .iter()
            .map(|choice| format!("\"{}\"", choice.name))
            .collect();
        words.join(" | ")
    };
    match kind {
        Kind::Text => "a string".into(),
        Kind::Texts => "a list of strings".into(),
        Kind::Count { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Signed { max } => format!("a whole number from -{max} to {max}"),
        Kind::Duration => "a duration such as \"4ms\"".into(),
        Kind::Offset => "a duration that may be negative, such as \"-4ms\"".into(),
        Kind::DrawnDuration => {
            "a duration such as \"4s\", or { between = [\"1s\", \"4s\"] }".into()
        }
        Kind::Rate => "a rate such as \"400/s\"".into(),
        Kind::Bandwidth => "a bandwidth such as \"100MB/s\"".into(),
        Kind::Fraction => "a percentage such as \"0.5%\", or a number from 0 to 1".into(),
        Kind::Target => {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            format!("a target: {}", names.join(", "))
        }
        Kind::Choice(choices) => words(choices),
        Kind::Choices(choices) => format!("a list of {}", words(choices)),
        Kind::ZeroOr(choices) => format!("0 | {}", words(choices)),
        Kind::ServerFlags => "a table of server flags".into(),
        Kind::Table(table) => format!("a table, see `{}`", table.name),
        Kind::Tables(_) => "a list of tables".into(),
    }
}

/// The JSON schema of scenarios, for editors.
pub fn json_schema(server_flags: &[String]) -> Value {
    let mut schema = table_schema(&SCENARIO, server_flags);
    let object = schema
        .as_object_mut()
        .expect("a table's schema is an object");
    object.insert(
        "$schema".into(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    object.insert("title".into(), json!("vetcd-sim scenario"));
    schema
}

fn table_schema(table: &Table, server_flags: &[String]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in table.keys() {
        let mut schema = kind_schema(key.kind, server_flags);
        let object = schema.as_object_mut().expect("every schema is an object");
        object.insert("description".into(), json!(key_line(key).trim_start()));
        if key.default.is_none() {
            required.push(key.name);
        }
        properties.insert(key.name.into(), schema);
    }
    // Among several kinds of one thing, `kind` says which schema applies.
    if let (Some(kind), Some(Kind::Choice(_))) = (
        properties.get_mut("kind"),
        table.key("kind").map(|key| key.kind),
    ) {
        *kind = json!({ "const": table.name, "description": table.doc });
    }
    json!({
        "type": "object",
        "description": table.doc,
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

fn kind_schema(kind: Kind, server_flags: &[String]) -> Value {
    let names =
        |choices: &[Choice]| -> Vec<&str> { choices.iter().map(|choice| choice.name).collect() };
    let duration = json!({ "type": "string", "pattern": "^[0-9_.]+ *(ns|us|µs|ms|s|m|h)$" });
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Count { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Signed { max } => json!({ "type": "integer", "minimum": -max, "maximum": max }),
        Kind::Duration => duration,
        Kind::Offset => {
            json!({ "type": "string", "pattern": "^[+-]?[0-9_.]+ *(ns|us|µs|ms|s|m|h)$" })
        }
        Kind::DrawnDuration => {
            let between = json!({
                "type": "object",
                "additionalProperties": false,
                "required": ["between"],
                "properties": {
                    "between": { "type": "array", "items": duration, "minItems": 2, "maxItems": 2 },
                },
            });
            json!({ "anyOf": [duration, between] })
        }
        Kind::Rate => json!({ "type": "string", "pattern": "^[0-9_]+/(s|m|h)$" }),
        Kind::Bandwidth => {
            json!({ "type": "string", "pattern": "^[0-9_.]+ *(G|M|k)?(B|bit)/s$" })
        }
        Kind::Fraction => json!({ "anyOf": [
            { "type": "string", "pattern": "^[0-9.]+ *%$" },
            { "type": "number", "minimum": 0, "maximum": 1 },
        ]}),
        Kind::Target => json!({
            "type": "string",
            "pattern": "^(leader|follower|all|minority|majority|member *[1-9][0-9]*)$",
        }),
        Kind::Choice(choices) => json!({ "enum": names(choices) }),
        Kind::Choices(choices) => {
            json!({ "type": "array", "items": { "enum": names(choices) } })
        }
        Kind::ZeroOr(choices) => {
            json!({ "anyOf": [{ "const": 0 }, { "enum": names(choices) }] })
        }
        Kind::ServerFlags => {
            let value = json!({ "type": ["string", "number", "boolean"] });
            let flags: Map<String, Value> = server_flags
                .iter()
                .map(|flag| (flag.clone(), value.clone()))
                .collect();
            json!({ "type": "object", "additionalProperties": false, "properties": flags })
        }
        Kind::Table(table) => table_schema(table, server_flags),
        Kind::Tables(tables) => {
            let kinds: Vec<Value> = tables
                .iter()
                .map(|table| table_schema(table, server_flags))
                .collect();
            json!({ "type": "array", "items": { "oneOf": kinds } })
        }
    }
}

/// The names of all keys of the scenario, for tests and suggestions.
pub fn key_names() -> Vec<String> {
    let mut out = Vec::new();
    keys(&mut out, "", &schema::SCENARIO);
    out.into_iter().map(|entry| entry.name).collect()
}
