//! Which ranges hold a key: an interval tree.
//!
//! A treap ordered by (start, end), each node with the greatest end below it. Equal ranges share a
//! node. Adding, removing and asking take logarithmic time, whatever ranges clients choose: the
//! priorities come from a seed that no client knows.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use bytes::Bytes;

/// The end of a range; `None` for no end.
type End = Option<Bytes>;

/// Ranges, and who asked for each.
#[derive(Debug, Default)]
pub struct RangeIndex {
    root: Option<Box<Node>>,
    draws: u64,
}

#[derive(Debug)]
struct Node {
    start: Bytes,
    end: End,
    /// The greatest end in this node and below.
    reach: End,
    watchers: BTreeSet<usize>,
    priority: u64,
    left: Option<Box<Node>>,
    right: Option<Box<Node>>,
}

impl RangeIndex {
    /// An empty index; `seed` shapes the tree and nothing else.
    pub fn new(seed: u64) -> RangeIndex {
        RangeIndex {
            root: None,
            draws: seed,
        }
    }

    /// Adds `watcher` to the range from `start` up to `end`.
    pub fn insert(&mut self, start: &Bytes, end: &End, watcher: usize) {
        if let Some(node) = find(&mut self.root, start, end) {
            node.watchers.insert(watcher);
            return;
        }
        let node = Box::new(Node {
            start: start.clone(),
            end: end.clone(),
            reach: end.clone(),
            watchers: BTreeSet::from([watcher]),
            priority: self.draw(),
            left: None,
            right: None,
        });
        self.root = Some(insert(self.root.take(), node));
    }

    /// Removes `watcher` from the range from `start` up to `end`.
    pub fn remove(&mut self, start: &Bytes, end: &End, watcher: usize) {
        let Some(node) = find(&mut self.root, start, end) else {
            return;
        };
        node.watchers.remove(&watcher);
        if node.watchers.is_empty() {
            self.root = remove(self.root.take(), start, end);
        }
    }

    /// Calls `visit` for every watcher of a range that holds `key`, ranges by start.
    pub fn each(&self, key: &[u8], visit: &mut impl FnMut(usize)) {
        each(self.root.as_deref(), key, visit);
    }

    /// The next number of a splitmix64 sequence.
    fn draw(&mut self) -> u64 {
        self.draws = self.draws.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.draws;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Node {
    fn compare(&self, start: &Bytes, end: &End) -> Ordering {
        let by_start = start.cmp(&self.start);
        by_start.then_with(|| compare_ends(end, &self.end))
    }

    fn measure(&mut self) {
        let mut reach = self.end.clone();
        for child in [&self.left, &self.right].into_iter().flatten() {
            if compare_ends(&child.reach, &reach).is_gt() {
                reach = child.reach.clone();
            }
        }
        self.reach = reach;
    }
}

fn compare_ends(one: &End, other: &End) -> Ordering {
    match (one, other) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(one), Some(other)) => one.cmp(other),
    }
}

fn find<'a>(
    mut place: &'a mut Option<Box<Node>>,
    start: &Bytes,
    end: &End,
) -> Option<&'a mut Node> {
    while let Some(node) = place {
        match node.compare(start, end) {
            Ordering::Less => place = &mut node.left,
            Ordering::Equal => return Some(node),
            Ordering::Greater => place = &mut node.right,
        }
    }
    None
}

fn insert(tree: Option<Box<Node>>, mut new: Box<Node>) -> Box<Node> {
    let Some(mut node) = tree else {
        return new;
    };
    if new.priority > node.priority {
        let (left, right) = split(Some(node), &new.start, &new.end);
        (new.left, new.right) = (left, right);
        new.measure();
        return new;
    }
    match node.compare(&new.start, &new.end) {
        Ordering::Less => node.left = Some(insert(node.left.take(), new)),
        _ => node.right = Some(insert(node.right.take(), new)),
    }
    node.measure();
    node
}

/// The nodes before (start, end), and those behind.
fn split(
    tree: Option<Box<Node>>,
    start: &Bytes,
    end: &End,
) -> (Option<Box<Node>>, Option<Box<Node>>) {
    let Some(mut node) = tree else {
        return (None, None);
    };
    if node.compare(start, end).is_lt() {
        let (before, behind) = split(node.left.take(), start, end);
        node.left = behind;
        node.measure();
        (before, Some(node))
    } else {
        let (before, behind) = split(node.right.take(), start, end);
        node.right = before;
        node.measure();
        (Some(node), behind)
    }
}

