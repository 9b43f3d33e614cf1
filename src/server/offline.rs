//! A member's data directory while no member runs in it: made from a snapshot, looked into, shrunk.
//!
//! **A restored member begins at log index 2**, one after the beginning that members agree on
//! without having spoken. So a member of the same new cluster that was *not* restored, and starts
//! empty, cannot pass its emptiness off as the same beginning: it is sent the store by the others,
//! or, where it and its like are the majority, contradicts them and they refuse to go on.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::boot::{self, Error, Options, io_error};
use super::etcd_snapshot::adopt;
use super::{Alarms, Published};
use crate::auth;
use crate::backend::{Backend, Loaded, Size};
use crate::config::Cluster;
use crate::host::{Disk, sync_parent};
use crate::mvcc::State;
use crate::snapshot::etcd_schema::Records;
use crate::wal;

/// Index and term of the beginning of a restored member's log.
const RESTORED: (u64, u64) = (2, 1);

fn unknown_cluster() -> Cluster {
    Cluster {
        cluster_id: 0,
        member_id: 0,
        members: Vec::new(),
    }
}

/// Where a member that runs in `data_dir` has its log.
pub fn wal_dir(data_dir: &Path) -> std::path::PathBuf {
    Options::at_rest(data_dir, unknown_cluster()).wal_dir()
}

/// Where a member that runs in `data_dir` has its store.
pub fn backend_path(data_dir: &Path) -> std::path::PathBuf {
    Options::at_rest(data_dir, unknown_cluster()).backend_path()
}

/// Makes the data directory of a member of the new `cluster` that begins with `state`. Neither
/// `data_dir` nor `wal_dir` may hold a member already. The store comes first and the log last: a
/// directory left half-made is refused by the server. Blocks.
///
/// # Errors
/// The disk's.
pub fn restore(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    wal_dir: &Path,
    cluster: Cluster,
    state: State,
    records: &Records,
) -> Result<(), Error> {
    let options = Options::at_rest(data_dir, cluster);
    let snapshots = options.snapshot_dir();
    disk.create_dir_all(&snapshots)
        .map_err(io_error(&snapshots))?;
    for directory in [&options.member_dir(), &options.data_dir] {
        disk.sync_dir(directory).map_err(io_error(directory))?;
    }
    sync_parent(disk.as_ref(), data_dir).map_err(io_error(data_dir))?;
    let _lock = lock(disk.as_ref(), &options)?;

    let (index, term) = RESTORED;
    let mut published = Published {
        index,
        term,
        conf_state: options.members.conf_state(),
        members: options.members.clone(),
        alarms: Alarms::default(),
        state,
        auth: auth::State::new(),
    };
    adopt(records, &mut published);
    let meta = published.meta(options.identity);
    let path = options.backend_path();
    Backend::replace(disk.clone(), &path, &published.state, &meta)?.close();

    let metadata = wal::Metadata {
        cluster_id: options.identity.cluster_id,
        member_id: options.identity.member_id,
    };
    let mut log = wal::Log::create(disk.clone(), wal_dir, metadata, options.wal_options)?;
    log.append(&wal::Batch {
        snapshot: Some(wal::SnapshotMark {
            index,
            term,
            conf_state: published.conf_state,
        }),
        hard_state: Some(wal::HardState {
            term,
            vote: 0,
            commit: index,
        }),
        ..Default::default()
    })?;
    log.sync()?;
    Ok(())
}

fn lock(disk: &dyn Disk, options: &Options) -> Result<Box<dyn Send + Sync>, boot::Error> {
    let member = options.member_dir();
    disk.lock(&member.join("lock")).map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            return Error::Locked(options.data_dir.clone());
        }
        io_error(&member)(error)
    })
}

/// A data directory that no member runs in, and none can while this lives.
pub struct DataDir {
    backend: Backend,
    _lock: Box<dyn Send + Sync>,
}

