//! The sections: one `[table]` each.

use super::faults::FAULT_KIND;
use super::words::{CONSISTENCY, DISK_PROFILES, EVENTS, LOST_WRITES, UNSYNCED};
use super::{KeyDoc, Kind, MEMBERS_MAX, Table, key, required};

/// The keys of `[cluster]`.
pub const CLUSTER: Table = Table {
    name: "cluster",
    doc: "The servers under test.",
    groups: &[&[
        key(
            "members",
            Kind::Count {
                min: 1,
                max: MEMBERS_MAX as u64,
            },
            "3",
            "How many members the cluster has.",
        ),
        key(
            "server",
            Kind::ServerFlags,
            "none",
            "Flags of the server, such as `wal-sync`.",
        ),
    ]],
};

/// The keys of `[time]`; all times are virtual.
pub const TIME: Table = Table {
    name: "time",
    doc: "How long the run lasts, in virtual time.",
    groups: &[&[
        key(
            "run",
            Kind::Duration,
            "60s",
            "Length of the safety phase: workloads and faults.",
        ),
        key(
            "recover-within",
            Kind::Duration,
            "10s",
            "After the faults are healed, the cluster must serve every client and converge by then.",
        ),
    ]],
};

/// The keys of `latency` in `[network]`.
pub const LATENCY: Table = Table {
    name: "latency",
    doc: "One-way latency of a message, a long-tailed distribution through two points.",
    groups: &[&[
        required(
            "p50",
            Kind::Duration,
            "Half of the messages take at most this long.",
        ),
        required(
            "p99",
            Kind::Duration,
            "All but one in a hundred take at most this long.",
        ),
    ]],
};

/// The keys of `[network]`.
pub const NETWORK: Table = Table {
    name: "network",
    doc: "The links between members, and between clients and members.",
    groups: &[&[
        key(
            "latency",
            Kind::Table(&LATENCY),
            "{ p50 = \"500us\", p99 = \"4ms\" }",
            "One-way latency of a message.",
        ),
        key(
            "loss",
            Kind::Fraction,
            "0",
            "Chance that a packet is lost; the stream then waits for its retransmission.",
        ),
        key(
            "bandwidth",
            Kind::Bandwidth,
            "unlimited",
            "Bandwidth of each link, each way.",
        ),
    ]],
};

/// The keys of `power-loss` in `[disk]`.
pub const POWER_LOSS: Table = Table {
    name: "power-loss",
    doc: "What power loss does to bytes that were written but not synced.",
    groups: &[&[UNSYNCED_KEY, TORN_SECTOR_KEY]],
};

/// What is left of un-synced bytes; a fault that cuts the power may say it for itself.
pub(super) const UNSYNCED_KEY: KeyDoc = key(
    "unsynced",
    Kind::Choice(UNSYNCED),
    "random",
    "What happens to un-synced writes.",
);
/// Whether a write may stop in the middle of a sector; likewise.
pub(super) const TORN_SECTOR_KEY: KeyDoc = key(
    "torn-sector",
    Kind::Count { min: 0, max: 65536 },
    "512",
    "Size in bytes of what the disk writes atomically, a power of two; 0: writes never tear.",
);

/// The keys of `[disk]`.
pub const DISK: Table = Table {
    name: "disk",
    doc: "The members' disks.",
    groups: &[&[
        key(
            "profile",
            Kind::Choice(DISK_PROFILES),
            "cloud-ssd",
            "How fast the disks are.",
        ),
        key(
            "read",
            Kind::Duration,
            "1us",
            "Time that each read takes; the default is one from the page cache.",
        ),
        key(
            "power-loss",
            Kind::Table(&POWER_LOSS),
            "{ unsynced = \"random\", torn-sector = 512 }",
            "What a power loss does to un-synced writes, unless the fault says otherwise.",
        ),
    ]],
};

/// The keys of `[clock]`.
pub const CLOCK: Table = Table {
    name: "clock",
    doc: "The members' clocks; each member's offset and drift are drawn from the seed.",
    groups: &[&[
        key(
            "offset-max",
            Kind::Duration,
            "0s",
            "Furthest a wall clock may be from true time.",
        ),
        key(
            "drift-ppm-max",
            Kind::Count {
                min: 0,
                max: 500_000,
            },
            "0",
            "Most a clock may run fast or slow, in parts per million.",
        ),
    ]],
};

/// The keys of `[swarm]`.
pub const SWARM: Table = Table {
    name: "swarm",
    doc: "Faults that a seed may add to those written down.",
    groups: &[&[
        required(
            "faults",
            Kind::Choices(FAULT_KIND),
            "The kinds it may choose from.",
        ),
        required(
            "budget",
            Kind::Count { min: 1, max: 64 },
            "Most faults it may add; the seed draws how many.",
        ),
    ]],
};

/// The keys of `[expect]`.
pub const EXPECT: Table = Table {
    name: "expect",
    doc: "What the run must show.",
    groups: &[&[
        key(
            "consistency",
            Kind::Choice(CONSISTENCY),
            "strict-serializable",
            "The guarantee that the history is held to.",
        ),
        key(
            "lost-acknowledged-writes",
            Kind::ZeroOr(LOST_WRITES),
            "as-promised",
            "0: none may be lost, whatever the setting promises.",
        ),
        key(
            "must-reach",
            Kind::Choices(EVENTS),
            "[]",
            "Events without which the scenario proved nothing: exit code 104.",
        ),
    ]],
};
