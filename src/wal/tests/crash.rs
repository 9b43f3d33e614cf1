//! Power loss, everywhere: before every operation of a workload, and inside its un-synced tail with
//! every subset of the sectors. What is recovered must be a state the log went through, no older
//! than the last sync, and must stay what it is.

use super::disk::{Draw, SECTOR};
use super::model::Model;
use super::*;

/// A workload with everything in it: overwritten suffixes, marks, installed snapshots, releases.
fn workload(log: &mut Log, mut after: impl FnMut(&Model)) -> Model {
    let mut model = Model::new();
    let mut append = |log: &mut Log, batch: Batch, sync: bool| {
        model.append(&batch);
        // Before the append: what is half written may be recovered.
        after(&model);
        log.append(&batch).unwrap();
        if sync {
            log.sync().unwrap();
            model.sync();
            after(&model);
            log.mark_synced().unwrap();
        }
    };
    append(log, entries([entry(1, 1, 30), entry(2, 1, 30)]), true);
    append(log, commit(1, 1), false);
    append(log, entries((3..=9).map(|i| entry(i, 1, 90))), true);
    append(log, entries((5..=8).map(|i| entry(i, 2, 200))), false);
    append(log, commit(2, 6), true);
    let mut together = mark(6, 2);
    together.entries = vec![entry(9, 2, 700), entry(10, 3, 700)];
    append(log, together, false);
    log.release(6).unwrap();
    append(log, entries((11..=14).map(|i| entry(i, 3, 150))), true);
    let mut installed = mark(40, 4);
    installed.hard_state = Some(HardState {
        term: 4,
        vote: 0,
        commit: 40,
    });
    append(log, installed, true);
    log.release(40).unwrap();
    append(log, entries((41..=50).map(|i| entry(i, 4, 60))), false);
    append(log, commit(4, 44), false);
    append(log, mark(44, 4), true);
    log.release(44).unwrap();
    append(log, entries([entry(51, 5, 600)]), false);
    model
}

/// Every state of the disk during `workload`, with what had to be durable by then.
fn images(never_sync: bool, options: Options) -> (Vec<(MemoryDisk, usize)>, Model) {
    let disk = MemoryDisk::new();
    disk.record();
    let mut log = create(&disk, options);
    disk.take_history();
    if never_sync {
        log.never_sync();
    }
    let mut synced = 0;
    let mut images = Vec::new();
    let mut take = |synced: &mut usize, new: usize| {
        let images_before = disk.take_history();
        images.extend(images_before.into_iter().map(|image| (image, *synced)));
        *synced = new;
    };
    let model = workload(&mut log, |model| take(&mut synced, model.synced));
    take(&mut synced, model.synced);
    let end = MemoryDisk::clone(&disk);
    images.push((end, model.synced));
    (images, model)
}

/// Opens what is left and checks it; then goes on writing, and checks that it stays.
fn check(left: &Arc<MemoryDisk>, model: &Model, synced: usize) -> usize {
    let (mut log, recovered) = open(left, SMALL).unwrap_or_else(|error| panic!("{error}"));
    let number = model.find(&recovered, synced);
    let number = number.unwrap_or_else(|| panic!("not a state since {synced}: {recovered:?}"));
    let (_, again) = open(&left.copy(), SMALL).unwrap();
    assert_eq!(again.torn, None);
    assert_eq!(model::content(&again), model.states[number]);

    let mut future = Model::new();
    future.states = vec![model.states[number].clone()];
    let next = entry(log.last_index() + 1, 9, 40);
    future.append(&entries([next.clone()]));
    log.append(&entries([next])).unwrap();
    log.sync().unwrap();
    let (_, later) = open(&left.after_power_loss(&mut Draw(7)), SMALL).unwrap();
    assert_eq!(&model::content(&later), future.now());
    number
}

#[test]
fn a_power_loss_before_any_operation_loses_nothing_synced() {
    for options in [SMALL, REUSED] {
        check_a_power_loss_before_any_operation_loses_nothing_synced(options);
    }
}

fn check_a_power_loss_before_any_operation_loses_nothing_synced(options: Options) {
    let (images, model) = images(false, options);
    let mut reached = std::collections::BTreeSet::new();
    let mut torn = 0;
    for (number, (image, synced)) in images.iter().enumerate() {
        for seed in 0..40 {
            let mut draw = Draw((number as u64) << 32 | seed);
            let left = image.after_power_loss(&mut draw);
            let recovered = crate::wal::read(&*left, &dir()).unwrap();
            torn += usize::from(recovered.torn.is_some());
            reached.insert(check(&left, &model, *synced));
        }
    }
    // The test is worth something only if tails were torn and most states were seen.
    assert!(torn > 100, "{torn}");
    assert!(reached.len() * 2 > model.states.len(), "{}", reached.len());
}

#[test]
fn a_power_loss_during_recovery_loses_nothing_synced() {
    for options in [SMALL, REUSED] {
        check_a_power_loss_during_recovery_loses_nothing_synced(options);
    }
}

