//! Member and cluster IDs, derived from the initial cluster exactly as etcd derives them.
//!
//! A member's ID is the first 8 bytes, big-endian, of the SHA-1 over its sorted peer URLs and the
//! cluster's token; the cluster's ID is that of the SHA-1 over the members' sorted IDs. Every member
//! computes the same IDs from the same flags, so that members started from different flags refuse
//! each other instead of mixing two clusters.

use sha1::{Digest, Sha1};

/// The ID of a member of the initial cluster.
pub fn member_id<S: AsRef<str>>(peer_urls: &[S], token: &str) -> u64 {
    let mut urls: Vec<&str> = peer_urls.iter().map(AsRef::as_ref).collect();
    urls.sort_unstable();
    let mut hash = Sha1::new();
    for url in urls {
        hash.update(url);
    }
    hash.update(token);
    first_eight(hash)
}

/// The ID of a member that is added to a running cluster at `time` (seconds since the Unix epoch):
/// the time in decimal takes the place of the token, so that an ID is not used again when a member
/// comes back to the same URLs.
pub fn member_id_at<S: AsRef<str>>(peer_urls: &[S], time: u64) -> u64 {
    member_id(peer_urls, &time.to_string())
}

/// The ID of a cluster with these initial members.
pub fn cluster_id(member_ids: &[u64]) -> u64 {
    let mut ids = member_ids.to_vec();
    ids.sort_unstable();
    let mut hash = Sha1::new();
    for id in ids {
        hash.update(id.to_be_bytes());
    }
    first_eight(hash)
}

fn first_eight(hash: Sha1) -> u64 {
    let digest: [u8; 20] = hash.finalize().into();
    let (first, _) = digest
        .split_first_chunk()
        .expect("a SHA-1 has more than 8 bytes");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What etcd 3.5.1 shows in `etcdctl member list` for these flags.
    #[test]
    fn three_members_as_etcd_names_them() {
        let a = ["http://127.0.0.1:42380", "http://127.0.0.1:41380"];
        let b = ["http://127.0.0.1:42381"];
        let c = ["http://127.0.0.1:42382"];
        let ids = [
            member_id(&a, "vec-1"),
            member_id(&b, "vec-1"),
            member_id(&c, "vec-1"),
        ];
        assert_eq!(
            ids,
            [0xb2f25ecef5fe067b, 0xf0d3ef8f0cfc0e8a, 0x9222a01efcdb95c3]
        );
        assert_eq!(cluster_id(&ids), 0xef000e84c13d599f);
    }

    /// A single etcd 3.5.1 with default flags.
    #[test]
    fn the_default_member_as_etcd_names_it() {
        let id = member_id(&["http://localhost:2380"], "etcd-cluster");
        assert_eq!(id, 0x8e9e05c52164694d);
        assert_eq!(cluster_id(&[id]), 0xcdf818194e3a8c32);
    }

    #[test]
    fn order_does_not_matter_and_the_token_does() {
        assert_eq!(member_id(&["a", "b"], "t"), member_id(&["b", "a"], "t"));
        assert_ne!(member_id(&["a"], "t"), member_id(&["a"], "u"));
        assert_eq!(cluster_id(&[1, 2]), cluster_id(&[2, 1]));
    }
}
