//! What a broken or hostile member may send to the others: handshakes, raft messages, snapshots,
//! calls, answers to those who dial it, and noise.
//!
//! Two members of three run; the third is the target, and tells the other two whatever it likes. Raft
//! messages are written with terms and indexes relative to those of the member that gets them, so
//! that they stay close to what it holds: see [`Base`]. A member may stop over what it is told, with
//! an error; it must not panic. One that stopped is replaced by a new cluster.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::api::proto::vetcdpb::{
    PeerBatch, PeerCall, PeerHello, RaftMessage, SnapshotOffer, peer_call,
};
use vetcd::host::{Host as _, Stream};
use vetcd::server::Server;
use vetcd::snapshot::Encoder;

use crate::harness::{Target, fuzz};
use crate::member::{Cluster, peer_address};
use crate::mutate::{self, Draw};
use crate::peer_messages::{Base, offer, raft_messages};

/// What an input is about: its second byte. The first one says who gets it.
const HELLO: u8 = 0;
const RAFT: u8 = 1;
const SNAPSHOT: u8 = 2;
const SNAPSHOT_BYTES: u8 = 3;
const CALLS: u8 = 4;
const FRAMES: u8 = 5;
const NOISE: u8 = 6;
const ANSWER: u8 = 7;
const KINDS: u8 = 8;

/// The member's time that what was sent is given to have its effect.
const EFFECT: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(20);

/// The third member, and what it knows of the two others.
struct Peers {
    life: Option<Life>,
}

struct Life {
    cluster: Cluster,
    own_id: u64,
    /// What is answered to members that dial.
    answers: Arc<Mutex<Answers>>,
    /// Connections that stay open after an input.
    open: Vec<Box<dyn Stream>>,
}

#[derive(Default)]
struct Answers {
    bytes: Vec<u8>,
    open: Vec<Box<dyn Stream>>,
}

/// Pieces with their lengths.
fn pack(pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut packed = Vec::new();
    for piece in pieces {
        packed.extend((piece.len() as u32).to_le_bytes());
        packed.extend(piece);
    }
    packed
}

fn unpack(mut packed: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while let Some((length, rest)) = packed.split_first_chunk::<4>() {
        let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
        let (piece, rest) = rest.split_at(length);
        pieces.push(piece.to_vec());
        packed = rest;
    }
    pieces
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes().to_vec();
    frame.extend(crc32c::crc32c(payload).to_be_bytes());
    frame.extend(payload);
    frame
}

impl Peers {
    fn life(&mut self) -> &mut Life {
        if self
            .life
            .as_ref()
            .is_none_or(|life| !life.cluster.ends().is_empty())
        {
            self.begin();
        }
        self.life.as_mut().unwrap()
    }
}

impl Life {
    fn new() -> Life {
        let cluster = Cluster::start(
            3,
            2,
            &[("snapshot-count", "20"), ("snapshot-catchup-entries", "5")],
        );
        let answers = Arc::new(Mutex::new(Answers::default()));
        let server = cluster.members[0].server().unwrap();
        let members = server.serializable().members.to_wire();
        let own = members
            .iter()
            .find(|member| member.peer_urls.iter().any(|url| url.contains("m3:")));
        let life = Life {
            own_id: own.unwrap().id,
            cluster,
            answers,
            open: Vec::new(),
        };
        let host = life.cluster.client_host();
        let answers = life.answers.clone();
        _ = life.cluster.run(PATIENCE, async {
            let mut listener = host.listen(&peer_address(3)).await.unwrap();
            tokio::spawn(async move {
                while let Ok(mut stream) = listener.accept().await {
                    let bytes = answers.lock().unwrap().bytes.clone();
                    _ = stream.write_all(&bytes).await;
                    let mut answers = answers.lock().unwrap();
                    answers.open.push(stream);
                    if answers.open.len() > 8 {
                        answers.open.clear();
                    }
                }
            });
        });
        life
    }

    fn server(&self, to: u8) -> Option<Arc<Server>> {
        self.cluster.members[to as usize % 2].server()
    }

    fn base(&self, to: u8) -> Base {
        let server = self.server(to).unwrap();
        let status = server.raft_status();
        Base {
            to: server.identity().member_id,
            from: self.own_id,
            term: status.term,
            index: status.commit,
        }
    }

    fn hello(&self, to: u8, channel: u32) -> PeerHello {
        let identity = self.server(to).unwrap().identity();
        PeerHello {
            protocol: 1,
            cluster_id: identity.cluster_id,
            from_member: self.own_id,
            to_member: identity.member_id,
            channel,
            peer_urls: vec!["http://m3:2380".to_owned()],
            ..Default::default()
        }
    }

