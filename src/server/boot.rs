//! From what is on disk to a member that can start: the log and the backend, reconciled.
//!
//! The log's newest snapshot mark says where the log begins; the backend says, in the same
//! transaction as its data, up to which entry it has come. Legal states after any crash:
//!
//! - the backend is at or beyond the mark: entries behind it are applied again, exactly once;
//! - the mark is beyond the backend and the snapshot file it speaks of is there: a crash came
//!   between receiving a snapshot and installing it, which is finished now;
//! - the log ends before the backend, under a `--wal-sync` setting that permits losing
//!   acknowledged writes: the log starts anew behind the backend.
//!
//! Everything else is damage and is refused: a member that has forgotten what it acknowledged must
//! not vote.

mod error;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::api::proto::vetcdpb;
use crate::auth;
use crate::backend::key_index::{self, KeyIndex};
use crate::backend::{self, Backend, Unread};
use crate::config::Cluster;
use crate::host::{Disk, OpenMode};
use crate::mvcc::State;
use crate::raft::{self, Identity, Restored};
use crate::snapshot;
use crate::wal;

pub use super::apply::load_snapshot;
use super::lone;
use super::{Alarms, Members, Standing};
pub use error::Error;
pub(super) use error::io_error;

/// Index and term of the agreed beginning of every log: the initial membership stands there.
pub(super) const GENESIS: (u64, u64) = (1, 1);
/// Terms skipped by a member that may have forgotten its votes, see [`term_after_loss`].
const FORGOTTEN_TERMS: u64 = 1000;

/// What the flags say about the member.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The member and cluster the flags describe.
    pub identity: Identity,
    /// Whether a data directory of another cluster is refused; otherwise its own identity counts.
    pub identity_is_binding: bool,
    /// The initial members; of a cluster to join, those it had when it was asked.
    pub members: Members,
    /// Whether a first start joins a cluster that runs already.
    pub joins: bool,
    /// Make a cluster of this member alone.
    pub force_new_cluster: bool,
    /// When the log is made durable.
    pub wal_sync: wal::SyncPolicy,
    /// How large the log's segments are.
    pub wal_options: wal::Options,
    /// The machine's current boot.
    pub boot_id: String,
}

impl Options {
    /// For the data directory of a member that does not run: nothing is known of it but what it holds,
    /// and nothing may be lost.
    pub fn at_rest(data_dir: &Path, cluster: Cluster) -> Options {
        Options {
            data_dir: data_dir.to_owned(),
            identity: Identity {
                cluster_id: cluster.cluster_id,
                member_id: cluster.member_id,
            },
            identity_is_binding: true,
            members: Members::from_wire(cluster.members),
            joins: false,
            force_new_cluster: false,
            wal_sync: wal::SyncPolicy::Always,
            wal_options: wal::Options::default(),
            boot_id: String::new(),
        }
    }

    /// Where the log is.
    pub fn wal_dir(&self) -> PathBuf {
        self.member_dir().join("wal")
    }

    /// Where received snapshots and the backend are.
    pub fn snapshot_dir(&self) -> PathBuf {
        self.member_dir().join("snap")
    }

    /// The backend's file.
    pub fn backend_path(&self) -> PathBuf {
        self.snapshot_dir().join("db")
    }

    pub(super) fn member_dir(&self) -> PathBuf {
        self.data_dir.join("member")
    }

    fn may_lose_writes(&self) -> bool {
        !self.wal_sync.keeps_acknowledged_writes_over_power_loss()
    }
}

/// A member ready to start.
pub struct Booted {
    /// Who it is.
    pub identity: Identity,
    /// For raft.
    pub restored: Restored,
    /// What stands beside the keys.
    pub standing: Standing,
    /// The keys.
    pub store: Store,
    /// The backend's size.
    pub size: Option<backend::Size>,
    /// Reads are served only once an entry of this term or a later one is applied, see [`boot`].
    pub trusted_from_term: u64,
    /// Bytes of a torn record cut off the log's end.
    pub torn_bytes: Option<u64>,
    /// Held as long as the member lives.
    pub lock: Box<dyn Send + Sync>,
}

