//! The same histories judged by Porcupine, where a Go toolchain is present: the program is built
//! from `../porcupine` in a directory that is removed afterwards, and its module comes from wherever
//! `go` gets modules. Without either, the benchmark says so and goes on.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use vetcd_sim::history::History;

const SOURCES: [(&str, &str); 3] = [
    ("main.go", include_str!("../porcupine/main.go")),
    ("go.mod", include_str!("../porcupine/go.mod")),
    ("go.sum", include_str!("../porcupine/go.sum")),
];

/// The program, built.
pub struct Porcupine {
    directory: tempfile::TempDir,
}

impl Porcupine {
    /// Builds the program.
    ///
    /// # Errors
    /// Why it cannot be built here; no toolchain is the most likely reason.
    pub fn build() -> Result<Porcupine, String> {
        let build = || -> io::Result<Result<Porcupine, String>> {
            let directory = tempfile::tempdir()?;
            for (name, text) in SOURCES {
                write(&directory.path().join(name), text.as_bytes())?;
            }
            let go = Command::new("go")
                .args(["build", "-o", "porcupine", "."])
                .current_dir(directory.path())
                .output()?;
            if go.status.success() {
                return Ok(Ok(Porcupine { directory }));
            }
            Ok(Err(String::from_utf8_lossy(&go.stderr).trim().to_owned()))
        };
        match build() {
            Ok(built) => built,
            Err(error) => Err(format!("go: {error}")),
        }
    }

    /// Judges a history; the verdict and the seconds it took.
    ///
    /// # Errors
    /// The history cannot be written, or the program fails.
    pub fn judge(&self, history: &History, seconds_max: u64) -> io::Result<String> {
        let path = self.directory.path().join("history.jsonl");
        let mut text = Vec::new();
        history.write(&mut text).map_err(io::Error::other)?;
        write(&path, &text)?;
        let done = Command::new(self.directory.path().join("porcupine"))
            .arg(&path)
            .arg(seconds_max.to_string())
            .stderr(Stdio::inherit())
            .output()?;
        if !done.status.success() {
            return Ok(format!("no verdict: {}", done.status));
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a benchmark's own temporary file"
)]
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    std::fs::write(path, bytes)
}
