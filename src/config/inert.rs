//! etcd's flags that have nothing to act on in vetcd. They are accepted, so that a unit file written
//! for etcd works, with a warning that says why they do nothing. Where doing nothing would be
//! dangerous the flag is refused unless its value asks for nothing.

use clap::{Arg, ArgAction, Command};

/// What kind of value a flag takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// A value.
    Value,
    /// Nothing, or a boolean behind `=`.
    Switch,
}

use Takes::{Switch, Value};

/// One flag: its name, its value, the values that ask for nothing, why it does nothing, and whether
/// any other value is refused.
struct Inert {
    flag: &'static str,
    takes: Takes,
    harmless: &'static [&'static str],
    why: &'static str,
    refuse: bool,
}

const fn inert(
    flag: &'static str,
    takes: Takes,
    harmless: &'static [&'static str],
    why: &'static str,
) -> Inert {
    Inert {
        flag,
        takes,
        harmless,
        why,
        refuse: false,
    }
}

const fn refused(
    flag: &'static str,
    takes: Takes,
    harmless: &'static [&'static str],
    why: &'static str,
) -> Inert {
    Inert {
        refuse: true,
        ..inert(flag, takes, harmless, why)
    }
}

const NO_BBOLT: &str = "the store is not bbolt";
const NO_V2: &str = "there is no v2 API";
const NO_PROXY: &str = "there is no v2 proxy";
const NO_DISCOVERY: &str = "discovery is not supported, and a member without it would start a cluster of its own: use \
     --initial-cluster";
const NO_TRACING: &str = "distributed tracing is not supported";
const FILES_GO: &str = "files of the log and snapshots are removed as soon as nothing needs them";
const OFF: &[&str] = &["", "false", "0", "f", "F", "FALSE", "False"];

