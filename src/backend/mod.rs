//! The store on disk: a redb file that holds the records and how far the log is applied.
//!
//! One commit is one durable transaction: new records, removals, and the [`BackendMeta`] with the
//! consistent index go in together or not at all. So after a crash the file says exactly which log
//! entries it contains, and the rest is applied again from the log, each entry once (known bugs 1,
//! 3, 4, 11 of the reference).
//!
//! Table `key`: a record's revision name (see [`crate::mvcc::RevisionKey`]) → its `KeyValue`.
//! Table `lease`: a lease's ID, big-endian → its `LeaseRecord`; how many there are is in the meta.
//! Table `meta`: `meta` → the [`BackendMeta`], `totals` → count and size of the records, `auth` →
//! users and roles, which a commit writes only when its [`BackendMeta`] carries them. Every value
//! ends in a CRC-32C.
//!
//! **All methods block**: call them as disk work. None starts a thread, reads a clock or draws a
//! random number, so the same calls write the same bytes.
//!
//! **A failure is final.** After a failed write or sync every later commit fails too; the member
//! stops and starts over from log and file. A panic inside redb (damage it did not foresee) is
//! caught and becomes an error like any other.
//!
//! **Dropping does no disk work**, for its process may be dead: the next open is then one after a
//! crash. [`Backend::close`] leaves a file that opens at once; so does a crash of a large store, see
//! [`Options::quick_repair_from_bytes`].

mod busy;
mod codec;
mod error;
mod file;
pub mod key_index;
mod offline;
mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod unread;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable};

use crate::api::proto::vetcdpb::BackendMeta;
use crate::host::{Disk, File, OpenMode, sync_parent};
use crate::lease;
use crate::mvcc::{Changes, Restore, State};
use crate::storage::{Fault, failed_sync};
use busy::Busy;
use codec::{Totals, name};
pub use error::Error;
use file::StoreFile;
use tables::{KEY, META, load_leases, read_meta, store_leases, stored_totals, write_meta};
pub(crate) use unread::Unread;

/// Records between two questions whether to go on, or two reports.
const LOOK_EVERY: u64 = 4096;

/// How the store's file is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most memory for cached pages, bytes. Values are read once, at start, so that only the
    /// pages a commit changes profit from it.
    pub cache_bytes: usize,
    /// Stores from this size on (bytes of records) note in every commit which pages are in use, at
    /// the price of a second sync: without it the first start after a crash walks the whole file,
    /// about a second for each GB. Smaller ones are walked before anybody notices.
    pub quick_repair_from_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache_bytes: 8 << 20,
            quick_repair_from_bytes: 64 << 20,
        }
    }
}

/// What the file held when it was opened.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The store.
    pub state: State,
    /// How far the log is in it, and the cluster's configuration at that point.
    pub meta: BackendMeta,
}

/// How large the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The file's length, bytes. A fresh file has about 1 MiB; it grows by doubling.
    pub total_bytes: u64,
    /// The length of all records and their names, bytes; without the tree around them.
    pub in_use_bytes: u64,
}

/// An open store.
#[derive(Debug)]
pub struct Backend {
    path: PathBuf,
    file: StoreFile,
    raw: Arc<dyn File>,
    options: Options,
    /// Not for a store that is being built, which nobody opens again.
    busy: Option<Arc<Busy>>,
    /// `None` only while it is being dropped.
    database: Option<Database>,
}

