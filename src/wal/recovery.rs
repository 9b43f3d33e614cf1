//! Reads a whole log and judges it, by the rule in the [module's documentation](super).
//!
//! Reading changes nothing on disk; what is to be cut is only described ([`Cut`]) and left to
//! [`super::Log::open`].

use std::path::{Path, PathBuf};

use prost::Message;

use super::error::Error;
use super::format::{FORMAT, HardStateRecord, Header, Kind, MarkRecord, SegmentHead, Tail};
use super::reader::{Flaw, Left, SegmentReader};
use super::segment::{self, SegmentName};
use super::state::State;
use super::{Metadata, Position, Recovered, TornTail};
use crate::api::proto::vetcdpb;
use crate::host::{Disk, OpenMode};

/// Everything a reading of the log found.
#[derive(Debug)]
pub(super) struct Found {
    pub metadata: Metadata,
    pub state: State,
    /// The entries after the mark.
    pub entries: Vec<vetcdpb::Entry>,
    /// The segments that count, oldest first; at least one.
    pub segments: Vec<FoundSegment>,
    /// The last record's checksum and kind.
    pub chain: u32,
    pub last_kind: Kind,
    /// Everything before this is proven to be durable.
    pub proven: Position,
    /// What may follow the last record.
    pub tail: Tail,
    pub cut: Option<Cut>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FoundSegment {
    pub name: SegmentName,
    /// The highest index of any entry in it, replaced ones included; 0 when it has none.
    pub highest_index: u64,
    /// The bytes of its records.
    pub length: u64,
}

/// The torn tail: what must go before the log may be written again.
#[derive(Debug)]
pub(super) struct Cut {
    pub torn: TornTail,
    /// The segments to remove, oldest first.
    pub remove: Vec<SegmentName>,
}

/// Reads the log in `dir` without changing it, as an offline tool would: [`Recovered::torn`] says
/// what an opening would cut.
///
/// # Errors
/// [`Error::Missing`], [`Error::Damaged`], [`Error::Format`], [`Error::Io`].
pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Recovered, Error> {
    Ok(recover(disk, dir)?.into_recovered().0)
}

impl Found {
    /// Splits off what the caller of [`super::Log::open`] wants to know.
    pub fn into_recovered(mut self) -> (Recovered, Found) {
        let recovered = Recovered {
            metadata: self.metadata,
            hard_state: self.state.hard_state(),
            snapshot: self.state.mark().cloned(),
            entries: std::mem::take(&mut self.entries),
            torn: self.cut.as_ref().map(|cut| cut.torn.clone()),
        };
        (recovered, self)
    }
}

/// Reads and judges the log in `dir`.
pub(super) fn recover(disk: &dyn Disk, dir: &Path) -> Result<Found, Error> {
    if !disk.exists(dir).map_err(Error::io("look for", dir))? {
        return Err(Error::Missing(dir.to_path_buf()));
    }
    let names = segment::list(disk, dir)?;
    let Some(first) = names.first() else {
        return Err(Error::Missing(dir.to_path_buf()));
    };
    let mut replay = Replay::new(disk, dir);
    let mut flaw = None;
    for (expected, name) in (first.segment..).zip(&names) {
        if name.segment != expected {
            flaw = Some(FlawAt {
                position: Position {
                    segment: expected,
                    offset: 0,
                },
                path: segment::unknown_path(dir, expected),
                flaw: Flaw::MissingSegment,
            });
            break;
        }
        flaw = replay.segment(*name)?;
        if let Some(at) = &flaw {
            let next = names.iter().find(|next| next.segment == expected + 1);
            if !replay.ends_in_spare_space(at, *name, next.copied())? {
                break;
            }
            flaw = None;
        }
    }
    let cut = match flaw {
        None => None,
        Some(flaw) => Some(replay.judge(flaw, &names)?),
    };
    replay.finish(cut)
}

/// The first position at which the log does not continue, and why.
struct FlawAt {
    position: Position,
    path: PathBuf,
    flaw: Flaw,
}

/// The log so far, while it is read from its oldest record on.
struct Replay<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    metadata: Option<Metadata>,
    state: State,
    entries: Vec<vetcdpb::Entry>,
    segments: Vec<FoundSegment>,
    chain: u32,
    last_kind: Kind,
    proven: Position,
    /// What may follow the last record of the segment that is being read.
    tail: Tail,
}

