//! One workload: its points, and at each of them the states that are tried.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use vetcd::defects::Defects;
use vetcd::server::boot::boot;

use super::drive::{Attempt, drive, options};
use super::expect::{Found, refused};
use super::key_index;
use super::saved::{Death, SavedState};
use super::workload::{Pace, Workload};
use super::{Options, expect::Promise};
use crate::rng::Stream;
use crate::world::disk::{Bench, Image, Script};

/// How much was gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Workloads.
    pub workloads: u64,
    /// Of those, how many were at a busy pace.
    pub busy: u64,
    /// Points: moments between two disk operations.
    pub points: u64,
    /// Disk operations that were made to fail.
    pub failed: u64,
    /// Deaths of the process, each followed by a power loss after the start.
    pub crashes: u64,
    /// Outcomes of power losses that were tried.
    pub outcomes: u64,
    /// Outcomes of power losses that were left out because of the bound.
    pub left_out: u128,
    /// Whether that is the number, and not a bound from above.
    pub left_out_exact: bool,
    /// Different disks that a member was started on.
    pub disks: u64,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            workloads: 0,
            busy: 0,
            points: 0,
            failed: 0,
            crashes: 0,
            outcomes: 0,
            left_out: 0,
            left_out_exact: true,
            disks: 0,
        }
    }
}

impl Counts {
    /// Adds what another workload counted.
    pub fn add(&mut self, other: &Counts) {
        self.workloads += other.workloads;
        self.busy += other.busy;
        self.points += other.points;
        self.failed += other.failed;
        self.crashes += other.crashes;
        self.outcomes += other.outcomes;
        self.left_out = self.left_out.saturating_add(other.left_out);
        self.left_out_exact &= other.left_out_exact;
        self.disks += other.disks;
    }
}

/// A state in which a member does not have what it must have.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How to get there again.
    pub state: SavedState,
    /// What is wrong.
    pub reason: String,
}

/// Goes through one workload, up to its first failure.
pub(super) fn workload(
    workload: &Workload,
    options: &Options,
    defects: &Defects,
) -> (Counts, Option<Failure>) {
    let mut search = Search {
        workload,
        options,
        counts: Counts {
            workloads: 1,
            busy: u64::from(workload.pace == Pace::Busy),
            ..Counts::default()
        },
        started: BTreeMap::new(),
    };
    let failure = search.run(defects).err().map(|failure| *failure);
    search.counts.disks += search.started.len() as u64;
    (search.counts, failure)
}

type Judged = Result<(), Box<Failure>>;

struct Search<'a> {
    workload: &'a Workload,
    options: &'a Options,
    counts: Counts,
    /// What was found on each different disk.
    started: BTreeMap<u64, Result<Found, String>>,
}

