//! Reads the records of one segment, through a window of bounded size.
//!
//! A length found on disk is believed only inside a header whose checksum holds, and even then
//! only up to the end of the file: corrupt bytes cost no memory.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::format::{ALIGNMENT, HEADER_BYTES, Header};
use crate::host::File;

const WINDOW_BYTES: usize = 256 << 10;
/// What reserved space holds, a page of it.
const ZEROS: [u8; 4096] = [0; 4096];

/// Why there is no usable record at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    EndInHeader,
    BadHeader,
    EndInPayload,
    BadPayload,
    BrokenChain,
    EmptySegment,
    MissingSegment,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flaw::EndInHeader => "the file ends inside a record's header",
            Flaw::BadHeader => "no valid record header where one must be",
            Flaw::EndInPayload => "the file ends inside a record",
            Flaw::BadPayload => "the record does not match its checksum",
            Flaw::BrokenChain => "the next record does not follow from the one before",
            Flaw::EmptySegment => "the segment is empty",
            Flaw::MissingSegment => "the segment is missing",
        })
    }
}

/// What lies behind the last record of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Zeros, or nothing at all.
    Nothing,
    /// Bytes of which none begins a record of this segment.
    Unknown,
    /// At least the header of a record of this segment.
    Records,
}

/// One segment, open for reading.
#[derive(Debug)]
pub(super) struct SegmentReader {
    file: Arc<dyn File>,
    segment: u64,
    length: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl SegmentReader {
    pub fn new(file: Arc<dyn File>, segment: u64) -> io::Result<SegmentReader> {
        let length = file.len()?;
        Ok(SegmentReader {
            file,
            segment,
            length,
            window: Vec::new(),
            window_start: 0,
        })
    }

    /// The file's length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The record at `offset`: its header and its payload without padding.
    pub fn record(&mut self, offset: u64) -> io::Result<Result<(Header, &[u8]), Flaw>> {
        let segment = self.segment;
        let Some(header) = self.view(offset, HEADER_BYTES)? else {
            return Ok(Err(Flaw::EndInHeader));
        };
        let Some(header) = decode(header, segment, offset) else {
            return Ok(Err(Flaw::BadHeader));
        };
        let start = offset + HEADER_BYTES as u64;
        match self.view(start, header.padded_bytes())? {
            None => Ok(Err(Flaw::EndInPayload)),
            Some(payload) if !header.matches(payload) => Ok(Err(Flaw::BadPayload)),
            Some(payload) => Ok(Ok((header, &payload[..header.payload_bytes]))),
        }
    }

    /// The largest `synced` of any whole record header after `offset`, whatever lies between.
    pub fn synced_claim_after(&mut self, offset: u64) -> io::Result<u64> {
        let segment = self.segment;
        let mut claim = 0;
        let mut at = (offset + 1).next_multiple_of(ALIGNMENT as u64);
        while let Some(bytes) = self.view(at, HEADER_BYTES)? {
            if let Some(header) = decode(bytes, segment, at) {
                claim = claim.max(header.synced);
            }
            at += ALIGNMENT as u64;
        }
        Ok(claim)
    }

    /// What is left in the file from `offset` on, where no record begins.
    pub fn left_from(&mut self, offset: u64) -> io::Result<Left> {
        let segment = self.segment;
        let mut left = Left::Nothing;
        let mut at = offset;
        while at < self.length {
            // Reserved space is zeros for megabytes.
            let zeros = self.view(at, ZEROS.len())?;
            if zeros.is_some_and(|bytes| *bytes == ZEROS) {
                at += ZEROS.len() as u64;
                continue;
            }
            let bytes = (self.length - at).min(ALIGNMENT as u64) as usize;
            let zero = self
                .view(at, bytes)?
                .is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0));
            if !zero {
                left = Left::Unknown;
                if let Some(header) = self.view(at, HEADER_BYTES)?
                    && decode(header, segment, at).is_some()
                {
                    return Ok(Left::Records);
                }
            }
            at += ALIGNMENT as u64;
        }
        Ok(left)
    }

    /// The bytes `[offset, offset + length)`; `None` when the file ends before.
    fn view(&mut self, offset: u64, length: usize) -> io::Result<Option<&[u8]>> {
        let remainder = self.length.saturating_sub(offset);
        if remainder < length as u64 {
            return Ok(None);
        }
        let window_end = self.window_start + self.window.len() as u64;
        if offset < self.window_start || offset + length as u64 > window_end {
            let wanted = length.max(WINDOW_BYTES);
            let wanted = usize::try_from(remainder).map_or(wanted, |most| wanted.min(most));
            self.window.resize(wanted, 0);
            self.window_start = offset;
            let read = self.file.read_at(offset, &mut self.window)?;
            self.window.truncate(read);
            if read < length {
                let reason = "the file became shorter while it was read";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
            }
        }
        let start = (offset - self.window_start) as usize;
        Ok(Some(&self.window[start..start + length]))
    }
}

fn decode(bytes: &[u8], segment: u64, offset: u64) -> Option<Header> {
    let bytes: &[u8; HEADER_BYTES] = bytes.try_into().ok()?;
    Header::decode(bytes, segment, offset)
}
