//! Scenarios: what people write down to say what goes wrong and what is expected.
//!
//! [`load`] and [`parse`] turn TOML into a [`Scenario`] or into one clear error that points at the
//! line. Everything a scenario may say is documented in [`schema`]. A scenario still has choices
//! left to the seed; [`crate::plan`] makes them.

pub mod fault;
pub mod fields;
mod overrides;
mod read;
pub mod read_fault;
pub mod reference;
pub mod schema;
pub mod sections;
pub mod source;
mod target;
pub mod units;

use std::collections::BTreeMap;
use std::time::Duration;

pub use fault::{Direction, Fault, FaultRule, Files, Meanwhile, Pages, Shape};
pub use fields::Drawn;
pub use read::{load, name_of, parse};
pub(crate) use read::{read_text, tables as read_tables};
pub use source::{ScenarioError, Source};
pub use target::Target;
pub use units::{Bandwidth, Offset, Rate, format_duration, parse_duration};

/// Defines an enum whose values have names in scenarios.
macro_rules! words {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$each:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$each])* $value,)* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [$name] = &[$($name::$value,)*];

            /// The name in scenarios.
            pub fn name(self) -> &'static str {
                match self { $($name::$value => $text,)* }
            }

            /// The value of that name.
            pub fn from_name(name: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|value| value.name() == name)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// What becomes of written but un-synced bytes when power fails.
    pub enum Unsynced {
        /// Each un-synced write survives, is lost or is torn, as the seed says.
        Random = "random",
        /// Everything that was not synced is lost.
        LoseAll = "lose-all",
        /// Everything that was written survives.
        KeepAll = "keep-all",
    }
}

words! {
    /// What is expected of acknowledged writes.
    pub enum LostWrites {
        /// None may be lost, whatever the setting promises.
        Zero = "0",
        /// Losses that the durability setting allows are counted, others are violations.
        AsPromised = "as-promised",
        /// At least one must be lost.
        Expected = "expected",
        /// Losses are counted and nothing more.
        Any = "any",
    }
}

words! {
    /// The guarantee a history is held to.
    pub enum Consistency {
        /// One order of all operations that respects real time.
        StrictSerializable = "strict-serializable",
    }
}

/// A fault scenario, checked: every value is in range and every target can exist.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Its name: the file's path below `scenarios/` without the extension.
    pub name: String,
    /// The path by which the user can run it again.
    pub path: String,
    /// What it is for, in a line.
    pub description: String,
    /// Words that choose it.
    pub tags: Vec<String>,
    /// The servers.
    pub cluster: Cluster,
    /// The lengths of its phases.
    pub time: Time,
    /// The links.
    pub network: Network,
    /// The disks.
    pub disk: Disk,
    /// The clocks.
    pub clock: Clock,
    /// The clients.
    pub workloads: Vec<Workload>,
    /// What goes wrong.
    pub faults: Vec<FaultRule>,
    /// What a seed may add.
    pub swarm: Option<Swarm>,
    /// What the run must show.
    pub expect: Expect,
    /// The `--set` overrides that are part of it, as given.
    pub overrides: Vec<String>,
}

/// The servers under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// How many members.
    pub members: u32,
    /// Server flags without their dashes, and values as the command line would have them.
    pub server: BTreeMap<String, String>,
}

/// The lengths of a run's phases, in virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// The safety phase.
    pub run: Duration,
    /// The budget of the liveness phase.
    pub recover_within: Duration,
}

/// The links between processes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Network {
    /// Median of the one-way latency.
    pub latency_p50: Duration,
    /// 99th percentile of the one-way latency.
    pub latency_p99: Duration,
    /// Chance from 0 to 1 that a packet is lost.
    pub loss: f64,
    /// Bandwidth of a link; unlimited when `None`.
    pub bandwidth: Option<Bandwidth>,
}

/// The members' disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The name of a disk model.
    pub profile: String,
    /// How long a read takes.
    pub read: Duration,
    /// What power losses do.
    pub power_loss: PowerLoss,
}

