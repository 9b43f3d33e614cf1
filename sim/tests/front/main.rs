//! The front of the testbed, from a scenario's text to a report, without the run itself: a made-up
//! runner stands in for it, so these tests say nothing about the server.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod commands;
mod engine;
mod errors;
mod fake;
mod golden;
mod plans;
mod reports;
