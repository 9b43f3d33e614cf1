//! Faulty disks: a member whose disk failed, was full, or was damaged comes back with what the others
//! hold, or refuses to, and says why in words that name the place and the way out.
//!
//! Who may end and why follows from what happened to the disk. An error of the disk may end a
//! process, and its next start must do. Damage may end it for good; a member that was never damaged
//! must not claim to be. Whether anything acknowledged was lost is for the other judges to say, who
//! make no exception for damage.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::convergence::MemberState;
use super::{Counterexample, Verdict};

const GUARANTEE: &str = "damage";

/// What a member said when its process ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// When, in virtual nanoseconds.
    pub at: u64,
    /// Its words.
    pub words: String,
    /// What it blamed.
    pub blamed: Blamed,
}

/// What a member blamed for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blamed {
    /// A read, a write or a sync that failed, or a lack of space.
    Disk,
    /// What the disk holds.
    Data,
    /// Something else.
    Other,
}

/// A member whose disk had a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patient {
    /// Its number.
    pub member: u32,
    /// When the first fault that may end a process fired, in virtual nanoseconds.
    pub since: u64,
    /// The places that changed on its disk: (when, file).
    pub damage: Vec<(u64, String)>,
    /// How its process ended by itself, each time.
    pub ends: Vec<End>,
    /// Whether it runs in the end.
    pub is_up: bool,
    /// Whether an operator replaces members that refuse.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_tended: bool,
    /// Whether what runs in the end took its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_replaced: bool,
}

/// What became of the members with faulty disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Members that an error of the disk stopped, and that came back.
    pub stopped: usize,
    /// Members that were damaged.
    pub damaged: usize,
    /// Of those, the members that run and hold what the others hold.
    pub recovered: usize,
    /// Of those, the members that refused, and that nobody replaced.
    pub refused: usize,
    /// Of those that run, the members that were replaced.
    pub replaced: usize,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told {
            stopped,
            damaged,
            recovered,
            refused,
            replaced,
        } = self;
        write!(
            f,
            "{stopped} members stopped of an error of their disk and came back; {damaged} damaged: \
             {recovered} run and agree, {refused} refused"
        )?;
        match replaced {
            0 => Ok(()),
            _ => write!(
                f,
                "; {replaced} of those that run took the place of one that refused"
            ),
        }
    }
}

/// Judges `patients`; `advice` is what a refusal must say, `states` what each member that runs holds.
pub fn check(patients: &[Patient], states: &[MemberState], advice: &str) -> Verdict<Told> {
    let mut told = Told::default();
    for patient in patients {
        if let Some(summary) = wrong_end(patient, advice) {
            let start = Counterexample::new(GUARANTEE, summary);
            let ends = patient.ends.iter().map(|end| {
                let seconds = std::time::Duration::from_nanos(end.at).as_secs_f64();
                format!("{seconds:.6} s m{}: {}", patient.member, end.words)
            });
            return ends.fold(start, Counterexample::because).into();
        }
        let by_disk = |end: &End| end.blamed == Blamed::Disk;
        told.stopped += usize::from(patient.is_up && patient.ends.iter().any(by_disk));
        if patient.damage.is_empty() {
            continue;
        }
        told.damaged += 1;
        if !patient.is_up {
            told.refused += 1;
            continue;
        }
        let own = states.iter().find(|state| state.member == patient.member);
        let other = states.iter().find(|state| state.member != patient.member);
        if let (Some(own), Some(other)) = (own, other)
            && (own.revision, own.hash) != (other.revision, other.hash)
        {
            let summary = format!(
                "member {}, whose disk was damaged, runs and holds something else than member {}",
                patient.member, other.member
            );
            return Counterexample::new(GUARANTEE, summary)
                .because(own.to_string())
                .because(other.to_string())
                .into();
        }
        told.recovered += 1;
        told.replaced += usize::from(patient.is_replaced);
    }
    Verdict::Ok(told)
}

/// What is wrong with how the member ended, or that it did.
fn wrong_end(patient: &Patient, advice: &str) -> Option<String> {
    let member = patient.member;
    for end in &patient.ends {
        let damaged = patient.damage.iter().any(|(at, _)| *at <= end.at);
        match end.blamed {
            Blamed::Other => {
                return Some(format!(
                    "member {member} ended and did not blame its disk: {}",
                    end.words
                ));
            }
            _ if end.at < patient.since => {
                return Some(format!("member {member} blamed its disk before any fault"));
            }
            Blamed::Data if !damaged => {
                return Some(format!(
                    "member {member} takes its data for damaged, and they are not"
                ));
            }
            Blamed::Data if !end.words.contains(advice) => {
                return Some(format!(
                    "member {member} refuses its data and does not say what to do"
                ));
            }
            Blamed::Data if !names_a_place(&end.words) => {
                return Some(format!(
                    "member {member} refuses its data and does not say where they are damaged"
                ));
            }
            Blamed::Disk | Blamed::Data => {}
        }
    }
    let refused = patient.ends.last().map(|end| end.blamed) == Some(Blamed::Data);
    if !patient.is_up && refused && patient.is_tended {
        return Some(format!(
            "member {member} refused its data and has not been replaced in time"
        ));
    }
    (!patient.is_up && !refused)
        .then(|| format!("member {member} is down, and nothing is wrong with its disk any more"))
}