/// An open store whose keys are yet to be read.
#[derive(Debug)]
pub struct Store {
    backend: Backend,
    /// What it holds, where that is known already: at a first start, and after a snapshot was
    /// installed.
    state: Option<State>,
    /// Where its keys are, for who does not wait until all are read.
    index: Option<KeyIndex>,
}

/// A store that can be served.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub backend: Arc<Backend>,
    /// What is known of it.
    pub state: State,
    /// Whence the rest is read, if that is not all.
    pub(crate) unread: Option<Unread>,
}

impl Store {
    /// One whose keys were read.
    pub fn known(backend: Backend, state: State) -> Store {
        Store {
            backend,
            state: Some(state),
            index: None,
        }
    }

    /// Reads as much as must be known to serve clients: with an index of the keys that is what is not
    /// in the index yet. Blocks.
    ///
    /// # Errors
    /// The disk's, or damage.
    pub fn open(mut self) -> Result<Opened, Error> {
        let index = self.index.take();
        let (Some(index), None) = (index, &self.state) else {
            return self.open_whole();
        };
        let backend = Arc::new(self.backend);
        if let Some((unread, state)) = Unread::open(backend.clone(), index)? {
            return Ok(Opened {
                backend,
                state,
                unread: Some(unread),
            });
        }
        tracing::info!("the index of the store's keys does not fit: all of it is read first");
        let state = backend.load()?.state;
        Ok(Opened {
            backend,
            state,
            unread: None,
        })
    }

    fn open_whole(self) -> Result<Opened, Error> {
        let (backend, state) = self.read()?;
        Ok(Opened {
            backend: Arc::new(backend),
            state,
            unread: None,
        })
    }

    /// Reads the keys, which takes as long as there are many. Blocks.
    ///
    /// # Errors
    /// The disk's, or damage.
    pub fn read(self) -> Result<(Backend, State), Error> {
        let state = match self.state {
            Some(state) => state,
            None => self.backend.load()?.state,
        };
        Ok((self.backend, state))
    }
}

/// Opens, and where needed creates or repairs, the data directory. Blocks, for a time that grows with
/// what is in the log and not in the store, and not with the store: its keys are left to
/// [`Store::read`], beside which raft can run already. Should they turn out to be damaged then, no
/// harm is done: what the member has promised in the meantime stands in its log.
///
/// Where `--wal-sync` permits losses, what this member has applied may be on a line that the cluster
/// has since given up. An applied entry of a term that began after this start proves that it is not
/// (raft's log matching), so until then the member serves no reads.
pub fn boot(disk: &Arc<dyn Disk>, options: &Options) -> Result<Booted, Error> {
    let lock = prepare_directories(disk.as_ref(), options)?;
    let page_cache_lost = page_cache_lost(disk.as_ref(), options)?;
    let (mut log, mut recovered) = open_log(disk, options)?;
    let identity = check_identity(options, recovered.metadata)?;
    let (store, standing) = open_backend(disk, options, identity, &recovered)?;
    if standing.members.was_removed(identity.member_id) {
        return Err(Error::Removed(raft::Error::Removed));
    }

    let mark = recovered.snapshot.clone().expect("open_log leaves a mark");
    let mut compacted = (mark.index, mark.term);
    let last = recovered
        .entries
        .last()
        .map_or(mark.index, |entry| entry.index);
    if last < standing.index {
        if !options.may_lose_writes() {
            return Err(Error::LogBehind {
                path: options.data_dir.clone(),
                last,
                backend: standing.index,
            });
        }
        tracing::warn!(
            last,
            backend = standing.index,
            "the log has lost its end, as --wal-sync permits: it starts anew behind the store"
        );
        compacted = (standing.index, standing.term);
        recovered.entries.clear();
        log.append(&wal::Batch {
            snapshot: Some(wal::SnapshotMark {
                index: standing.index,
                term: standing.term,
                conf_state: standing.conf_state.clone(),
            }),
            ..Default::default()
        })?;
    }
    let last = recovered
        .entries
        .last()
        .map_or(compacted, |entry| (entry.index, entry.term));
    let mut hard_state = recovered.hard_state;
    hard_state.commit = hard_state.commit.clamp(standing.index, last.0);
    hard_state.term = hard_state.term.max(last.1);
    if page_cache_lost && options.may_lose_writes() {
        hard_state = term_after_loss(hard_state);
        log.append(&wal::Batch {
            hard_state: Some(hard_state),
            ..Default::default()
        })?;
    }
    if options.force_new_cluster {
        let alone = lone::make(&standing, identity, hard_state, &recovered.entries);
        let Some(alone) = alone else {
            return Err(Error::NoSuchMember {
                path: options.data_dir.clone(),
                member: identity.member_id,
            });
        };
        if let Some(alone) = alone {
            log.append(&alone.batch())?;
            log.sync()?;
            recovered.entries = alone.entries;
            hard_state = alone.hard_state;
        }
    }
    Ok(Booted {
        identity,
        size: store.backend.size().ok(),
        restored: Restored {
            log,
            hard_state,
            conf_state: standing.conf_state.clone(),
            compacted,
            entries: recovered.entries,
            applied: standing.index,
        },
        standing,
        store,
        trusted_from_term: match options.may_lose_writes() {
            true => hard_state.term,
            false => 0,
        },
        torn_bytes: recovered.torn.map(|torn| torn.bytes),
        lock,
    })
}

