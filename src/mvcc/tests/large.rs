//! Sizes at which the persistent maps split and merge their nodes many times over.

use std::collections::BTreeMap;

use super::*;

/// A small generator of reproducible numbers (Knuth's MMIX constants).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn many_keys_and_many_versions() {
    let mut numbers = Numbers(42);
    let mut state = State::new();
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    let mut copies = Vec::new();
    for round in 0..60_000_u64 {
        // Half of the writes hit ten hot keys, so that some histories are long.
        let key = match numbers.below(2) {
            0 => format!("hot/{}", numbers.below(10)),
            _ => format!("cold/{:05}", numbers.below(8_000)),
        };
        match numbers.below(8) {
            0 => {
                state.delete_range(&delete(&key, ""));
                expected.remove(&key);
            }
            1 if round % 10 == 0 => {
                let end = format!("{key}~");
                state.delete_range(&delete(&key, &end));
                expected.retain(|k, _| !(*k >= key && *k < end));
            }
            _ => {
                let value = round.to_string();
                state.apply_put(&key, &value);
                expected.insert(key, value);
            }
        }
        if round % 9_973 == 0 {
            copies.push((state.clone(), expected.clone()));
        }
        if round % 15_000 == 14_999 {
            state.compact(state.revision() - 2_000).unwrap();
        }
        if round % 7 == 0 {
            state.compact_step(20);
        }
        if round % 1_000 == 0 {
            state.take_changes();
        }
    }
    state.check_maps();
    copies.push((state.clone(), expected));
    state.compact(state.revision()).unwrap();
    state.compact_all(1_000);
    state.check_maps();
    copies.push((state, copies.last().unwrap().1.clone()));
    for (state, expected) in copies {
        let pairs = state.range(&range("\0", "\0")).unwrap().kvs;
        let found: BTreeMap<String, String> = pairs
            .into_iter()
            .map(|kv| {
                let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
                (text(kv.key), text(kv.value))
            })
            .collect();
        assert_eq!(found, expected);
        assert_eq!(state.reloaded().hash(0), state.hash(0));
    }
}
