//! Scenario + seed -> plan: the only place where a scenario's choices are made.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Plan, PlannedFault, PlannedMember, PlannedWorkload, SEED_MAX};
use crate::rng::Stream;
use crate::scenario::{
    Clock, Direction, Drawn, Fault, FaultRule, Files, Meanwhile, Offset, Pages, Scenario, Shape,
    Swarm, Target, format_duration,
};

/// Uniform within what the scenario leaves open.
fn between(stream: &mut Stream, drawn: &Drawn) -> Duration {
    let width =
        u64::try_from((drawn.max - drawn.min).as_nanos()).expect("durations are bounded by a year");
    if width == 0 {
        return drawn.min;
    }
    // Whole microseconds where the range allows it: plans are read by people.
    let step = if width >= 1_000_000 { 1_000 } else { 1 };
    drawn.min + Duration::from_nanos(stream.range(0..width / step + 1) * step)
}

/// Uniform from `-max` to `max`.
fn around_zero(stream: &mut Stream, max: u64) -> i64 {
    let max = max.min(i64::MAX as u64 / 4);
    i64::try_from(stream.range(0..2 * max + 1)).expect("bounded above") - max as i64
}

fn pick<T: Copy>(stream: &mut Stream, items: &[T]) -> T {
    *stream
        .pick(items)
        .expect("a scenario offers at least one choice")
}

/// A seed of 53 bits for a purpose: every JSON reader can hold it exactly.
fn sub_seed(seed: u64, name: &str) -> u64 {
    Stream::new(seed, &format!("seed/{name}")).next_u64() >> 11
}

impl Plan {
    /// Makes every choice that `scenario` leaves to `seed`.
    ///
    /// # Panics
    /// When `seed` exceeds [`SEED_MAX`]; callers refuse such seeds.
    pub fn draw(scenario: &Scenario, seed: u64) -> Plan {
        assert!(seed <= SEED_MAX, "seeds are at most {SEED_MAX}");
        let mut faults = draw_rules(&scenario.faults, seed);
        if let Some(swarm) = &scenario.swarm {
            faults.extend(draw_swarm(scenario, swarm, seed));
        }
        faults.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.name.cmp(&b.name)));
        Plan {
            scenario: scenario.name.clone(),
            path: scenario.path.clone(),
            description: scenario.description.clone(),
            seed,
            overrides: scenario.overrides.clone(),
            members: draw_members(scenario.cluster.members, &scenario.clock, seed),
            server: scenario.cluster.server.clone(),
            time: scenario.time,
            network: scenario.network,
            disk: scenario.disk.clone(),
            workloads: draw_workloads(scenario, seed),
            faults,
            expect: scenario.expect.clone(),
        }
    }
}

fn draw_members(members: u32, clock: &Clock, seed: u64) -> Vec<PlannedMember> {
    (1..=members)
        .map(|number| {
            let mut stream = Stream::new(seed, &format!("clock/member {number}"));
            let furthest = u64::try_from(clock.offset_max.as_micros())
                .expect("durations are bounded by a year");
            let nanoseconds = around_zero(&mut stream, furthest) * 1_000;
            let drift = around_zero(&mut stream, u64::from(clock.drift_ppm_max));
            PlannedMember {
                number,
                clock_offset: Offset { nanoseconds },
                clock_drift_ppm: i32::try_from(drift).expect("the documented bound fits 32 bits"),
                defects: Vec::new(),
            }
        })
        .collect()
}

fn draw_workloads(scenario: &Scenario, seed: u64) -> Vec<PlannedWorkload> {
    let mut counts = BTreeMap::new();
    scenario
        .workloads
        .iter()
        .map(|workload| {
            let count = counts.entry(workload.kind()).or_insert(0u32);
            *count += 1;
            let name = format!("{}-{count}", workload.kind());
            let seed = sub_seed(seed, &format!("workload/{name}"));
            PlannedWorkload {
                name,
                seed,
                workload: workload.clone(),
            }
        })
        .collect()
}

