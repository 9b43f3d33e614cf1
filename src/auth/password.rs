//! Passwords and their bcrypt hashes. Both functions take long on purpose: run them inside
//! `Host::blocking`.

/// The cheapest and the dearest hash that bcrypt has.
pub const COST_MIN: u32 = 4;
/// See [`COST_MIN`].
pub const COST_MAX: u32 = 31;
/// What is taken where no cost, or an impossible one, is given.
pub const COST_DEFAULT: u32 = 10;

/// Hashes a password; `None` for one that bcrypt does not take. Like etcd's, the hash is of the
/// first 72 bytes.
pub fn hash(password: &str, cost: u32, salt: [u8; 16]) -> Option<String> {
    let parts = bcrypt::hash_with_salt(password, cost, salt).ok()?;
    Some(parts.format_for_version(bcrypt::Version::TwoA))
}

/// Whether the password fits the hash.
pub fn fits(password: &str, hash: &str) -> bool {
    bcrypt::verify(password, hash).unwrap_or(false)
}
