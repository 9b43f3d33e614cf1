//! `--config-file`: a YAML file with the flags' names, in etcd's layout.
//!
//! It becomes pairs of flag and value, which go through the same parser as the command line. TLS
//! may stand in `client-transport-security` and `peer-transport-security`, with the names etcd
//! gives them there. A key nobody knows is an error with a suggestion, never ignored.

use saphyr::{LoadableYamlNode, Scalar, Yaml};

/// Names inside the two sections, and the flags they stand for.
const SECTIONS: [(&str, &[(&str, &str)]); 2] = [
    (
        "client-transport-security",
        &[
            ("cert-file", "cert-file"),
            ("key-file", "key-file"),
            ("client-cert-auth", "client-cert-auth"),
            ("trusted-ca-file", "trusted-ca-file"),
            ("auto-tls", "auto-tls"),
            ("crl-file", "client-crl-file"),
            ("client-crl-file", "client-crl-file"),
            ("allowed-hostname", "client-cert-allowed-hostname"),
        ],
    ),
    (
        "peer-transport-security",
        &[
            ("cert-file", "peer-cert-file"),
            ("key-file", "peer-key-file"),
            ("client-cert-auth", "peer-client-cert-auth"),
            ("trusted-ca-file", "peer-trusted-ca-file"),
            ("auto-tls", "peer-auto-tls"),
            ("crl-file", "peer-crl-file"),
            ("allowed-cn", "peer-cert-allowed-cn"),
            ("allowed-hostname", "peer-cert-allowed-hostname"),
        ],
    ),
];

/// Flags whose value is a time: a bare number in the file means nanoseconds, as in etcd's.
const TIMES: [&str; 4] = [
    "backend-batch-interval",
    "grpc-keepalive-interval",
    "grpc-keepalive-timeout",
    "watch-progress-notify-interval",
];

/// The longest file, bytes.
const FILE_BYTES_MAX: usize = 256 << 10;
/// Nesting begins further right, or with one more `-`, `?` or `:` on a line. The layout needs two.
const COLUMNS_MAX: usize = 200;
/// What `*name` stands for is copied; each may double what the others have made.
const ALIASES_MAX: usize = 8;

/// Refuses what YAML's reader would follow too deep, or blow up: it recurses into blocks, and copies
/// what aliases stand for.
fn within_bounds(text: &str) -> Result<(), String> {
    if text.len() > FILE_BYTES_MAX {
        return Err(format!("is longer than {FILE_BYTES_MAX} bytes"));
    }
    for (number, line) in (1..).zip(text.split(['\n', '\r'])) {
        let indent = line.bytes().take_while(u8::is_ascii_whitespace).count();
        let blocks = line.as_bytes().windows(2);
        let blocks = blocks.filter(|pair| matches!(pair, [b'-' | b'?' | b':', b' ' | b'\t']));
        if indent > COLUMNS_MAX || blocks.count() > COLUMNS_MAX {
            return Err(format!("is nested too deep at line {number}"));
        }
    }
    let aliases = text.as_bytes().windows(2);
    let aliases = aliases.filter(|pair| !pair[0].is_ascii_alphanumeric() && pair[1] == b'*');
    match aliases.count() > ALIASES_MAX {
        true => Err(format!("has more than {ALIASES_MAX} aliases")),
        false => Ok(()),
    }
}

/// The flags that a configuration file sets.
///
/// # Errors
/// A sentence that names the key and the line where it can.
pub(super) fn flags(text: &str, known: &[String]) -> Result<Vec<(String, String)>, String> {
    within_bounds(text)?;
    let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
    let document = match documents.as_slice() {
        [] => return Ok(Vec::new()),
        [document] => document,
        _ => return Err("holds more than one document".to_owned()),
    };
    if document.is_null() {
        return Ok(Vec::new());
    }
    let mut flags = Vec::new();
    for (key, value) in entries(document, "the file")? {
        if let Some((name, inner)) = SECTIONS.iter().find(|(name, _)| *name == key) {
            if value.is_null() {
                continue;
            }
            for (key, value) in entries(value, name)? {
                let Some((_, flag)) = inner.iter().find(|(inner, _)| *inner == key) else {
                    let names = inner.iter().map(|(name, _)| *name);
                    return Err(unknown(&format!("{name}.{key}"), &key, names));
                };
                push(&mut flags, flag, value)?;
            }
        } else if known.contains(&key) && key != "config-file" {
            push(&mut flags, &key, value)?;
        } else {
            let sections = SECTIONS.iter().map(|(name, _)| *name);
            let names = known.iter().map(String::as_str).chain(sections);
            return Err(unknown(&key, &key, names));
        }
    }
    Ok(flags)
}

