//! The only door to time, disk, network, tasks and entropy.
//!
//! The server is handed an `Arc<dyn Host>` when it starts and touches the world through nothing
//! else, so that the same machine code serves a production member ([`os`]) and a simulated one (the
//! testbed's world, which lives outside this crate). A host must never leak one member's time,
//! files or connections into another's.
//!
//! **Disk work is plain blocking Rust.** [`Disk`] and [`File`] have synchronous methods; callers
//! run them inside [`HostExt::run_blocking`], the one asynchronous piece. A simulated host runs the
//! closure inline and charges its virtual duration to the awaiting task.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

pub mod http;
pub mod layer;
pub mod os;
pub mod quiet;

/// A boxed future that may move between threads; what object-safe async methods return.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A reading of a host's monotonic clock: the time since that host's arbitrary origin.
///
/// Comparable only with readings of the same host in the same life of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub Duration);

impl Moment {
    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, rhs: Duration) -> Moment {
        Moment(self.0.saturating_add(rhs))
    }
}

/// One member's world.
pub trait Host: Send + Sync + 'static {
    /// Reads the monotonic clock.
    fn now(&self) -> Moment;

    /// Reads the wall clock, as the time since the Unix epoch. May jump; for display, logs
    /// and the expiry of signed tokens only.
    fn wall_clock(&self) -> Duration;

    /// Completes once `duration` has passed on this host's monotonic clock.
    fn sleep(&self, duration: Duration) -> BoxFuture<()>;

    /// Starts a task. It runs until it ends, is aborted, or the host's process dies.
    /// `name` is for diagnostics and must be a constant of the calling module.
    fn spawn(&self, name: &'static str, task: BoxFuture<()>) -> TaskHandle;

    /// Runs disk work without stalling other tasks; see [`HostExt::run_blocking`] for the typed form.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()>;

    /// The member's disk.
    fn disk(&self) -> Arc<dyn Disk>;

    /// Listens on `address` (`host:port`).
    fn listen(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Listener>>>;

    /// Connects to `address` (`host:port`). May hang as long as the network does: callers bound it
    /// with [`HostExt::timeout`].
    fn connect(&self, address: &str) -> BoxFuture<io::Result<Box<dyn Stream>>>;

    /// Fills `buffer` with unpredictable bytes (predictable from the seed on a simulated host).
    fn fill_random(&self, buffer: &mut [u8]);

    /// Identifies this boot of the member's machine: changes exactly when the page cache was lost.
    fn boot_id(&self) -> String;

    /// Tells whoever watches this member what just happened inside it. Production hosts ignore it;
    /// the testbed counts elections and checks raft's safety properties with it.
    fn observe(&self, _event: Event) {}

    /// What the process uses of its machine; `None` where members are no processes. Blocks on
    /// disk work.
    fn process_usage(&self) -> Option<ProcessUsage> {
        None
    }

    /// The deliberate mistakes chosen for this member; empty everywhere but in the testbed.
    fn defects(&self) -> crate::defects::Defects {
        crate::defects::Defects::default()
    }
}

/// What a process uses of its machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    /// Seconds of processor time.
    pub cpu_seconds: f64,
    /// When it began, in seconds since 1970.
    pub started_seconds: f64,
    /// Open file descriptors.
    pub open_files: u64,
    /// The most file descriptors it may open.
    pub open_files_max: u64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Virtual memory, bytes.
    pub virtual_bytes: u64,
}

/// Something that happened inside a member, as told to [`Host::observe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The member became leader of `term`.
    BecameLeader {
        /// The raft term.
        term: u64,
    },
    /// The member stopped being leader of `term`.
    SteppedDown {
        /// The raft term it led.
        term: u64,
    },
    /// The member asks for votes in `term`.
    Campaigned {
        /// The raft term.
        term: u64,
    },
    /// The member follows `leader` in `term`; 0 when it knows none.
    Follows {
        /// The raft term.
        term: u64,
        /// The leader's member ID.
        leader: u64,
    },
    /// The member applied the entry at `index`, which was created in `term`.
    Applied {
        /// The raft log index.
        index: u64,
        /// The raft term of the entry.
        term: u64,
        /// CRC-32C of the entry's data.
        checksum: u32,
    },
    /// The member finished reading its disk and serves.
    Started {
        /// The last raft index its backend held.
        applied: u64,
        /// Entries found in the log behind it.
        replayed: u64,
    },
    /// The store has been read, by a member that served clients before.
    StoreRead {
        /// Entries it applied while it read.
        applied: u64,
    },
    /// Recovery cut a torn record, never synced, off the end of the log.
    TornTailCut {
        /// Bytes cut off.
        bytes: u64,
    },
    /// The member's log contradicts its cluster's and is dropped, to be rebuilt from its peers.
    Rebuilding,
    /// The member sends its store to a follower that is behind the compacted log.
    SnapshotSent {
        /// The receiving member's ID.
        to: u64,
        /// The raft index of the snapshot.
        index: u64,
    },
    /// The member replaced its store by a snapshot.
    SnapshotInstalled {
        /// The raft index of the snapshot.
        index: u64,
    },
    /// The member applied the end of a lease.
    LeaseEnded {
        /// The lease's ID.
        id: i64,
        /// The raft index of its grant, which tells it from others with the same ID.
        granted_index: u64,
        /// Whether its time was up; otherwise a client revoked it.
        expired: bool,
        /// The store's revision after it.
        revision: i64,
    },
    /// The member applied a change of the voters or learners.
    Reconfigured {
        /// The raft index of the change.
        index: u64,
        /// The IDs of the members that vote from here on, ascending.
        voters: Vec<u64>,
        /// The IDs of the learners, ascending.
        learners: Vec<u64>,
    },
    /// The leader compared its store with those of all other members, and they were equal.
    StoresCompared {
        /// The revision they were compared at.
        revision: i64,
        /// Whether by the hashes of a finished compaction.
        compaction: bool,
    },
    /// The leader found that a member's store differs.
    CorruptionFound {
        /// The member's ID, 0 when it cannot be told which one it is.
        member: u64,
        /// The revision they were compared at.
        revision: i64,
        /// Whether by the hashes of a finished compaction.
        compaction: bool,
    },
    /// The member knows that it was removed from the cluster, and is about to end.
    Removed,
    /// The member compacted its raft log up to `index`.
    LogCompacted {
        /// The raft index.
        index: u64,
    },
}

