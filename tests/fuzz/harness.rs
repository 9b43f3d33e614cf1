//! Runs a target: draws inputs, watches for panics and memory, keeps what fails.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use crate::mutate::Draw;

/// The most seeds that are kept, those the target began with included.
const SEEDS_MAX: usize = 2_000;
/// Inputs longer than this do not become seeds, bytes.
const SEED_BYTES_MAX: usize = 256 << 10;
/// The longest description of an outcome, characters.
const CLASS_CHARACTERS: usize = 120;

/// Code under test, with inputs for it.
pub trait Target {
    /// The name of its test.
    fn name(&self) -> &'static str;

    /// How many cases are run when nobody says otherwise.
    fn cases(&self) -> usize;

    /// Valid inputs.
    fn seeds(&mut self) -> Vec<Vec<u8>>;

    /// An input made of `seed`; `other` is another one to take pieces of.
    fn mutate(&mut self, draw: &mut Draw, seed: &[u8], other: &[u8]) -> Vec<u8>;

    /// Runs the code under test: what became of the input, or the promise that was broken.
    fn run(&mut self, input: &[u8]) -> Result<String, String>;

    /// After so many inputs the target begins anew; 0 where inputs leave nothing behind. Inputs that
    /// do are kept, and run again, together.
    fn inputs_a_life(&self) -> usize {
        0
    }

    /// Begins anew: what earlier inputs left behind is gone. Called before the first input, too.
    fn begin(&mut self) {}

    /// Ends a life: a last look at what the inputs left behind.
    fn end(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// What `input` may make the code hold at any moment, bytes.
    fn memory(&self, input: &[u8]) -> u64;

    /// Whether a panic at this place of the source is foreseen, and caught by the code under test.
    fn foresees(&self, _file: &str) -> bool {
        false
    }
}

/// What a run has done.
#[derive(Debug, Default)]
pub struct Summary {
    pub cases: usize,
    /// How often each outcome was seen.
    pub outcomes: BTreeMap<String, usize>,
    /// The most memory that a case held, and the length of its input, bytes.
    pub memory: (u64, usize),
    /// The longest that a case took.
    pub slowest: Duration,
}

/// Runs `target` as the environment says.
///
/// # Panics
/// On the first input that fails.
pub fn fuzz(target: &mut dyn Target) -> Summary {
    let plan = Plan::from_environment(target);
    if let Some(path) = std::env::var_os("VETCD_FUZZ_INPUT") {
        replay(target, Path::new(&path));
        return Summary::default();
    }
    let name = target.name();
    match run(target, &plan) {
        Ok(summary) => {
            println!(
                "fuzz {name}: seed {}, {} cases, {} outcomes, at most {} KiB for {} bytes, \
                 slowest {:?}",
                plan.seed,
                summary.cases,
                summary.outcomes.len(),
                summary.memory.0 >> 10,
                summary.memory.1,
                summary.slowest,
            );
            if std::env::var_os("VETCD_FUZZ_OUTCOMES").is_some() {
                for (outcome, count) in &summary.outcomes {
                    println!("{count:>8}  {outcome}");
                }
            }
            summary
        }
        Err(failure) => panic!("{failure}"),
    }
}

/// How long, and where to.
pub struct Plan {
    pub seed: u64,
    pub cases: usize,
    pub time: Option<Duration>,
    /// Where failing inputs go.
    pub folder: PathBuf,
}

impl Plan {
    fn from_environment(target: &dyn Target) -> Plan {
        let number = |name| -> Option<u64> { std::env::var(name).ok()?.parse().ok() };
        let time = number("VETCD_FUZZ_SECONDS").map(Duration::from_secs);
        let cases = number("VETCD_FUZZ_CASES").map(|cases| cases as usize);
        Plan {
            seed: number("VETCD_FUZZ_SEED").unwrap_or(1),
            cases: match time {
                Some(_) => usize::MAX,
                None => cases.unwrap_or(target.cases()),
            },
            time,
            folder: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/fuzz")),
        }
    }
}

/// Runs `target` to the end of `plan`, or to the first failure, described.
pub fn run(target: &mut dyn Target, plan: &Plan) -> Result<Summary, String> {
    fs::create_dir_all(&plan.folder).unwrap();
    let mut draw = Draw::new(plan.seed, target.name());
    let mut summary = Summary::default();
    let running = running_path(target, plan);
    let left = fs::read(&running).ok();
    let mut life = Life::new(target, plan);
    let mut seeds = life.target.seeds();
    assert!(!seeds.is_empty());
    let begin = Instant::now();
    if let Some(left) = left {
        let note = format!(
            "fuzz {}: running again what a run that died left in {}\n",
            life.target.name(),
            running.display()
        );
        // Not `eprint`: the process may die before its captured output is shown.
        _ = std::io::stderr().write_all(note.as_bytes());
        for input in unpack(&left) {
            life.case(&input, &mut summary)?;
        }
        life.renew()?;
    }
    for seed in &seeds {
        life.case(seed, &mut summary)?;
    }
    while summary.cases < plan.cases && plan.time.is_none_or(|time| begin.elapsed() < time) {
        let seed = draw.pick(&seeds);
        let other = draw.pick(&seeds);
        let input = life.target.mutate(&mut draw, seed, other);
        let is_new = life.case(&input, &mut summary)?;
        if is_new && seeds.len() < SEEDS_MAX && input.len() <= SEED_BYTES_MAX {
            seeds.push(input);
        }
    }
    life.renew()?;
    _ = fs::remove_file(running);
    Ok(summary)
}

/// Runs the input in a file again.
fn replay(target: &mut dyn Target, path: &Path) {
    let content = fs::read(path).unwrap();
    let folder = std::env::temp_dir().join(format!("vetcd-fuzz-{}", std::process::id()));
    let plan = Plan {
        seed: 0,
        cases: 0,
        time: None,
        folder,
    };
    fs::create_dir_all(&plan.folder).unwrap();
    let mut life = Life::new(target, &plan);
    let mut summary = Summary::default();
    for input in unpack(&content) {
        let known = life.case(&input, &mut summary);
        println!("{} bytes: {known:?}", input.len());
        known.unwrap();
    }
    life.renew().unwrap();
    println!("{:#?}", summary.outcomes);
    _ = fs::remove_dir_all(&plan.folder);
}

/// A target and the inputs since it began.
struct Life<'a> {
    target: &'a mut dyn Target,
    plan: &'a Plan,
    inputs: Vec<Vec<u8>>,
    begun: bool,
    /// Has `inputs`, in case the process dies.
    running: fs::File,
    running_bytes: u64,
}

