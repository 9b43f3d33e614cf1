//! Certificates, keys and revocation lists from files, certificates as clients show them, and what
//! clients say before they have shown any.
//!
//! The seeds are fixed files: keys made anew would give other inputs each time. An input's first byte
//! says what it is: a certificate whose name is looked for, the files of a member, or the bytes of a
//! client that shakes hands.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vetcd::config::Config;
use vetcd::host::Host;
use vetcd::tls::{Tls, common_name, listener};

use crate::harness::{Target, fuzz};
use crate::mutate::{self, Draw};
use crate::wal::{pack, unpack};
use crate::world::{MemoryDisk, Network, World};

const AUTHORITY: &[u8] = include_bytes!("seeds/authority.der");
const CERTIFICATE: &[u8] = include_bytes!("seeds/certificate.der");
const KEY: &[u8] = include_bytes!("seeds/key.der");
const REVOKED: &[u8] = include_bytes!("seeds/revoked.der");
const HELLO: &[u8] = include_bytes!("seeds/hello.bin");

const NAME: u8 = 0;
const FILES: u8 = 1;
const HANDSHAKE: u8 = 2;

fn armoured(kind: &str, content: &[u8]) -> Vec<u8> {
    let text = BASE64.encode(content);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n",
        lines.join("\n")
    )
    .into_bytes()
}

/// A member's files.
fn files() -> Vec<(String, Vec<u8>)> {
    [
        ("ca.pem", armoured("CERTIFICATE", AUTHORITY)),
        ("cert.pem", armoured("CERTIFICATE", CERTIFICATE)),
        ("key.pem", armoured("PRIVATE KEY", KEY)),
        ("crl.pem", armoured("X509 CRL", REVOKED)),
    ]
    .map(|(name, content)| (name.to_owned(), content))
    .into()
}

/// Changes what is inside the armour, or the whole text.
fn change_file(draw: &mut Draw, file: &[u8], other: &[u8]) -> Vec<u8> {
    let inside = || {
        let text = std::str::from_utf8(file).ok()?;
        let kind = text
            .lines()
            .next()?
            .strip_prefix("-----BEGIN ")?
            .strip_suffix("-----")?;
        let lines = text.lines().filter(|line| !line.starts_with('-'));
        let content = BASE64.decode(lines.collect::<String>()).ok()?;
        Some((kind.to_owned(), content))
    };
    match inside() {
        Some((kind, content)) if !draw.once_in(4) => armoured(&kind, &der(draw, &content, other)),
        _ => mutate::bytes(draw, file, other),
    }
}

/// Changes bytes of nested fields, mostly their lengths.
fn der(draw: &mut Draw, content: &[u8], other: &[u8]) -> Vec<u8> {
    let mut content = content.to_vec();
    if content.is_empty() || draw.once_in(3) {
        return mutate::bytes(draw, &content, other);
    }
    for _ in 0..=draw.below(3) {
        let at = draw.below(content.len());
        content[at] = *draw.pick(&[
            0, 1, 0x02, 0x05, 0x30, 0x31, 0x7f, 0x80, 0x81, 0x84, 0xa0, 0xff,
        ]);
    }
    content
}

/// A member's configuration with the files of `input`, and the world it is in.
fn started(
    files: Vec<(String, Vec<u8>)>,
) -> (tokio::runtime::Runtime, Arc<dyn Host>, Result<Tls, String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let disk = MemoryDisk::with(
        files
            .into_iter()
            .map(|(name, content)| (format!("/tls/{name}"), content)),
    );
    let config = Config::from_pairs([
        ("cert-file", "/tls/cert.pem"),
        ("key-file", "/tls/key.pem"),
        ("trusted-ca-file", "/tls/ca.pem"),
        ("client-crl-file", "/tls/crl.pem"),
        ("client-cert-auth", "true"),
        ("peer-cert-file", "/tls/cert.pem"),
        ("peer-key-file", "/tls/key.pem"),
        ("peer-trusted-ca-file", "/tls/ca.pem"),
    ])
    .unwrap();
    let (host, tls) = runtime.block_on(async {
        let host: Arc<dyn Host> = Arc::new(World::new("tls", disk, Network::default()));
        let tls = Tls::start(&host, &config).await;
        (host, tls.map_err(|error| error.to_string()))
    });
    (runtime, host, tls)
}

fn handshake(hello: &[u8]) -> String {
    let (runtime, host, tls) = started(files());
    let tls = tls.unwrap();
    runtime.block_on(async {
        let mut listening = listener(host.listen("m1:2379").await.unwrap(), tls.clients());
        let mut client = host.connect("m1:2379").await.unwrap();
        let mut served = listening.accept().await.unwrap();
        let serving = async {
            let mut buffer = [0; 64];
            let read = served.read(&mut buffer);
            match tokio::time::timeout(Duration::from_secs(5), read).await {
                Ok(Ok(length)) => format!("read {length}"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "waits".to_owned(),
            }
        };
        let asking = async {
            _ = client.write_all(hello).await;
            let mut answer = vec![0; 8192];
            let read = client.read(&mut answer);
            _ = tokio::time::timeout(Duration::from_secs(1), read).await;
            _ = client.shutdown().await;
        };
        tokio::join!(serving, asking).0
    })
}

struct Certificates;

impl Target for Certificates {
    fn name(&self) -> &'static str {
        "certificates"
    }

    fn cases(&self) -> usize {
        3_000
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let seed = |kind: u8, content: &[u8]| [&[kind][..], content].concat();
        vec![
            seed(NAME, CERTIFICATE),
            seed(NAME, AUTHORITY),
            seed(FILES, &pack(&files())),
            seed(HANDSHAKE, HELLO),
        ]
    }

    fn mutate(&mut self, draw: &mut Draw, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let (kind, content) = seed
            .split_first()
            .map_or((0, &[][..]), |(kind, rest)| (*kind, rest));
        let other = other.get(1..).unwrap_or_default();
        let content = match kind {
            NAME => der(draw, content, other),
            FILES => {
                let mut files = unpack(content);
                if files.is_empty() {
                    files = self::files();
                }
                let at = draw.below(files.len());
                match draw.below(12) {
                    0 => drop(files.remove(at)),
                    1 => {
                        let twice = files[at].1.clone();
                        let times = *draw.pick(&[1, 2, 50]);
                        files[at].1.extend(twice.repeat(times));
                    }
                    2 => {
                        let from = draw.below(files.len());
                        files[at].1 = files[from].1.clone();
                    }
                    _ => files[at].1 = change_file(draw, &files[at].1.clone(), other),
                }
                pack(&files)
            }
            _ => mutate::bytes(draw, content, other),
        };
        [&[kind][..], &content].concat()
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let (kind, content) = input
            .split_first()
            .map_or((0, &[][..]), |(kind, rest)| (*kind, rest));
        Ok(match kind {
            NAME => format!("{:?}", common_name(content)),
            FILES => {
                let (_, _, tls) = started(unpack(content));
                tls.map_or_else(|error| error, |_| "started".to_owned())
            }
            _ => handshake(content),
        })
    }

    fn memory(&self, input: &[u8]) -> u64 {
        (1 << 20) + 40 * input.len() as u64
    }
}

#[test]
fn certificates() {
    assert_eq!(common_name(CERTIFICATE).as_deref(), Some("alice"));
    assert!(started(files()).2.is_ok());
    fuzz(&mut Certificates);
}
