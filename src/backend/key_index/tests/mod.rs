//! Tests of the key index.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod answers;
mod crash;
mod damage;
mod speed;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::write::{Sizes, write_sized};
use super::*;
use crate::api::proto::etcdserverpb::{DeleteRangeRequest, PutRequest};
use crate::backend::tests::{CrashDisk, Numbers};
use crate::mvcc::State;

const OWNER: Owner = Owner {
    cluster_id: 7,
    member_id: 8,
};

/// So small that a few keys fill several blocks.
const SMALL: Sizes = Sizes {
    block: 64,
    sync: 300,
};

fn path() -> PathBuf {
    path_beside(Path::new("data/store"))
}

/// What an index of a state must say, found by going through the records.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    revision: i64,
    compact_revision: i64,
    keys: BTreeMap<Bytes, Vec<Version>>,
}

impl Model {
    fn of(state: &State) -> Model {
        let mut keys: BTreeMap<Bytes, Vec<Version>> = BTreeMap::new();
        for record in state.records_from(0) {
            keys.entry(record.kv.key.clone())
                .or_default()
                .push(Version {
                    revision: record.revision,
                    tombstone: record.tombstone,
                });
        }
        Model {
            revision: state.revision(),
            compact_revision: state.compact_revision(),
            keys,
        }
    }

    fn entries(&self, start: &[u8], end: Option<&[u8]>) -> Vec<Entry> {
        if end.is_some_and(|end| end <= start) {
            return Vec::new();
        }
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        let inside = self.keys.range::<[u8], _>((Bound::Included(start), end));
        let entry = |(key, versions): (&Bytes, &Vec<Version>)| Entry {
            key: key.clone(),
            versions: versions.clone(),
        };
        inside.map(entry).collect()
    }

    /// Each key, and a neighbour on either side of it.
    fn probes(&self) -> BTreeSet<Vec<u8>> {
        let mut probes = BTreeSet::from([Vec::new(), vec![0xff; 9]]);
        for key in self.keys.keys() {
            probes.insert(key.to_vec());
            probes.insert([key, &[0][..]].concat());
            probes.insert(key[..key.len().saturating_sub(1)].to_vec());
        }
        probes
    }

    fn totals(&self) -> (u64, u64) {
        let versions: usize = self.keys.values().map(Vec::len).sum();
        (self.keys.len() as u64, versions as u64)
    }
}

fn draw_key(numbers: &mut Numbers) -> Vec<u8> {
    let byte = |numbers: &mut Numbers| [0, 1, b'a', 0xff][numbers.below(4) as usize];
    match numbers.below(8) {
        0 => (0..numbers.below(5)).map(|_| byte(numbers)).collect(),
        // They share more with each other than can be said in one byte.
        1 => [&[b'x'; 300][..], &[byte(numbers), byte(numbers)]].concat(),
        2 => vec![byte(numbers); 1000],
        _ => format!("/registry/pods/{:02}", numbers.below(60)).into_bytes(),
    }
}

/// One random change.
fn change(state: &mut State, numbers: &mut Numbers) {
    let key = Bytes::from(draw_key(numbers));
    match numbers.below(20) {
        0..=2 => {
            let range_end = match numbers.below(3) {
                0 => Bytes::new(),
                _ => Bytes::from(draw_key(numbers)),
            };
            state.delete_range(&DeleteRangeRequest {
                key,
                range_end,
                ..Default::default()
            });
        }
        3 => {
            let back = i64::try_from(numbers.below(40)).unwrap();
            // Refused when it is not above the last one.
            _ = state.compact(state.revision() - back);
        }
        4 => _ = state.compact_step(10),
        _ => put(state, key),
    }
}

fn put(state: &mut State, key: impl Into<Bytes>) {
    let request = PutRequest {
        key: key.into(),
        ..Default::default()
    };
    state.put(&request).unwrap();
}

fn random_state(numbers: &mut Numbers, changes: u64) -> State {
    let mut state = State::new();
    (0..changes).for_each(|_| change(&mut state, numbers));
    state
}

fn write_small(disk: &CrashDisk, state: &State) -> io::Result<bool> {
    write_sized(disk, &path(), OWNER, state, SMALL, &|| true)
}

/// The bytes of a state's index, in blocks of this size.
fn content(state: &State, block: usize) -> Vec<u8> {
    let disk = CrashDisk::new();
    let sizes = Sizes { block, ..SMALL };
    assert!(write_sized(&disk, &path(), OWNER, state, sizes, &|| true).unwrap());
    disk.content(&path()).unwrap()
}

fn open(content: Vec<u8>) -> Result<KeyIndex, Unusable> {
    let disk = CrashDisk::with_file(&path(), content);
    KeyIndex::open(&disk, &path(), OWNER).map(Option::unwrap)
}

/// Asks everything there is to ask. No answer may be wrong, but it may be that there is none; says
/// how often that was so.
fn examine(index: &KeyIndex, model: &Model) -> usize {
    assert_eq!(index.revision(), model.revision);
    assert_eq!(index.compact_revision(), model.compact_revision);
    assert_eq!((index.keys(), index.versions()), model.totals());
    let mut unusable = usize::from(index.check().is_err());
    let probes = model.probes();
    for (place, probe) in probes.iter().enumerate() {
        let versions = model.keys.get(&probe[..]);
        match index.entry(probe) {
            Ok(found) => assert_eq!(found.map(|entry| entry.versions).as_ref(), versions),
            Err(error) => unusable += expect_words(&error),
        }
        let end = probes
            .iter()
            .nth((place * 7) % probes.len())
            .map(|end| &end[..]);
        for end in [end, Some(&[&probe[..], &[0]].concat()[..]), None] {
            let right = model.entries(probe, end);
            for limit in [
                usize::MAX,
                right.len(),
                right.len().saturating_sub(1),
                place % 9,
            ] {
                let right = (right.len() <= limit).then(|| right.clone());
                match index.entries(probe, end, limit) {
                    Ok(found) => assert_eq!(found, right, "{probe:?} {end:?} {limit}"),
                    Err(error) => unusable += expect_words(&error),
                }
            }
        }
    }
    unusable
}

fn expect_words(error: &Unusable) -> usize {
    assert!(error.to_string().contains("data/store.keys"), "{error}");
    1
}
