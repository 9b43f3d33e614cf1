//! The key index: whole and as it was written, or none; and it lacks nothing that the store has.

use std::collections::BTreeMap;

use bytes::Bytes;
use vetcd::backend::key_index::{KeyIndex, Owner, Version, path_beside, write};
use vetcd::host::Disk;
use vetcd::mvcc::State;
use vetcd::raft::Identity;
use vetcd::server::boot;

/// What an index says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    revision: i64,
    compact_revision: i64,
    keys: BTreeMap<Bytes, Vec<Version>>,
}

/// What an index of `state` must say.
pub(super) fn of(state: &State) -> Index {
    let mut keys: BTreeMap<Bytes, Vec<Version>> = BTreeMap::new();
    for record in state.records_from(0) {
        keys.entry(record.kv.key.clone())
            .or_default()
            .push(Version {
                revision: record.revision,
                tombstone: record.tombstone,
            });
    }
    Index {
        revision: state.revision(),
        compact_revision: state.compact_revision(),
        keys,
    }
}

fn owner(identity: Identity) -> Owner {
    Owner {
        cluster_id: identity.cluster_id,
        member_id: identity.member_id,
    }
}

/// Writes the index of `state`.
pub(super) fn keep(disk: &dyn Disk, options: &boot::Options, state: &State) -> Result<(), String> {
    let path = path_beside(&options.backend_path());
    let written = write(disk, &path, owner(options.identity), state, &|| true);
    written.map(|_| ()).map_err(|error| error.to_string())
}

/// Reads all of the index that is there.
pub(super) fn find(disk: &dyn Disk, options: &boot::Options) -> Result<Option<Index>, String> {
    let path = path_beside(&options.backend_path());
    let found = || {
        let Some(index) = KeyIndex::open(disk, &path, owner(options.identity))? else {
            return Ok(None);
        };
        let all = index.entries(b"", None, usize::MAX)?.unwrap_or_default();
        Ok(Some(Index {
            revision: index.revision(),
            compact_revision: index.compact_revision(),
            keys: all
                .into_iter()
                .map(|entry| (entry.key, entry.versions))
                .collect(),
        }))
    };
    // Nothing here damages what was synced, and nothing else gets its name.
    found().map_err(|error: vetcd::backend::key_index::Unusable| error.to_string())
}

impl Index {
    /// Judges whether `state`, which has everything, can be read by it.
    pub fn serves(&self, state: &State) -> Result<(), String> {
        if self.revision > state.revision() {
            return Err(format!(
                "the key index is of revision {}, and the store ends at {}",
                self.revision,
                state.revision()
            ));
        }
        let known = |record: &vetcd::mvcc::Record| {
            let versions = self.keys.get(&record.kv.key);
            versions.is_some_and(|all| all.iter().any(|one| one.revision == record.revision))
        };
        let mut older = state
            .records_from(0)
            .filter(|record| record.revision.main <= self.revision);
        match older.find(|record| !known(record)) {
            Some(record) => Err(format!("the key index lacks revision {}", record.revision)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use vetcd::api::proto::etcdserverpb::PutRequest;

    use super::*;

    fn state(puts: usize) -> State {
        let mut state = State::new();
        for number in 0..puts {
            let put = PutRequest {
                key: format!("key-{}", number % 3).into(),
                ..Default::default()
            };
            state.put(&put).unwrap();
        }
        state
    }

    #[test]
    fn an_index_serves_its_state_and_later_ones() {
        let index = of(&state(5));
        assert_eq!(index.serves(&state(5)), Ok(()));
        assert_eq!(index.serves(&state(9)), Ok(()));
        let error = index.serves(&state(4)).unwrap_err();
        assert!(
            error.contains("is of revision 6, and the store ends at 5"),
            "{error}"
        );
        // What a compaction removes from the store may be in the index.
        let mut compacted = state(5);
        compacted.compact(6).unwrap();
        while compacted.compact_step(9) {}
        assert!(compacted.record_count() < 5);
        assert_eq!(index.serves(&compacted), Ok(()));
    }

    #[test]
    fn an_index_that_lacks_something_does_not_serve() {
        let mut index = of(&state(5));
        index.keys.get_mut(&b"key-1"[..]).unwrap().pop();
        let error = index.serves(&state(5)).unwrap_err();
        assert_eq!(error, "the key index lacks revision 6.0");
        let mut index = of(&state(5));
        index.keys.remove(&b"key-2"[..]);
        assert!(index.serves(&state(5)).is_err());
    }

    #[test]
    fn the_ledger_knows_which_index_there_may_be() {
        use crate::enumerate::expect::{Ledger, Promise};
        let mut ledger = Ledger::default();
        assert_eq!(ledger.indexing(&state(2)), 1);
        assert_eq!(ledger.indexing(&state(4)), 2);
        let judge = |found: Option<&Index>, index| {
            let promise = Promise {
                index,
                ..Promise::default()
            };
            ledger.judge_index(found, &promise)
        };
        let [first, second, other] = [2, 4, 6].map(|puts| of(&state(puts)));
        // One is durable, the second may be.
        assert_eq!(judge(Some(&first), 1), Ok(()));
        assert_eq!(judge(Some(&second), 1), Ok(()));
        assert_eq!(judge(None, 0), Ok(()));
        assert_eq!(judge(Some(&first), 0), Ok(()));
        for (found, index, words) in [
            (None, 1, "is lost"),
            (Some(&first), 2, "is older"),
            (Some(&other), 1, "never written"),
            (Some(&other), 0, "never written"),
        ] {
            let error = judge(found, index).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