impl<'a> Life<'a> {
    fn new(target: &'a mut dyn Target, plan: &'a Plan) -> Life<'a> {
        let path = running_path(&*target, plan);
        Life {
            target,
            plan,
            inputs: Vec::new(),
            begun: false,
            running: fs::File::create(path).unwrap(),
            running_bytes: 0,
        }
    }

    /// Adds `input` to those that run again should the process die. One write: a file made anew for
    /// each case would take longer than the cases.
    fn note(&mut self, input: &[u8]) {
        let mut packed = pack(&[input.to_vec()]);
        let length = packed.len() as u64;
        packed.extend(END);
        self.running
            .write_all_at(&packed, self.running_bytes)
            .unwrap();
        self.running_bytes += length;
    }

    /// Runs one input; whether its outcome is new.
    fn case(&mut self, input: &[u8], summary: &mut Summary) -> Result<bool, String> {
        if !self.begun {
            self.begun = true;
            self.target.begin();
        }
        self.inputs.push(input.to_vec());
        self.note(input);
        let begin = Instant::now();
        let case = observe(|| self.target.run(input));
        summary.slowest = summary.slowest.max(begin.elapsed());
        summary.cases += 1;
        if case.memory > summary.memory.0 {
            summary.memory = (case.memory, input.len());
        }
        let class = self
            .verdict(&case, Some(input))
            .map_err(|reason| self.keep(&reason))?;
        let seen = summary.outcomes.entry(class).or_default();
        *seen += 1;
        let is_new = *seen == 1;
        let most = self.target.inputs_a_life();
        if self.inputs.len() >= most {
            self.renew()?;
        }
        Ok(is_new)
    }

    /// `input` is `None` for what ends a life.
    fn verdict(&self, case: &Case, input: Option<&[u8]>) -> Result<String, String> {
        let unforeseen = |panic: &&Panic| !self.target.foresees(&panic.file);
        if let Some(panic) = case.panics.iter().find(unforeseen) {
            return Err(format!("panic at {}: {}", panic.file, panic.message));
        }
        let bound = input.map_or(u64::MAX, |input| self.target.memory(input));
        if case.memory > bound {
            return Err(format!(
                "{} bytes of input made it hold {} bytes at once, above {bound}",
                input.map_or(0, <[u8]>::len),
                case.memory
            ));
        }
        match &case.result {
            Some(Ok(class)) => Ok(normal(class)),
            Some(Err(broken)) => Err(broken.clone()),
            None => Err("panic that left no trace".to_owned()),
        }
    }

    /// Ends this life; the next input begins another.
    fn renew(&mut self) -> Result<(), String> {
        if self.begun {
            let ended = observe(|| self.target.end().map(|()| String::new()));
            self.verdict(&ended, None)
                .map_err(|reason| self.keep(&reason))?;
        }
        self.begun = false;
        self.inputs.clear();
        self.running_bytes = 0;
        Ok(())
    }

    /// Writes the inputs of this life to a file, and says how to run them again.
    fn keep(&mut self, reason: &str) -> String {
        let name = self.target.name();
        let packed = pack(&self.inputs);
        let digest = crc32c::crc32c(&packed);
        let path = self.plan.folder.join(format!("{name}-{digest:08x}"));
        fs::write(&path, packed).unwrap();
        _ = fs::remove_file(running_path(&*self.target, self.plan));
        let path = path.display();
        format!(
            "{name}, seed {}: {reason}\nrun it again: VETCD_FUZZ_INPUT={path} cargo test --test fuzz {name}::",
            self.plan.seed
        )
    }
}

