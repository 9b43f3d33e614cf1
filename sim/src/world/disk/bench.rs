//! A disk outside of any simulation, for those who want to know *all* that can happen to it: every
//! moment at which its process or its machine can die, and everything a power loss can leave then.
//!
//! It is the simulated disk with its fault model, and two things more: an [`Image`] of itself kept
//! before every operation that changes something, and fates that are chosen instead of drawn
//! ([`Script`]). Operations follow each other without overlap, each done before the next begins.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vetcd::host::Disk;

use super::device::Cost;
use super::mount::Mount;
use super::power::{Fates, FileLoss};
use super::tree::Tree;
use super::{DiskProfile, SimDisk};
use crate::rng::{Latency, Stream};
use crate::world::timeline::Timeline;
use crate::world::trace::Trace;
use crate::world::{NodeId, lock};

/// Up to so many un-synced names, outcomes are counted exactly.
const NAMES_COUNTED: usize = 6;

/// What a bench remembers of the operations on it.
#[derive(Default)]
pub(super) struct Tape {
    images: Vec<Image>,
    /// The number of the operation that is told to fail.
    fail_at: Option<usize>,
}

/// A disk that keeps an image before every changing operation.
pub(crate) struct Bench {
    disk: SimDisk,
}

/// A disk at one moment: what is live, what is durable, and what is between the two.
pub(crate) struct Image {
    tree: Tree,
    now_ns: u64,
}

impl Bench {
    /// An empty disk. The operation numbered `fail_at` (counted from 0, changing operations only)
    /// fails with an input/output error if it is a sync or a write to a file.
    pub(crate) fn new(fail_at: Option<usize>) -> Bench {
        Bench::on(Tree::new(), 0, fail_at)
    }

    fn on(tree: Tree, now_ns: u64, fail_at: Option<usize>) -> Bench {
        let timeline = Timeline::standing();
        timeline.set(now_ns);
        let micro = |micros| Latency::constant(Duration::from_micros(micros));
        let profile = DiskProfile {
            write: micro(1),
            read: micro(0),
            sync: micro(10),
            bandwidth: u64::MAX,
        };
        let trace = Trace::new(timeline.clone(), 0, false);
        let tape = Tape {
            images: Vec::new(),
            fail_at,
        };
        let disk = SimDisk::with(
            NodeId(0),
            profile,
            timeline,
            trace,
            0,
            "bench",
            tree,
            Some(tape),
        );
        disk.enter();
        Bench { disk }
    }