impl Backend {
    /// Opens the store at `path`, or creates an empty one: beside it, synced, then renamed, so that
    /// a crash leaves a whole file or none.
    ///
    /// # Errors
    /// The disk's, or damage.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Backend, Error> {
        Self::open_with(&*disk, path, Options::default())
    }

    /// [`Backend::open`] with options.
    ///
    /// # Errors
    /// The disk's, or damage.
    pub fn open_with(disk: &dyn Disk, path: &Path, options: Options) -> Result<Backend, Error> {
        if !disk.exists(path).map_err(Error::io(path))? {
            let meta = BackendMeta::default();
            return Self::replace_with(disk, path, &State::new(), &meta, options);
        }
        remove_stale(disk, path)?;
        Self::open_existing(disk, path, options)
    }

    /// Replaces the store at `path` by `state`, as when a snapshot is installed. Whoever holds the
    /// old store open must drop it first. A crash leaves the old store or the new one, whole.
    ///
    /// # Errors
    /// The disk's. After [`Fault::Full`] the old store is untouched; after any other failure the new
    /// one may be in its place already, and nobody may go on with the old.
    pub fn replace(
        disk: Arc<dyn Disk>,
        path: &Path,
        state: &State,
        meta: &BackendMeta,
    ) -> Result<Backend, Error> {
        Self::replace_telling(disk, path, state, meta, &mut |_| {})
    }

    /// [`Backend::replace`] that tells, now and then, how many records are written.
    ///
    /// # Errors
    /// As [`Backend::replace`].
    pub fn replace_telling(
        disk: Arc<dyn Disk>,
        path: &Path,
        state: &State,
        meta: &BackendMeta,
        tell: &mut dyn FnMut(u64),
    ) -> Result<Backend, Error> {
        Self::replace_by(&*disk, path, state, meta, Options::default(), tell)
    }

    /// [`Backend::replace`] with options.
    ///
    /// # Errors
    /// As [`Backend::replace`].
    pub fn replace_with(
        disk: &dyn Disk,
        path: &Path,
        state: &State,
        meta: &BackendMeta,
        options: Options,
    ) -> Result<Backend, Error> {
        Self::replace_by(disk, path, state, meta, options, &mut |_| {})
    }

    fn replace_by(
        disk: &dyn Disk,
        path: &Path,
        state: &State,
        meta: &BackendMeta,
        options: Options,
        tell: &mut dyn FnMut(u64),
    ) -> Result<Backend, Error> {
        remove_stale(disk, path)?;
        // It is of the store that goes.
        remove_index(disk, path)?;
        let building = building_path(path);
        let content = (state, meta, tell);
        Self::build(disk, path, &building, content, options).inspect_err(|error| {
            if error.fault() == Fault::Full {
                // What was built so far takes the space that others wait for. If it stays, the next
                // build removes it.
                _ = disk.remove_file(&building);
            }
        })?;
        // The new file has taken the place of the old one: there is no going on with that.
        Self::open_existing(disk, path, options).map_err(Error::final_now)
    }

    fn build(
        disk: &dyn Disk,
        path: &Path,
        building: &Path,
        (state, meta, tell): (&State, &BackendMeta, &mut dyn FnMut(u64)),
        options: Options,
    ) -> Result<(), Error> {
        let file = disk
            .open(building, OpenMode::CreateNew)
            .map_err(Error::io(building))?;
        let fresh = Backend::on_file(building, file.clone(), None, options)?;
        fresh.fill(state, meta, tell)?;
        let written = fresh.file.clone();
        fresh.close();
        // The clean close syncs what it writes, but it does not report a failure, and another sync
        // after one that failed would succeed without writing anything.
        if written.has_failed() {
            let source = io::Error::other("a write or sync failed while it was closed");
            return Err(Error::io(building)(source));
        }
        file.sync_data()
            .map_err(failed_sync)
            .map_err(Error::io(building))?;
        drop(file);
        disk.rename(building, path).map_err(Error::io(path))?;
        sync_parent(disk, path)
            .map_err(failed_sync)
            .map_err(Error::io(path))
    }

    /// After a commit that failed for lack of space ([`Fault::Full`]): opens the store again, as it was
    /// before that commit, once there is as much space as it ever wanted at once. This one takes
    /// nothing more. That is sound because nothing but growing the file had failed: whatever had been
    /// synced before is there.
    ///
    /// # Errors
    /// [`Fault::Full`]: there still is not enough, and it may be tried again. Any other is final.
    pub fn reopen(&self, disk: &dyn Disk) -> Result<Backend, Error> {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".space");
        let probe = PathBuf::from(name);
        let wanted = self.file.wanted_bytes();
        let found = disk
            .open(&probe, OpenMode::OpenOrCreate)
            .and_then(|file| file.allocate(wanted));
        disk.remove_file(&probe).map_err(Error::io(&probe))?;
        found.map_err(Error::io(&probe))?;
        if let Some(busy) = &self.busy {
            busy.set(false)?;
        }
        Self::open_existing(disk, &self.path, self.options)
    }

    fn open_existing(disk: &dyn Disk, path: &Path, options: Options) -> Result<Backend, Error> {
        let file = disk
            .open(path, OpenMode::ReadWrite)
            .map_err(Error::io(path))?;
        // redb would make a new store of an empty file; ours are never empty.
        if file.is_empty().map_err(Error::io(path))? {
            return Err(Error::damaged(path, "the file is empty"));
        }
        let busy = Busy::of(disk, path)?;
        if let Some(bytes) = busy.write_again(&*file).map_err(Error::io(path))? {
            tracing::warn!(
                bytes,
                "the store was being written when its process ended: it is written again"
            );
        }
        let covered = file.len().and_then(|bytes| busy.cover(bytes));
        covered.map_err(Error::io(path))?;
        // Opening writes as well.
        busy.set(true)?;
        let backend = Backend::on_file(path, file, Some(Arc::new(busy)), options)?;
        backend.set_busy(false)?;
        Ok(backend)
    }

    fn set_busy(&self, busy: bool) -> Result<(), Error> {
        if self.file.is_shut() {
            return Ok(());
        }
        self.busy.as_ref().map_or(Ok(()), |note| note.set(busy))
    }

    fn on_file(
        path: &Path,
        raw: Arc<dyn File>,
        busy: Option<Arc<Busy>>,
        options: Options,
    ) -> Result<Backend, Error> {
        let file = StoreFile::new(raw.clone(), busy.clone());
        let opened = caught(path, || {
            Ok(Database::builder()
                .set_cache_size(options.cache_bytes)
                .create_with_backend(file.clone())?)
        });
        let mut backend = Backend {
            path: path.to_owned(),
            file,
            raw,
            options,
            busy,
            database: None,
        };
        backend.database = Some(opened?);
        Ok(backend)
    }

    /// Reads what stands beside the records. Takes the same time however large the store is.
    ///
    /// # Errors
    /// The disk's, or damage of what was read.
    pub fn meta(&self) -> Result<BackendMeta, Error> {
        let (meta, _) = self.read(|database| read_meta(&database.begin_read()?))?;
        meta.decode(&self.path)
    }

    /// Reads the whole store.
    ///
    /// # Errors
    /// The disk's, or damage: a checksum, a missing entry, records no store could have written.
    pub fn load(&self) -> Result<Loaded, Error> {
        let loaded = self.load_while(&|| true)?;
        loaded.ok_or_else(|| Error::Closed {
            path: self.path.clone(),
        })
    }

    /// [`Backend::load`] that ends, without anything, as soon as it is not to go on.
    ///
    /// # Errors
    /// As [`Backend::load`].
    pub fn load_while(&self, go_on: &dyn Fn() -> bool) -> Result<Option<Loaded>, Error> {
        let mut ended = false;
        let mut restore = Restore::new();
        let mut found = Totals::default();
        let mut leases = 0;
        let mut fault = None;
        let (meta, totals) = self.read(|database| {
            let transaction = database.begin_read()?;
            let table = transaction.open_table(KEY)?;
            for entry in table.iter()? {
                let (name, value) = entry?;
                let (name, value) = (name.value(), value.value());
                found.add(name, value);
                if found.records.is_multiple_of(LOOK_EVERY) && !go_on() {
                    ended = true;
                    break;
                }
                let Some(record) = codec::decode_record(name, value) else {
                    fault = Some(format!(
                        "the entry of record {} is garbled",
                        name.escape_ascii()
                    ));
                    break;
                };
                if let Err(error) = restore.push(record) {
                    fault = Some(error.to_string());
                    break;
                }
            }
            if fault.is_none() {
                let push = |lease: &_| restore.push_lease(lease);
                fault = load_leases(&transaction, push, &mut leases)?;
            }
            read_meta(&transaction)
        })?;
        if ended {
            return Ok(None);
        }
        let damaged = |what: &str| Error::damaged(&self.path, what);
        if let Some(what) = fault {
            return Err(damaged(&what));
        }
        let meta = meta.decode(&self.path)?;
        let totals = totals.as_deref().and_then(Totals::decode);
        if totals != Some(found) {
            return Err(damaged("records are missing"));
        }
        if meta.leases != leases {
            return Err(damaged("leases are missing"));
        }
        let state = restore
            .finish(meta.revision, meta.compact_revision, meta.compact_finished)
            .map_err(|error| Error::damaged(&self.path, error))?;
        Ok(Some(Loaded { state, meta }))
    }

    /// Makes `changes` and `meta` durable in one transaction. The revisions inside `meta` are
    /// taken from `changes`, so that they cannot disagree with the records.
    ///
    /// # Errors
    /// The disk's, or damage. The store then takes no more commits: the member must stop.
    pub fn commit(&self, changes: &Changes, meta: &BackendMeta) -> Result<(), Error> {
        self.commit_changes(changes, meta, false)
    }

    /// [`Backend::commit`] of what was to be committed before and failed for lack of space, on the
    /// store that was opened again: whether or not it had come through then, it has once afterwards.
    ///
    /// # Errors
    /// As [`Backend::commit`].
    pub fn commit_again(&self, changes: &Changes, meta: &BackendMeta) -> Result<(), Error> {
        self.commit_changes(changes, meta, true)
    }

    fn commit_changes(
        &self,
        changes: &Changes,
        meta: &BackendMeta,
        again: bool,
    ) -> Result<(), Error> {
        self.write(|transaction| {
            let mut totals = stored_totals(transaction)?;
            // The next open after a crash then need not walk the whole file.
            transaction.set_quick_repair(totals.bytes >= self.options.quick_repair_from_bytes);
            let mut table = transaction.open_table(KEY)?;
            for removed in &changes.removed {
                let name = removed.encode();
                let value = table.remove(&*name)?;
                let known =
                    value.is_some_and(|value| totals.subtract(&name, value.value()).is_some());
                if !known && !again {
                    let what = format!("record {} to remove is not there", removed.revision);
                    return Err(redb::Error::Corrupted(what));
                }
            }
            for record in &changes.records {
                let name = record.revision_key().encode();
                let value = codec::encode_record(&name, record);
                totals.add(&name, &value);
                let there = table.insert(&*name, &*value)?;
                if again && let Some(there) = there {
                    // Never less than was counted for it.
                    _ = totals.subtract(&name, there.value());
                }
            }
            store_leases(transaction, &changes.leases)?;
            let meta = BackendMeta {
                revision: changes.revision,
                compact_revision: changes.compact_revision,
                compact_finished: changes.compact_finished,
                leases: changes.leases.count,
                ..meta.clone()
            };
            write_meta(transaction, &meta, totals)
        })
    }

    /// Writes a whole state into an empty store.
    fn fill(
        &self,
        state: &State,
        meta: &BackendMeta,
        tell: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        self.write(|transaction| {
            let mut table = transaction.open_table(KEY)?;
            let mut totals = Totals::default();
            for record in state.records_from(0) {
                let name = record.revision_key().encode();
                let value = codec::encode_record(&name, record);
                totals.add(&name, &value);
                table.insert(&*name, &*value)?;
                if totals.records.is_multiple_of(LOOK_EVERY) {
                    tell(totals.records);
                }
            }
            let leases = lease::Changes {
                stored: state.leases().iter().copied().collect(),
                removed: Vec::new(),
                count: state.leases().len() as u64,
            };
            store_leases(transaction, &leases)?;
            let meta = BackendMeta {
                revision: state.revision(),
                compact_revision: state.compact_revision(),
                compact_finished: state.compact_finished(),
                leases: leases.count,
                ..meta.clone()
            };
            write_meta(transaction, &meta, totals)
        })
    }

    /// How large the store is.
    ///
    /// # Errors
    /// The disk's, or damage.
    pub fn size(&self) -> Result<Size, Error> {
        let totals = self.read(|database| {
            let transaction = database.begin_read()?;
            let table = transaction.open_table(META)?;
            let value = table.get(name::TOTALS)?;
            Ok(value.and_then(|value| Totals::decode(value.value())))
        })?;
        let totals = totals.ok_or_else(|| Error::damaged(&self.path, "its totals are garbled"))?;
        Ok(Size {
            total_bytes: self.raw.len().map_err(Error::io(&self.path))?,
            in_use_bytes: totals.bytes,
        })
    }

    /// Leaves the file in a state that opens without a check. Blocks on disk work; a failure in it
    /// loses nothing but that.
    pub fn close(mut self) {
        if self.set_busy(true).is_err() {
            return;
        }
        let database = self.database.take();
        // A panic here is redb's, in a file that is no longer used.
        _ = caught(&self.path, || {
            drop(database);
            Ok(())
        });
        if !self.file.has_failed() {
            // If it stays set, the next start writes the store again, and nothing is lost.
            _ = self.set_busy(false);
        }
    }

    fn read<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, Error> {
        caught(&self.path, || match &self.database {
            Some(database) => work(database),
            None => Err(redb::Error::DatabaseClosed),
        })
    }

    /// Runs `work` in a transaction and commits it durably.
    fn write(
        &self,
        work: impl FnOnce(&mut redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), Error> {
        let result = self
            .set_busy(true)
            .and_then(|()| {
                self.read(|database| {
                    let mut transaction = database.begin_write()?;
                    work(&mut transaction)?;
                    transaction.commit()?;
                    Ok(())
                })
            })
            .and_then(|()| self.set_busy(false));
        if result.is_err() {
            self.file.shut();
        }
        result
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.file.shut();
        let database = self.database.take();
        _ = caught(&self.path, || {
            drop(database);
            Ok(())
        });
    }
}

/// Where a store is built before it takes its place.
fn building_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Removes the index of the keys of the store at `path`, if there is one.
///
/// # Errors
/// The disk's.
pub fn remove_index(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    let index = key_index::path_beside(path);
    key_index::remove(disk, &index).map_err(Error::io(&index))
}

/// Removes what a crash left of a store being built.
fn remove_stale(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    let building = building_path(path);
    if disk.exists(&building).map_err(Error::io(&building))? {
        disk.remove_file(&building).map_err(Error::io(&building))?;
    }
    Ok(())
}

/// Runs redb code, turning its errors and its panics into ours.
fn caught<T>(path: &Path, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Error> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| Error::from_redb(path, error)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            let text = text.unwrap_or_else(|| "no message".to_owned());
            Err(Error::damaged(path, format!("redb panicked: {text}")))
        }
    }
}
