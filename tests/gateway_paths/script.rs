//! Scripts of HTTP requests and their answers.
//!
//! One step a line; an empty line or one that begins with `#` is skipped.
//!
//! - `> METHOD PATH BODY`: a request. `>@TOKEN` sends the token in the `Authorization` header, `>~`
//!   asks again until the answer is as expected;
//! - `< STATUS BODY`: its answer. `<etcd` and `<vetcd` are for one of the two alone;
//! - `>name POST PATH BODY`: a request whose answer comes bit by bit;
//! - `<name STATUS LINE`: the answer's next line;
//! - `!name`: the client hangs up;
//! - `= NAME /POINTER`: what the JSON pointer finds in the last answer is `{NAME}` from here on;
//! - `!join`: a second member starts, on `{P2}`, as one that was added; `!ready` waits until it
//!   answers linearizable reads.
//!
//! `{P1}` and `{P2}` are peer URLs, `{E1}` is the client URL. In an answer `*` stands for a value and
//! `**` for anything. The members' IDs and the term of a header are cut out on both sides.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use regex::Regex;
use tokio::net::TcpStream;

use crate::http::{self, Opened};
use crate::process::{Member, Place, places};

/// How long an answer that must come may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which server a script is played on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Etcd,
    Vetcd,
}

/// A member and what a script has learnt of it.
pub struct Player {
    kind: Kind,
    program: PathBuf,
    places: Vec<Place>,
    members: Vec<Member>,
    variables: BTreeMap<String, String>,
    streams: BTreeMap<String, Opened>,
    /// The steps whose answers were not as written.
    pub differing: Vec<String>,
}

/// A request as a script writes it.
struct Request<'a> {
    stream: &'a str,
    token: String,
    again: bool,
    method: &'a str,
    path: &'a str,
    body: String,
}

impl Player {
    /// Starts a member and waits until it serves.
    pub async fn start(kind: Kind, program: &Path) -> Player {
        let places = places(2);
        let flags = match kind {
            Kind::Etcd => "--log-level=error",
            Kind::Vetcd => "--log-level=warn",
        };
        let flags = [flags, "--bcrypt-cost=4", "--strict-reconfig-check=false"];
        let mut member = Member::new(&places[0], &places[..1], &flags).with_program(program);
        member.start();
        let mut player = Player {
            kind,
            program: program.to_owned(),
            variables: BTreeMap::new(),
            streams: BTreeMap::new(),
            differing: Vec::new(),
            members: vec![member],
            places,
        };
        for (name, value) in [
            ("P1", player.places[0].peer_url()),
            ("P2", player.places[1].peer_url()),
            ("E1", player.places[0].client_url()),
        ] {
            player.variables.insert(name.to_owned(), value);
        }
        player.members[0].wait_until_ready().await;
        player
    }

    /// Plays a script to its end.
    pub async fn play(&mut self, name: &str, text: &str) {
        let mut lines = text.lines().zip(1..).peekable();
        let mut last = String::new();
        while let Some((line, number)) = lines.next() {
            let shown = format!("{name}:{number}: {line}");
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line == "!join" {
                self.join();
            } else if line == "!ready" {
                self.members[1].wait_until_ready().await;
            } else if let Some(stream) = line.strip_prefix('!') {
                self.streams.remove(stream).expect(&shown);
            } else if let Some(capture) = line.strip_prefix("= ") {
                self.capture(capture, &last, &shown);
            } else if let Some(expected) = line.strip_prefix('<') {
                let (stream, expected) = expected.split_once(' ').expect(&shown);
                let stream = self.streams.get_mut(stream).expect(&shown);
                let next = tokio::time::timeout(PATIENCE, stream.next());
                let (status, line) = next.await.unwrap_or((0, "nothing came".to_owned()));
                let found = format!("{status} {}", without_ids(&line));
                self.compare(&shown, expected, &found);
            } else {
                let request = self.request(line.strip_prefix('>').expect(&shown));
                if !request.stream.is_empty() {
                    let (name, opened) = (request.stream.to_owned(), self.open(&request).await);
                    self.streams.insert(name, opened);
                    continue;
                }
                let mut expected = None;
                while let Some((line, _)) = lines.next_if(|(line, _)| is_answer(line)) {
                    let (who, answer) = line[1..].split_once(' ').expect(&shown);
                    let ours = match who {
                        "" => true,
                        "etcd" => self.kind == Kind::Etcd,
                        _ => self.kind == Kind::Vetcd,
                    };
                    expected = if ours { Some(answer) } else { expected };
                }
                let expected = expected.unwrap_or_else(|| panic!("{shown} has no answer"));
                let found = self.ask(&request, expected).await;
                self.compare(&shown, expected, &without_ids(&found));
                last = found;
            }
        }
        let open: Vec<_> = self.streams.keys().collect();
        let ended = |name: &&&String| ["second", "bob"].contains(&name.as_str());
        assert_eq!(
            open.len(),
            open.iter().filter(ended).count(),
            "{name}: {open:?}"
        );
    }

