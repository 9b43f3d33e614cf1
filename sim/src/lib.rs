//! vetcd-sim: a deterministic simulation testbed for vetcd.

#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cli;
pub mod compare;
pub mod explore;
pub mod plan;
pub mod report;
pub mod scenario;
