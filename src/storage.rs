//! What a fault of the storage means for a member: the one place that decides.
//!
//! The log, the store and snapshots say what went wrong; [`Fault`] says what follows, and
//! [`REPLACE`] what an operator does who is told that data is damaged. `docs/storage-faults.md` has
//! the table.

use std::io;

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
        assert_eq!(Fault::of_io(&io::Error::from_raw_os_error(5)), Fault::Failed);
    }
}
