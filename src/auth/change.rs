//! The changes to users and roles, as log entries make them.

use std::sync::Arc;

use super::{Error, Permitted, ROOT, Role, State, User};
use crate::api::proto::authpb::permission::Type;
use crate::api::proto::etcdserverpb as pb;
use crate::api::proto::vetcdpb::log_request::Request;

impl State {
    /// Makes a change, all of it or none; `None` when `request` is none of auth's. Whether the
    /// caller may make it is another question ([`State::permit_root`]).
    ///
    /// # Errors
    /// Why there is no change.
    pub fn apply(&mut self, request: &Request) -> Option<Result<(), Error>> {
        Some(match request {
            Request::AuthEnable(_) => self.enable(),
            Request::AuthDisable(_) => {
                self.disable();
                Ok(())
            }
            Request::UserAdd(request) => self.user_add(request),
            Request::UserDelete(request) => self.user_delete(request),
            Request::UserChangePassword(request) => self.user_change_password(request),
            Request::UserGrantRole(request) => self.user_grant_role(request),
            Request::UserRevokeRole(request) => self.user_revoke_role(request),
            Request::RoleAdd(request) => self.role_add(request),
            Request::RoleDelete(request) => self.role_delete(request),
            Request::RoleGrantPermission(request) => self.role_grant(request),
            Request::RoleRevokePermission(request) => self.role_revoke(request),
            _ => return None,
        })
    }

    /// Enabling what is enabled is no error and no change.
    fn enable(&mut self) -> Result<(), Error> {
        if self.enabled {
            return Ok(());
        }
        let root = self.users.get(ROOT).ok_or(Error::RootUserNotExist)?;
        if !root.roles.contains(ROOT) {
            return Err(Error::RootRoleNotExist);
        }
        self.enabled = true;
        Ok(())
    }

    fn disable(&mut self) {
        if self.enabled {
            self.enabled = false;
            self.revision += 1;
        }
    }

    fn user_add(&mut self, request: &pb::AuthUserAddRequest) -> Result<(), Error> {
        if request.name.is_empty() {
            return Err(Error::UserEmpty);
        }
        if self.users.contains_key(&request.name) {
            return Err(Error::UserAlreadyExist);
        }
        let no_password = request.options.is_some_and(|options| options.no_password);
        let user = User {
            password: match no_password {
                true => String::new(),
                false => request.hashed_password.clone(),
            },
            no_password,
            ..User::default()
        };
        self.put_user(&request.name, user);
        Ok(())
    }

    fn user_delete(&mut self, request: &pb::AuthUserDeleteRequest) -> Result<(), Error> {
        if self.enabled && request.name == ROOT {
            return Err(Error::InvalidManagement);
        }
        self.users
            .remove(&request.name)
            .ok_or(Error::UserNotFound)?;
        self.permitted.remove(&request.name);
        self.revision += 1;
        Ok(())
    }

    fn user_change_password(
        &mut self,
        request: &pb::AuthUserChangePasswordRequest,
    ) -> Result<(), Error> {
        let mut user = self.user(&request.name)?;
        if !user.no_password {
            user.password = request.hashed_password.clone();
        }
        self.put_user(&request.name, user);
        Ok(())
    }

    /// Granting a role twice is no error and no change.
    fn user_grant_role(&mut self, request: &pb::AuthUserGrantRoleRequest) -> Result<(), Error> {
        let mut user = self.user(&request.user)?;
        // The role `root` need not exist to be granted.
        if request.role != ROOT && !self.roles.contains_key(&request.role) {
            return Err(Error::RoleNotFound);
        }
        if user.roles.insert(request.role.clone()) {
            self.put_user(&request.user, user);
        }
        Ok(())
    }

    fn user_revoke_role(&mut self, request: &pb::AuthUserRevokeRoleRequest) -> Result<(), Error> {
        if self.enabled && request.name == ROOT && request.role == ROOT {
            return Err(Error::InvalidManagement);
        }
        let mut user = self.user(&request.name)?;
        if !user.roles.remove(&request.role) {
            return Err(Error::RoleNotGranted);
        }
        self.put_user(&request.name, user);
        Ok(())
    }

