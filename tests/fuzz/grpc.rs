//! Every gRPC method of a running member, through its listener, HTTP/2 and all limits.
//!
//! An input is a method's number, a byte of what else to spoil, and messages with their lengths. Many
//! inputs go to one member, which must answer good requests at the end.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use tower_service::Service as _;
use vetcd::client::Channel;

use crate::harness::{Target, fuzz};
use crate::member::{Cluster, client_address};
use crate::mutate::{self, Draw};
use crate::requests::{Method, messages, methods, wire};

/// How long an answer is waited for, on the member's clock: longer than any request waits.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the answers of a stream are listened to.
const STREAM_PATIENCE: Duration = Duration::from_millis(500);
/// What is read of one answer at most, bytes.
const ANSWER_BYTES_MAX: usize = 8 << 20;

struct Grpc {
    methods: Vec<Method>,
    life: Option<(Cluster, Channel)>,
}

fn input(method: usize, spoil: u8, messages: &[Vec<u8>]) -> Vec<u8> {
    let mut input = vec![method as u8, spoil];
    for message in messages {
        input.extend((message.len() as u32).to_le_bytes());
        input.extend(message);
    }
    input
}

fn parse(input: &[u8]) -> (usize, u8, Vec<Vec<u8>>) {
    let Some(([method, spoil], mut rest)) = input.split_first_chunk::<2>() else {
        return (0, 0, Vec::new());
    };
    let mut messages = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let length = (u32::from_le_bytes(*length) as usize).min(more.len());
        let (message, more) = more.split_at(length);
        messages.push(message.to_vec());
        rest = more;
    }
    (*method as usize, *spoil, messages)
}

/// Messages as gRPC frames them; `spoil` tells what is wrong with the first one's frame.
fn framed(spoil: u8, messages: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for message in messages {
        body.push(0);
        body.extend((message.len() as u32).to_be_bytes());
        body.extend(message);
    }
    match spoil {
        1 if !body.is_empty() => body[0] = 1,
        2 if !body.is_empty() => body[0] = 0xff,
        3 if body.len() > 4 => body[1..5].fill(0xff),
        4 if body.len() > 4 => body[4] = body[4].wrapping_add(1),
        5 => body.truncate(body.len() / 2),
        6 => body.clear(),
        _ => {}
    }
    body
}

/// What a call ended with: its code and message, or how it got none.
async fn call(channel: &Channel, path: &str, body: Vec<u8>, streams: bool) -> String {
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(Full::new(Bytes::from(body))))
        .unwrap();
    let mut channel = channel.clone();
    let answering = async {
        let response = match channel.call(request).await {
            Ok(response) => response,
            Err(error) => return format!("cut: {error}"),
        };
        if let Some(status) = tonic::Status::from_header_map(response.headers()) {
            return format!("{:?} {}", status.code(), status.message());
        }
        let mut body = response.into_body();
        let mut length = 0;
        loop {
            let next = tokio::time::timeout(STREAM_PATIENCE.max(PATIENCE / 2), body.frame());
            let frame = match streams {
                true => tokio::time::timeout(STREAM_PATIENCE, body.frame())
                    .await
                    .ok(),
                false => next.await.ok(),
            };
            match frame {
                None => return format!("silent after {} messages", usize::from(length > 0)),
                Some(None) => return "ended without a status".to_owned(),
                Some(Some(Err(error))) => return format!("broken: {error}"),
                Some(Some(Ok(frame))) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        let status = tonic::Status::from_header_map(trailers);
                        return status.map_or("no status".to_owned(), |status| {
                            format!("{:?} {}", status.code(), status.message())
                        });
                    }
                    length += frame.data_ref().map_or(0, Bytes::len);
                    if length > ANSWER_BYTES_MAX {
                        return "a long answer".to_owned();
                    }
                }
            }
        }
    };
    match tokio::time::timeout(PATIENCE, answering).await {
        Ok(outcome) => outcome,
        Err(_) => "no answer".to_owned(),
    }
}

