//! What clients did about permissions: the administrator's changes, and every request with the
//! permissions it needed. Kept beside the operations, which do not know users.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Nanoseconds, Request, text};

/// A change of users and roles, or a request that needed permissions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthRecord {
    /// The client that did it.
    pub client: u32,
    /// When it began.
    pub invoked: Nanoseconds,
    /// When the answer arrived; `None` when the outcome is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<Nanoseconds>,
    /// What was done.
    pub action: AuthAction,
    /// What came of it.
    pub outcome: AuthOutcome,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthAction {
    /// Authentication was turned on.
    Enable,
    /// Authentication was turned off.
    Disable,
    /// A user was made, without roles.
    AddUser {
        /// Its name.
        user: String,
    },
    /// A user was removed.
    DeleteUser {
        /// Its name.
        user: String,
    },
    /// A user got another password.
    ChangePassword {
        /// Its name.
        user: String,
    },
    /// A role was made, without permissions.
    AddRole {
        /// Its name.
        role: String,
    },
    /// A role was removed, from its users too.
    DeleteRole {
        /// Its name.
        role: String,
    },
    /// A user got a role.
    GrantRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// A user lost a role.
    RevokeRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// A role got a permission, in place of another on the same range.
    Grant {
        /// The role.
        role: String,
        /// Whether reading is permitted.
        read: bool,
        /// Whether writing is permitted.
        write: bool,
        /// On which keys.
        keys: Keys,
    },
    /// A role lost the permission on a range.
    Revoke {
        /// The role.
        role: String,
        /// On which keys.
        keys: Keys,
    },
    /// A request was made.
    Use {
        /// By whom.
        user: String,
        /// What it needed.
        needs: Vec<Need>,
    },
}

/// A key, or a range of keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The key, or the first of the range.
    #[serde(with = "text")]
    pub key: Bytes,
    /// Empty for one key; a single zero byte for every key from `key` on; else the exclusive end.
    #[serde(with = "text", default, skip_serializing_if = "Bytes::is_empty")]
    pub end: Bytes,
}

/// A permission that a request needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// Whether it is the permission to write; to read otherwise.
    pub write: bool,
    /// On which keys.
    pub keys: Keys,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthOutcome {
    /// It was done.
    Done,
    /// It was refused because it was not permitted.
    Denied,
    /// It was refused for another reason, and had no effect.
    Refused(String),
    /// It may have been done, or may yet.
    Unknown(String),
}

/// The permissions that `request` needs; `None` when it may be answered from an old state, where
/// old permissions count as well.
pub fn needs(request: &Request) -> Option<Vec<Need>> {
    let mut needs = Vec::new();
    gather(request, &mut needs)?;
    Some(needs)
}

fn gather(request: &Request, needs: &mut Vec<Need>) -> Option<()> {
    let mut need = |write, key: &Bytes, end: &Bytes| {
        let keys = Keys {
            key: key.clone(),
            end: end.clone(),
        };
        needs.push(Need { write, keys });
    };
    match request {
        Request::Range(range) if range.serializable => return None,
        Request::Range(range) => need(false, &range.key, &range.range_end),
        Request::Put(put) => {
            need(true, &put.key, &Bytes::new());
            if put.prev_kv {
                need(false, &put.key, &Bytes::new());
            }
        }
        Request::Delete(delete) => {
            need(true, &delete.key, &delete.range_end);
            if delete.prev_kv {
                need(false, &delete.key, &delete.range_end);
            }
        }
        Request::Txn(txn) => {
            for compare in &txn.compare {
                need(false, &compare.key, &compare.range_end);
            }
            for request in txn.then.iter().chain(&txn.otherwise) {
                gather(request, needs)?;
            }
        }
        Request::Compact(_) => return None,
    }
    Some(())
}
