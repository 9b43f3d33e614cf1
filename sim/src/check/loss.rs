//! Loss: an acknowledged write is in the final store, unless the durability setting allows that a
//! power loss takes it.
//!
//! Every acknowledged write names its revision, and the final store says what it holds at that
//! revision ([`KnownOrder`]): the write is present when its changes are there, lost when others
//! are, or none. A lost write is blamed on the first power loss after it was invoked and last seen;
//! that choice gives it the least age, so nothing is called a violation that may be none.
//!
//! **Not judged**, and counted as such: writes at revisions that the final store has compacted,
//! where nothing remains that would tell.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::known_order::Known;
use super::{Counterexample, KnownOrder, Record, Verdict};
use crate::history::{
    Body, Delete, DeleteBody, History, Nanoseconds, Operation, Request, display_seconds,
};

const GUARANTEE: &str = "no lost writes";

/// The most lost writes that a counterexample shows.
const SHOWN_MAX: usize = 3;

/// Power failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerLoss {
    /// When.
    pub at: Nanoseconds,
    /// Which members lost power.
    pub members: Vec<u32>,
}

/// What a durability setting promises about acknowledged writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// None is ever lost.
    #[default]
    NeverLost,
    /// A power loss may take any number.
    LostAfterPowerLoss,
    /// A power loss may take those acknowledged within this time before it.
    LostWithin(Nanoseconds),
}

/// An acknowledged write that is not in the final store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LostWrite {
    /// The operation.
    pub id: u64,
    /// The revision it was told it wrote.
    pub revision: i64,
    /// When it was acknowledged.
    pub acknowledged: Nanoseconds,
    /// The power loss that took it, if there was any to blame.
    pub power_loss: Option<Nanoseconds>,
    /// How long before the power loss it was acknowledged; 0 when it was still on its way.
    pub age: Nanoseconds,
}

/// What became of the acknowledged writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Acknowledged writes.
    pub acknowledged: u64,
    /// Those that are in the final store.
    pub present: u64,
    /// Those at compacted revisions of which nothing can be said.
    pub not_checked: u64,
    /// Those that are lost, as the promise allows; by revision.
    pub lost: Vec<LostWrite>,
    /// The greatest age of a lost write.
    pub worst_age: Nanoseconds,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} acknowledged writes present",
            self.present, self.acknowledged
        )?;
        if !self.lost.is_empty() {
            let worst = display_seconds(self.worst_age);
            write!(
                f,
                ", {} lost as expected, {worst} old at most",
                self.lost.len()
            )?;
        }
        write!(
            f,
            "; not checked: {} at compacted revisions",
            self.not_checked
        )
    }
}

/// Judges the acknowledged writes of a history.
pub fn check(
    history: &History,
    known: &KnownOrder,
    power_losses: &[PowerLoss],
    promise: Promise,
) -> Verdict<Report> {
    let report = survey(history, known, power_losses);
    let broken: Vec<&LostWrite> = report
        .lost
        .iter()
        .filter(|lost| !promise.allows(lost))
        .collect();
    if broken.is_empty() {
        let decided = report.present + report.lost.len() as u64;
        if report.acknowledged > 0 && decided == 0 {
            return Verdict::Undetermined(format!(
                "the final store has forgotten all of what {} acknowledged writes wrote",
                report.acknowledged
            ));
        }
        return Verdict::Ok(report);
    }
    let summary = format!("{} acknowledged writes are lost", broken.len());
    let mut counterexample = Counterexample::new(GUARANTEE, summary);
    for lost in broken.into_iter().take(SHOWN_MAX) {
        let operation = history
            .operations
            .iter()
            .find(|operation| operation.id == lost.id);
        counterexample = operation
            .into_iter()
            .fold(counterexample, Counterexample::with);
        counterexample = counterexample
            .because(where_it_should_be(lost, known))
            .because(blame(lost, power_losses, promise));
    }
    counterexample.into()
}

impl Promise {
    /// Whether losing this write is within the promise.
    pub(super) fn allows(self, lost: &LostWrite) -> bool {
        match self {
            Promise::NeverLost => false,
            Promise::LostAfterPowerLoss => lost.power_loss.is_some(),
            Promise::LostWithin(window) => lost.power_loss.is_some() && lost.age <= window,
        }
    }
}

