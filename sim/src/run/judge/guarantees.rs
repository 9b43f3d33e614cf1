//! Every guarantee's judge, handed what it looks at.

use super::Checks;
use super::measure::nanos;
use crate::check::loss::{self, Promise};
use crate::check::{self, Evidence, Expected, Insides, Told, Verdict as Judgement};
use crate::check::{
    after_loss, convergence, damage, election, lease, liveness, lock, membership,
    serializable_reads, strict_serializability, watch,
};
use crate::history::{History, LeaseRequest, Request, display_seconds};
use crate::report::{CheckVerdict, LostWritesFound, Verdict};
use crate::scenario::LostWrites;

/// The name of the check that puts all operations in an order.
pub const ORDER: &str = "strict-serializability";
const READS: &str = "serializable-reads";

/// Whether acknowledged entries may have been lost by then.
fn permits_loss_before(evidence: &Evidence, at: u64) -> bool {
    let lost = evidence.power_losses.iter().any(|loss| loss.at <= at);
    lost && evidence.promise != Promise::NeverLost
}

/// Who is to blame for what a lying disk causes.
pub fn excuse(evidence: &Evidence) -> Option<String> {
    let names: Vec<String> = evidence.liars.iter().map(|n| format!("m{n}")).collect();
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("the disk of {one} lied about fsync")),
        many => Some(format!("the disks of {} lied about fsync", many.join(", "))),
    }
}

fn line(told: &Told) -> String {
    let who = match told.who.as_str() {
        "" => String::new(),
        who => format!(" {who}"),
    };
    format!("{}{who}: {}", display_seconds(told.at), told.text)
}

impl Checks {
    /// Judges all there is to judge.
    pub fn guarantees(
        &mut self,
        history: &History,
        evidence: &Evidence,
        lost_writes: &mut LostWritesFound,
    ) {
        let insides = evidence.insides.as_deref();
        if let Some(insides) = insides {
            self.panics(insides);
            self.members(insides);
            self.damage(insides);
            self.raft(insides, evidence);
        }
        self.answers(evidence);
        if insides.is_some() {
            self.lost_writes(history, evidence, lost_writes);
        }
        self.history(history, evidence);
        self.leases(history, evidence);
        self.watches(history, evidence);
        self.permissions(history, evidence);
        if let Some(insides) = insides {
            self.convergence(insides);
            self.membership(insides);
            let judgement = liveness::check(&insides.recovery);
            self.judged("liveness", Verdict::LivenessViolation, &judgement);
        }
    }

    fn panics(&mut self, insides: &Insides) {
        if let Some(first) = insides.panics.first() {
            let detail = insides.panics.iter().map(line).collect();
            let text = format!("{} panicked: {}", first.who, first.text);
            self.fail("no-panic", Verdict::ServerPanic, text, detail);
        }
    }

    fn members(&mut self, insides: &Insides) {
        const NAME: &str = "members-stay-up";
        let Some(first) = insides.ended.first() else {
            return self.say(NAME, CheckVerdict::Pass, "no member ended by itself");
        };
        let detail = insides.ended.iter().map(line).collect();
        let text = format!("{} ended by itself: {}", first.who, first.text);
        self.fail(NAME, Verdict::LivenessViolation, text, detail);
    }

    /// Says nothing of a run in which every disk was well.
    fn damage(&mut self, insides: &Insides) {
        if !insides.patients.is_empty() {
            let advice = vetcd::storage::REPLACE;
            let judgement = damage::check(&insides.patients, &insides.members, advice);
            self.judged("damage", Verdict::SafetyViolation, &judgement);
        }
    }

