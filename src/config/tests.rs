//! What the flags mean, and what is said about wrong ones.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::*;

fn from_line(line: &str) -> Result<Config, Error> {
    Config::from_arguments(line.split_whitespace(), |_| None)
}

fn from_environment(pairs: &[(&str, &str)], line: &str) -> Result<Config, Error> {
    let variables: BTreeMap<&str, &str> = pairs.iter().copied().collect();
    Config::from_arguments(line.split_whitespace(), |name| {
        variables.get(name).map(|value| value.to_string())
    })
}

const THREE: &str = "a=http://127.0.0.1:42380,a=http://127.0.0.1:41380,\
                     b=http://127.0.0.1:42381,c=http://127.0.0.1:42382";

#[test]
fn the_parser_is_well_formed() {
    Config::parser().debug_assert();
}

#[test]
fn defaults_are_etcds() {
    let config = from_line("").unwrap();
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir(), Path::new("default.etcd"));
    let shown = |urls: Vec<MemberUrl>| urls[0].to_string();
    assert_eq!(shown(config.listen_client_urls()), "http://localhost:2379");
    assert_eq!(shown(config.listen_peer_urls()), "http://localhost:2380");
    assert!(config.listen_metrics_urls().is_empty() && config.warnings.is_empty());
    assert_eq!(config.operations.auto_compaction(), Ok(None));
    assert_eq!(config.advertise_client_urls(), ["http://localhost:2379"]);
    assert_eq!(
        (config.heartbeat_interval, config.election_timeout),
        (100, 1000)
    );
    assert_eq!(config.snapshot_count, 10_000);
    assert_eq!(config.snapshot_catchup_entries, 5_000);
    assert_eq!(config.max_txn_ops, 128);
    assert_eq!(config.max_request_bytes, 1_572_864);
    assert_eq!(config.grpc_receive_bytes_max(), 1_572_864 + 524_288);
    assert_eq!(config.backend_batch_interval, Duration::from_millis(100));
    assert_eq!(config.backend_batch_limit, 10_000);
    assert_eq!(config.wal_sync(), SyncPolicy::Always);
    assert!(config.pre_vote && !config.initial_cluster_is_given());
    let cluster = config.cluster().unwrap();
    assert_eq!(cluster.member_id, 0x8e9e05c52164694d);
    assert_eq!(cluster.cluster_id, 0xcdf818194e3a8c32);
}

#[test]
fn a_cluster_gets_the_ids_etcd_gives_it() {
    let config = from_line(&format!(
        "--name a --initial-cluster-token vec-1 --initial-cluster {THREE} \
         --initial-advertise-peer-urls http://127.0.0.1:42380,http://127.0.0.1:41380 \
         --listen-peer-urls http://127.0.0.1:42380"
    ))
    .unwrap();
    let cluster = config.cluster().unwrap();
    assert_eq!(cluster.cluster_id, 0xef000e84c13d599f);
    assert_eq!(cluster.member_id, 0xb2f25ecef5fe067b);
    let members: Vec<_> = cluster
        .members
        .iter()
        .map(|member| (member.id, member.name.as_str()))
        .collect();
    assert_eq!(
        members,
        [
            (0x9222a01efcdb95c3, "c"),
            (0xb2f25ecef5fe067b, "a"),
            (0xf0d3ef8f0cfc0e8a, "b")
        ]
    );
    assert_eq!(
        cluster.members[1].peer_urls,
        ["http://127.0.0.1:41380", "http://127.0.0.1:42380"]
    );
}

#[test]
fn progress_notices_have_a_least_interval() {
    let config = from_line("").unwrap();
    assert_eq!(
        config.watch_progress_notify_interval,
        Duration::from_secs(600)
    );
    assert!(from_line("--watch-progress-notify-interval 100ms").is_ok());
    let error = from_line("--watch-progress-notify-interval 99ms").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("--watch-progress-notify-interval"), "{text}");
}

#[test]
fn zero_means_the_default_where_it_does_in_etcd() {
    let config = from_line("--backend-batch-limit 0 --backend-batch-interval 0").unwrap();
    assert_eq!(config.backend_batch_interval, Duration::from_millis(100));
    assert_eq!(config.backend_batch_limit, 10_000);
    let limits = from_line("--grpc-keepalive-interval 0s")
        .unwrap()
        .serve_limits();
    assert_eq!(limits.keepalive_interval, None);
}

