//! What people see: one run in full, or in a line among many.

use std::time::Duration;

use super::result::{
    CheckResult, CheckVerdict, FiredFault, JudgedHistory, LatencySummary, RunResult, Verdict,
};
use super::style::{Style, Tone, counted, moment, rounded, significant, thousands};
use crate::check::service::Outages;

/// The most timeline lines shown; the rest is in `result.json`.
const TIMELINE_MAX: usize = 40;

/// One run in full. `speed` adds the wall time, which differs from run to run.
pub fn single(result: &RunResult, style: Style, speed: bool) -> String {
    let mut out = head(result, style);
    out += &timeline(result, style);
    out += &numbers(result, style);
    out += &checks(&result.checks, style);
    out += &verdict(result, style);
    if speed {
        out += &speed_line(result, style);
    }
    out += &style.line(Tone::Name, "Replay", &result.replay);
    out
}

fn head(result: &RunResult, style: Style) -> String {
    let mut title = style.paint(Tone::Name, &result.scenario);
    if !result.description.is_empty() {
        title += &format!(": {}", result.description);
    }
    let mut out = style.line(Tone::Good, "Scenario", &title);
    let mut facts = vec![
        format!("seed {}", result.seed),
        counted(u64::from(result.members), "member"),
        format!("{} disk", result.disk_profile),
    ];
    facts.extend(
        result
            .server
            .iter()
            .map(|(flag, value)| format!("{flag} {value}")),
    );
    facts.extend(
        result
            .defects
            .iter()
            .map(|defect| format!("defect {defect}")),
    );
    out += &style.line(Tone::Good, "Run", &facts.join(" · "));
    out
}

fn timeline(result: &RunResult, style: Style) -> String {
    let mut entries: Vec<(Duration, u8, String)> = Vec::new();
    let mut previous = None;
    for leader in &result.leaders {
        let from = match previous {
            Some(member) if member != leader.member => format!("member {member} -> "),
            _ => String::new(),
        };
        previous = Some(leader.member);
        let text = format!("{from}member {} (term {})", leader.member, leader.term);
        entries.push((leader.at, 1, format!("{:<13} {text}", "leader")));
    }
    for fault in &result.faults {
        entries.push((fault.at, 0, fault_text(fault, style)));
    }
    entries.sort();
    let mut out = String::new();
    for (row, (at, _, text)) in entries.iter().take(TIMELINE_MAX).enumerate() {
        let word = if row == 0 { "Timeline" } else { "" };
        out += &style.line(Tone::Name, word, &format!("{:>9}  {text}", moment(*at)));
    }
    if entries.len() > TIMELINE_MAX {
        let more = format!(
            "… and {} more, see result.json",
            entries.len() - TIMELINE_MAX
        );
        out += &style.line(Tone::Dim, "", &more);
    }
    out
}

/// `partition     member 2 (leader), until 16.000s`.
fn fault_text(fault: &FiredFault, style: Style) -> String {
    let kind = style.paint(Tone::Warn, &format!("{:<13}", fault.kind));
    let mut text = format!("{kind} {}", members(&fault.members));
    if text_adds(&fault.on) {
        text += &format!(" ({})", fault.on);
    }
    if !fault.detail.is_empty() {
        text += &format!(", {}", fault.detail);
    }
    if let Some(ended_at) = fault.ended_at {
        text += &format!(", until {}", moment(ended_at));
    }
    text
}

/// Whether the rule says more than the members' numbers do.
fn text_adds(rule: &str) -> bool {
    !rule.starts_with("member ")
}

fn members(numbers: &[u32]) -> String {
    let list: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    match list.len() {
        0 => "nobody".into(),
        1 => format!("member {}", list[0]),
        _ => format!("members {}", list.join(", ")),
    }
}

fn numbers(result: &RunResult, style: Style) -> String {
    let operations = &result.operations;
    let counts = format!(
        "{} ok · {} failed · {} unknown · {}/s",
        thousands(operations.ok),
        thousands(operations.failed),
        thousands(operations.unknown),
        significant(result.throughput_per_second)
    );
    let mut out = style.line(Tone::Name, "Operations", &counts);
    let latency = |name: &str, summary: &LatencySummary| {
        format!(
            "{name} p50 {} p99 {}",
            rounded(summary.p50),
            rounded(summary.p99)
        )
    };
    let latencies = format!(
        "{} · {} (modelled, {} disk)",
        latency("reads", &result.reads),
        latency("writes", &result.writes),
        result.disk_profile
    );
    out += &style.line(Tone::Name, "Latency", &latencies);
    let syncs = format!(
        "{} · {} per write · {}",
        thousands(result.syncs.total),
        significant(result.syncs.per_write),
        counted(u64::from(result.elections), "election")
    );
    out += &style.line(Tone::Name, "Syncs", &syncs);
    if let Some(recovery) = result.recovery_time {
        let text = format!("{} after the last fault", rounded(recovery));
        out += &style.line(Tone::Name, "Recovery", &text);
    }
    out += &outages(&result.outages, style);
    if !result.reached.is_empty() {
        out += &style.line(Tone::Name, "Reached", &result.reached.join(", "));
    }
    out
}

/// For how long nobody was served.
fn outages(outages: &Outages, style: Style) -> String {
    let Some(longest) = outages.longest else {
        return String::new();
    };
    let mut text = format!(
        "longest without any {} from {}",
        rounded(Duration::from_nanos(longest.length())),
        moment(Duration::from_nanos(longest.from_ns))
    );
    if outages.count > 0 {
        text += &format!(
            " · {} of a second or more, {} in all",
            counted(outages.count, "window"),
            rounded(Duration::from_nanos(outages.total_ns))
        );
    }
    style.line(Tone::Name, "Service", &text)
}

