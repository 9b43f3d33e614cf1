//! What may have filled a gap.

use std::collections::BTreeSet;

use super::{Candidates, Filler, Replay};
use crate::check::Record;
use crate::check::store::{apply, expire};
use crate::check::strict_serializability::accounts::Accounts;

impl Replay<'_, '_> {
    /// Whatever may have written the current revision.
    pub(super) fn candidates(&mut self) -> Candidates {
        let revision = self.now.revision;
        let deadline = self.order.deadline(revision);
        if let Some(classes) = self.gaps.by_evidence(revision) {
            return self.candidates_by_evidence(classes, deadline);
        }
        let accounts = Accounts::new(self.plan, &self.now.keys, revision);
        let mut fillers = self.candidates_by_state(deadline, Some(&accounts));
        if fillers.is_empty() {
            // Going on shows which answer refutes them all.
            fillers = self.candidates_by_state(deadline, None);
        }
        let fixed = false;
        Candidates { fillers, fixed }
    }

    /// The candidates where a put of a known value was seen.
    fn candidates_by_evidence(&mut self, classes: &[usize], deadline: u64) -> Candidates {
        let revision = self.now.revision;
        let gaps = self.gaps;
        let mut fixed = true;
        let mut found: Vec<(usize, Vec<usize>, Vec<Record>)> = Vec::new();
        for number in classes {
            let class = &gaps.classes[*number];
            if !gaps.may_fill(*number, revision, deadline) {
                continue;
            }
            fixed &= gaps.shapes[class.shape].puts.is_some();
            if !gaps.is_open(class.shape, &self.now.keys) {
                continue;
            }
            self.steps += 1;
            let mut keys = self.now.keys.clone();
            let Some(records) = apply(&mut keys, &class.request, revision - 1) else {
                continue;
            };
            let evidence = gaps.evidence(revision);
            if evidence.is_some_and(|evidence| !evidence.allows(&records)) {
                continue;
            }
            match found.iter_mut().find(|(shape, ..)| *shape == class.shape) {
                Some((_, classes, _)) => classes.push(*number),
                None => found.push((class.shape, vec![*number], records)),
            }
        }
        if found.len() > 1 {
            let accounts = Accounts::new(self.plan, &self.now.keys, revision);
            let refuted = |found: &(usize, Vec<usize>, Vec<Record>)| accounts.refute(&found.2);
            let count = found.len();
            if !found.iter().all(refuted) {
                found.retain(|found| !refuted(found));
            }
            fixed &= found.len() == count;
        }
        let fillers = found
            .into_iter()
            .map(|(shape, classes, _)| Filler::Shape(shape, classes))
            .collect();
        Candidates { fillers, fixed }
    }

    /// The candidates where nothing or little is known of the gap.
    fn candidates_by_state(
        &mut self,
        deadline: u64,
        accounts: Option<&Accounts<'_>>,
    ) -> Vec<Filler> {
        let revision = self.now.revision;
        let gaps = self.gaps;
        let evidence = gaps.evidence(revision);
        let allowed = |records: &[Record]| {
            evidence.is_none_or(|evidence| evidence.allows(records))
                && accounts.is_none_or(|accounts| !accounts.refute(records))
        };
        let mut found = Vec::new();
        for number in gaps.shapes_in(&self.now.keys) {
            let shape = &gaps.shapes[number];
            let puts = shape.puts.as_deref();
            if let (Some(puts), Some(accounts)) = (puts, accounts)
                && accounts.refute_puts(puts)
            {
                continue;
            }
            let able = |class: &&usize| gaps.may_fill(**class, revision, deadline);
            if !shape.classes.iter().any(|class| able(&class)) {
                continue;
            }
            self.steps += 1;
            let mut keys = self.now.keys.clone();
            if apply(&mut keys, &shape.request, revision - 1).is_some_and(|r| allowed(&r)) {
                let classes = shape.classes.iter().filter(able).copied().collect();
                found.push(Filler::Shape(number, classes));
            }
        }
        if self.plan.leases {
            let leases: BTreeSet<i64> = self.now.keys.values().map(|entry| entry.lease).collect();
            for lease in leases.into_iter().filter(|lease| *lease != 0) {
                self.steps += 1;
                if allowed(&expire(&mut self.now.keys.clone(), lease)) {
                    found.push(Filler::Expiry(lease));
                }
            }
        }
        found
    }
}
