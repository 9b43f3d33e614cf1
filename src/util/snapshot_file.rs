//! A snapshot as a file: its checksum, and what is in it.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Failure, Files, about, failed};
use crate::host::File;
use crate::snapshot::bolt::Reader;
use crate::snapshot::etcd_schema::{self, Contents, Status};

const CHECKSUM_BYTES: u64 = 32;
/// Databases are made of pages of at least this many bytes; what is more is the checksum.
const SECTOR_BYTES: u64 = 512;
const READ_BYTES: usize = 1 << 20;

/// What to do about the checksum at a snapshot's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    /// There must be one, and it must fit.
    Required,
    /// Where there is one it must fit.
    IfThere,
    /// Do not look at it.
    Ignored,
}

impl Files {
    /// Checks a snapshot and sums it up. As etcdutl, it needs no checksum for that; but where there
    /// is one it must fit.
    pub(super) fn status(&self, path: &Path) -> Result<Status, Failure> {
        let file = self.open(path)?;
        check_checksum(path, &file, Checksum::IfThere)?;
        let reader = Reader::open(file).map_err(|error| unusable(path, &error))?;
        etcd_schema::status(&reader).map_err(|error| unusable(path, &error))
    }

    /// Reads a snapshot and checks all there is to check.
    pub(super) fn contents(&self, path: &Path, checksum: Checksum) -> Result<Contents, Failure> {
        let file = self.open(path)?;
        check_checksum(path, &file, checksum)?;
        let reader = Reader::open(file).map_err(|error| unusable(path, &error))?;
        reader.check().map_err(|error| unusable(path, &error))?;
        etcd_schema::read(&reader).map_err(|error| unusable(path, &error))
    }
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    failed(format!(
        "snapshot {}: {error}. Use another snapshot",
        path.display()
    ))
}

fn check_checksum(path: &Path, file: &Arc<dyn File>, checksum: Checksum) -> Result<(), Failure> {
    if checksum == Checksum::Ignored {
        return Ok(());
    }
    let length = file.len().map_err(|error| about(path)(&error))?;
    if length % SECTOR_BYTES != CHECKSUM_BYTES {
        if checksum == Checksum::IfThere {
            return Ok(());
        }
        return Err(failed(format!(
            "snapshot {} has no checksum at its end: it is cut short, or was copied from a data \
             directory. In the latter case give --skip-hash-check",
            path.display()
        )));
    }
    let content = length - CHECKSUM_BYTES;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    while offset < content {
        let wanted = buffer.len().min((content - offset) as usize);
        let read = read_exactly(path, file, offset, &mut buffer[..wanted])?;
        hash.update(read);
        offset += wanted as u64;
    }
    let mut expected = [0; CHECKSUM_BYTES as usize];
    read_exactly(path, file, content, &mut expected)?;
    let found: [u8; CHECKSUM_BYTES as usize] = hash.finalize().into();
    if found != expected {
        return Err(failed(format!(
            "snapshot {} is damaged: its SHA-256 is {}, but {} was saved with it. Use another \
             snapshot; --skip-hash-check restores what can be read, at your own risk",
            path.display(),
            hexadecimal(&found),
            hexadecimal(&expected)
        )));
    }
    Ok(())
}

fn read_exactly<'a>(
    path: &Path,
    file: &Arc<dyn File>,
    offset: u64,
    buffer: &'a mut [u8],
) -> Result<&'a [u8], Failure> {
    let read = file.read_at(offset, buffer);
    let read = read.map_err(|error| about(path)(&error))?;
    match read == buffer.len() {
        true => Ok(buffer),
        false => Err(about(path)(&"it became shorter while it was read")),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
