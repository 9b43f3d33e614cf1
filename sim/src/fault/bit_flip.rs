//! Bit rot: a worn cell, a cosmic ray, a controller that wrote somewhere else. What the disk holds
//! differs in single bits from what was written and synced, and reading it succeeds.
//!
//! Replication survives as many damaged members as can fail while a majority remains; beyond that
//! nothing can be promised. So no more members than that are ever damaged in one run, and the judge
//! is told which: see [`crate::check::damage`].

use super::{Begun, Injector, already};
use crate::rng::Stream;
use crate::scenario::{Files, Meanwhile};

/// One bit that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    /// When, in virtual nanoseconds.
    pub at_ns: u64,
    /// Whose disk.
    pub member: u32,
    /// In which file.
    pub path: String,
    /// At which byte.
    pub offset: u64,
}

fn is_meant(files: Files, path: &str) -> bool {
    match files {
        Files::Wal => path.ends_with(".wal"),
        Files::Store => path.ends_with("/snap/db"),
        Files::Any => true,
    }
}

pub fn begin(
    injector: &Injector,
    members: Vec<u32>,
    (files, bits, process): (Files, u32, Meanwhile),
    random: &mut Stream,
) -> Begun {
    let most = injector.cluster.numbers().len().saturating_sub(1) / 2;
    let (mut hit, mut spared) = (Vec::new(), Vec::new());
    let mut details = Vec::new();
    for number in members {
        let damaged = injector.damaged();
        if !damaged.contains(&number) && damaged.len() >= most {
            spared.push(number);
            continue;
        }
        injector.cluster.tend(number);
        if process == Meanwhile::Stopped {
            injector.cluster.crash(number);
        }
        let disk = injector.disk(number);
        let at_ns = injector.cluster.world().now_ns();
        let mut flipped = 0;
        for _ in 0..bits {
            let Some((path, offset)) = disk.flip_a_bit(|path| is_meant(files, path), random) else {
                continue;
            };
            flipped += 1;
            injector.lock().flips.push(Flip {
                at_ns,
                member: number,
                path,
                offset,
            });
        }
        details.push(format!("{flipped} bits of m{number}"));
        hit.push(number);
    }
    if !spared.is_empty() {
        details.push(already(&spared, "spared: enough are damaged"));
    }
    let ending = {
        let (injector, hit) = (injector.clone(), hit.clone());
        move || {
            for number in hit {
                if process == Meanwhile::Running {
                    injector.cluster.crash(number);
                }
                injector.cluster.start(number);
            }
        }
    };
    Begun {
        members: hit,
        detail: details.join(", "),
        ending: Some(Box::new(ending)),
    }
}
