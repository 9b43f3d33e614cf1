//! vetcd-sim: a deterministic simulation testbed for vetcd.
//!
//! The map, in the order of a run: [`scenario`] (TOML, checked) → [`plan`] (every choice made) →
//! [`run`] (the phases of a run) in a [`world`] (clock, network, disks, processes) with a
//! [`cluster`] of real servers, [`fault`]s and a [`workload`] → [`history`] (what clients saw) and
//! [`observe`] (what members said) → [`check`] (the judges) → [`report`]. [`explore`] runs many,
//! [`compare`] sets settings side by side, [`record`] works on a live cluster instead, [`cli`] is
//! the command line.

#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod check;
pub mod cli;
pub mod cluster;
pub mod compare;
pub mod enumerate;
pub mod explore;
pub mod fault;
pub mod history;
pub mod observe;
pub mod plan;
pub mod record;
pub mod report;
pub mod rng;
pub mod run;
pub mod scenario;
pub mod workload;
pub mod world;