#[test]
fn booleans_are_read_as_in_etcd() {
    for (line, pre_vote) in [
        ("--pre-vote", true),
        ("--pre-vote=true", true),
        ("--pre-vote=false", false),
        ("--pre-vote=F", false),
        (
            "--pre-vote --name a --initial-cluster a=http://localhost:2380",
            true,
        ),
    ] {
        assert_eq!(from_line(line).unwrap().pre_vote, pre_vote, "{line}");
    }
    assert_eq!(
        from_line("--unsafe-no-fsync").unwrap().wal_sync(),
        SyncPolicy::None
    );
    let both = from_line("--unsafe-no-fsync --wal-sync none").unwrap();
    assert_eq!(both.wal_sync(), SyncPolicy::None);
}

#[test]
fn the_environment_stands_in_for_flags() {
    let set = [
        ("ETCD_NAME", "x"),
        ("ETCD_SNAPSHOT_COUNT", "7"),
        ("ETCD_DATA_DIR", ""),
    ];
    let config = from_environment(&set, "--snapshot-count 8").unwrap();
    assert_eq!((config.name.as_str(), config.snapshot_count), ("x", 8));
    assert_eq!(config.data_dir(), Path::new("x.etcd"));

    let error = from_environment(&[("ETCD_ELECTION_TIMEOUT", "soon")], "").unwrap_err();
    assert_eq!(
        error.to_string(),
        "environment variable ETCD_ELECTION_TIMEOUT: invalid value 'soon' for '--election-timeout \
         <MS>': invalid digit found in string"
    );
}

#[test]
fn pairs_go_through_the_same_parser() {
    let pairs = [
        ("wal-sync", "interval:100ms"),
        ("pre-vote", "false"),
        ("name", "m1"),
    ];
    let config = Config::from_pairs(pairs).unwrap();
    assert_eq!(
        config.wal_sync(),
        SyncPolicy::Interval(Duration::from_millis(100))
    );
    assert!(!config.pre_vote);
    let later_wins = Config::from_pairs([("snapshot-count", "1"), ("snapshot-count", "2")]);
    assert_eq!(later_wins.unwrap().snapshot_count, 2);
    assert_eq!(
        Config::from_pairs([("snapshot-cout", "1")])
            .unwrap_err()
            .to_string(),
        "unexpected argument '--snapshot-cout' found; a similar argument exists: \
         '--snapshot-count'"
    );
    // A value cannot smuggle in another flag, and help is no flag.
    assert_eq!(
        Config::from_pairs([("name", "--pre-vote")]).unwrap().name,
        "--pre-vote"
    );
    assert!(Config::from_pairs([("help", "")]).is_err());
}

#[test]
fn known_flags_are_listed() {
    let flags = Config::known_flags();
    assert!(flags.is_sorted());
    for flag in [
        "name",
        "wal-sync",
        "initial-cluster",
        "unsafe-no-fsync",
        "log-format",
    ] {
        assert!(flags.iter().any(|known| known == flag), "{flag}");
    }
    assert!(
        !flags
            .iter()
            .any(|known| known == "help" || known == "version")
    );
    assert_eq!(environment_variable("max-txn-ops"), "ETCD_MAX_TXN_OPS");
}

#[test]
fn help_and_version_are_shown() {
    let Err(Error::Shown(help)) = from_line("--help") else {
        panic!("no help");
    };
    for heading in [
        "Member:",
        "Clustering:",
        "Durability:",
        "Unsafe:",
        "Logging:",
    ] {
        assert!(help.contains(heading), "{heading}");
    }
    let aliases = |flag: &String| {
        flag.starts_with("experimental-watch-")
            || flag.starts_with("experimental-") && flag.ends_with("-check-time")
    };
    for flag in Config::known_flags().iter().filter(|flag| !aliases(flag)) {
        assert!(help.contains(&format!("--{flag}")), "{flag}");
    }
    let version = from_line("--version").unwrap_err();
    assert!(version.to_string().starts_with("vetcd "));
}