/// Whether the words name something in a data directory.
fn names_a_place(words: &str) -> bool {
    words.contains("data")
        && words
            .split_whitespace()
            .any(|word| word.starts_with("data"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ADVICE: &str = "replace it";

    fn state(member: u32, hash: u64) -> MemberState {
        MemberState {
            member,
            revision: 9,
            hash,
            ..MemberState::default()
        }
    }

    fn end(at: u64, blamed: Blamed, words: &str) -> End {
        End {
            at,
            words: words.to_owned(),
            blamed,
        }
    }

    fn patient(ends: Vec<End>, damaged: bool, is_up: bool) -> Patient {
        let damage = (10, "data/member/wal/1.wal".to_owned());
        Patient {
            member: 2,
            since: 5,
            damage: damaged.then_some(damage).into_iter().collect(),
            ends,
            is_up,
            is_tended: false,
            is_replaced: false,
        }
    }

    fn told(patient: Patient) -> Verdict<Told> {
        check(&[patient], &[state(1, 7), state(2, 7), state(3, 7)], ADVICE)
    }

    fn violation(patient: Patient) -> String {
        told(patient).violation().unwrap().summary
    }

    #[test]
    fn who_comes_back_and_who_refuses_is_counted() {
        let came_back = patient(vec![end(6, Blamed::Disk, "sync data/x: EIO")], false, true);
        let report = told(came_back).ok().unwrap();
        assert_eq!((report.stopped, report.damaged), (1, 0));
        let recovered = told(patient(Vec::new(), true, true)).ok().unwrap();
        assert_eq!((recovered.damaged, recovered.recovered), (1, 1));
        let words = "data/member/snap/db is damaged: replace it";
        let refused = told(patient(vec![end(11, Blamed::Data, words)], true, false));
        assert_eq!(refused.ok().unwrap().refused, 1);
    }

    #[test]
    fn one_that_refused_is_replaced_where_there_is_an_operator() {
        let words = "data/member/snap/db is damaged: replace it";
        let tended = |is_up| Patient {
            is_tended: true,
            is_replaced: is_up,
            ..patient(vec![end(11, Blamed::Data, words)], true, is_up)
        };
        let report = told(tended(true)).ok().unwrap();
        assert_eq!(
            (report.recovered, report.replaced, report.refused),
            (1, 1, 0)
        );
        assert!(report.to_string().contains("1 of those that run"));
        assert!(violation(tended(false)).contains("not been replaced"));
    }

    #[test]
    fn a_damaged_member_that_runs_must_agree() {
        let states = [state(1, 7), state(2, 8), state(3, 7)];
        let verdict = check(&[patient(Vec::new(), true, true)], &states, ADVICE);
        let summary = verdict.violation().unwrap().summary;
        assert!(summary.contains("holds something else"), "{summary}");
    }

    #[test]
    fn refusals_without_damage_advice_or_place_are_wrong() {
        let good = "data/member/snap/db is damaged: replace it";
        let unfounded = patient(vec![end(6, Blamed::Data, good)], false, false);
        assert!(violation(unfounded).contains("and they are not"));
        let early = patient(vec![end(6, Blamed::Data, good)], true, false);
        assert!(violation(early).contains("and they are not"));
        let silent = patient(
            vec![end(11, Blamed::Data, "data/x is damaged")],
            true,
            false,
        );
        assert!(violation(silent).contains("what to do"));
        let nowhere = patient(vec![end(11, Blamed::Data, "oh: replace it")], true, false);
        assert!(violation(nowhere).contains("where"));
    }

    #[test]
    fn an_end_without_a_cause_and_a_member_that_stays_away_are_wrong() {
        let other = patient(vec![end(6, Blamed::Other, "stopped")], false, true);
        assert!(violation(other).contains("did not blame its disk"));
        let before = patient(vec![end(4, Blamed::Disk, "sync data/x")], false, true);
        assert!(violation(before).contains("before any fault"));
        let away = patient(vec![end(6, Blamed::Disk, "sync data/x")], false, false);
        assert!(violation(away).contains("is down"));
    }
}
