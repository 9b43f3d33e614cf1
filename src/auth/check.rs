//! Whether a caller may do something, decided on one state.

use bytes::Bytes;

use super::{Error, ROOT, State};
use crate::api::proto::etcdserverpb::request_op::Request;
use crate::api::proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RequestOp, TxnRequest};

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The user's name; empty for nobody.
    pub user: String,
    /// The auth revision at which the user was recognised; 0 for nobody.
    pub revision: u64,
}

impl Caller {
    /// The member itself, which may for instance compact; `revision` is that of the state.
    pub fn member_itself(revision: u64) -> Caller {
        Caller {
            user: ROOT.to_owned(),
            revision,
        }
    }
}

/// What is done to keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Seeing them.
    Read,
    /// Changing them.
    Write,
}

/// The keys attached to a lease; none for a lease that does not exist.
pub type KeysOfLease<'a> = &'a dyn Fn(i64) -> Vec<Bytes>;

impl State {
    /// Whether `caller` may read `key`, or the range that starts there, by the API's rules for
    /// `range_end`.
    ///
    /// # Errors
    /// `UserEmpty`, `OldRevision`, `PermissionDenied`.
    pub fn permit_range(&self, caller: &Caller, key: &[u8], range_end: &[u8]) -> Result<(), Error> {
        self.permit(caller, Access::Read, key, range_end)
    }

    /// Whether `caller` may read or write `key`, or the range that starts there.
    ///
    /// # Errors
    /// `UserEmpty`, `OldRevision`, `PermissionDenied`.
    pub fn permit(
        &self,
        caller: &Caller,
        access: Access,
        key: &[u8],
        range_end: &[u8],
    ) -> Result<(), Error> {
        if !self.is_enabled() {
            return Ok(());
        }
        if caller.revision == 0 {
            return Err(Error::UserEmpty);
        }
        if caller.revision < self.revision() {
            return Err(Error::OldRevision);
        }
        match self.covers(&caller.user, access, key, range_end) {
            true => Ok(()),
            false => Err(Error::PermissionDenied),
        }
    }

    /// Whether the user has the access, whatever the caller's revision.
    fn covers(&self, user: &str, access: Access, key: &[u8], range_end: &[u8]) -> bool {
        if self.has_role(user, ROOT) {
            return true;
        }
        let Some(permitted) = self.permitted.get(user) else {
            return false;
        };
        let ranges = match access {
            Access::Read => &permitted.read,
            Access::Write => &permitted.write,
        };
        match range_end {
            [] => ranges.contains(key),
            b"\0" => ranges.covers(key, None),
            end => ranges.covers(key, Some(end)),
        }
    }

    /// Whether the user exists and has the role.
    pub fn has_role(&self, user: &str, role: &str) -> bool {
        let user = self.users.get(user);
        user.is_some_and(|user| user.roles.contains(role))
    }

    /// Whether `caller` has the role `root`. As in etcd a caller recognised at an older revision is
    /// judged by today's roles.
    ///
    /// # Errors
    /// `UserEmpty`, `UserNotFound`, `PermissionDenied`.
    pub fn permit_root(&self, caller: &Caller) -> Result<(), Error> {
        self.permit_user(caller)?;
        if !self.is_enabled() || self.has_role(&caller.user, ROOT) {
            return Ok(());
        }
        match self.users.contains_key(&caller.user) {
            true => Err(Error::PermissionDenied),
            false => Err(Error::UserNotFound),
        }
    }

    /// Whether `caller` is anybody at all.
    ///
    /// # Errors
    /// `UserEmpty`.
    pub fn permit_user(&self, caller: &Caller) -> Result<(), Error> {
        match self.is_enabled() && caller.user.is_empty() {
            true => Err(Error::UserEmpty),
            false => Ok(()),
        }
    }

    /// Whether `caller` may see the roles of user `name`: administrators, and the user.
    ///
    /// # Errors
    /// As [`State::permit_root`].
    pub fn permit_user_get(&self, caller: &Caller, name: &str) -> Result<(), Error> {
        match self.permit_root(caller) {
            Err(_) if !name.is_empty() && caller.user == name => Ok(()),
            verdict => verdict,
        }
    }

    /// Whether `caller` may see the permissions of role `name`: administrators, and who has it.
    ///
    /// # Errors
    /// As [`State::permit_root`].
    pub fn permit_role_get(&self, caller: &Caller, name: &str) -> Result<(), Error> {
        match self.permit_root(caller) {
            Err(_) if self.has_role(&caller.user, name) => Ok(()),
            verdict => verdict,
        }
    }

    /// Whether `caller` may put: WRITE on the key, READ when the answer shows the old value, and
    /// WRITE on all that is attached to the lease, since who attaches may also let it expire.
    ///
    /// # Errors
    /// As [`State::permit`].
    pub fn permit_put(
        &self,
        caller: &Caller,
        put: &PutRequest,
        keys_of: KeysOfLease<'_>,
    ) -> Result<(), Error> {
        self.permit(caller, Access::Write, &put.key, b"")?;
        if put.lease != 0 {
            self.permit_lease_keys(caller, Access::Write, put.lease, keys_of)?;
        }
        if put.prev_kv {
            self.permit(caller, Access::Read, &put.key, b"")?;
        }
        Ok(())
    }

    /// Whether `caller` may write (to attach to it or revoke it) or read (to list them) all keys
    /// attached to a lease. Administrators may; a lease without keys is free.
    ///
    /// # Errors
    /// As [`State::permit`].
    pub fn permit_lease_keys(
        &self,
        caller: &Caller,
        access: Access,
        lease: i64,
        keys_of: KeysOfLease<'_>,
    ) -> Result<(), Error> {
        if self.permit_root(caller).is_ok() {
            return Ok(());
        }
        let keys = keys_of(lease);
        keys.iter()
            .try_for_each(|key| self.permit(caller, access, key, b""))
    }

    /// Whether `caller` may delete: WRITE, and READ when the answer shows what was deleted.
    ///
    /// # Errors
    /// As [`State::permit`].
    pub fn permit_delete(&self, caller: &Caller, delete: &DeleteRangeRequest) -> Result<(), Error> {
        self.permit(caller, Access::Write, &delete.key, &delete.range_end)?;
        if delete.prev_kv {
            self.permit(caller, Access::Read, &delete.key, &delete.range_end)?;
        }
        Ok(())
    }

    /// Whether `caller` may do all that a transaction might, in both branches and all levels.
    ///
    /// # Errors
    /// As [`State::permit`].
    pub fn permit_txn(
        &self,
        caller: &Caller,
        txn: &TxnRequest,
        keys_of: KeysOfLease<'_>,
    ) -> Result<(), Error> {
        if !self.is_enabled() {
            return Ok(());
        }
        // One that touches no key still tells the store's revision.
        self.permit_user(caller)?;
        for compare in &txn.compare {
            self.permit_range(caller, &compare.key, &compare.range_end)?;
        }
        let operations = txn.success.iter().chain(&txn.failure);
        for RequestOp { request } in operations {
            match request {
                Some(Request::RequestRange(range)) => {
                    self.permit_range(caller, &range.key, &range.range_end)?;
                }
                Some(Request::RequestPut(put)) => self.permit_put(caller, put, keys_of)?,
                Some(Request::RequestDeleteRange(delete)) => self.permit_delete(caller, delete)?,
                Some(Request::RequestTxn(txn)) => self.permit_txn(caller, txn, keys_of)?,
                None => {}
            }
        }
        Ok(())
    }
}
