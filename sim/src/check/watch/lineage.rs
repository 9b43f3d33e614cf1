//! What an event tells of the past of its key: revisions, versions and the previous value.

use super::{Judge, Judged, instead, shown};
use crate::history::{KeyValue, WatchEvent, WatchResponse, display_short as short};

impl Judge<'_> {
    /// The revisions and versions inside an event, and its previous value.
    pub(super) fn lineage(&mut self, response: &WatchResponse, event: &WatchEvent) -> Judged {
        let (kv, revision) = (&event.kv, event.revision());
        let first = kv.create_revision == revision;
        let fits = match event.deleted {
            true => (kv.create_revision, kv.version, kv.value.len()) == (0, 0, 0),
            false => first == (kv.version == 1) && (1..=revision).contains(&kv.create_revision),
        };
        if !fits {
            let what = format!("the {event} has version {} of {kv}", kv.version);
            return Err(self.wrong("true", what));
        }
        let Some(previous) = &event.previous else {
            let has_one = event.deleted || !first;
            if self.watch.prev_kv && has_one && !self.writers.compacted(revision, response.at) {
                let what = format!("the {event} lacks it, and nothing was compacted");
                return Err(self.wrong("previous value", what));
            }
            return Ok(());
        };
        let continues = event.deleted
            || (previous.version + 1 == kv.version
                && previous.create_revision == kv.create_revision);
        if !self.watch.prev_kv
            || previous.key != kv.key
            || previous.mod_revision >= revision
            || !continues
        {
            let what = format!("the {event} cannot follow on it");
            return Err(self.wrong("previous value", what));
        }
        self.previous(event, previous)
    }

    /// Whether the evidence allows the create revision and the version of what a key holds.
    pub(super) fn version(&self, kv: &KeyValue, event: &WatchEvent) -> Judged {
        let lineage = self.evidence.map(|evidence| &evidence.lineage);
        let made = lineage.and_then(|made| made.get(&(kv.mod_revision, kv.key.clone())));
        match made {
            Some(made) if *made != (kv.create_revision, kv.version) => {
                let (create, version) = made;
                let what = format!(
                    "the {event} has version {} since revision {}, where it was version {version} \
                     since revision {create}",
                    kv.version, kv.create_revision
                );
                Err(self.wrong("true", what))
            }
            _ => Ok(()),
        }
    }

    /// Whether the evidence allows that the key held `previous` just before the event.
    fn previous(&self, event: &WatchEvent, previous: &KeyValue) -> Judged {
        let Some(evidence) = self.evidence else {
            return Ok(());
        };
        let key = &previous.key;
        let between = evidence
            .revisions
            .range(previous.mod_revision..event.revision());
        for (revision, changes) in between {
            let here = *revision == previous.mod_revision;
            let record = changes.records.iter().rfind(|record| record.key == *key);
            let fits = match record {
                Some(record) => here && record.value.as_ref() == Some(&previous.value),
                None => !(here && changes.complete),
            };
            if !fits {
                let what = format!("the {event} does not show what revision {revision} left");
                let told = self.wrong("previous value", what);
                let left = match record {
                    Some(record) => format!("{} at revision {revision}", shown(record)),
                    None => format!("no change of {} at revision {revision}", short(key)),
                };
                return Err(instead(told, left, previous.to_string()));
            }
        }
        self.version(previous, event)
    }
}
