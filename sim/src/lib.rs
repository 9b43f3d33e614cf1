//! vetcd-sim: a deterministic simulation testbed for vetcd.

#![warn(missing_docs)]

pub mod plan;
pub mod scenario;
