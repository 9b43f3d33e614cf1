//! Each claim of the disk's fault model, shown to bite.

#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vetcd::host::{Disk, File, HostExt, OpenMode, sync_parent};

use super::*;
use crate::rng::Latency;
use crate::world::{self, NodeConfig, World};

mod faults;

const MS: Duration = Duration::from_millis(1);

/// Writes take 1 ms, syncs 10 ms, reads nothing.
fn plain_profile() -> DiskProfile {
    DiskProfile {
        write: Latency::constant(MS),
        read: Latency::constant(Duration::ZERO),
        sync: Latency::constant(MS * 10),
        bandwidth: u64::MAX,
    }
}

fn one_node(world: &World) -> NodeId {
    let disk = plain_profile();
    world.add_node(
        "m1",
        NodeConfig {
            disk,
            ..NodeConfig::default()
        },
    )
}

/// Runs `work` as disk work in a process of its own, which then idles; returns at once.
fn start_work<T: Send + 'static>(
    world: &World,
    node: NodeId,
    work: impl FnOnce(&dyn Disk) -> T + Send + 'static,
) -> Arc<Mutex<Option<T>>> {
    let slot = Arc::new(Mutex::new(None));
    let result = slot.clone();
    world.start(node, move |host| {
        Box::pin(async move {
            let disk = host.disk();
            let value = host.run_blocking(move || work(disk.as_ref())).await;
            *lock(&result) = value;
            host.sleep(Duration::from_secs(100_000)).await;
        })
    });
    slot
}

/// Runs `work` to its end in a process that stays up.
async fn work<T: Send + 'static>(
    world: &World,
    node: NodeId,
    work: impl FnOnce(&dyn Disk) -> T + Send + 'static,
) -> T {
    let slot = start_work(world, node, work);
    for _ in 0..60_000 {
        world.sleep(MS).await;
        if let Some(value) = lock(&slot).take() {
            return value;
        }
    }
    panic!("the disk work did not end within a minute: it panicked");
}

fn create(disk: &dyn Disk, path: &str) -> io::Result<Arc<dyn File>> {
    disk.open(path.as_ref(), OpenMode::CreateNew)
}

/// Creates `path` with `content`, durable with its name.
fn write_durably(disk: &dyn Disk, path: &str, content: &[u8]) {
    let file = disk.open(path.as_ref(), OpenMode::OpenOrCreate).unwrap();
    file.write_at(0, content).unwrap();
    file.sync_data().unwrap();
    sync_parent(disk, path.as_ref()).unwrap();
}

fn content(world: &World, node: NodeId, path: &str) -> Option<Vec<u8>> {
    world.disk(node).content(path.as_ref())
}

#[test]
fn unsynced_data_survive_a_crash_and_not_a_power_loss() {
    let outcome = world::run(1, |world| async move {
        let node = one_node(&world);
        work(&world, node, |disk| {
            write_durably(disk, "f", b"old!");
            let file = disk.open("f".as_ref(), OpenMode::ReadWrite).unwrap();
            file.write_at(2, b"new!").unwrap();
        })
        .await;
        world.crash(node);
        assert_eq!(content(&world, node, "f").unwrap(), b"olnew!");
        let losses = world.power_loss(node, PowerLoss::lose_all());
        assert_eq!(content(&world, node, "f").unwrap(), b"old!");
        let path = "f".to_owned();
        assert_eq!(
            losses,
            [FileLoss {
                path,
                kept: 0,
                lost: 4,
                torn: 0
            }]
        );
    });
    outcome.unwrap();
}

