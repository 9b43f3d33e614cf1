//! `docs/compatibility.md` against the server: what it says of flags, paths and metrics is true.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use vetcd::config::Config;

/// The flags that `etcd --help` of 3.5.1 lists.
const ETCD_3_5: &str = "advertise-client-urls auth-token auth-token-ttl auto-compaction-mode \
    auto-compaction-retention auto-tls backend-batch-interval backend-batch-limit \
    backend-bbolt-freelist-type bcrypt-cost cert-file cipher-suites client-cert-allowed-hostname \
    client-cert-auth client-crl-file cors data-dir discovery discovery-fallback discovery-proxy \
    discovery-srv discovery-srv-name election-timeout enable-log-rotation enable-pprof enable-v2 \
    experimental-bootstrap-defrag-threshold-megabytes experimental-compaction-batch-limit \
    experimental-corrupt-check-time experimental-distributed-tracing-address \
    experimental-distributed-tracing-instance-id experimental-distributed-tracing-service-name \
    experimental-enable-distributed-tracing experimental-enable-lease-checkpoint \
    experimental-enable-v2v3 experimental-initial-corrupt-check \
    experimental-peer-skip-client-san-verification \
    experimental-txn-mode-write-with-shared-buffer experimental-warning-apply-duration \
    experimental-watch-progress-notify-interval force-new-cluster grpc-keepalive-interval \
    grpc-keepalive-min-time grpc-keepalive-timeout heartbeat-interval host-whitelist \
    initial-advertise-peer-urls initial-cluster initial-cluster-state initial-cluster-token \
    initial-election-tick-advance key-file listen-client-urls listen-metrics-urls \
    listen-peer-urls log-level log-outputs log-rotation-config-json logger max-request-bytes \
    max-snapshots max-txn-ops max-wals metrics name peer-auto-tls peer-cert-allowed-cn \
    peer-cert-allowed-hostname peer-cert-file peer-client-cert-auth peer-crl-file peer-key-file \
    peer-trusted-ca-file pre-vote proxy proxy-dial-timeout proxy-failure-wait proxy-read-timeout \
    proxy-refresh-interval proxy-write-timeout quota-backend-bytes self-signed-cert-validity \
    snapshot-count socket-reuse-address socket-reuse-port strict-reconfig-check trusted-ca-file \
    unsafe-no-fsync v2-deprecation wal-dir";

/// Flags that later versions add.
const LATER: &str = "snapshot-catchup-entries max-concurrent-streams listen-client-http-urls tls-min-version \
    tls-max-version log-format memory-mlock max-learners feature-gates \
    watch-progress-notify-interval warning-apply-duration warning-unary-request-duration \
    corrupt-check-time compact-hash-check-time experimental-compact-hash-check-enabled \
    experimental-compact-hash-check-time compaction-batch-limit compaction-sleep-interval \
    bootstrap-defrag-threshold-megabytes downgrade-check-time discovery-token \
    discovery-endpoints enable-distributed-tracing distributed-tracing-address \
    distributed-tracing-service-name distributed-tracing-instance-id \
    distributed-tracing-sampling-rate config-file";

/// The rows of a section's table: the name in backquotes, and the state.
fn rows(section: &str, state_column: usize) -> BTreeMap<String, String> {
    let document = include_str!("../docs/compatibility.md");
    let (_, section) = document.split_once(&format!("\n## {section}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`').to_owned();
        (name, cells[state_column].to_owned())
    })
    .collect()
}

#[test]
fn every_flag_of_etcd_is_accounted_for() {
    let known = Config::known_flags();
    let mut rows = rows("Flags", 2);
    for flag in ETCD_3_5.split_whitespace().chain(LATER.split_whitespace()) {
        let state = rows
            .remove(&format!("--{flag}"))
            .unwrap_or_else(|| panic!("--{flag} is not in docs/compatibility.md"));
        let is_known = known.iter().any(|known| known == flag);
        match state.as_str() {
            "done" | "differs" => assert!(is_known, "--{flag} is not there"),
            "absent" => assert!(!is_known, "--{flag} is there"),
            "accepted" => {
                let config = Config::from_pairs([(flag, "7")]).unwrap();
                assert!(
                    config
                        .warnings
                        .iter()
                        .any(|warning| warning.starts_with(&format!("--{flag} "))),
                    "--{flag} is accepted in silence"
                );
            }
            "refused" => assert!(
                Config::from_pairs([(flag, "7")]).is_err(),
                "--{flag} is taken"
            ),
            other => panic!("--{flag}: unknown state {other}"),
        }
    }
    assert!(rows.is_empty(), "no flags of etcd: {rows:?}");
}

#[test]
fn every_path_of_the_gateway_is_accounted_for() {
    let mut rows = rows("RPCs and paths of the JSON gateway", 3);
    for (path, grpc) in vetcd::api::http::GATEWAY_PATHS {
        let state = rows
            .remove(&format!("/v3{path}"))
            .unwrap_or_else(|| panic!("{path}"));
        let defined = vetcd::api::descriptors::method(grpc).is_some();
        if state != "absent" {
            assert!(defined, "{path} is {state}, but {grpc} is not defined");
        }
    }
    assert!(rows.is_empty(), "{rows:?}");
}
