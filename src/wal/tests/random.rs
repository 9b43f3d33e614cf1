//! Random histories: after every reopening the log holds what the model says, on a real file system
//! and, with power losses at random times, on one in memory.

use proptest::prelude::*;

use super::disk::Draw;
use super::model::{Model, content};
use super::*;
use crate::host::Disk;
use crate::host::os::OsDisk;

#[derive(Clone, Debug)]
enum Step {
    /// Appends this many entries, the first `back` before the end of the log if that may be.
    Append {
        back: u64,
        count: u64,
        bytes: usize,
    },
    Commit {
        share: u64,
    },
    /// A mark at an entry that is committed.
    Mark {
        share: u64,
    },
    /// A snapshot of another leader's log, some entries on or inside this one.
    Install {
        beyond: u64,
    },
    Release {
        share: u64,
    },
    Reopen {
        segment_bytes: u64,
    },
    Sync,
    /// In memory only.
    PowerLoss {
        seed: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u64, 1..6u64, 0..300usize)
            .prop_map(|(back, count, bytes)| Step::Append { back, count, bytes }),
        2 => (0..=4u64).prop_map(|share| Step::Commit { share }),
        2 => (0..=4u64).prop_map(|share| Step::Mark { share }),
        1 => (0..20u64).prop_map(|beyond| Step::Install { beyond }),
        2 => (0..=5u64).prop_map(|share| Step::Release { share }),
        2 => (1..3000u64).prop_map(|segment_bytes| Step::Reopen { segment_bytes }),
        2 => Just(Step::Sync),
        2 => any::<u64>().prop_map(|seed| Step::PowerLoss { seed }),
    ]
}

/// The batch a step appends, kept within raft's rules.
fn batch(step: &Step, model: &Model, term: u64) -> Option<Batch> {
    let now = model.now();
    let (last, committed) = (now.last_index(), now.hard_state.commit);
    match step {
        Step::Append { back, count, bytes } => {
            let first = (last + 1).saturating_sub(*back).max(committed + 1);
            let range = first..first + count;
            Some(entries(range.map(|index| entry(index, term, *bytes))))
        }
        Step::Commit { share } => Some(commit(term, committed + (last - committed) * share / 4)),
        Step::Mark { share } => {
            let index = now.mark_index() + (committed - now.mark_index()) * share / 4;
            let known = now.entries.iter().find(|entry| entry.index == index)?;
            Some(mark(index, known.term))
        }
        Step::Install { beyond } => Some(mark(committed + beyond + 1, term + 1)),
        _ => None,
    }
}

/// Runs `steps`; `lose_power` says what is left of the disk.
fn run(
    steps: &[Step],
    mut disk: Arc<dyn Disk>,
    dir: &Path,
    lose_power: impl Fn(u64) -> Option<Arc<dyn Disk>>,
) -> Result<(), TestCaseError> {
    let mut log = Log::create(disk.clone(), dir, METADATA, SMALL).unwrap();
    let mut model = Model::new();
    // A last reopening, whatever the steps are.
    let end = Step::Reopen { segment_bytes: 1 };
    for (number, step) in steps.iter().chain([&end]).enumerate() {
        // A new term each time, as every overwriting leader has.
        if let Some(batch) = batch(step, &model, 2 * number as u64 + 1) {
            model.append(&batch);
            log.append(&batch).unwrap();
        }
        match step {
            Step::Sync => {
                log.sync().unwrap();
                model.sync();
                log.mark_synced().unwrap();
            }
            Step::Release { share } => {
                let index = model.now().last_index() * share / 4;
                log.release(index).unwrap();
            }
            Step::Reopen { segment_bytes } => {
                let options = Options {
                    segment_bytes: *segment_bytes,
                    allocate_bytes: segment_bytes % 3 * 100,
                    reserve_bytes: 0,
                    spares: (segment_bytes % 2) as usize,
                    keep: 0,
                };
                let (opened, recovered) = Log::open(disk.clone(), dir, options).unwrap();
                prop_assert_eq!(&content(&recovered), model.now());
                prop_assert_eq!(recovered.torn, None);
                model.sync();
                log = opened;
            }
            Step::PowerLoss { seed } => {
                let Some(left) = lose_power(*seed) else {
                    continue;
                };
                disk = left;
                let (opened, recovered) = Log::open(disk.clone(), dir, SMALL).unwrap();
                let number = model.find(&recovered, model.synced);
                prop_assert!(number.is_some(), "{:?} since {}", recovered, model.synced);
                model.states.truncate(number.unwrap() + 1);
                model.sync();
                log = opened;
            }
            _ => {}
        }
        prop_assert_eq!(log.last_index(), model.now().last_index());
    }
    Ok(())
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..40)
}

proptest! {
    #![proptest_config(config(12))]
    #[test]
    fn the_log_agrees_with_the_model_on_a_file_system(steps in steps()) {
        let home = tempfile::tempdir().unwrap();
        run(&steps, Arc::new(OsDisk), &home.path().join("wal"), |_| None)?;
    }
}

proptest! {
    #![proptest_config(config(1000))]
    #[test]
    fn the_log_agrees_with_the_model_over_power_losses(steps in steps()) {
        let disk = std::cell::RefCell::new(MemoryDisk::new());
        let first = disk.borrow().clone();
        run(&steps, first, &dir(), |seed| {
            let left = disk.borrow().after_power_loss(&mut Draw(seed));
            *disk.borrow_mut() = left.clone();
            Some(left)
        })?;
    }
}
