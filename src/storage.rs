//! What a fault of the storage means for a member: the one place that decides.
//!
//! The log, the store and snapshots say what went wrong; [`Fault`] says what follows, and
//! [`REPLACE`] what an operator does who is told that data is damaged. `docs/storage-faults.md` has
//! the table.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What a fault of the storage means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// There was no space. What was to be written is not acknowledged; the member stops unless it
    /// can do without, and may start again once there is space.
    Full,
    /// The disk refused a read, a write or a sync. Nothing is tried again: after a failed sync the
    /// kernel may hold pages that are not on the disk and that no later sync writes. The member
    /// stops, and may start again once the disk is mended.
    Failed,
    /// What the disk holds is not what was written, or not all of it. The member refuses to start:
    /// it may have forgotten what it acknowledged, so it must not come back as itself.
    Damaged,
}

impl Fault {
    /// What an error of the system means; damage is nothing that the system knows of.
    pub fn of_io(error: &io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full,
            _ => Fault::Failed,
        }
    }
}

/// What a sync said that failed. Whatever it blames, a lack of space included, the data may be gone
/// from the page cache: it is never to be taken for [`Fault::Full`], after which one may go on.
pub fn failed_sync(error: io::Error) -> io::Error {
    match Fault::of_io(&error) {
        Fault::Full => io::Error::other(format!("the sync failed: {error}")),
        _ => error,
    }
}

/// Who of a member's storage is short of space. The log and the store say so, whoever refuses writes
/// looks, and one task waits for it to raise the alarm.
#[derive(Debug)]
pub struct Space {
    log: AtomicBool,
    store: AtomicBool,
    short: UnboundedSender<()>,
    heard: Mutex<Option<UnboundedReceiver<()>>>,
}

impl Default for Space {
    fn default() -> Space {
        let (short, heard) = unbounded_channel();
        Space {
            log: AtomicBool::new(false),
            store: AtomicBool::new(false),
            short,
            heard: Mutex::new(Some(heard)),
        }
    }
}

impl Space {
    /// Whether anything is short of space.
    pub fn is_short(&self) -> bool {
        self.log.load(Ordering::Relaxed) || self.store.load(Ordering::Relaxed)
    }

    /// The log writes from its reserve, or does not any more.
    pub fn set_log(&self, short: bool) {
        self.set(&self.log, short);
    }

    /// A commit of the store waits for space, or does not any more.
    pub fn set_store(&self, short: bool) {
        self.set(&self.store, short);
    }

    fn set(&self, what: &AtomicBool, short: bool) {
        if short && !what.swap(short, Ordering::Relaxed) {
            // Nobody listens when the member is going down.
            let _ = self.short.send(());
        }
        what.store(short, Ordering::Relaxed);
    }

    /// Told each time that something has run short; `None` when somebody listens already.
    pub fn listen(&self) -> Option<UnboundedReceiver<()>> {
        self.heard.lock().unwrap_or_else(|e| e.into_inner()).take()
    }
}

/// What to do with a member whose data is damaged: the only way that is safe while the setting
/// promises to keep what was acknowledged. Its old directory counts as a vote and as a copy that
/// others rely on; under a new identity it counts as nothing until it has caught up.
pub const REPLACE: &str = "do not delete single files and do not start it empty under its old \
     identity, since others count on what it has acknowledged. Replace the member: `etcdctl member \
     remove ID`, then `etcdctl member add NAME --peer-urls=URL`, and start it with an empty \
     --data-dir, --initial-cluster-state existing and the --initial-cluster that was printed; it \
     rebuilds from its peers. A cluster of one is restored from a snapshot";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_sync_never_looks_like_a_full_disk() {
        let error = failed_sync(io::ErrorKind::StorageFull.into());
        assert_eq!(Fault::of_io(&error), Fault::Failed);
        assert!(error.to_string().contains("the sync failed"), "{error}");
    }

    #[test]
    fn running_short_is_told_once_each_time() {
        let space = Space::default();
        let mut heard = space.listen().expect("nobody listens yet");
        assert!(space.listen().is_none());
        space.set_log(true);
        space.set_log(true);
        assert!(space.is_short());
        assert!(heard.try_recv().is_ok() && heard.try_recv().is_err());
        space.set_store(true);
        assert!(heard.try_recv().is_ok());
        space.set_log(false);
        assert!(space.is_short(), "the store still is");
        space.set_store(false);
        assert!(!space.is_short());
        space.set_log(true);
        assert!(heard.try_recv().is_ok());
    }

    #[test]
    fn every_error_of_the_system_means_one_thing() {
        for (kind, fault) in [
            (io::ErrorKind::StorageFull, Fault::Full),
            (io::ErrorKind::QuotaExceeded, Fault::Full),
            (io::ErrorKind::Other, Fault::Failed),
            (io::ErrorKind::PermissionDenied, Fault::Failed),
        ] {
            assert_eq!(Fault::of_io(&kind.into()), fault, "{kind}");
        }
        assert_eq!(Fault::of_io(&io::Error::from_raw_os_error(28)), Fault::Full);
        assert_eq!(
            Fault::of_io(&io::Error::from_raw_os_error(5)),
            Fault::Failed
        );
    }
}