fn entries<'a, 'b>(node: &'b Yaml<'a>, name: &str) -> Result<Vec<(String, &'b Yaml<'a>)>, String> {
    let Some(mapping) = node.as_mapping() else {
        return Err(format!("{name} must be a mapping of names to values"));
    };
    mapping
        .iter()
        .map(|(key, value)| match key.as_str() {
            Some(key) => Ok((key.to_owned(), value)),
            None => Err(format!("{name} has a key that is not a name")),
        })
        .collect()
}

fn push(flags: &mut Vec<(String, String)>, flag: &str, value: &Yaml<'_>) -> Result<(), String> {
    if let Some(list) = value.as_sequence() {
        let items = list.iter().map(|item| scalar(flag, item));
        let items = items.collect::<Result<Vec<_>, _>>()?;
        if !items.is_empty() {
            flags.push((flag.to_owned(), items.join(",")));
        }
        return Ok(());
    }
    // An empty value leaves the flag at its default, as in etcd's own sample file.
    let text = scalar(flag, value)?;
    if !text.is_empty() {
        flags.push((flag.to_owned(), text));
    }
    Ok(())
}

fn scalar(flag: &str, value: &Yaml<'_>) -> Result<String, String> {
    match value {
        Yaml::Value(Scalar::Null) => Ok(String::new()),
        Yaml::Value(Scalar::Boolean(value)) => Ok(value.to_string()),
        Yaml::Value(Scalar::Integer(value)) if TIMES.contains(&flag) => Ok(format!("{value}ns")),
        Yaml::Value(Scalar::Integer(value)) => Ok(value.to_string()),
        Yaml::Value(Scalar::FloatingPoint(value)) => Ok(value.to_string()),
        Yaml::Value(Scalar::String(value)) => Ok(value.to_string()),
        _ => Err(format!("{flag} must be a single value or a list of them")),
    }
}

fn unknown<'a>(full: &str, key: &str, names: impl Iterator<Item = &'a str>) -> String {
    match super::nearest(key, names) {
        Some(name) => format!("unknown key \"{full}\"; a similar key exists: \"{name}\""),
        None => format!("unknown key \"{full}\""),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        flags(text, &crate::config::Config::known_flags())
    }

    #[test]
    fn etcds_layout_is_read() {
        let text = "
# This is the configuration file for the etcd server.
name: 'default'
data-dir:
snapshot-count: 10000
backend-batch-interval: 50000000
listen-client-urls: http://localhost:2379,http://localhost:3379
zzz-is-no-key: ~
";
        let error = read(text).unwrap_err();
        assert_eq!(error, "unknown key \"zzz-is-no-key\"");
        let text = text.replace("zzz-is-no-key: ~", "pre-vote: false\nlog-outputs: [stderr, a.log]\nclient-transport-security:\n  cert-file: a.pem\n  client-cert-auth: true\npeer-transport-security:\n");
        let pairs = read(&text).unwrap();
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("name", "default"),
                ("snapshot-count", "10000"),
                ("backend-batch-interval", "50000000ns"),
                (
                    "listen-client-urls",
                    "http://localhost:2379,http://localhost:3379"
                ),
                ("pre-vote", "false"),
                ("log-outputs", "stderr,a.log"),
                ("cert-file", "a.pem"),
                ("client-cert-auth", "true"),
            ]
        );
        assert_eq!(read("").unwrap(), []);
        assert_eq!(read("# nothing\n").unwrap(), []);
    }

    /// Blocks in blocks, a line each.
    fn nested(deep: usize) -> String {
        let lines = (0..deep.min(600)).map(|level| format!("{}a:\n", " ".repeat(level)));
        lines.collect()
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, reason) in [
            (
                "snapshot-cout: 1",
                "unknown key \"snapshot-cout\"; a similar key exists: \"snapshot-count\"",
            ),
            (
                "peer-transport-security: {cert-fil: a}",
                "unknown key \"peer-transport-security.cert-fil\"; a similar key exists: \"cert-file\"",
            ),
            (
                "peer-transport-security: yes",
                "peer-transport-security must be a mapping",
            ),
            (
                "name: {a: b}",
                "name must be a single value or a list of them",
            ),
            ("- name", "the file must be a mapping"),
            ("config-file: a", "unknown key \"config-file\""),
            ("a: 1\n---\nb: 2", "more than one document"),
            ("name: [", "line"),
            (&"- ".repeat(100_000), "nested too deep at line 1"),
            (&"[".repeat(100_000), "recursion limit"),
            (&nested(5_000), "nested too deep at line 202"),
            (&"# so long\n".repeat(100_000), "longer than"),
            (
                &format!("a: &a [b]\n{}", "c: *a\n".repeat(9)),
                "more than 8 aliases",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