    fn raft(&mut self, insides: &Insides, evidence: &Evidence) {
        const NAME: &str = "raft-safety";
        match insides.breaches.first() {
            // A member that kept what its peers were allowed to lose applies it again before it
            // learns that the cluster has moved on. Clients never see it: reads wait.
            Some(first) if permits_loss_before(evidence, first.at) => {
                let count = insides.breaches.len();
                let text = format!(
                    "{count} seen after a loss that --wal-sync permits: {}",
                    first.text
                );
                self.say(NAME, CheckVerdict::Skipped, text);
            }
            None => self.say(
                NAME,
                CheckVerdict::Pass,
                "one leader a term, terms never go back, the same entries everywhere, each applied \
                 once",
            ),
            Some(first) => {
                let detail = insides.breaches.iter().map(line).collect();
                self.fail(NAME, Verdict::SafetyViolation, first.text.clone(), detail);
            }
        }
    }

    fn answers(&mut self, evidence: &Evidence) {
        if let Some(first) = evidence.misfits.first() {
            let detail = evidence.misfits.clone();
            self.fail(
                "answers-fit",
                Verdict::SafetyViolation,
                first.clone(),
                detail,
            );
        }
    }

    /// Every acknowledged write is still there, or its loss is allowed.
    fn lost_writes(&mut self, history: &History, evidence: &Evidence, found: &mut LostWritesFound) {
        const NAME: &str = "no-lost-writes";
        let Some(known) = &evidence.known_order else {
            let text = "no member could be audited";
            self.say(NAME, CheckVerdict::Skipped, text);
            return;
        };
        // Counted under the widest promise, judged under the one given.
        let losses = &evidence.power_losses;
        let count = loss::check(history, known, losses, Promise::LostAfterPowerLoss);
        found.audited = true;
        found.blamed = excuse(evidence);
        if let Judgement::Ok(report) = &count {
            found.count = report.lost.len() as u64;
            found.worst_age = nanos(report.worst_age);
        }
        let judgement = loss::check(history, known, losses, evidence.promise);
        found.expected = judgement.is_ok() && found.count > 0;
        if !found.expected || found.blamed.is_none() {
            found.blamed = None;
        }
        match (&judgement, found.count) {
            (Judgement::Ok(_), 1..) => {
                let cause = excuse(evidence).unwrap_or("--wal-sync permits it".to_owned());
                let text = format!(
                    "expected loss: {} acknowledged writes lost, up to {:.3} s old ({cause})",
                    found.count,
                    found.worst_age.as_secs_f64()
                );
                self.say(NAME, CheckVerdict::Pass, text);
            }
            _ => self.judged(NAME, Verdict::SafetyViolation, &judgement),
        }
    }

    fn history(&mut self, history: &History, evidence: &Evidence) {
        let options = check::Options {
            known_order: evidence.known_order.as_ref(),
            ..check::Options::default()
        };
        let (certificate, history) = match (&evidence.known_order, evidence.promise) {
            (Some(known), promise) if promise != Promise::NeverLost => {
                let losses = &evidence.power_losses;
                let judgement = after_loss::check(history, known, losses, promise, &options);
                self.judged(ORDER, Verdict::SafetyViolation, &judgement);
                match judgement {
                    Judgement::Ok(after) => (after.certificate, after.history),
                    _ => return self.no_order_for_reads(history),
                }
            }
            _ => {
                let judgement = strict_serializability::check(history, &options);
                self.judged(ORDER, Verdict::SafetyViolation, &judgement);
                match judgement {
                    Judgement::Ok(certificate) => (certificate, history.clone()),
                    _ => return self.no_order_for_reads(history),
                }
            }
        };
        let starts = evidence.starts.as_deref();
        let reads = serializable_reads::check_with_starts(&history, &certificate, starts, &options);
        self.judged(READS, Verdict::SafetyViolation, &reads);
    }

    fn no_order_for_reads(&mut self, history: &History) {
        let mut requests = history
            .operations
            .iter()
            .map(|operation| &operation.request);
        if requests.any(Request::is_serializable) {
            let text = "there is no order of the other operations to judge them by";
            self.say(READS, CheckVerdict::Undetermined, text);
        }
    }