    /// Opens a connection, writes `bytes`, reads what comes and leaves it open.
    fn send(&mut self, to: u8, bytes: &[u8]) -> String {
        let host = self.cluster.client();
        let sending = async {
            let Ok(mut stream) = host.connect(&peer_address(to as usize % 2 + 1)).await else {
                return ("not taken".to_owned(), None);
            };
            let mut answer = vec![0; 4096];
            let mut length = 0;
            let talking = async {
                let (mut read, mut write) = tokio::io::split(&mut stream);
                let writing = async {
                    _ = write.write_all(bytes).await;
                    _ = write.flush().await;
                };
                let reading = async {
                    while let Ok(more @ 1..) = read.read(&mut answer[length..]).await {
                        length += more;
                    }
                };
                tokio::join!(writing, tokio::time::timeout(EFFECT, reading))
                    .1
                    .is_ok()
            };
            let ended = tokio::time::timeout(PATIENCE, talking).await;
            let answered = if length > 0 { "answered" } else { "silent" };
            (format!("{answered} {ended:?}"), Some(stream))
        };
        let (outcome, stream) = self.cluster.run(2 * PATIENCE, sending).unwrap_or_default();
        self.open.extend(stream);
        if self.open.len() > 12 {
            self.open.drain(..6);
        }
        outcome
    }

    fn deliver(&mut self, to: u8, kind: u8, content: &[u8]) -> String {
        match kind {
            HELLO => {
                let own = self.hello(to, 0);
                let hello = match PeerHello::decode(content) {
                    // What was left as it was is filled in.
                    Ok(hello) => PeerHello {
                        cluster_id: if hello.cluster_id == 1 {
                            own.cluster_id
                        } else {
                            hello.cluster_id
                        },
                        from_member: if hello.from_member == 1 {
                            own.from_member
                        } else {
                            hello.from_member
                        },
                        to_member: if hello.to_member == 1 {
                            own.to_member
                        } else {
                            hello.to_member
                        },
                        ..hello
                    }
                    .encode_to_vec(),
                    Err(_) => content.to_vec(),
                };
                self.send(to, &frame(&hello))
            }
            RAFT => {
                let base = self.base(to);
                let mut batch = PeerBatch::default();
                let mut kinds = Vec::new();
                for piece in unpack(content) {
                    if let Ok(message) = RaftMessage::decode(&*piece) {
                        // Letters: outcomes are told apart without their numbers.
                        kinds.push(char::from(b'a' + message.kind.min(20) as u8));
                        batch.messages.push(base.message(message));
                    }
                }
                let hello = frame(&self.hello(to, 0).encode_to_vec());
                let outcome = self.send(to, &[hello, frame(&batch.encode_to_vec())].concat());
                let server = self.server(to).unwrap();
                let status = server.raft_status();
                let moved = (status.term > base.term, status.commit > base.index);
                kinds.truncate(2);
                format!("{kinds:?} {moved:?} {:?} {outcome}", status.role)
            }
            SNAPSHOT | SNAPSHOT_BYTES => {
                let base = self.base(to);
                let mut pieces = unpack(content).into_iter();
                let first = pieces.next().unwrap_or_default();
                let message = RaftMessage::decode(&*first)
                    .ok()
                    .map(|message| base.message(message));
                let index = message
                    .as_ref()
                    .and_then(|message| message.snapshot.as_ref())
                    .map_or(0, |metadata| metadata.index);
                let stream: Vec<Bytes> = match kind {
                    SNAPSHOT => {
                        let server = self.server(to).unwrap();
                        let mut published = (*server.serializable()).clone();
                        published.index = index;
                        let meta = published.meta(server.identity());
                        Encoder::new(published.state, meta).collect()
                    }
                    _ => pieces.map(Bytes::from).collect(),
                };
                let offer = SnapshotOffer { message, bytes: 0 };
                let mut bytes = frame(&self.hello(to, 1).encode_to_vec());
                bytes.extend(frame(&offer.encode_to_vec()));
                stream.iter().for_each(|chunk| bytes.extend(frame(chunk)));
                bytes.extend(frame(&[]));
                let outcome = self.send(to, &bytes);
                let reached = self.server(to).unwrap().serializable().index;
                format!("{} {outcome}", reached >= index && index > 0)
            }
            CALLS | FRAMES => {
                let channel = if kind == CALLS {
                    2
                } else {
                    u32::from(content.len() as u8 % 4)
                };
                let mut bytes = frame(&self.hello(to, channel).encode_to_vec());
                for piece in unpack(content) {
                    bytes.extend(frame(&piece));
                }
                self.send(to, &bytes)
            }
            ANSWER => {
                let hello = match unpack(content).first() {
                    Some(first) => PeerHello::decode(&**first).ok().map(|hello| {
                        let own = self.hello(to, hello.channel);
                        let ours = hello.cluster_id == 1;
                        PeerHello {
                            cluster_id: if ours {
                                own.cluster_id
                            } else {
                                hello.cluster_id
                            },
                            from_member: if ours { self.own_id } else { hello.from_member },
                            to_member: if ours { own.to_member } else { hello.to_member },
                            ..hello
                        }
                    }),
                    None => None,
                };
                let mut bytes = hello.map_or_else(Vec::new, |hello| frame(&hello.encode_to_vec()));
                for piece in unpack(content).iter().skip(1) {
                    bytes.extend(frame(piece));
                }
                {
                    let mut answers = self.answers.lock().unwrap();
                    answers.bytes = bytes;
                    answers.open.clear();
                }
                self.cluster.pass(Duration::from_secs(2));
                format!("{}", self.answers.lock().unwrap().open.len().min(3))
            }
            _ => self.send(to, content),
        }
    }
}

