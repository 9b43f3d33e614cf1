//! Every key a scenario may have, in one table.
//!
//! The reader refuses a key that is not here and insists on reading every key that is; the
//! suggestions in errors, `vetcd-sim schema` and `vetcd-sim explain` are drawn from the same table.
//! To add a key: add a line here and read it where its table is read.

/// What a key's value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any string.
    Text,
    /// A list of strings.
    Texts,
    /// A whole number within bounds.
    Count {
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// A whole number of either sign.
    Signed {
        /// Largest magnitude allowed.
        max: i64,
    },
    /// `"4ms"`.
    Duration,
    /// `"-4ms"`.
    Offset,
    /// `"4s"`, or `{ between = ["1s", "4s"] }` to have it drawn from the seed.
    DrawnDuration,
    /// `"400/s"`.
    Rate,
    /// `"100MB/s"`.
    Bandwidth,
    /// `"0.5%"` or a number from 0 to 1.
    Fraction,
    /// `leader`, `member 2`…
    Target,
    /// One of a few words.
    Choice(&'static [Choice]),
    /// A list of such words.
    Choices(&'static [Choice]),
    /// `0` or one of a few words.
    ZeroOr(&'static [Choice]),
    /// Any keys: the server's flags.
    ServerFlags,
    /// A table with keys of its own.
    Table(&'static Table),
    /// A list of tables, each of one of these kinds.
    Tables(&'static [Table]),
}

/// One allowed word.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// The word.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct KeyDoc {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it is when absent; `None` when it must be given.
    pub default: Option<&'static str>,
    /// What it does.
    pub doc: &'static str,
}

/// A table of keys: one `[section]`, or one kind of `[[fault]]` or `[[workload]]`.
#[derive(Debug)]
pub struct Table {
    /// Its name: the section, or the value of `kind`.
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its keys, in groups shared between tables.
    pub groups: &'static [&'static [KeyDoc]],
}

impl Table {
    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &'static KeyDoc> {
        self.groups.iter().flat_map(|group| group.iter())
    }

    /// The key called `name`.
    pub fn key(&self, name: &str) -> Option<&'static KeyDoc> {
        self.keys().find(|key| key.name == name)
    }
}

/// A word with its meaning.
const fn choice(name: &'static str, doc: &'static str) -> Choice {
    Choice { name, doc }
}

/// A key that may be left out.
pub const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> KeyDoc {
    KeyDoc {
        name,
        kind,
        default: Some(default),
        doc,
    }
}

/// A key that must be given.
pub const fn required(name: &'static str, kind: Kind, doc: &'static str) -> KeyDoc {
    KeyDoc {
        name,
        kind,
        default: None,
        doc,
    }
}

/// Largest cluster.
pub const MEMBERS_MAX: u32 = 9;
/// Most workloads in one scenario.
pub const WORKLOADS_MAX: usize = 16;
/// Most faults in one scenario or plan.
pub const FAULTS_MAX: usize = 256;

/// Which members something happens to; see [`crate::scenario::Target`].
pub const TARGETS: &[Choice] = &[
    choice(
        "leader",
        "the member that leads when the fault fires; when none does, the one that led last; before \
         any election, member 1",
    ),
    choice(
        "follower",
        "one member that does not lead when the fault fires, drawn from the seed",
    ),
    choice("all", "every member"),
    choice(
        "minority",
        "the most members that still leave a majority, drawn from the seed",
    ),
    choice(
        "majority",
        "the fewest members that are a majority, drawn from the seed",
    ),
    choice("member N", "member number N, counted from 1"),
];

/// What becomes of written but un-synced bytes when power fails.
pub const UNSYNCED: &[Choice] = &[
    choice(
        "random",
        "each un-synced write survives, is lost or is torn, as the seed says",
    ),
    choice("lose-all", "everything that was not synced is lost"),
    choice(
        "keep-all",
        "everything that was written survives, as after a process crash",
    ),
];

/// Models of disks. The numbers behind each name are stated where the simulated disk is.
pub const DISK_PROFILES: &[Choice] = &[
    choice(
        "nvme",
        "a local NVMe drive: a sync takes a quarter of a millisecond",
    ),
    choice(
        "cloud-ssd",
        "a network block device: syncs in a millisecond or so, with a long tail",
    ),
    choice("hdd", "a spinning disk: syncs in about ten milliseconds"),
];

/// Shapes of a partition.
pub const SHAPES: &[Choice] = &[
    choice(
        "two-way",
        "nothing passes between `on` and the other members, either way",
    ),
    choice(
        "one-way",
        "`on` cannot be heard (direction = \"out\") or cannot hear (\"in\")",
    ),
    choice(
        "partial",
        "`on` and `with` cannot reach each other; all others reach both",
    ),
];

/// Directions of a one-way partition, seen from the target.
pub const DIRECTIONS: &[Choice] = &[
    choice("in", "what others send does not arrive at the target"),
    choice("out", "what the target sends does not arrive anywhere"),
];

/// Guarantees a history can be held to.
pub const CONSISTENCY: &[Choice] = &[choice(
    "strict-serializable",
    "all operations took effect one at a time, in an order that respects real time",
)];

/// What is expected of acknowledged writes; `0` besides.
pub const LOST_WRITES: &[Choice] = &[
    choice(
        "as-promised",
        "losses that the durability setting allows are counted, others violate",
    ),
    choice(
        "expected",
        "at least one must be lost, or the run proved nothing: exit code 104",
    ),
    choice("any", "losses are counted and nothing more"),
];

/// Events that `must-reach` can ask for. The run notes each when it first happens.
pub const EVENTS: &[Choice] = &[
    choice("leader-changed", "a second member became leader"),
    choice(
        "leader-stepped-down",
        "a leader became a follower while its process lived",
    ),
    choice(
        "member-restarted",
        "a member came back after its process died",
    ),
    choice(
        "unsynced-writes-lost",
        "a power loss took bytes that were written but not synced",
    ),
    choice(
        "torn-tail-cut",
        "a recovery cut a torn record off the end of its log",
    ),
    choice(
        "snapshot-installed",
        "a follower caught up from a snapshot of the leader's store",
    ),
    choice(
        "disk-error",
        "a member stopped because its disk refused something",
    ),
    choice(
        "damage-refused",
        "a member refused to go on with what its disk holds",
    ),
    choice(
        "no-space",
        "the disk of a member had no space for something",
    ),
    choice(
        "compacted",
        "a compaction of the key-value history was acknowledged",
    ),
    choice(
        "stores-compared",
        "the leader compared the newest revision of all members, and found them equal",
    ),
    choice(
        "compactions-compared",
        "the leader compared what a compaction left at all members, and found them equal",
    ),
    choice(
        "corruption-found",
        "the leader found that a member's store differs",
    ),
    choice(
        "permission-denied",
        "a client was refused for want of permission",
    ),
    choice(
        "outcome-unknown",
        "a client could not tell whether its write had happened",
    ),
    choice("lease-expired", "a lease's time was up and it was removed"),
    choice("lock-lost", "the holder of a lock lost it with its lease"),
    choice(
        "lead-lost",
        "an elected leader lost the lead with its lease",
    ),
    choice("member-promoted", "a member that had joined became a voter"),
    choice("member-removed", "a member learned that it was removed"),
    choice(
        "member-replaced",
        "a member took the place of one that refused what its disk held",
    ),
    choice("writes-lost", "an acknowledged write was gone at the audit"),
    choice(
        "watch-resumed",
        "a client went on with a watch on another stream",
    ),
    choice(
        "watch-compacted",
        "a watch was cancelled because the past it wanted was compacted",
    ),
];

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

const UNSYNCED_KEY: KeyDoc = key(
    "unsynced",
    Kind::Choice(UNSYNCED),
    "random",
    "What happens to un-synced writes.",
);
const TORN_SECTOR_KEY: KeyDoc = key(
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

const WEIGHT: Kind = Kind::Count {
    min: 0,
    max: 1_000_000,
};

/// The keys of `mix` in a `kv` workload.
pub const MIX: Table = Table {
    name: "mix",
    doc: "Relative weights of the operations.",
    groups: &[&[
        key("put", WEIGHT, "40", "Put one key."),
        key("get", WEIGHT, "30", "Read one key, linearizably."),
        key("range", WEIGHT, "8", "Read several keys at once."),
        key("delete", WEIGHT, "7", "Delete one key."),
        key("cas", WEIGHT, "10", "Compare a key's revision and put."),
        key(
            "txn",
            WEIGHT,
            "5",
            "Read and write several keys in one transaction.",
        ),
    ]],
};

const WORKLOAD_KIND: &[Choice] = &[
    choice(
        "kv",
        "clients that put, get, range, delete, compare-and-swap and run transactions",
    ),
    choice("compact", "compacts the key-value history now and then"),
    choice(
        "lease",
        "clients that grant leases, hang keys on them, renew, revoke and abandon them",
    ),
    choice(
        "lock",
        "clients that contend for locks and write under them",
    ),
    choice(
        "election",
        "candidates that campaign, lead and resign, and observers of who leads",
    ),
    choice(
        "watch",
        "clients that watch the keys of `kv` and resume after every failure",
    ),
    choice(
        "membership",
        "adds members as learners, promotes them and removes others",
    ),
    choice(
        "replace",
        "replaces members that refuse what their disk holds, as they tell the operator to",
    ),
    choice(
        "auth",
        "users who read and write while an administrator changes what they may",
    ),
];
const KIND_OF_WORKLOAD: KeyDoc = required(
    "kind",
    Kind::Choice(WORKLOAD_KIND),
    "Which workload this is.",
);

const CLIENTS: Kind = Kind::Count { min: 1, max: 1024 };
const TTL: Kind = Kind::Count { min: 2, max: 3600 };

/// The kinds of `[[workload]]`.
pub const WORKLOADS: &[Table] = &[
    Table {
        name: "kv",
        doc: "Concurrent clients over real gRPC bytes. They fail over between members and never \
              retry a write by themselves; what timed out is recorded as unknown.",
        groups: &[&[
            KIND_OF_WORKLOAD,
            key(
                "clients",
                Kind::Count { min: 1, max: 1024 },
                "8",
                "How many clients.",
            ),
            key(
                "rate",
                Kind::Rate,
                "200/s",
                "Operations of all clients together.",
            ),
            key(
                "keys",
                Kind::Count {
                    min: 1,
                    max: 1_000_000,
                },
                "16",
                "How many keys they share.",
            ),
            key(
                "value-size",
                Kind::Count {
                    min: 1,
                    max: 1 << 20,
                },
                "64",
                "Bytes in a value.",
            ),
            key(
                "timeout",
                Kind::Duration,
                "1s",
                "A client gives up on an operation after this.",
            ),
            key(
                "mix",
                Kind::Table(&MIX),
                "{}",
                "Relative weights of the operations.",
            ),
        ]],
    },
    Table {
        name: "compact",
        doc: "Compacts the key-value history, keeping some revisions before the newest.",
        groups: &[&[
            KIND_OF_WORKLOAD,
            key("every", Kind::Duration, "5s", "Time between compactions."),
            key(
                "keep",
                Kind::Count {
                    min: 0,
                    max: 1_000_000_000,
                },
                "100",
                "Revisions kept before the newest.",
            ),
            key(
                "timeout",
                Kind::Duration,
                "1s",
                "The client gives up on a compaction after this.",
            ),
        ]],
    },
    Table {
        name: "lease",
        doc: "Clients that grant leases, hang keys on them, renew them for a while and then revoke \
              them or let them expire. Promises are judged in true time.",
        groups: &[&[
            KIND_OF_WORKLOAD,
            key("clients", CLIENTS, "8", "How many clients."),
            key(
                "ttl",
                TTL,
                "3",
                "The least TTL, seconds; some leases get up to two more.",
            ),
            key(
                "pause",
                Kind::Duration,
                "500ms",
                "Mean time between two leases of a client.",
            ),
            key(
                "timeout",
                Kind::Duration,
                "2s",
                "A client gives up on an operation after this.",
            ),
        ]],
    },
    Table {
        name: "lock",
        doc: "Clients that contend for locks through the Lock service and do fenced writes while \
              they hold one. Some die with the lock, some oversleep their lease.",
        groups: &[&[
            KIND_OF_WORKLOAD,
            key("clients", CLIENTS, "8", "How many clients."),
            key(
                "locks",
                Kind::Count { min: 1, max: 1024 },
                "2",
                "How many locks they share.",
            ),
            key("ttl", TTL, "4", "TTL of a holder's lease, seconds."),
            key(
                "hold",
                Kind::Duration,
                "300ms",
                "About how long a lock is held.",
            ),
            key(
                "pause",
                Kind::Duration,
                "200ms",
                "Mean time between two turns of a client.",
            ),
            key(
                "timeout",
                Kind::Duration,
                "6s",
                "A client gives up on an operation, and on waiting for a lock, after this.",
            ),
        ]],
    },
    Table {
        name: "election",
        doc: "Candidates that campaign through the Election service and say this and that while \
              they lead. Some die in office, some oversleep their lease. Observers are told who \
              leads, and ask now and then.",
        groups: &[&[
            KIND_OF_WORKLOAD,
            key("clients", CLIENTS, "6", "How many candidates."),
            key(
                "observers",
                Kind::Count { min: 0, max: 1024 },
                "3",
                "How many observers, each with one stream at a time.",
            ),
            key(
                "elections",
                Kind::Count { min: 1, max: 1024 },
                "2",
                "How many elections they share.",
            ),
            key("ttl", TTL, "4", "TTL of a candidate's lease, seconds."),
            key(
                "hold",
                Kind::Duration,
                "300ms",
                "About how long a leader leads.",
            ),
            key(
                "pause",
                Kind::Duration,
                "200ms",
                "Mean time between two campaigns of a client.",
            ),
            key(
                "timeout",
                Kind::Duration,
                "6s",
                "A client gives up on an operation, and on waiting to be elected, after this.",
            ),
        ]],
    },
    Table {
        name: "watch",
        doc: "Clients that watch single keys, ranges and everything that `kv` writes, with and \
              without previous values, filters and fragments. A stream that breaks or falls silent \
              is resumed at another member, right behind what was seen.",
        groups: &[&[
            KIND_OF_WORKLOAD,
            key(
                "clients",
                Kind::Count { min: 1, max: 1024 },
                "4",
                "How many clients, one stream each.",
            ),
            key(
                "watches",
                Kind::Count { min: 1, max: 64 },
                "4",
                "Watches on each stream.",
            ),
            key(
                "keys",
                Kind::Count {
                    min: 1,
                    max: 1_000_000,
                },
                "16",
                "How many keys there are to watch; as many as `kv` has.",
            ),
            key(
                "progress",
                Kind::Duration,
                "500ms",
                "Time between a client's requests for progress.",
            ),
            key(
                "slow",
                Kind::Count { min: 0, max: 1024 },
                "0",
                "How many of the clients stop reading now and then.",
            ),
            key(
                "slow-for",
                Kind::Duration,
                "5s",
                "For how long they stop reading.",
            ),
            key(
                "timeout",
                Kind::Duration,
                "2s",
                "A client leaves a stream that is silent for this long.",
            ),
        ]],
    },
    Table {
        name: "membership",
        doc: "An operator who exchanges members under load: adds a spare machine as a learner, \
              starts it, promotes it once it has caught up, and removes another member. One step \
              at a time, each decided by what the cluster says its members are. A scenario has one.",
        groups: &[&[
            KIND_OF_WORKLOAD,
            key(
                "every",
                Kind::Duration,
                "1s",
                "Time between looks at the cluster.",
            ),
            key(
                "spares",
                Kind::Count { min: 1, max: 8 },
                "2",
                "Machines beyond `[cluster] members`.",
            ),
            key(
                "timeout",
                Kind::Duration,
                "2s",
                "The operator gives up on a request after this.",
            ),
        ]],
    },
    Table {
        name: "replace",
        doc: "An operator who does what a member that refuses its damaged disk asks for: removes it \
              from the cluster, adds it again, and starts it with an empty data directory. Each \
              step is decided by what the cluster says its members are. In the end every member \
              has to be there. A scenario has one.",
        groups: &[&[
            KIND_OF_WORKLOAD,
            key(
                "every",
                Kind::Duration,
                "1s",
                "Time between looks at the cluster.",
            ),
            key(
                "timeout",
                Kind::Duration,
                "2s",
                "The operator gives up on a request after this.",
            ),
        ]],
    },
    Table {
        name: "auth",
        doc: "One more client than asked for, the administrator, turns authentication on and from \
              then on changes users, roles and permissions. The others read and write as these \
              users, and are denied at times.",
        groups: &[&[
            KIND_OF_WORKLOAD,
            key(
                "clients",
                Kind::Count { min: 1, max: 64 },
                "4",
                "How many clients besides the administrator.",
            ),
            key(
                "rate",
                Kind::Rate,
                "100/s",
                "Operations of all clients together.",
            ),
            key(
                "keys",
                Kind::Count { min: 1, max: 26 },
                "6",
                "How many keys the changing permissions are about.",
            ),
            key(
                "change-every",
                Kind::Duration,
                "200ms",
                "Time between changes.",
            ),
            key(
                "timeout",
                Kind::Duration,
                "1s",
                "A client gives up on an operation after this.",
            ),
        ]],
    },
];

const FAULT_KIND: &[Choice] = &[
    choice("partition", "messages stop passing between some members"),
    choice(
        "crash",
        "a process dies; what it wrote is still in the page cache",
    ),
    choice(
        "power-loss",
        "a machine loses power; what was not synced may be gone",
    ),
    choice("pause", "a process stands still while time goes on"),
    choice("slow-fsync", "syncs take much longer"),
    choice(
        "fsync-lies",
        "the disk says that bytes are synced when they are not",
    ),
    choice("disk-full", "there is no space left on the disk"),
    choice("fsync-error", "the next sync fails"),
    choice("write-error", "the next write fails"),
    choice("read-error", "nothing can be read from the disk"),
    choice("bit-flip", "bits change on the disk, unnoticed"),
];
const PAGES: &[Choice] = &[
    choice("random", "either of the two, drawn from the seed"),
    choice(
        "kept",
        "they read as written until power is lost (ext4, xfs)",
    ),
    choice("dropped", "they read as what the disk holds (btrfs)"),
];
const FILES: &[Choice] = &[
    choice("any", "any file in the data directory"),
    choice("wal", "a segment of the write-ahead log"),
    choice("store", "the store's file"),
];
const MEANWHILE: &[Choice] = &[
    choice("stopped", "it is killed first, and reads what is left"),
    choice("running", "it runs, and is killed and started again later"),
];
const KIND_OF_FAULT: KeyDoc = required("kind", Kind::Choice(FAULT_KIND), "What goes wrong.");
const NAME_OF_FAULT: KeyDoc = key(
    "name",
    Kind::Text,
    "its kind and number",
    "What reports call this fault.",
);
const ON: KeyDoc = required(
    "on",
    Kind::Target,
    "Which members it happens to, decided when it fires.",
);
const AT: KeyDoc = required(
    "at",
    Kind::DrawnDuration,
    "When it fires, from the start of the run.",
);
const FOR: KeyDoc = required("for", Kind::DrawnDuration, "How long it lasts.");
const RESTART_AFTER: KeyDoc = key(
    "restart-after",
    Kind::DrawnDuration,
    "1s",
    "The process starts again after this.",
);
const COMMON: &[KeyDoc] = &[KIND_OF_FAULT, NAME_OF_FAULT, ON, AT];

/// The kinds of `[[fault]]`.
pub const FAULTS: &[Table] = &[
    Table {
        name: "partition",
        doc: "Cuts links between members. Connections across the cut hang rather than fail, and \
              what was under way may arrive after the heal. Clients still reach every member.",
        groups: &[
            COMMON,
            &[
                FOR,
                key(
                    "shape",
                    Kind::Choice(SHAPES),
                    "two-way",
                    "Which links are cut.",
                ),
                key(
                    "direction",
                    Kind::Choice(DIRECTIONS),
                    "out",
                    "For shape = \"one-way\": which direction is cut.",
                ),
                key(
                    "with",
                    Kind::Target,
                    "required for \"partial\"",
                    "For shape = \"partial\": the other end of the cut.",
                ),
            ],
        ],
    },
    Table {
        name: "crash",
        doc: "Kills the process (kill -9). Memory is lost; written bytes survive in the page \
              cache, synced or not.",
        groups: &[COMMON, &[RESTART_AFTER]],
    },
    Table {
        name: "power-loss",
        doc: "Cuts the power of the machine. Un-synced bytes and directory entries may be lost or \
              torn. With on = \"all\" the whole rack goes at the same instant.",
        groups: &[COMMON, &[RESTART_AFTER, UNSYNCED_KEY, TORN_SECTOR_KEY]],
    },
    Table {
        name: "pause",
        doc: "Stops the process without killing it, as a long collection of garbage or a migrating \
              virtual machine would. It wakes with its old beliefs.",
        groups: &[COMMON, &[FOR]],
    },
    Table {
        name: "slow-fsync",
        doc: "Every sync takes this long. Nothing is lost; the disk is slow.",
        groups: &[
            COMMON,
            &[
                FOR,
                required("latency", Kind::DrawnDuration, "How long each sync takes."),
            ],
        ],
    },
    Table {
        name: "fsync-lies",
        doc: "The disk acknowledges a sync and keeps the bytes in a volatile cache. Outside every \
              promise of the server; harmless until power fails.",
        groups: &[&[
            KIND_OF_FAULT,
            NAME_OF_FAULT,
            ON,
            key(
                "at",
                Kind::DrawnDuration,
                "0s",
                "When it begins, from the start of the run.",
            ),
            key(
                "for",
                Kind::DrawnDuration,
                "the whole run",
                "How long it lasts.",
            ),
        ]],
    },
    Table {
        name: "disk-full",
        doc: "Something else on the volume takes all space, up to a little that the seed draws. What \
              makes a file longer fails with ENOSPC; writing over what is there does not. A member \
              that stops of it is started again and again, as a supervisor would.",
        groups: &[COMMON, &[FOR]],
    },
    Table {
        name: "fsync-error",
        doc: "A sector cannot be written back: the next sync fails with EIO, once, and the kernel \
              forgets that the pages were dirty. A later sync succeeds and covers none of them. The \
              member that stops of it is started again.",
        groups: &[
            COMMON,
            &[
                FOR,
                key(
                    "pages",
                    Kind::Choice(PAGES),
                    "random",
                    "What can still be read of the pages that were not written.",
                ),
            ],
        ],
    },
    Table {
        name: "write-error",
        doc: "The disk or its bus fails: the next write fails with EIO, once, and writes nothing. The \
              member that stops of it is started again.",
        groups: &[COMMON, &[FOR]],
    },
    Table {
        name: "read-error",
        doc: "Sectors that cannot be read: every read of a file fails with EIO. A running member \
              hardly reads, so its process is killed and started again into it.",
        groups: &[COMMON, &[FOR]],
    },
    Table {
        name: "bit-flip",
        doc: "Bit rot: what the disk holds changes, and nothing says so. Only durable bytes change, \
              and never on more members than can fail while a majority remains: beyond that no \
              cluster can keep its promises, and the rest are spared.",
        groups: &[
            COMMON,
            &[
                RESTART_AFTER,
                key("files", Kind::Choice(FILES), "any", "Where bits change."),
                key(
                    "bits",
                    Kind::Count { min: 1, max: 4096 },
                    "1",
                    "How many bits change, each in a place of its own.",
                ),
                key(
                    "process",
                    Kind::Choice(MEANWHILE),
                    "stopped",
                    "What the process does meanwhile.",
                ),
            ],
        ],
    },
];

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

/// A whole scenario.
pub const SCENARIO: Table = Table {
    name: "scenario",
    doc: "A fault scenario: a cluster, its world, its load, what goes wrong, what is expected.",
    groups: &[&[
        key(
            "description",
            Kind::Text,
            "\"\"",
            "One line saying what the scenario is for.",
        ),
        key(
            "tags",
            Kind::Texts,
            "[]",
            "Words by which `run TAG` chooses scenarios.",
        ),
        key("cluster", Kind::Table(&CLUSTER), "{}", CLUSTER.doc),
        key("time", Kind::Table(&TIME), "{}", TIME.doc),
        key("network", Kind::Table(&NETWORK), "{}", NETWORK.doc),
        key("disk", Kind::Table(&DISK), "{}", DISK.doc),
        key("clock", Kind::Table(&CLOCK), "{}", CLOCK.doc),
        key(
            "workload",
            Kind::Tables(WORKLOADS),
            "one `kv`",
            "What the clients do.",
        ),
        key(
            "fault",
            Kind::Tables(FAULTS),
            "none",
            "What goes wrong, and when.",
        ),
        key("swarm", Kind::Table(&SWARM), "none", SWARM.doc),
        key("expect", Kind::Table(&EXPECT), "{}", EXPECT.doc),
    ]],
};
