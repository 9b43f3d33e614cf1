//! A set of keys given as half-open ranges.

use std::collections::BTreeMap;
use std::ops::Bound;

/// A union of half-open key ranges, kept disjoint: adding one and asking for a key take
/// logarithmic time, however the ranges overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyRanges {
    /// Start (included) → end (excluded; `None` for no end).
    ranges: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl KeyRanges {
    /// Adds a single key.
    pub(crate) fn insert_key(&mut self, key: &[u8]) {
        let mut end = key.to_vec();
        end.push(0);
        self.insert(key, Some(end));
    }

    /// Adds `[start, end)`; nothing when the end is not after the start.
    pub(crate) fn insert(&mut self, start: &[u8], end: Option<Vec<u8>>) {
        if end.as_deref().is_some_and(|end| end <= start) {
            return;
        }
        let (mut start, mut end) = (start.to_vec(), end);
        if let Some((before, before_end)) = self.ranges.range(..start.clone()).next_back()
            && reaches(before_end.as_deref(), &start)
        {
            start = before.clone();
        }
        // Swallow every range that starts inside the new one or touches it.
        while let Some((next, next_end)) = self.ranges.range(start.clone()..).next()
            && reaches(end.as_deref(), next)
        {
            end = match (end, next_end) {
                (Some(end), Some(next_end)) => Some(end.max(next_end.clone())),
                _ => None,
            };
            let next = next.clone();
            self.ranges.remove(&next);
        }
        self.ranges.insert(start, end);
    }

    /// The ranges, disjoint and in order: start (included) and end (excluded; `None` for no end).
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let ranges = self.ranges.iter();
        ranges.map(|(start, end)| (&start[..], end.as_deref()))
    }

    /// Adds every range of `other`.
    pub(crate) fn extend(&mut self, other: KeyRanges) {
        for (start, end) in other.ranges {
            self.insert(&start, end);
        }
    }

    /// Whether `key` lies in one of the ranges.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        let at_or_before = (Bound::Unbounded, Bound::Included(key));
        match self.ranges.range::<[u8], _>(at_or_before).next_back() {
            Some((_, end)) => end.as_deref().is_none_or(|end| key < end),
            None => false,
        }
    }

    /// Whether every key from `start` on and before `end` (`None` for no end) lies in the ranges.
    pub(crate) fn covers(&self, start: &[u8], end: Option<&[u8]>) -> bool {
        let at_or_before = (Bound::Unbounded, Bound::Included(start));
        // They are disjoint and do not touch, so one of them has to cover it all.
        match self.ranges.range::<[u8], _>(at_or_before).next_back() {
            Some((_, None)) => true,
            Some((_, Some(own))) => start < &own[..] && end.is_some_and(|end| end <= &own[..]),
            None => false,
        }
    }
}

/// Whether a range with this end holds or touches `key`.
fn reaches(end: Option<&[u8]>, key: &[u8]) -> bool {
    end.is_none_or(|end| end >= key)
}
