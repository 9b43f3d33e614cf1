//! What a run leaves behind for its judgement: plain values, all in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::KnownOrder;
use crate::check::convergence::MemberState;
use crate::check::membership::View;
use crate::cluster::{Ended, Removal};
use crate::fault::{Flip, PowerCut};
use crate::history::History;
use crate::observe::{Breach, Happening};
use crate::report::FiredFault;

/// A panic inside a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// When, in virtual nanoseconds.
    pub at_ns: u64,
    /// The node's name.
    pub node: String,
    /// What it said, and where.
    pub text: String,
}

/// How the cluster came back after healing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// When everything was healed, in virtual nanoseconds.
    pub healed_ns: u64,
    /// When the last fault ended, healing included; `None` when there was none.
    pub last_fault_ended_ns: Option<u64>,
    /// When a leader was there, after healing.
    pub leader_ns: Option<u64>,
    /// When each client was first served after healing, in the order of the clients.
    pub served_ns: Vec<Option<u64>>,
    /// When all members had applied the same log.
    pub converged_ns: Option<u64>,
}

/// Everything there is to judge.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What clients saw, and what members told of the ends of leases.
    pub history: History,
    /// Answers that did not fit their requests.
    pub misfits: Vec<String>,
    /// What members said about their insides.
    pub timeline: Vec<Happening>,
    /// How often members asked for votes.
    pub campaigns: u64,
    /// Raft's safety properties that did not hold.
    pub breaches: Vec<Breach>,
    /// The events that happened, by name.
    pub reached: Vec<String>,
    /// The faults that fired.
    pub faults: Vec<FiredFault>,
    /// Power losses.
    pub power_cuts: Vec<PowerCut>,
    /// Members whose disk lied about a sync.
    pub liars: Vec<u32>,
    /// Bits that changed on disks.
    pub flips: Vec<Flip>,
    /// Since when the disks of members had had faults that may end a process, in virtual
    /// nanoseconds.
    pub disk_faults: BTreeMap<u32, u64>,
    /// The members whose process ran in the end.
    pub up: BTreeSet<u32>,
    /// How many disk operations found no space.
    pub full: u64,
    /// Members whose process ended by itself.
    pub ended: Vec<Ended>,
    /// Members that were removed.
    pub removals: Vec<Removal>,
    /// Members that took the place of one that refused what its disk held.
    pub replaced: BTreeSet<u32>,
    /// Who the members are, by each one's account.
    pub views: Vec<View>,
    /// Panics.
    pub panics: Vec<Panic>,
    /// How it came back.
    pub recovery: Recovery,
    /// What each member holds in the end.
    pub members: Vec<MemberState>,
    /// The store's own record of revisions, from the member that has come furthest.
    pub known_order: Option<KnownOrder>,
    /// When watches had had the time to see everything, after all members had applied the same
    /// log, in virtual nanoseconds.
    pub watches_settled_ns: Option<u64>,
    /// Syncs of all members' disks.
    pub syncs: u64,
    /// When the safety phase ended, in virtual nanoseconds.
    pub safety_ended_ns: u64,
    /// When everything ended, in virtual nanoseconds.
    pub ended_ns: u64,
    /// The names of the world's nodes, by number.
    pub node_names: Vec<String>,
}