#[test]
fn what_survives_a_random_power_loss_is_sectors_of_old_and_new() {
    let (mut mixed, mut all, mut none, mut torn) = (0, 0, 0, 0);
    for seed in 0..40 {
        let outcome = world::run(seed, |world| async move {
            let node = one_node(&world);
            work(&world, node, |disk| {
                write_durably(disk, "f", &[b'o'; 4096]);
                let file = disk.open("f".as_ref(), OpenMode::ReadWrite).unwrap();
                file.write_at(0, &[b'n'; 4096]).unwrap();
            })
            .await;
            let losses = world.power_loss(
                node,
                PowerLoss {
                    torn: true,
                    ..PowerLoss::random()
                },
            );
            (content(&world, node, "f").unwrap(), losses)
        });
        let (bytes, losses) = outcome.unwrap().output;
        assert_eq!(bytes.len(), 4096);
        let mut torn_sectors = 0;
        for sector in bytes.chunks(512) {
            let new = sector.iter().take_while(|byte| **byte == b'n').count();
            assert!(
                sector[new..].iter().all(|byte| *byte == b'o'),
                "the beginning is new"
            );
            torn_sectors += u64::from(new > 0 && new < 512);
        }
        assert_eq!(losses[0].torn, torn_sectors);
        let new = bytes.iter().filter(|byte| **byte == b'n').count() as u64;
        assert_eq!((losses[0].kept, losses[0].lost), (new, 4096 - new));
        torn += torn_sectors;
        match new {
            0 => none += 1,
            4096 => all += 1,
            _ => mixed += 1,
        }
    }
    assert!(
        mixed > 15 && all > 0 && none > 0 && torn > 5,
        "{mixed} {all} {none} {torn}"
    );
}

#[test]
fn an_unsynced_length_is_lost_or_leaves_zeros() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let outcome = world::run(seed, |world| async move {
            let node = one_node(&world);
            work(&world, node, |disk| {
                write_durably(disk, "f", &[b'o'; 512]);
                let file = disk.open("f".as_ref(), OpenMode::ReadWrite).unwrap();
                file.write_at(512, &[b'n'; 512]).unwrap();
                file.set_len(2048).unwrap();
            })
            .await;
            world.power_loss(node, PowerLoss::random());
            content(&world, node, "f").unwrap()
        });
        let bytes = outcome.unwrap().output;
        assert_eq!(&bytes[..512], &[b'o'; 512], "durable bytes stay");
        assert!([512, 1024, 2048].contains(&bytes.len()), "{}", bytes.len());
        let second = bytes.get(512..1024).map_or(b'-', |sector| sector[0]);
        seen.insert((bytes.len(), second));
    }
    // Shorter; longer without the bytes; longer with them.
    for case in [
        (512, b'-'),
        (1024, 0),
        (1024, b'n'),
        (2048, 0),
        (2048, b'n'),
    ] {
        assert!(seen.contains(&case), "{case:?} missing in {seen:?}");
    }
}

#[test]
fn keep_all_keeps_all_and_a_truncation_can_be_lost() {
    for (policy, expected) in [
        (PowerLoss::keep_all(), &b"01"[..]),
        (PowerLoss::lose_all(), b"0123456789"),
    ] {
        let outcome = world::run(1, move |world| async move {
            let node = one_node(&world);
            work(&world, node, |disk| {
                write_durably(disk, "f", b"0123456789");
                let file = disk.open("f".as_ref(), OpenMode::ReadWrite).unwrap();
                file.set_len(2).unwrap();
                assert_eq!(file.len().unwrap(), 2);
            })
            .await;
            world.power_loss(node, policy);
            assert_eq!(content(&world, node, "f").unwrap(), expected);
        });
        outcome.unwrap();
    }
}

