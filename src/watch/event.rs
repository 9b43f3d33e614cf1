//! An event, and its bytes on the wire, which all who hear of it share.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::api::proto::mvccpb::{Event as Message_, event::EventType};
use crate::mvcc::{Record, State};

/// The number of the field `events` in a `WatchResponse`.
const EVENTS_FIELD: u32 = 11;
/// What an event takes beside keys and values, about, in bytes.
const OVERHEAD: usize = 256;

/// One change of one key.
#[derive(Debug)]
pub struct Event {
    record: Arc<Record>,
    previous: Option<Arc<Record>>,
    plain: OnceLock<Bytes>,
    with_previous: OnceLock<Bytes>,
}

impl Event {
    /// The event of `record`, with what its key held before as `state` tells; nothing when that is
    /// compacted or the key was new.
    pub fn new(record: &Arc<Record>, state: &State) -> Event {
        let before = record.revision.main - 1;
        Event {
            record: record.clone(),
            previous: state.get_at(&record.kv.key, before).cloned(),
            plain: OnceLock::new(),
            with_previous: OnceLock::new(),
        }
    }

    /// What was written.
    pub fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// The main revision.
    pub fn revision(&self) -> i64 {
        self.record.revision.main
    }

    /// The event as it stands in a `WatchResponse`, field key and length included. Encoded on the
    /// first call and shared afterwards.
    pub fn encoded(&self, prev_kv: bool) -> Bytes {
        let previous = self.previous.as_ref().filter(|_| prev_kv);
        let slot = match previous {
            Some(_) => &self.with_previous,
            None => &self.plain,
        };
        let bytes = slot.get_or_init(|| {
            let kind = match self.record.tombstone {
                true => EventType::Delete,
                false => EventType::Put,
            };
            let message = Message_ {
                r#type: kind as i32,
                kv: Some(self.record.kv.clone()),
                prev_kv: previous.map(|record| record.kv.clone()),
            };
            let length = message.encoded_len();
            let mut bytes = BytesMut::with_capacity(length + 12);
            encode_key(EVENTS_FIELD, WireType::LengthDelimited, &mut bytes);
            encode_varint(length as u64, &mut bytes);
            bytes.put(message.encode_to_vec().as_slice());
            bytes.freeze()
        });
        bytes.clone()
    }

    /// About how much memory the event may hold, in bytes.
    pub fn weight(&self) -> usize {
        let size = |record: &Record| record.kv.key.len() + record.kv.value.len();
        let previous = self.previous.as_ref().map_or(0, |record| size(record));
        // The record, and its bytes in both forms.
        3 * size(&self.record) + 2 * previous + OVERHEAD
    }
}
