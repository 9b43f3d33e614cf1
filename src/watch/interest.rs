//! What one watch wants to hear of.

use bytes::Bytes;

use crate::api::proto::etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType};
use crate::mvcc::Record;

/// The keys of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// One key.
    One(Bytes),
    /// The keys from `start` up to and without `end`; `None` for no end.
    Range {
        /// The first key.
        start: Bytes,
        /// The first key behind the range.
        end: Option<Bytes>,
    },
}

/// The keys of a watch, what kinds of events, and in what form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Which keys.
    pub keys: Keys,
    /// Puts are left out.
    pub no_put: bool,
    /// Deletions are left out.
    pub no_delete: bool,
    /// Events carry what the key held before.
    pub prev_kv: bool,
    /// Large responses may be split.
    pub fragment: bool,
}

impl Interest {
    /// Reads a request as etcd does: an empty key means the lowest one there can be, an end of one
    /// zero byte no end. `None` when the range holds no key.
    pub fn of(request: &WatchCreateRequest) -> Option<Interest> {
        let start = match request.key.is_empty() {
            true => Bytes::from_static(b"\0"),
            false => Bytes::copy_from_slice(&request.key),
        };
        let keys = match &request.range_end[..] {
            b"" => Keys::One(start),
            b"\0" => Keys::Range { start, end: None },
            end if *end <= start[..] => return None,
            end => Keys::Range {
                start,
                end: Some(Bytes::copy_from_slice(end)),
            },
        };
        let filters = || request.filters.iter();
        Some(Interest {
            keys,
            no_put: filters().any(|filter| *filter == FilterType::Noput as i32),
            no_delete: filters().any(|filter| *filter == FilterType::Nodelete as i32),
            prev_kv: request.prev_kv,
            fragment: request.fragment,
        })
    }

    /// Whether the kind of `record` is wanted, its key aside.
    pub fn admits(&self, record: &Record) -> bool {
        match record.tombstone {
            true => !self.no_delete,
            false => !self.no_put,
        }
    }

    /// Whether `record` is wanted.
    pub fn wants(&self, record: &Record) -> bool {
        let key = &record.kv.key[..];
        let inside = match &self.keys {
            Keys::One(one) => key == one,
            Keys::Range { start, end } => {
                key >= &start[..] && end.as_ref().is_none_or(|end| key < &end[..])
            }
        };
        inside && self.admits(record)
    }
}
