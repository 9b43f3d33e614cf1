//! The users: read and write what they may and what they may not, and log in again when a password
//! has changed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vetcd::client::{Client, FailureClass};
use vetcd::host::Host;

use super::{AuthWorld, Identity, key, refused};
use crate::history::{AuthAction, AuthOutcome, Delete, Outcome, Put, Range, Request, Txn, needs};
use crate::rng::Stream;
use crate::scenario::AuthWorkload;
use crate::workload::Session;

/// The share of reads that any member may answer from what it happens to hold.
const SERIALIZABLE: f64 = 0.1;

/// Runs the user at `position`, from 1, until it is aborted.
pub async fn auth_user(
    host: Arc<dyn Host>,
    workload: AuthWorkload,
    world: AuthWorld,
    position: u32,
    mut random: Stream,
    mut client: Client,
    session: Session,
) {
    let per_second = workload.rate.per_second() / f64::from(workload.clients.max(1));
    let think = Duration::from_secs_f64(1.0 / per_second.max(1e-6));
    let mut drawer = Drawer {
        keys: u64::from(workload.keys),
        position,
        written: 0,
    };
    let mut current: Option<(Identity, usize)> = None;
    loop {
        host.sleep(random.exponential(think)).await;
        let Some(identity) = world.identity(position) else {
            continue;
        };
        if current.as_ref().is_none_or(|(known, _)| *known != identity) {
            let same = current
                .as_ref()
                .filter(|(known, _)| known.user == identity.user);
            match same {
                // The token is good until the password has been changed.
                Some((_, used)) => current = Some((identity.clone(), *used)),
                None => {
                    client.set_user(&identity.user, &identity.passwords[0]);
                    current = Some((identity.clone(), 0));
                }
            }
        }
        let request = drawer.draw(&mut random);
        let ticket = needs(&request).map(|needs| {
            let user = identity.user.clone();
            session.begin_auth(AuthAction::Use { user, needs })
        });
        let outcome = session.call(&mut client, &request).await;
        let judged = match &outcome {
            Outcome::Ok(_) => AuthOutcome::Done,
            Outcome::Failed(failure) => refused(FailureClass::Rejected, &failure.message),
            Outcome::Unknown(why) => AuthOutcome::Unknown(why.clone()),
        };
        if let Some(ticket) = ticket {
            session.finish_auth(ticket, judged.clone());
        }
        match judged {
            AuthOutcome::Done | AuthOutcome::Denied => {}
            AuthOutcome::Refused(why) if why.contains("authentication failed") => {
                if let Some((identity, used)) = &mut current {
                    *used = (*used + 1) % identity.passwords.len();
                    client.set_user(&identity.user, &identity.passwords[*used]);
                }
            }
            AuthOutcome::Refused(why) if why.starts_with("etcdserver: ") => {}
            _ => client.next_endpoint(),
        }
    }
}

/// Draws requests that need permissions of all kinds.
struct Drawer {
    keys: u64,
    position: u32,
    written: u64,
}

impl Drawer {
    fn draw(&mut self, random: &mut Stream) -> Request {
        let home = Bytes::from(format!("h{}", self.position));
        let some = key(random.range(0..self.keys));
        match random.range(0..100) {
            0..10 => self.put(home, false),
            10..20 => get(home, false),
            20..40 => get(some, random.chance(SERIALIZABLE)),
            40..60 => self.put(some, false),
            60..70 => self.put(some, true),
            70..80 => {
                let first = random.range(0..self.keys);
                let last = random.range(first..self.keys);
                Request::Range(Range {
                    key: key(first),
                    range_end: key(last + 1),
                    ..Default::default()
                })
            }
            80..90 => Request::Delete(Delete {
                key: some,
                prev_kv: random.chance(0.5),
                ..Default::default()
            }),
            _ => {
                // The other key two levels down, where a check that only looks at the top misses it.
                let other = key(random.range(0..self.keys));
                let inner = match random.chance(0.5) {
                    true => get(other, false),
                    false => self.put(other, false),
                };
                let nested = Request::Txn(Txn {
                    then: vec![inner],
                    ..Default::default()
                });
                Request::Txn(Txn {
                    then: vec![get(home, false), nested],
                    ..Default::default()
                })
            }
        }
    }

    fn put(&mut self, key: Bytes, prev_kv: bool) -> Request {
        self.written += 1;
        Request::Put(Put {
            key,
            value: format!("a{}-{}", self.position, self.written).into(),
            prev_kv,
            ..Default::default()
        })
    }
}

fn get(key: Bytes, serializable: bool) -> Request {
    Request::Range(Range {
        key,
        serializable,
        ..Default::default()
    })
}