#[test]
fn operations_after_the_moment_of_death_never_happened() {
    // Name at 1 ms; writes at 2, 3, 4 ms; sync from 4 to 14 ms; write at 15 ms.
    for (death_ms, on_crash, on_power_loss) in [
        (0, None, None),
        (2, Some("a"), None),
        (3, Some("ab"), None),
        (13, Some("abc"), None),
        (24, Some("abc"), Some("abc")),
        (25, Some("abcd"), Some("abc")),
        (99, Some("abcd"), Some("abc")),
    ] {
        for power in [false, true] {
            let outcome = world::run(1, move |world| async move {
                let node = one_node(&world);
                let done = start_work(&world, node, |disk| {
                    let file = create(disk, "f").unwrap();
                    file.write_at(0, b"a").unwrap();
                    file.write_at(1, b"b").unwrap();
                    file.write_at(2, b"c").unwrap();
                    file.sync_data().unwrap();
                    disk.sync_dir(".".as_ref()).unwrap();
                    file.write_at(3, b"d").unwrap();
                });
                world.sleep(MS * death_ms + MS / 2).await;
                assert_eq!(lock(&done).is_some(), death_ms >= 25);
                match power {
                    false => world.crash(node),
                    true => drop(world.power_loss(node, PowerLoss::lose_all())),
                }
                content(&world, node, "f")
            });
            let expected = if power { on_power_loss } else { on_crash };
            let found = outcome
                .unwrap()
                .output
                .map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(
                found.as_deref(),
                expected,
                "death at {death_ms} ms, power {power}"
            );
        }
    }
}

#[test]
fn a_rename_is_lost_without_a_directory_sync_and_the_old_target_comes_back() {
    for synced in [false, true] {
        let outcome = world::run(1, move |world| async move {
            let node = one_node(&world);
            work(&world, node, move |disk| {
                disk.create_dir_all("d".as_ref()).unwrap();
                disk.sync_dir(".".as_ref()).unwrap();
                write_durably(disk, "d/f", b"one");
                let new = create(disk, "d/tmp").unwrap();
                new.write_at(0, b"two").unwrap();
                new.sync_data().unwrap();
                disk.rename("d/tmp".as_ref(), "d/f".as_ref()).unwrap();
                assert_eq!(disk.list_dir("d".as_ref()).unwrap(), ["f"]);
                if synced {
                    disk.sync_dir("d".as_ref()).unwrap();
                }
            })
            .await;
            world.crash(node);
            assert_eq!(
                content(&world, node, "d/f").unwrap(),
                b"two",
                "kept by a crash"
            );
            world.power_loss(node, PowerLoss::lose_all());
            let expected: &[u8] = if synced { b"two" } else { b"one" };
            assert_eq!(content(&world, node, "d/f").unwrap(), expected);
            assert_eq!(world.disk(node).files().len(), 1);
        });
        outcome.unwrap();
    }
}

#[test]
fn a_random_power_loss_never_tears_a_rename() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let outcome = world::run(seed, |world| async move {
            let node = one_node(&world);
            work(&world, node, |disk| {
                write_durably(disk, "f", b"one");
                write_durably(disk, "tmp", b"two");
                disk.rename("tmp".as_ref(), "f".as_ref()).unwrap();
                disk.remove_file("f".as_ref()).unwrap();
                drop(create(disk, "g").unwrap());
            })
            .await;
            world.power_loss(node, PowerLoss::random());
            let files = world.disk(node).files();
            files.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
        });
        outcomes.insert(outcome.unwrap().output.join(" "));
    }
    // Nothing; the rename; rename and removal; all; and out of order: the creation alone, or the
    // removal without the rename (which leaves what was to be renamed).
    for expected in ["f tmp", "f", "", "g", "f g tmp", "tmp"] {
        assert!(
            outcomes.contains(expected),
            "{expected:?} missing in {outcomes:?}"
        );
    }
}

#[test]
fn a_synced_file_without_a_synced_name_is_gone() {
    let outcome = world::run(1, |world| async move {
        let node = one_node(&world);
        work(&world, node, |disk| {
            disk.create_dir_all("a/b".as_ref()).unwrap();
            write_durably(disk, "a/b/f", b"x");
            write_durably(disk, "top", b"x");
        })
        .await;
        world.power_loss(node, PowerLoss::lose_all());
        // "top" synced the root, which covers "a" but not "a/b".
        let files = world.disk(node).files();
        assert_eq!(files, [("top".to_owned(), 1)]);
        let kept = work(&world, node, |disk| {
            (
                disk.exists("a".as_ref()).unwrap(),
                disk.exists("a/b".as_ref()).unwrap(),
            )
        });
        assert_eq!(kept.await, (true, false));
    });
    outcome.unwrap();
}