#[test]
fn wrong_flags_are_told_clearly() {
    let table = [
        (
            "--heartbeat-interval 300",
            "--election-timeout (1000 ms) must be at least 5 times --heartbeat-interval (300 ms)",
        ),
        (
            "--heartbeat-interval 0",
            "--heartbeat-interval must be longer than 0 ms",
        ),
        (
            "--election-timeout 50001",
            "--election-timeout (50001 ms) must not be longer than 50000 ms",
        ),
        (
            "--snapshot-count 0",
            "--snapshot-count (0) must be at least 1",
        ),
        ("--max-txn-ops 0", "--max-txn-ops (0) must be at least 1"),
        (
            "--wal-segment-bytes 1",
            "--wal-segment-bytes (1) must be at least 4096",
        ),
        (
            "--max-request-bytes 1073741825",
            "--max-request-bytes (1073741825) must be at most 1073741824",
        ),
        (
            "--name a,b",
            "--name \"a,b\" must not be empty nor contain = or ,",
        ),
        (
            "--name a --initial-cluster b=http://b:1",
            "--initial-cluster has no member named \"a\" (--name)",
        ),
        (
            "--name a --initial-cluster a=http://a:1",
            "--initial-cluster gives \"a\" http://a:1, but --initial-advertise-peer-urls is \
             http://localhost:2380",
        ),
        (
            "--initial-cluster default=http://a:1,x=http://a:1",
            "invalid value 'default=http://a:1,x=http://a:1' for '--initial-cluster <MEMBERS>': \
             http://a:1 is given twice, to \"default\" and to \"x\"",
        ),
        (
            "--listen-client-urls http://0.0.0.0:2379",
            "--advertise-client-urls is required when --listen-client-urls is given",
        ),
        (
            "--listen-client-urls http://localhost:2380 --advertise-client-urls http://a:1",
            "--listen-client-urls and --listen-peer-urls both have localhost:2380",
        ),
        (
            "--listen-peer-urls https://a:1",
            "--listen-peer-urls: https://a:1 needs --peer-cert-file and --peer-key-file, or \
             --peer-auto-tls",
        ),
        (
            "--initial-cluster default=http://localhost:2380,b=https://b:1",
            "--initial-cluster: https://b:1 needs --peer-cert-file and --peer-key-file, or \
             --peer-auto-tls",
        ),
        (
            "--listen-peer-urls localhost:1",
            "invalid value 'localhost:1' for '--listen-peer-urls <URLS>': \"localhost:1\" has no \
             scheme: expected http://host:port",
        ),
        (
            "--unsafe-no-fsync --wal-sync always",
            "--unsafe-no-fsync means --wal-sync none and contradicts --wal-sync always",
        ),
        (
            "--read-mode lease",
            "invalid value 'lease' for '--read-mode <MODE>': lease reads are not implemented yet, \
             use read-index",
        ),
        (
            "--backend-batch-interval 5",
            "invalid value '5' for '--backend-batch-interval <TIME>': \"5\" is not a time: expected \
             numbers with units, for example 100ms or 1m30s",
        ),
        (
            "--pre-vote=maybe",
            "invalid value 'maybe' for '--pre-vote[=<BOOL>]': expected true or false",
        ),
        (
            "--initial-cluster-state old",
            "invalid value 'old' for '--initial-cluster-state <STATE>' [possible values: new, \
             existing]",
        ),
        (
            "--elction-timeout 5",
            "unexpected argument '--elction-timeout' found; a similar argument exists: \
             '--election-timeout'",
        ),
        ("start", "unexpected argument 'start' found"),
        ("--cert-file a", "--cert-file is given without --key-file"),
        (
            "--peer-key-file a",
            "--peer-key-file is given without --peer-cert-file",
        ),
        (
            "--auto-tls --cert-file a --key-file b",
            "--cert-file and --auto-tls contradict each other: drop one",
        ),
        (
            "--client-cert-auth",
            "--client-cert-auth needs --trusted-ca-file",
        ),
        (
            "--peer-cert-file a --peer-key-file b",
            "--peer-cert-file needs --peer-trusted-ca-file",
        ),
        (
            "--peer-trusted-ca-file a --peer-cert-allowed-cn b --peer-cert-allowed-hostname c",
            "--peer-cert-allowed-cn and --peer-cert-allowed-hostname exclude each other",
        ),
        (
            "--tls-min-version TLS1.1",
            "invalid value 'TLS1.1' for '--tls-min-version <VERSION>': expected TLS1.2 or TLS1.3",
        ),
        (
            "--tls-min-version TLS1.3 --tls-max-version TLS1.2",
            "--tls-min-version is newer than --tls-max-version",
        ),
        (
            "--tls-min-version TLS1.3 --cipher-suites TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "--cipher-suites cannot be chosen when --tls-min-version is TLS1.3",
        ),
        (
            "--auto-compaction-retention soon",
            "--auto-compaction-retention \"soon\": expected hours, or a time as 30m",
        ),
        (
            "--auto-compaction-mode revision --auto-compaction-retention 1h",
            "--auto-compaction-retention \"1h\": expected a number of revisions",
        ),
        (
            "--listen-metrics-urls http://localhost:2379",
            "--listen-client-urls and --listen-metrics-urls both have localhost:2379",
        ),
        ("--log-outputs stderr,", "--log-outputs has an empty target"),
        (
            "--discovery https://discovery.etcd.io/x",
            "--discovery https://discovery.etcd.io/x: discovery is not supported, and a member \
             without it would start a cluster of its own: use --initial-cluster",
        ),
        ("--proxy on", "--proxy on: there is no v2 proxy"),
    ];
    for (line, message) in table {
        assert_eq!(from_line(line).unwrap_err().to_string(), message, "{line}");
    }
    let policy = from_line("--wal-sync sometimes").unwrap_err().to_string();
    assert!(
        policy.contains("unknown sync policy \"sometimes\""),
        "{policy}"
    );
}

