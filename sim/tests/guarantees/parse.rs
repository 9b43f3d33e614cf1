//! Stories: histories in a short form that a person writes and reads.
//!
//! Times are in seconds. A line is one of
//!
//! - an operation: `5.1-5.2 c1 m1 put k=x -> 2`. The client and the member may be left out; the
//!   outcome is `?` when it is unknown. `put k=x lease=7`, `get k`, `get k@3` (at a revision),
//!   `get k serializable`, `delete k -> 4 1` (how many), `compact 3 -> 4`,
//!   `swap k mod=2 z -> 4 yes`; what a read shows is `k=x@2/2/1`: mod, create, version. A refusal
//!   is `-> compacted` or `-> future`;
//! - one about leases: `grant 7 5 -> 5`, `renew 7 -> 5`, `times 7 -> -1`, `revoke 7 -> done`,
//!   `lock l 7 -> held`, `unlock l/7 -> done`, `campaign e 7 v -> elected 5`,
//!   `proclaim e/7 5 v -> done`, `resign e/7 5 -> done`, `leader e -> e/7 v 5 6` or `-> nobody`;
//! - the end of a lease: `6 expired 7 at 9`, `6 revoked 7 at 9` (the revision);
//! - a watch: `watch 1 a..z from 2 opened 1` with `flags` behind it, and what came to it:
//!   `1: 2 created 1`, `1: 3 shows 4 a=2@4/2/2 -b@5`, `1: 4 progress 5`, `1: 5 cancelled 3`,
//!   `1: 6 ended`; `<a=1@2/2/1` behind an event is what the key held before, `…` at the end of a
//!   line means that a fragment follows;
//! - an observer of an election: `observe 1 e opened 1`, and `1: 2 told e/7 v 5 6`;
//! - any line of a history's file as it is, which begins with a brace;
//! - `as pass`: the lines of the story that passes; `muddle`: writes of unknown outcome whose order
//!   nobody can find out with a small budget.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use vetcd_sim::history::*;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn time(text: &str) -> u64 {
    let seconds: f64 = text.parse().unwrap_or_else(|_| panic!("no time: {text}"));
    (seconds * 1e9).round() as u64
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

/// `k=x@2/2/1`
fn key_value(text: &str) -> KeyValue {
    let (pair, place) = text
        .split_once('@')
        .unwrap_or_else(|| panic!("no kv: {text}"));
    let (key, value) = pair
        .split_once('=')
        .unwrap_or_else(|| panic!("no kv: {text}"));
    let place: Vec<i64> = place.split('/').map(number).collect();
    KeyValue {
        key: bytes(key),
        value: bytes(value),
        mod_revision: place[0],
        create_revision: place[1],
        version: place[2],
        lease: place.get(3).copied().unwrap_or_default(),
    }
}

/// A cluster that tells of every lease's end: see `leases.txt`.
const BOUNDS: &str = r#"{"evidence":{"leases":{"drift_ppm":0,"election_timeout":1000000000,"slack":5000000000,"leaders":[0],"faults":[],"end":100000000000}}}"#;

/// Six writes: see `watch.txt`.
const WRITTEN: [&str; 6] = [
    "2-2.1 put a=1 -> 2",
    "3-3.1 put b=1 -> 3",
    "4-4.1 put a=2 -> 4",
    "5-5.1 delete a -> 5 1",
    "6-6.1 put a=3 -> 6",
    "7-7.1 put b=2 -> 7",
];

#[derive(Default)]
pub struct Story {
    history: History,
    raw: String,
}

impl Story {
    /// The history as its file, with the raw lines behind.
    pub fn file(&self) -> Vec<u8> {
        let mut file = Vec::new();
        self.history.write(&mut file).unwrap();
        file.extend_from_slice(self.raw.as_bytes());
        file
    }

