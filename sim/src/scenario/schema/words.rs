//! The words that keys choose from, where code elsewhere reads them too.

use super::{Choice, choice};

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
        "served-unread",
        "a member that came back applied entries while it was still reading its store",
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
