//! Tests of users, roles, permissions, tokens and passwords.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod permissions;
mod proofs;

use bytes::Bytes;

use super::*;
use crate::api::proto::etcdserverpb as pb;
use crate::api::proto::vetcdpb::log_request::Request;

/// A state under construction.
#[derive(Default)]
struct Builder(State);

impl Builder {
    fn change(&mut self, request: Request) -> Result<(), Error> {
        self.0.apply(&request).expect("a request of auth's")
    }

    fn user(&mut self, name: &str, roles: &[&str]) -> Result<(), Error> {
        self.change(Request::UserAdd(pb::AuthUserAddRequest {
            name: name.to_owned(),
            hashed_password: format!("hash of {name}"),
            ..Default::default()
        }))?;
        roles
            .iter()
            .try_for_each(|role| self.grant_role(name, role))
    }

    fn grant_role(&mut self, user: &str, role: &str) -> Result<(), Error> {
        self.change(Request::UserGrantRole(pb::AuthUserGrantRoleRequest {
            user: user.to_owned(),
            role: role.to_owned(),
        }))
    }

    fn revoke_role(&mut self, name: &str, role: &str) -> Result<(), Error> {
        self.change(Request::UserRevokeRole(pb::AuthUserRevokeRoleRequest {
            name: name.to_owned(),
            role: role.to_owned(),
        }))
    }

    fn delete_user(&mut self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.change(Request::UserDelete(pb::AuthUserDeleteRequest { name }))
    }

    fn role(&mut self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.change(Request::RoleAdd(pb::AuthRoleAddRequest { name }))
    }

    fn delete_role(&mut self, role: &str) -> Result<(), Error> {
        let role = role.to_owned();
        self.change(Request::RoleDelete(pb::AuthRoleDeleteRequest { role }))
    }

    fn grant(&mut self, role: &str, kind: Type, key: &str, end: &str) -> Result<(), Error> {
        self.change(Request::RoleGrantPermission(
            pb::AuthRoleGrantPermissionRequest {
                name: role.to_owned(),
                perm: Some(authpb::Permission {
                    perm_type: kind.into(),
                    key: Bytes::copy_from_slice(key.as_bytes()),
                    range_end: Bytes::copy_from_slice(end.as_bytes()),
                }),
            },
        ))
    }

    fn revoke(&mut self, role: &str, key: &str, end: &str) -> Result<(), Error> {
        self.change(Request::RoleRevokePermission(
            pb::AuthRoleRevokePermissionRequest {
                role: role.to_owned(),
                key: Bytes::copy_from_slice(key.as_bytes()),
                range_end: Bytes::copy_from_slice(end.as_bytes()),
            },
        ))
    }

    fn enable(&mut self) -> Result<(), Error> {
        self.change(Request::AuthEnable(pb::AuthEnableRequest {}))
    }

    /// With root, authentication on.
    fn enabled() -> Builder {
        let mut builder = Builder::default();
        builder.user(ROOT, &[ROOT]).unwrap();
        builder.enable().unwrap();
        builder
    }

    fn caller(&self, user: &str) -> Caller {
        Caller {
            user: user.to_owned(),
            revision: self.0.revision(),
        }
    }
}

#[test]
fn enabling_needs_root_in_charge() {
    let mut builder = Builder::default();
    assert_eq!(builder.0.revision(), 1);
    assert_eq!(builder.enable(), Err(Error::RootUserNotExist));
    builder.user(ROOT, &[]).unwrap();
    assert_eq!(builder.enable(), Err(Error::RootRoleNotExist));
    builder.grant_role(ROOT, ROOT).unwrap();
    assert_eq!(builder.0.revision(), 3);
    // Neither the first nor the second counts as a change.
    builder.enable().unwrap();
    builder.enable().unwrap();
    assert_eq!(builder.0.revision(), 3);
    assert_eq!(builder.delete_user(ROOT), Err(Error::InvalidManagement));
    assert_eq!(
        builder.revoke_role(ROOT, ROOT),
        Err(Error::InvalidManagement)
    );
    assert_eq!(builder.delete_role(ROOT), Err(Error::InvalidManagement));
    let disable = || Request::AuthDisable(pb::AuthDisableRequest {});
    builder.change(disable()).unwrap();
    builder.change(disable()).unwrap();
    assert_eq!(builder.0.revision(), 4);
    builder.revoke_role(ROOT, ROOT).unwrap();
    builder.delete_user(ROOT).unwrap();
}

