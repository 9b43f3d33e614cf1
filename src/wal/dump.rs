//! The log as a list of records, for people. Changes nothing on disk.

use std::path::{Path, PathBuf};

use prost::Message;

use super::error::Error;
use super::format::{HEADER_BYTES, HardStateRecord, Kind, MarkRecord, SegmentHead};
use super::reader::SegmentReader;
use super::segment;
use super::{HardState, Metadata, SnapshotMark};
use crate::api::proto::vetcdpb;
use crate::host::{Disk, OpenMode};

/// One record and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The segment's file name.
    pub file: String,
    /// Where its header starts in that file.
    pub offset: u64,
    /// Its length with header and padding.
    pub bytes: u64,
    /// Up to where in this segment everything was durable when it was written; 0 claims nothing.
    pub synced: u64,
    /// What it says.
    pub content: Content,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// The first record of a segment.
    Head {
        /// The format's version.
        format: u32,
        /// The segment's sequence number.
        segment: u64,
        /// The index its first entry was expected to have.
        first_index: u64,
        /// Whose log it is.
        metadata: Metadata,
        /// The hard state so far.
        hard_state: HardState,
        /// The newest mark so far.
        mark: Option<SnapshotMark>,
    },
    /// Term, vote and commit index.
    HardState(HardState),
    /// A raft entry.
    Entry(vetcdpb::Entry),
    /// A snapshot mark, and the index of the last entry that still counts.
    Mark(SnapshotMark, u64),
    /// Nothing but the claim in its header.
    Synced,
    /// Its checksum fits, but not its content.
    Garbled(String),
}

/// Where the list ends before the log's files do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The segment.
    pub file: PathBuf,
    /// The first byte that cannot be used.
    pub offset: u64,
    /// Why.
    pub reason: String,
}

/// Hands every record to `visit`, oldest first, up to the first that cannot be read; says where
/// that is. Whether it is a torn end or damage, [`super::read`] tells. Stops when `visit` returns
/// false.
///
/// # Errors
/// [`Error::Missing`], [`Error::Damaged`] for files with impossible names, [`Error::Io`].
pub fn dump(
    disk: &dyn Disk,
    dir: &Path,
    visit: &mut dyn FnMut(Record) -> bool,
) -> Result<Option<Stop>, Error> {
    if !disk.exists(dir).map_err(Error::io("look for", dir))? {
        return Err(Error::Missing(dir.to_path_buf()));
    }
    let names = segment::list(disk, dir)?;
    let Some(first) = names.first() else {
        return Err(Error::Missing(dir.to_path_buf()));
    };
    let mut chain = None;
    for (expected, name) in (first.segment..).zip(&names) {
        let path = name.path(dir);
        let stop = |offset, reason: String| {
            Ok(Some(Stop {
                file: path.clone(),
                offset,
                reason,
            }))
        };
        if name.segment != expected {
            return stop(0, format!("segment {expected:016x} before it is missing"));
        }
        let file = disk.open(&path, OpenMode::Read);
        let mut reader = file
            .and_then(|file| SegmentReader::new(file, name.segment))
            .map_err(Error::io("open", &path))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if reader.length() == 0 {
            return stop(0, "the segment is empty".to_owned());
        }
        let mut offset = 0;
        while offset < reader.length() {
            let (header, payload) = match reader.record(offset).map_err(Error::io("read", &path))? {
                Ok(record) => record,
                Err(flaw) => return stop(offset, flaw.to_string()),
            };
            if chain.is_some_and(|chain| header.previous != chain) {
                return stop(
                    offset,
                    "the record does not follow from the one before".to_owned(),
                );
            }
            chain = Some(header.checksum);
            let bytes = (HEADER_BYTES + header.padded_bytes()) as u64;
            let record = Record {
                file: file.clone().into_owned(),
                offset,
                bytes,
                synced: header.synced,
                content: content(header.kind, payload)
                    .unwrap_or_else(|error| Content::Garbled(error.to_string())),
            };
            if !visit(record) {
                return Ok(None);
            }
            offset += bytes;
        }
    }
    Ok(None)
}

fn content(kind: Kind, payload: &[u8]) -> Result<Content, prost::DecodeError> {
    Ok(match kind {
        Kind::SegmentHead => {
            let head = SegmentHead::decode(payload)?;
            Content::Head {
                format: head.format,
                segment: head.segment,
                first_index: head.first_index,
                metadata: head.metadata(),
                hard_state: head.hard_state.into(),
                mark: head.mark.map(Into::into),
            }
        }
        Kind::HardState => Content::HardState(HardStateRecord::decode(payload)?.into()),
        Kind::Entry => Content::Entry(vetcdpb::Entry::decode(payload)?),
        Kind::SnapshotMark => {
            let record = MarkRecord::decode(payload)?;
            let last_index = record.last_index;
            Content::Mark(record.into(), last_index)
        }
        Kind::Synced => Content::Synced,
    })
}