#[test]
fn a_lying_disk_loses_what_it_said_was_safe() {
    let outcome = world::run(1, |world| async move {
        let node = one_node(&world);
        work(&world, node, |disk| write_durably(disk, "f", b"safe")).await;
        world.crash(node);
        world.disk(node).lie_about_fsync(true);
        work(&world, node, |disk| write_durably(disk, "f", b"lost")).await;
        world.crash(node);
        assert_eq!(content(&world, node, "f").unwrap(), b"lost");
        world.power_loss(node, PowerLoss::lose_all());
        assert_eq!(content(&world, node, "f").unwrap(), b"safe");
        world.disk(node).lie_about_fsync(false);
        work(&world, node, |disk| write_durably(disk, "f", b"kept")).await;
        world.power_loss(node, PowerLoss::lose_all());
        assert_eq!(content(&world, node, "f").unwrap(), b"kept");
    });
    outcome.unwrap();
}

#[test]
fn a_failed_sync_fails_once_and_leaves_the_pages_clean() {
    let outcome = world::run(1, |world| async move {
        let node = one_node(&world);
        world.disk(node).fail_next_sync(1);
        work(&world, node, |disk| {
            let file = create(disk, "f").unwrap();
            disk.sync_dir(".".as_ref()).unwrap_err();
            disk.sync_dir(".".as_ref()).unwrap();
            file.write_at(0, b"x").unwrap();
            file.sync_data().unwrap();
        })
        .await;
        world.crash(node);
        world.disk(node).fail_next_sync(1);
        work(&world, node, |disk| {
            let file = disk.open("f".as_ref(), OpenMode::ReadWrite).unwrap();
            file.write_at(1, b"y").unwrap();
            file.sync_data().unwrap_err();
            file.sync_data()
                .expect("says that all is well, and it is not");
        })
        .await;
        assert_eq!(world.disk(node).counters().failed, 2);
        world.power_loss(node, PowerLoss::lose_all());
        assert_eq!(content(&world, node, "f").unwrap(), b"x");
    });
    outcome.unwrap();
}

#[test]
fn slow_syncs_and_stalls_take_virtual_time() {
    let outcome = world::run(1, |world| async move {
        let node = one_node(&world);
        let taken = |world: &World, from_ns: u64| (world.now_ns() - from_ns) / 1_000_000;
        let touch = |disk: &dyn Disk| {
            let file = disk.open("f".as_ref(), OpenMode::OpenOrCreate).unwrap();
            file.write_at(0, b"x").unwrap();
            file.sync_data().unwrap();
        };
        let from_ns = world.now_ns();
        work(&world, node, touch).await;
        let plain = taken(&world, from_ns);
        assert!((12..15).contains(&plain), "{plain}");

        world.crash(node);
        world.disk(node).set_extra_sync_latency(MS * 800);
        let from_ns = world.now_ns();
        work(&world, node, touch).await;
        let slow = taken(&world, from_ns);
        assert!((811..815).contains(&slow), "{slow}");
        world.disk(node).set_extra_sync_latency(Duration::ZERO);

        world.crash(node);
        world.disk(node).stall(MS * 3000);
        let from_ns = world.now_ns();
        work(&world, node, touch).await;
        let stalled = taken(&world, from_ns);
        assert!((3011..3015).contains(&stalled), "{stalled}");
    });
    outcome.unwrap();
}