#[test]
fn refused_changes_change_nothing() {
    let mut builder = Builder::enabled();
    builder.role("r").unwrap();
    builder.user("u", &["r"]).unwrap();
    let before = builder.0.to_wire();
    type Change = fn(&mut Builder) -> Result<(), Error>;
    let cases: [(Change, Error); 15] = [
        (|b| b.user("u", &[]), Error::UserAlreadyExist),
        (|b| b.user("", &[]), Error::UserEmpty),
        (|b| b.delete_user("x"), Error::UserNotFound),
        (|b| b.grant_role("x", "r"), Error::UserNotFound),
        (|b| b.grant_role("u", "x"), Error::RoleNotFound),
        (|b| b.revoke_role("x", "r"), Error::UserNotFound),
        (|b| b.revoke_role("u", "x"), Error::RoleNotGranted),
        (|b| b.role("r"), Error::RoleAlreadyExist),
        (|b| b.role(""), Error::RoleEmpty),
        (|b| b.delete_role("x"), Error::RoleNotFound),
        (|b| b.grant("x", Type::Read, "a", ""), Error::RoleNotFound),
        (
            |b| b.grant("r", Type::Read, "", ""),
            Error::InvalidManagement,
        ),
        (
            |b| b.grant("r", Type::Read, "b", "a"),
            Error::InvalidManagement,
        ),
        (|b| b.revoke("r", "a", ""), Error::PermissionNotGranted),
        (|b| b.revoke("x", "a", ""), Error::RoleNotFound),
    ];
    for (number, (change, error)) in cases.into_iter().enumerate() {
        assert_eq!(change(&mut builder), Err(error), "case {number}");
        assert_eq!(builder.0.to_wire(), before, "case {number}");
    }
    // Granted already: fine, and no change either.
    builder.grant_role("u", "r").unwrap();
    assert_eq!(builder.0.to_wire(), before);
}

#[test]
fn every_change_raises_the_revision() {
    let mut builder = Builder::enabled();
    type Change = fn(&mut Builder) -> Result<(), Error>;
    let changes: [Change; 9] = [
        |b| b.role("r"),
        |b| b.user("u", &[]),
        |b| b.grant_role("u", "r"),
        |b| b.grant("r", Type::Read, "a", ""),
        // The same range again, of another kind.
        |b| b.grant("r", Type::Write, "a", ""),
        |b| b.revoke("r", "a", ""),
        |b| b.revoke_role("u", "r"),
        |b| b.delete_role("r"),
        |b| b.delete_user("u"),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let before = builder.0.revision();
        change(&mut builder).unwrap();
        assert_eq!(builder.0.revision(), before + 1, "change {number}");
    }
}

#[test]
fn what_is_stored_comes_back() {
    let mut builder = Builder::enabled();
    builder.role("r").unwrap();
    builder.grant("r", Type::Readwrite, "a", "c").unwrap();
    builder.grant("r", Type::Read, "\0", "\0").unwrap();
    builder.user("u", &["r"]).unwrap();
    builder
        .change(Request::UserAdd(pb::AuthUserAddRequest {
            name: "n".into(),
            options: Some(authpb::UserAddOptions { no_password: true }),
            hashed_password: "smuggled in".into(),
            ..Default::default()
        }))
        .unwrap();
    let stored = builder.0.to_wire();
    let loaded = State::from_wire(Some(stored.clone()));
    assert_eq!(loaded.to_wire(), stored);
    let caller = builder.caller("u");
    loaded.permit(&caller, Access::Write, b"b", b"").unwrap();
    assert_eq!(loaded.password_hash("u").unwrap(), "hash of u");
    assert_eq!(loaded.password_hash("n"), Err(Error::AuthFailed));
    assert_eq!(State::from_wire(None).to_wire(), State::new().to_wire());
}

#[test]
fn permissions_are_listed_by_key_and_root_has_all() {
    let mut builder = Builder::enabled();
    builder.role("r").unwrap();
    for (key, end) in [("c", ""), ("a", "b"), ("b", "\0"), ("a", "")] {
        builder.grant("r", Type::Read, key, end).unwrap();
    }
    let listed = builder.0.role_permissions("r").unwrap();
    let ranges: Vec<_> = listed
        .iter()
        .map(|p| (&p.key[..], &p.range_end[..]))
        .collect();
    let expected: [(&[u8], &[u8]); 4] = [(b"a", b"b"), (b"a", b""), (b"b", b"\0"), (b"c", b"")];
    assert_eq!(ranges, expected);
    assert_eq!(builder.0.role_permissions(ROOT), Err(Error::RoleNotFound));
    builder.role(ROOT).unwrap();
    let root = builder.0.role_permissions(ROOT).unwrap();
    assert_eq!(
        (&root[0].key[..], &root[0].range_end[..]),
        (&b""[..], &b"\0"[..])
    );
}
