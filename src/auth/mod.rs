//! Who may do what: users, roles, permissions, and how a client proves who it is.
//!
//! [`State`] is pure and replicated: it is changed by log entries alone ([`State::apply`]), so every
//! member decides the same. A request carries its [`Caller`], the user and the auth revision it was
//! known at, into the log; when the entry is applied the permission is decided on the state of that
//! very position, and a caller known at an older revision is refused. So a permission that was
//! revoked before a write can never be used by it, however long the write was on its way.
//!
//! Reads that do not go through the log are decided on the same immutable state that answers them.
//!
//! How to ask, for a service:
//!
//! - of a request that goes through the log: hand the caller to `Server::propose_as`, and add a line
//!   to `server::permit` that says what the request needs when it is applied;
//! - of a read: `Server::read_as` gives the state and the caller, then [`State::permit_range`] or
//!   [`State::permit_lease_keys`] on that state;
//! - of a watch, when it is created: as of a read, with the watch's key and range;
//! - of what only administrators may do: `Server::require_root`; of what needs any user at all:
//!   `Server::require_user`.
//!
//! With authentication off each of these is one comparison.

mod change;
mod check;
mod der;
mod error;
pub mod jwt;
pub mod password;
#[cfg(test)]
mod tests;
pub mod tokens;

use std::collections::BTreeSet;
use std::sync::Arc;

use im::OrdMap;

use crate::api::proto::authpb::{self, permission::Type};
use crate::api::proto::vetcdpb;
use crate::mvcc::KeyRanges;

pub use check::{Access, Caller, KeysOfLease};
pub use error::{Code, Error};

/// The user that must exist before authentication can be enabled.
pub const ROOT: &str = "root";

/// What is replicated about authentication; cheap to clone.
#[derive(Clone, Debug)]
pub struct State {
    enabled: bool,
    /// Grows with every change but enabling; starts at 1.
    revision: u64,
    users: OrdMap<String, Arc<User>>,
    roles: OrdMap<String, Arc<Role>>,
    /// What each user may read and write, merged over the user's roles. Derived from the others.
    permitted: OrdMap<String, Arc<Permitted>>,
}

#[derive(Clone, Debug, Default)]
struct User {
    /// bcrypt's text form; with an empty one no password fits.
    password: String,
    no_password: bool,
    roles: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
struct Role {
    /// By key; those of one key in the order they were granted.
    permissions: Vec<authpb::Permission>,
}

#[derive(Debug, Default)]
struct Permitted {
    read: KeyRanges,
    write: KeyRanges,
}

impl Default for State {
    fn default() -> State {
        State::new()
    }
}

impl State {
    /// Nobody, nothing, and authentication off.
    pub fn new() -> State {
        State {
            enabled: false,
            revision: 1,
            users: OrdMap::new(),
            roles: OrdMap::new(),
            permitted: OrdMap::new(),
        }
    }

    /// Whether requests need a user.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The number of changes; see [`Caller::revision`].
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Differs between any two states of one history.
    pub fn version(&self) -> (u64, bool) {
        (self.revision, self.enabled)
    }

    /// The names of all users, sorted.
    pub fn user_names(&self) -> Vec<String> {
        self.users.keys().cloned().collect()
    }

    /// The names of all roles, sorted.
    pub fn role_names(&self) -> Vec<String> {
        self.roles.keys().cloned().collect()
    }

    /// The roles of a user, sorted.
    ///
    /// # Errors
    /// `UserNotFound`.
    pub fn user_roles(&self, name: &str) -> Result<Vec<String>, Error> {
        let user = self.users.get(name).ok_or(Error::UserNotFound)?;
        Ok(user.roles.iter().cloned().collect())
    }

    /// The permissions of a role, by key. Those of the role `root` are always everything.
    ///
    /// # Errors
    /// `RoleNotFound`.
    pub fn role_permissions(&self, name: &str) -> Result<Vec<authpb::Permission>, Error> {
        let role = self.roles.get(name).ok_or(Error::RoleNotFound)?;
        if name == ROOT {
            return Ok(vec![authpb::Permission {
                perm_type: Type::Readwrite.into(),
                key: bytes::Bytes::new(),
                range_end: bytes::Bytes::from_static(b"\0"),
            }]);
        }
        Ok(role.permissions.clone())
    }

    /// The hash that a user's password must fit.
    ///
    /// # Errors
    /// `NotEnabled`; `AuthFailed` for a user that does not exist or has no password.
    pub fn password_hash(&self, name: &str) -> Result<String, Error> {
        if !self.enabled {
            return Err(Error::NotEnabled);
        }
        match self.users.get(name) {
            Some(user) if !user.no_password && !user.password.is_empty() => {
                Ok(user.password.clone())
            }
            _ => Err(Error::AuthFailed),
        }
    }

    /// From the stored form.
    pub fn from_wire(stored: Option<vetcdpb::AuthState>) -> State {
        let Some(stored) = stored else {
            return State::new();
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let user = |user: authpb::User| {
            let fields = User {
                password: text(&user.password),
                no_password: user.options.is_some_and(|options| options.no_password),
                roles: user.roles.into_iter().collect(),
            };
            (text(&user.name), Arc::new(fields))
        };
        let role = |role: authpb::Role| {
            let permissions = role.key_permission;
            (text(&role.name), Arc::new(Role { permissions }))
        };
        let mut state = State {
            enabled: stored.enabled,
            revision: stored.revision,
            users: stored.users.into_iter().map(user).collect(),
            roles: stored.roles.into_iter().map(role).collect(),
            permitted: OrdMap::new(),
        };
        for name in state.user_names() {
            state.merge_permissions(&name);
        }
        state
    }

    /// In the stored form: the same bytes for equal states.
    pub fn to_wire(&self) -> vetcdpb::AuthState {
        let user = |(name, user): (&String, &Arc<User>)| authpb::User {
            name: name.clone().into(),
            password: user.password.clone().into(),
            roles: user.roles.iter().cloned().collect(),
            options: user
                .no_password
                .then_some(authpb::UserAddOptions { no_password: true }),
        };
        let role = |(name, role): (&String, &Arc<Role>)| authpb::Role {
            name: name.clone().into(),
            key_permission: role.permissions.clone(),
        };
        vetcdpb::AuthState {
            enabled: self.enabled,
            revision: self.revision,
            users: self.users.iter().map(user).collect(),
            roles: self.roles.iter().map(role).collect(),
        }
    }
}