    /// The disk, for a process that never dies by itself.
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(Mount::new(self.disk.clone(), None))
    }

    /// How many images were kept so far.
    pub(crate) fn count(&self) -> usize {
        self.disk.tape(|tape| tape.images.len())
    }

    /// Whether the operation that was told to fail has done so.
    pub(crate) fn has_failed(&self) -> bool {
        self.disk.counters().failed > 0
    }

    /// The images kept, and one of this moment.
    pub(crate) fn into_images(self) -> Vec<Image> {
        let now = self.image();
        let mut images = self.disk.tape(|tape| std::mem::take(&mut tape.images));
        images.push(now);
        images
    }

    /// This moment.
    pub(crate) fn image(&self) -> Image {
        self.disk.catch_up();
        self.disk.image()
    }

    /// Equal for equal contents and names, as far as the next process can tell.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let tree = self.disk.tree();
        for dir in tree.live_dirs() {
            hasher.write(dir.as_bytes());
            hasher.write_u8(0);
        }
        for (path, file) in tree.live_files() {
            hasher.write(path.as_bytes());
            hasher.write_u8(1);
            file.hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl Image {
    /// The process dies here and the machine goes on: what is un-synced stays so, and readable.
    pub(crate) fn crash(&self) -> Bench {
        let mut tree = self.tree.copy();
        tree.settle(self.now_ns);
        for (_, file) in tree.all_files() {
            file.settle(self.now_ns);
        }
        Bench::on(tree, self.now_ns, None)
    }

    /// Power is lost here, and `fates` says what survives in units of `sector` bytes.
    fn lose(&self, sector: u32, fates: &mut dyn Fates) -> (Bench, Vec<FileLoss>) {
        let mut tree = self.tree.copy();
        // As when the process dies with its machine: all files settle, named or not.
        for (_, file) in tree.all_files() {
            file.settle(self.now_ns);
        }
        tree.lose_power(self.now_ns, fates);
        let files = tree.live_files().into_iter();
        let losses = files
            .filter_map(|(path, file)| file.lose_power(self.now_ns, sector, fates, path))
            .collect();
        (Bench::on(tree, self.now_ns, None), losses)
    }

    /// Power is lost here, and `script` says what survives in units of `sector` bytes.
    pub(crate) fn power_loss(&self, sector: u32, script: &mut Script) -> Bench {
        self.lose(sector, script).0
    }

    /// How many outcomes a power loss can have here.
    pub(crate) fn outcomes(&self, sector: u32) -> Outcomes {
        let mut all = Tally::new(None);
        self.lose(sector, &mut all);
        let names = all.asked;
        if names > NAMES_COUNTED {
            return Outcomes {
                count: all
                    .outcomes()
                    .saturating_mul(1u128.checked_shl(names as u32).unwrap_or(u128::MAX)),
                exact: false,
            };
        }
        let mut count = 0u128;
        for subset in 0..1u32 << names {
            let mut tally = Tally::new(Some(subset));
            self.lose(sector, &mut tally);
            count = count.saturating_add(tally.outcomes());
        }
        Outcomes {
            count,
            exact: count < u128::MAX,
        }
    }
}

impl SimDisk {
    fn tape<T>(&self, work: impl FnOnce(&mut Tape) -> T) -> T {
        let tape = self.0.tape.as_ref().expect("only a bench is asked");
        work(&mut lock(tape))
    }

    /// Lets the clock of a bench come to the end of the last operation.
    fn catch_up(&self) {
        let cursor_ns = self.device().cursor_ns;
        self.0.timeline.set(cursor_ns.unwrap_or(0));
    }

    fn image(&self) -> Image {
        Image {
            tree: self.tree().copy(),
            now_ns: self.0.timeline.now_ns(),
        }
    }

    /// Before every operation: a bench keeps an image, and lets its operation fail when it is due.
    pub(super) fn on_tape(&self, cost: Cost) {
        let Some(tape) = &self.0.tape else { return };
        self.catch_up();
        if cost == Cost::Read {
            return;
        }
        let image = self.image();
        let mut tape = lock(tape);
        let fails = u32::from(tape.fail_at == Some(tape.images.len()));
        tape.images.push(image);
        let mut device = self.device();
        (device.syncs_to_fail, device.writes_to_fail) = match cost {
            Cost::Sync(_) => (fails, 0),
            Cost::Write | Cost::Read => (0, fails),
        };
    }
}

pub(super) fn tape(tape: Option<Tape>) -> Option<Mutex<Tape>> {
    tape.map(Mutex::new)
}

/// How many outcomes a power loss can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcomes {
    /// The number, or a bound from above.
    pub(crate) count: u128,
    /// Whether it is the number.
    pub(crate) exact: bool,
}

/// Lets everything survive and counts what else could have been.
struct Tally {
    subset: Option<u32>,
    /// Un-synced names.
    asked: usize,
    outcomes: u128,
    lengths: u128,
    sectors: BTreeMap<u64, u128>,
}

impl Tally {
    fn new(subset: Option<u32>) -> Tally {
        Tally {
            subset,
            asked: 0,
            outcomes: 1,
            lengths: 0,
            sectors: BTreeMap::new(),
        }
    }

    fn end_file(&mut self) {
        // Of n successive versions any one survives, or the durable one.
        self.outcomes = self.outcomes.saturating_mul(self.lengths + 1);
        for versions in std::mem::take(&mut self.sectors).into_values() {
            self.outcomes = self.outcomes.saturating_mul(versions + 1);
        }
        self.lengths = 0;
    }

    fn outcomes(mut self) -> u128 {
        self.end_file();
        self.outcomes
    }
}

impl Fates for Tally {
    fn names(&mut self, count: usize) -> Vec<bool> {
        self.asked = count;
        let survives = |index| self.subset.is_none_or(|subset| subset >> index & 1 == 1);
        (0..count).map(survives).collect()
    }

    fn begin_file(&mut self) {
        self.end_file();
    }

    fn length(&mut self) -> bool {
        self.lengths += 1;
        true
    }

    fn sector(&mut self, sector: u64, length: usize) -> usize {
        *self.sectors.entry(sector).or_default() += 1;
        length
    }
}

/// Chosen fates: a list of answers, and how to go on when it ends.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    answers: Vec<bool>,
    rest: Rest,
    /// This answer is the opposite of what the rest says.
    flipped: Option<usize>,
    given: Vec<bool>,
}

#[derive(Clone, Debug)]
enum Rest {
    Always(bool),
    Drawn(Box<Stream>, f64),
}

impl Script {
    /// Gives these answers, and then says that nothing survives.
    pub(crate) fn of(answers: Vec<bool>) -> Script {
        Script {
            answers,
            rest: Rest::Always(false),
            flipped: None,
            given: Vec::new(),
        }
    }

