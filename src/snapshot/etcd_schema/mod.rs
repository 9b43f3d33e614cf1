//! etcd's buckets: what an etcd 3.4 to 3.6 keeps in its database, and how it is spelled.
//!
//! | bucket | name → value |
//! |---|---|
//! | `key` | revision name ([`crate::mvcc::RevisionKey`]) → `mvccpb.KeyValue` |
//! | `meta` | `consistent_index`, `term` → 8 bytes big-endian; `confState` → JSON; `scheduledCompactRev`, `finishedCompactRev` → revision name; `storageVersion` → text |
//! | `lease` | ID, 8 bytes big-endian → `leasepb.Lease` |
//! | `auth` | `authEnabled` → one byte; `authRevision` → 8 bytes big-endian |
//! | `authUsers`, `authRoles` | name → `authpb.User`, `authpb.Role` |
//! | `alarm` | `etcdserverpb.AlarmMember` → nothing |
//! | `members` | ID in hexadecimal → JSON |
//! | `members_removed` | ID in hexadecimal → `removed` |
//! | `cluster` | `clusterVersion` → text; `downgrade` → JSON |
//!
//! Keys and values become a [`State`] and come from one; everything else is [`Records`], plain data
//! that the server's parts translate. [`read()`] takes a database apart, [`Encoder`] makes one.
//!
//! **The mark of a bumped revision.** `etcdutl snapshot restore --bump-revision` writes an entry
//! with an empty value at the new revision, since etcd learns its revision from the newest entry.
//! Such an entry is read as the revision alone, and written where the store's revision is above its
//! newest record's.

mod read;
mod records;
#[cfg(test)]
mod tests;
mod write;

pub use read::{Contents, Error, Status, read, status};
pub use records::{AuthRecords, LeaseRecord, Records};
pub use write::Encoder;

mod bucket {
    pub(super) const ALARM: &str = "alarm";
    pub(super) const AUTH: &str = "auth";
    pub(super) const AUTH_ROLES: &str = "authRoles";
    pub(super) const AUTH_USERS: &str = "authUsers";
    pub(super) const CLUSTER: &str = "cluster";
    pub(super) const KEY: &str = "key";
    pub(super) const LEASE: &str = "lease";
    pub(super) const MEMBERS: &str = "members";
    pub(super) const MEMBERS_REMOVED: &str = "members_removed";
    pub(super) const META: &str = "meta";
}

mod entry {
    pub(super) const AUTH_ENABLED: &[u8] = b"authEnabled";
    pub(super) const AUTH_REVISION: &[u8] = b"authRevision";
    pub(super) const CLUSTER_VERSION: &[u8] = b"clusterVersion";
    pub(super) const CONF_STATE: &[u8] = b"confState";
    pub(super) const CONSISTENT_INDEX: &[u8] = b"consistent_index";
    pub(super) const DOWNGRADE: &[u8] = b"downgrade";
    pub(super) const FINISHED_COMPACTION: &[u8] = b"finishedCompactRev";
    pub(super) const SCHEDULED_COMPACTION: &[u8] = b"scheduledCompactRev";
    pub(super) const STORAGE_VERSION: &[u8] = b"storageVersion";
    pub(super) const TERM: &[u8] = b"term";
}