fn where_it_should_be(lost: &LostWrite, known: &KnownOrder) -> String {
    let LostWrite { id, revision, .. } = lost;
    match known.at(*revision) {
        Known::Absent => format!(
            "operation {id} wrote revision {revision}, but the final store ends at {}",
            known.revision
        ),
        Known::All(records) | Known::Some(records) => {
            let records: Vec<String> = records.iter().map(ToString::to_string).collect();
            format!(
                "operation {id} wrote revision {revision}, but there the final store holds {}",
                if records.is_empty() {
                    "nothing".to_owned()
                } else {
                    records.join(", ")
                }
            )
        }
    }
}

fn blame(lost: &LostWrite, power_losses: &[PowerLoss], promise: Promise) -> String {
    let LostWrite {
        id, acknowledged, ..
    } = lost;
    let acknowledged = display_seconds(*acknowledged);
    let Some(at) = lost.power_loss else {
        return format!(
            "no power was lost after operation {id} was acknowledged at {acknowledged}"
        );
    };
    let members = power_losses
        .iter()
        .find(|loss| loss.at == at)
        .map_or(&[][..], |l| &l.members);
    let allowed = match promise {
        Promise::LostWithin(window) => format!("only {} are allowed", display_seconds(window)),
        _ => "none may be lost".to_owned(),
    };
    format!(
        "operation {id} was acknowledged at {acknowledged}, {} before members {members:?} lost power \
         at {}; {allowed}",
        display_seconds(lost.age),
        display_seconds(at)
    )
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = crate::history::display_short(&self.key);
        match &self.value {
            Some(value) => write!(f, "{key} = {}", crate::history::display_short(value)),
            None => write!(f, "{key} removed"),
        }
    }
}

/// Finds out what became of every acknowledged write.
pub(super) fn survey(history: &History, known: &KnownOrder, power_losses: &[PowerLoss]) -> Report {
    let mut report = Report::default();
    let mut lost: Vec<&Operation> = Vec::new();
    // A revision has one writer: of several that match, one is there, and happened to write once
    // more what the others had lost. It is the one that outlived most power losses.
    let rank = |operation: &Operation| {
        let count = |survived: &dyn Fn(Nanoseconds) -> bool| {
            power_losses.iter().filter(|loss| survived(loss.at)).count()
        };
        let returned = operation.returned.unwrap_or(Nanoseconds::MAX);
        (
            count(&|at| at <= operation.invoked),
            count(&|at| at < returned),
        )
    };
    let mut present: BTreeMap<i64, &Operation> = BTreeMap::new();
    for operation in acknowledged(history) {
        report.acknowledged += 1;
        match (fate(operation, known), operation.response()) {
            (Fate::Present, Some(response)) => match present.entry(response.revision) {
                Entry::Vacant(slot) => _ = slot.insert(operation),
                Entry::Occupied(mut slot) if rank(slot.get()) < rank(operation) => {
                    lost.push(slot.insert(operation));
                }
                Entry::Occupied(_) => lost.push(operation),
            },
            (Fate::Lost, _) => lost.push(operation),
            (Fate::NotChecked | Fate::Present, _) => report.not_checked += 1,
        }
    }
    report.present = present.len() as u64;
    let sightings = sightings(history, known, &lost);
    let mut times: Vec<Nanoseconds> = power_losses.iter().map(|loss| loss.at).collect();
    times.sort_unstable();
    for operation in lost {
        let revision = operation.response().map_or(0, |response| response.revision);
        let acknowledged = operation.returned.unwrap_or(operation.invoked);
        let seen = sightings
            .get(&operation.id)
            .copied()
            .unwrap_or(0)
            .max(operation.invoked);
        let power_loss = times.iter().copied().find(|at| *at >= seen);
        let age = power_loss.map_or(0, |at| at.saturating_sub(acknowledged));
        report.worst_age = report.worst_age.max(age);
        report.lost.push(LostWrite {
            id: operation.id,
            revision,
            acknowledged,
            power_loss,
            age,
        });
    }
    report.lost.sort_by_key(|lost| (lost.revision, lost.id));
    report
}

fn acknowledged(history: &History) -> impl Iterator<Item = &Operation> {
    history
        .operations
        .iter()
        .filter(|o| o.response().is_some_and(|r| r.body.is_effect()))
}

/// What became of an acknowledged write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Present,
    Lost,
    NotChecked,
}

/// What an acknowledged write must have changed.
#[derive(Default)]
struct Changes<'a> {
    puts: BTreeMap<&'a Bytes, &'a Bytes>,
    deletes: Vec<(&'a Delete, &'a DeleteBody)>,
}

