//! The store as a stream, as it comes from another member or from a file.
//!
//! The stream is taken apart into its frames; their bodies are changed and the running checksum is
//! made right again.

use vetcd::api::proto::etcdserverpb::{AlarmMember, AlarmType};
use vetcd::api::proto::vetcdpb::{BackendMeta, ClusterMember, ConfState};
use vetcd::mvcc::State;
use vetcd::server::Published;
use vetcd::snapshot::{Decoder, Encoder};

use crate::harness::{Target, fuzz};
use crate::mutate::{self, Draw};

const HEADER: usize = 12;

/// A store with a history: versions, tombstones, leases, a compaction.
pub fn state(records: usize, compacted: bool) -> State {
    use vetcd::api::proto::etcdserverpb::{DeleteRangeRequest, PutRequest};
    let mut state = State::new();
    if records > 2 {
        state.grant_lease(7, 60, 3).unwrap();
        state.grant_lease(1 << 60, 600, 4).unwrap();
    }
    for number in 0..records {
        let key = format!("key/{}", number % 7);
        if number % 5 == 4 {
            let request = DeleteRangeRequest {
                key: key.into(),
                ..Default::default()
            };
            state.delete_range(&request);
            continue;
        }
        let request = PutRequest {
            key: key.into(),
            value: vec![number as u8; number % 50].into(),
            lease: if number % 3 == 0 && records > 2 { 7 } else { 0 },
            ..Default::default()
        };
        state.put(&request).unwrap();
    }
    if compacted {
        let revision = state.revision() / 2;
        state.compact(revision).unwrap();
    }
    _ = state.take_changes();
    state
}

/// What goes with it.
pub fn meta() -> BackendMeta {
    BackendMeta {
        consistent_index: 40,
        term: 3,
        conf_state: Some(ConfState {
            voters: vec![1, 2, 3],
            learners: vec![4],
            ..Default::default()
        }),
        members: (1..=4)
            .map(|id| ClusterMember {
                id,
                name: format!("m{id}"),
                peer_urls: vec![format!("http://m{id}:2380")],
                client_urls: vec![format!("http://m{id}:2379")],
                is_learner: id == 4,
            })
            .collect(),
        cluster_id: 0xc1,
        member_id: 1,
        alarms: vec![AlarmMember {
            member_id: 2,
            alarm: AlarmType::Nospace.into(),
        }],
        removed_members: vec![9],
        auth: Some(users().to_wire()),
        ..Default::default()
    }
}

/// Users and roles.
pub fn users() -> vetcd::auth::State {
    use vetcd::api::proto::authpb::{Permission, Role, User};
    use vetcd::api::proto::vetcdpb::AuthState;
    let user = |name: &str, role: &str| User {
        name: name.as_bytes().to_vec().into(),
        password: b"$2a$04$abcdefghijklmnopqrstuv".to_vec().into(),
        roles: vec![role.to_owned()],
        ..Default::default()
    };
    let role = |name: &str| Role {
        name: name.as_bytes().to_vec().into(),
        key_permission: vec![Permission {
            perm_type: 2,
            key: b"a".to_vec().into(),
            range_end: b"z".to_vec().into(),
        }],
    };
    vetcd::auth::State::from_wire(Some(AuthState {
        enabled: false,
        revision: 6,
        users: vec![user("alice", "reader"), user("root", "root")],
        roles: vec![role("reader"), role("root")],
    }))
}

/// What a member does with a store that it has taken over. Returns whether it holds anything.
pub fn use_state(mut state: State, meta: BackendMeta) -> Result<bool, String> {
    use vetcd::api::proto::etcdserverpb::{PutRequest, RangeRequest};
    let everything = RangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        limit: 20,
        ..Default::default()
    };
    let mut published = Published::restored(state.clone(), meta);
    _ = published.members.conf_state();
    _ = vetcd::server::state_hash(&published);
    let found = state.range(&everything).map_err(|error| error.to_string());
    let put = PutRequest {
        key: b"new".to_vec().into(),
        ..Default::default()
    };
    let before = state.revision();
    let written = state.put(&put);
    if written.is_ok() && state.revision() != before + 1 {
        return Err(format!(
            "a put went from revision {before} to {}",
            state.revision()
        ));
    }
    _ = state.compact(before);
    let leases: Vec<i64> = state.leases().iter().map(|lease| lease.id).collect();
    for lease in leases.into_iter().take(50) {
        _ = state.revoke_lease(lease);
    }
    published.state = state;
    _ = vetcd::server::state_hash(&published);
    Ok(found.is_ok_and(|found| found.count > 0))
}

