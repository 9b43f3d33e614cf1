//! The kinds of `[[workload]]`.

use super::{Choice, KeyDoc, Kind, Table, choice, key, required};

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

const LOOK_EVERY: KeyDoc = key(
    "every",
    Kind::Duration,
    "1s",
    "Time between looks at the cluster.",
);
const OPERATOR_TIMEOUT: KeyDoc = key(
    "timeout",
    Kind::Duration,
    "2s",
    "The operator gives up on a request after this.",
);

const CLIENTS: Kind = Kind::Count { min: 1, max: 1024 };
const KEYS: Kind = Kind::Count {
    min: 1,
    max: 1_000_000,
};
const TTL: Kind = Kind::Count { min: 2, max: 3600 };

/// The kinds of `[[workload]]`.
pub const WORKLOADS: &[Table] = &[
    Table {
        name: "kv",
        doc: "Concurrent clients over real gRPC bytes. They fail over between members and never \
              retry a write by themselves; what timed out is recorded as unknown.",
        groups: &[&[
            KIND_OF_WORKLOAD,
            key("clients", CLIENTS, "8", "How many clients."),
            key(
                "rate",
                Kind::Rate,
                "200/s",
                "Operations of all clients together.",
            ),
            key("keys", KEYS, "16", "How many keys they share."),
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
                CLIENTS,
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
                KEYS,
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
            LOOK_EVERY,
            key(
                "spares",
                Kind::Count { min: 1, max: 8 },
                "2",
                "Machines beyond `[cluster] members`.",
            ),
            OPERATOR_TIMEOUT,
        ]],
    },
    Table {
        name: "replace",
        doc: "An operator who does what a member that refuses its damaged disk asks for: removes it \
              from the cluster, adds it again, and starts it with an empty data directory. Each \
              step is decided by what the cluster says its members are. In the end every member \
              has to be there. A scenario has one.",
        groups: &[&[KIND_OF_WORKLOAD, LOOK_EVERY, OPERATOR_TIMEOUT]],
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
