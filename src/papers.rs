//! `vetcd completions SHELL` and `vetcd manual`: what packages install beside the binary. They are no
//! flags, and come first on the command line or not at all.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap_complete::Shell;
use vetcd::config::Config;

const USAGE: u8 = 2;

/// Prints what is asked for; `None` when `arguments` ask for something else.
pub fn print(arguments: &[OsString]) -> Option<ExitCode> {
    let words: Vec<_> = arguments.iter().map(|word| word.to_str()).collect();
    let mut text = Vec::new();
    let made = match words.as_slice() {
        [Some("manual")] => clap_mangen::Man::new(Config::parser()).render(&mut text),
        [Some("completions"), shell] => match shell.map(str::parse::<Shell>) {
            Some(Ok(shell)) => {
                clap_complete::generate(shell, &mut Config::parser(), "vetcd", &mut text);
                Ok(())
            }
            _ => Err(io::Error::other(
                "expected one of bash, elvish, fish, powershell, zsh",
            )),
        },
        _ => return None,
    };
    match made.and_then(|()| io::stdout().write_all(&text)) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            super::tell(&format!("{}: {error}", arguments[0].display()));
            Some(ExitCode::from(USAGE))
        }
    }
}
