//! Hostile input for every decoder that faces the network or the disk.
//!
//! A target is a file in this folder: it makes *seeds* with vetcd's own encoders, *mutates* them
//! with knowledge of their format (so that what lies behind a checksum is reached), and *runs* the
//! code under test on them. The harness (`harness.rs`) demands of every input that
//!
//! - nothing panics, on no task of the member either, and no arithmetic overflows,
//! - no more memory is held at any moment than a stated number of bytes and a multiple of the
//!   input's length,
//! - whatever else the target promises, such as that a member still answers a good request.
//!
//! Inputs that lead to an outcome not seen before (another error, acceptance) become seeds. The same
//! seed number gives the same inputs. Everything runs on one thread, on tokio's paused clock, over a
//! disk and a network in memory (`world.rs`): nothing has to be installed, and no test waits.
//!
//! ```text
//! cargo test --test fuzz                           a fixed number of cases a target, for CI
//! VETCD_FUZZ_CASES=100000 cargo test --test fuzz   more of them
//! VETCD_FUZZ_SECONDS=300 cargo test --test fuzz    as many as five minutes a target allow
//! VETCD_FUZZ_SEED=7 cargo test --test fuzz         other inputs
//! ```
//!
//! An input that fails is written below `target/fuzz`, and the message has the command that runs it
//! again: `VETCD_FUZZ_INPUT=<file> cargo test --test fuzz <target>`. An input that kills the process
//! (an overflowed stack, memory that is not there) is left as `target/fuzz/<target>.running`, which
//! the target's next run begins with. `itself.rs` shows that the harness notices what it should.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "the harness stands outside any host"
)]

mod certificates;
mod config;
mod database;
mod gateway;
mod grpc;
mod harness;
mod http;
mod itself;
mod key_index;
mod member;
mod mutate;
mod peer_messages;
mod peers;
mod requests;
mod snapshot;
mod store;
mod tokens;
mod wal;
mod world;
