//! Whether watches are shown the same for the same key and revision.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{GUARANTEE, Judged};
use crate::check::Counterexample;
use crate::history::{News, Watch, WatchEvent};

/// What has been shown for each key and revision, by epoch, and by which watch first.
#[derive(Default)]
pub(super) struct Agreement<'a> {
    shown: BTreeMap<(usize, i64, Bytes), (&'a Watch, &'a WatchEvent)>,
}

impl<'a> Agreement<'a> {
    /// Adds what a watch was shown within one epoch.
    pub(super) fn add(&mut self, watch: &'a Watch, epoch: usize) -> Judged {
        let events = watch.responses.iter().filter_map(|r| match &r.news {
            News::Events { events, .. } => Some(events),
            _ => None,
        });
        for event in events.flatten() {
            let place = (epoch, event.revision(), event.kv.key.clone());
            let (first, other) = *self.shown.entry(place).or_insert((watch, event));
            let both = event.previous.as_ref().zip(other.previous.as_ref());
            let same = event.deleted == other.deleted
                && event.kv == other.kv
                && both.is_none_or(|(one, another)| one == another);
            if !same {
                let summary = format!("agreement: the {event} is elsewhere the {other}");
                let counterexample = Counterexample::new(GUARANTEE, summary)
                    .with(first)
                    .with(watch)
                    .instead(other.kv.to_string(), event.kv.to_string());
                return Err(Box::new(counterexample));
            }
        }
        Ok(())
    }
}
