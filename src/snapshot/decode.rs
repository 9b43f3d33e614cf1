//! From the stream to a state.

use bytes::{Buf, BytesMut};
use prost::Message;

use super::{
    BODY_BYTES_MAX, Error, FRAME_HEADER_BYTES, HEADER_BYTES, KIND_END, KIND_LEASE, KIND_META,
    KIND_PUT, KIND_TOMBSTONE, MAGIC, VERSION,
};
use crate::api::proto::vetcdpb::{BackendMeta, LeaseRecord};
use crate::mvcc::{Record, Restore, RevisionKey, State};

/// Takes a snapshot in pieces of any size and makes a state of it.
#[derive(Debug, Default)]
pub struct Decoder {
    /// What came and is not yet a whole frame.
    buffer: BytesMut,
    /// The offset of the buffer's start in the stream.
    offset: u64,
    /// The checksum of the stream up to there.
    crc: u32,
    header_seen: bool,
    meta: Option<BackendMeta>,
    restore: Restore,
    records: u64,
    leases: u64,
    ended: bool,
}

impl Decoder {
    /// Waits for the start of a stream.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Takes the next piece. After an error the decoder is of no more use.
    ///
    /// # Errors
    /// As soon as the stream cannot become a whole snapshot.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(piece);
        if !self.header_seen && !self.header()? {
            return Ok(());
        }
        while self.frame()? {}
        Ok(())
    }

    /// Ends the stream: the state, with nothing to report to a backend, and its metadata.
    ///
    /// # Errors
    /// When the stream is not at its end, or its records do not make a store.
    pub fn finish(self) -> Result<(State, BackendMeta), Error> {
        let offset = self.offset + self.buffer.len() as u64;
        match self.meta {
            Some(meta) if self.ended => {
                let state = self.restore.finish(
                    meta.revision,
                    meta.compact_revision,
                    meta.compact_finished,
                );
                let state = state.map_err(|error| Error::Damaged {
                    offset,
                    what: error.to_string(),
                })?;
                Ok((state, meta))
            }
            _ => Err(Error::CutShort { offset }),
        }
    }

    /// Reads the stream's first bytes; `false` when there are not enough yet.
    fn header(&mut self) -> Result<bool, Error> {
        let known = self.buffer.len().min(MAGIC.len());
        if self.buffer[..known] != MAGIC[..known] {
            let what = "it does not start like one".to_owned();
            return Err(Error::Foreign(what));
        }
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(false);
        };
        if header[MAGIC.len()..] != VERSION.to_le_bytes() {
            return Err(Error::Foreign("its version is unknown".to_owned()));
        }
        self.crc = crc32c::crc32c(header);
        self.consume(HEADER_BYTES);
        self.header_seen = true;
        Ok(true)
    }

    /// Reads one frame; `false` when it is not there in full yet.
    fn frame(&mut self) -> Result<bool, Error> {
        if self.buffer.is_empty() {
            return Ok(false);
        }
        if self.ended {
            return Err(self.damaged("bytes after the end"));
        }
        let Some(header) = self.buffer.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(false);
        };
        let (length, crc) = header.split_at(4);
        let body = length.try_into().map_or(0, u32::from_le_bytes) as usize;
        if !(1..=BODY_BYTES_MAX).contains(&body) {
            return Err(self.damaged("a frame of impossible length"));
        }
        let end = FRAME_HEADER_BYTES + body;
        let Some(frame) = self.buffer.get(..end) else {
            return Ok(false);
        };
        let body = &frame[FRAME_HEADER_BYTES..];
        let expected = crc32c::crc32c_append(crc32c::crc32c_append(self.crc, length), body);
        if crc != expected.to_le_bytes() {
            return Err(self.damaged("a checksum does not fit"));
        }
        self.crc = expected;
        let frame = self.buffer.split_to(end);
        let body = &frame[FRAME_HEADER_BYTES..];
        self.body(body[0], &body[1..])?;
        self.offset += end as u64;
        Ok(true)
    }

    fn body(&mut self, kind: u8, content: &[u8]) -> Result<(), Error> {
        match (kind, &self.meta) {
            (KIND_META, None) => {
                let meta = BackendMeta::decode(content);
                self.meta = Some(meta.map_err(|error| self.damaged(error))?);
            }
            (KIND_LEASE, Some(_)) if self.records == 0 => self.lease(content)?,
            (KIND_PUT, Some(_)) => self.record(content, 17)?,
            (KIND_TOMBSTONE, Some(_)) => self.record(content, 18)?,
            (KIND_END, Some(meta)) => {
                if meta.leases != self.leases {
                    return Err(self.damaged("the number of leases does not fit"));
                }
                if content != self.records.to_le_bytes() {
                    return Err(self.damaged("the number of records does not fit"));
                }
                self.ended = true;
            }
            _ => return Err(self.damaged("a frame of the wrong kind")),
        }
        Ok(())
    }

    fn record(&mut self, content: &[u8], name_bytes: usize) -> Result<(), Error> {
        let parts = content.split_at_checked(name_bytes);
        let record =
            parts.and_then(|(name, value)| Record::decode(RevisionKey::decode(name)?, value));
        let record = record.ok_or_else(|| self.damaged("a record is garbled"))?;
        self.restore
            .push(record)
            .map_err(|error| self.damaged(error))?;
        self.records += 1;
        Ok(())
    }

    fn lease(&mut self, content: &[u8]) -> Result<(), Error> {
        let lease = LeaseRecord::decode(content).map_err(|error| self.damaged(error))?;
        self.restore
            .push_lease(&lease)
            .map_err(|error| self.damaged(error))?;
        self.leases += 1;
        Ok(())
    }

    fn consume(&mut self, length: usize) {
        self.buffer.advance(length);
        self.offset += length as u64;
    }

    fn damaged(&self, what: impl ToString) -> Error {
        Error::Damaged {
            offset: self.offset,
            what: what.to_string(),
        }
    }
}
