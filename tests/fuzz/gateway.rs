//! The JSON gateway of a running member, by HTTP/1.1: every path with JSON that fits its message, and
//! with JSON that does not.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vetcd::api::descriptors;
use vetcd::api::http::GATEWAY_PATHS;
use vetcd::host::Host as _;

use crate::grpc::still_answers;
use crate::harness::{Target, fuzz};
use crate::member::{Cluster, client_address};
use crate::mutate::{self, Draw};
use crate::requests::{json, messages};

/// How long an answer is waited for, on the member's clock.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is read of one answer at most, bytes.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

struct Gateway {
    cluster: Option<Cluster>,
}

impl Gateway {
    async fn ask(cluster: &Cluster, path: &str, body: &[u8]) -> Result<String, String> {
        let host = cluster.client();
        let connected = host.connect(&client_address(1)).await;
        let mut stream = connected.map_err(|error| error.to_string())?;
        let head = format!(
            "POST /v3{path} HTTP/1.1\r\nHost: m\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let (mut read, mut write) = tokio::io::split(&mut stream);
        let sending = async {
            // It may answer before it has read everything.
            _ = write.write_all(head.as_bytes()).await;
            _ = write.write_all(body).await;
        };
        let mut answer = Vec::new();
        let reading = async {
            let mut read = (&mut read).take(ANSWER_BYTES_MAX);
            // A stream goes on for as long as somebody listens.
            let all = read.read_to_end(&mut answer);
            tokio::time::timeout(PATIENCE / 2, all).await
        };
        let ((), read) = tokio::join!(sending, reading);
        let text = String::from_utf8_lossy(&answer);
        let status: String = text.lines().next().unwrap_or_default().to_owned();
        let body = text.split_once("\r\n\r\n").unwrap_or_default().1;
        let error = body.split_once("\"message\":\"").unwrap_or_default().1;
        let error = error.split('"').next().unwrap_or_default();
        if status.is_empty() && read.is_ok() {
            return Err("the connection was cut without an answer".to_owned());
        }
        Ok(format!("{status} {error}"))
    }
}

impl Target for Gateway {
    fn name(&self) -> &'static str {
        "gateway"
    }

    fn cases(&self) -> usize {
        1_200
    }

    fn inputs_a_life(&self) -> usize {
        60
    }

    fn begin(&mut self) {
        self.cluster = Some(Cluster::start(1, 1, &[("max-request-bytes", "65536")]));
    }

    fn end(&mut self) -> Result<(), String> {
        self.cluster
            .take()
            .map_or(Ok(()), |cluster| still_answers(&cluster))
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let mut seeds = Vec::new();
        for (number, (_, method)) in GATEWAY_PATHS.iter().enumerate() {
            let kind = descriptors::method(method).unwrap().input();
            for message in messages(&kind) {
                seeds.push([&[number as u8][..], &json(&message)].concat());
            }
        }
        seeds
    }

    fn mutate(&mut self, draw: &mut Draw, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let (mut path, text) = seed
            .split_first()
            .map_or((0, &[][..]), |(path, text)| (*path, text));
        if draw.once_in(30) {
            path = draw.below(GATEWAY_PATHS.len()) as u8;
        }
        let other = other.get(1..).unwrap_or_default();
        [&[path][..], &mutate::json(draw, text, other)].concat()
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let (path, body) = input
            .split_first()
            .map_or((0, &[][..]), |(path, body)| (*path, body));
        let (path, _) = GATEWAY_PATHS[path as usize % GATEWAY_PATHS.len()];
        let cluster = self.cluster.as_ref().unwrap();
        if !cluster.ends().is_empty() {
            return Ok("the member has ended".to_owned());
        }
        match cluster.run(2 * PATIENCE, Gateway::ask(cluster, path, body)) {
            Some(Ok(answer)) => Ok(format!("{path} {answer}")),
            Some(Err(_)) if !cluster.ends().is_empty() => Ok("the member ended".to_owned()),
            Some(Err(error)) => Err(error),
            None => Err("the call hangs".to_owned()),
        }
    }

    fn memory(&self, input: &[u8]) -> u64 {
        (8 << 20) + 60 * input.len() as u64
    }
}

#[test]
fn gateway() {
    fuzz(&mut Gateway { cluster: None });
}