/// What a power loss does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerLoss {
    /// What becomes of un-synced writes.
    pub unsynced: Unsynced,
    /// Bytes the disk writes atomically; 0 when writes never tear.
    pub torn_sector: u32,
}

/// How wrong clocks may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Furthest from true time.
    pub offset_max: Duration,
    /// Most parts per million fast or slow.
    pub drift_ppm_max: u32,
}

/// What clients do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Key-value operations.
    Kv(KvWorkload),
    /// Compactions of the history.
    Compact(CompactWorkload),
    /// Leases and keys on them.
    Lease(LeaseWorkload),
    /// Contention for locks.
    Lock(LockWorkload),
    /// Candidates and observers of elections.
    Election(ElectionWorkload),
    /// Watches of the keys that `kv` writes.
    Watch(WatchWorkload),
    /// Changes of the members.
    Membership(MembershipWorkload),
    /// Replacements of members that refuse what their disk holds.
    Replace(ReplaceWorkload),
    /// Users under changing permissions.
    Auth(AuthWorkload),
}

impl Workload {
    /// The kind as scenarios write it.
    pub fn kind(&self) -> &'static str {
        match self {
            Workload::Kv(_) => "kv",
            Workload::Compact(_) => "compact",
            Workload::Lease(_) => "lease",
            Workload::Lock(_) => "lock",
            Workload::Election(_) => "election",
            Workload::Watch(_) => "watch",
            Workload::Membership(_) => "membership",
            Workload::Replace(_) => "replace",
            Workload::Auth(_) => "auth",
        }
    }

    /// How many clients it has.
    pub fn clients(&self) -> u32 {
        match self {
            Workload::Kv(workload) => workload.clients,
            Workload::Compact(_) | Workload::Membership(_) | Workload::Replace(_) => 1,
            Workload::Lease(workload) => workload.clients,
            Workload::Lock(workload) => workload.clients,
            Workload::Election(workload) => workload.clients + workload.observers,
            Workload::Watch(workload) => workload.clients,
            // The first is the administrator.
            Workload::Auth(workload) => workload.clients + 1,
        }
    }

    /// When a client gives up on an answer.
    pub fn timeout(&self) -> Duration {
        match self {
            Workload::Kv(workload) => workload.timeout,
            Workload::Compact(workload) => workload.timeout,
            Workload::Lease(workload) => workload.timeout,
            Workload::Lock(workload) => workload.timeout,
            Workload::Election(workload) => workload.timeout,
            Workload::Watch(workload) => workload.timeout,
            Workload::Membership(workload) => workload.timeout,
            Workload::Replace(workload) => workload.timeout,
            Workload::Auth(workload) => workload.timeout,
        }
    }

    /// Members beyond the cluster's own that it may add.
    pub fn spares(&self) -> u32 {
        match self {
            Workload::Membership(workload) => workload.spares,
            _ => 0,
        }
    }
}

/// Concurrent clients on shared keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvWorkload {
    /// How many clients.
    pub clients: u32,
    /// Operations of all clients together.
    pub rate: Rate,
    /// How many keys.
    pub keys: u32,
    /// Bytes in a value.
    pub value_size: u32,
    /// When a client gives up on an operation.
    pub timeout: Duration,
    /// Relative weights of the operations.
    pub mix: Mix,
}

/// Relative weights of the operations of [`KvWorkload`]; at least one is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Put one key.
    pub put: u32,
    /// Read one key.
    pub get: u32,
    /// Read several keys.
    pub range: u32,
    /// Delete one key.
    pub delete: u32,
    /// Compare and put.
    pub cas: u32,
    /// Several keys in one transaction.
    pub txn: u32,
}

impl Mix {
    /// Names and weights, in a fixed order.
    pub fn weights(&self) -> [(&'static str, u32); 6] {
        [
            ("put", self.put),
            ("get", self.get),
            ("range", self.range),
            ("delete", self.delete),
            ("cas", self.cas),
            ("txn", self.txn),
        ]
    }
}

/// A client that compacts now and then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactWorkload {
    /// Time between compactions.
    pub every: Duration,
    /// Revisions kept before the newest.
    pub keep: u64,
    /// When the client gives up on one.
    pub timeout: Duration,
}

