//! `wal dump`: a log for people, one record a line.
//!
//! ```text
//! 0000000000000001-0000000000000001.wal @120 hard-state term=1 vote=0 commit=2 synced=64
//! ```

use std::path::Path;

use prost::Message;

use super::{Failure, Files, Streams, about, failed, wal_directory};
use crate::api::proto::vetcdpb::{ConfState, Entry, LogRequest, log_request::Request};
use crate::wal::dump::{Content, Record, dump};
use crate::wal::{self, SnapshotMark};

/// Longer keys and values are cut in the list, bytes.
const SHOWN_BYTES: usize = 60;

impl Files {
    pub(super) fn wal_dump(
        &self,
        directory: &Path,
        streams: &mut Streams<'_>,
    ) -> Result<(), Failure> {
        let disk = self.disk.as_ref();
        let directory = wal_directory(disk, directory);
        let mut broken = None;
        let out = &mut *streams.out;
        let mut records = 0_u64;
        let stop = dump(disk, &directory, &mut |record| {
            records += 1;
            broken = writeln!(out, "{}", line(&record)).err();
            broken.is_none()
        });
        if let Some(error) = broken {
            return Err(error.into());
        }
        let stop = stop.map_err(|error| match error {
            wal::Error::Missing(_) => failed(format!(
                "{} holds no log: give a member's data directory, or its --wal-dir",
                directory.display()
            )),
            error => about(&directory)(&error),
        })?;
        if let Some(stop) = stop {
            writeln!(
                streams.err,
                "{records} records, then at {} @{}: {}",
                stop.file.display(),
                stop.offset,
                stop.reason
            )?;
        }
        // Whether that is legal only the rule that opening follows can tell.
        match wal::read(disk, &directory) {
            Ok(recovered) => match recovered.torn {
                Some(torn) => writeln!(
                    streams.err,
                    "this is the torn end of a log, which a crash may leave: the member cuts off \
                     {} bytes at its next start and loses nothing that it had made durable",
                    torn.bytes
                )?,
                None => writeln!(streams.err, "{records} records, the log is whole")?,
            },
            Err(error) => {
                return Err(failed(format!(
                    "the member will not start from it: {error}"
                )));
            }
        }
        Ok(())
    }
}

fn line(record: &Record) -> String {
    let Record {
        file,
        offset,
        synced,
        content,
        ..
    } = record;
    let claim = match synced {
        0 => String::new(),
        synced => format!(" synced={synced}"),
    };
    format!("{file} @{offset} {}{claim}", describe(content))
}

fn describe(content: &Content) -> String {
    match content {
        Content::Head {
            format,
            segment,
            first_index,
            metadata,
            hard_state,
            mark,
        } => {
            let mark = mark.as_ref().map_or(String::new(), |mark| {
                format!(" mark={}@{}", mark.index, mark.term)
            });
            format!(
                "segment format={format} segment={segment} first-index={first_index} \
                 cluster={:x} member={:x} term={} vote={:x} commit={}{mark}",
                metadata.cluster_id,
                metadata.member_id,
                hard_state.term,
                hard_state.vote,
                hard_state.commit
            )
        }
        Content::HardState(state) => format!(
            "hard-state term={} vote={:x} commit={}",
            state.term, state.vote, state.commit
        ),
        Content::Entry(entry) => format!(
            "entry index={} term={} {}",
            entry.index,
            entry.term,
            request(entry)
        ),
        Content::Mark(mark, last_index) => describe_mark(mark, *last_index),
        Content::Synced => "synced".to_owned(),
        Content::Garbled(error) => format!("garbled: {error}"),
    }
}

fn describe_mark(mark: &SnapshotMark, last_index: u64) -> String {
    let SnapshotMark {
        index,
        term,
        conf_state,
    } = mark;
    let ids = |ids: &[u64]| {
        let ids: Vec<String> = ids.iter().map(|id| format!("{id:x}")).collect();
        ids.join(",")
    };
    let ConfState {
        voters, learners, ..
    } = conf_state;
    format!(
        "mark index={index} term={term} last-index={last_index} voters={} learners={}",
        ids(voters),
        ids(learners)
    )
}

/// What an entry asks for, without its values.
fn request(entry: &Entry) -> String {
    match (entry.kind, entry.data.len()) {
        (0, 0) => return "nothing (a new leader's first)".to_owned(),
        (0, _) => {}
        (kind, bytes) => return format!("membership change of kind {kind}, {bytes} bytes"),
    }
    let Ok(logged) = LogRequest::decode(entry.data.clone()) else {
        return format!("{} bytes that are no request", entry.data.len());
    };
    let what = match logged.request {
        Some(Request::Put(put)) => format!(
            "put {} value={} bytes lease={:x}",
            text(&put.key),
            put.value.len(),
            put.lease
        ),
        Some(Request::DeleteRange(delete)) => {
            format!(
                "delete {} to {}",
                text(&delete.key),
                text(&delete.range_end)
            )
        }
        Some(Request::Txn(txn)) => format!(
            "txn of {} comparisons, {} operations then, {} else",
            txn.compare.len(),
            txn.success.len(),
            txn.failure.len()
        ),
        Some(Request::Compaction(compaction)) => format!("compaction {}", compaction.revision),
        Some(Request::MemberAttributes(attributes)) => format!(
            "attributes member={:x} name={} client-urls={}",
            attributes.member_id,
            attributes.name,
            attributes.client_urls.join(",")
        ),
        // By its name alone: what it carries may be secret.
        #[allow(unreachable_patterns, reason = "for requests that are yet to come")]
        Some(other) => {
            let debug = format!("{other:?}");
            debug.split('(').next().unwrap_or_default().to_owned()
        }
        None => "a request unknown to this version".to_owned(),
    };
    format!("by={:x} id={:x} {what}", logged.member_id, logged.id)
}

/// Bytes as text in one line, cut where it gets long.
fn text(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let more = if bytes.len() > SHOWN_BYTES { "…" } else { "" };
    format!("\"{}{more}\"", shown.escape_ascii())
}