    fn role_add(&mut self, request: &pb::AuthRoleAddRequest) -> Result<(), Error> {
        if request.name.is_empty() {
            return Err(Error::RoleEmpty);
        }
        if self.roles.contains_key(&request.name) {
            return Err(Error::RoleAlreadyExist);
        }
        self.put_role(&request.name, Role::default());
        Ok(())
    }

    fn role_delete(&mut self, request: &pb::AuthRoleDeleteRequest) -> Result<(), Error> {
        if self.enabled && request.role == ROOT {
            return Err(Error::InvalidManagement);
        }
        self.roles
            .remove(&request.role)
            .ok_or(Error::RoleNotFound)?;
        for name in self.users_with(&request.role) {
            if let Some(user) = self.users.get_mut(&name) {
                Arc::make_mut(user).roles.remove(&request.role);
            }
            self.merge_permissions(&name);
        }
        self.revision += 1;
        Ok(())
    }

    /// Granting a permission on the same range again replaces what kind it was.
    fn role_grant(&mut self, request: &pb::AuthRoleGrantPermissionRequest) -> Result<(), Error> {
        let granted = request.perm.as_ref().ok_or(Error::PermissionNotGiven)?;
        let (key, end) = (&granted.key, &granted.range_end);
        let on_some_key = end.is_empty() || &end[..] == b"\0" || key < end;
        if key.is_empty() || !on_some_key {
            return Err(Error::InvalidManagement);
        }
        let mut role = self.role(&request.name)?;
        let same_range = role
            .permissions
            .iter_mut()
            .find(|held| held.key == key && held.range_end == end);
        if let Some(held) = same_range {
            held.perm_type = granted.perm_type;
        } else {
            let position = role.permissions.partition_point(|held| held.key <= key);
            role.permissions.insert(position, granted.clone());
        }
        self.put_role(&request.name, role);
        Ok(())
    }

    fn role_revoke(&mut self, request: &pb::AuthRoleRevokePermissionRequest) -> Result<(), Error> {
        let mut role = self.role(&request.role)?;
        let before = role.permissions.len();
        role.permissions
            .retain(|held| held.key != request.key || held.range_end != request.range_end);
        if role.permissions.len() == before {
            return Err(Error::PermissionNotGranted);
        }
        self.put_role(&request.role, role);
        Ok(())
    }

    fn user(&self, name: &str) -> Result<User, Error> {
        let user = self.users.get(name).ok_or(Error::UserNotFound)?;
        Ok(User::clone(user))
    }

    fn role(&self, name: &str) -> Result<Role, Error> {
        let role = self.roles.get(name).ok_or(Error::RoleNotFound)?;
        Ok(Role::clone(role))
    }

    fn put_user(&mut self, name: &str, user: User) {
        self.users.insert(name.to_owned(), Arc::new(user));
        self.merge_permissions(name);
        self.revision += 1;
    }

    fn put_role(&mut self, name: &str, role: Role) {
        self.roles.insert(name.to_owned(), Arc::new(role));
        for user in self.users_with(name) {
            self.merge_permissions(&user);
        }
        self.revision += 1;
    }

    fn users_with(&self, role: &str) -> Vec<String> {
        let with = |user: &&User| user.roles.contains(role);
        self.users
            .iter()
            .filter(|(_, user)| with(&user.as_ref()))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Derives anew what a user may do.
    pub(super) fn merge_permissions(&mut self, name: &str) {
        let Some(user) = self.users.get(name) else {
            return;
        };
        let mut merged = Permitted::default();
        let roles = user.roles.iter().filter_map(|role| self.roles.get(role));
        for permission in roles.flat_map(|role| &role.permissions) {
            let add = |ranges: &mut crate::mvcc::KeyRanges| {
                ranges.insert_request(&permission.key, &permission.range_end);
            };
            // An unknown kind, from a newer member, permits nothing.
            match Type::try_from(permission.perm_type) {
                Ok(Type::Read) => add(&mut merged.read),
                Ok(Type::Write) => add(&mut merged.write),
                Ok(Type::Readwrite) => {
                    add(&mut merged.read);
                    add(&mut merged.write);
                }
                Err(_) => {}
            }
        }
        self.permitted.insert(name.to_owned(), Arc::new(merged));
    }
}
