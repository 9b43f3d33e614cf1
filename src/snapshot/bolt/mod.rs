//! The file format of bbolt (boltdb), version 2, which etcd keeps its store in: a [`Reader`] that
//! takes nothing on trust and a [`Writer`] that streams.
//!
//! All numbers are little-endian. The file is an array of pages of one size, a power of two that
//! the meta pages name; we write 4096. A page, or a run of `overflow + 1` pages, starts with:
//!
//! | bytes | page header |
//! |---|---|
//! | 0..8 | the page's own number |
//! | 8..10 | kind: 1 branch, 2 leaf, 4 meta, 16 free list |
//! | 10..12 | number of elements |
//! | 12..16 | *overflow*: pages that follow and belong to this one |
//!
//! - **Meta**, pages 0 and 1: magic `ED0CDAED` (4 bytes), version 2 (4), page size (4), flags (4),
//!   the root bucket (its page, 8; its sequence, 8), the free list's page (8; all ones: not
//!   written), the number of pages in use (8), the transaction (8), FNV-64a over these 56 bytes (8).
//!   Of two valid ones the higher transaction counts.
//! - **Branch**: elements of 16 bytes (position 4, key length 4, child page 8), then the keys.
//! - **Leaf**: elements of 16 bytes (flags 4, position 4, key length 4, value length 4), then each
//!   key with its value. Flag 1: the value is a bucket. Positions count from their element's start.
//! - **Bucket**: root page (8), sequence (8). Root page 0: the bucket is *inline*, and a leaf page
//!   follows right there, without a number and without padding.
//! - **Free list**: page numbers of 8 bytes. 65 535 elements: the first number is their count.
//!
//! etcd uses one level of buckets: the root bucket holds buckets, those hold keys and values.

mod check;
mod page;
mod reader;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

pub use reader::{Bucket, Reader, Visit};
pub use writer::{Layout, WriteError, Writer};

use std::io;

/// The page size of the files we write, bytes.
pub const PAGE_BYTES: usize = 4096;
/// The longest name of an entry, bytes (bbolt's own limit).
pub const NAME_BYTES_MAX: usize = 32768;
/// The largest value, bytes. Far above any request a server takes; bbolt takes twice as much.
pub const VALUE_BYTES_MAX: usize = 1 << 30;

/// A file that is not a whole database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is not a database, or of a kind this program does not know.
    #[error("not an etcd database: {0}")]
    Foreign(String),
    /// It was cut short or changed.
    #[error("damaged at page {page} (offset {offset}): {what}")]
    Damaged {
        /// The page's number.
        page: u64,
        /// Where that page starts, bytes from the start of the file.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// Whoever was given the entries refused one.
    #[error("{0}")]
    Refused(String),
}
