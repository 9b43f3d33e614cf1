//! The plan of one run: a scenario with every choice made.
//!
//! Scenario + seed -> [`Plan`] is a pure function. What a plan cannot hold is what depends on the
//! run itself (who leads when a fault fires): it holds the rule. A plan is saved as TOML, can be
//! edited, and means the same after changes to the code that would make a bare seed mean something
//! else. Draws come from one stream per purpose, named after what they are for, so that taking one
//! fault out leaves all other draws alone.

mod draw;
mod read;
mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::scenario::{Disk, Expect, Fault, Network, Offset, Target, Time, Workload};

pub use read::PLAN;

/// The version of the plan format that this build writes and reads.
pub const VERSION: u32 = 1;

/// The largest seed: what fits an integer of TOML.
pub const SEED_MAX: u64 = i64::MAX as u64;

/// Everything that decides a run, but the code.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The scenario's name.
    pub scenario: String,
    /// The scenario's path as the user gave it, for the line that replays the run.
    pub path: String,
    /// What the scenario is for.
    pub description: String,
    /// The seed: every stream that the run itself draws from is derived from it and a name.
    pub seed: u64,
    /// The `--set` overrides that went into the plan, for the line that replays the run.
    pub overrides: Vec<String>,
    /// The members; member N is at index N - 1.
    pub members: Vec<PlannedMember>,
    /// Server flags of every member, without dashes.
    pub server: BTreeMap<String, String>,
    /// The lengths of the phases.
    pub time: Time,
    /// The links.
    pub network: Network,
    /// The disks.
    pub disk: Disk,
    /// The clients.
    pub workloads: Vec<PlannedWorkload>,
    /// What goes wrong, by time.
    pub faults: Vec<PlannedFault>,
    /// What the run must show.
    pub expect: Expect,
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedMember {
    /// Its number, counted from 1.
    pub number: u32,
    /// How far its wall clock is ahead of true time.
    pub clock_offset: Offset,
    /// How fast its clocks run, in parts per million; negative when slow.
    pub clock_drift_ppm: i32,
    /// Deliberate mistakes, by name.
    pub defects: Vec<String>,
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedWorkload {
    /// Its kind and number: `kv-1`.
    pub name: String,
    /// The seed of its own draws (which key, which operation).
    pub seed: u64,
    /// Its parameters.
    pub workload: Workload,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFault {
    /// Its name, unique in the plan: `power-loss-1`.
    pub name: String,
    /// When it fires, from the start of the run.
    pub at: Duration,
    /// Whom it happens to, resolved when it fires.
    pub on: Target,
    /// The seed of what it draws when it fires (which follower, which bytes survive).
    pub seed: u64,
    /// What happens.
    pub fault: Fault<Duration>,
}

/// A deliberate mistake chosen on the command line: `NAME` or `NAME@MEMBER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefectChoice {
    /// The mistake's name.
    pub name: String,
    /// The member that makes it; every member when `None`.
    pub member: Option<u32>,
}

impl DefectChoice {
    /// Reads `NAME` or `NAME@MEMBER`.
    ///
    /// # Errors
    /// When the member is no number, or this build knows no such mistake.
    pub fn parse(text: &str) -> Result<DefectChoice, String> {
        let (name, member) = match text.split_once('@') {
            None => (text, None),
            Some((name, member)) => {
                let number = member.trim_start_matches("member").trim();
                let number = number.parse().map_err(|_| {
                    format!("\"{member}\" is no member's number: write {name}@2 for member 2")
                })?;
                (name, Some(number))
            }
        };
        vetcd::defects::Defects::by_name([name])?;
        Ok(DefectChoice {
            name: name.to_string(),
            member,
        })
    }
}

impl std::fmt::Display for DefectChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.member {
            Some(member) => write!(f, "{}@{member}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Plan {
    /// Builds a mistake into the members chosen.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn choose_defect(&mut self, choice: &DefectChoice) -> Result<(), String> {
        let members = self.members.len();
        if let Some(number) = choice.member
            && !self.members.iter().any(|member| member.number == number)
        {
            return Err(format!(
                "--defect {choice}: there is no member {number}, the cluster has 1 to {members}"
            ));
        }
        for member in &mut self.members {
            if choice.member.is_none_or(|number| number == member.number)
                && !member.defects.contains(&choice.name)
            {
                member.defects.push(choice.name.clone());
            }
        }
        Ok(())
    }

    /// The mistakes chosen, as they would be on the command line.
    pub fn defects(&self) -> Vec<DefectChoice> {
        let mut names: Vec<&String> = self.members.iter().flat_map(|m| &m.defects).collect();
        names.sort();
        names.dedup();
        let mut choices = Vec::new();
        for name in names {
            let having = self
                .members
                .iter()
                .filter(|member| member.defects.contains(name));
            let numbers: Vec<u32> = having.map(|member| member.number).collect();
            if numbers.len() == self.members.len() {
                choices.push(DefectChoice {
                    name: name.clone(),
                    member: None,
                });
            } else {
                choices.extend(numbers.iter().map(|n| DefectChoice {
                    name: name.clone(),
                    member: Some(*n),
                }));
            }
        }
        choices
    }

    /// The command that repeats this run from its scenario.
    pub fn replay_line(&self) -> String {
        let mut line = format!(
            "vetcd-sim replay {}",
            quoted(&format!("{}@{}", self.seed, self.path))
        );
        for set in &self.overrides {
            line += &format!(" --set {}", quoted(set));
        }
        for defect in self.defects() {
            line += &format!(" --defect {defect}");
        }
        line
    }
}

/// Quotes an argument for a POSIX shell when it needs quotes.
pub fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_string()
    } else {
        format!("'{}'", argument.replace('\'', "'\\''"))
    }
}
