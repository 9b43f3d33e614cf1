//! The store as a stream: sent to a member that lags too far behind, and kept in files.
//!
//! This is a format of our own, to be replaced by etcd's database file later. All numbers are
//! little-endian.
//!
//! ```text
//! stream  = "vetcdsnp" version:u32(=1)  frame(meta)  frame(lease)*  frame(record)*  frame(end)
//! frame   = length:u32  crc:u32  body          length counts the body
//! meta    = 0x00  vetcdpb.BackendMeta
//! record  = 0x01 name:17 bytes  KeyValue       a version, in revision order
//!         | 0x02 name:18 bytes  KeyValue       a tombstone; names and values as in the backend
//! lease   = 0x03 LeaseRecord                   all leases, between meta and the records
//! end     = 0xff  records:u64
//! ```
//!
//! A frame's `crc` is the CRC-32C of everything before the body and of the body: of the stream so
//! far. So a frame that is damaged, lost, doubled or out of place shows at once, with its offset,
//! and a stream that just stops shows by its missing end. Nothing is allocated on the word of a
//! length: the decoder holds what it was given of one frame, and the records read.

pub mod bolt;
mod decode;
mod encode;
pub mod etcd_schema;
mod file;
#[cfg(test)]
mod tests;

pub use decode::Decoder;
pub use encode::Encoder;
pub use file::{FileError, SnapshotFile, file_name, list, parse_file_name, read_file, write_file};

const MAGIC: &[u8; 8] = b"vetcdsnp";
const VERSION: u32 = 1;
/// Magic and version.
const HEADER_BYTES: usize = 12;
/// A frame's length and checksum.
const FRAME_HEADER_BYTES: usize = 8;
/// The longest body: far above any request a server takes, far below what arithmetic bears.
const BODY_BYTES_MAX: usize = 1 << 30;

const KIND_META: u8 = 0x00;
const KIND_PUT: u8 = 0x01;
const KIND_TOMBSTONE: u8 = 0x02;
const KIND_LEASE: u8 = 0x03;
const KIND_END: u8 = 0xff;

/// A stream that is not a whole snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not a snapshot, or of a version this program does not know.
    #[error("not a snapshot this program can read: {0}")]
    Foreign(String),
    /// It was changed on the way.
    #[error("snapshot damaged at offset {offset}: {what}")]
    Damaged {
        /// Where the damaged frame starts, bytes from the start of the stream.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// It stops before its end.
    #[error("snapshot cut short at offset {offset}")]
    CutShort {
        /// The stream's length, bytes.
        offset: u64,
    },
}