    fn request<'a>(&self, line: &'a str) -> Request<'a> {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (marks, method, path, body) = (word(), word(), word(), word());
        let (marks, token) = marks.split_once('@').unwrap_or((marks, ""));
        Request {
            stream: marks.trim_end_matches('~'),
            token: self.fill(token),
            again: marks.ends_with('~'),
            method,
            path,
            body: self.fill(body),
        }
    }

    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.variables {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }

    async fn open(&self, request: &Request<'_>) -> Opened {
        let address = &self.places[0].client_address;
        Opened::post(address, request.path, &request.token, &request.body).await
    }

    /// Asks, again if that is asked for, and returns status and body.
    async fn ask(&self, request: &Request<'_>, expected: &str) -> String {
        let begin = Instant::now();
        loop {
            let stream = TcpStream::connect(&self.places[0].client_address)
                .await
                .unwrap();
            let Request {
                method,
                path,
                token,
                body,
                ..
            } = request;
            let asking = http::ask_as(stream, method, path, token, body);
            let found = match tokio::time::timeout(PATIENCE, asking).await {
                Ok(answer) => {
                    let answer = answer.unwrap();
                    format!("{} {}", answer.status, answer.text.trim_end())
                }
                Err(_) => return "0 nothing came".to_owned(),
            };
            let done = self.matches(expected, &without_ids(&found));
            if done || !request.again || begin.elapsed() > PATIENCE {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn matches(&self, expected: &str, found: &str) -> bool {
        let pattern = regex::escape(&self.fill(expected));
        let pattern = pattern
            .replace(r"\*\*", ".*")
            .replace(r"\*", r#"[^",}\]]+"#);
        Regex::new(&format!("(?s)^{pattern}$"))
            .unwrap()
            .is_match(found)
    }

    fn compare(&mut self, step: &str, expected: &str, found: &str) {
        if !self.matches(expected, found) {
            let kind = self.kind;
            let different = format!("{kind:?} {step}\n  expected {expected}\n  found    {found}");
            self.differing.push(different);
        }
    }

    fn capture(&mut self, capture: &str, last: &str, shown: &str) {
        let (name, pointer) = capture.split_once(' ').expect(shown);
        let (_, body) = last.split_once(' ').expect(shown);
        let value: serde_json::Value = serde_json::from_str(body).expect(shown);
        let found = value.pointer(pointer).and_then(|found| found.as_str());
        let found = found.unwrap_or_else(|| panic!("{shown}: {body}"));
        self.variables.insert(name.to_owned(), found.to_owned());
    }

    fn join(&mut self) {
        let flags = ["--initial-cluster-state=existing"];
        let member = Member::new(&self.places[1], &self.places, &flags);
        let mut member = member.with_program(&self.program);
        member.start();
        self.members.push(member);
    }
}

fn is_answer(line: &str) -> bool {
    ["< ", "<etcd ", "<vetcd "]
        .iter()
        .any(|mark| line.starts_with(mark))
}

/// Cuts the members' IDs and the term out of an answer's headers.
fn without_ids(body: &str) -> String {
    let fields = Regex::new(r#""(?:cluster_id|member_id|raft_term)":"\d+",?"#).unwrap();
    fields.replace_all(body, "").replace(",}", "}")
}

/// The paths behind `/v3` that a script calls, and those that succeed in it at vetcd.
pub fn paths(text: &str, called: &mut BTreeSet<String>, answered: &mut BTreeSet<String>) {
    let mut streams: BTreeMap<String, String> = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        if let Some(request) = line.strip_prefix('>') {
            let mut words = request.split(' ');
            let name = words
                .next()
                .unwrap()
                .split('@')
                .next()
                .unwrap()
                .trim_end_matches('~');
            let (Some("POST"), Some(path)) = (words.next(), words.next()) else {
                last.clear();
                continue;
            };
            last = path.strip_prefix("/v3").unwrap_or_default().to_owned();
            called.insert(last.clone());
            streams.insert(name.to_owned(), last.clone());
        } else if let Some(answer) = line.strip_prefix('<') {
            let (who, answer) = answer.split_once(' ').unwrap();
            let path = match who {
                "" | "vetcd" => &last,
                "etcd" => continue,
                stream => &streams[stream],
            };
            let success = answer.starts_with("200 ") && !answer.contains("\"error\"");
            if success && !path.is_empty() {
                answered.insert(path.clone());
            }
        }
    }
}