    /// Everything survives, or nothing; except that the answer number `flipped` is the opposite.
    pub(crate) fn all_but(survives: bool, flipped: Option<usize>) -> Script {
        Script {
            rest: Rest::Always(survives),
            flipped,
            ..Script::of(Vec::new())
        }
    }

    /// Draws each answer.
    pub(crate) fn drawn(mut draws: Stream) -> Script {
        let chance = draws.unit();
        Script {
            rest: Rest::Drawn(Box::new(draws), chance),
            ..Script::of(Vec::new())
        }
    }

    /// The answers given: [`Script::of`] them is the same outcome.
    pub(crate) fn given(&self) -> &[bool] {
        &self.given
    }

    /// The script after this one, in an order that goes through all outcomes when it begins with
    /// `Script::of(vec![])`; `None` after the last.
    pub(crate) fn next(&self) -> Option<Script> {
        let last = self.given.iter().rposition(|survives| !survives)?;
        let mut answers = self.given[..last].to_vec();
        answers.push(true);
        Some(Script::of(answers))
    }

    fn answer(&mut self) -> bool {
        let number = self.given.len();
        let answer = match (self.answers.get(number), &mut self.rest) {
            (Some(answer), _) => *answer,
            (None, Rest::Always(answer)) => *answer ^ (self.flipped == Some(number)),
            (None, Rest::Drawn(draws, chance)) => draws.chance(*chance),
        };
        self.given.push(answer);
        answer
    }
}

impl Fates for Script {
    fn names(&mut self, count: usize) -> Vec<bool> {
        (0..count).map(|_| self.answer()).collect()
    }

    fn begin_file(&mut self) {}

    fn length(&mut self) -> bool {
        self.answer()
    }

    fn sector(&mut self, _sector: u64, length: usize) -> usize {
        match self.answer() {
            true => length,
            false => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use vetcd::host::OpenMode;

    /// Two un-synced names; in one of the files one durable sector, then three writes over four
    /// sectors, one of which is written twice.
    fn image() -> Image {
        let bench = Bench::new(None);
        let disk = bench.disk();
        let file = disk.open("a".as_ref(), OpenMode::CreateNew).unwrap();
        file.write_at(0, &[1; 512]).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir("/".as_ref()).unwrap();
        disk.open("b".as_ref(), OpenMode::CreateNew).unwrap();
        disk.rename("b".as_ref(), "c".as_ref()).unwrap();
        file.write_at(0, &[2; 1024]).unwrap();
        file.write_at(512, &[3; 512]).unwrap();
        bench.image()
    }

    #[test]
    fn every_outcome_is_gone_through_once_and_counted() {
        let image = image();
        // Names: 2^2. Lengths of `a`: 512, 1024. Sector 0: 1, 2; sector 1: zeros, 2, 3.
        let outcomes = image.outcomes(512);
        let expected = Outcomes {
            count: 4 * 2 * 2 * 3,
            exact: true,
        };
        assert_eq!(outcomes, expected);
        let mut script = Some(Script::of(Vec::new()));
        let mut given = BTreeSet::new();
        while let Some(mut now) = script {
            image.power_loss(512, &mut now);
            assert!(given.insert(now.given().to_vec()));
            script = now.next();
        }
        assert_eq!(given.len() as u128, outcomes.count);
    }

    #[test]
    fn the_same_answers_leave_the_same_disk() {
        let image = image();
        let mut drawn = Script::drawn(Stream::new(3, "bench"));
        let first = image.power_loss(512, &mut drawn).hash();
        let mut again = Script::of(drawn.given().to_vec());
        assert_eq!(image.power_loss(512, &mut again).hash(), first);
        let mut none = Script::all_but(false, None);
        let mut all = Script::all_but(true, None);
        let lost = image.power_loss(512, &mut none).hash();
        assert_ne!(lost, image.power_loss(512, &mut all).hash());
        assert_eq!(image.crash().hash(), image.power_loss(512, &mut all).hash());
    }

    #[test]
    fn an_image_is_kept_before_every_change_and_one_operation_fails() {
        let bench = Bench::new(Some(2));
        let disk = bench.disk();
        let file = disk.open("a".as_ref(), OpenMode::CreateNew).unwrap();
        file.write_at(0, b"x").unwrap();
        assert!(!bench.has_failed());
        assert!(file.sync_data().is_err());
        assert!(bench.has_failed());
        file.sync_data().unwrap();
        assert_eq!(bench.count(), 4);
        let images = bench.into_images();
        // The sync after the failed one covers nothing.
        assert!(images[4].outcomes(512).count > 1);
    }
}
