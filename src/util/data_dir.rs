//! `defrag` and `hashkv`: a member's store, while the member does not run.

use std::io;
use std::path::Path;

use super::output::human_bytes;
use super::snapshot_file::Checksum;
use super::{Failure, Files, Streams, about, failed};
use crate::mvcc::{self, State, StateHash};
use crate::server::BootError;
use crate::server::offline::{self, DataDir};
use crate::snapshot::bolt::Reader;
use crate::wal;

impl Files {
    pub(super) fn defragment(
        &self,
        data_dir: &Path,
        streams: &mut Streams<'_>,
    ) -> Result<(), Failure> {
        let mut opened = self.data_dir(data_dir)?;
        let done = opened.shrink();
        let (before, after) = done.map_err(failed)?;
        opened.close();
        let sizes = [before, after].map(|size| human_bytes(size.total_bytes));
        writeln!(
            streams.err,
            "defragmented {}: {} before, {} now",
            data_dir.display(),
            sizes[0],
            sizes[1]
        )?;
        Ok(())
    }

    pub(super) fn hash_kv(
        &self,
        file: Option<&Path>,
        data_dir: Option<&Path>,
        revision: i64,
        streams: &mut Streams<'_>,
    ) -> Result<StateHash, Failure> {
        let state = match (file, data_dir) {
            (Some(file), _) => self.contents(file, Checksum::IfThere)?.state,
            (None, Some(data_dir)) => self.stored(data_dir, streams)?,
            (None, None) => return Err(Failure::Usage("give a file or --data-dir".to_owned())),
        };
        state.hash(revision).map_err(|error| match error {
            mvcc::Error::Compacted => failed(format!(
                "revision {revision} is compacted: the lowest that can be hashed is {}",
                state.compact_revision()
            )),
            mvcc::Error::FutureRevision => failed(format!(
                "revision {revision} has not happened: the newest is {}",
                state.revision()
            )),
            error => failed(error),
        })
    }

    /// The store's content; notes how much of the log is not in it yet.
    fn stored(&self, data_dir: &Path, streams: &mut Streams<'_>) -> Result<State, Failure> {
        let opened = self.data_dir(data_dir)?;
        let loaded = opened.load().map_err(failed)?;
        opened.close();
        let applied = loaded.meta.consistent_index;
        match wal::read(self.disk.as_ref(), &offline::wal_dir(data_dir)) {
            Ok(log) if log.hard_state.commit > applied => writeln!(
                streams.err,
                "note: the store is at log index {applied}, the log is committed up to {}: compare \
                 hashes at the same revision (--rev)",
                log.hard_state.commit
            )?,
            Ok(_) => {}
            Err(error) => writeln!(streams.err, "note: the log cannot be read: {error}")?,
        }
        Ok(loaded.state)
    }

    fn data_dir(&self, data_dir: &Path) -> Result<DataDir, Failure> {
        let store = offline::backend_path(data_dir);
        // An etcd's store has the same name, and must not be touched.
        if let Ok(file) = self.open(&store)
            && Reader::open(file).is_ok()
        {
            return Err(failed(format!(
                "{} is the data directory of an etcd: save a snapshot of it and restore that, see \
                 docs/migration.md",
                data_dir.display()
            )));
        }
        DataDir::open(&self.disk, data_dir).map_err(|error| match error {
            BootError::Locked(_) => failed(format!(
                "{} is in use by a running member: stop it first, or ask it through etcdctl",
                data_dir.display()
            )),
            BootError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                failed(format!(
                    "{} is no data directory of a member: {} is not there",
                    data_dir.display(),
                    store.display()
                ))
            }
            error => about(data_dir)(&error),
        })
    }
}