const FLAGS: &[Inert] = &[
    inert("max-snapshots", Value, &[], FILES_GO),
    inert("backend-bbolt-freelist-type", Value, &[], NO_BBOLT),
    inert("memory-mlock", Switch, OFF, "memory is not locked"),
    inert(
        "grpc-keepalive-min-time",
        Value,
        &[],
        "clients may ping as often as they like",
    ),
    inert(
        "socket-reuse-port",
        Switch,
        OFF,
        "listeners do not share ports",
    ),
    inert(
        "socket-reuse-address",
        Switch,
        &["true"],
        "listeners always reuse addresses in TIME_WAIT",
    ),
    refused(
        "wal-dir",
        Value,
        &[""],
        "the log lives in the data directory",
    ),
    refused("discovery", Value, &[""], NO_DISCOVERY),
    inert("discovery-fallback", Value, &[""], NO_DISCOVERY),
    inert("discovery-proxy", Value, &[""], NO_DISCOVERY),
    refused("discovery-srv", Value, &[""], NO_DISCOVERY),
    inert("discovery-srv-name", Value, &[""], NO_DISCOVERY),
    inert("discovery-endpoints", Value, &[""], NO_DISCOVERY),
    refused("discovery-token", Value, &[""], NO_DISCOVERY),
    inert("enable-v2", Switch, OFF, NO_V2),
    inert("v2-deprecation", Value, &[], NO_V2),
    inert("experimental-enable-v2v3", Value, &[""], NO_V2),
    refused("proxy", Value, &["off"], NO_PROXY),
    inert("proxy-failure-wait", Value, &[], NO_PROXY),
    inert("proxy-refresh-interval", Value, &[], NO_PROXY),
    inert("proxy-dial-timeout", Value, &[], NO_PROXY),
    inert("proxy-write-timeout", Value, &[], NO_PROXY),
    inert("proxy-read-timeout", Value, &[], NO_PROXY),
    inert("cors", Value, &["", "*"], "every origin is allowed"),
    inert(
        "host-whitelist",
        Value,
        &["", "*"],
        "every host name is accepted",
    ),
    inert(
        "enable-pprof",
        Switch,
        OFF,
        "Go's profiles do not exist here",
    ),
    inert("logger", Value, &["zap"], "there is one logger"),
    inert(
        "enable-log-rotation",
        Switch,
        OFF,
        "rotate files from outside, or log to stderr",
    ),
    inert(
        "log-rotation-config-json",
        Value,
        &[],
        "rotate files from outside, or log to stderr",
    ),
    inert("enable-distributed-tracing", Switch, OFF, NO_TRACING),
    inert("distributed-tracing-address", Value, &[], NO_TRACING),
    inert("distributed-tracing-service-name", Value, &[], NO_TRACING),
    inert("distributed-tracing-instance-id", Value, &[], NO_TRACING),
    inert("distributed-tracing-sampling-rate", Value, &[], NO_TRACING),
    inert(
        "experimental-enable-distributed-tracing",
        Switch,
        OFF,
        NO_TRACING,
    ),
    inert(
        "experimental-distributed-tracing-address",
        Value,
        &[],
        NO_TRACING,
    ),
    inert(
        "experimental-distributed-tracing-service-name",
        Value,
        &[],
        NO_TRACING,
    ),
    inert(
        "experimental-distributed-tracing-instance-id",
        Value,
        &[],
        NO_TRACING,
    ),
    inert(
        "compaction-batch-limit",
        Value,
        &["1000"],
        "compaction works in steps of 1000",
    ),
    inert(
        "experimental-compaction-batch-limit",
        Value,
        &["1000"],
        "compaction works in steps of 1000",
    ),
    inert(
        "compaction-sleep-interval",
        Value,
        &["10ms"],
        "compaction pauses for 10ms between steps",
    ),
    inert(
        "experimental-peer-skip-client-san-verification",
        Switch,
        &[],
        "names in members' client certificates are not compared with addresses",
    ),
    inert(
        "warning-apply-duration",
        Value,
        &[],
        "slow requests are not logged; the metrics show them",
    ),
    inert(
        "experimental-warning-apply-duration",
        Value,
        &[],
        "slow requests are not logged; the metrics show them",
    ),
    inert(
        "warning-unary-request-duration",
        Value,
        &[],
        "slow requests are not logged; the metrics show them",
    ),
    inert(
        "experimental-txn-mode-write-with-shared-buffer",
        Switch,
        &["true"],
        NO_BBOLT,
    ),
    inert(
        "bootstrap-defrag-threshold-megabytes",
        Value,
        &["", "0"],
        "the store is not defragmented at start",
    ),
    inert(
        "experimental-bootstrap-defrag-threshold-megabytes",
        Value,
        &["", "0"],
        "the store is not defragmented at start",
    ),
    inert(
        "downgrade-check-time",
        Value,
        &[],
        "there is no downgrade to check for",
    ),
];

/// The heading of these flags in the help text.
const HEADING: &str = "Accepted for etcd's sake, without effect";

/// Adds the flags to the parser.
pub(super) fn add_to(command: Command) -> Command {
    command.args(FLAGS.iter().map(|inert| {
        let argument = Arg::new(inert.flag)
            .long(inert.flag)
            .help_heading(HEADING)
            .help(inert.why)
            .action(ArgAction::Set);
        match inert.takes {
            Takes::Value => argument.value_name("VALUE").allow_hyphen_values(true),
            Takes::Switch => argument
                .value_name("BOOL")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true"),
        }
    }))
}

/// What to warn about; an error for what must not be ignored.
pub(super) fn judge(matches: &clap::ArgMatches) -> Result<Vec<String>, super::Error> {
    let mut warnings = Vec::new();
    for inert in FLAGS {
        let Some(value) = matches.get_one::<String>(inert.flag) else {
            continue;
        };
        if inert.harmless.contains(&value.as_str()) {
            continue;
        }
        let Inert { flag, why, .. } = inert;
        if inert.refuse {
            return super::invalid(format!("--{flag} {value}: {why}"));
        }
        warnings.push(format!("--{flag} has no effect: {why}"));
    }
    Ok(warnings)
}
