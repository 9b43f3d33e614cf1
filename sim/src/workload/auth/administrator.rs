//! The administrator: keeps a few roles with changing permissions in the hands of changing users.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vetcd::client::Client;
use vetcd::host::Host;

use super::change::make;
use super::{AuthWorld, Identity, key, refused};
use crate::history::{AuthAction, AuthOutcome, Keys, Outcome, Range, Request};
use crate::rng::Stream;
use crate::scenario::AuthWorkload;
use crate::workload::Session;

const ROOT: &str = "root";
const ROOT_PASSWORD: &str = "of root";
/// The role on the keys that begin with `h`.
const HOME: &str = "home";
/// Roles with changing permissions at a time.
const ROLES_MAX: usize = 5;
/// Before something is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs the administrator until it is aborted.
pub async fn auth_administrator(
    host: Arc<dyn Host>,
    workload: AuthWorkload,
    world: AuthWorld,
    random: Stream,
    client: Client,
    session: Session,
) {
    let mut administrator = Administrator {
        host,
        keys: workload.keys,
        random,
        client,
        session,
        roles: Vec::new(),
        users: Vec::new(),
        named: 0,
    };
    administrator.set_up(workload.clients).await;
    *world.lock() = administrator.users.clone();
    loop {
        let pause = administrator.random.exponential(workload.change_every);
        administrator.host.sleep(pause).await;
        administrator.step(&world).await;
        // What shows that the administrator is served.
        let look = Request::Range(Range {
            key: Bytes::from_static(b"h"),
            ..Default::default()
        });
        let outcome = administrator.session.call(&mut administrator.client, &look);
        if let Outcome::Unknown(_) = outcome.await {
            administrator.client.next_endpoint();
        }
    }
}

struct Role {
    name: String,
    /// Which of the users has it.
    user: usize,
    permissions: Vec<Keys>,
}

struct Administrator {
    host: Arc<dyn Host>,
    keys: u32,
    random: Stream,
    client: Client,
    session: Session,
    roles: Vec<Role>,
    users: Vec<Identity>,
    named: u64,
}

impl Administrator {
    fn name(&mut self, what: &str) -> String {
        self.named += 1;
        format!("{what}{}", self.named)
    }

    async fn set_up(&mut self, clients: u32) {
        let root = || ROOT.to_owned();
        let add = AuthAction::AddUser { user: root() };
        self.insist(&add, ROOT_PASSWORD).await;
        let grant = AuthAction::GrantRole {
            user: root(),
            role: root(),
        };
        self.insist(&grant, "").await;
        let role = HOME.to_owned();
        self.insist(&AuthAction::AddRole { role: role.clone() }, "")
            .await;
        let grant = AuthAction::Grant {
            role,
            read: true,
            write: true,
            keys: Keys {
                key: Bytes::from_static(b"h"),
                end: Bytes::from_static(b"i"),
            },
        };
        self.insist(&grant, "").await;
        for _ in 0..clients {
            let user = self.new_user().await;
            self.users.push(user);
        }
        self.insist(&AuthAction::Enable, "").await;
        self.client.set_user(ROOT, ROOT_PASSWORD);
    }

    /// Makes a user that may always write at home.
    async fn new_user(&mut self) -> Identity {
        loop {
            let user = self.name("u");
            let password = format!("of {user}");
            let add = AuthAction::AddUser { user: user.clone() };
            if !self.once(&add, &password).await {
                continue;
            }
            let grant = AuthAction::GrantRole {
                user: user.clone(),
                role: HOME.to_owned(),
            };
            self.insist(&grant, "").await;
            return Identity {
                user,
                passwords: vec![password],
            };
        }
    }

    async fn step(&mut self, world: &AuthWorld) {
        let role = self.random.index(self.roles.len());
        match (self.random.range(0..100), role) {
            (0..30, _) | (_, None) if self.roles.len() < ROLES_MAX => self.new_role().await,
            (0..50, Some(role)) => self.change_permission(role).await,
            (50..65, Some(role)) => self.move_role(role).await,
            (65..90, Some(role)) => {
                let role = self.roles.swap_remove(role).name;
                self.insist(&AuthAction::DeleteRole { role }, "").await;
            }
            (90..95, _) => self.replace_user(world).await,
            _ => self.change_password(world).await,
        }
    }

    fn some_keys(&mut self) -> Keys {
        let first = self.random.range(0..u64::from(self.keys));
        let last = self.random.range(first..u64::from(self.keys));
        match (first == last, self.random.chance(0.5)) {
            (true, true) => Keys {
                key: key(first),
                end: Bytes::new(),
            },
            _ => Keys {
                key: key(first),
                end: key(last + 1),
            },
        }
    }