#[test]
fn other_tasks_run_while_disk_work_takes_its_time() {
    let outcome = world::run(1, |world| async move {
        let node = one_node(&world);
        let ticks = Arc::new(Mutex::new(0));
        let count = ticks.clone();
        world.start(node, move |host| {
            Box::pin(async move {
                let ticker = host.clone();
                let tick = async move {
                    loop {
                        ticker.sleep(MS).await;
                        *lock(&count) += 1;
                    }
                };
                host.spawn("ticker", Box::pin(tick));
                let disk = host.disk();
                host.run_blocking(move || write_durably(disk.as_ref(), "f", b"x"))
                    .await;
            })
        });
        world.wait_down(node).await;

        *lock(&ticks)
    });
    // A name, a write, two syncs: 22 ms.
    assert!((20..23).contains(&outcome.unwrap().output));
}

#[test]
fn disk_operations_outside_of_disk_work_are_refused_with_a_reason() {
    let outcome = world::run(1, |world| async move {
        let node = one_node(&world);
        let said = Arc::new(Mutex::new(String::new()));
        let say = said.clone();
        world.start(node, move |host| {
            Box::pin(async move {
                let error = host.disk().exists("f".as_ref()).unwrap_err();
                *lock(&say) = error.to_string();
            })
        });
        world.wait_down(node).await;

        lock(&said).clone()
    });
    assert!(
        outcome
            .unwrap()
            .output
            .contains("outside of Host::blocking")
    );
}

#[test]
fn locks_exclude_and_vanish_with_their_process() {
    let outcome = world::run(1, |world| async move {
        let node = one_node(&world);
        let kept = work(&world, node, |disk| {
            let first = disk.lock("LOCK".as_ref()).unwrap();
            let second = disk.lock("LOCK".as_ref()).err().map(|e| e.kind());
            assert_eq!(second, Some(io::ErrorKind::WouldBlock));
            drop(first);
            disk.lock("LOCK".as_ref()).unwrap()
        })
        .await;
        world.crash(node);
        let held = work(&world, node, |disk| disk.lock("LOCK".as_ref()).unwrap()).await;
        // The dead process's guard must not release the lock of its successor.
        drop(kept);
        assert!(
            world.disk(node).tree().is_locked("LOCK".as_ref()),
            "still held"
        );
        drop(held);
        assert!(!world.disk(node).tree().is_locked("LOCK".as_ref()));
    });
    outcome.unwrap();
}

#[test]
fn a_full_disk_and_a_failing_write_say_so_and_write_nothing() {
    let outcome = world::run(1, |world| async move {
        let node = one_node(&world);
        world.disk(node).set_capacity(Some(1000));
        work(&world, node, |disk| {
            let file = create(disk, "f").unwrap();
            file.write_at(0, &[1; 900]).unwrap();
            let full = file.write_at(900, &[2; 101]).unwrap_err();
            assert_eq!(full.kind(), io::ErrorKind::StorageFull);
            assert_eq!(file.len().unwrap(), 900);
            file.write_at(0, &[3; 900])
                .expect("what is there can be overwritten");
            file.write_at(900, &[2; 100]).unwrap();
        })
        .await;
        world.crash(node);
        world.disk(node).fail_next_write(1);
        work(&world, node, |disk| {
            let file = disk.open("f".as_ref(), OpenMode::ReadWrite).unwrap();
            file.write_at(0, b"never").unwrap_err();
            let mut byte = [0];
            assert_eq!(file.read_at(0, &mut byte).unwrap(), 1);
            assert_eq!(byte, [3]);
            let reader = disk.open("f".as_ref(), OpenMode::Read).unwrap();
            let denied = reader.write_at(0, b"x").unwrap_err();
            assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
            assert!(file.write_at(u64::MAX - 1, b"xx").is_err());
            assert!(file.set_len(u64::MAX).is_err());
        })
        .await;
    });
    outcome.unwrap();
}

#[test]
fn bit_rot_outlives_everything() {
    let outcome = world::run(1, |world| async move {
        let node = one_node(&world);
        work(&world, node, |disk| write_durably(disk, "f", b"abc")).await;
        assert!(world.disk(node).flip_bits("f".as_ref(), 1, 0x20));
        assert!(!world.disk(node).flip_bits("f".as_ref(), 3, 0x20));
        assert!(!world.disk(node).flip_bits("g".as_ref(), 0, 0x20));
        world.power_loss(node, PowerLoss::lose_all());
        assert_eq!(content(&world, node, "f").unwrap(), b"aBc");
    });
    outcome.unwrap();
}

