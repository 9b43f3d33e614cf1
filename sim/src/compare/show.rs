//! A comparison for people: in the terminal and as Markdown.

use std::time::Duration;

use super::{Comparison, Row};
use crate::report::markdown::cell;
use crate::report::style::{Style, Tone, counted, rounded, significant, thousands};

/// `38 of 400 runs`.
pub fn of_runs(hits: u64, runs: u64) -> String {
    format!("{} of {}", thousands(hits), counted(runs, "run"))
}

/// A share from 0 to 1 as a percentage.
fn percent(share: f64) -> String {
    format!("{} %", significant(share * 100.0))
}

/// What can be said about losses, with bounds.
pub fn loss_sentence(row: &Row) -> String {
    let (low, high) = row.loss_share_bounds;
    if row.runs_audited == 0 {
        return "no run could be audited for losses".into();
    }
    if row.runs_with_loss == 0 {
        return format!(
            "no acknowledged write lost in {} (95 % upper bound: {} of runs)",
            counted(row.runs_audited, "audited run"),
            percent(high)
        );
    }
    let kind = match (row.runs_with_unexpected_loss, row.runs_with_blamed_loss) {
        (0, 0) => "as the setting allows".to_string(),
        (0, _) => "outside what the setting promises".to_string(),
        (unexpected, _) => format!(
            "which the setting does not allow in {}",
            thousands(unexpected)
        ),
    };
    format!(
        "acknowledged writes lost in {} ({}; 95 % interval {} to {}), at worst {}, the oldest {} \
         old",
        of_runs(row.runs_with_loss, row.runs_audited),
        kind,
        percent(low),
        percent(high),
        counted(row.worst_loss, "write"),
        rounded(Duration::from_nanos(row.worst_age_ns))
    )
}

/// Headers and cells, shared by the terminal and Markdown.
const COLUMNS: [&str; 11] = [
    "setting",
    "lossy runs",
    "worst loss",
    "worst age",
    "violations",
    "not recovered",
    "write p50",
    "write p99",
    "ops/s",
    "syncs/write",
    "recovery",
];

fn cells(row: &Row) -> [String; 11] {
    let time = |nanoseconds: u64| rounded(Duration::from_nanos(nanoseconds));
    let losses = match row.runs_with_loss {
        0 if row.runs_audited == 0 => "–".to_string(),
        0 => format!(
            "0/{} (<{})",
            row.runs_audited,
            percent(row.loss_share_bounds.1)
        ),
        lossy => format!("{lossy}/{}", row.runs_audited),
    };
    let recovery = match (row.recovery_p50_ns, row.recovery_worst_ns) {
        (Some(median), Some(worst)) => format!("{} (max {})", time(median), time(worst)),
        _ => "–".into(),
    };
    [
        row.setting.clone(),
        losses,
        thousands(row.worst_loss),
        time(row.worst_age_ns),
        thousands(row.safety_violations),
        thousands(row.did_not_recover),
        time(row.write_p50_ns),
        time(row.write_p99_ns),
        significant(row.throughput_per_second),
        significant(row.syncs_per_write),
        recovery,
    ]
}

impl Comparison {
    fn caption(&self) -> String {
        format!(
            "seeds {}..{}; latencies are modelled ({} disk), p50 and p99 are medians over the runs",
            self.seeds.0, self.seeds.1, self.disk_profile
        )
    }

    /// The comparison for the terminal.
    pub fn terminal(&self, style: Style) -> String {
        let rows = self.rows();
        let mut table = vec![COLUMNS.map(str::to_string)];
        table.extend(rows.iter().map(cells));
        let widths: Vec<usize> = (0..COLUMNS.len())
            .map(|column| {
                table
                    .iter()
                    .map(|row| row[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let title = format!(
            "{} by {}",
            style.paint(Tone::Name, &self.scenario),
            self.vary.key
        );
        let mut out = style.line(Tone::Good, "Compared", &title);
        out += &style.line(Tone::Dim, "", &self.caption());
        out.push('\n');
        for (number, row) in table.iter().enumerate() {
            let aligned: Vec<String> = row
                .iter()
                .enumerate()
                .map(|(column, text)| match column {
                    0 => format!("{text:<width$}", width = widths[column]),
                    _ => format!("{text:>width$}", width = widths[column]),
                })
                .collect();
            let line = aligned.join("  ");
            let line = if number == 0 {
                style.paint(Tone::Dim, &line)
            } else {
                line
            };
            out += &format!("  {}\n", line.trim_end());
        }
        out.push('\n');
        for row in &rows {
            let tone = tone(row);
            out += &style.line(tone, mark(tone), &row.sentence);
            out += &style.line(Tone::Dim, "witness:", &row.witness);
        }
        out
    }

    /// The comparison as Markdown.
    pub fn markdown(&self) -> String {
        let rows = self.rows();
        let mut out = format!(
            "## {} by {}\n\n",
            cell(&self.scenario),
            cell(&self.vary.key)
        );
        for row in &rows {
            out += &format!("- {}\n", row.sentence);
        }
        out += &format!("\n{}.\n\n", self.caption());
        out += &format!("| {} |\n", COLUMNS.join(" | "));
        out += &format!("|---|{}\n", "---:|".repeat(COLUMNS.len() - 1));
        for row in &rows {
            let texts = cells(row).map(|text| cell(&text));
            out += &format!("| {} |\n", texts.join(" | "));
        }
        out += "\nThe run that shows each setting at its worst:\n\n```console\n";
        for row in &rows {
            out += &format!("$ {}\n", row.witness);
        }
        out += "```\n";
        out
    }
}

fn tone(row: &Row) -> Tone {
    if row.safety_violations > 0 || row.did_not_recover > 0 || row.runs_with_unexpected_loss > 0 {
        Tone::Bad
    } else if row.runs_with_loss > 0 || row.undetermined > 0 || row.runs_audited == 0 {
        Tone::Warn
    } else {
        Tone::Good
    }
}

fn mark(tone: Tone) -> &'static str {
    match tone {
        Tone::Bad => "✗",
        Tone::Warn => "!",
        _ => "✓",
    }
}
