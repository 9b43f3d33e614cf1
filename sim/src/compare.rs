//! A paired experiment: the same scenario and seeds under each of several settings.
//!
//! What it reports is about the simulated world: latencies are modelled (the disk profile is named
//! with them), and none lost in n runs is reported with its 95 % upper bound, never as a bare zero.

mod show;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::report::json::pretty;
use crate::report::{RunResult, Verdict};
use crate::scenario::{LostWrites, Scenario};

/// What to vary: a key of the scenario or a server flag, and its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vary {
    /// The key, as `--set` takes it.
    pub key: String,
    /// Its values.
    pub values: Vec<String>,
}

/// Most values to compare.
pub const VALUES_MAX: usize = 16;

impl Vary {
    /// Reads `KEY=a,b,c`.
    ///
    /// # Errors
    /// A sentence saying how to write it.
    pub fn parse(text: &str) -> Result<Vary, String> {
        let wanted = "say what to vary: --vary wal-sync=always,none";
        let (key, values) = text.split_once('=').ok_or(wanted)?;
        let values: Vec<String> = values
            .split(',')
            .map(|value| value.trim().to_string())
            .collect();
        if key.trim().is_empty() || values.iter().any(String::is_empty) {
            return Err(wanted.into());
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some(again) = values.iter().find(|value| !seen.insert(value.as_str())) {
            return Err(format!("\"{again}\" stands twice in --vary"));
        }
        if values.len() > VALUES_MAX {
            return Err(format!("at most {VALUES_MAX} values can be compared"));
        }
        Ok(Vary {
            key: key.trim().to_string(),
            values,
        })
    }
}

/// The overrides that take a scenario's own expectations out of a comparison: each setting is held
/// to what it promises itself.
pub fn neutral_overrides(scenario: &Scenario) -> Vec<String> {
    let mut overrides = Vec::new();
    if scenario.expect.lost_writes != LostWrites::AsPromised {
        overrides.push("expect.lost-acknowledged-writes=as-promised".to_string());
    }
    if !scenario.expect.must_reach.is_empty() {
        overrides.push("expect.must-reach=[]".to_string());
    }
    overrides
}

/// What the runs of one setting gave.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    runs: u64,
    verdicts: BTreeMap<Verdict, u64>,
    audited: u64,
    lossy: u64,
    lossy_unexpected: u64,
    blamed: u64,
    lost_worst: u64,
    age_worst: Duration,
    writes_p50: Vec<Duration>,
    writes_p99: Vec<Duration>,
    throughput: f64,
    syncs: u64,
    writes: u64,
    recoveries: Vec<Duration>,
    witness: Option<Witness>,
}

/// The run that shows a setting at its worst.
#[derive(Clone, Debug)]
struct Witness {
    verdict: Verdict,
    lost: u64,
    replay: String,
}

impl Cell {
    /// Adds a run. A run that the testbed could not do is counted apart.
    pub fn add(&mut self, result: &RunResult) {
        *self.verdicts.entry(result.verdict).or_default() += 1;
        if result.verdict != Verdict::InternalError {
            self.runs += 1;
            self.count_losses(result);
            self.count_costs(result);
        }
        let lost = result.lost_writes.count;
        let worse = match &self.witness {
            None => true,
            Some(known) => (result.verdict, lost) > (known.verdict, known.lost),
        };
        if worse {
            let replay = result.replay.clone();
            self.witness = Some(Witness {
                verdict: result.verdict,
                lost,
                replay,
            });
        }
    }

    fn count_losses(&mut self, result: &RunResult) {
        let lost = &result.lost_writes;
        // A run that never came back was not audited: it counts neither as lossy nor as clean.
        self.audited += u64::from(lost.audited);
        if lost.audited && lost.count > 0 {
            self.lossy += 1;
            self.lossy_unexpected += u64::from(!lost.expected);
            self.blamed += u64::from(lost.blamed.is_some());
            self.lost_worst = self.lost_worst.max(lost.count);
            self.age_worst = self.age_worst.max(lost.worst_age);
        }
    }

