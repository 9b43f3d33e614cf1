//! Target rules: which members a fault happens to. A rule is resolved when the fault fires, because
//! who leads then is not known before.

use std::fmt;

use serde::{Serialize, Serializer};

use super::schema::{Choice, TARGETS};
use super::source::nearest;

/// A rule that names members; what each means is in [`TARGETS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The leader.
    Leader,
    /// One member that does not lead.
    Follower,
    /// Every member.
    All,
    /// As many as can fail while a majority remains.
    Minority,
    /// As few as make a majority.
    Majority,
    /// The member with this number, counted from 1.
    Member(u32),
}

impl Target {
    /// Reads a rule as scenarios write it.
    ///
    /// # Errors
    /// A sentence with the nearest known rule.
    pub fn parse(text: &str) -> Result<Target, String> {
        let text = text.trim();
        Ok(match text {
            "leader" => Target::Leader,
            "follower" => Target::Follower,
            "all" => Target::All,
            "minority" => Target::Minority,
            "majority" => Target::Majority,
            _ => match text.strip_prefix("member").map(str::trim).map(str::parse) {
                Some(Ok(number)) => Target::Member(number),
                _ => return Err(unknown(text)),
            },
        })
    }

    /// Why this rule can never name anyone in a cluster of `members`.
    ///
    /// # Errors
    /// That sentence.
    pub fn check(self, members: u32) -> Result<(), String> {
        match self {
            Target::Member(number) if number == 0 || number > members => Err(format!(
                "there is no member {number}: the cluster has members 1 to {members}"
            )),
            Target::Follower if members < 2 => Err("a cluster of one has no follower".into()),
            Target::Minority if members < 3 => Err(format!(
                "a cluster of {members} has no minority that can fail: use 3 or more"
            )),
            _ => Ok(()),
        }
    }

    /// How many members the rule names in a cluster of `members`.
    pub fn size(self, members: u32) -> u32 {
        match self {
            Target::All => members,
            Target::Minority => members.saturating_sub(1) / 2,
            Target::Majority => members / 2 + 1,
            Target::Leader | Target::Follower | Target::Member(_) => 1,
        }
    }
}

fn unknown(text: &str) -> String {
    let names: Vec<&str> = TARGETS.iter().map(|choice: &Choice| choice.name).collect();
    let near = match nearest(text, names.iter().copied()) {
        Some(near) => format!(" (did you mean \"{near}\"?)"),
        None => String::new(),
    };
    format!(
        "no member is called \"{text}\"{near}; known are {}",
        names.join(", ")
    )
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Target::Leader => "leader",
            Target::Follower => "follower",
            Target::All => "all",
            Target::Minority => "minority",
            Target::Majority => "majority",
            Target::Member(number) => return write!(f, "member {number}"),
        })
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_round_trip() {
        for text in [
            "leader", "follower", "all", "minority", "majority", "member 2",
        ] {
            assert_eq!(Target::parse(text).unwrap().to_string(), text);
        }
        assert!(
            Target::parse("laeder")
                .unwrap_err()
                .contains("did you mean \"leader\"")
        );
        assert!(Target::parse("member x").is_err());
        assert!(
            Target::Member(4)
                .check(3)
                .unwrap_err()
                .contains("members 1 to 3")
        );
        assert!(Target::Member(0).check(3).is_err());
        assert!(Target::Minority.check(2).is_err());
        assert_eq!(Target::Minority.size(5), 2);
        assert_eq!(Target::Majority.size(4), 3);
    }
}
