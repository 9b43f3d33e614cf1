//! GitHub's workflow commands: a failure becomes an annotation on the scenario's file.

use super::result::{RunResult, Verdict};
use super::terminal::loss_text;

/// An annotation for a run that did not pass; empty for one that did.
pub fn annotation(result: &RunResult) -> String {
    let level = match result.verdict {
        Verdict::Pass => return String::new(),
        Verdict::Undetermined => "warning",
        _ => "error",
    };
    let mut message = format!("{}: {}", result.verdict.name(), result.reason);
    if let Some(loss) = loss_text(result) {
        message += &format!("\n{loss}");
    }
    message += &format!("\nreplay: {}", result.replay);
    format!(
        "::{level} file={},title={}::{}\n",
        property(&result.path),
        property(&format!("{} seed {}", result.scenario, result.seed)),
        escape(&message)
    )
}

fn escape(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    escape(text).replace(':', "%3A").replace(',', "%2C")
}