#[test]
fn paths_name_files_and_directories_as_posix_says() {
    let outcome = world::run(1, |world| async move {
        let node = one_node(&world);
        work(&world, node, |disk| {
            let kind = |e: io::Error| Some(e.kind());
            let open = |path: &str, mode| disk.open(path.as_ref(), mode).err().and_then(kind);
            assert_eq!(open("f", OpenMode::Read), Some(io::ErrorKind::NotFound));
            assert_eq!(
                open("d/f", OpenMode::CreateNew),
                Some(io::ErrorKind::NotFound)
            );
            disk.create_dir_all("/d/e".as_ref()).unwrap();
            disk.create_dir_all("d/e".as_ref())
                .expect("is there already");
            assert_eq!(open("./d/f", OpenMode::CreateNew), None);
            assert_eq!(
                open("/d/f", OpenMode::CreateNew),
                Some(io::ErrorKind::AlreadyExists)
            );
            assert_eq!(open("d", OpenMode::Read), Some(io::ErrorKind::IsADirectory));
            assert_eq!(
                open("d/f/g", OpenMode::Read),
                Some(io::ErrorKind::NotADirectory)
            );
            assert_eq!(
                open("d/../f", OpenMode::Read),
                Some(io::ErrorKind::InvalidInput)
            );
            assert_eq!(disk.list_dir("d".as_ref()).unwrap(), ["e", "f"]);
            disk.rename("d".as_ref(), "d/e/d".as_ref()).unwrap_err();
            disk.rename("d".as_ref(), "x".as_ref()).unwrap();
            assert_eq!(disk.list_dir("x".as_ref()).unwrap(), ["e", "f"]);
            disk.remove_file("x/e".as_ref()).unwrap_err();
            let open = disk.open("x/f".as_ref(), OpenMode::ReadWrite).unwrap();
            disk.remove_file("x/f".as_ref()).unwrap();
            open.write_at(0, b"still there")
                .expect("an open file outlives its name");
            assert!(!disk.exists("x/f".as_ref()).unwrap());
        })
        .await;
    });
    outcome.unwrap();
}

/// Random operations with random deaths against a plain model: what was synced is never lost, and
/// what was never written never appears.
#[test]
fn synced_bytes_survive_whatever_happens() {
    for seed in 0..30 {
        let outcome = world::run(seed, |world| async move {
            let node = one_node(&world);
            let mut draws = Stream::new(world.seed(), "test");
            work(&world, node, |disk| write_durably(disk, "f", &[0; 8192])).await;
            world.crash(node);
            for round in 1..40u8 {
                let offset = draws.range(0..8000);
                let length = draws.range(1..192) as usize;
                let sync = draws.chance(0.5);
                let before = content(&world, node, "f").unwrap();
                work(&world, node, move |disk| {
                    let file = disk.open("f".as_ref(), OpenMode::ReadWrite).unwrap();
                    file.write_at(offset, &vec![round; length]).unwrap();
                    if sync {
                        file.sync_data().unwrap();
                    }
                })
                .await;
                match draws.chance(0.5) {
                    true => drop(world.power_loss(node, PowerLoss::random())),
                    false => world.crash(node),
                }
                let after = content(&world, node, "f").unwrap();
                let range = offset as usize..offset as usize + length;
                for (position, (old, new)) in before.iter().zip(&after).enumerate() {
                    if !range.contains(&position) {
                        continue;
                    }
                    let expected = *new == round || (!sync && new < old) || (!sync && new == old);
                    assert!(
                        expected,
                        "round {round} byte {position}: {old} became {new}"
                    );
                }
                assert_eq!(after.len(), 8192);
            }
        });
        outcome.unwrap();
    }
}