fn check_a_power_loss_during_recovery_loses_nothing_synced(options: Options) {
    let (images, model) = images(false, options);
    for (number, (image, synced)) in images.iter().enumerate() {
        for seed in 0..8 {
            let mut draw = Draw((number as u64) << 32 | seed | 1 << 31);
            let left = image.after_power_loss(&mut draw);
            left.record();
            open(&left, SMALL).unwrap();
            for during in left.take_history() {
                check(&during.after_power_loss(&mut draw), &model, *synced);
            }
        }
    }
}

#[test]
fn a_process_crash_loses_nothing_written() {
    for options in [SMALL, REUSED] {
        check_a_process_crash_loses_nothing_written(options);
    }
}

fn check_a_process_crash_loses_nothing_written(options: Options) {
    for never_sync in [false, true] {
        let (images, model) = images(never_sync, options);
        let (end, _) = images.last().unwrap();
        assert_eq!(check(&end.copy(), &model, 0), model.states.len() - 1);
    }
}

#[test]
fn a_log_that_never_syncs_recovers_some_state_or_refuses() {
    for options in [SMALL, REUSED] {
        check_a_log_that_never_syncs_recovers_some_state_or_refuses(options);
    }
}

fn check_a_log_that_never_syncs_recovers_some_state_or_refuses(options: Options) {
    let (images, model) = images(true, options);
    let (mut recovered, mut refused) = (0, 0);
    for (number, (image, _)) in images.iter().enumerate() {
        for seed in 0..20 {
            let mut draw = Draw((number as u64) << 32 | seed);
            let left = image.after_power_loss(&mut draw);
            match open(&left, SMALL) {
                Ok(_) => recovered += usize::from(check(&left, &model, 0) > 0),
                Err(Error::Damaged { .. } | Error::Missing(_)) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(recovered > 100, "{recovered} recovered, {refused} refused");
}

#[test]
fn a_power_loss_during_creation_leaves_a_log_or_room_for_one() {
    let disk = MemoryDisk::new();
    disk.record();
    create(&disk, SMALL);
    let mut images = disk.take_history();
    images.push(MemoryDisk::clone(&disk));
    let last = images.len() - 1;
    for (number, image) in images.iter().enumerate() {
        for seed in 0..50 {
            let left = image.after_power_loss(&mut Draw(seed));
            let exists = Log::exists(&*left, &dir()).unwrap();
            assert!(exists || number < last);
            if !exists {
                create(&left, SMALL);
            }
            check(&left, &Model::new(), 0);
        }
    }
}

/// The one segment of a log with synced entries 1 to 3 and an un-synced tail.
fn tail() -> (Arc<MemoryDisk>, PathBuf, Model) {
    let disk = MemoryDisk::new();
    let mut log = create(&disk, Options::default());
    let mut model = Model::new();
    let mut append = |batch: Batch, model: &mut Model| {
        model.append(&batch);
        log.append(&batch).unwrap();
        log.sync().unwrap();
    };
    append(entries([entry(1, 1, 100), entry(2, 1, 100)]), &mut model);
    append(entries([entry(3, 1, 80)]), &mut model);
    model.sync();
    // Two batches, so that the later one could be taken for proof that the first was synced.
    for batch in [
        entries((4..=7).map(|index| entry(index, 1, 200))),
        entries((8..=12).map(|index| entry(index, 2, 350))),
    ] {
        model.append(&batch);
        log.append(&batch).unwrap();
    }
    let path = disk.files().pop().unwrap();
    (disk, path, model)
}

#[test]
fn every_truncation_of_the_tail_is_cut() {
    let (disk, path, model) = tail();
    let (durable, content) = disk.versions(&path);
    let mut states = std::collections::BTreeSet::new();
    for length in durable.len()..=content.len() {
        for zeros in [0, 1, 8, 100, 1000] {
            let left = disk.copy();
            let mut torn = content[..length].to_vec();
            torn.resize(length + zeros, 0);
            left.replace(&path, torn);
            states.insert(check(&left, &model, model.synced));
        }
    }
    assert_eq!(states.len(), 10, "the synced state and one per tail record");
}

#[test]
fn every_subset_of_lost_sectors_in_the_tail_is_cut() {
    let (disk, path, model) = tail();
    let (durable, content) = disk.versions(&path);
    let first = durable.len() / SECTOR;
    let sectors = content.len().div_ceil(SECTOR) - first;
    assert!((5..=8).contains(&sectors), "{sectors} sectors");
    let mut old = durable.clone();
    old.resize(content.len(), 0);
    for lost in 0..1u32 << sectors {
        let mut torn = content.clone();
        for sector in (0..sectors).filter(|sector| lost & 1 << sector != 0) {
            let start = (first + sector) * SECTOR;
            let end = (start + SECTOR).min(content.len());
            torn[start..end].copy_from_slice(&old[start..end]);
        }
        for length in (durable.len()..=content.len()).filter(|l| l % SECTOR < 2) {
            let left = disk.copy();
            left.replace(&path, torn[..length].to_vec());
            check(&left, &model, model.synced);
        }
        let left = disk.copy();
        left.replace(&path, torn);
        let number = check(&left, &model, model.synced);
        assert_eq!(number == model.states.len() - 1, lost == 0);
    }
}
