//! Whether a watch is shown all that was written, and each revision whole.

use std::collections::BTreeSet;

use super::{Judge, Judged, instead, shown};
use crate::check::Record;
use crate::history::{WatchEvent, display_short as short};

impl Judge<'_> {
    /// A response that is complete, all its fragments together.
    pub(super) fn whole(&mut self, events: &[&WatchEvent]) -> Judged {
        let mut seen = BTreeSet::new();
        let mut last = self.shown;
        let mut first_in_response = true;
        for event in events {
            let revision = event.revision();
            self.about = vec![revision];
            if last.is_some_and(|last| revision < last) {
                let what = format!("the {event} follows revision {}", last.unwrap_or_default());
                return Err(self.wrong("ordered", what));
            }
            if !seen.insert((revision, event.kv.key.clone())) {
                return Err(self.wrong("unique", format!("the {event} comes twice")));
            }
            if first_in_response && last == Some(revision) {
                let what = format!("the {event} comes apart from the rest of its revision");
                return Err(self.wrong("atomic", what));
            }
            first_in_response = false;
            last = Some(revision);
        }
        let mut from = 0;
        while from < events.len() {
            let revision = events[from].revision();
            let same = events[from..]
                .iter()
                .take_while(|e| e.revision() == revision);
            let upto = from + same.count();
            self.nothing_left_out(revision - 1)?;
            self.revision(revision, &events[from..upto])?;
            self.passed = Some(revision);
            from = upto;
        }
        self.shown = last;
        Ok(())
    }

    /// That no revision from where the watch stands up to `upto` had anything for it.
    pub(super) fn nothing_left_out(&mut self, upto: i64) -> Judged {
        let (Some(evidence), Some(passed)) = (self.evidence, self.passed) else {
            return Ok(());
        };
        if passed >= upto {
            return Ok(());
        }
        let skipped = evidence.revisions.range(passed + 1..=upto);
        for (revision, changes) in skipped {
            let mut wanted = changes.records.iter().filter(|record| self.wants(record));
            if let Some(record) = wanted.next() {
                let name = match self.shown {
                    None => "resumable",
                    Some(_) => "reliable",
                };
                let key = short(&record.key);
                let what = format!(
                    "revision {revision} changed {key} and is not shown, though the watch has \
                     passed it, to {upto} or beyond"
                );
                let expected = format!("{} at revision {revision}", shown(record));
                self.about = vec![*revision];
                let told = self.wrong(name, what);
                return Err(instead(told, expected, "nothing between".to_owned()));
            }
        }
        Ok(())
    }

    fn wants(&self, record: &Record) -> bool {
        self.watch.wants(&record.key, record.value.is_none())
    }

    /// That the events of one revision are those that were written.
    fn revision(&mut self, revision: i64, events: &[&WatchEvent]) -> Judged {
        let Some(evidence) = self.evidence else {
            return Ok(());
        };
        self.about = vec![revision];
        self.statistics.revisions += 1;
        let Some(changes) = evidence.revisions.get(&revision).filter(|c| c.complete) else {
            self.statistics.revisions_not_checked += 1;
            return Ok(());
        };
        let mut expected: Vec<Record> = changes.records.clone();
        expected.retain(|record| self.wants(record));
        let found = events.iter().map(|event| Record {
            key: event.kv.key.clone(),
            value: (!event.deleted).then(|| event.kv.value.clone()),
        });
        let mut found: Vec<Record> = found.collect();
        if !changes.ordered {
            expected.sort();
            found.sort();
        }
        if expected == found {
            return events
                .iter()
                .try_for_each(|event| self.version(&event.kv, event));
        }
        let missing = expected.iter().any(|record| !found.contains(record));
        let foreign = found.iter().any(|record| !expected.contains(record));
        let (name, what) = match (missing, foreign) {
            (true, false) => ("reliable", "only a part of its changes"),
            (false, false) => ("ordered", "its changes in another order"),
            _ => ("true", "what was not written"),
        };
        let told = self.wrong(name, format!("revision {revision} is shown with {what}"));
        let list = |records: &[Record]| {
            let texts: Vec<String> = records.iter().map(shown).collect();
            texts.join("; ")
        };
        Err(instead(told, list(&expected), list(&found)))
    }
}
