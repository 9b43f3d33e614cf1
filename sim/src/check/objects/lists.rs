//! Lists that grow tell in which order they grew: this decides transactions on them in linear time.
//!
//! Where every element of a list is appended by one operation alone, whoever reads a list sees all
//! the appends before it in their order. That gives, for each list, the order of its writers, and
//! for each read the writer before it and the one after it. Together with real time these are the
//! edges of a graph, and an order that explains everything is one that goes along all of them: it
//! exists exactly when there is no cycle. Appends that nobody saw come after all that were seen, in
//! any order. An operation of unknown outcome happened exactly if somebody saw something of it;
//! otherwise leaving it out disturbs nobody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::GUARANTEE;
use crate::check::{Counterexample, Verdict};
use crate::history::objects::{Access, ObjectHistory, ObjectOperation, Value};
use crate::history::{display_seconds, display_short};

/// How many operations on cycles are tried as the start of the shortest one.
const STARTS_MAX: usize = 64;

type Node = usize;

/// Why one operation comes before another.
#[derive(Clone, Copy)]
enum Why<'a> {
    /// The second appended the element right after what the first had appended.
    Appended(&'a Bytes, &'a Bytes),
    /// The second saw the element that the first appended.
    Saw(&'a Bytes, &'a Bytes),
    /// The first did not see the element that the second appended.
    Missed(&'a Bytes, &'a Bytes),
    /// The first had returned when the second was called.
    Time,
}

/// What is known about one list.
#[derive(Default)]
struct List<'a> {
    /// The longest that somebody found, without what the finder itself had appended.
    longest: &'a [Bytes],
    finder: Option<&'a ObjectOperation>,
    /// Operations that read it before appending to it, and how many elements they found.
    reads: Vec<(Node, usize)>,
    /// Operations that append to it.
    appenders: BTreeSet<Node>,
}

/// A history of nothing but lists whose elements are unique.
pub(super) struct Lists<'a> {
    operations: Vec<&'a ObjectOperation>,
    /// Who appends an element to a list, and whether it is the last of those it appends there.
    writers: BTreeMap<(&'a Bytes, &'a Bytes), (Node, bool)>,
    edges: Vec<Vec<(Node, Why<'a>)>>,
}

