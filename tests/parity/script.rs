//! Scripts of `etcdctl` commands.
//!
//! One step a line; an empty line or one that begins with `#` is skipped. A line is an `etcdctl`
//! command as a shell would split it, run to its end, after any of these marks:
//!
//! - `@sorted`: the order of its output's lines does not count;
//! - `@status REASON;`: only its success counts, for the given reason: a known difference;
//! - `@stdin`: the following lines, up to one with a single `.`, are its standard input;
//! - `@let NAME N`: the N-th word of its output is `{NAME}` from here on;
//! - `@start NAME`: it goes on while the script does.
//!
//! and what concerns commands that go on: `@await NAME N` waits until it has printed N lines,
//! `@interrupt NAME` ends it as Ctrl-C does and `@finish NAME` waits for its own end; either way its
//! output is then compared. `{E1}` `{P1}` `{M1}` stand for the first member's client URL, peer URL
//! and ID, `{dir}` for a directory of the cluster's own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::normal::Normalizer;
use crate::stack::Stack;

/// How long a command in the background may take for what a script waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the commands of a script came to, step by step.
#[derive(Default)]
pub struct Transcript {
    steps: Vec<(String, String)>,
}

/// Fails with the first step in which the two differ, and shows how many more there are.
pub fn assert_equal(etcd: &Transcript, vetcd: &Transcript) {
    assert_eq!(etcd.steps.len(), vetcd.steps.len());
    let mut differing = String::new();
    for (expected, found) in etcd.steps.iter().zip(&vetcd.steps) {
        if expected != found {
            let (command, expected) = expected;
            let found = &found.1;
            let _ = write!(
                differing,
                "\n$ {command}\n-- etcd:\n{expected}\n-- vetcd:\n{found}\n"
            );
        }
    }
    assert!(differing.is_empty(), "{differing}");
}

/// Plays one script on a cluster.
pub fn play(text: &str, stack: &Stack, transcript: &mut Transcript) {
    let mut player = Player::new(stack);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let input = line.contains("@stdin ").then(|| {
            let input: Vec<_> = lines.by_ref().take_while(|line| *line != ".").collect();
            input.join("\n") + "\n"
        });
        if let Some(outcome) = player.step(line, input.as_deref()) {
            transcript.steps.push((line.to_owned(), outcome));
        }
    }
    assert!(player.running.is_empty(), "a command was not ended");
}

struct Player<'a> {
    stack: &'a Stack,
    normal: Normalizer,
    variables: BTreeMap<String, String>,
    running: BTreeMap<String, (Child, PathBuf)>,
}

impl<'a> Player<'a> {
    fn new(stack: &'a Stack) -> Player<'a> {
        let mut player = Player {
            stack,
            normal: Normalizer::new(stack),
            variables: BTreeMap::new(),
            running: BTreeMap::new(),
        };
        player.set("dir", stack.folder.path().display().to_string());
        for (number, endpoint) in (1..).zip(stack.endpoints()) {
            player.set(&format!("E{number}"), endpoint);
        }
        for (number, place) in (1..).zip(&stack.places) {
            player.set(&format!("P{number}"), place.peer_url());
        }
        player.learn_members();
        player
    }

    fn set(&mut self, name: &str, value: String) {
        self.variables.insert(format!("{{{name}}}"), value);
    }

    /// IDs follow from ports, which are drawn: names for them must come from the members' names.
    fn learn_members(&mut self) {
        let output = self.stack.run(&["member".into(), "list".into()], None);
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let fields: Vec<_> = line.split(", ").collect();
            let identity = u64::from_str_radix(fields[0], 16).unwrap();
            let name = fields[2].replacen('m', "M", 1);
            self.normal.name(identity, &name);
            self.set(&name, fields[0].to_owned());
        }
    }

    fn fill(&self, word: &str) -> String {
        let mut word = word.to_owned();
        for (name, value) in &self.variables {
            word = word.replace(name, value);
        }
        word
    }

    /// Does one line; returns what is to be compared.
    fn step(&mut self, line: &str, input: Option<&str>) -> Option<String> {
        let (mut rest, mut sorted, mut status_only, mut capture) = (line, false, false, None);
        while let Some(marked) = rest.strip_prefix('@') {
            let (mark, after) = marked.split_once(' ').expect("a mark precedes something");
            rest = match mark {
                "sorted" => {
                    sorted = true;
                    after
                }
                "status" => {
                    status_only = true;
                    after.split_once("; ").expect("@status REASON; command").1
                }
                "stdin" => after,
                "let" => {
                    let mut words = after.splitn(3, ' ');
                    let name = words.next().unwrap().to_owned();
                    let position: usize = words.next().unwrap().parse().unwrap();
                    capture = Some((name, position));
                    words.next().unwrap()
                }
                "start" => {
                    let (name, command) = after.split_once(' ').unwrap();
                    self.start(name, command);
                    return None;
                }
                "await" => {
                    let (name, lines) = after.split_once(' ').unwrap();
                    self.wait_for(name, lines.parse().unwrap());
                    return None;
                }
                "interrupt" => return Some(self.end(after, true)),
                "finish" => return Some(self.end(after, false)),
                other => panic!("{line}: there is no mark @{other}"),
            };
        }
        let output = self.stack.run(&self.words(rest), input);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if let Some((name, position)) = capture {
            let word = stdout.split_whitespace().nth(position - 1);
            let word = word.unwrap_or_else(|| panic!("{line}: no word {position} in {output:?}"));
            self.set(&name, word.to_owned());
        }
        if status_only {
            return Some(outcome(output.status, "", ""));
        }
        let mut stdout = self.normal.apply(&stdout);
        if sorted {
            let mut lines: Vec<_> = stdout.lines().collect();
            lines.sort_unstable();
            stdout = lines.join("\n");
        }
        Some(outcome(output.status, &stdout, &self.normal.apply(&stderr)))
    }

    fn words(&self, command: &str) -> Vec<String> {
        split(command).iter().map(|word| self.fill(word)).collect()
    }

    fn start(&mut self, name: &str, command: &str) {
        let file = self.stack.folder.path().join(format!("{name}.out"));
        let child = self.stack.start_command(&self.words(command), &file);
        self.running.insert(name.to_owned(), (child, file));
    }

    fn wait_for(&mut self, name: &str, lines: usize) {
        let (_, file) = &self.running[name];
        let begin = Instant::now();
        loop {
            let text = std::fs::read_to_string(file).unwrap();
            if text.lines().count() >= lines {
                return;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "{name} has not printed {lines} lines: {text:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(&mut self, name: &str, interrupt: bool) -> String {
        let (mut child, file) = self.running.remove(name).expect("it was started");
        if interrupt {
            let killed = Command::new("kill")
                .args(["-INT", &child.id().to_string()])
                .status();
            assert!(killed.unwrap().success());
        }
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() > PATIENCE {
                let _ = child.kill();
                panic!("{name} did not end: {:?}", std::fs::read_to_string(&file));
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let text = std::fs::read_to_string(&file).unwrap();
        outcome(status, &self.normal.apply(&text), "")
    }
}

fn outcome(status: ExitStatus, stdout: &str, stderr: &str) -> String {
    let ended = match status.code() {
        Some(0) => "succeeded".to_owned(),
        Some(code) => format!("failed with {code}"),
        None => "was killed".to_owned(),
    };
    format!("{stdout}{stderr}({ended})")
}

/// Words as a shell splits them: blanks separate, single and double quotes keep together.
fn split(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote) = (None::<String>, None);
    for character in command.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}
