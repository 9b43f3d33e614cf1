//! Revisions, and the bytes that name them in the backend and in the state hash.

/// When a record was written: the store's revision, and the record's place within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// One per request that changed something; what clients see.
    pub main: i64,
    /// The record's number among those of the same main revision, from 0.
    pub sub: i64,
}

impl Revision {
    /// Before every record.
    pub const ZERO: Revision = Revision { main: 0, sub: 0 };

    /// The lowest revision above this one.
    pub fn next(self) -> Revision {
        Revision {
            sub: self.sub + 1,
            ..self
        }
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.main, self.sub)
    }
}

/// A record's name on disk: its revision, and whether it is a tombstone.
///
/// As etcd writes it: 8 bytes of main, `_`, 8 bytes of sub, both big-endian, and a `t` at the end
/// of a tombstone's. So 17 or 18 bytes, ordered like the revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RevisionKey {
    /// The record's revision.
    pub revision: Revision,
    /// Whether the record marks the key's deletion.
    pub tombstone: bool,
}

impl RevisionKey {
    const LENGTH: usize = 17;

    /// The bytes of this name.
    pub fn encode(self) -> RevisionKeyBytes {
        let mut bytes = [b't'; Self::LENGTH + 1];
        bytes[..8].copy_from_slice(&self.revision.main.to_be_bytes());
        bytes[8] = b'_';
        bytes[9..17].copy_from_slice(&self.revision.sub.to_be_bytes());
        RevisionKeyBytes {
            bytes,
            length: Self::LENGTH + usize::from(self.tombstone),
        }
    }

    /// Reads a name back; `None` when the bytes are not one.
    pub fn decode(bytes: &[u8]) -> Option<RevisionKey> {
        let (name, mark) = bytes.split_at_checked(Self::LENGTH)?;
        let tombstone = match mark {
            [] => false,
            [b't'] => true,
            _ => return None,
        };
        let main = i64::from_be_bytes(name[..8].try_into().ok()?);
        let sub = i64::from_be_bytes(name[9..].try_into().ok()?);
        (name[8] == b'_' && main >= 0 && sub >= 0).then_some(RevisionKey {
            revision: Revision { main, sub },
            tombstone,
        })
    }
}

/// The encoded form of a [`RevisionKey`]; dereferences to its bytes.
#[derive(Clone, Copy, Debug)]
pub struct RevisionKeyBytes {
    bytes: [u8; RevisionKey::LENGTH + 1],
    length: usize,
}

impl std::ops::Deref for RevisionKeyBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
