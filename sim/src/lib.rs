//! vetcd-sim: a deterministic simulation testbed for vetcd.
//!
//! [`history`] is what the clients of a run saw; [`check`] judges it, one guarantee a file, by pure
//! functions that know nothing of how the history came to be.

#![warn(missing_docs)]

pub mod check;
pub mod history;
