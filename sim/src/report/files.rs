//! The files a run leaves: `plan.toml`, `result.json`, `history.jsonl` in a directory of its own.
//!
//! Each is written beside its name and renamed, so that an interrupted run leaves no half file.
#![allow(clippy::disallowed_methods)] // These are the user's files, outside every simulation.

use std::io;
use std::path::{Path, PathBuf};

use super::json;
use super::result::RunResult;
use crate::history::History;
use crate::plan::Plan;

/// The directory below `out` for a run: `smoke-quickstart-7`, and the settings when they differ
/// from the scenario's.
pub fn directory(out: &Path, plan: &Plan) -> PathBuf {
    let mut name = format!("{}-{}", plan.scenario, plan.seed);
    for set in &plan.overrides {
        name += &format!("-{set}");
    }
    for defect in plan.defects() {
        name += &format!("-{defect}");
    }
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._-@".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = name.chars().map(plain).take(150).collect();
    out.join(name)
}

/// Writes a run's files and returns their directory.
///
/// # Errors
/// The first file that cannot be written.
pub fn write(
    out: &Path,
    plan: &Plan,
    result: &RunResult,
    history: &History,
) -> io::Result<PathBuf> {
    let directory = directory(out, plan);
    std::fs::create_dir_all(&directory)?;
    let plan_toml = plan.to_toml();
    write_file(&directory.join("plan.toml"), plan_toml.as_bytes())?;
    let mut lines = Vec::new();
    history.write(&mut lines).map_err(io::Error::other)?;
    write_file(&directory.join("history.jsonl"), &lines)?;
    write_file(
        &directory.join("result.json"),
        json::result(result, &plan_toml).as_bytes(),
    )?;
    Ok(directory)
}

/// Writes a whole file or none of it.
///
/// # Errors
/// When it cannot be written or renamed.
pub fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    let beside = PathBuf::from(beside);
    std::fs::write(&beside, content)?;
    std::fs::rename(&beside, path)
}
