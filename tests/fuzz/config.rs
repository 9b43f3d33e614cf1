//! The configuration file and the values of flags, from which a member starts.

use vetcd::config::Config;

use crate::harness::{Target, fuzz};
use crate::mutate::{self, Draw};

struct Configuration;

const FILES: [&str; 4] = [
    "name: m1\ndata-dir: /data\nlisten-client-urls: http://localhost:2379\n\
     advertise-client-urls: http://localhost:2379\nlisten-peer-urls: http://localhost:2380\n\
     initial-advertise-peer-urls: http://localhost:2380\n\
     initial-cluster: m1=http://localhost:2380,m2=http://b:2380\ninitial-cluster-token: t\n\
     heartbeat-interval: 100\nelection-timeout: 1000\nquota-backend-bytes: 2147483648\n\
     auto-compaction-mode: periodic\nauto-compaction-retention: \"1h\"\nmax-txn-ops: 128\n",
    "client-transport-security:\n  cert-file: a.pem\n  key-file: b.pem\n  client-cert-auth: true\n  \
     trusted-ca-file: ca.pem\n  auto-tls: false\npeer-transport-security:\n  cert-file: p.pem\n  \
     key-file: pk.pem\n  trusted-ca-file: ca.pem\n  client-cert-auth: true\n",
    "log-outputs: [stderr, default]\nlog-level: debug\ncipher-suites: [TLS_AES_128_GCM_SHA256]\n\
     cors: '*'\nauth-token: jwt,pub-key=a,priv-key=b,sign-method=RS256,ttl=10m\nwal-sync: group\n\
     watch-progress-notify-interval: 10m\nmetrics: extensive\nlisten-metrics-urls: http://x:1\n",
    "a: &a [1, 2]\nb: *a\nc: {d: *a}\n? complex\n: |\n  text\n",
];

impl Target for Configuration {
    fn name(&self) -> &'static str {
        "config"
    }

    fn cases(&self) -> usize {
        500
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let mut seeds: Vec<Vec<u8>> = FILES.map(|file| file.as_bytes().to_vec()).into();
        // Every flag with a value, in the file's own spelling.
        for flag in Config::known_flags() {
            seeds.push(format!("{flag}: 7\n").into_bytes());
        }
        seeds
    }

    fn mutate(&mut self, draw: &mut Draw, seed: &[u8], other: &[u8]) -> Vec<u8> {
        if draw.once_in(12) {
            let deep = 1 + draw.below(20_000);
            let open = *draw.pick(&["[", "{a: ", "- ", "&a [", "? ", "!!map "]);
            return [open.repeat(deep).as_bytes(), seed].concat();
        }
        if draw.once_in(3)
            && let Ok(text) = std::str::from_utf8(seed)
        {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if !lines.is_empty() {
                let at = draw.below(lines.len());
                let name = lines[at].split(':').next().unwrap_or_default().to_owned();
                let value = match draw.below(9) {
                    0 => draw.edge(1).to_string(),
                    1 => (draw.edge(1) as i64).to_string(),
                    2 => format!("{}h", draw.edge(1)),
                    3 => "9".repeat(draw.below(400)),
                    4 => "http://".to_owned() + &":".repeat(draw.below(9)),
                    5 => "http://[::1]:99999,https://a:0".to_owned(),
                    6 => "=,=,a=http://x:1,a=".to_owned(),
                    7 => "1e400".to_owned(),
                    _ => "[~, {}, []]".to_owned(),
                };
                lines[at] = format!("{name}: {value}");
            }
            return (lines.join("\n") + "\n").into_bytes();
        }
        mutate::bytes(draw, seed, other)
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let Ok(text) = std::str::from_utf8(input) else {
            return Ok("not UTF-8".to_owned());
        };
        let config = Config::from_sources(
            ["--config-file=/etc/vetcd.yaml"],
            |_| None,
            |_| Ok(text.to_owned()),
        );
        let config = match config {
            Ok(config) => config,
            Err(error) => return Ok(error.to_string()),
        };
        let valid = config.validate().map_err(|error| error.to_string());
        _ = config.cluster();
        _ = config.listen_client_urls();
        _ = config.listen_peer_urls();
        _ = config.listen_metrics_urls();
        _ = config.advertise_client_urls();
        _ = config.operations.auto_compaction();
        _ = config.serve_limits();
        _ = config.grpc_receive_bytes_max();
        _ = config.wal_sync();
        Ok(format!("{valid:?} {}", config.warnings.len()))
    }

    fn memory(&self, input: &[u8]) -> u64 {
        (4 << 20) + 300 * input.len() as u64
    }
}

#[test]
fn config() {
    fuzz(&mut Configuration);
}
