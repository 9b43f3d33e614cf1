//! One number that members with the same state share: what convergence is judged by.

use prost::Message;

use super::Published;

/// The hash of everything replicated that clients could notice: keys and their history in the upper
/// half, the rest in the lower. `None` when the history cannot be hashed now.
pub fn state_hash(published: &Published) -> Option<u64> {
    let keys = published.state.hash(0).ok()?;
    let rest = crc32c::crc32c(&published.auth.to_wire().encode_to_vec());
    Some(u64::from(keys.hash) << 32 | u64::from(rest))
}