fn draw_rules(rules: &[FaultRule], seed: u64) -> Vec<PlannedFault> {
    let mut seen = BTreeMap::new();
    rules
        .iter()
        .map(|rule| {
            let mut purpose = purpose_of(rule);
            // Equal faults are told apart by their number among equals.
            let count = seen.entry(purpose.clone()).or_insert(0u32);
            *count += 1;
            purpose += &format!(" #{count}");
            let time = |key: &str, drawn: &Drawn| {
                between(&mut Stream::new(seed, &format!("{purpose}/{key}")), drawn)
            };
            PlannedFault {
                name: rule.name.clone(),
                at: time("at", &rule.at),
                on: rule.on,
                seed: sub_seed(seed, &purpose),
                fault: rule.fault.map(time),
            }
        })
        .collect()
}

/// What a fault's draws are named after: its own name, or all that is written about it. Not its
/// position, which shifts when another fault is taken out.
fn purpose_of(rule: &FaultRule) -> String {
    if rule.named {
        return format!("fault/{}", rule.name);
    }
    let range = |drawn: &Drawn| {
        format!(
            "{}..{}",
            format_duration(drawn.min),
            format_duration(drawn.max)
        )
    };
    let parameters = rule.fault.parameters(range);
    format!(
        "fault/{} on {} at {} {parameters:?}",
        rule.fault.kind(),
        rule.on,
        range(&rule.at)
    )
}

fn draw_swarm(scenario: &Scenario, swarm: &Swarm, seed: u64) -> Vec<PlannedFault> {
    let count = Stream::new(seed, "swarm").range(0..u64::from(swarm.budget) + 1);
    (1..=count)
        .map(|number| draw_swarm_fault(scenario, swarm, seed, number))
        .collect()
}

fn draw_swarm_fault(scenario: &Scenario, swarm: &Swarm, seed: u64, number: u64) -> PlannedFault {
    let purpose = format!("swarm/{number}");
    let mut stream = Stream::new(seed, &purpose);
    let members = scenario.cluster.members;
    let run = scenario.time.run;
    let kind = pick(&mut stream, &swarm.faults);
    let on = pick(&mut stream, &swarm_targets(members));
    let at = between(
        &mut stream,
        &Drawn {
            min: run / 20,
            max: run * 9 / 10,
        },
    );
    let longest = (run / 6).min(Duration::from_secs(15));
    let lasts = between(
        &mut stream,
        &Drawn {
            min: longest / 20,
            max: longest,
        },
    );
    let latency_max = Duration::from_secs(1).min(run);
    let fault = match kind {
        "partition" => {
            let others: Vec<Target> = (1..=members)
                .map(Target::Member)
                .filter(|other| *other != on)
                .collect();
            let with = pick(&mut stream, &others);
            let shapes = [
                Shape::TwoWay,
                Shape::OneWay(Direction::In),
                Shape::OneWay(Direction::Out),
                Shape::Partial { with },
            ];
            Fault::Partition {
                lasts,
                shape: pick(&mut stream, &shapes),
            }
        }
        "crash" => Fault::Crash {
            restart_after: lasts,
        },
        "power-loss" => Fault::PowerLoss {
            restart_after: lasts,
            unsynced: scenario.disk.power_loss.unsynced,
            torn_sector: scenario.disk.power_loss.torn_sector,
        },
        "pause" => Fault::Pause { lasts },
        "slow-fsync" => {
            let latency = between(
                &mut stream,
                &Drawn {
                    min: latency_max / 20,
                    max: latency_max,
                },
            );
            Fault::SlowFsync { lasts, latency }
        }
        "fsync-lies" => Fault::FsyncLies { lasts: Some(lasts) },
        "disk-full" => Fault::DiskFull { lasts },
        "fsync-error" => Fault::FsyncError {
            lasts,
            pages: Pages::Random,
        },
        "write-error" => Fault::WriteError { lasts },
        "read-error" => Fault::ReadError { lasts },
        "bit-flip" => Fault::BitFlip {
            restart_after: lasts,
            files: pick(&mut stream, Files::ALL),
            bits: 1 << stream.range(0..5),
            process: pick(&mut stream, Meanwhile::ALL),
        },
        other => unreachable!("`{other}` is no documented kind"),
    };
    let name = format!("swarm-{number}");
    PlannedFault {
        name,
        at,
        on,
        seed: sub_seed(seed, &purpose),
        fault,
    }
}

fn swarm_targets(members: u32) -> Vec<Target> {
    let mut targets = vec![Target::Leader, Target::All];
    targets.extend((1..=members).map(Target::Member));
    for rule in [Target::Follower, Target::Minority, Target::Majority] {
        if rule.check(members).is_ok() {
            targets.push(rule);
        }
    }
    targets
}
