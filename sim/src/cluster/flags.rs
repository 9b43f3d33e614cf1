//! The flags that members are started with, and the check of those that scenarios give.

use std::collections::BTreeMap;

use vetcd::config::Config;

use super::{CLIENT_PORT, PEER_PORT};
use crate::scenario::{FlagProblem, ServerFlags};

/// The flags of member `number` in a cluster of `size`, before the scenario's own.
fn base_flags(number: u32, size: u32) -> Vec<(String, String)> {
    let cluster: Vec<String> = (1..=size)
        .map(|n| format!("m{n}=http://m{n}:{PEER_PORT}"))
        .collect();
    let flags = [
        ("name", format!("m{number}")),
        ("data-dir", "data".to_owned()),
        ("listen-peer-urls", format!("http://m{number}:{PEER_PORT}")),
        (
            "listen-client-urls",
            format!("http://m{number}:{CLIENT_PORT}"),
        ),
        (
            "initial-advertise-peer-urls",
            format!("http://m{number}:{PEER_PORT}"),
        ),
        (
            "advertise-client-urls",
            format!("http://m{number}:{CLIENT_PORT}"),
        ),
        ("initial-cluster", cluster.join(",")),
    ];
    flags.map(|(flag, value)| (flag.to_owned(), value)).into()
}

/// The configuration of member `number`, from the plan's flags.
///
/// # Errors
/// What the server itself says about its flags.
pub fn member_config(
    number: u32,
    size: u32,
    server: &BTreeMap<String, String>,
) -> Result<Config, vetcd::config::Error> {
    let mut flags = base_flags(number, size);
    flags.extend(
        server
            .iter()
            .map(|(flag, value)| (flag.clone(), value.clone())),
    );
    let config = Config::from_pairs(flags)?;
    config.validate()?;
    Ok(config)
}

/// The server's own parser, for the flags that scenarios give.
pub struct Flags;

/// Flags that the testbed sets itself.
const OWN_FLAGS: &[&str] = &[
    "name",
    "data-dir",
    "listen-peer-urls",
    "listen-client-urls",
    "initial-advertise-peer-urls",
    "advertise-client-urls",
    "initial-cluster",
    "initial-cluster-state",
    "initial-cluster-token",
    "log-level",
    "log-format",
    "log-outputs",
    "config-file",
];

impl ServerFlags for Flags {
    fn names(&self) -> Vec<String> {
        let mut names = Config::known_flags();
        names.retain(|name| !OWN_FLAGS.contains(&name.as_str()));
        names
    }

    fn check(&self, flags: &BTreeMap<String, String>) -> Result<(), FlagProblem> {
        // One by one first, so that a bad value is reported at its own place.
        for (flag, value) in flags {
            let alone = Config::from_pairs([(flag, value)]);
            if let Err(vetcd::config::Error::Flag(message)) = alone {
                return Err(FlagProblem {
                    flag: flag.clone(),
                    message,
                });
            }
        }
        member_config(1, 3, flags).map(|_| ()).map_err(|error| {
            let message = error.to_string();
            let named = flags.keys().find(|flag| message.contains(flag.as_str()));
            let flag = named.or(flags.keys().next()).cloned().unwrap_or_default();
            FlagProblem { flag, message }
        })
    }
}
