//! Leases: what the members agree on, and the clock that only a leader keeps.
//!
//! [`Leases`] is replicated state, changed by committed entries alone: which leases exist, with
//! which TTL, and how much of it was left at the last checkpoint. Which keys hang on a lease is
//! not kept here: every key's version names its lease, and [`crate::mvcc`] keeps an index of that.
//!
//! [`Clock`] is the other half: when each lease expires. Only a leader has one, on its own
//! monotonic clock. It is never written anywhere: a new leader gives every lease its whole TTL (or
//! what a checkpoint says was left) and an election timeout more, so that time may pass without a
//! leader but no lease ends before its promise.

mod clock;
mod state;

pub use clock::{CheckpointPolicy, Clock, Counters, Expired, Renewal};
pub use state::{Changes, Lease, Leases, RestoreError};

/// The longest TTL, seconds; etcd's.
pub const TTL_MAX: i64 = 9_000_000_000;

/// The shortest TTL that is granted, seconds: time enough for a new leader to be elected and for
/// the holder to find it. etcd's rule: one and a half election timeouts, rounded up.
pub fn ttl_min(election_timeout: std::time::Duration) -> i64 {
    let millis = election_timeout.as_millis() * 3 / 2;
    i64::try_from(millis.div_ceil(1000)).unwrap_or(i64::MAX)
}
