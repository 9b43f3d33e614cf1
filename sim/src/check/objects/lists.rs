//! Lists that grow tell in which order they grew: this decides transactions on them in linear time.
//!
//! Where every element of a list is appended by one operation alone, whoever reads a list sees all
//! the appends before it in their order. That gives, for each list, the order of its writers, and
//! for each read the writer before it and the one after it. Together with real time these are the
//! edges of a graph, and an order that explains everything is one that goes along all of them: it
//! exists exactly when there is no cycle. Appends that nobody saw come after all that were seen, in
//! any order. An operation of unknown outcome happened exactly if somebody saw something of it;
//! otherwise leaving it out disturbs nobody.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::GUARANTEE;
use crate::check::{Counterexample, Verdict};
use crate::history::display_short;
use crate::history::objects::{Access, ObjectHistory, ObjectOperation, Value};

mod cycle;
mod edges;

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
    /// Who found the longest of each list.
    finders: BTreeMap<&'a Bytes, &'a ObjectOperation>,
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
            finders: BTreeMap::new(),
            writers,
        })
    }

    /// An order, or why there is none.
    pub(super) fn judge(mut self) -> Verdict<Vec<u64>> {
        let lists = match self.lists() {
            Ok(lists) => lists,
            Err(counterexample) => return Verdict::Violation(counterexample),
        };
        let happened = self.happened(&lists);
        let finders = lists.iter();
        self.finders = finders
            .filter_map(|(key, list)| Some((*key, list.finder?)))
            .collect();
        for (key, list) in lists {
            if let Err(counterexample) = self.connect(key, list, &happened) {
                return Verdict::Violation(counterexample);
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
    fn lists(&self) -> Result<BTreeMap<&'a Bytes, List<'a>>, Box<Counterexample>> {
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
                            .ok_or_else(|| Box::new(self.forgot(operation, key)))?;
                        let others = &found[..others];
                        if let Some(before) = found_before.insert(key, others) {
                            if before != others {
                                return Err(self.changed(operation, key).into());
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
    ) -> Result<(), Box<Counterexample>> {
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
            return Err(start.into());
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
    fn judge_elements(&self, key: &'a Bytes, list: &List<'a>) -> Result<(), Box<Counterexample>> {
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
                    return Err(start.into());
                };
                let writer = self.operations[*writer];
                let reason = format!("operation {} was executed twice", writer.id);
                return Err(start.with(writer).because(reason).into());
            }
            let Some((writer, last)) = self.writers.get(&(key, element)).copied() else {
                let summary = format!("operation {id} found {what} in {shown}");
                let reason = "nobody appended that, unless an operation that failed";
                return Err(self.start(summary).with(finder).because(reason).into());
            };
            let goes_on = before.is_some_and(|(other, ended)| other == writer && !ended);
            let begins = self.first_of(writer, key) == Some(element);
            let interrupted = before.is_some_and(|(other, ended)| other != writer && !ended);
            if interrupted || !(goes_on || begins) {
                return Err(self.torn(finder, writer, &shown).into());
            }
            before = Some((writer, last));
        }
        // Whatever somebody found must end where some operation ended.
        for (node, length) in &list.reads {
            if let Some(element) = length.checked_sub(1).map(|at| &list.longest[at])
                && let Some((writer, false)) = self.writers.get(&(key, element)).copied()
            {
                return Err(self.torn(self.operations[*node], writer, &shown).into());
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
}