impl<'a> Lists<'a> {
    /// `None` when there is anything but reads and appends in the history, or an element that two
    /// operations append.
    pub(super) fn new(history: &'a ObjectHistory) -> Option<Lists<'a>> {
        if history.initial != Value::List(Vec::new()) {
            return None;
        }
        let mut writers = BTreeMap::new();
        for (node, operation) in history.operations.iter().enumerate() {
            for access in &operation.accesses {
                match access {
                    Access::Append(key, element) => {
                        if writers.insert((key, element), (node, true)).is_some() {
                            return None;
                        }
                    }
                    Access::Read(_, None | Some(Value::List(_))) => {}
                    _ => return None,
                }
            }
            let mut ended = BTreeSet::new();
            for access in operation.accesses.iter().rev() {
                if let Access::Append(key, element) = access
                    && !ended.insert(key)
                    && let Some(writer) = writers.get_mut(&(key, element))
                {
                    writer.1 = false;
                }
            }
        }
        Some(Lists {
            operations: history.operations.iter().collect(),
            edges: vec![Vec::new(); history.operations.len()],
            writers,
        })
    }

    /// An order, or why there is none.
    pub(super) fn judge(mut self) -> Verdict<Vec<u64>> {
        let lists = match self.lists() {
            Ok(lists) => lists,
            Err(counterexample) => return counterexample.into(),
        };
        let happened = self.happened(&lists);
        for (key, list) in lists {
            if let Err(counterexample) = self.connect(key, list, &happened) {
                return counterexample.into();
            }
        }
        self.add_time(&happened);
        self.sort(&happened)
    }

    fn start(&self, summary: String) -> Counterexample {
        Counterexample::new(GUARANTEE, summary)
    }

    /// Finds what is known about each list, and judges what needs no order: that what was found
    /// fits what the finder itself appended, and what others found.
    fn lists(&self) -> Result<BTreeMap<&'a Bytes, List<'a>>, Counterexample> {
        let mut lists: BTreeMap<&Bytes, List<'a>> = BTreeMap::new();
        for (node, operation) in self.operations.iter().enumerate() {
            let mut own: BTreeMap<&Bytes, Vec<&Bytes>> = BTreeMap::new();
            let mut found_before: BTreeMap<&Bytes, &[Bytes]> = BTreeMap::new();
            for access in &operation.accesses {
                let list = lists.entry(access.key()).or_default();
                match access {
                    Access::Append(key, element) => {
                        own.entry(key).or_default().push(element);
                        list.appenders.insert(node);
                    }
                    Access::Read(key, Some(Value::List(found))) if !operation.is_unknown() => {
                        let own = own.get(key).map_or(&[][..], Vec::as_slice);
                        let others = found.len().checked_sub(own.len());
                        let others = others
                            .filter(|others| found[*others..].iter().eq(own.iter().copied()))
                            .ok_or_else(|| self.forgot(operation, key))?;
                        let others = &found[..others];
                        if let Some(before) = found_before.insert(key, others) {
                            if before != others {
                                return Err(self.changed(operation, key));
                            }
                            continue;
                        }
                        list.reads.push((node, others.len()));
                        self.extend(list, operation, key, others)?;
                    }
                    _ => {}
                }
            }
        }
        for (key, list) in &lists {
            self.judge_elements(key, list)?;
        }
        Ok(lists)
    }

    fn extend(
        &self,
        list: &mut List<'a>,
        operation: &'a ObjectOperation,
        key: &Bytes,
        others: &'a [Bytes],
    ) -> Result<(), Counterexample> {
        let common = list.longest.len().min(others.len());
        if list.longest[..common] != others[..common] {
            let at = (0..common).find(|at| list.longest[*at] != others[*at]);
            let at = at.unwrap_or(0);
            let (key, first) = (
                display_short(key),
                list.finder.map_or(0, |finder| finder.id),
            );
            let summary = format!(
                "operations {first} and {} found {key} in two orders",
                operation.id
            );
            let mut start = self.start(summary).with(operation).instead(
                format!("{} as element {}", display_short(&list.longest[at]), at + 1),
                display_short(&others[at]),
            );
            if let Some(finder) = list.finder {
                start = start.with(finder);
            }
            for element in [&list.longest[at], &others[at]] {
                start = self.appended_by(start, operation, element, &key);
            }
            return Err(start);
        }
        if others.len() >= list.longest.len() {
            list.longest = others;
            list.finder = Some(operation);
        }
        Ok(())
    }

    fn appended_by(
        &self,
        start: Counterexample,
        reader: &ObjectOperation,
        element: &Bytes,
        shown: &str,
    ) -> Counterexample {
        let reads = |access: &&Access| display_short(access.key()) == shown;
        let key = reader.accesses.iter().find(reads).map(Access::key);
        match key.and_then(|key| self.writers.get(&(key, element))) {
            Some((writer, _)) => start.because(format!(
                "{} was appended by operation {}",
                display_short(element),
                self.operations[*writer].id
            )),
            None => start.because(format!("{} was appended by nobody", display_short(element))),
        }
    }

    fn forgot(&self, operation: &'a ObjectOperation, key: &Bytes) -> Counterexample {
        let (id, key) = (operation.id, display_short(key));
        let summary = format!("operation {id} did not find in {key} what it had appended itself");
        self.start(summary).with(operation)
    }

    fn changed(&self, operation: &'a ObjectOperation, key: &Bytes) -> Counterexample {
        let (id, key) = (operation.id, display_short(key));
        let summary = format!("operation {id} found {key} changed by another while it went on");
        self.start(summary).with(operation)
    }

    /// Every element must have been appended, all those of one operation at once and in order.
    fn judge_elements(&self, key: &'a Bytes, list: &List<'a>) -> Result<(), Counterexample> {
        let Some(finder) = list.finder else {
            return Ok(());
        };
        let shown = display_short(key);
        let mut seen = BTreeSet::new();
        let mut before: Option<(Node, bool)> = None;
        for element in list.longest {
            let what = display_short(element);
            let id = finder.id;
            if !seen.insert(element) {
                let summary = format!("operation {id} found {what} in {shown} twice");
                let start = self.start(summary).with(finder);
                let Some((writer, _)) = self.writers.get(&(key, element)) else {
                    return Err(start);
                };
                let writer = self.operations[*writer];
                let reason = format!("operation {} was executed twice", writer.id);
                return Err(start.with(writer).because(reason));
            }
            let Some((writer, last)) = self.writers.get(&(key, element)).copied() else {
                let summary = format!("operation {id} found {what} in {shown}");
                let reason = "nobody appended that, unless an operation that failed";
                return Err(self.start(summary).with(finder).because(reason));
            };
            let goes_on = before.is_some_and(|(other, ended)| other == writer && !ended);
            let begins = self.first_of(writer, key) == Some(element);
            let interrupted = before.is_some_and(|(other, ended)| other != writer && !ended);
            if interrupted || !(goes_on || begins) {
                return Err(self.torn(finder, writer, &shown));
            }
            before = Some((writer, last));
        }
        // Whatever somebody found must end where some operation ended.
        for (node, length) in &list.reads {
            if let Some(element) = length.checked_sub(1).map(|at| &list.longest[at])
                && let Some((writer, false)) = self.writers.get(&(key, element)).copied()
            {
                return Err(self.torn(self.operations[*node], writer, &shown));
            }
        }
        Ok(())
    }

    fn first_of(&self, node: Node, key: &Bytes) -> Option<&'a Bytes> {
        let first = |access: &&'a Access| matches!(access, Access::Append(k, _) if k == key);
        match self.operations[node].accesses.iter().find(first) {
            Some(Access::Append(_, element)) => Some(element),
            _ => None,
        }
    }