impl<'a> Changes<'a> {
    fn collect(&mut self, request: &'a Request, body: &'a Body) {
        match (request, body) {
            (Request::Put(put), _) => _ = self.puts.insert(&put.key, &put.value),
            (Request::Delete(delete), Body::Delete(body)) => self.deletes.push((delete, body)),
            (Request::Txn(txn), Body::Txn(body)) => {
                let requests = if body.succeeded {
                    &txn.then
                } else {
                    &txn.otherwise
                };
                for (request, body) in requests.iter().zip(&body.responses) {
                    self.collect(request, body);
                }
            }
            _ => {}
        }
    }

    /// Whether a record may be one of these changes.
    fn has(&self, record: &Record) -> bool {
        match &record.value {
            Some(value) => self.puts.get(&record.key) == Some(&value),
            None => self.deletes.iter().any(|(delete, body)| {
                covers(delete, &record.key)
                    && (!delete.prev_kv || body.previous.iter().any(|kv| kv.key == record.key))
            }),
        }
    }

    fn len(&self) -> i64 {
        let deleted: i64 = self.deletes.iter().map(|(_, body)| body.deleted).sum();
        deleted.saturating_add(i64::try_from(self.puts.len()).unwrap_or(i64::MAX))
    }
}

fn covers(delete: &Delete, key: &Bytes) -> bool {
    match &delete.range_end[..] {
        [] => *key == delete.key,
        [0] => *key >= delete.key,
        end => *key >= delete.key && &key[..] < end,
    }
}

pub(super) fn fate(operation: &Operation, known: &KnownOrder) -> Fate {
    let Some(response) = operation.response() else {
        return Fate::NotChecked;
    };
    let mut changes = Changes::default();
    changes.collect(&operation.request, &response.body);
    match known.at(response.revision) {
        Known::Absent => Fate::Lost,
        Known::All(records) => {
            let same = i64::try_from(records.len()) == Ok(changes.len());
            if same && records.iter().all(|record| changes.has(record)) {
                Fate::Present
            } else {
                Fate::Lost
            }
        }
        Known::Some([]) => Fate::NotChecked,
        Known::Some(records) if records.iter().all(|record| changes.has(record)) => Fate::Present,
        Known::Some(_) => Fate::Lost,
    }
}

/// Whether `other`, however it goes, may write a key as the acknowledged `operation` did.
pub(super) fn may_write_same(operation: &Operation, other: &Operation) -> bool {
    let Some(response) = operation.response() else {
        return false;
    };
    let mut changes = Changes::default();
    changes.collect(&operation.request, &response.body);
    fn any(request: &Request, changes: &Changes<'_>) -> bool {
        match request {
            Request::Put(put) => changes.puts.get(&put.key) == Some(&&put.value),
            Request::Delete(mine) => changes
                .deletes
                .iter()
                .any(|(theirs, _)| covers(mine, &theirs.key) || covers(theirs, &mine.key)),
            Request::Txn(txn) => txn
                .then
                .iter()
                .chain(&txn.otherwise)
                .any(|inner| any(inner, changes)),
            _ => false,
        }
    }
    any(&other.request, &changes)
}

/// For each lost write that was seen: the latest invocation of an operation that saw it.
fn sightings(
    history: &History,
    known: &KnownOrder,
    lost: &[&Operation],
) -> BTreeMap<u64, Nanoseconds> {
    let mut by_revision: BTreeMap<i64, Vec<(u64, Changes<'_>)>> = BTreeMap::new();
    for operation in lost {
        let Some(response) = operation.response() else {
            continue;
        };
        let mut changes = Changes::default();
        changes.collect(&operation.request, &response.body);
        by_revision
            .entry(response.revision)
            .or_default()
            .push((operation.id, changes));
    }
    let mut sightings = BTreeMap::new();
    if by_revision.is_empty() {
        return sightings;
    }
    for operation in &history.operations {
        let Some(response) = operation.response() else {
            continue;
        };
        response.body.for_each_key_value(&mut |kv| {
            let Some(lost) = by_revision.get(&kv.mod_revision) else {
                return;
            };
            // Whoever wrote that revision after the loss may have put the same there.
            if let Known::All(records) | Known::Some(records) = known.at(kv.mod_revision)
                && records.iter().any(|record| record.key == kv.key)
            {
                return;
            }
            for (id, changes) in lost {
                if changes.puts.get(&kv.key) == Some(&&kv.value) {
                    let latest: &mut Nanoseconds = sightings.entry(*id).or_default();
                    *latest = (*latest).max(operation.invoked);
                }
            }
        });
    }
    sightings
}
