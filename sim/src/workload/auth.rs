//! The `auth` workload: an administrator changes users, roles and permissions without pause, and
//! the other clients read and write as these users, sometimes permitted and sometimes not.
//!
//! Names are never used again, and a name whose making had an unknown outcome is never used at all.
//! So a change that arrives late, out of some queue, speaks of something that is gone: that is what
//! lets the judge say anything at all after an unknown outcome.
//!
//! Every user may always write the keys that begin with `h`, so that a client is served in the end
//! whatever the administrator did last. The changing permissions are about `ka`, `kb` and so on.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tonic::{Response, Status};
use vetcd::api::proto::authpb::{self, permission::Type};
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::client::{CallError, Channel, Client, FailureClass, auth};
use vetcd::host::Host;

use super::Session;
use crate::history::{
    AuthAction, AuthOutcome, Delete, Keys, Outcome, Put, Range, Request, Txn, needs,
};
use crate::rng::Stream;
use crate::scenario::AuthWorkload;

const ROOT: &str = "root";
const ROOT_PASSWORD: &str = "of root";
/// The role on the keys that begin with `h`.
const HOME: &str = "home";
/// Roles with changing permissions at a time.
const ROLES_MAX: usize = 5;
/// Before something is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// The share of reads that any member may answer from what it happens to hold.
const SERIALIZABLE: f64 = 0.1;

/// What the administrator tells the users outside the cluster: who each is.
#[derive(Clone, Default)]
pub struct AuthWorld(Arc<Mutex<Vec<Identity>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    user: String,
    /// The one in force is among them.
    passwords: Vec<String>,
}

impl AuthWorld {
    fn lock(&self) -> MutexGuard<'_, Vec<Identity>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Who the user at `position` is, from 1; nobody before authentication is on.
    fn identity(&self, position: u32) -> Option<Identity> {
        self.lock().get(position as usize - 1).cloned()
    }
}

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

fn refused(class: FailureClass, message: &str) -> AuthOutcome {
    let message = message.to_owned();
    match class {
        FailureClass::Unknown => AuthOutcome::Unknown(message),
        _ if is_denial(&message) => AuthOutcome::Denied,
        _ => AuthOutcome::Refused(message),
    }
}

fn is_denial(message: &str) -> bool {
    matches!(
        message,
        "etcdserver: permission denied" | "etcdserver: user name is empty"
    )
}

async fn ask<T, F>(client: &mut Client, make: impl FnOnce(Channel) -> F) -> Result<(), CallError>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    client.call(make).await.map(|_| ())
}

async fn make(client: &mut Client, action: &AuthAction, password: &str) -> Result<(), CallError> {
    let password = password.to_owned();
    match action.clone() {
        AuthAction::Enable => {
            let request = pb::AuthEnableRequest {};
            ask(client, async |c| auth(c).auth_enable(request).await).await
        }
        AuthAction::Disable => {
            let request = pb::AuthDisableRequest {};
            ask(client, async |c| auth(c).auth_disable(request).await).await
        }
        AuthAction::AddUser { user: name } => {
            let request = pb::AuthUserAddRequest {
                name,
                password,
                ..Default::default()
            };
            ask(client, async |c| auth(c).user_add(request).await).await
        }
        AuthAction::DeleteUser { user: name } => {
            let request = pb::AuthUserDeleteRequest { name };
            ask(client, async |c| auth(c).user_delete(request).await).await
        }
        AuthAction::ChangePassword { user: name } => {
            let request = pb::AuthUserChangePasswordRequest {
                name,
                password,
                ..Default::default()
            };
            ask(client, async |c| {
                auth(c).user_change_password(request).await
            })
            .await
        }
        AuthAction::AddRole { role: name } => {
            let request = pb::AuthRoleAddRequest { name };
            ask(client, async |c| auth(c).role_add(request).await).await
        }
        AuthAction::DeleteRole { role } => {
            let request = pb::AuthRoleDeleteRequest { role };
            ask(client, async |c| auth(c).role_delete(request).await).await
        }
        AuthAction::GrantRole { user, role } => {
            let request = pb::AuthUserGrantRoleRequest { user, role };
            ask(client, async |c| auth(c).user_grant_role(request).await).await
        }
        AuthAction::RevokeRole { user: name, role } => {
            let request = pb::AuthUserRevokeRoleRequest { name, role };
            ask(client, async |c| auth(c).user_revoke_role(request).await).await
        }
        AuthAction::Grant {
            role: name,
            write,
            read,
            keys,
        } => {
            let kind = match (read, write) {
                (true, true) => Type::Readwrite,
                (false, true) => Type::Write,
                _ => Type::Read,
            };
            let perm = Some(authpb::Permission {
                perm_type: kind.into(),
                key: keys.key,
                range_end: keys.end,
            });
            let request = pb::AuthRoleGrantPermissionRequest { name, perm };
            ask(client, async |c| {
                auth(c).role_grant_permission(request).await
            })
            .await
        }
        AuthAction::Revoke { role, keys } => {
            let request = pb::AuthRoleRevokePermissionRequest {
                role,
                key: keys.key,
                range_end: keys.end,
            };
            ask(client, async |c| {
                auth(c).role_revoke_permission(request).await
            })
            .await
        }
        AuthAction::Use { .. } => unreachable!("the administrator makes changes"),
    }
}

