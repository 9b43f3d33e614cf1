//! What comes before what: for each list, and by real time.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{List, Lists, Node, Why};
use crate::check::Counterexample;
use crate::history::display_short;

impl<'a> Lists<'a> {
    /// The edges that one list gives.
    pub(super) fn connect(
        &mut self,
        key: &'a Bytes,
        list: List<'a>,
        happened: &[bool],
    ) -> Result<(), Box<Counterexample>> {
        // The writers in order, with the last and the first element each appended.
        let mut order: Vec<(Node, &'a Bytes)> = Vec::new();
        // For each length, how many writers have been then.
        let mut writers_at = vec![0];
        for element in list.longest {
            let (node, last) = self.writers[&(key, element)];
            if last {
                order.push((node, element));
            }
            writers_at.push(order.len());
        }
        let seen: BTreeSet<Node> = order.iter().map(|(node, _)| *node).collect();
        let unseen = |node: &Node| happened[*node] && !seen.contains(node);
        let unseen: BTreeSet<Node> = list.appenders.iter().copied().filter(unseen).collect();
        // Who found all that was seen and then appended stands right behind it.
        let at_end = |(_, length): &&(Node, usize)| *length == list.longest.len();
        let at_end: Vec<Node> = list
            .reads
            .iter()
            .filter(at_end)
            .map(|(node, _)| *node)
            .collect();
        let mut next = at_end.iter().filter(|node| unseen.contains(node));
        let next = match (next.next(), next.next()) {
            (Some(first), Some(second)) => {
                return Err(self.both_next(key, [*first, *second]).into());
            }
            (first, _) => first.copied(),
        };
        for pair in order.windows(2) {
            let first = self.first_of(pair[1].0, key).unwrap_or(pair[1].1);
            self.edge(pair[0].0, pair[1].0, Why::Appended(key, first));
        }
        for (reader, length) in &list.reads {
            let after = writers_at[*length];
            if let Some((writer, element)) = after.checked_sub(1).map(|at| order[at]) {
                self.edge(writer, *reader, Why::Saw(key, element));
            }
            if let Some((writer, _)) = order.get(after) {
                let first = self.first_of(*writer, key).unwrap_or(key);
                self.edge(*reader, *writer, Why::Missed(key, first));
            }
        }
        // A node of its own saves the edges from each of those at the end to each of the unseen.
        let behind: Vec<Node> = unseen
            .iter()
            .copied()
            .filter(|n| Some(*n) != next)
            .collect();
        for group in [next.into_iter().collect::<Vec<_>>(), behind] {
            for node in &group {
                let first = self.first_of(*node, key).unwrap_or(key);
                if let Some((last, _)) = order.last() {
                    self.edge(*last, *node, Why::Appended(key, first));
                }
                if let Some(next) = next {
                    self.edge(next, *node, Why::Missed(key, first));
                }
            }
            let readers = at_end.iter().filter(|reader| Some(**reader) != next);
            let readers: Vec<Node> = readers.copied().collect();
            match (&group[..], &readers[..]) {
                ([], _) | (_, []) => {}
                ([one], readers) => {
                    let first = self.first_of(*one, key).unwrap_or(key);
                    for reader in readers {
                        self.edge(*reader, *one, Why::Missed(key, first));
                    }
                }
                (many, readers) => {
                    let hub = self.edges.len();
                    self.edges.push(Vec::new());
                    let any = self.first_of(many[0], key).unwrap_or(key);
                    for reader in readers {
                        self.edge(*reader, hub, Why::Missed(key, any));
                    }
                    for node in many {
                        let first = self.first_of(*node, key).unwrap_or(key);
                        self.edge(hub, *node, Why::Missed(key, first));
                    }
                }
            }
        }
        Ok(())
    }

    fn both_next(&self, key: &Bytes, pair: [Node; 2]) -> Counterexample {
        let [a, b] = pair.map(|node| self.operations[node]);
        let key = display_short(key);
        let (x, y) = (a.id, b.id);
        self.start(format!("operations {x} and {y} each come before the other"))
            .with(a)
            .with(b)
            .because(format!(
                "operation {x} appended to {key} and did not see operation {y}'s"
            ))
            .because(format!(
                "operation {y} appended to {key} and did not see operation {x}'s"
            ))
    }

    fn edge(&mut self, from: Node, to: Node, why: Why<'a>) {
        if from != to {
            self.edges[from].push((to, why));
        }
    }

    /// One node for each return, in a chain: whoever was called later comes after all of them.
    pub(super) fn add_time(&mut self, happened: &[bool]) {
        let mut returns: Vec<(u64, Node)> = Vec::new();
        let mut calls: Vec<(u64, Node)> = Vec::new();
        for (node, operation) in self.operations.iter().enumerate() {
            returns.extend(operation.returned.map(|at| (at, node)));
            if happened[node] {
                calls.push((operation.invoked, node));
            }
        }
        returns.sort_unstable();
        calls.sort_unstable();
        let mut returns = returns.into_iter().peekable();
        let mut last = None;
        for (called, node) in calls {
            while let Some((_, returned)) = returns.next_if(|(at, _)| *at < called) {
                let link = self.edges.len();
                self.edges.push(Vec::new());
                self.edge(returned, link, Why::Time);
                if let Some(last) = last.replace(link) {
                    self.edge(last, link, Why::Time);
                }
            }
            if let Some(last) = last {
                self.edge(last, node, Why::Time);
            }
        }
    }
}
