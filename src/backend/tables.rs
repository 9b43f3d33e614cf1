//! What the store's tables hold beside the records: metadata, totals, leases.

use std::path::Path;

use redb::{ReadableTable, TableDefinition};

use super::Error;
use super::codec::{self, Totals, name};
use crate::api::proto::vetcdpb::{BackendMeta, LeaseRecord};
use crate::lease;

pub(super) const KEY: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("key");
const LEASE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("lease");
pub(super) const META: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");

/// What stands beside the records, as bytes.
pub(super) struct RawMeta {
    meta: Option<Vec<u8>>,
    auth: Option<Vec<u8>>,
}

impl RawMeta {
    pub(super) fn decode(self, path: &Path) -> Result<BackendMeta, Error> {
        let damaged = |what: &str| Error::damaged(path, what);
        let meta = self.meta.as_deref().and_then(codec::decode_meta);
        let mut meta = meta.ok_or_else(|| damaged("its metadata is missing or garbled"))?;
        if let Some(auth) = self.auth {
            let auth = codec::decode_auth(&auth);
            meta.auth = Some(auth.ok_or_else(|| damaged("its users and roles are garbled"))?);
        }
        Ok(meta)
    }
}

/// What stands beside the records, and their totals.
pub(super) fn read_meta(
    transaction: &redb::ReadTransaction,
) -> Result<(RawMeta, Option<Vec<u8>>), redb::Error> {
    let table = transaction.open_table(META)?;
    let value = |name| -> Result<Option<Vec<u8>>, redb::Error> {
        Ok(table.get(name)?.map(|value| value.value().to_vec()))
    };
    let raw = RawMeta {
        meta: value(name::META)?,
        auth: value(name::AUTH)?,
    };
    Ok((raw, value(name::TOTALS)?))
}

pub(super) fn stored_totals(transaction: &redb::WriteTransaction) -> Result<Totals, redb::Error> {
    let table = transaction.open_table(META)?;
    let value = table.get(name::TOTALS)?;
    value
        .and_then(|value| Totals::decode(value.value()))
        .ok_or_else(|| redb::Error::Corrupted("the store's totals are garbled".to_owned()))
}

/// Reads the leases; what is wrong with them, if anything is. A store from before there were leases
/// has no table of them.
pub(super) fn load_leases(
    transaction: &redb::ReadTransaction,
    mut push: impl FnMut(&LeaseRecord) -> Result<(), lease::RestoreError>,
    count: &mut u64,
) -> Result<Option<String>, redb::Error> {
    let table = match transaction.open_table(LEASE) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    for entry in table.iter()? {
        let (name, value) = entry?;
        let Some(record) = codec::decode_lease(name.value(), value.value()) else {
            let name = name.value().escape_ascii();
            return Ok(Some(format!("the entry of lease {name} is garbled")));
        };
        if let Err(error) = push(&record) {
            return Ok(Some(error.to_string()));
        }
        *count += 1;
    }
    Ok(None)
}

pub(super) fn store_leases(
    transaction: &redb::WriteTransaction,
    changes: &lease::Changes,
) -> Result<(), redb::Error> {
    if changes.stored.is_empty() && changes.removed.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(LEASE)?;
    for id in &changes.removed {
        // One that came and went between two commits was never there.
        table.remove(&*codec::lease_name(*id))?;
    }
    for lease in &changes.stored {
        let name = codec::lease_name(lease.id);
        table.insert(&*name, &*codec::encode_lease(&name, *lease))?;
    }
    Ok(())
}

pub(super) fn write_meta(
    transaction: &redb::WriteTransaction,
    meta: &BackendMeta,
    totals: Totals,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(META)?;
    if let Some(auth) = &meta.auth {
        table.insert(name::AUTH, &*codec::encode_auth(auth))?;
    }
    let meta = BackendMeta {
        auth: None,
        ..meta.clone()
    };
    table.insert(name::META, &*codec::encode_meta(&meta))?;
    table.insert(name::TOTALS, &*totals.encode())?;
    Ok(())
}