impl Search<'_> {
    fn run(&mut self, defects: &Defects) -> Judged {
        let attempt = drive(self.workload, None, defects);
        if let Some(reason) = &attempt.stopped {
            let reason = format!("the member stopped, and nothing was wrong: {reason}");
            let end = attempt.images.len() - 1;
            return Err(self.failure(None, end, Death::Process, reason));
        }
        // The first point of the last operation is the last of the workload without it.
        let begins = attempt.last_begins + usize::from(!self.workload.operations.is_empty());
        for point in begins..attempt.images.len() {
            self.point(&attempt, None, point)?;
        }
        for fail_at in attempt.last_begins..attempt.images.len() - 1 {
            let failing = drive(self.workload, Some(fail_at), defects);
            if !failing.has_failed {
                continue;
            }
            self.counts.failed += 1;
            for point in fail_at + 1..failing.images.len() {
                self.point(&failing, Some(fail_at), point)?;
            }
        }
        Ok(())
    }

    fn point(&mut self, attempt: &Attempt, fail_at: Option<usize>, point: usize) -> Judged {
        self.counts.points += 1;
        let image = &attempt.images[point];
        self.counts.crashes += 1;
        process_death(attempt, image, attempt.promise(point))
            .map_err(|reason| self.failure(fail_at, point, Death::Process, reason))?;
        let possible = image.outcomes(self.options.sector);
        let tried = match possible.exact && possible.count <= self.options.outcomes as u128 {
            true => self.all(attempt, fail_at, point)?,
            false => self.some(attempt, fail_at, point)?,
        };
        self.counts.outcomes += tried;
        let left_out = possible.count.saturating_sub(u128::from(tried));
        self.counts.left_out = self.counts.left_out.saturating_add(left_out);
        self.counts.left_out_exact &= possible.exact;
        Ok(())
    }

    fn all(
        &mut self,
        attempt: &Attempt,
        fail_at: Option<usize>,
        point: usize,
    ) -> Result<u64, Box<Failure>> {
        let mut tried = 0;
        let mut script = Some(Script::of(Vec::new()));
        while let Some(mut now) = script {
            self.power_loss(attempt, fail_at, point, &mut now)?;
            tried += 1;
            script = now.next();
        }
        Ok(tried)
    }

    /// As many different outcomes as the bound allows, the ones at the edges first.
    fn some(
        &mut self,
        attempt: &Attempt,
        fail_at: Option<usize>,
        point: usize,
    ) -> Result<u64, Box<Failure>> {
        let bound = self.options.outcomes as u64;
        let mut seen = std::collections::BTreeSet::new();
        let mut flips = 0;
        for survives in [false, true] {
            let mut script = Script::all_but(survives, None);
            if (seen.len() as u64) < bound {
                self.power_loss(attempt, fail_at, point, &mut script)?;
                flips = flips.max(script.given().len());
                seen.insert(script.given().to_vec());
            }
        }
        let name = format!("enumerate/{:?}/{fail_at:?}/{point}", self.workload);
        let mut draws = Stream::new(self.options.seed, &name);
        let flipped = (0..flips).flat_map(|at| [true, false].map(|all| (all, at)));
        let mut flipped: Vec<(bool, usize)> = flipped.collect();
        draws.shuffle(&mut flipped);
        // Half of the bound at most, so that there is room for mixtures.
        flipped.truncate((bound / 2) as usize);
        let scripts = flipped
            .into_iter()
            .map(|(survives, at)| Script::all_but(survives, Some(at)));
        let drawn = (0..2 * bound)
            .map(|number| Script::drawn(Stream::new(draws.next_u64(), &format!("{number}"))));
        for mut script in scripts.chain(drawn) {
            if seen.len() as u64 >= bound {
                break;
            }
            self.power_loss(attempt, fail_at, point, &mut script)?;
            seen.insert(script.given().to_vec());
        }
        Ok(seen.len() as u64)
    }

    fn power_loss(
        &mut self,
        attempt: &Attempt,
        fail_at: Option<usize>,
        point: usize,
        script: &mut Script,
    ) -> Judged {
        let left = attempt.images[point].power_loss(self.options.sector, script);
        let found = self
            .started
            .entry(left.hash())
            .or_insert_with(|| start(&left, 2));
        let judged = match found {
            Ok(found) => attempt.ledger.judge(found, attempt.promise(point)),
            Err(reason) => Err(reason.clone()),
        };
        judged.map_err(|reason| {
            let death = Death::Power(script.given().to_vec());
            self.failure(fail_at, point, death, reason)
        })
    }

    fn failure(
        &self,
        fail_at: Option<usize>,
        point: usize,
        death: Death,
        reason: String,
    ) -> Box<Failure> {
        let state = SavedState {
            workload: self.workload.clone(),
            fail_at,
            point,
            sector: self.options.sector,
            death,
            defects: self.options.defects.clone(),
        };
        Box::new(Failure { state, reason })
    }
}

/// Starts a member on a disk.
fn start(bench: &Bench, boot_number: u32) -> Result<Found, String> {
    let started = catch_unwind(AssertUnwindSafe(|| {
        let (disk, options) = (bench.disk(), options(boot_number));
        let index = key_index::find(&*disk, &options)?;
        let booted = boot(&disk, &options).map_err(|error| refused(&error))?;
        let stays = key_index::find(&*disk, &options)?.is_some();
        Found::in_member(booted, index, stays)
    }));
    started.unwrap_or_else(|_| Err("the member panics when it starts".into()))
}

/// The process dies and starts again; then the machine dies, and what the member had when it
/// started must be there still.
pub(super) fn process_death(
    attempt: &Attempt,
    image: &Image,
    promise: &Promise,
) -> Result<(), String> {
    let bench = image.crash();
    let found = start(&bench, 1)?;
    attempt.ledger.judge(&found, promise)?;
    let left = bench
        .image()
        .power_loss(1, &mut Script::all_but(false, None));
    let again = start(&left, 2);
    let judged = again.and_then(|again| attempt.ledger.judge(&again, &found.as_promise(promise)));
    judged.map_err(|reason| format!("{reason} (power was lost after the start)"))
}

/// Power is lost, and this survives.
pub(super) fn power_death(
    attempt: &Attempt,
    image: &Image,
    promise: &Promise,
    sector: u32,
    survives: &[bool],
) -> Result<(), String> {
    let mut script = Script::of(survives.to_vec());
    let found = start(&image.power_loss(sector, &mut script), 2)?;
    attempt.ledger.judge(&found, promise)
}