/// Clients that grant leases, hang keys on them, and renew, revoke or abandon them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseWorkload {
    /// How many clients.
    pub clients: u32,
    /// The least TTL, seconds.
    pub ttl: i64,
    /// The mean time between two leases of a client.
    pub pause: Duration,
    /// When a client gives up on an operation.
    pub timeout: Duration,
}

/// An administrator who changes users, roles and permissions, and the clients who live with that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthWorkload {
    /// How many clients besides the administrator.
    pub clients: u32,
    /// Operations of all clients together.
    pub rate: Rate,
    /// How many keys the changing permissions are about.
    pub keys: u32,
    /// Time between changes.
    pub change_every: Duration,
    /// When a client gives up on an operation.
    pub timeout: Duration,
}

/// Clients that contend for locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockWorkload {
    /// How many clients.
    pub clients: u32,
    /// How many locks they share.
    pub locks: u32,
    /// The TTL of a holder's lease, seconds.
    pub ttl: i64,
    /// About how long a lock is held.
    pub hold: Duration,
    /// The mean time between two turns of a client.
    pub pause: Duration,
    /// When a client gives up on an operation, waiting for a lock included.
    pub timeout: Duration,
}

/// Clients that run for offices, and others that are told who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectionWorkload {
    /// How many candidates.
    pub clients: u32,
    /// How many observers.
    pub observers: u32,
    /// How many elections they share.
    pub elections: u32,
    /// The TTL of a candidate's lease, seconds.
    pub ttl: i64,
    /// About how long a leader leads.
    pub hold: Duration,
    /// The mean time between two campaigns of a client.
    pub pause: Duration,
    /// When a client gives up on an operation, waiting to be elected included.
    pub timeout: Duration,
}

/// Clients that watch, one stream each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchWorkload {
    /// How many clients.
    pub clients: u32,
    /// Watches of a client's stream.
    pub watches: u32,
    /// How many keys there are to watch.
    pub keys: u32,
    /// Time between a client's requests for progress.
    pub progress: Duration,
    /// How many of the clients stop reading now and then.
    pub slow: u32,
    /// For how long they do.
    pub slow_for: Duration,
    /// When a client gives up on a silent stream and goes on elsewhere.
    pub timeout: Duration,
}

/// An operator who exchanges members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipWorkload {
    /// Time between looks at the cluster, each of which may be followed by one step.
    pub every: Duration,
    /// Machines beyond the cluster's own.
    pub spares: u32,
    /// When the operator gives up on a request.
    pub timeout: Duration,
}

/// An operator who replaces members that refuse to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaceWorkload {
    /// Time between looks at the cluster.
    pub every: Duration,
    /// When the operator gives up on a request.
    pub timeout: Duration,
}

/// Faults that a seed may add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swarm {
    /// Kinds to choose from.
    pub faults: Vec<&'static str>,
    /// Most faults to add.
    pub budget: u32,
}

/// What a run must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The guarantee.
    pub consistency: Consistency,
    /// What is expected of acknowledged writes.
    pub lost_writes: LostWrites,
    /// Names of events that must happen.
    pub must_reach: Vec<String>,
}

/// Judges server flags. The testbed hands in the server's own parser, so that a scenario can use
/// every flag the server has and no other.
pub trait ServerFlags: Sync {
    /// The names of all flags that a scenario may set, without dashes.
    fn names(&self) -> Vec<String>;

    /// Judges all flags together.
    ///
    /// # Errors
    /// The first flag with a bad value.
    fn check(&self, flags: &BTreeMap<String, String>) -> Result<(), FlagProblem>;
}

/// A server flag with a bad value.
#[derive(Clone, Debug)]
pub struct FlagProblem {
    /// The flag's name.
    pub flag: String,
    /// What is wrong, as a sentence without a final stop.
    pub message: String,
}