    fn count_costs(&mut self, result: &RunResult) {
        if result.writes.count > 0 {
            self.writes_p50.push(result.writes.p50);
            self.writes_p99.push(result.writes.p99);
        }
        self.throughput += result.throughput_per_second;
        self.syncs += result.syncs.total;
        self.writes += result.writes.count;
        self.recoveries.extend(result.recovery_time);
    }

    fn count(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(&verdict).copied().unwrap_or(0)
    }
}

/// A comparison, with a cell for each setting.
#[derive(Clone, Debug)]
pub struct Comparison {
    scenario: String,
    disk_profile: String,
    vary: Vary,
    seeds: (u64, u64),
    cells: Vec<Cell>,
}

/// One row of a comparison: the numbers that every report shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// The setting, as `--set` takes it.
    pub setting: String,
    /// Runs judged.
    pub runs: u64,
    /// Runs that the testbed could not do; in no other number.
    pub internal_errors: u64,
    /// Runs in which a check ran out of its budget.
    pub undetermined: u64,
    /// Runs whose store could be audited for acknowledged writes: the others say nothing of losses.
    pub runs_audited: u64,
    /// Audited runs that lost acknowledged writes.
    pub runs_with_loss: u64,
    /// Of these, runs whose losses the setting does not allow.
    pub runs_with_unexpected_loss: u64,
    /// Of these, runs whose losses are blamed on something other than the server.
    pub runs_with_blamed_loss: u64,
    /// 95 % bounds of the share of audited runs that lose writes, from 0 to 1.
    pub loss_share_bounds: (f64, f64),
    /// Most acknowledged writes lost in one run.
    pub worst_loss: u64,
    /// Oldest lost write: time from its acknowledgement to the fault.
    pub worst_age_ns: u64,
    /// Runs with a safety violation.
    pub safety_violations: u64,
    /// Runs in which the cluster did not come back, or a server panicked.
    pub did_not_recover: u64,
    /// Median over the runs of their median write latency; modelled.
    pub write_p50_ns: u64,
    /// Median over the runs of their 99th percentile of write latency; modelled.
    pub write_p99_ns: u64,
    /// Mean over the runs of operations per virtual second.
    pub throughput_per_second: f64,
    /// Syncs of all members per successful write.
    pub syncs_per_write: f64,
    /// Median recovery time; `None` when no run measured one.
    pub recovery_p50_ns: Option<u64>,
    /// Longest recovery time.
    pub recovery_worst_ns: Option<u64>,
    /// One sentence.
    pub sentence: String,
    /// The command that repeats the worst run.
    pub witness: String,
}

impl Comparison {
    /// An empty comparison of `vary` over the seeds `from..to`.
    pub fn new(scenario: &Scenario, vary: Vary, seeds: (u64, u64)) -> Comparison {
        let cells = vec![Cell::default(); vary.values.len()];
        let (name, disk_profile) = (scenario.name.clone(), scenario.disk.profile.clone());
        Comparison {
            scenario: name,
            disk_profile,
            vary,
            seeds,
            cells,
        }
    }

    /// Adds a run under the setting at `index`.
    pub fn add(&mut self, index: usize, result: &RunResult) {
        self.cells[index].add(result);
    }

    /// The most severe verdict of all runs.
    pub fn verdict(&self) -> Verdict {
        let verdicts = self.cells.iter().flat_map(|cell| cell.verdicts.keys());
        verdicts.copied().max().unwrap_or(Verdict::Pass)
    }

