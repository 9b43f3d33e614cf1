//! Takes out of a command's output what no two clusters have in common.

use std::collections::BTreeMap;

use regex::{Captures, Regex};

use crate::stack::Stack;

/// Names for what a cluster chose by itself, given in the order in which they appear.
pub struct Normalizer {
    texts: Vec<(String, String)>,
    identities: BTreeMap<u64, String>,
    seen: usize,
    rules: Vec<(Regex, &'static str)>,
    hexadecimal: Regex,
    decimal: Regex,
}

impl Normalizer {
    /// For the output of `stack`'s commands.
    pub fn new(stack: &Stack) -> Normalizer {
        let mut texts = Vec::new();
        for (place, endpoint) in stack.places.iter().zip(stack.endpoints()) {
            texts.push((endpoint, format!("<client {}>", place.name)));
            for scheme in ["http", "https"] {
                let peer = format!("{scheme}://{}", place.peer_address);
                texts.push((peer, format!("<peer {}>", place.name)));
            }
            texts.push((
                place.client_address.clone(),
                format!("<address {}>", place.name),
            ));
        }
        texts.push((stack.folder.path().display().to_string(), "<folder>".into()));
        // What is left of a line, and why two clusters may differ in it.
        let rules = [
            // Client-side log lines carry times and pointers.
            (r#"(?m)^\{"level".*\n?"#, ""),
            (r"took = [0-9.]+(ns|µs|ms|s|m)+", "took = <time>"),
            // Terms, indexes, sizes and versions.
            (
                r#""(raft_?[tT]erm|raft_?[iI]ndex|raftAppliedIndex|dbSize|dbSizeInUse|dbSizeQuota)":[0-9]+"#,
                "\"$1\":<n>",
            ),
            (
                r#"("(?:RaftTerm|RaftIndex|RaftAppliedIndex|DBSize|StorageVersion|DBSizeInUse|DbSizeQuota)") : [^\n]*"#,
                "$1 : <n>",
            ),
            (
                r#""(version|storageVersion)":"3\.[0-9]+\.[0-9]+""#,
                "\"$1\":<version>",
            ),
            (
                r#""Version" : "3\.[0-9]+\.[0-9]+""#,
                "\"Version\" : <version>",
            ),
            // `endpoint status` in its simple form.
            (
                r", 3\.[0-9]+\.[0-9]+, [0-9.]+ [kMG]?B, (true|false), (true|false), [0-9]+, [0-9]+, [0-9]+, ",
                ", <version>, <size>, <leads>, $2, <term>, <index>, <applied>, ",
            ),
            // Newer servers report more.
            (
                r#","(storageVersion":<version>|dbSizeInUse":<n>|dbSizeQuota":<n>|downgradeInfo":\{[^}]*\})"#,
                "",
            ),
            // A drawn ID may begin with a zero, which etcdctl shows as a blank.
            (r"(Member|cluster) +", "$1 "),
            // Which member answered is chance.
            (r#""member_id":[0-9]+"#, r#""member_id":<member>"#),
            (r#""MemberID" : [0-9]+"#, r#""MemberID" : <member>"#),
            (
                r"Throughput is [0-9]+ writes/s|Slowest request took [0-9.e-]+s|Stddev is [0-9.e-]+s",
                "<figure>",
            ),
        ];
        Normalizer {
            texts,
            identities: BTreeMap::new(),
            seen: 0,
            rules: rules
                .map(|(pattern, to)| (Regex::new(pattern).unwrap(), to))
                .into(),
            hexadecimal: Regex::new(r"\b[0-9a-f]{13,16}\b").unwrap(),
            decimal: Regex::new(r"\b[0-9]{15,20}\b").unwrap(),
        }
    }

    /// Gives `identity` a name that does not depend on when it appears.
    pub fn name(&mut self, identity: u64, name: &str) {
        self.identities.insert(identity, name.to_owned());
    }

    /// `text` with everything replaced that is a cluster's own.
    pub fn apply(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to) in &self.texts {
            text = text.replace(from, to);
        }
        for (pattern, to) in &self.rules {
            text = pattern.replace_all(&text, *to).into_owned();
        }
        let decimal = self.decimal.clone();
        let text = decimal.replace_all(&text, |found: &Captures<'_>| {
            found[0]
                .parse()
                .map_or(found[0].to_owned(), |identity| self.identity(identity))
        });
        let hexadecimal = self.hexadecimal.clone();
        let text = hexadecimal.replace_all(&text, |found: &Captures<'_>| {
            u64::from_str_radix(&found[0], 16)
                .map_or(found[0].to_owned(), |identity| self.identity(identity))
        });
        text.into_owned()
    }

    fn identity(&mut self, identity: u64) -> String {
        let seen = &mut self.seen;
        let name = self.identities.entry(identity).or_insert_with(|| {
            *seen += 1;
            format!("ID {seen}")
        });
        format!("<{name}>")
    }
}