    pub fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            _ if line.starts_with('{') => writeln!(self.raw, "{line}").unwrap(),
            ["muddle", ref how @ ..] => self.muddle(how.contains(&"serializable")),
            ["bounds"] => writeln!(self.raw, "{BOUNDS}").unwrap(),
            ["written"] => {
                for line in WRITTEN {
                    self.line(line);
                }
            }
            ["unwritten"] => {
                self.line("1.5-1.6 put a=1 -> ?");
                self.line("watch 1 a..z from 2 opened 1");
            }
            ["auth", times, who, ref rest @ ..] => self.permission(times, who, rest),
            [
                "watch",
                id,
                span,
                "from",
                start,
                "opened",
                at,
                ref flags @ ..,
            ] => {
                self.watch(id, span, start, at, flags);
            }
            ["observe", id, name, "opened", at] => {
                let observation = Observation {
                    id: number(id) as u64,
                    client: 7,
                    member: Some(2),
                    name: bytes(name),
                    opened: time(at),
                    told: Vec::new(),
                };
                self.history.leases.observations.push(observation);
            }
            [id, at, ref news @ ..] if id.ends_with(':') => {
                self.news(id.trim_end_matches(':'), time(at), news);
            }
            [at, how @ ("expired" | "revoked"), id, "at", revision] => {
                self.history.leases.removals.push(Removal {
                    id: number(id),
                    at: time(at),
                    expired: how == "expired",
                    revision: number(revision),
                });
            }
            [times, ref rest @ ..] => self.operation(times, rest),
        }
    }

    fn operation(&mut self, times: &str, words: &[&str]) {
        let (from, to) = times
            .split_once('-')
            .unwrap_or_else(|| panic!("no times: {times}"));
        let (mut client, mut member, mut words) = (None, Some(1), words);
        while let [first, rest @ ..] = words {
            match (first.split_at(1), first[1..].parse::<u32>()) {
                (("c", _), Ok(number)) => client = Some(number),
                (("m", _), Ok(number)) => member = Some(number),
                _ => break,
            }
            words = rest;
        }
        let arrow = words
            .iter()
            .position(|word| *word == "->")
            .expect("an arrow");
        let (asked, said) = (&words[..arrow], &words[arrow + 1..]);
        let unknown = said == ["?"];
        let (invoked, returned) = (time(from), (!unknown).then(|| time(to)));
        if let Some(request) = lease_request(asked) {
            let operations = &mut self.history.leases.operations;
            let id = operations.len() as u64;
            operations.push(LeaseOperation {
                id,
                client: client.unwrap_or(id as u32),
                member,
                invoked,
                returned,
                outcome: lease_outcome(&request, said),
                request,
            });
            return;
        }
        let request = request(asked);
        let id = self.history.operations.len() as u64;
        self.history.operations.push(Operation {
            id,
            client: client.unwrap_or(id as u32),
            member,
            invoked,
            returned,
            outcome: outcome(&request, said),
            request,
        });
    }

    /// Twelve writes of unknown outcome for ten revisions, and a read that few orders explain.
    fn muddle(&mut self, serializable: bool) {
        let answers = self
            .history
            .operations
            .iter()
            .filter_map(Operation::response);
        let last = answers.map(|response| response.revision).max().unwrap_or(1);
        for key in 0..12 {
            self.line(&format!("90-91 put muddled{key}=v -> ?"));
        }
        self.line(&format!("92-93 put after=1 -> {}", last + 11));
        let (at, first) = (last + 11, last + 2);
        self.line(&format!(
            "94-95 get muddled3{} -> {at} muddled3=v@{first}/{first}/2",
            if serializable { " serializable" } else { "" }
        ));
    }

    /// `enable done`, `alice reads k denied`, `bob role done`: what is needed to read `k`.
    fn permission(&mut self, times: &str, who: &str, words: &[&str]) {
        let (from, to) = times.split_once('-').expect("times");
        let user = who.to_owned();
        let keys = || Keys {
            key: bytes("k"),
            end: Bytes::new(),
        };
        let role = "reader".to_owned();
        let (actions, outcome) = match words {
            [outcome] => (vec![AuthAction::Enable], outcome),
            ["role", outcome] => {
                let granted = AuthAction::Grant {
                    role: role.clone(),
                    read: true,
                    write: false,
                    keys: keys(),
                };
                let made = AuthAction::AddRole { role: role.clone() };
                let given = AuthAction::GrantRole { user, role };
                (vec![made, granted, given], outcome)
            }
            ["reads", "k", outcome] => {
                let needs = vec![Need {
                    write: false,
                    keys: keys(),
                }];
                (vec![AuthAction::Use { user, needs }], outcome)
            }
            _ => panic!("no permission: {words:?}"),
        };
        let outcome = match *outcome {
            "done" => AuthOutcome::Done,
            "denied" => AuthOutcome::Denied,
            _ => AuthOutcome::Unknown("time-out".to_owned()),
        };
        let unknown = matches!(outcome, AuthOutcome::Unknown(_));
        for action in actions {
            self.history.auth.push(AuthRecord {
                client: 1,
                invoked: time(from),
                returned: (!unknown).then(|| time(to)),
                action,
                outcome: outcome.clone(),
            });
        }
    }

    fn watch(&mut self, id: &str, span: &str, start: &str, at: &str, flags: &[&str]) {
        let (key, end) = span.split_once("..").unwrap_or((span, ""));
        let is = |flag: &str| flags.contains(&flag);
        self.history.watches.push(Watch {
            id: number(id) as u64,
            client: 9,
            member: Some(3),
            opened: time(at),
            key: bytes(key),
            range_end: bytes(end),
            start: number(start),
            no_put: is("no-put"),
            no_delete: is("no-delete"),
            prev_kv: is("prev-kv"),
            fragment: is("fragment"),
            ..Watch::default()
        });
    }

    fn news(&mut self, id: &str, at: u64, words: &[&str]) {
        let id = number(id) as u64;
        if let ["told", key, value, created, modified] = words {
            let leader = leader(key, value, created, modified);
            let mut observations = self.history.leases.observations.iter_mut();
            let observation = observations.find(|o| o.id == id).expect("an observation");
            observation.told.push((at, leader));
            return;
        }
        let (revision, news) = match words {
            ["created", revision] => (number(revision), News::Created),
            ["progress", revision] => (number(revision), News::Progress),
            ["cancelled", compacted] => (
                0,
                News::Cancelled {
                    compacted: number(compacted),
                    reason: String::new(),
                },
            ),
            ["ended"] => (0, News::Ended("cut".to_owned())),
            ["shows", revision, events @ ..] => {
                let more = events.last() == Some(&"…");
                let mut shown: Vec<WatchEvent> = Vec::new();
                for text in events.iter().filter(|text| **text != "…") {
                    match (text.strip_prefix('<'), text.strip_prefix('-')) {
                        (Some(previous), _) => {
                            let last = shown.last_mut().expect("an event before");
                            last.previous = Some(key_value(previous));
                        }
                        (_, Some(gone)) => {
                            let (key, revision) = gone.split_once('@').unwrap();
                            let kv = KeyValue {
                                key: bytes(key),
                                mod_revision: number(revision),
                                ..KeyValue::default()
                            };
                            shown.push(WatchEvent {
                                deleted: true,
                                kv,
                                previous: None,
                            });
                        }
                        _ => shown.push(WatchEvent {
                            kv: key_value(text),
                            ..WatchEvent::default()
                        }),
                    }
                }
                let events = shown;
                (number(revision), News::Events { events, more })
            }
            _ => panic!("no news: {words:?}"),
        };
        let mut watches = self.history.watches.iter_mut();
        let watch = watches.find(|watch| watch.id == id).expect("a watch");
        watch.responses.push(WatchResponse { at, revision, news });
    }
}

