//! What a member must have after a crash: all that was acknowledged, nothing that was never written,
//! and a state it was in.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use prost::Message;
use vetcd::api::proto::vetcdpb::{BackendMeta, Entry, LogRequest, log_request::Request};
use vetcd::mvcc::State;
use vetcd::raft::Identity;
use vetcd::server::Published;
use vetcd::server::boot::{self, Booted};
use vetcd::snapshot;

use super::key_index::{self, Index};

/// What was acknowledged so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Promise {
    /// The last log index that is durable, be it an entry or a snapshot.
    pub last: u64,
    /// The term that is durable.
    pub term: u64,
    /// The vote in that term.
    pub vote: u64,
    /// The number of the commit to the backend that is durable, see [`Ledger::committing`].
    pub commit: usize,
    /// How many key indexes are durable, see [`Ledger::indexing`]; 0 when there need be none.
    pub index: usize,
}

/// All that was ever written, acknowledged or not.
#[derive(Default)]
pub(super) struct Ledger {
    entries: BTreeMap<u64, Entry>,
    /// Index and term of installed snapshots.
    installs: BTreeMap<u64, u64>,
    /// What each commit to the backend would make it, in order; the first is the beginning.
    commits: Vec<(u64, u64)>,
    /// Hash and revision of the store at each index.
    stores: BTreeMap<u64, (u32, i64)>,
    /// What each key index was to say, in order.
    indexes: Vec<Index>,
}

impl Ledger {
    pub fn genesis(&mut self, options: &boot::Options, identity: Identity) {
        let genesis = Published {
            index: 1,
            term: 1,
            conf_state: options.members.conf_state(),
            members: options.members.clone(),
            ..Published::restored(State::new(), BackendMeta::default())
        };
        self.committing(&genesis, identity);
        self.reached(&genesis);
        self.installs.insert(1, 1);
    }

    pub fn entries(&mut self, entries: &[Entry]) {
        let numbered = entries.iter().map(|entry| (entry.index, entry.clone()));
        self.entries.extend(numbered);
    }

    pub fn installing(&mut self, received: &Published) {
        self.installs.insert(received.index, received.term);
        self.reached(received);
    }

    /// The store was in this state at its index.
    pub fn reached(&mut self, published: &Published) {
        self.stores.insert(published.index, store(published));
    }

    /// The backend is about to become this; returns the number of that commit.
    pub fn committing(&mut self, published: &Published, identity: Identity) -> usize {
        self.reached(published);
        let digest = digest(published, identity);
        self.commits.push((published.index, digest));
        self.commits.len() - 1
    }

    /// The key index is about to be that of this state; returns how many there were, it included.
    pub fn indexing(&mut self, state: &State) -> usize {
        self.indexes.push(key_index::of(state));
        self.indexes.len()
    }

    /// Judges what a member found when it was started.
    pub fn judge(&self, found: &Found, promise: &Promise) -> Result<(), String> {
        let (mark, mark_term) = found.compacted;
        if found.last < promise.last {
            return Err(format!(
                "acknowledged entries are lost: {} was durable, and the log ends at {}",
                promise.last, found.last
            ));
        }
        if found.term < promise.term {
            return Err(format!(
                "a term is forgotten: {} was durable, and {} is recovered",
                promise.term, found.term
            ));
        }
        if found.term == promise.term && found.vote != promise.vote {
            return Err(format!(
                "a vote is forgotten: in term {} it was for {}, and one for {} is recovered",
                promise.term, promise.vote, found.vote
            ));
        }
        let known = self.installs.get(&mark) == Some(&mark_term)
            || self.entries.get(&mark).is_some_and(|e| e.term == mark_term);
        if !known {
            return Err(format!("the log begins behind {mark}, where it never was"));
        }
        for (expected, entry) in (mark + 1..).zip(&found.entries) {
            if entry.index != expected {
                return Err(format!("entry {expected} is missing in the log"));
            }
            if self.entries.get(&entry.index) != Some(entry) {
                return Err(format!("entry {expected} is not what was written"));
            }
        }
        let since = self.commits.get(promise.commit..).unwrap_or(&[]);
        if !since.contains(&found.backend) {
            let what = match self.commits.contains(&found.backend) {
                true => "is older than its last acknowledged commit",
                false => "is in a state that was never committed",
            };
            return Err(format!("the store at index {} {what}", found.backend.0));
        }
        if self.stores.get(&found.last) != Some(&found.store)
            && self.stores.contains_key(&found.last)
        {
            return Err(format!(
                "the store at index {} differs from the one that was there",
                found.last
            ));
        }
        self.judge_index(found.index.as_ref(), promise)
    }

