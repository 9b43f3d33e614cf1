//! From a state and its records to the bytes of a database.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::records::Entries;
use super::{Records, bucket, entry};
use crate::mvcc::{NEVER_COMPACTED, Revision, RevisionKey, State};
use crate::snapshot::bolt::{Layout, WriteError, Writer};

/// The size of the pieces the file comes in, bytes; the last may be shorter.
pub const CHUNK_BYTES: usize = 32 << 10;

/// Gives a database in pieces of 32 KiB. It holds the records other than keys, one piece and one
/// page a level; the state is a cheap clone that later writes do not touch.
#[derive(Debug)]
pub struct Encoder {
    state: State,
    buckets: BTreeMap<&'static str, Entries>,
    layout: Layout,
    writer: Writer,
    step: Step,
    out: BytesMut,
}

/// How far the writing is.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The buckets before `key`.
    Start,
    /// The first record at this revision or after it.
    Keys(Revision),
    Finished,
}

impl Encoder {
    /// Prepares the database of `state` and `records`. Goes through all of it once, to measure it:
    /// run it aside.
    ///
    /// # Errors
    /// When a record does not fit into the format: it is larger than 1 GiB.
    pub fn new(state: State, records: &Records) -> Result<Encoder, WriteError> {
        let mut buckets = records.buckets();
        let meta = buckets.entry(bucket::META).or_default();
        for (name, revision) in [
            (entry::SCHEDULED_COMPACTION, state.compact_revision()),
            (entry::FINISHED_COMPACTION, state.compact_finished()),
        ] {
            if revision != NEVER_COMPACTED {
                meta.insert(name.to_vec(), revision_name(revision));
            }
        }
        let mut measure = Writer::measuring();
        before_keys(&buckets, &mut measure)?;
        for record in state.records_from(0) {
            measure.put(&record.revision_key().encode(), &record.encode_value())?;
        }
        after_keys(&state, &buckets, &mut measure)?;
        let layout = measure.measured()?;
        Ok(Encoder {
            state,
            buckets,
            layout,
            writer: Writer::new(layout),
            step: Step::Start,
            out: BytesMut::new(),
        })
    }

    /// The length of the whole file, bytes.
    pub fn bytes(&self) -> u64 {
        self.layout.bytes()
    }

    fn fill(&mut self) -> Result<(), WriteError> {
        let state = self.state.clone();
        match self.step {
            Step::Start => {
                before_keys(&self.buckets, &mut self.writer)?;
                self.step = Step::Keys(Revision::ZERO);
            }
            Step::Keys(next) => {
                for record in state.records_at_or_after(next) {
                    let name = record.revision_key().encode();
                    self.writer.put(&name, &record.encode_value())?;
                    self.step = Step::Keys(record.revision.next());
                    if self.writer.available() >= CHUNK_BYTES {
                        return Ok(());
                    }
                }
                after_keys(&state, &self.buckets, &mut self.writer)?;
                self.writer.finish()?;
                self.step = Step::Finished;
            }
            Step::Finished => {}
        }
        Ok(())
    }
}

impl Iterator for Encoder {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while self.out.len() < CHUNK_BYTES && !matches!(self.step, Step::Finished) {
            self.fill().expect("what was measured can be written");
            self.out.extend_from_slice(&self.writer.take());
        }
        if self.out.is_empty() {
            return None;
        }
        let length = self.out.len().min(CHUNK_BYTES);
        Some(self.out.split_to(length).freeze())
    }
}

fn revision_name(main: i64) -> Vec<u8> {
    let name = RevisionKey {
        revision: Revision { main, sub: 0 },
        tombstone: false,
    };
    name.encode().to_vec()
}

fn put_bucket(writer: &mut Writer, name: &str, entries: &Entries) -> Result<(), WriteError> {
    writer.bucket(name.as_bytes())?;
    for (name, value) in entries {
        writer.put(name, value)?;
    }
    Ok(())
}

fn before_keys(
    buckets: &BTreeMap<&'static str, Entries>,
    writer: &mut Writer,
) -> Result<(), WriteError> {
    for (name, entries) in buckets.range(..bucket::KEY) {
        put_bucket(writer, name, entries)?;
    }
    writer.bucket(bucket::KEY.as_bytes())
}

fn after_keys(
    state: &State,
    buckets: &BTreeMap<&'static str, Entries>,
    writer: &mut Writer,
) -> Result<(), WriteError> {
    let newest = state.newest_record();
    let newest = newest.map_or(crate::mvcc::FIRST_REVISION, |record| record.revision.main);
    if newest < state.revision() {
        // The mark of a bumped revision.
        writer.put(&revision_name(state.revision()), &[])?;
    }
    for (name, entries) in buckets.range(bucket::KEY..) {
        put_bucket(writer, name, entries)?;
    }
    Ok(())
}