impl<'a> Replay<'a> {
    fn new(disk: &'a dyn Disk, dir: &'a Path) -> Replay<'a> {
        Replay {
            disk,
            dir,
            metadata: None,
            state: State::default(),
            entries: Vec::new(),
            segments: Vec::new(),
            chain: 0,
            last_kind: Kind::SegmentHead,
            proven: Position::default(),
            tail: Tail::Nothing,
        }
    }

    fn reader(&self, name: SegmentName) -> Result<SegmentReader, Error> {
        let path = name.path(self.dir);
        self.disk
            .open(&path, OpenMode::Read)
            .and_then(|file| SegmentReader::new(file, name.segment))
            .map_err(Error::io("open", &path))
    }

    /// Reads one segment up to its end or its first flaw.
    fn segment(&mut self, name: SegmentName) -> Result<Option<FlawAt>, Error> {
        let path = name.path(self.dir);
        let mut reader = self.reader(name)?;
        let flaw_at = |offset, flaw| {
            let segment = name.segment;
            Ok(Some(FlawAt {
                position: Position { segment, offset },
                path: path.clone(),
                flaw,
            }))
        };
        if reader.length() == 0 {
            return flaw_at(0, Flaw::EmptySegment);
        }
        let mut offset = 0;
        while offset < reader.length() {
            let record = reader.record(offset).map_err(Error::io("read", &path))?;
            let (header, payload) = match record {
                Ok(record) => record,
                Err(flaw) => return flaw_at(offset, flaw),
            };
            if header.previous != self.chain && self.metadata.is_some() {
                return match self.segments.last() {
                    // The new segment is fine; it is the one before that lost its end.
                    Some(before) if offset == 0 => Ok(Some(FlawAt {
                        position: Position {
                            segment: before.name.segment,
                            offset: before.length,
                        },
                        path: before.name.path(self.dir),
                        flaw: Flaw::BrokenChain,
                    })),
                    _ => flaw_at(offset, Flaw::BrokenChain),
                };
            }
            let next = offset + (super::format::HEADER_BYTES + header.padded_bytes()) as u64;
            self.apply(name, &path, &header, payload)
                .map_err(|problem| problem.into_error(&path, offset, self.state.last_index()))?;
            self.claim(name.segment, header.synced);
            self.chain = header.checksum;
            self.last_kind = header.kind;
            offset = next;
            if let Some(segment) = self.segments.last_mut() {
                segment.length = offset;
            }
        }
        Ok(None)
    }

    fn claim(&mut self, segment: u64, offset: u64) {
        if offset > 0 {
            self.proven = self.proven.max(Position { segment, offset });
        }
    }

    /// Takes in a record that is whole and in its place.
    fn apply(
        &mut self,
        name: SegmentName,
        path: &Path,
        header: &Header,
        payload: &[u8],
    ) -> Result<(), Problem> {
        let begun = self.segments.last().is_some_and(|begun| begun.name == name);
        if begun == (header.kind == Kind::SegmentHead) {
            return Err("a segment head where none belongs, or none where one does".into());
        }
        match header.kind {
            Kind::SegmentHead => {
                let head = SegmentHead::decode(payload)?;
                self.head(name, path, head)?;
            }
            Kind::HardState => {
                let record = HardStateRecord::decode(payload)?;
                self.state.set_hard_state(record.into())?;
            }
            Kind::Entry => self.entry(vetcdpb::Entry::decode(payload)?)?,
            Kind::SnapshotMark => {
                let record = MarkRecord::decode(payload)?;
                let last_index = record.last_index;
                self.state.set_mark(record.into(), last_index)?;
                let kept = self.entries.partition_point(|e| e.index <= last_index);
                self.entries.truncate(kept);
                let mark_index = self.state.mark_index();
                let covered = self.entries.partition_point(|e| e.index <= mark_index);
                self.entries.drain(..covered);
            }
            Kind::Synced => {}
        }
        Ok(())
    }

    fn head(&mut self, name: SegmentName, path: &Path, head: SegmentHead) -> Result<(), Problem> {
        if head.format != FORMAT {
            return Err(Problem::Format(Error::Format {
                file: path.to_path_buf(),
                found: head.format,
                known: FORMAT,
            }));
        }
        if head.segment != name.segment || head.first_index != name.first_index {
            return Err("the head speaks of another segment than the file's name".into());
        }
        let hard_state = head.hard_state.clone().into();
        match self.metadata {
            None => {
                let mark = head.mark.clone().map(Into::into);
                self.metadata = Some(head.metadata());
                self.state = State::resume(hard_state, mark, head.first_index)?;
            }
            Some(metadata) => {
                let agrees = metadata == head.metadata()
                    && head.first_index == self.state.last_index().saturating_add(1)
                    && hard_state == self.state.hard_state()
                    && head.mark.clone().map(Into::into).as_ref() == self.state.mark();
                if !agrees {
                    return Err("the head does not repeat the state of the log so far".into());
                }
            }
        }
        self.proven = self.proven.max(head.synced());
        self.tail = head.tail();
        self.segments.push(FoundSegment {
            name,
            highest_index: 0,
            length: 0,
        });
        Ok(())
    }

    fn entry(&mut self, entry: vetcdpb::Entry) -> Result<(), Problem> {
        self.state.entry(&entry)?;
        let kept = self.entries.partition_point(|e| e.index < entry.index);
        self.entries.truncate(kept);
        if let Some(segment) = self.segments.last_mut() {
            segment.highest_index = segment.highest_index.max(entry.index);
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Whether the records of segment `name` simply end before `at`, and what follows in the file is
    /// space reserved for more. So it is when what follows is as the segment's head says, with no
    /// record of this segment in it, and the next segment, if there is one, continues from the last
    /// record before.
    fn ends_in_spare_space(
        &mut self,
        at: &FlawAt,
        name: SegmentName,
        next: Option<SegmentName>,
    ) -> Result<bool, Error> {
        let in_reach = at.position.segment == name.segment && at.position.offset > 0;
        if self.tail == Tail::Nothing
            || !in_reach
            || !matches!(at.flaw, Flaw::BadHeader | Flaw::EndInHeader)
        {
            return Ok(false);
        }
        let path = name.path(self.dir);
        let left = self.reader(name)?.left_from(at.position.offset);
        let spare = match left.map_err(Error::io("read", &path))? {
            Left::Nothing => true,
            Left::Unknown => self.tail == Tail::Leftovers,
            Left::Records => false,
        };
        if !spare {
            return Ok(false);
        }
        if let Some(next) = next {
            let path = next.path(self.dir);
            let mut reader = self.reader(next)?;
            let head = reader.record(0).map_err(Error::io("read", &path))?;
            return Ok(head.is_ok_and(|(header, _)| {
                header.kind == Kind::SegmentHead && header.previous == self.chain
            }));
        }
        Ok(true)
    }

    /// Decides whether `flaw` is where a torn tail begins, or damage.
    fn judge(&mut self, at: FlawAt, names: &[SegmentName]) -> Result<Cut, Error> {
        let mut cut_bytes = 0;
        for name in names
            .iter()
            .filter(|name| name.segment >= at.position.segment)
        {
            let path = name.path(self.dir);
            let mut reader = self.reader(*name)?;
            let mut from = 0;
            if name.segment == at.position.segment {
                from = at.position.offset;
            } else if let Ok((header, payload)) =
                reader.record(0).map_err(Error::io("read", &path))?
                && header.kind == Kind::SegmentHead
                && let Ok(head) = SegmentHead::decode(payload)
            {
                self.proven = self.proven.max(head.synced());
            }
            let claim = reader
                .synced_claim_after(from)
                .map_err(Error::io("read", &path))?;
            self.claim(name.segment, claim);
            cut_bytes += reader.length().saturating_sub(from);
        }
        // The segments that count were pushed when their heads were read; without one there is
        // nothing to go back to.
        if at.position < self.proven || self.segments.is_empty() {
            return Err(Error::Damaged {
                file: at.path,
                offset: at.position.offset,
                last_index: self.state.last_index(),
                reason: at.flaw.to_string(),
            });
        }
        let kept = |name: &SegmentName| {
            name.segment < at.position.segment
                || (name.segment == at.position.segment && at.position.offset > 0)
        };
        Ok(Cut {
            torn: TornTail {
                file: at.path,
                offset: at.position.offset,
                bytes: cut_bytes,
            },
            remove: names.iter().filter(|name| !kept(name)).copied().collect(),
        })
    }

    fn finish(self, cut: Option<Cut>) -> Result<Found, Error> {
        let (Some(first), Some(metadata)) = (self.segments.first(), self.metadata) else {
            return Err(Error::Missing(self.dir.to_path_buf()));
        };
        let wanted = self.state.mark_index().saturating_add(1);
        let found = self.entries.first().map(|entry| entry.index);
        let complete = match found {
            None => self.state.last_index() < wanted,
            Some(index) => index == wanted,
        };
        if !complete {
            let upto = found.unwrap_or(self.state.last_index().saturating_add(1)) - 1;
            return Err(Error::Damaged {
                file: first.name.path(self.dir),
                offset: 0,
                last_index: self.state.mark_index(),
                reason: format!("entries {wanted} to {upto}, in earlier segments, are missing"),
            });
        }
        Ok(Found {
            metadata,
            state: self.state,
            entries: self.entries,
            segments: self.segments,
            chain: self.chain,
            last_kind: self.last_kind,
            proven: self.proven,
            tail: self.tail,
            cut,
        })
    }
}

/// Why a record with a good checksum is not acceptable.
enum Problem {
    Nonsense(String),
    Format(Error),
}

impl Problem {
    fn into_error(self, file: &Path, offset: u64, last_index: u64) -> Error {
        match self {
            Problem::Format(error) => error,
            Problem::Nonsense(reason) => Error::Damaged {
                file: file.to_path_buf(),
                offset,
                last_index,
                reason,
            },
        }
    }
}

impl From<String> for Problem {
    fn from(reason: String) -> Problem {
        Problem::Nonsense(reason)
    }
}

impl From<&str> for Problem {
    fn from(reason: &str) -> Problem {
        Problem::Nonsense(reason.to_owned())
    }
}

impl From<prost::DecodeError> for Problem {
    fn from(error: prost::DecodeError) -> Problem {
        Problem::Nonsense(format!("the record cannot be decoded: {error}"))
    }
}
