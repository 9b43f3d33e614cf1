//! Flags for comparing the members' stores, and etcd's feature gates, which are its newer way to
//! turn two of the comparisons on.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::flags::go_bool;
use super::{Error, duration, invalid};

/// The feature gates of etcd 3.6: whether one has anything to act on here, else why not.
const GATES: &[(&str, Result<(), &str>)] = &[
    ("AllAlpha", Err("each feature is turned on by its own name")),
    ("AllBeta", Err("each feature is turned on by its own name")),
    ("CompactHashCheck", Ok(())),
    ("InitialCorruptCheck", Ok(())),
    ("LeaseCheckpoint", Ok(())),
    (
        "LeaseCheckpointPersist",
        Err("checkpoints are always kept over a restart"),
    ),
    (
        "SetMemberLocalAddr",
        Err("members dial from any local address"),
    ),
    (
        "StopGRPCServiceOnDefrag",
        Err("requests go on while the store is defragmented"),
    ),
    (
        "TxnModeWriteWithSharedBuffer",
        Err("the store is not bbolt"),
    ),
];

/// See the module.
#[derive(Clone, Debug, Args)]
pub struct Checks {
    /// Before serving, compare the store with those of the other members that answer, and do not
    /// start if it differs.
    #[arg(help_heading = "Corruption checks", long, value_name = "BOOL", default_value = "false", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub experimental_initial_corrupt_check: bool,

    /// Time between two comparisons of the members' newest revisions by the leader, which raise the
    /// alarm CORRUPT; 0 for none.
    #[arg(help_heading = "Corruption checks", long, alias = "experimental-corrupt-check-time",
        value_name = "TIME", default_value = "0s", value_parser = duration::parse)]
    pub corrupt_check_time: Duration,

    /// Let the leader compare what the members hold after compactions, which costs next to nothing.
    #[arg(help_heading = "Corruption checks", long, value_name = "BOOL", default_value = "false", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub experimental_compact_hash_check_enabled: bool,

    /// Time between two comparisons of what the members hold after compactions.
    #[arg(help_heading = "Corruption checks", long, alias = "experimental-compact-hash-check-time",
        value_name = "TIME", default_value = "1m", value_parser = duration::parse)]
    pub compact_hash_check_time: Duration,

    /// Features to turn on or off: NAME=BOOL, separated by commas. InitialCorruptCheck,
    /// CompactHashCheck and LeaseCheckpoint have an effect.
    #[arg(
        help_heading = "Corruption checks",
        long,
        value_name = "GATES",
        default_value = ""
    )]
    feature_gates: Gates,
}

/// A comparison that the leader makes again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Of the newest revision.
    Newest,
    /// Of what finished compactions left.
    Compactions,
}

impl Checks {
    /// Whether to compare before serving.
    pub fn initial(&self) -> bool {
        self.experimental_initial_corrupt_check || self.feature_gates.on("InitialCorruptCheck")
    }

    /// What to compare while serving, and how often.
    pub fn periodic(&self) -> Vec<(Check, Duration)> {
        let mut checks = Vec::new();
        if !self.corrupt_check_time.is_zero() {
            checks.push((Check::Newest, self.corrupt_check_time));
        }
        let gate = self.feature_gates.on("CompactHashCheck");
        if self.experimental_compact_hash_check_enabled || gate {
            checks.push((Check::Compactions, self.compact_hash_check_time));
        }
        checks
    }

    /// Whether the gate for checkpoints of leases is open.
    pub(super) fn lease_checkpoint(&self) -> bool {
        self.feature_gates.on("LeaseCheckpoint")
    }

    /// Of the gates that are opened, those that have nothing behind them.
    pub(super) fn warnings(&self) -> Vec<String> {
        let open = GATES.iter().filter(|(name, _)| self.feature_gates.on(name));
        let idle = open.filter_map(|(name, effect)| effect.err().map(|why| (name, why)));
        idle.map(|(name, why)| format!("--feature-gates {name}=true has no effect: {why}"))
            .collect()
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        if self.compact_hash_check_time.is_zero() {
            return invalid("--compact-hash-check-time must be longer than 0".into());
        }
        Ok(())
    }
}

/// Feature gates by name; what is not named is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Gates(BTreeMap<&'static str, bool>);

impl Gates {
    fn on(&self, name: &str) -> bool {
        self.0.get(name).copied().unwrap_or(false)
    }
}

impl FromStr for Gates {
    type Err = String;

    fn from_str(text: &str) -> Result<Gates, String> {
        let mut gates = BTreeMap::new();
        for pair in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(format!("missing bool value for {pair}"));
            };
            let Some((name, _)) = GATES.iter().find(|(known, _)| *known == name.trim()) else {
                return Err(format!("unrecognized feature gate: {}", name.trim()));
            };
            let value = go_bool(value.trim());
            let value = value.map_err(|error| format!("invalid value of {name}: {error}"))?;
            gates.insert(*name, value);
        }
        Ok(Gates(gates))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::super::Config;
    use super::*;

    fn checks(pairs: &[(&str, &str)]) -> Checks {
        Config::from_pairs(pairs.iter().copied()).unwrap().checks
    }

    #[test]
    fn none_is_on_by_default() {
        let checks = checks(&[]);
        assert!(!checks.initial());
        assert_eq!(checks.periodic(), []);
        assert_eq!(checks.compact_hash_check_time, Duration::from_secs(60));
    }

    #[test]
    fn both_generations_of_names_turn_them_on() {
        let minute = Duration::from_secs(60);
        let both = [(Check::Newest, minute), (Check::Compactions, minute * 2)];
        let old = checks(&[
            ("experimental-initial-corrupt-check", "true"),
            ("experimental-corrupt-check-time", "1m"),
            ("experimental-compact-hash-check-enabled", "true"),
            ("experimental-compact-hash-check-time", "2m"),
        ]);
        let gates = "InitialCorruptCheck=true, CompactHashCheck=true";
        let new = checks(&[
            ("corrupt-check-time", "1m"),
            ("compact-hash-check-time", "2m"),
            ("feature-gates", gates),
        ]);
        for checks in [old, new] {
            assert!(checks.initial());
            assert_eq!(checks.periodic(), both);
        }
    }

    #[test]
    fn gates_that_are_wrong_or_idle() {
        let read = |gates| Config::from_pairs([("feature-gates", gates)]);
        for (gates, text) in [
            ("Nonsense=true", "unrecognized feature gate: Nonsense"),
            (
                "CompactHashCheck",
                "missing bool value for CompactHashCheck",
            ),
            (
                "CompactHashCheck=maybe",
                "invalid value of CompactHashCheck",
            ),
        ] {
            let error = read(gates).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        let idle = read("StopGRPCServiceOnDefrag=true,AllAlpha=false").unwrap();
        assert_eq!(idle.warnings.len(), 1, "{:?}", idle.warnings);
        let leases = read("LeaseCheckpoint=true").unwrap();
        assert!(leases.experimental_enable_lease_checkpoint);
        let never = Config::from_pairs([("compact-hash-check-time", "0")]);
        let never = never.unwrap_err().to_string();
        assert!(never.contains("must be longer than 0"), "{never}");
    }
}