    /// Leases, locks and elections, where a workload used any. Across a loss of acknowledged
    /// writes that a setting permits, leases and renewals may be lost with them.
    fn leases(&mut self, history: &History, evidence: &Evidence) {
        let leases = &history.leases;
        let asks = |wanted: fn(&LeaseRequest) -> bool| {
            let mut operations = leases.operations.iter();
            operations.any(|operation| wanted(&operation.request))
        };
        let known = evidence.known_order.as_ref();
        if !leases.operations.is_empty() {
            let judgement = match &evidence.leases {
                Some(bounds) => lease::check(leases, history, known, bounds),
                None => lease::by_clients(leases),
            };
            self.judged("leases", Verdict::SafetyViolation, &judgement);
        }
        let told = evidence.leases.is_some();
        if asks(|request| matches!(request, LeaseRequest::Lock { .. })) {
            let judgement = lock::check(leases, history, told);
            self.judged("locks", Verdict::SafetyViolation, &judgement);
        }
        if asks(|request| matches!(request, LeaseRequest::Campaign { .. }))
            || !leases.observations.is_empty()
        {
            let judgement = election::check(leases, told);
            self.judged("elections", Verdict::SafetyViolation, &judgement);
        }
    }

    fn watches(&mut self, history: &History, evidence: &Evidence) {
        if history.watches.is_empty() {
            return;
        }
        let losses: Vec<u64> = match evidence.promise {
            Promise::NeverLost => Vec::new(),
            _ => evidence.power_losses.iter().map(|loss| loss.at).collect(),
        };
        let options = watch::Options {
            known_order: evidence.known_order.as_ref(),
            losses: &losses,
            settled: evidence.watches_settled,
            leeway: evidence.watch_leeway,
        };
        let judgement = watch::check(history, &options);
        self.judged("watch", Verdict::SafetyViolation, &judgement);
    }

    /// Says nothing of a history in which nobody changes permissions.
    fn permissions(&mut self, history: &History, evidence: &Evidence) {
        const NAME: &str = "permissions";
        if history.auth.is_empty() {
            return;
        }
        if evidence.promise != Promise::NeverLost {
            let text = "a loss that --wal-sync permits may take changes of permissions as well";
            self.say(NAME, CheckVerdict::Skipped, text);
            return;
        }
        let judgement = check::auth::check(&history.auth);
        self.judged(NAME, Verdict::SafetyViolation, &judgement);
    }

    fn convergence(&mut self, insides: &Insides) {
        const NAME: &str = "convergence";
        if insides.converged.is_none() {
            let detail = insides.members.iter().map(ToString::to_string).collect();
            let text = "the members did not apply the same log in time";
            return self.fail(NAME, Verdict::LivenessViolation, text, detail);
        }
        let judgement = convergence::check(&insides.members);
        self.judged(NAME, Verdict::SafetyViolation, &judgement);
    }

    fn membership(&mut self, insides: &Insides) {
        if insides.removed.is_empty() && !insides.reconfigured {
            return;
        }
        let judgement = membership::check(&insides.removed, &insides.views);
        self.judged("membership", Verdict::SafetyViolation, &judgement);
    }

    /// What the scenario demands beyond every guarantee.
    pub fn expectations(&mut self, expected: &Expected, lost: &LostWritesFound) {
        match LostWrites::from_name(&expected.lost_writes) {
            Some(LostWrites::Zero) if lost.count > 0 && lost.expected => {
                let text = format!("{} acknowledged writes lost, none expected", lost.count);
                self.excuse = None;
                self.fail("lost-writes", Verdict::SafetyViolation, text, Vec::new());
            }
            Some(LostWrites::Expected) if lost.count == 0 => {
                let text = "no acknowledged write was lost, although the scenario expects it";
                let verdict = Verdict::ExpectedViolationMissing;
                self.fail("lost-writes", verdict, text, Vec::new());
            }
            _ => {}
        }
        let missing: Vec<&str> = expected
            .must_reach
            .iter()
            .filter(|event| !expected.reached.contains(event))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            let text = format!("never reached: {}", missing.join(", "));
            let verdict = Verdict::ExpectedViolationMissing;
            self.fail("must-reach", verdict, text, Vec::new());
        }
    }
}