    /// The numbers, a row for each setting.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for (value, cell) in self.vary.values.iter().zip(&self.cells) {
            let mut row = row(format!("{}={value}", self.vary.key), cell);
            row.sentence = sentence(value, &row, rows.first(), &self.vary);
            rows.push(row);
        }
        rows
    }

    /// The comparison as JSON.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "kebab-case")]
        struct Report<'a> {
            format: &'static str,
            version: u32,
            scenario: &'a str,
            disk_profile: &'a str,
            latencies: &'static str,
            vary: &'a Vary,
            seeds: (u64, u64),
            verdict: Verdict,
            settings: Vec<Row>,
        }
        pretty(&Report {
            format: "vetcd-sim comparison",
            version: crate::report::json::VERSION,
            scenario: &self.scenario,
            disk_profile: &self.disk_profile,
            latencies: "modelled",
            vary: &self.vary,
            seeds: self.seeds,
            verdict: self.verdict(),
            settings: self.rows(),
        })
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The middle of `durations` (the lower one of two); `None` when there are none.
fn median(durations: &[Duration]) -> Option<Duration> {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn row(setting: String, cell: &Cell) -> Row {
    Row {
        setting,
        runs: cell.runs,
        internal_errors: cell.count(Verdict::InternalError),
        undetermined: cell.count(Verdict::Undetermined),
        runs_audited: cell.audited,
        runs_with_loss: cell.lossy,
        runs_with_unexpected_loss: cell.lossy_unexpected,
        runs_with_blamed_loss: cell.blamed,
        loss_share_bounds: share_bounds(cell.lossy, cell.audited),
        worst_loss: cell.lost_worst,
        worst_age_ns: nanoseconds(cell.age_worst),
        safety_violations: cell.count(Verdict::SafetyViolation),
        did_not_recover: cell.count(Verdict::LivenessViolation) + cell.count(Verdict::ServerPanic),
        write_p50_ns: nanoseconds(median(&cell.writes_p50).unwrap_or_default()),
        write_p99_ns: nanoseconds(median(&cell.writes_p99).unwrap_or_default()),
        throughput_per_second: ratio(cell.throughput, cell.runs as f64),
        syncs_per_write: ratio(cell.syncs as f64, cell.writes as f64),
        recovery_p50_ns: median(&cell.recoveries).map(nanoseconds),
        recovery_worst_ns: cell.recoveries.iter().max().copied().map(nanoseconds),
        sentence: String::new(),
        witness: cell
            .witness
            .as_ref()
            .map(|witness| witness.replay.clone())
            .unwrap_or_default(),
    }
}

/// 95 % bounds of a share seen as `hits` of `runs`: the rule of three at the ends, Wilson between.
pub fn share_bounds(hits: u64, runs: u64) -> (f64, f64) {
    let n = runs as f64;
    match hits {
        _ if runs == 0 => (0.0, 1.0),
        0 => (0.0, (3.0 / n).min(1.0)),
        _ if hits == runs => ((1.0 - 3.0 / n).max(0.0), 1.0),
        _ => {
            let (z, share) = (1.959_964, hits as f64 / n);
            let center = share + z * z / (2.0 * n);
            let spread = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
            let scale = 1.0 + z * z / n;
            (
                ((center - spread) / scale).max(0.0),
                ((center + spread) / scale).min(1.0),
            )
        }
    }
}

/// What a setting came to, in one sentence; costs are compared with the first setting.
fn sentence(value: &str, row: &Row, first: Option<&Row>, vary: &Vary) -> String {
    let mut text = format!("{value}: {}", show::loss_sentence(row));
    if row.safety_violations > 0 {
        text += &format!(
            "; {} in safety violation",
            show::of_runs(row.safety_violations, row.runs)
        );
    }
    if row.did_not_recover > 0 {
        text += &format!(
            "; {} did not recover",
            show::of_runs(row.did_not_recover, row.runs)
        );
    }
    if row.undetermined > 0 {
        text += &format!(
            "; {} undetermined",
            show::of_runs(row.undetermined, row.runs)
        );
    }
    if row.internal_errors > 0 {
        text += &format!("; {} more could not be done", row.internal_errors);
    }
    if let Some(first) = first
        && first.write_p50_ns > 0
        && row.write_p50_ns > 0
    {
        let change = 100.0 * (row.write_p50_ns as f64 / first.write_p50_ns as f64 - 1.0);
        let word = if change < 0.0 { "lower" } else { "higher" };
        let than = &vary.values[0];
        text += &match change.abs() {
            small if small < 0.5 => format!("; modelled write p50 as under {than}"),
            change => format!("; modelled write p50 {change:.0} % {word} than under {than}"),
        };
    }
    text
}