struct Snapshot;

/// The bodies of a stream's frames, and what is behind the last whole one.
fn frames(stream: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut rest = stream.get(HEADER..).unwrap_or_default();
    let mut bodies = Vec::new();
    while let Some((length, _)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some(body) = rest.get(8..).and_then(|rest| rest.get(..length)) else {
            break;
        };
        bodies.push(body.to_vec());
        rest = &rest[8 + length..];
    }
    (bodies, rest.to_vec())
}

fn rebuild(bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = b"vetcdsnp\x01\0\0\0".to_vec();
    let mut crc = crc32c::crc32c(&stream);
    for body in bodies {
        let length = (body.len() as u32).to_le_bytes();
        crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &length), body);
        stream.extend(length);
        stream.extend(crc.to_le_bytes());
        stream.extend(body);
    }
    stream
}

/// Changes a frame's body: what is a message in it, or its name.
fn change_body(draw: &mut Draw, body: &mut Vec<u8>, other: &[u8]) {
    let name = match body.first() {
        Some(1) => 17,
        Some(2) => 18,
        _ => 0,
    };
    let at = (1 + name).min(body.len());
    if name > 0 && draw.once_in(3) {
        let offset = 1 + draw.below(name);
        if let Some(byte) = body.get_mut(offset) {
            *byte = *draw.pick(&[0, 1, 0x7f, 0x80, 0xff, b'_', b't']);
        }
        return;
    }
    let other = other.get(at..).unwrap_or_default();
    let content = mutate::message(draw, &body[at..], other);
    body.truncate(at);
    body.extend(content);
}

/// Makes the counts that a stream ends with fit its frames.
fn count_again(bodies: &mut [Vec<u8>]) {
    let records = bodies
        .iter()
        .filter(|body| matches!(body.first(), Some(1 | 2)))
        .count();
    if let Some(end) = bodies.last_mut()
        && end.first() == Some(&0xff)
    {
        *end = [&[0xff][..], &(records as u64).to_le_bytes()].concat();
    }
}

impl Target for Snapshot {
    fn name(&self) -> &'static str {
        "snapshot"
    }

    fn cases(&self) -> usize {
        6_000
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let stream = |state| -> Vec<u8> {
            let pieces = Encoder::new(state, meta());
            pieces.flatten().collect()
        };
        vec![
            stream(state(0, false)),
            stream(state(30, false)),
            stream(state(40, true)),
        ]
    }

    fn mutate(&mut self, draw: &mut Draw, seed: &[u8], other: &[u8]) -> Vec<u8> {
        if draw.once_in(8) {
            return mutate::bytes(draw, seed, other);
        }
        let (mut bodies, rest) = frames(seed);
        let (others, _) = frames(other);
        for _ in 0..=draw.below(3) {
            if bodies.is_empty() {
                break;
            }
            let at = draw.below(bodies.len());
            let foreign = match others.is_empty() {
                true => Vec::new(),
                false => draw.pick(&others).clone(),
            };
            match draw.below(10) {
                0 => drop(bodies.remove(at)),
                1 => bodies.insert(at, foreign),
                2 => {
                    let place = draw.below(bodies.len());
                    bodies.swap(at, place);
                }
                3 => {
                    if let Some(kind) = bodies[at].first_mut() {
                        *kind = *draw.pick(&[0, 1, 2, 3, 0xff, 4]);
                    }
                }
                _ => change_body(draw, &mut bodies[at], &foreign),
            }
        }
        if !draw.once_in(4) {
            count_again(&mut bodies);
        }
        let mut stream = rebuild(&bodies);
        stream.extend(rest);
        if draw.once_in(10) {
            stream = mutate::bytes(draw, &stream, other);
        }
        stream
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let mut decoder = Decoder::new();
        // In pieces that fit no frame.
        for piece in input.chunks(1000) {
            if let Err(error) = decoder.push(piece) {
                return Ok(error.to_string());
            }
        }
        match decoder.finish() {
            Ok((state, meta)) => Ok(format!("accepted, {}", use_state(state, meta)?)),
            Err(error) => Ok(error.to_string()),
        }
    }

    fn memory(&self, input: &[u8]) -> u64 {
        (2 << 20) + 30 * input.len() as u64
    }
}

#[test]
fn snapshot() {
    fuzz(&mut Snapshot);
}