fn request(words: &[&str]) -> Request {
    match words {
        ["put", pair, flags @ ..] => {
            let (key, value) = pair.split_once('=').expect("key=value");
            let lease = flags.iter().find_map(|flag| flag.strip_prefix("lease="));
            Request::Put(Put {
                key: bytes(key),
                value: bytes(value),
                lease: lease.map_or(0, number),
                prev_kv: false,
            })
        }
        ["get", key, flags @ ..] => {
            let (key, revision) = match key.split_once('@') {
                Some((key, revision)) => (key, number(revision)),
                None => (*key, 0),
            };
            let (key, end) = key.split_once("..").unwrap_or((key, ""));
            let limit = flags.iter().find_map(|flag| flag.strip_prefix("limit="));
            Request::Range(Range {
                key: bytes(key),
                range_end: bytes(end),
                limit: limit.map_or(0, number),
                revision,
                serializable: flags.contains(&"serializable"),
                keys_only: flags.contains(&"keys-only"),
                count_only: flags.contains(&"count-only"),
            })
        }
        ["delete", span] => {
            let (key, end) = span.split_once("..").unwrap_or((span, ""));
            Request::Delete(Delete {
                key: bytes(key),
                range_end: bytes(end),
                prev_kv: false,
            })
        }
        ["compact", revision] => Request::Compact(Compact {
            revision: number(revision),
        }),
        ["swap", key, modified, value] => {
            let operand = match modified.split_once('=') {
                Some(("mod", revision)) => Operand::ModRevision(number(revision)),
                Some(("create", revision)) => Operand::CreateRevision(number(revision)),
                _ => panic!("mod= or create= expected: {modified}"),
            };
            Request::Txn(Txn {
                compare: vec![Compare {
                    key: bytes(key),
                    range_end: Bytes::new(),
                    relation: Relation::Equal,
                    operand,
                }],
                then: vec![Request::Put(Put {
                    key: bytes(key),
                    value: bytes(value),
                    ..Put::default()
                })],
                otherwise: vec![Request::Range(Range {
                    key: bytes(key),
                    ..Range::default()
                })],
            })
        }
        _ => panic!("no request: {words:?}"),
    }
}

