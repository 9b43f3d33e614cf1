//! What the final store says it holds, revision by revision: the audit's record, read from a
//! surviving member (a range of everything at every revision, its log, or one watch of everything).
//!
//! It is evidence only. No judge passes a history because of it; it saves the search for which
//! operation of unknown outcome wrote what, and it shows what was lost.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::history::read::Changes;
use crate::history::text;

/// The changes of each revision, as the final store tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownOrder {
    /// At and below this revision, records may be missing: the store forgot what was overwritten.
    /// 0 when nothing was compacted.
    pub compacted: i64,
    /// The store's last revision; 1 for a store that was never written.
    pub revision: i64,
    /// The changes at each revision. Above [`KnownOrder::compacted`] a revision holds all of its
    /// changes; at or below, those that were still there.
    pub records: BTreeMap<i64, Vec<Record>>,
    /// Revisions at or below [`KnownOrder::compacted`] that hold all of their changes all the same:
    /// they were written down before they were compacted.
    #[serde(default)]
    pub whole: BTreeSet<i64>,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The key.
    #[serde(with = "text")]
    pub key: Bytes,
    /// What was written; `None` when the key was removed.
    #[serde(
        with = "text::optional",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub value: Option<Bytes>,
}

/// What is known of the changes at one revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// Exactly these, and no others.
    All(&'a [Record]),
    /// These, and perhaps others that were forgotten.
    Some(&'a [Record]),
    /// The store never reached this revision.
    Absent,
}

impl KnownOrder {
    /// What watches saw: each revision holds at least these changes. `None` when they saw nothing.
    pub fn seen(changes: &Changes) -> Option<KnownOrder> {
        let (last, _) = changes.last_key_value()?;
        let record = |(key, value): &(Bytes, Option<Bytes>)| Record {
            key: key.clone(),
            value: value.clone(),
        };
        let records = changes.iter();
        Some(KnownOrder {
            compacted: *last,
            revision: *last,
            records: records
                .map(|(revision, changes)| (*revision, changes.iter().map(record).collect()))
                .collect(),
            whole: BTreeSet::new(),
        })
    }

    /// Whether all changes of `revision` are known.
    pub fn is_whole(&self, revision: i64) -> bool {
        revision > self.compacted || self.whole.contains(&revision)
    }

    /// What is known of `revision`.
    pub fn at(&self, revision: i64) -> Known<'_> {
        let records = self.records.get(&revision).map_or(&[][..], Vec::as_slice);
        if revision > self.revision {
            Known::Absent
        } else if !self.is_whole(revision) {
            Known::Some(records)
        } else {
            Known::All(records)
        }
    }
}