fn key(number: u64) -> Bytes {
    // At most 26 keys and the end behind the last.
    Bytes::from(vec![b'k', b'a' + number as u8])
}

/// Runs the user at `position`, from 1, until it is aborted.
pub async fn auth_user(
    host: Arc<dyn Host>,
    workload: AuthWorkload,
    world: AuthWorld,
    position: u32,
    mut random: Stream,
    mut client: Client,
    session: Session,
) {
    let per_second = workload.rate.per_second() / f64::from(workload.clients.max(1));
    let think = Duration::from_secs_f64(1.0 / per_second.max(1e-6));
    let mut drawer = Drawer {
        keys: u64::from(workload.keys),
        position,
        written: 0,
    };
    let mut current: Option<(Identity, usize)> = None;
    loop {
        host.sleep(random.exponential(think)).await;
        let Some(identity) = world.identity(position) else {
            continue;
        };
        if current.as_ref().is_none_or(|(known, _)| *known != identity) {
            let same = current
                .as_ref()
                .filter(|(known, _)| known.user == identity.user);
            match same {
                // The token is good until the password has been changed.
                Some((_, used)) => current = Some((identity.clone(), *used)),
                None => {
                    client.set_user(&identity.user, &identity.passwords[0]);
                    current = Some((identity.clone(), 0));
                }
            }
        }
        let request = drawer.draw(&mut random);
        let ticket = needs(&request).map(|needs| {
            let user = identity.user.clone();
            session.begin_auth(AuthAction::Use { user, needs })
        });
        let outcome = session.call(&mut client, &request).await;
        let judged = match &outcome {
            Outcome::Ok(_) => AuthOutcome::Done,
            Outcome::Failed(failure) => refused(FailureClass::Rejected, &failure.message),
            Outcome::Unknown(why) => AuthOutcome::Unknown(why.clone()),
        };
        if let Some(ticket) = ticket {
            session.finish_auth(ticket, judged.clone());
        }
        match judged {
            AuthOutcome::Done | AuthOutcome::Denied => {}
            AuthOutcome::Refused(why) if why.contains("authentication failed") => {
                if let Some((identity, used)) = &mut current {
                    *used = (*used + 1) % identity.passwords.len();
                    client.set_user(&identity.user, &identity.passwords[*used]);
                }
            }
            AuthOutcome::Refused(why) if why.starts_with("etcdserver: ") => {}
            _ => client.next_endpoint(),
        }
    }
}

/// Draws requests that need permissions of all kinds.
struct Drawer {
    keys: u64,
    position: u32,
    written: u64,
}

impl Drawer {
    fn draw(&mut self, random: &mut Stream) -> Request {
        let home = Bytes::from(format!("h{}", self.position));
        let some = key(random.range(0..self.keys));
        match random.range(0..100) {
            0..10 => self.put(home, false),
            10..20 => get(home, false),
            20..40 => get(some, random.chance(SERIALIZABLE)),
            40..60 => self.put(some, false),
            60..70 => self.put(some, true),
            70..80 => {
                let first = random.range(0..self.keys);
                let last = random.range(first..self.keys);
                Request::Range(Range {
                    key: key(first),
                    range_end: key(last + 1),
                    ..Default::default()
                })
            }
            80..90 => Request::Delete(Delete {
                key: some,
                prev_kv: random.chance(0.5),
                ..Default::default()
            }),
            _ => {
                // The other key two levels down, where a check that only looks at the top misses it.
                let other = key(random.range(0..self.keys));
                let inner = match random.chance(0.5) {
                    true => get(other, false),
                    false => self.put(other, false),
                };
                let nested = Request::Txn(Txn {
                    then: vec![inner],
                    ..Default::default()
                });
                Request::Txn(Txn {
                    then: vec![get(home, false), nested],
                    ..Default::default()
                })
            }
        }
    }

    fn put(&mut self, key: Bytes, prev_kv: bool) -> Request {
        self.written += 1;
        Request::Put(Put {
            key,
            value: format!("a{}-{}", self.position, self.written).into(),
            prev_kv,
            ..Default::default()
        })
    }
}

fn get(key: Bytes, serializable: bool) -> Request {
    Request::Range(Range {
        key,
        serializable,
        ..Default::default()
    })
}