/// Typed conveniences over [`Host`].
pub trait HostExt: Host {
    /// Runs `work` as disk work and returns its result.
    ///
    /// Returns `None` only when the work panicked or the process is going down.
    fn run_blocking<T, F>(
        &self,
        work: F,
    ) -> impl Future<Output = Option<T>> + Send + use<Self, T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let slot = Arc::new(Mutex::new(None));
        let done = slot.clone();
        let running = self.blocking(Box::new(move || {
            let value = work();
            *done.lock().unwrap_or_else(|e| e.into_inner()) = Some(value);
        }));
        async move {
            running.await;
            slot.lock().unwrap_or_else(|e| e.into_inner()).take()
        }
    }

    /// Awaits `future` for at most `limit`; `None` when the limit passed first. No timer is set when
    /// the future is ready at once.
    fn timeout<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> {
        async move {
            let mut future = std::pin::pin!(future);
            let mut sleep: Option<BoxFuture<()>> = None;
            std::future::poll_fn(|context| {
                if let Poll::Ready(value) = future.as_mut().poll(context) {
                    return Poll::Ready(Some(value));
                }
                let sleep = sleep.get_or_insert_with(|| self.sleep(limit));
                sleep.as_mut().poll(context).map(|()| None)
            })
            .await
        }
    }

    /// A random 64-bit integer.
    fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_random(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

impl<H: Host + ?Sized> HostExt for H {}

/// Owns a spawned task: [`TaskHandle::abort`] ends it at its next await; dropping detaches it.
pub struct TaskHandle(Box<dyn Fn() + Send + Sync>);

impl TaskHandle {
    /// Wraps a host's way to abort the task.
    pub fn new(abort: impl Fn() + Send + Sync + 'static) -> TaskHandle {
        TaskHandle(Box::new(abort))
    }

    /// Ends the task at its next await point.
    pub fn abort(&self) {
        (self.0)()
    }
}

/// A byte stream between two processes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// The other side's address, for logs.
    fn peer_address(&self) -> String;

    /// Where it will stand who the other side has proven to be; `None` for streams that prove
    /// nothing.
    fn identity(&self) -> Option<Identity> {
        None
    }
}

/// Who the other side of a stream has proven to be, once it has. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Identity(Arc<OnceLock<Option<String>>>);

impl Identity {
    /// Sets the common name of the other side's verified certificate; only the first call counts.
    pub fn prove(&self, common_name: Option<String>) {
        let _ = self.0.set(common_name);
    }

    /// The certificate's common name (`None` inside when it has none); `None` when nothing is
    /// proven.
    pub fn common_name(&self) -> Option<Option<&str>> {
        self.0.get().map(Option::as_deref)
    }
}

/// What [`Listener::accept`] returns.
pub type Accepting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Accepts connections.
pub trait Listener: Send {
    /// Waits for the next connection.
    fn accept(&mut self) -> Accepting<'_>;

    /// The address actually bound (`host:port`), useful when the port asked for was 0.
    fn local_address(&self) -> String;
}

/// How [`Disk::open`] treats an existing or missing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; reading only.
    Read,
    /// Must exist; reading and writing.
    ReadWrite,
    /// Must not exist; created empty.
    CreateNew,
    /// Opened if it exists, created empty otherwise; never truncated.
    OpenOrCreate,
}

/// A member's file system. All methods block; call them inside [`HostExt::run_blocking`].
///
/// Durability is POSIX's at its worst: a written byte is durable after `sync_*` on its file, a
/// created, renamed or removed name after [`Disk::sync_dir`] on its directory, and not before.
pub trait Disk: Send + Sync + 'static {
    /// Creates `path` and its missing parents. The caller syncs the parents.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Atomically renames a file, replacing the target if it exists.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted.
    fn list_dir(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Whether a file or directory exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Makes the directory's names durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes an exclusive advisory lock on `path` (created if missing), held until the guard drops
    /// or the process dies. `WouldBlock` when another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// An open file. All methods block; offsets and lengths are bytes.
pub trait File: Send + Sync + std::fmt::Debug + 'static {
    /// Reads at `offset`; returns fewer bytes than asked only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `data` at `offset`, extending the file as needed.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes the content durable, and the metadata needed to read it back (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Sets the length, truncating or extending with zeros.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Reserves space for the file's first `length` bytes, so that writing there neither runs out
    /// of space nor changes the file's length. A shorter file becomes that long, its new bytes read
    /// as zeros. What is there already does not change.
    fn allocate(&self, length: u64) -> io::Result<()> {
        match self.len()? < length {
            true => self.set_len(length),
            false => Ok(()),
        }
    }
    /// The current length.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Syncs the directory that holds `path`'s last component.
pub fn sync_parent(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => disk.sync_dir(parent),
        _ => disk.sync_dir(&PathBuf::from(".")),
    }
}
