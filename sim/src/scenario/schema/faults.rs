//! The kinds of `[[fault]]`.

use super::sections::{TORN_SECTOR_KEY, UNSYNCED_KEY};
use super::words::{DIRECTIONS, SHAPES};
use super::{Choice, KeyDoc, Kind, Table, choice, key, required};

/// What can go wrong, by name.
pub(super) const FAULT_KIND: &[Choice] = &[
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
