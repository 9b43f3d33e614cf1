//! Many runs for people: counts by scenario, and the worst runs again at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::result::{RunResult, Verdict};
use super::style::{Style, Tone, counted, rounded, thousands};
use super::terminal::brief;

/// Counts over many runs, in constant memory.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    rows: BTreeMap<String, Row>,
    worst: Vec<RunResult>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    runs: u64,
    verdicts: BTreeMap<Verdict, u64>,
    operations: u64,
    lossy: u64,
    lost_worst: u64,
    recovery_worst: Duration,
}

/// The most failures repeated at the end of many runs.
const WORST_MAX: usize = 5;

impl Summary {
    /// Adds a run.
    pub fn add(&mut self, result: &RunResult) {
        let row = self.rows.entry(result.scenario.clone()).or_default();
        row.runs += 1;
        *row.verdicts.entry(result.verdict).or_default() += 1;
        row.operations += result.operations.total();
        row.lossy += u64::from(result.lost_writes.count > 0);
        row.lost_worst = row.lost_worst.max(result.lost_writes.count);
        row.recovery_worst = row
            .recovery_worst
            .max(result.recovery_time.unwrap_or_default());
        if result.verdict != Verdict::Pass {
            let at = self
                .worst
                .partition_point(|known| known.verdict >= result.verdict);
            self.worst.insert(at, result.clone());
            self.worst.truncate(WORST_MAX);
        }
    }

    /// How many runs there were.
    pub fn runs(&self) -> u64 {
        self.rows.values().map(|row| row.runs).sum()
    }

    /// The most severe verdict; a pass when there were no runs.
    pub fn verdict(&self) -> Verdict {
        let all = self.rows.values().flat_map(|row| row.verdicts.keys());
        all.copied().max().unwrap_or(Verdict::Pass)
    }

    /// How many runs ended so.
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.rows
            .values()
            .filter_map(|row| row.verdicts.get(&verdict))
            .sum()
    }

    /// The table and the worst runs.
    pub fn show(&self, style: Style) -> String {
        let mut out = format!("{}\n", style.paint(Tone::Dim, &"─".repeat(12)));
        if self.rows.len() > 1 || self.runs() > 1 {
            out += &self.table(style);
        }
        let mut parts = vec![format!("{} passed", thousands(self.count(Verdict::Pass)))];
        for verdict in Verdict::ALL
            .iter()
            .rev()
            .filter(|verdict| **verdict != Verdict::Pass)
        {
            match self.count(*verdict) {
                0 => {}
                count => parts.push(format!("{} {}", thousands(count), verdict.name())),
            }
        }
        let tone = if self.verdict() == Verdict::Pass {
            Tone::Good
        } else {
            Tone::Bad
        };
        let text = format!("{}: {}", counted(self.runs(), "run"), parts.join(", "));
        out += &style.line(tone, "Summary", &text);
        for result in &self.worst {
            out += &brief(result, style);
        }
        out
    }

    fn table(&self, style: Style) -> String {
        let width = self
            .rows
            .keys()
            .map(String::len)
            .max()
            .unwrap_or(0)
            .max("scenario".len());
        let header = format!(
            "{:<width$} {:>8} {:>8} {:>8} {:>11} {:>10} {:>10} {:>13}",
            "scenario",
            "runs",
            "passed",
            "failed",
            "operations",
            "lossy runs",
            "worst loss",
            "slow recovery"
        );
        let mut out = style.line(Tone::Dim, "", &header);
        for (name, row) in &self.rows {
            let passed = row.verdicts.get(&Verdict::Pass).copied().unwrap_or(0);
            let line = format!(
                "{name:<width$} {:>8} {:>8} {:>8} {:>11} {:>10} {:>10} {:>13}",
                thousands(row.runs),
                thousands(passed),
                thousands(row.runs - passed),
                thousands(row.operations),
                thousands(row.lossy),
                thousands(row.lost_worst),
                rounded(row.recovery_worst)
            );
            out += &style.line(Tone::Dim, "", &line);
        }
        out
    }
}
