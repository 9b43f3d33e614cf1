//! What is known of a run besides what its clients saw. Saved with its history, so that the same
//! judges can come to the same verdict again. Of what others recorded, nothing of this is known.

use serde::{Deserialize, Serialize};

use super::convergence::MemberState;
use super::damage::Patient;
use super::liveness::Recovery;
use super::loss::{PowerLoss, Promise};
use super::membership::{RemovedMember, View};
use super::{KnownOrder, WatchLeeway, lease};
use crate::history::Nanoseconds;

/// What is known besides a history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evidence {
    /// What the durability setting promises.
    pub promise: Promise,
    /// Power losses, by time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub power_losses: Vec<PowerLoss>,
    /// Members whose disk lied about a sync before it lost power: then nothing is promised.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub liars: Vec<u32>,
    /// The members' own record of revisions. Has lines of its own in a file.
    #[serde(skip)]
    pub known_order: Option<KnownOrder>,
    /// What the cluster was like for leases. Where this is known, members told of every lease's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leases: Option<lease::Bounds>,
    /// When watches had had the time to see everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watches_settled: Option<Nanoseconds>,
    /// What the server need not promise of watches.
    #[serde(skip_serializing_if = "WatchLeeway::is_none")]
    pub watch_leeway: WatchLeeway,
    /// When members began anew with what their disks held; `None` where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts: Option<Vec<Start>>,
    /// Answers that did not fit their requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub misfits: Vec<String>,
    /// What members and the world told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insides: Option<Box<Insides>>,
    /// What the run had to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
}

/// A member that began anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Which.
    pub member: u32,
    /// When it served again.
    pub at: Nanoseconds,
}

/// What members and the world told of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Insides {
    /// Panics inside members.
    pub panics: Vec<Told>,
    /// Members whose process ended by itself and whose disk was well.
    pub ended: Vec<Told>,
    /// Members whose disk was not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patients: Vec<Patient>,
    /// Raft's safety properties that did not hold.
    pub breaches: Vec<Told>,
    /// When all members had applied the same log in the end.
    pub converged: Option<Nanoseconds>,
    /// What each of them held then.
    pub members: Vec<MemberState>,
    /// Whether the members changed during the run.
    pub reconfigured: bool,
    /// Members that were removed.
    pub removed: Vec<RemovedMember>,
    /// Who the members are, by each one's account.
    pub views: Vec<View>,
    /// How the cluster came back.
    pub recovery: Recovery,
}

/// Something that was told, of whom, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// When.
    pub at: Nanoseconds,
    /// Who it is about; empty for the cluster as a whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub who: String,
    /// What.
    pub text: String,
}

/// What a scenario demands, and what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// What is expected of acknowledged writes, in a scenario's words.
    pub lost_writes: String,
    /// Events that must happen.
    pub must_reach: Vec<String>,
    /// Events that happened.
    pub reached: Vec<String>,
}