fn remove(tree: Option<Box<Node>>, start: &Bytes, end: &End) -> Option<Box<Node>> {
    let mut node = tree?;
    match node.compare(start, end) {
        Ordering::Less => node.left = remove(node.left.take(), start, end),
        Ordering::Greater => node.right = remove(node.right.take(), start, end),
        Ordering::Equal => return join(node.left.take(), node.right.take()),
    }
    node.measure();
    Some(node)
}

/// One tree of two, of which all of the first comes before all of the second.
fn join(first: Option<Box<Node>>, second: Option<Box<Node>>) -> Option<Box<Node>> {
    match (first, second) {
        (None, tree) | (tree, None) => tree,
        (Some(mut first), Some(mut second)) => {
            let mut root = if first.priority > second.priority {
                first.right = join(first.right.take(), Some(second));
                first
            } else {
                second.left = join(Some(first), second.left.take());
                second
            };
            root.measure();
            Some(root)
        }
    }
}

fn each(tree: Option<&Node>, key: &[u8], visit: &mut impl FnMut(usize)) {
    let Some(node) = tree else {
        return;
    };
    let holds = |end: &End| end.as_ref().is_none_or(|end| key < &end[..]);
    if !holds(&node.reach) {
        return;
    }
    each(node.left.as_deref(), key, visit);
    if key < &node.start[..] {
        return;
    }
    if holds(&node.end) {
        node.watchers.iter().copied().for_each(&mut *visit);
    }
    each(node.right.as_deref(), key, visit);
}

#[cfg(test)]
mod tests {
    use super::*;

    type Range = (Bytes, End);

    fn found(index: &RangeIndex, key: &[u8]) -> Vec<usize> {
        let mut found = Vec::new();
        index.each(key, &mut |watcher| found.push(watcher));
        found.sort_unstable();
        found
    }

    fn expected(ranges: &[Option<Range>], key: &[u8]) -> Vec<usize> {
        let holds = |(start, end): &Range| {
            key >= &start[..] && end.as_ref().is_none_or(|end| key < &end[..])
        };
        let all = ranges.iter().enumerate();
        let held = all.filter(|(_, range)| range.as_ref().is_some_and(holds));
        held.map(|(number, _)| number).collect()
    }

    fn depth(tree: Option<&Node>) -> usize {
        tree.map_or(0, |n| {
            1 + depth(n.left.as_deref()).max(depth(n.right.as_deref()))
        })
    }

    #[test]
    fn it_finds_what_a_plain_search_finds() {
        for seed in 0..20 {
            let mut draws = RangeIndex::new(seed);
            let mut byte = || Bytes::from(vec![(draws.draw() % 40) as u8]);
            let mut index = RangeIndex::new(seed + 1000);
            let mut ranges: Vec<Option<Range>> = Vec::new();
            for step in 0..400 {
                let (start, end) = (byte(), byte());
                let end = (end > start).then_some(end);
                index.insert(&start, &end, ranges.len());
                ranges.push(Some((start, end)));
                if step % 3 == 0 {
                    let victim = (usize::from(byte()[0]) * 7 + step) % ranges.len();
                    if let Some((start, end)) = ranges[victim].take() {
                        index.remove(&start, &end, victim);
                    }
                }
                let key = byte();
                assert_eq!(found(&index, &key), expected(&ranges, &key), "seed {seed}");
            }
            for (number, range) in ranges.iter().enumerate() {
                if let Some((start, end)) = range {
                    index.remove(start, end, number);
                }
            }
            assert!(index.root.is_none());
        }
    }

    #[test]
    fn sorted_ranges_make_no_list() {
        let mut index = RangeIndex::new(7);
        for number in 0..10_000usize {
            let start = Bytes::from(format!("{number:05}"));
            let end = Some(Bytes::from(format!("{number:05}x")));
            index.insert(&start, &end, number);
        }
        assert!(depth(index.root.as_deref()) < 60);
        assert_eq!(found(&index, b"00042m"), [42]);
    }
}