/// A member that may have forgotten entries it acknowledged, and under `none` votes it gave, starts
/// in a term that nobody has seen. A leader that still counts the forgotten entries then steps
/// down and its successor asks anew what this member holds; and no vote can be given twice in one
/// term. This keeps the log consistent; it cannot bring back what is lost.
fn term_after_loss(hard_state: wal::HardState) -> wal::HardState {
    wal::HardState {
        term: hard_state.term + FORGOTTEN_TERMS,
        vote: 0,
        ..hard_state
    }
}

fn prepare_directories(disk: &dyn Disk, options: &Options) -> Result<Box<dyn Send + Sync>, Error> {
    for directory in [options.wal_dir(), options.snapshot_dir()] {
        disk.create_dir_all(&directory)
            .map_err(io_error(&directory))?;
    }
    let member = options.member_dir();
    for directory in [&member, &options.data_dir] {
        disk.sync_dir(directory).map_err(io_error(directory))?;
    }
    crate::host::sync_parent(disk, &options.data_dir).map_err(io_error(&options.data_dir))?;
    match disk.lock(&member.join("lock")) {
        Ok(lock) => Ok(lock),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(Error::Locked(options.data_dir.clone()))
        }
        Err(error) => Err(io_error(&member)(error)),
    }
}

/// Whether the machine has lost its page cache since this member's last start. The note itself is
/// written without a sync: one that is lost or torn reads as another boot, which is the safe side.
fn page_cache_lost(disk: &dyn Disk, options: &Options) -> Result<bool, Error> {
    const MAX_NOTE: usize = 256;
    let path = options.member_dir().join("boot-id");
    let compare_and_write = || {
        let file = disk.open(&path, OpenMode::OpenOrCreate)?;
        let mut note = [0; MAX_NOTE];
        let length = file.read_at(0, &mut note)?;
        let same = note[..length] == *options.boot_id.as_bytes();
        if !same {
            file.set_len(0)?;
            file.write_at(0, options.boot_id.as_bytes())?;
        }
        Ok((length > 0, same))
    };
    let (existed, same) = compare_and_write().map_err(io_error(&path))?;
    let started_before = disk
        .exists(&options.backend_path())
        .map_err(io_error(&path))?
        || existed;
    Ok(started_before && !same)
}

