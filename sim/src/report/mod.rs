//! Reports: terminal, JSON, Markdown, GitHub annotations, and the files a run leaves.
//!
//! All but [`files`] are pure functions of [`RunResult`]; none runs a check. What is compared
//! between runs (JSON, the lines of many runs) holds no wall time and no absolute path.

pub mod files;
pub mod github;
pub mod json;
pub mod markdown;
pub mod result;
pub mod style;
pub mod summary;
pub mod terminal;

pub use result::{
    CheckResult, CheckVerdict, FiredFault, JudgedHistory, LatencySummary, LeaderChange,
    LostWritesFound, Operations, RunResult, Syncs, Verdict,
};
pub use style::Style;
pub use summary::Summary;
