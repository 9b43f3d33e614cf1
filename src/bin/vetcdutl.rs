//! `vetcdutl`, the offline tool; see [`vetcd::util`].

use std::process::ExitCode;
use std::sync::Arc;

use vetcd::host::os::OsDisk;
use vetcd::util::{Streams, run};

fn main() -> ExitCode {
    let mut streams = Streams {
        out: &mut std::io::BufWriter::new(std::io::stdout().lock()),
        err: &mut std::io::stderr(),
    };
    let arguments = std::env::args_os().skip(1);
    let code = run(arguments, Arc::new(OsDisk), &mut streams);
    // Nobody reads it any more when this fails.
    let _ = streams.out.flush();
    ExitCode::from(code)
}