/// Whether the member has started before, as far as its log goes. Blocks.
pub fn has_log(disk: &Arc<dyn Disk>, options: &Options) -> Result<bool, Error> {
    let directory = options.wal_dir();
    if !wal::Log::exists(disk.as_ref(), &directory)? {
        return Ok(false);
    }
    let (_, recovered) = wal::Log::open(disk.clone(), &directory, options.wal_options)?;
    Ok(recovered.snapshot.is_some())
}

/// Where the log of a first start begins: at the agreed beginning, or, for a member that joins,
/// before it, without any membership.
fn first_mark(options: &Options) -> wal::SnapshotMark {
    match options.joins {
        true => wal::SnapshotMark {
            index: 0,
            term: 0,
            conf_state: vetcdpb::ConfState::default(),
        },
        false => wal::SnapshotMark {
            index: GENESIS.0,
            term: GENESIS.1,
            conf_state: options.members.conf_state(),
        },
    }
}

fn open_log(disk: &Arc<dyn Disk>, options: &Options) -> Result<(wal::Log, wal::Recovered), Error> {
    let directory = options.wal_dir();
    let metadata = wal::Metadata {
        cluster_id: options.identity.cluster_id,
        member_id: options.identity.member_id,
    };
    if !wal::Log::exists(disk.as_ref(), &directory)? {
        let backend = options.backend_path();
        let lost = disk.exists(&backend).map_err(io_error(&backend))?;
        if lost && !options.may_lose_writes() {
            return Err(Error::LogMissing(options.data_dir.clone()));
        }
        drop(wal::Log::create(
            disk.clone(),
            &directory,
            metadata,
            options.wal_options,
        )?);
    }
    let (mut log, mut recovered) = wal::Log::open(disk.clone(), &directory, options.wal_options)?;
    if let Some(torn) = &recovered.torn {
        tracing::warn!(?torn, "the log's torn end was cut off");
    }
    if recovered.snapshot.is_none() {
        // The member's very first start, or one that was cut short right there.
        let mark = first_mark(options);
        recovered.hard_state.term = recovered.hard_state.term.max(mark.term);
        recovered.hard_state.commit = recovered.hard_state.commit.max(mark.index);
        log.append(&wal::Batch {
            hard_state: Some(recovered.hard_state),
            snapshot: Some(mark.clone()),
            ..Default::default()
        })?;
        if options.wal_sync != wal::SyncPolicy::None {
            log.sync()?;
        }
        recovered.snapshot = Some(mark);
    }
    Ok((log, recovered))
}

fn check_identity(options: &Options, found: wal::Metadata) -> Result<Identity, Error> {
    let wanted = options.identity;
    let same = found.cluster_id == wanted.cluster_id && found.member_id == wanted.member_id;
    if !same && options.identity_is_binding {
        return Err(Error::OtherCluster {
            path: options.data_dir.clone(),
            found_cluster: found.cluster_id,
            found_member: found.member_id,
            wanted_cluster: wanted.cluster_id,
            wanted_member: wanted.member_id,
        });
    }
    Ok(Identity {
        cluster_id: found.cluster_id,
        member_id: found.member_id,
    })
}