    fn torn(&self, finder: &'a ObjectOperation, writer: Node, key: &str) -> Counterexample {
        let writer = self.operations[writer];
        let (id, other) = (finder.id, writer.id);
        let summary = format!("operation {id} found half of operation {other} in {key}");
        self.start(summary).with(finder).with(writer)
    }

    /// The operations that have their place in the order: those of known outcome, and those of
    /// which somebody saw something.
    fn happened(&self, lists: &BTreeMap<&'a Bytes, List<'a>>) -> Vec<bool> {
        let mut happened: Vec<bool> = self.operations.iter().map(|o| !o.is_unknown()).collect();
        for (key, list) in lists {
            for element in list.longest {
                if let Some((writer, _)) = self.writers.get(&(*key, element)) {
                    happened[*writer] = true;
                }
            }
        }
        happened
    }

    /// The edges that one list gives.
    fn connect(
        &mut self,
        key: &'a Bytes,
        list: List<'a>,
        happened: &[bool],
    ) -> Result<(), Counterexample> {
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
            (Some(first), Some(second)) => return Err(self.both_next(key, [*first, *second])),
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
    fn add_time(&mut self, happened: &[bool]) {
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

    /// Goes along all edges, the earliest call first where there is a choice.
    fn sort(&self, happened: &[bool]) -> Verdict<Vec<u64>> {
        let mut waiting = vec![0_usize; self.edges.len()];
        for (to, _) in self.edges.iter().flatten() {
            waiting[*to] += 1;
        }
        let mut ready: BTreeSet<(u64, Node)> = BTreeSet::new();
        let rank = |node: Node| self.operations.get(node).map_or(0, |o| o.invoked);
        ready.extend(
            (0..waiting.len())
                .filter(|n| waiting[*n] == 0)
                .map(|n| (rank(n), n)),
        );
        let mut order = Vec::new();
        let mut left = self.edges.len();
        while let Some((_, node)) = ready.pop_first() {
            left -= 1;
            if happened.get(node) == Some(&true) {
                order.push(self.operations[node].id);
            }
            for (to, _) in &self.edges[node] {
                waiting[*to] -= 1;
                if waiting[*to] == 0 {
                    ready.insert((rank(*to), *to));
                }
            }
        }
        match left {
            0 => Verdict::Ok(order),
            _ => self.cycle(&waiting).into(),
        }
    }

    /// The shortest cycle found among what could not be put in order.
    fn cycle(&self, waiting: &[usize]) -> Counterexample {
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
                Why::Appended(key, element) => format!(
                    "operation {y} appended {} to {} after it",
                    display_short(element),
                    display_short(key)
                ),
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