/// What is said about a history recorded elsewhere.
pub fn history(shown: &str, judged: &JudgedHistory, verdict: Verdict, style: Style) -> String {
    let operations = &judged.operations;
    let counts = format!(
        "{shown}: {} ok · {} failed · {} unknown",
        thousands(operations.ok),
        thousands(operations.failed),
        thousands(operations.unknown)
    );
    let mut out = style.line(Tone::Good, "History", &counts);
    for note in &judged.notes {
        out += &style.line(Tone::Dim, "", note);
    }
    out += &outages(&judged.outages, style);
    out += &checks(&judged.checks, style);
    let (tone, word) = word_of(verdict);
    out + &style.line(tone, word, verdict.doc())
}

fn checks(checks: &[CheckResult], style: Style) -> String {
    let mut out = String::new();
    let width = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    for (row, check) in checks.iter().enumerate() {
        let mark = match check.verdict {
            CheckVerdict::Pass => style.paint(Tone::Good, "✓"),
            CheckVerdict::Fail => style.paint(Tone::Bad, "✗"),
            CheckVerdict::Undetermined => style.paint(Tone::Warn, "?"),
            CheckVerdict::Skipped => style.paint(Tone::Dim, "-"),
        };
        let word = if row == 0 { "Checks" } else { "" };
        let text = format!("{mark} {:<width$}  {}", check.name, check.text);
        out += &style.line(Tone::Name, word, &text);
        if check.verdict != CheckVerdict::Pass {
            for detail in &check.detail {
                out += &style.line(Tone::Dim, "", &format!("    {detail}"));
            }
        }
    }
    out
}

fn verdict(result: &RunResult, style: Style) -> String {
    let (tone, word) = word_of(result.verdict);
    let mut text = result.verdict.name().to_string();
    if !result.reason.is_empty() {
        text = match result.verdict {
            Verdict::Pass => result.reason.clone(),
            _ => format!("{text}: {}", result.reason),
        };
    } else if result.verdict == Verdict::Pass {
        text = result.verdict.doc().to_string();
    }
    let mut out = style.line(tone, word, &text);
    if let Some(loss) = loss_text(result) {
        out += &style.line(Tone::Warn, "Lost", &loss);
    }
    out
}

/// What is to be said about lost writes; `None` when there are none.
pub fn loss_text(result: &RunResult) -> Option<String> {
    let lost = &result.lost_writes;
    if lost.count == 0 {
        return None;
    }
    let kind = if lost.expected {
        "expected loss"
    } else {
        "loss"
    };
    let age = rounded(lost.worst_age);
    let mut text = format!(
        "{kind}: {}, the oldest acknowledged {age} before",
        counted(lost.count, "acknowledged write")
    );
    match &lost.blamed {
        Some(blamed) => text += &format!("; {blamed}"),
        None if lost.expected => text += "; the durability setting does not promise them",
        None => {}
    }
    Some(text)
}

fn word_of(verdict: Verdict) -> (Tone, &'static str) {
    match verdict {
        Verdict::Pass => (Tone::Good, "PASS"),
        Verdict::Undetermined => (Tone::Warn, "UNDETERMINED"),
        Verdict::InternalError => (Tone::Bad, "ERROR"),
        Verdict::ExpectedViolationMissing => (Tone::Bad, "NO PROOF"),
        _ => (Tone::Bad, "FAIL"),
    }
}

/// Virtual against wall time; on its own line since it differs from run to run.
pub fn speed_line(result: &RunResult, style: Style) -> String {
    let wall = result.wall_time.as_secs_f64();
    if wall <= 0.0 {
        return String::new();
    }
    let ratio = result.virtual_time.as_secs_f64() / wall;
    let text = format!(
        "{} virtual in {} wall: {} virtual seconds per second",
        rounded(result.virtual_time),
        rounded(result.wall_time),
        significant(ratio)
    );
    style.line(Tone::Dim, "Speed", &text)
}

/// One run among many, in a line; a failure adds its reason and the line that replays it.
pub fn brief(result: &RunResult, style: Style) -> String {
    let (tone, word) = word_of(result.verdict);
    let mut text = format!(
        "{} seed {}",
        style.paint(Tone::Name, &result.scenario),
        result.seed
    );
    text += &format!("  {} ok", thousands(result.operations.ok));
    if result.operations.unknown > 0 {
        text += &format!(", {} unknown", thousands(result.operations.unknown));
    }
    if let Some(recovery) = result.recovery_time {
        text += &format!(", recovered in {}", rounded(recovery));
    }
    if result.lost_writes.count > 0 {
        let expected = if result.lost_writes.expected {
            "expected loss of"
        } else {
            "lost"
        };
        text += &format!(
            ", {expected} {}",
            counted(result.lost_writes.count, "write")
        );
    }
    let hash: String = result.trace_hash.chars().take(12).collect();
    if !hash.is_empty() {
        text += &format!("  {}", style.paint(Tone::Dim, &hash));
    }
    let mut out = style.line(tone, word, &text);
    if result.verdict != Verdict::Pass {
        let reason = format!("{}: {}", result.verdict.name(), result.reason);
        out += &style.line(Tone::Dim, "", reason.trim_end_matches(": "));
        out += &style.line(Tone::Dim, "replay:", &result.replay);
    }
    out
}