fn open_backend(
    disk: &Arc<dyn Disk>,
    options: &Options,
    identity: Identity,
    recovered: &wal::Recovered,
) -> Result<(Store, Standing), Error> {
    let mark = recovered.snapshot.as_ref().expect("open_log leaves a mark");
    let path = options.backend_path();
    let backend = Backend::open(disk.clone(), &path)?;
    let meta = backend.meta()?;
    let first_start = meta.members.is_empty() && mark.index <= GENESIS.0;
    if meta.consistent_index >= mark.index && !first_start {
        let unread = Store {
            backend,
            state: None,
            index: open_index(disk.as_ref(), options, identity),
        };
        return Ok((unread, Standing::of(meta)));
    }
    if first_start {
        // A member that joins keeps here whom to talk to, until it is fed.
        let standing = Standing {
            index: mark.index,
            term: mark.term,
            conf_state: mark.conf_state.clone(),
            members: options.members.clone(),
            alarms: Alarms::default(),
            auth: auth::State::new(),
        };
        let mut genesis = standing.clone().with(State::new());
        let changes = genesis.state.take_changes();
        backend.commit(&changes, &genesis.meta(identity))?;
        return Ok((Store::known(backend, genesis.state), standing));
    }
    let file = options
        .snapshot_dir()
        .join(snapshot::file_name(mark.index, mark.term));
    if !disk.exists(&file).map_err(io_error(&file))? {
        return Err(Error::BackendBehind {
            path: options.data_dir.clone(),
            mark: mark.index,
            backend: meta.consistent_index,
        });
    }
    drop(backend);
    let (backend, state, meta) = load_snapshot(disk.clone(), &file, &path, identity)?;
    Ok((Store::known(backend, state), Standing::of(meta)))
}

/// The index of the store's keys. It only saves time, so without it, or with one that cannot be used,
/// the member goes on.
fn open_index(disk: &dyn Disk, options: &Options, identity: Identity) -> Option<KeyIndex> {
    let path = key_index::path_beside(&options.backend_path());
    let opened = KeyIndex::open(disk, &path, index_owner(identity));
    opened.unwrap_or_else(|error| {
        tracing::warn!(%error, "the index of the store's keys cannot be used: all of it is read first");
        None
    })
}

/// Whose index the one of this member's keys is.
pub(super) fn index_owner(identity: Identity) -> key_index::Owner {
    key_index::Owner {
        cluster_id: identity.cluster_id,
        member_id: identity.member_id,
    }
}

/// Empties the data directory of a member whose log contradicts its cluster, keeping its identity
/// and term, so that it can rebuild from its peers. Only for settings that permit losing writes.
///
/// The member comes back as one that joins: with an empty log *before* the agreed beginning and no
/// membership of its own, since the members of the flags may be long gone. Whom to talk to it takes
/// from its store, or from the flags when that cannot be read.
pub fn reset(disk: &Arc<dyn Disk>, options: &Options) -> Result<(), Error> {
    assert!(
        options.may_lose_writes(),
        "a log that keeps its promise is never dropped"
    );
    let (log, recovered) = open_log(disk, options)?;
    drop(log);
    let members = known_members(disk, options).unwrap_or_else(|error| {
        tracing::warn!(%error, "the store does not say who the members are: taking the flags' word");
        options.members.clone()
    });
    for directory in [options.wal_dir(), options.snapshot_dir()] {
        for name in disk.list_dir(&directory).map_err(io_error(&directory))? {
            let path = directory.join(name);
            disk.remove_file(&path).map_err(io_error(&path))?;
        }
        disk.sync_dir(&directory).map_err(io_error(&directory))?;
    }
    let identity = Identity {
        cluster_id: recovered.metadata.cluster_id,
        member_id: recovered.metadata.member_id,
    };
    let anew = Options {
        identity,
        members,
        joins: true,
        ..options.clone()
    };
    let (mut log, empty) = open_log(disk, &anew)?;
    log.append(&wal::Batch {
        // A new term here as well: the leader must not go on counting what has just been dropped.
        hard_state: Some(wal::HardState {
            commit: 0,
            ..term_after_loss(recovered.hard_state)
        }),
        ..Default::default()
    })?;
    open_backend(disk, &anew, identity, &empty)?;
    Ok(())
}

/// Who the members are by this member's own store.
fn known_members(disk: &Arc<dyn Disk>, options: &Options) -> Result<Members, Error> {
    let backend = Backend::open(disk.clone(), &options.backend_path())?;
    let members = Standing::of(backend.meta()?).members;
    let known = members.iter().next().is_some();
    Ok(match known {
        true => members,
        false => options.members.clone(),
    })
}
