//! Operations that each come before the others: the shortest cycle found, as sentences.

use std::collections::{BTreeMap, VecDeque};

use super::{Lists, Node, Why};
use crate::check::Counterexample;
use crate::history::{display_seconds, display_short};

/// How many operations on cycles are tried as the start of the shortest one.
const STARTS_MAX: usize = 64;

impl<'a> Lists<'a> {
    /// The shortest cycle found among what could not be put in order.
    pub(super) fn cycle(&self, waiting: &[usize]) -> Counterexample {
        let stuck = |node: &Node| waiting[*node] > 0;
        let starts = (0..self.operations.len())
            .filter(stuck)
            .take(STARTS_MAX * 16);
        let mut best: Option<Vec<(Node, Why<'a>)>> = None;
        let mut tried = 0;
        for start in starts {
            if tried == STARTS_MAX {
                break;
            }
            if let Some(path) = self.way_back(start, waiting) {
                tried += 1;
                let shorter = |best: &Vec<_>| self.length(&path) < self.length(best);
                if best.as_ref().is_none_or(shorter) {
                    best = Some(path);
                }
            }
        }
        self.describe(&best.unwrap_or_default())
    }

    fn length(&self, path: &[(Node, Why<'a>)]) -> usize {
        let operations = self.operations.len();
        path.iter().filter(|(node, _)| *node < operations).count()
    }

    /// The way from a node back to itself over the fewest operations: each node of it, and why it
    /// comes after the one before.
    fn way_back(&self, start: Node, waiting: &[usize]) -> Option<Vec<(Node, Why<'a>)>> {
        let mut from: BTreeMap<Node, (Node, Why<'a>)> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for (to, why) in &self.edges[node] {
                if waiting[*to] == 0 || from.contains_key(to) {
                    continue;
                }
                from.insert(*to, (node, *why));
                if *to == start {
                    let mut path = Vec::new();
                    let mut at = start;
                    loop {
                        let (before, why) = from[&at];
                        path.push((at, why));
                        at = before;
                        if at == start {
                            path.reverse();
                            return Some(path);
                        }
                    }
                }
                // Links in the chain of time cost nothing.
                if *to < self.operations.len() {
                    queue.push_back(*to);
                } else {
                    queue.push_front(*to);
                }
            }
        }
        None
    }

    fn describe(&self, path: &[(Node, Why<'a>)]) -> Counterexample {
        let operations = self.operations.len();
        let nodes: Vec<_> = path.iter().filter(|(node, _)| *node < operations).collect();
        let names: Vec<String> = nodes
            .iter()
            .map(|(node, _)| self.operations[*node].id.to_string())
            .collect();
        let summary = match &names[..] {
            [rest @ .., last] if !rest.is_empty() => {
                format!(
                    "operations {} and {last} each come before the others",
                    rest.join(", ")
                )
            }
            _ => "operations come before themselves".to_owned(),
        };
        let mut found = self.start(summary);
        for (node, _) in &nodes {
            found = found.with(self.operations[*node]);
        }
        let Some((last, _)) = nodes.last() else {
            return found;
        };
        let mut before = *last;
        for (node, why) in nodes {
            let (a, b) = (self.operations[before], self.operations[*node]);
            let (x, y) = (a.id, b.id);
            let because = match why {
                Why::Appended(key, element) => {
                    let (element, shown) = (display_short(element), display_short(key));
                    let mut text = format!("operation {y} appended {element} to {shown} after it");
                    if let Some(finder) = self.finders.get(key) {
                        found = found.with(*finder);
                        text += &format!(", as operation {} found", finder.id);
                    }
                    text
                }
                Why::Saw(key, element) => format!(
                    "operation {y} found {} in {}, which operation {x} appended",
                    display_short(element),
                    display_short(key)
                ),
                Why::Missed(key, element) => format!(
                    "operation {x} did not find {} in {}, which operation {y} appended",
                    display_short(element),
                    display_short(key)
                ),
                Why::Time => format!(
                    "by real time: operation {x} returned at {}, operation {y} was called at {}",
                    display_seconds(a.returned.unwrap_or(u64::MAX)),
                    display_seconds(b.invoked)
                ),
            };
            found = found.because(format!("operation {x} before operation {y}: {because}"));
            before = *node;
        }
        found
    }
}
