//! The bytes of the store's tables.
//!
//! redb checks its pages' checksums after a crash only, so every value carries its own: four bytes
//! of CRC-32C (little-endian) over the entry's name and content, after the content.

use prost::Message;

use crate::api::proto::vetcdpb::{AuthState, BackendMeta, LeaseRecord};
use crate::lease::Lease;
use crate::mvcc::{Record, RevisionKey};

const CRC_BYTES: usize = 4;

/// The entries of the meta table.
pub(super) mod name {
    /// A [`super::BackendMeta`].
    pub(in super::super) const META: &[u8] = b"meta";
    /// A [`super::Totals`].
    pub(in super::super) const TOTALS: &[u8] = b"totals";
    pub(in super::super) const AUTH: &[u8] = b"auth";
}

/// How much the key table holds; kept with it, so that a lost entry shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// The number of entries.
    pub(super) records: u64,
    /// The sum of the lengths of their names and values.
    pub(super) bytes: u64,
}

impl Totals {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut content = self.records.to_le_bytes().to_vec();
        content.extend(self.bytes.to_le_bytes());
        seal(name::TOTALS, content)
    }

    pub(super) fn decode(value: &[u8]) -> Option<Totals> {
        let content: &[u8; 16] = open(name::TOTALS, value)?.try_into().ok()?;
        let (records, bytes) = content.split_at(8);
        Some(Totals {
            records: u64::from_le_bytes(records.try_into().ok()?),
            bytes: u64::from_le_bytes(bytes.try_into().ok()?),
        })
    }

    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) {
        self.records += 1;
        self.bytes += (name.len() + value.len()) as u64;
    }

    /// Takes an entry off; `None` when it cannot have been there.
    pub(super) fn subtract(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        self.records = self.records.checked_sub(1)?;
        self.bytes = self.bytes.checked_sub((name.len() + value.len()) as u64)?;
        Some(())
    }
}

/// The value of a record's entry in the key table.
pub(super) fn encode_record(name: &[u8], record: &Record) -> Vec<u8> {
    seal(name, record.encode_value())
}

pub(super) fn decode_record(name: &[u8], value: &[u8]) -> Option<Record> {
    Record::decode(RevisionKey::decode(name)?, open(name, value)?)
}

/// The name of a lease's entry in the lease table.
pub(super) fn lease_name(id: i64) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

pub(super) fn encode_lease(name: &[u8], lease: Lease) -> Vec<u8> {
    seal(name, lease.to_wire().encode_to_vec())
}

pub(super) fn decode_lease(name: &[u8], value: &[u8]) -> Option<LeaseRecord> {
    let record = LeaseRecord::decode(open(name, value)?).ok()?;
    (lease_name(record.id) == name).then_some(record)
}

pub(super) fn encode_meta(meta: &BackendMeta) -> Vec<u8> {
    seal(name::META, meta.encode_to_vec())
}

pub(super) fn decode_meta(value: &[u8]) -> Option<BackendMeta> {
    BackendMeta::decode(open(name::META, value)?).ok()
}

pub(super) fn encode_auth(auth: &AuthState) -> Vec<u8> {
    seal(name::AUTH, auth.encode_to_vec())
}

pub(super) fn decode_auth(value: &[u8]) -> Option<AuthState> {
    AuthState::decode(open(name::AUTH, value)?).ok()
}

fn checksum(name: &[u8], content: &[u8]) -> [u8; CRC_BYTES] {
    crc32c::crc32c_append(crc32c::crc32c(name), content).to_le_bytes()
}

fn seal(name: &[u8], mut content: Vec<u8>) -> Vec<u8> {
    content.extend(checksum(name, &content));
    content
}

/// The content of an entry; `None` when its checksum does not fit.
fn open<'a>(name: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (content, crc) = value.split_last_chunk::<CRC_BYTES>()?;
    (checksum(name, content) == *crc).then_some(content)
}
