//! Creating a log, and opening one: what the disk must be brought to before the first append.
//!
//! Neither returns before everything it speaks of is durable, whatever the sync policy: the log's
//! later claims of what is synced rest on that.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::error::Error;
use super::format::{FORMAT, Kind, MarkRecord, Place, SegmentHead, Tail, encode_record};
use super::log::{Active, Log, LogStats};
use super::recovery::{self, Found, FoundSegment};
use super::segment::{self, Durable, SegmentName};
use super::state::State;
use super::{Metadata, Options, Position, Recovered};
use crate::defects::Defects;
use crate::host::{Disk, File, OpenMode};

/// How much is read and written at once when the log's end is written again.
const COPY_BYTES: u64 = 1 << 20;
/// The first segment of a new log.
const FIRST: SegmentName = SegmentName {
    segment: 1,
    first_index: 1,
};

impl Log {
    /// Whether `dir` holds a log, be it a damaged one. What an interrupted [`Log::create`] leaves
    /// is none.
    pub fn exists(disk: &dyn Disk, dir: &Path) -> Result<bool, Error> {
        if !disk.exists(dir).map_err(Error::io("look for", dir))? {
            return Ok(false);
        }
        let names = disk.list_dir(dir).map_err(Error::io("list", dir))?;
        Ok(names.iter().any(|name| segment::is_segment(name)))
    }

    /// Creates a log in `dir`, which must be missing or empty; leftovers of an interrupted creation
    /// do not count. The log is durable when this returns, and so are all directories made for it.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::Io`].
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        metadata: Metadata,
        options: Options,
    ) -> Result<Log, Error> {
        segment::create_dir(&*disk, dir)?;
        let names = disk.list_dir(dir).map_err(Error::io("list", dir))?;
        if let Some(name) = names.iter().find(|name| !segment::is_leftover(name)) {
            return Err(Error::NotEmpty {
                dir: dir.to_path_buf(),
                name: name.clone(),
            });
        }
        segment::remove_leftovers(&*disk, dir)?;
        let state = State::default();
        let before = Position {
            segment: FIRST.segment,
            offset: 0,
        };
        let (active, chain) = begin_segment(
            &*disk,
            dir,
            metadata,
            &state,
            FIRST,
            before,
            0,
            Durable::Yes,
            tail(&options, None),
            None,
        )?;
        let synced = Position {
            segment: FIRST.segment,
            offset: active.length,
        };
        Ok(Log {
            disk,
            dir: dir.to_path_buf(),
            options,
            metadata,
            state,
            sealed: VecDeque::new(),
            active,
            chain,
            ends_in_synced: false,
            synced,
            spares: VecDeque::new(),
            never_sync: false,
            defects: Defects::default(),
            failed: None,
            stats: LogStats::default(),
            short: false,
            space: Arc::default(),
        })
    }

    /// Opens the log in `dir` and returns what it holds. A torn tail is cut. Everything returned is
    /// durable, even what an earlier process wrote and did not sync.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Damaged`] (nothing is changed on disk), [`Error::Format`],
    /// [`Error::Io`].
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
    ) -> Result<(Log, Recovered), Error> {
        let (recovered, found) = recovery::recover(&*disk, dir)?.into_recovered();
        segment::remove_leftovers(&*disk, dir)?;
        let mut sealed = VecDeque::from(found.segments.clone());
        let last = sealed
            .pop_back()
            .expect("recovery fails without a single segment");
        let file = make_durable(&*disk, dir, &found, last)?;
        let allocated = file
            .len()
            .map_err(Error::io("measure", &last.name.path(dir)))?;
        let active = Active {
            name: last.name,
            path: last.name.path(dir),
            file,
            length: last.length,
            allocated,
            tail: found.tail,
            head_bytes: 0,
            content: last.length,
            highest_index: last.highest_index,
            buffer: Vec::new(),
        };
        let mut log = Log {
            disk,
            dir: dir.to_path_buf(),
            options,
            metadata: found.metadata,
            state: found.state,
            sealed,
            chain: found.chain,
            ends_in_synced: found.last_kind == Kind::Synced,
            synced: Position {
                segment: last.name.segment,
                offset: last.length,
            },
            active,
            spares: VecDeque::new(),
            never_sync: false,
            defects: Defects::default(),
            failed: None,
            stats: LogStats::default(),
            short: false,
            space: Arc::default(),
        };
        log.mark_synced()?;
        Ok((log, recovered))
    }
}

