//! Every key a scenario may have, in one table.
//!
//! The reader refuses a key that is not here and insists on reading every key that is; the
//! suggestions in errors, `vetcd-sim schema` and `vetcd-sim explain` are drawn from the same table.
//! To add a key: add a line here and read it where its table is read.

mod faults;
mod sections;
mod words;
mod workloads;

pub use faults::FAULTS;
pub use sections::{CLOCK, CLUSTER, DISK, EXPECT, LATENCY, NETWORK, POWER_LOSS, SWARM, TIME};
pub use words::{
    CONSISTENCY, DIRECTIONS, DISK_PROFILES, EVENTS, LOST_WRITES, SHAPES, TARGETS, UNSYNCED,
};
pub use workloads::{MIX, WORKLOADS};

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
