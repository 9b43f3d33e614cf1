//! Deliberate mistakes, built in to show that the testbed has teeth.
//!
//! A [`Defect`] is compiled in only with the cargo feature `defects`, and does nothing until a run
//! chooses it by name for a member: [`Host::defects`](crate::host::Host::defects) hands the choice to that member
//! alone. `defect!(set, Name)` stands at the very place where the mistake belongs; without the
//! feature it is the constant `false` and the branch vanishes.

#[cfg(feature = "defects")]
macro_rules! define {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A mistake that can be chosen by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Defect { $($(#[$doc])* $name,)* }

        impl Defect {
            /// Every mistake, in the order of the scoreboard.
            pub const ALL: &'static [Defect] = &[$(Defect::$name,)*];

            /// The name by which scenarios and the command line choose it.
            pub fn name(self) -> &'static str {
                match self { $(Defect::$name => $text,)* }
            }
        }
    };
}

#[cfg(feature = "defects")]
define! {
    /// The leader acknowledges a write before its own log is synced (known bug 2, #14370).
    AckBeforeSync = "ack-before-sync",
    /// A vote is answered before it is on disk.
    VoteBeforeSync = "vote-before-sync",
    /// A linearizable read is served from local state without a read index.
    LocalRead = "local-read",
    /// Entries already in the backend are applied again after a restart (known bug 3, #14685).
    ApplyTwice = "apply-twice",
    /// Only the first half of a transaction's operations is applied.
    HalfTransaction = "half-transaction",
    /// The log's directory is not synced when a segment is begun or removed.
    NoDirectorySync = "no-directory-sync",
    /// A failed sync of the log is tried again, and believed when it then succeeds.
    RetryFailedSync = "retry-failed-sync",
    /// A commit index that waited for the log's next group is written behind it, with its old term
    /// and vote.
    PutOffLast = "put-off-last",
    /// A deposed leader's finding that a lease has expired counts for its successor (#15247).
    StaleExpiry = "stale-expiry",
    /// Whoever waited for a lock gets it, whether or not his lease still lives (#11408).
    LockUnchecked = "lock-unchecked",
    /// Watches are told of a batch only after the compactions in it.
    CompactBeforeWatch = "compact-before-watch",
    /// A write's permission is checked when it is proposed, and not again when it is applied.
    PermissionAtPropose = "permission-at-propose",
    /// A key that has not been read yet is taken to be absent.
    UnreadAsAbsent = "unread-as-absent",
    /// A member that has been restarted cuts the last byte off the values that it is given.
    ValueCutShort = "value-cut-short",
}

/// The set of mistakes chosen for one member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defects {
    #[cfg(feature = "defects")]
    chosen: std::collections::BTreeSet<Defect>,
}

impl Defects {
    /// Chooses mistakes by name.
    ///
    /// # Errors
    /// The first name that is unknown, or any name when the mistakes are not built in.
    pub fn by_name<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Defects, String> {
        names
            .into_iter()
            .try_fold(Defects::default(), Defects::with)
    }

    #[cfg(feature = "defects")]
    fn with(mut self, name: &str) -> Result<Defects, String> {
        match Defect::ALL.iter().find(|defect| defect.name() == name) {
            Some(defect) => {
                self.chosen.insert(*defect);
                Ok(self)
            }
            None => {
                let known: Vec<_> = Defect::ALL.iter().map(|defect| defect.name()).collect();
                let known = known.join(", ");
                Err(format!("unknown defect \"{name}\": known are {known}"))
            }
        }
    }

    #[cfg(not(feature = "defects"))]
    fn with(self, name: &str) -> Result<Defects, String> {
        Err(format!(
            "defect \"{name}\" is not built in: build with `--features defects`"
        ))
    }

    /// Whether `defect` was chosen; use the `defect!` macro instead.
    #[cfg(feature = "defects")]
    pub fn has(&self, defect: Defect) -> bool {
        self.chosen.contains(&defect)
    }
}

/// `defect!(set, Name)`: whether the mistake `Name` is built in and chosen in `set: &Defects`.
#[macro_export]
macro_rules! defect {
    ($set:expr, $name:ident) => {{
        #[cfg(feature = "defects")]
        {
            $set.has($crate::defects::Defect::$name)
        }
        #[cfg(not(feature = "defects"))]
        {
            let _ = &$set;
            false
        }
    }};
}