impl Target for Peers {
    fn name(&self) -> &'static str {
        "peers"
    }

    fn cases(&self) -> usize {
        1_000
    }

    fn inputs_a_life(&self) -> usize {
        40
    }

    fn begin(&mut self) {
        self.life = None;
        self.life = Some(Life::new());
    }

    fn end(&mut self) -> Result<(), String> {
        self.life = None;
        Ok(())
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let mut seeds = Vec::new();
        let mut seed = |kind: u8, content: Vec<u8>| {
            for to in [0, 1] {
                seeds.push([&[to, kind][..], &content].concat());
            }
        };
        for channel in 0..4 {
            let hello = PeerHello {
                protocol: 1,
                cluster_id: 1,
                from_member: 1,
                to_member: 1,
                channel,
                peer_urls: vec!["http://m3:2380".to_owned()],
                ..Default::default()
            };
            seed(HELLO, hello.encode_to_vec());
            seed(
                ANSWER,
                pack(&[hello.encode_to_vec(), vec![8, 1], Vec::new()]),
            );
            seed(NOISE, frame(&hello.encode_to_vec()));
        }
        let messages: Vec<Vec<u8>> = raft_messages()
            .iter()
            .map(RaftMessage::encode_to_vec)
            .collect();
        for message in &messages {
            seed(RAFT, pack(std::slice::from_ref(message)));
        }
        messages.chunks(7).for_each(|chunk| seed(RAFT, pack(chunk)));
        for term in [8, 9] {
            let offer = offer(term).encode_to_vec();
            seed(SNAPSHOT, pack(std::slice::from_ref(&offer)));
            seed(
                SNAPSHOT_BYTES,
                pack(&[offer, b"vetcdsnp\x01\0\0\0".to_vec(), vec![0; 30]]),
            );
        }
        let calls = [
            peer_call::Call::KeepAlive(pb::LeaseKeepAliveRequest { id: 7 }),
            peer_call::Call::TimeToLive(pb::LeaseTimeToLiveRequest { id: 7, keys: true }),
        ];
        let calls = calls.map(|call| {
            PeerCall {
                number: 1,
                call: Some(call),
            }
            .encode_to_vec()
        });
        seed(CALLS, pack(&calls));
        seed(FRAMES, pack(&[messages[0].clone(), Vec::new()]));
        seeds
    }

    fn mutate(&mut self, draw: &mut Draw, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let Some(([mut to, mut kind], content)) =
            seed.split_first_chunk::<2>().map(|(a, b)| (*a, b))
        else {
            return mutate::bytes(draw, seed, other);
        };
        let other = other.get(2..).unwrap_or_default();
        if draw.once_in(6) {
            to ^= 1;
        }
        if draw.once_in(60) {
            kind = draw.below(KINDS as usize) as u8;
        }
        let content = match kind {
            HELLO => mutate::message(draw, content, other),
            NOISE => mutate::bytes(draw, content, other),
            _ => {
                let mut pieces = unpack(content);
                let others = unpack(other);
                if pieces.is_empty() {
                    pieces.push(Vec::new());
                }
                let at = draw.below(pieces.len());
                let foreign = match others.is_empty() {
                    true => Vec::new(),
                    false => draw.pick(&others).clone(),
                };
                match draw.below(10) {
                    0 => pieces.insert(at, foreign),
                    1 => drop(pieces.remove(at)),
                    2 => pieces.push(foreign),
                    _ => pieces[at] = mutate::message(draw, &pieces[at].clone(), &foreign),
                }
                pack(&pieces)
            }
        };
        [&[to, kind][..], &content].concat()
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let Some(([to, kind], content)) = input.split_first_chunk::<2>() else {
            return Ok("nothing".to_owned());
        };
        let (to, kind) = (*to, *kind % KINDS);
        let life = self.life();
        let outcome = life.deliver(to, kind, content);
        life.cluster.pass(EFFECT);
        let kind = char::from(b'A' + kind);
        Ok(format!("{kind} {outcome} {:?}", life.cluster.ends()))
    }

    fn memory(&self, input: &[u8]) -> u64 {
        (8 << 20) + 60 * input.len() as u64
    }
}

#[test]
fn peers() {
    fuzz(&mut Peers { life: None });
}