    async fn grant(&mut self, role: &str, keys: &Keys) {
        let (read, write) = match self.random.range(0..3) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        let grant = AuthAction::Grant {
            role: role.to_owned(),
            read,
            write,
            keys: keys.clone(),
        };
        self.insist(&grant, "").await;
    }

    async fn new_role(&mut self) {
        let name = self.name("r");
        let add = AuthAction::AddRole { role: name.clone() };
        if !self.once(&add, "").await {
            return;
        }
        let mut permissions = Vec::new();
        for _ in 0..self.random.range(1..3) {
            let keys = self.some_keys();
            self.grant(&name, &keys).await;
            permissions.push(keys);
        }
        let user = self.random.index(self.users.len()).unwrap_or(0);
        self.roles.push(Role {
            name,
            user,
            permissions,
        });
        self.give(self.roles.len() - 1, user).await;
    }

    async fn give(&mut self, role: usize, user: usize) {
        let grant = AuthAction::GrantRole {
            user: self.users[user].user.clone(),
            role: self.roles[role].name.clone(),
        };
        self.insist(&grant, "").await;
        self.roles[role].user = user;
    }

    async fn change_permission(&mut self, role: usize) {
        let name = self.roles[role].name.clone();
        match self.random.index(self.roles[role].permissions.len()) {
            Some(at) if self.random.chance(0.5) => {
                let keys = self.roles[role].permissions.swap_remove(at);
                let revoke = AuthAction::Revoke { role: name, keys };
                self.insist(&revoke, "").await;
            }
            Some(at) => {
                let keys = self.roles[role].permissions[at].clone();
                self.grant(&name, &keys).await;
            }
            None => {
                let keys = self.some_keys();
                self.grant(&name, &keys).await;
                self.roles[role].permissions.push(keys);
            }
        }
    }

    async fn move_role(&mut self, role: usize) {
        let revoke = AuthAction::RevokeRole {
            user: self.users[self.roles[role].user].user.clone(),
            role: self.roles[role].name.clone(),
        };
        self.insist(&revoke, "").await;
        let user = self.random.index(self.users.len()).unwrap_or(0);
        self.give(role, user).await;
    }

    async fn replace_user(&mut self, world: &AuthWorld) {
        let user = self.new_user().await;
        let at = self.random.index(self.users.len()).unwrap_or(0);
        let old = std::mem::replace(&mut self.users[at], user);
        *world.lock() = self.users.clone();
        let delete = AuthAction::DeleteUser { user: old.user };
        self.insist(&delete, "").await;
        for role in 0..self.roles.len() {
            if self.roles[role].user == at {
                self.give(role, at).await;
            }
        }
    }

    /// Each user's password changes once at most: an older change that arrives late must not be
    /// able to bring back one that nobody remembers.
    async fn change_password(&mut self, world: &AuthWorld) {
        let at = self.random.index(self.users.len()).unwrap_or(0);
        if self.users[at].passwords.len() > 1 {
            return;
        }
        let user = self.users[at].user.clone();
        let password = format!("another of {user}");
        self.users[at].passwords.push(password.clone());
        *world.lock() = self.users.clone();
        let change = AuthAction::ChangePassword { user };
        self.insist(&change, &password).await;
    }

    /// Has a change made, again and again until it certainly is, or was already.
    async fn insist(&mut self, action: &AuthAction, password: &str) {
        loop {
            match self.attempt(action, password).await {
                AuthOutcome::Done => return,
                AuthOutcome::Refused(why) if is_answer(&why) => return,
                _ => {
                    self.client.next_endpoint();
                    self.host.sleep(PAUSE).await;
                }
            }
        }
    }

    /// Has a change made; `false` when it may have been made, or may yet.
    async fn once(&mut self, action: &AuthAction, password: &str) -> bool {
        loop {
            match self.attempt(action, password).await {
                AuthOutcome::Done => return true,
                AuthOutcome::Unknown(_) => {
                    self.client.next_endpoint();
                    return false;
                }
                AuthOutcome::Refused(why) if is_answer(&why) => return false,
                _ => {
                    self.client.next_endpoint();
                    self.host.sleep(PAUSE).await;
                }
            }
        }
    }

    async fn attempt(&mut self, action: &AuthAction, password: &str) -> AuthOutcome {
        let ticket = self.session.begin_auth(action.clone());
        let outcome = match make(&mut self.client, action, password).await {
            Ok(()) => AuthOutcome::Done,
            Err(error) => refused(error.class, error.status.message()),
        };
        self.session.finish_auth(ticket, outcome.clone());
        outcome
    }
}

/// Whether the refusal says that things are as they should be.
fn is_answer(why: &str) -> bool {
    ["already exists", "not found", "is not granted"]
        .iter()
        .any(|words| why.starts_with("etcdserver: ") && why.contains(words))
}