/// What one input did.
struct Case {
    /// `None` after a panic.
    result: Option<Result<String, String>>,
    panics: Vec<Panic>,
    memory: u64,
}

struct Panic {
    file: String,
    message: String,
}

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static PANICS: RefCell<Vec<Panic>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` on this thread and notes every panic below it, caught by somebody or not, and the
/// most memory it held.
fn observe(work: impl FnOnce() -> Result<String, String>) -> Case {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !WATCHED.get() || std::env::var_os("VETCD_FUZZ_INPUT").is_some() {
                // With its backtrace.
                usual(info);
            }
            if !WATCHED.get() {
                return;
            }
            let location = info.location();
            let panic = Panic {
                file: location
                    .map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line())),
                message: info.payload_as_str().unwrap_or("no message").to_owned(),
            };
            PANICS.with_borrow_mut(|panics| panics.push(panic));
        }));
    });
    let mut result = None;
    WATCHED.set(true);
    let used = allocation_counter::measure(|| {
        result = catch_unwind(AssertUnwindSafe(work)).ok();
    });
    WATCHED.set(false);
    Case {
        result,
        panics: PANICS.take(),
        memory: used.bytes_max,
    }
}

/// An outcome without its numbers: what differs only in them is the same.
fn normal(class: &str) -> String {
    let mut text = String::new();
    for character in class.chars().take(CLASS_CHARACTERS) {
        match character {
            '0'..='9' if text.ends_with('#') => {}
            '0'..='9' => text.push('#'),
            other => text.push(other),
        }
    }
    text
}

/// Where the inputs of a target that is running are.
fn running_path(target: &dyn Target, plan: &Plan) -> PathBuf {
    plan.folder.join(format!("{}.running", target.name()))
}

/// Ends packed inputs where more bytes follow; no input is as long as this would say.
const END: [u8; 4] = [0xff; 4];

/// Several inputs as one file.
fn pack(inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut packed = Vec::new();
    for input in inputs {
        packed.extend((input.len() as u32).to_le_bytes());
        packed.extend(input);
    }
    packed
}

fn unpack(mut packed: &[u8]) -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    while let Some((length, rest)) = packed.split_first_chunk::<4>().filter(|(l, _)| **l != END) {
        let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
        let (input, rest) = rest.split_at(length);
        inputs.push(input.to_vec());
        packed = rest;
    }
    inputs
}
