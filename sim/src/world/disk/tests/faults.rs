//! What failing, full and rotting disks do, shown to bite.

use super::*;

#[test]
fn a_failed_sync_can_drop_what_it_did_not_write() {
    let outcome = world::run(1, |world| async move {
        let node = one_node(&world);
        world.disk(node).drop_pages_of_failed_syncs(true);
        let faulty = world.disk(node);
        work(&world, node, move |disk| {
            write_durably(disk, "f", b"old");
            let file = disk.open("f".as_ref(), OpenMode::ReadWrite).unwrap();
            file.write_at(1, b"EW data").unwrap();
            faulty.fail_next_sync(1);
            file.sync_data().unwrap_err();
            let mut bytes = [9; 10];
            assert_eq!(file.read_at(0, &mut bytes).unwrap(), 8, "the length stays");
            assert_eq!(&bytes[..8], b"old\0\0\0\0\0", "the pages are dropped");
            file.sync_data().expect("and clean");
        })
        .await;
        world.power_loss(node, PowerLoss::lose_all());
        assert_eq!(content(&world, node, "f").unwrap(), b"old");
    });
    outcome.unwrap();
}

#[test]
fn reads_fail_for_as_long_as_they_are_told_to() {
    let outcome = world::run(1, |world| async move {
        let node = one_node(&world);
        let faulty = world.disk(node);
        work(&world, node, move |disk| {
            write_durably(disk, "f", b"abc");
            let file = disk.open("f".as_ref(), OpenMode::Read).unwrap();
            faulty.fail_reads(true);
            let error = file.read_at(0, &mut [0; 3]).unwrap_err();
            assert_ne!(error.kind(), io::ErrorKind::NotFound);
            assert_eq!(file.len().unwrap(), 3, "what is no content can be read");
            assert!(disk.exists("f".as_ref()).unwrap());
            faulty.fail_reads(false);
            assert_eq!(file.read_at(0, &mut [0; 3]).unwrap(), 3);
        })
        .await;
        assert_eq!(world.disk(node).counters().failed, 1);
    });
    outcome.unwrap();
}

#[test]
fn bits_rot_only_where_bytes_are_durable() {
    let outcome = world::run(1, |world| async move {
        let node = one_node(&world);
        work(&world, node, |disk| {
            write_durably(disk, "f", &[0; 64]);
            write_durably(disk, "spared", &[0; 64]);
            let file = disk.open("f".as_ref(), OpenMode::ReadWrite).unwrap();
            file.write_at(0, &[0; 32]).unwrap();
        })
        .await;
        let mut draws = Stream::new(3, "test");
        for _ in 0..100 {
            let flip = world.disk(node).flip_a_bit(|path| path == "f", &mut draws);
            let (path, offset) = flip.unwrap();
            assert_eq!(path, "f");
            assert!((32..64).contains(&offset), "byte {offset} is not durable");
        }
        assert_eq!(content(&world, node, "spared").unwrap(), [0; 64]);
        let rotten = content(&world, node, "f").unwrap();
        assert!(rotten[32..].iter().any(|byte| *byte != 0));
        world.power_loss(node, PowerLoss::lose_all());
        assert_eq!(content(&world, node, "f").unwrap(), rotten, "for good");
        let nothing = world.disk(node).flip_a_bit(|_| false, &mut draws);
        assert_eq!(nothing, None);
    });
    outcome.unwrap();
}

#[test]
fn a_disk_counts_what_found_no_space() {
    let outcome = world::run(1, |world| async move {
        let node = one_node(&world);
        let faulty = world.disk(node);
        work(&world, node, move |disk| {
            write_durably(disk, "f", &[1; 100]);
            faulty.set_capacity(Some(faulty.used_bytes()));
            let file = disk.open("f".as_ref(), OpenMode::ReadWrite).unwrap();
            let full = file.write_at(100, b"x").unwrap_err();
            assert_eq!(full.kind(), io::ErrorKind::StorageFull);
            file.write_at(0, b"over what is there").unwrap();
            faulty.set_capacity(None);
            file.write_at(100, b"x").unwrap();
        })
        .await;
        assert_eq!(world.disk(node).counters().full, 1);
    });
    outcome.unwrap();
}
