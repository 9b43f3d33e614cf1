//! What a watch saw: its request, and every response in the order of arrival.
//!
//! In the file of a history a watch is a line of its own, `{"watch":{…}}`, among those of the
//! operations. Bytes and times are written as everywhere else.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::display::{seconds, short};
use super::{KeyValue, Nanoseconds, is_false, is_zero, text};

/// One watch on one stream, from its request to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Watch {
    /// Distinct among the watches of the history.
    pub id: u64,
    /// The client that watches.
    pub client: u32,
    /// The member that serves it, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<u32>,
    /// The watch that this one goes on from, on another stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumes: Option<u64>,
    /// When the request left the client.
    pub opened: Nanoseconds,
    /// When the client asked for its cancellation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Nanoseconds>,
    /// The key, or the first key of the range.
    #[serde(with = "text")]
    pub key: Bytes,
    /// As in [`super::Range::range_end`].
    #[serde(with = "text", skip_serializing_if = "Bytes::is_empty")]
    pub range_end: Bytes,
    /// The first revision to show; 0 for what comes after the creation.
    pub start: i64,
    /// Puts are not asked for.
    #[serde(skip_serializing_if = "is_false")]
    pub no_put: bool,
    /// Deletions are not asked for.
    #[serde(skip_serializing_if = "is_false")]
    pub no_delete: bool,
    /// What a key held before is asked for.
    #[serde(skip_serializing_if = "is_false")]
    pub prev_kv: bool,
    /// Large responses may be split.
    #[serde(skip_serializing_if = "is_false")]
    pub fragment: bool,
    /// What came back.
    pub responses: Vec<WatchResponse>,
}

/// One response to a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchResponse {
    /// When it reached the client.
    pub at: Nanoseconds,
    /// The revision in its header.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: i64,
    /// What it says.
    #[serde(flatten)]
    pub news: News,
}

/// What a response to a watch says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// The watch is there.
    Created,
    /// Something was written.
    Events {
        /// In order.
        events: Vec<WatchEvent>,
        /// Whether the rest follows in the next response.
        #[serde(default, skip_serializing_if = "is_false")]
        more: bool,
    },
    /// Everything up to the header's revision has been shown.
    Progress,
    /// The server gave the watch up.
    Cancelled {
        /// The revision up to which the past is forgotten; 0 when that is not the reason.
        compacted: i64,
        /// The server's words.
        reason: String,
    },
    /// The stream ended, and how.
    Ended(String),
}

/// One change of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchEvent {
    /// Whether the key was removed.
    #[serde(skip_serializing_if = "is_false")]
    pub deleted: bool,
    /// What the key holds now; of a removed one, the key and the revision alone.
    pub kv: KeyValue,
    /// What it held before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<KeyValue>,
}

impl WatchEvent {
    /// The revision of the change.
    pub fn revision(&self) -> i64 {
        self.kv.mod_revision
    }
}

impl Watch {
    /// Whether an event of this kind and key was asked for.
    pub fn wants(&self, key: &[u8], deleted: bool) -> bool {
        let start = &self.key[..];
        let inside = match &self.range_end[..] {
            [] => key == start,
            [0] => key >= start,
            end => key >= start && key < end,
        };
        inside && !(if deleted { self.no_delete } else { self.no_put })
    }

    /// Whether the server or the stream has ended it.
    pub fn is_over(&self) -> bool {
        self.cancelled.is_some()
            || self
                .responses
                .iter()
                .any(|r| matches!(r.news, News::Cancelled { .. } | News::Ended(_)))
    }

    /// Whether the watch makes sense by itself.
    ///
    /// # Errors
    /// Says what contradicts what.
    pub fn check(&self) -> Result<(), String> {
        let mut last = self.opened;
        for response in &self.responses {
            if response.at < last {
                return Err(format!("watch {} goes back in time", self.id));
            }
            last = response.at;
        }
        Ok(())
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watch {} of client {}", self.id, self.client)?;
        if let Some(member) = self.member {
            write!(f, " on member {member}")?;
        }
        let key = short(&self.key);
        match &self.range_end[..] {
            [] => write!(f, ": {key}")?,
            [0] => write!(f, ": [{key}, end)")?,
            _ => write!(f, ": [{key}, {})", short(&self.range_end))?,
        }
        match self.start {
            0 => write!(f, " from now on")?,
            start => write!(f, " from revision {start} on")?,
        }
        write!(f, ", opened at {}", seconds(self.opened))
    }
}

impl fmt::Display for WatchEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, revision) = (short(&self.kv.key), self.revision());
        match self.deleted {
            true => write!(f, "deletion of {key} at revision {revision}")?,
            false => {
                let value = short(&self.kv.value);
                write!(f, "put of {key} = {value} at revision {revision}")?;
            }
        }
        match &self.previous {
            Some(previous) => write!(f, ", before: {previous}"),
            None => Ok(()),
        }
    }
}