    /// Judges the key index that a member found, if any.
    pub fn judge_index(&self, found: Option<&Index>, promise: &Promise) -> Result<(), String> {
        let Some(found) = found else {
            return match promise.index {
                0 => Ok(()),
                _ => Err("the key index is lost".to_owned()),
            };
        };
        let since = &self.indexes[promise.index.saturating_sub(1)..];
        match (since.contains(found), self.indexes.contains(found)) {
            (true, _) => Ok(()),
            (false, true) => Err("the key index is older than the last one written".to_owned()),
            (false, false) => Err("the key index is one that was never written".to_owned()),
        }
    }
}

/// What a member found when it was started.
#[derive(Clone, Debug)]
pub(super) struct Found {
    compacted: (u64, u64),
    entries: Vec<Entry>,
    last: u64,
    term: u64,
    vote: u64,
    backend: (u64, u64),
    /// Hash and revision after all entries are applied.
    store: (u32, i64),
    index: Option<Index>,
    /// Whether it is there once the member has started, which may have replaced the store.
    index_stays: bool,
}

impl Found {
    /// `index` is the key index that was there before, and `stays` whether it still is.
    pub fn in_member(booted: Booted, index: Option<Index>, stays: bool) -> Result<Found, String> {
        let restored = booted.restored;
        let (_backend, state) = booted.store.read().map_err(|error| refused(&error))?;
        let mut published = booted.standing.with(state);
        let backend = (published.index, digest(&published, booted.identity));
        let behind = published.index;
        for entry in restored.entries.iter().filter(|e| e.index > behind) {
            apply(&mut published, entry)?;
        }
        if let Some(index) = &index {
            index.serves(&published.state)?;
        }
        let last = restored.entries.last().map(|entry| entry.index);
        Ok(Found {
            compacted: restored.compacted,
            last: last.unwrap_or(restored.compacted.0),
            entries: restored.entries,
            term: restored.hard_state.term,
            vote: restored.hard_state.vote,
            backend,
            store: store(&published),
            index,
            index_stays: stays,
        })
    }

    /// What a member promises by having started on this.
    pub fn as_promise(&self, before: &Promise) -> Promise {
        Promise {
            last: self.last,
            term: self.term,
            vote: self.vote,
            index: if self.index_stays { before.index } else { 0 },
            ..before.clone()
        }
    }
}

/// Applies one entry as the server does, as far as the workloads need it.
pub(super) fn apply(published: &mut Published, entry: &Entry) -> Result<(), String> {
    published.index = entry.index;
    published.term = entry.term;
    let request = LogRequest::decode(entry.data.clone()).map_err(|error| error.to_string())?;
    match request.request {
        Some(Request::Put(put)) => {
            published.state.put(&put).map_err(|e| e.to_string())?;
        }
        // One that repeats an earlier one is refused, as it was the first time.
        Some(Request::Compaction(compaction)) => {
            _ = published.state.compact(compaction.revision);
        }
        other => return Err(format!("no workload writes {other:?}")),
    }
    Ok(())
}

/// Says that a member does not start.
pub(super) fn refused(error: &boot::Error) -> String {
    format!("the member refuses to start: {error}")
}

fn store(published: &Published) -> (u32, i64) {
    let hash = published.state.hash(0).map_or(0, |hash| hash.hash);
    (hash, published.state.revision())
}

/// Of all that the backend holds.
fn digest(published: &Published, identity: Identity) -> u64 {
    let mut hasher = DefaultHasher::new();
    for chunk in snapshot::Encoder::new(published.state.clone(), published.meta(identity)) {
        hasher.write(&chunk);
    }
    hasher.finish()
}