/// Whether the member still answers: it may refuse, as its state by now demands, but not hang or cut.
pub fn still_answers(cluster: &Cluster) -> Result<(), String> {
    if let Some(end) = cluster.ends().first() {
        // A member may be asked to leave.
        return match end.contains("removed") {
            true => Ok(()),
            false => Err(format!("the member ended: {end}")),
        };
    }
    let host = cluster.client_host();
    let asking = async {
        let channel = Channel::connect(host, &client_address(1))
            .await
            .map_err(|error| error.to_string())?;
        let range = framed(0, &[b"\x0a\x01a\x38\x01".to_vec()]);
        Ok(call(&channel, "/etcdserverpb.KV/Range", range, false).await)
    };
    match cluster
        .run(2 * PATIENCE, asking)
        .unwrap_or(Err("hangs".to_owned()))?
    {
        answer
            if ["Ok", "Inv", "Unauth", "Perm"]
                .iter()
                .any(|good| answer.starts_with(good)) =>
        {
            Ok(())
        }
        answer => Err(format!(
            "after this the member answers a good read with: {answer}"
        )),
    }
}

impl Target for Grpc {
    fn name(&self) -> &'static str {
        "grpc"
    }

    fn cases(&self) -> usize {
        1_200
    }

    fn inputs_a_life(&self) -> usize {
        60
    }

    fn begin(&mut self) {
        // Small limits are reached by small inputs.
        let cluster = Cluster::start(1, 1, &[("max-request-bytes", "65536")]);
        let host = cluster.client_host();
        let channel = cluster
            .run(PATIENCE, Channel::connect(host, &client_address(1)))
            .unwrap()
            .unwrap();
        self.life = Some((cluster, channel));
    }

    fn end(&mut self) -> Result<(), String> {
        match self.life.take() {
            Some((cluster, channel)) => {
                drop(channel);
                still_answers(&cluster)
            }
            None => Ok(()),
        }
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let mut seeds = Vec::new();
        for (number, method) in self.methods.iter().enumerate() {
            let messages: Vec<_> = messages(&method.descriptor.input())
                .iter()
                .map(wire)
                .collect();
            for message in &messages {
                seeds.push(input(number, 0, std::slice::from_ref(message)));
            }
            if method.descriptor.is_client_streaming() {
                seeds.push(input(number, 0, &messages));
            }
        }
        seeds
    }

    fn mutate(&mut self, draw: &mut Draw, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let (mut method, mut spoil, mut messages) = parse(seed);
        let (_, _, others) = parse(other);
        if draw.once_in(30) {
            method = draw.below(self.methods.len());
        }
        if draw.once_in(20) {
            spoil = draw.below(7) as u8;
        }
        let other = others.first().cloned().unwrap_or_default();
        if messages.is_empty() {
            messages.push(Vec::new());
        }
        let at = draw.below(messages.len());
        match draw.below(12) {
            0 => messages.insert(at, other),
            1 => messages.truncate(at),
            _ => messages[at] = mutate::message(draw, &messages[at].clone(), &other),
        }
        input(method, spoil, &messages)
    }

    fn run(&mut self, bytes: &[u8]) -> Result<String, String> {
        let (number, spoil, messages) = parse(bytes);
        let method = &self.methods[number % self.methods.len()];
        let (cluster, channel) = self.life.as_mut().unwrap();
        if channel.is_closed() {
            let host = cluster.client_host();
            let address = client_address(1);
            match cluster.run(PATIENCE, Channel::connect(host, &address)) {
                Some(Ok(connected)) => *channel = connected,
                _ if !cluster.ends().is_empty() => return Ok("the member has ended".to_owned()),
                _ => return Err("the member takes no connection".to_owned()),
            }
        }
        let streams = method.descriptor.is_server_streaming();
        let body = framed(spoil, &messages);
        let answer = cluster.run(2 * PATIENCE, call(channel, &method.path, body, streams));
        let answer = answer.ok_or("the call hangs")?;
        Ok(format!("{} {answer}", method.path))
    }

    fn memory(&self, input: &[u8]) -> u64 {
        (8 << 20) + 60 * input.len() as u64
    }
}

#[test]
fn grpc() {
    fuzz(&mut Grpc {
        methods: methods(),
        life: None,
    });
}