impl DataDir {
    /// Opens a member's data directory. A store that was not closed well is repaired, as the member
    /// itself would at its start. Blocks.
    ///
    /// # Errors
    /// The disk's, damage, or when a member runs in it, or nothing is there.
    pub fn open(disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<DataDir, Error> {
        let options = Options::at_rest(data_dir, unknown_cluster());
        let path = options.backend_path();
        if !disk.exists(&path).map_err(io_error(&path))? {
            return Err(io_error(&path)(io::ErrorKind::NotFound.into()));
        }
        let lock = lock(disk.as_ref(), &options)?;
        Ok(DataDir {
            backend: Backend::open(disk.clone(), &path)?,
            _lock: lock,
        })
    }

    /// Reads the whole store.
    ///
    /// # Errors
    /// The disk's, or damage.
    pub fn load(&self) -> Result<Loaded, Error> {
        Ok(self.backend.load()?)
    }

    /// Gives unused space back. Returns the size before and after.
    ///
    /// # Errors
    /// The disk's, or damage.
    pub fn shrink(&mut self) -> Result<(Size, Size), Error> {
        Ok((self.backend.size()?, self.backend.shrink()?))
    }

    /// Leaves the store in a state that opens at once.
    pub fn close(self) {
        self.backend.close();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;
    use crate::api::proto::etcdserverpb::PutRequest;
    use crate::api::proto::vetcdpb::ClusterMember;
    use crate::backend::tests::CrashDisk;

    fn cluster() -> Cluster {
        let member = ClusterMember {
            id: 5,
            name: "m".to_owned(),
            ..Default::default()
        };
        Cluster {
            cluster_id: 9,
            member_id: 5,
            members: vec![member],
        }
    }

    fn state() -> State {
        let mut state = State::new();
        let request = PutRequest {
            key: "k".into(),
            value: "v".into(),
            ..Default::default()
        };
        state.put(&request).unwrap();
        state
    }

    fn restored(disk: CrashDisk) -> Result<(), Error> {
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let data = Path::new("data");
        let records = Records::default();
        restore(&disk, data, &wal_dir(data), cluster(), state(), &records)
    }

    /// Wherever a restore is cut off: the server starts with the whole store, or refuses, or finds
    /// no store at all. It never starts empty beside a store, nor with a part of one.
    #[test]
    fn a_restore_that_is_cut_off_is_whole_or_refused() {
        let disk = CrashDisk::new();
        restored(disk.clone()).unwrap();
        let operations = disk.operations();
        let options = Options::at_rest(Path::new("data"), cluster());
        let (mut whole, mut refused, mut nothing) = (0, 0, 0);
        for operation in 0..=operations {
            for seed in 0..8 {
                let after = disk.crashed(operation, seed);
                let had_store = after.exists(&options.backend_path()).unwrap();
                let after: Arc<dyn Disk> = Arc::new(after);
                let started = boot::boot(&after, &options).and_then(|booted| {
                    let (_, state) = booted.store.read()?;
                    Ok((booted.standing, booted.restored, state))
                });
                match started {
                    Ok((standing, log, state)) if state.revision() == 2 => {
                        assert_eq!(standing.index, RESTORED.0);
                        assert_eq!(log.compacted, RESTORED);
                        whole += 1;
                    }
                    Ok((_, _, state)) => {
                        assert!(!had_store, "cut off at {operation}, seed {seed}");
                        assert_eq!(state.record_count(), 0);
                        nothing += 1;
                    }
                    Err(error) => {
                        assert!(operation < operations, "it was done: {error}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(whole >= 8 && refused > 0 && nothing > 0);
    }

    #[test]
    fn a_restore_whose_disk_fails_says_so() {
        let disk = CrashDisk::new();
        restored(disk.clone()).unwrap();
        for operation in 0..disk.operations() {
            let disk = CrashDisk::new();
            disk.fail_after(operation);
            assert!(restored(disk).is_err(), "operation {operation}");
        }
    }
}
