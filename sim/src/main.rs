//! `vetcd-sim`: hands the parts of the testbed to the command line.

use std::process::ExitCode;

use vetcd_sim::cli::{self, Engine};
use vetcd_sim::cluster::Flags;
use vetcd_sim::run::{HistoryJudge, SimRunner};

fn main() -> ExitCode {
    cli::main(Engine {
        runner: &SimRunner,
        flags: &Flags,
        judge: &HistoryJudge,
    })
}
