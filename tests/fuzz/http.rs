//! Bytes on the clients' port: HTTP/1.1 requests and whole HTTP/2 connections, damaged.
//!
//! The connections are those of vetcd's own client, taken down as it wrote them. Their frames are
//! changed one by one.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::client::{Channel, kv, watch};
use vetcd::host::Host as _;

use crate::grpc::still_answers;
use crate::harness::{Target, fuzz};
use crate::member::{Cluster, client_address};
use crate::mutate::{self, Draw};
use crate::world::Tap;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER: usize = 9;
const PATIENCE: Duration = Duration::from_secs(30);

const REQUESTS: [&str; 9] = [
    "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /health?serializable=true&exclude=NOSPACE HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /readyz?verbose&exclude=data_corruption&exclude=x HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /livez/serializable_read HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /version HTTP/1.0\r\n\r\n",
    "OPTIONS /v3/kv/put HTTP/1.1\r\nHost: a\r\nOrigin: b\r\n\r\n",
    "POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nAuthorization: t\r\n\r\n\
     8\r\n{\"key\": \r\n7\r\n\"Zm9v\"}\r\n0\r\n\r\n",
    "POST /v3beta/kv/put HTTP/1.1\r\nHost: a\r\nContent-Length: 31\r\nExpect: 100-continue\r\n\
     Grpc-Metadata-x: y\r\n\r\n{\"key\":\"Zm9v\",\"value\":\"Zm9v\"}  ",
    "POST /etcdserverpb.KV/Range HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\n\
     Content-Length: 10\r\n\r\n\0\0\0\0\x05\x0a\x03foo",
];

struct Http {
    cluster: Option<Cluster>,
}

/// What a client writes for a few calls.
fn session() -> Vec<u8> {
    let cluster = Cluster::start(1, 1, &[]);
    let tap = Tap::default();
    let mut world = cluster.client();
    world.tap = Some(tap.clone());
    let calling = async {
        let channel = Channel::connect(std::sync::Arc::new(world), &client_address(1))
            .await
            .unwrap();
        let put = pb::PutRequest {
            key: b"k".to_vec().into(),
            value: vec![b'v'; 300].into(),
            ..Default::default()
        };
        kv(channel.clone()).put(put).await.unwrap();
        let request = watch::create(pb::WatchCreateRequest {
            key: b"k".to_vec().into(),
            ..Default::default()
        });
        let requests = futures::stream::iter([request]);
        let opened = watch::watch(channel.clone()).watch(requests).await.unwrap();
        let mut answers = opened.into_inner();
        answers.message().await.unwrap();
    };
    cluster.run(PATIENCE, calling).unwrap();
    let written = tap.lock().unwrap();
    written.clone()
}

/// The frames behind the preface: header, payload; and what is behind them.
fn frames(bytes: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut rest = bytes.strip_prefix(PREFACE)?;
    let mut frames = Vec::new();
    while let Some((header, more)) = rest.split_first_chunk::<FRAME_HEADER>() {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let (payload, more) = more.split_at(length.min(more.len()));
        frames.push((header[3..].to_vec(), payload.to_vec()));
        rest = more;
    }
    Some(frames)
}

impl Target for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn cases(&self) -> usize {
        1_200
    }

    fn inputs_a_life(&self) -> usize {
        100
    }

    fn begin(&mut self) {
        self.cluster = Some(Cluster::start(1, 1, &[]));
    }

    fn end(&mut self) -> Result<(), String> {
        self.cluster
            .take()
            .map_or(Ok(()), |cluster| still_answers(&cluster))
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let mut seeds: Vec<Vec<u8>> = REQUESTS.map(|request| request.as_bytes().to_vec()).into();
        seeds.push(session());
        seeds
    }

    fn mutate(&mut self, draw: &mut Draw, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let Some(mut frames) = frames(seed).filter(|frames| !frames.is_empty()) else {
            return mutate::bytes(draw, seed, other);
        };
        for _ in 0..=draw.below(3) {
            let at = draw.below(frames.len());
            match draw.below(9) {
                0 => frames[at].0[0] = draw.below(11) as u8,
                1 => frames[at].0[1] ^= 1 << draw.below(8),
                2 => {
                    let stream = draw.edge(3) as u32;
                    frames[at].0[2..].copy_from_slice(&stream.to_be_bytes());
                }
                3 => {
                    let frame = frames[at].clone();
                    let times = *draw.pick(&[1, 2, 300]);
                    frames.splice(at..at, std::iter::repeat_n(frame, times));
                }
                4 => {
                    let place = draw.below(frames.len());
                    frames.swap(at, place);
                }
                5 if frames.len() > 1 => drop(frames.remove(at)),
                _ => frames[at].1 = mutate::bytes(draw, &frames[at].1.clone(), other),
            }
        }
        let mut bytes = PREFACE.to_vec();
        for (header, payload) in &frames {
            bytes.extend(&(payload.len() as u32).to_be_bytes()[1..]);
            bytes.extend(header);
            bytes.extend(payload);
        }
        bytes.truncate(mutate::INPUT_BYTES_MAX);
        bytes
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let cluster = self.cluster.as_ref().unwrap();
        let asking = async {
            let host = cluster.client();
            let stream = host.connect(&client_address(1)).await;
            let mut stream = stream.map_err(|error| error.to_string())?;
            let (mut read, mut write) = tokio::io::split(&mut stream);
            let sending = async {
                _ = write.write_all(input).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                _ = write.shutdown().await;
            };
            let mut answer = Vec::new();
            let reading = async {
                let mut read = (&mut read).take(4 << 20);
                _ = tokio::time::timeout(PATIENCE, read.read_to_end(&mut answer)).await;
            };
            tokio::join!(sending, reading);
            Ok(answer)
        };
        let answer: Result<Vec<u8>, String> =
            cluster.run(3 * PATIENCE, asking).unwrap_or(Ok(Vec::new()));
        let answer = answer?;
        let first =
            String::from_utf8_lossy(answer.split(|b| *b == b'\r').next().unwrap_or_default());
        Ok(match answer.starts_with(b"HTTP") {
            true => first.into_owned(),
            // The kinds of the last frames.
            false => {
                let with_preface = [PREFACE, &answer].concat();
                let kinds = frames(&with_preface).unwrap_or_default();
                let kinds: Vec<String> = kinds
                    .iter()
                    .rev()
                    .take(3)
                    .map(|(header, _)| format!("k{}", char::from(b'a' + header[0] % 16)))
                    .collect();
                kinds.join(" ")
            }
        })
    }

    fn foresees(&self, file: &str) -> bool {
        // h2's own check, in builds with assertions alone, that a connection outlives its streams:
        // one that is dropped while a stream's reset is queued does not.
        file.contains("/h2-") && file.contains("/streams/counts.rs")
    }

    fn memory(&self, input: &[u8]) -> u64 {
        (8 << 20) + 60 * input.len() as u64
    }
}

#[test]
fn http() {
    fuzz(&mut Http { cluster: None });
}
