//! How long an index takes; run by hand:
//! `cargo test --release -p vetcd --lib key_index::tests::speed -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

#[test]
#[ignore = "a measurement, not a check"]
#[allow(clippy::disallowed_methods, reason = "it measures real time")]
fn of_two_million_keys() {
    const KEYS: u64 = 2_000_000;
    let directory = tempfile::tempdir().unwrap();
    let at = path_beside(&directory.path().join("store"));
    let disk = crate::host::os::OsDisk;
    let mut numbers = Numbers(1);
    let mut state = State::new();
    let key = |number: u64| format!("/registry/pods/namespace-{:03}/{number:012x}", number % 500);
    // In no order, as they come in a store that is in use, and every tenth of them twice.
    let drawn: Vec<u64> = (0..KEYS).map(|_| numbers.below(1 << 48)).collect();
    for number in drawn.iter().chain(drawn.iter().step_by(10)) {
        put(&mut state, key(*number));
    }
    let key_bytes: usize = state.histories().map(|(key, _)| key.len()).sum();
    for round in 0..2 {
        let start = Instant::now();
        assert!(write(&disk, &at, OWNER, &state, &|| true).unwrap());
        println!("round {round}: written in {:?}", start.elapsed());
    }
    let size = std::fs::metadata(&at).unwrap().len();
    let start = Instant::now();
    let index = KeyIndex::open(&disk, &at, OWNER).unwrap().unwrap();
    println!("opened in {:?}", start.elapsed());
    println!(
        "{} keys of {key_bytes} bytes: {size} bytes in {} blocks, {} of them read to open it",
        index.keys(),
        index.blocks(),
        index.directory_bytes()
    );
    let start = Instant::now();
    for number in drawn.iter().step_by(2000) {
        assert!(index.entry(key(*number).as_bytes()).unwrap().is_some());
    }
    println!("a key: {:?}", start.elapsed() / 1000);
    let start = Instant::now();
    let found = index.entries(
        b"/registry/pods/namespace-123/",
        Some(b"/registry/pods/namespace-1230"),
        10_000,
    );
    println!(
        "{} keys: {:?}",
        found.unwrap().unwrap().len(),
        start.elapsed()
    );
    let start = Instant::now();
    index.check().unwrap();
    println!("all checked in {:?}", start.elapsed());
}