#[test]
fn flags_without_effect_are_accepted_with_the_reason() {
    let config = from_line(
        "--enable-v2 --max-snapshots 5 --backend-bbolt-freelist-type map --logger zap \
         --socket-reuse-address=true --proxy off --discovery= --enable-pprof=false",
    )
    .unwrap();
    assert_eq!(
        config.warnings,
        [
            "--max-snapshots has no effect: files of the log and snapshots are removed as soon as \
             nothing needs them",
            "--backend-bbolt-freelist-type has no effect: the store is not bbolt",
            "--enable-v2 has no effect: there is no v2 API",
        ]
    );
    let set = [("ETCD_ENABLE_V2", "true")];
    let config = from_environment(&set, "").unwrap();
    assert_eq!(
        config.warnings,
        ["--enable-v2 has no effect: there is no v2 API"]
    );
}

#[test]
fn tls_is_asked_for_by_urls_and_given_by_files() {
    let urls = "--listen-client-urls https://a:1 --advertise-client-urls https://a:1";
    assert!(from_line(urls).is_err());
    let config = from_line(&format!("{urls} --auto-tls")).unwrap();
    assert!(config.listen_client_urls()[0].tls && config.warnings.is_empty());
    let config = from_line("--cert-file a --key-file b --tls-max-version=").unwrap();
    assert_eq!(
        config.warnings,
        [
            "--listen-client-urls: http://localhost:2379 is served without TLS, although \
             --cert-file or the like is given"
        ]
    );
    let error = from_line("--cipher-suites TLS_RSA_WITH_RC4_128_SHA").unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("\"TLS_RSA_WITH_RC4_128_SHA\" is not one of"),
        "{error}"
    );
    let suite = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    assert!(from_line(&format!("--cipher-suites {suite}")).is_ok());
}

#[test]
fn automatic_compaction_is_read_as_in_etcd() {
    for (line, expected) in [
        ("", None),
        ("--auto-compaction-retention 0", None),
        ("--auto-compaction-retention 0s", None),
        (
            "--auto-compaction-retention 5",
            Some(Retention::Age(Duration::from_secs(5 * 3600))),
        ),
        (
            "--auto-compaction-mode periodic --auto-compaction-retention 30m",
            Some(Retention::Age(Duration::from_secs(1800))),
        ),
        (
            "--auto-compaction-mode revision --auto-compaction-retention 1000",
            Some(Retention::Revisions(1000)),
        ),
    ] {
        let config = from_line(line).unwrap();
        assert_eq!(config.operations.auto_compaction(), Ok(expected), "{line}");
    }
}

fn from_file(text: &str, line: &str) -> Result<Config, Error> {
    let line = format!("--config-file c.yaml {line}");
    let read = |path: &Path| match path.to_str() {
        Some("c.yaml") => Ok(text.to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let name_is_given = |name: &str| (name == "ETCD_NAME").then(|| "environment".to_owned());
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    Config::from_sources(words, name_is_given, read)
}

#[test]
fn a_file_stands_in_for_all_flags() {
    let config = from_file("name: file\nsnapshot-count: 7\n", "--snapshot-count 8").unwrap();
    assert_eq!((config.name.as_str(), config.snapshot_count), ("file", 7));
    assert_eq!(
        config.warnings,
        ["--config-file c.yaml is given: other flags and ETCD_ variables are ignored"]
    );
    for (text, reason) in [
        (
            "snapshot-cout: 7",
            "--config-file c.yaml: unknown key \"snapshot-cout\"; a similar key exists: \
             \"snapshot-count\"",
        ),
        (
            "election-timeout: 100",
            "--config-file c.yaml: --election-timeout (100 ms) must be at least 5 times \
             --heartbeat-interval (100 ms)",
        ),
    ] {
        assert_eq!(from_file(text, "").unwrap_err().to_string(), reason);
    }
    let missing = from_file("", "--config-file d.yaml")
        .unwrap_err()
        .to_string();
    assert!(missing.contains("d.yaml"), "{missing}");
}
