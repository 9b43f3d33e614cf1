//! Which runs to do: scenarios × seeds, sharded, within a budget of wall time.

use std::time::Duration;

use super::CliError;
use super::args::{ChangeArgs, RunArgs, SeedRange, Shard, Share};
use super::progress::Stopwatch;
use crate::explore::Job;
use crate::plan::{DefectChoice, Plan, SEED_MAX};
use crate::scenario::Scenario;

/// The jobs of one `run`, made one at a time.
pub struct Batch<'a> {
    scenarios: &'a [Scenario],
    defects: &'a [DefectChoice],
    seeds: SeedRange,
    seeds_outside: bool,
    shard: Shard,
    share: Share,
    budget: Option<(Stopwatch, Duration)>,
    next: u64,
    made: u64,
}

impl<'a> Batch<'a> {
    /// Sets up the jobs that the arguments ask for.
    pub fn new(scenarios: &'a [Scenario], args: &'a RunArgs) -> Result<Batch<'a>, CliError> {
        let seeds = match (args.seed, args.seeds, args.budget) {
            (_, Some(seeds), _) => seeds,
            (Some(seed), None, None) => SeedRange {
                from: seed,
                to: seed.saturating_add(1),
            },
            (seed, None, Some(_)) => SeedRange {
                from: seed.unwrap_or(1),
                to: SEED_MAX,
            },
            (None, None, None) => SeedRange { from: 1, to: 2 },
        };
        check_defects(scenarios, &args.change)?;
        Ok(Batch {
            scenarios,
            defects: &args.change.defects,
            seeds,
            // With a budget every scenario gets its turn before any gets a second one.
            seeds_outside: args.budget.is_some(),
            shard: args.shard.unwrap_or(Shard { index: 1, count: 1 }),
            share: args.check_determinism.unwrap_or(Share(0)),
            budget: args.budget.map(|budget| (Stopwatch::start(), budget)),
            next: 0,
            made: 0,
        })
    }

    /// How many jobs there are; `None` when only the budget ends them.
    pub fn len(&self) -> Option<u64> {
        let all = self.combinations();
        let mine = all / self.shard.count + u64::from(self.shard.index <= all % self.shard.count);
        (self.seeds.to < SEED_MAX || self.budget.is_none()).then_some(mine)
    }

    fn combinations(&self) -> u64 {
        (self.seeds.to - self.seeds.from).saturating_mul(self.scenarios.len() as u64)
    }

    /// Whether the next run is among those done twice: an even spread of the share asked for.
    fn twice(&self) -> bool {
        let before = self.made * self.share.0 / 10_000;
        (self.made + 1) * self.share.0 / 10_000 > before
    }
}

/// Refuses mistakes in members that some scenario does not have.
pub fn check_defects(scenarios: &[Scenario], change: &ChangeArgs) -> Result<(), CliError> {
    for scenario in scenarios {
        let mut plan = Plan::draw(scenario, 0);
        for defect in &change.defects {
            plan.choose_defect(defect).map_err(CliError::Usage)?;
        }
    }
    Ok(())
}

/// The plan of `scenario` under `seed` with mistakes that [`check_defects`] accepted.
pub fn plan(scenario: &Scenario, seed: u64, defects: &[DefectChoice]) -> Plan {
    let mut plan = Plan::draw(scenario, seed);
    for defect in defects {
        plan.choose_defect(defect)
            .expect("the mistakes were checked against every scenario");
    }
    plan
}

impl Iterator for Batch<'_> {
    type Item = Job;

    fn next(&mut self) -> Option<Job> {
        if let Some((stopwatch, budget)) = &self.budget
            && stopwatch.elapsed() >= *budget
        {
            return None;
        }
        let all = self.combinations();
        while self.next < all && self.next % self.shard.count != self.shard.index - 1 {
            self.next += 1;
        }
        if self.next >= all {
            return None;
        }
        let (scenarios, seeds) = (self.scenarios.len() as u64, self.seeds.to - self.seeds.from);
        let (scenario, seed) = match self.seeds_outside {
            true => (self.next % scenarios, self.next / scenarios),
            false => (self.next / seeds, self.next % seeds),
        };
        let scenario = &self.scenarios[scenario as usize];
        let plan = plan(scenario, self.seeds.from + seed, self.defects);
        let job = Job {
            plan,
            twice: self.twice(),
        };
        self.next += 1;
        self.made += 1;
        Some(job)
    }
}