fn range_body(words: &[&str]) -> RangeBody {
    let more = words.contains(&"more");
    let count = words.iter().find_map(|word| word.strip_prefix("count="));
    let kvs = words.iter().filter(|word| word.contains('@'));
    let kvs: Vec<KeyValue> = kvs.map(|text| key_value(text)).collect();
    RangeBody {
        count: count.map_or(kvs.len() as i64, number),
        kvs,
        more,
    }
}

fn outcome(request: &Request, words: &[&str]) -> Outcome {
    let refused = |class| {
        Outcome::Failed(Failure {
            class,
            message: String::new(),
        })
    };
    let (revision, rest) = match words {
        ["?"] => return Outcome::Unknown("time-out".to_owned()),
        ["compacted"] => return refused(FailureClass::Compacted),
        ["future"] => return refused(FailureClass::FutureRevision),
        [revision, rest @ ..] => (number(revision), rest),
        [] => panic!("no outcome"),
    };
    let body = match request {
        Request::Put(_) => Body::Put(PutBody::default()),
        Request::Range(_) => Body::Range(range_body(rest)),
        Request::Delete(_) => Body::Delete(DeleteBody {
            deleted: number(rest[0]),
            previous: Vec::new(),
        }),
        Request::Compact(_) => Body::Compact,
        Request::Txn(_) => {
            let succeeded = rest[0] == "yes";
            Body::Txn(TxnBody {
                succeeded,
                responses: vec![match succeeded {
                    true => Body::Put(PutBody::default()),
                    false => Body::Range(range_body(&rest[1..])),
                }],
            })
        }
    };
    Outcome::Ok(Response { revision, body })
}