/// What may follow the last record of a new segment.
pub(super) fn tail(options: &Options, spare: Option<&Path>) -> Tail {
    match (spare, options.allocate_bytes) {
        (Some(spare), _) if spare.ends_with(segment::NEXT) => Tail::Zeros,
        (Some(_), _) => Tail::Leftovers,
        (None, 0) => Tail::Nothing,
        (None, _) => Tail::Zeros,
    }
}

/// Makes the segment `name` with its head, which claims that everything before `synced` is durable.
#[allow(
    clippy::too_many_arguments,
    reason = "every part of the head, from two callers"
)]
pub(super) fn begin_segment(
    disk: &dyn Disk,
    dir: &Path,
    metadata: Metadata,
    state: &State,
    name: SegmentName,
    synced: Position,
    previous: u32,
    durable: Durable,
    tail: Tail,
    spare: Option<&Path>,
) -> Result<(Active, u32), Error> {
    let head = SegmentHead {
        format: FORMAT,
        segment: name.segment,
        first_index: name.first_index,
        cluster_id: metadata.cluster_id,
        member_id: metadata.member_id,
        hard_state: state.hard_state().into(),
        mark: state.mark().map(|mark| MarkRecord::new(mark, 0)),
        synced_segment: synced.segment,
        synced_offset: synced.offset,
        tail: tail.into(),
    };
    let place = Place {
        segment: name.segment,
        offset: 0,
        synced: 0,
        previous,
    };
    let mut buffer = Vec::new();
    let checksum = encode_record(&mut buffer, place, Kind::SegmentHead, &head)
        .ok_or_else(|| Error::Invalid("the configuration is too large".to_owned()))?;
    let file = segment::create(disk, dir, name, &buffer, durable, spare)?;
    let length = buffer.len() as u64;
    let allocated = match spare {
        Some(_) => file.len().map_err(Error::io("measure", &name.path(dir)))?,
        None => length,
    };
    let active = Active {
        name,
        path: name.path(dir),
        file,
        length,
        allocated,
        tail,
        head_bytes: length,
        content: length,
        highest_index: 0,
        buffer: Vec::new(),
    };
    Ok((active, checksum))
}

/// Writes what is in `file` between two offsets to where it is already.
///
/// An earlier process may have stopped because a sync failed. The kernel then took the pages for
/// clean: they can be read, are not on the disk, and no later sync writes them, unless they are
/// written to.
fn write_again(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
    let mut buffer = vec![0; (to.saturating_sub(from)).min(COPY_BYTES) as usize];
    let mut offset = from;
    while offset < to {
        let wanted = (to - offset).min(COPY_BYTES) as usize;
        let read = file.read_at(offset, &mut buffer[..wanted])?;
        if read < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_at(offset, &buffer[..wanted])?;
        offset += wanted as u64;
    }
    Ok(())
}

/// Cuts the torn tail and syncs whatever is not proven to be durable, so that from here on
/// everything recovered is. Returns the last segment's file.
fn make_durable(
    disk: &dyn Disk,
    dir: &Path,
    found: &Found,
    last: FoundSegment,
) -> Result<Arc<dyn File>, Error> {
    let removed = found.cut.iter().flat_map(|cut| &cut.remove).rev();
    for name in removed {
        let path = name.path(dir);
        disk.remove_file(&path)
            .map_err(Error::io("remove", &path))?;
    }
    let path = last.name.path(dir);
    let mut file = None;
    for segment in &found.segments {
        let is_last = segment.name == last.name;
        if segment.name.segment < found.proven.segment && !is_last {
            continue;
        }
        let path = segment.name.path(dir);
        let open = disk
            .open(&path, OpenMode::ReadWrite)
            .map_err(Error::io("open", &path))?;
        // Records past the cut must never be read again: later ones may be written over a part of
        // them, and the rest would follow. Reserved space holds none, and stays.
        if is_last && found.cut.is_some() {
            open.set_len(segment.length)
                .map_err(Error::io("cut", &path))?;
        }
        let from = match segment.name.segment == found.proven.segment {
            true => found.proven.offset,
            false => 0,
        };
        write_again(&*open, from, segment.length).map_err(Error::io("write", &path))?;
        open.sync_data().map_err(Error::io("sync", &path))?;
        if is_last {
            file = Some(open);
        }
    }
    disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    file.ok_or(Error::Missing(path))
}
