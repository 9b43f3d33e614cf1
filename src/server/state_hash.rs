//! A checksum of all replicated state, to compare members by at equal applied index.

use crate::mvcc;

use super::Published;

/// Combines the keys' hash (etcd's, at the newest revision) with the parts that etcd's leaves out.
/// Takes time in proportion to the state: run it on a clone, aside.
///
/// # Errors
/// As [`mvcc::State::hash`].
pub fn state_hash(published: &Published) -> Result<u64, mvcc::Error> {
    let keys = published.state.hash(0)?.hash;
    let parts = [published.state.leases().hash()];
    let rest = parts.iter().fold(crc32c::crc32c(b"state"), |hash, part| {
        crc32c::crc32c_append(hash, &part.to_be_bytes())
    });
    Ok(u64::from(keys) << 32 | u64::from(rest))
}
