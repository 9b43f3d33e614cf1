//! How long a commit takes; run by hand:
//! `cargo test --release -p vetcd --lib backend::tests::speed -- --ignored --nocapture`.

use super::*;

#[test]
#[ignore = "a measurement, not a check"]
#[allow(clippy::disallowed_methods, reason = "it measures real time")]
fn commits_of_small_puts() {
    for (history, puts) in [
        (0, 20),
        (10_000, 0),
        (10_000, 20),
        (10_000, 200),
        (100_000, 20),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let memory = CrashDisk::new();
        let os: Arc<dyn Disk> = Arc::new(crate::host::os::OsDisk);
        let at = directory.path().join("store");
        for (kind, disk, at) in [("memory", memory.shared(), path()), ("os", os, &at)] {
            let backend = Backend::open(disk, at).unwrap();
            let mut state = State::new();
            let put = |state: &mut State, number: u64| {
                let request = PutRequest {
                    key: Bytes::from(format!("key/{:06}", number % 5_000)),
                    value: Bytes::from(vec![b'v'; 100]),
                    ..Default::default()
                };
                state.put(&request).unwrap();
            };
            (0..history).for_each(|number| put(&mut state, number));
            backend.commit(&state.take_changes(), &meta_at(0)).unwrap();
            let rounds: u64 = 300;
            let before = memory.operations();
            let start = std::time::Instant::now();
            let mut applying = std::time::Duration::ZERO;
            for index in 1..=rounds {
                let from = std::time::Instant::now();
                (0..puts).for_each(|number| put(&mut state, index * puts + number));
                let changes = state.take_changes();
                applying += from.elapsed();
                backend.commit(&changes, &meta_at(index)).unwrap();
            }
            let commit = (start.elapsed() - applying) / rounds as u32;
            let operations = (memory.operations() - before) as u64 / rounds;
            let size = backend.size().unwrap();
            let start = std::time::Instant::now();
            backend.load().unwrap();
            let load = start.elapsed();
            println!(
                "{kind} history {history}, {puts} puts: commit {commit:?}, {operations} operations, apply \
                 {:?}, load {load:?}, {size:?}",
                applying / rounds as u32,
            );
        }
    }
}
