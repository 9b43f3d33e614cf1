//! The testbed's library: everything but the command line.

pub mod rng;
pub mod world;