fn lease_request(words: &[&str]) -> Option<LeaseRequest> {
    Some(match words {
        ["grant", id, ttl] => LeaseRequest::Grant {
            id: number(id),
            ttl: number(ttl),
        },
        ["renew", id] => LeaseRequest::KeepAlive { id: number(id) },
        ["times", id] => LeaseRequest::TimeToLive { id: number(id) },
        ["revoke", id] => LeaseRequest::Revoke { id: number(id) },
        ["lock", name, lease] => LeaseRequest::Lock {
            name: bytes(name),
            lease: number(lease),
        },
        ["unlock", key] => LeaseRequest::Unlock { key: bytes(key) },
        ["campaign", name, lease, value] => LeaseRequest::Campaign {
            name: bytes(name),
            lease: number(lease),
            value: bytes(value),
        },
        ["proclaim", key, created, value] => LeaseRequest::Proclaim {
            key: bytes(key),
            created: number(created),
            value: bytes(value),
        },
        ["resign", key, created] => LeaseRequest::Resign {
            key: bytes(key),
            created: number(created),
        },
        ["leader", name] => LeaseRequest::Leader { name: bytes(name) },
        _ => return None,
    })
}

fn leader(key: &str, value: &str, created: &str, modified: &str) -> Leader {
    Leader {
        key: bytes(key),
        value: bytes(value),
        created: number(created),
        modified: number(modified),
    }
}

fn lease_outcome(request: &LeaseRequest, words: &[&str]) -> LeaseOutcome {
    let key = |name: &Bytes, lease: i64| {
        Bytes::from([&name[..], format!("/{lease:x}").as_bytes()].concat())
    };
    LeaseOutcome::Ok(match (request, words) {
        (_, ["?"]) => return LeaseOutcome::Unknown("time-out".to_owned()),
        (_, ["nobody"]) => return LeaseOutcome::Failed("election: no leader".to_owned()),
        (LeaseRequest::Grant { .. }, [ttl]) => LeaseAnswer::Granted { ttl: number(ttl) },
        (LeaseRequest::KeepAlive { .. }, [ttl]) => LeaseAnswer::Renewed { ttl: number(ttl) },
        (LeaseRequest::TimeToLive { .. }, [ttl]) => LeaseAnswer::Times { ttl: number(ttl) },
        (LeaseRequest::Revoke { .. }, _) => LeaseAnswer::Revoked,
        (LeaseRequest::Lock { name, lease }, _) => LeaseAnswer::Locked {
            key: key(name, *lease),
        },
        (LeaseRequest::Unlock { .. }, _) => LeaseAnswer::Unlocked,
        (LeaseRequest::Campaign { name, lease, .. }, ["elected", created]) => {
            LeaseAnswer::Elected {
                key: key(name, *lease),
                created: number(created),
            }
        }
        (LeaseRequest::Proclaim { .. }, _) => LeaseAnswer::Proclaimed,
        (LeaseRequest::Resign { .. }, _) => LeaseAnswer::Resigned,
        (LeaseRequest::Leader { .. }, [key, value, created, modified]) => {
            LeaseAnswer::Leads(leader(key, value, created, modified))
        }
        _ => panic!("no outcome of {request}: {words:?}"),
    })
}

/// The stories of a file by guarantee and verdict: the check's name, and the lines.
pub type Stories = BTreeMap<(String, String), (String, Vec<String>)>;

/// Reads `== guarantee | check | verdict` and the lines behind each.
pub fn stories(text: &str) -> Stories {
    let mut stories = Stories::new();
    let mut now: Option<(String, String)> = None;
    for line in text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
    {
        if let Some(title) = line.strip_prefix("== ") {
            let parts: Vec<&str> = title.split('|').map(str::trim).collect();
            let place = (parts[0].to_owned(), parts[2].to_owned());
            let story = (parts[1].to_owned(), Vec::new());
            assert!(
                stories.insert(place.clone(), story).is_none(),
                "{line} twice"
            );
            now = Some(place);
        } else if let Some(place) = &now {
            let line = line.trim();
            let pass = (place.0.clone(), "pass".to_owned());
            let lines = match line {
                "as pass" => stories[&pass].1.clone(),
                "as the same state everywhere" => {
                    let other = "convergence: the same state everywhere".to_owned();
                    stories[&(other, "pass".to_owned())].1.clone()
                }
                line => vec![line.to_owned()],
            };
            stories.get_mut(place).unwrap().1.extend(lines);
        }
    }
    stories
}
