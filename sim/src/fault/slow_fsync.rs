//! Slow fsync: a disk shared with a noisy neighbour, a volume out of credit, a RAID rebuild. Every
//! sync takes that much longer; where several such faults meet, the slowest counts.

use std::time::Duration;

use super::{Begun, Injector};

pub fn begin(injector: &Injector, members: Vec<u32>, latency: Duration) -> Begun {
    for number in &members {
        injector
            .lock()
            .slow
            .entry(*number)
            .or_default()
            .push(latency);
        set(injector, *number);
    }
    let ending = {
        let (injector, members) = (injector.clone(), members.clone());
        move || {
            for number in members {
                if let Some(latencies) = injector.lock().slow.get_mut(&number)
                    && let Some(position) = latencies.iter().position(|l| *l == latency)
                {
                    latencies.remove(position);
                }
                set(&injector, number);
            }
        }
    };
    Begun {
        members,
        detail: format!("syncs take {latency:?} longer"),
        ending: Some(Box::new(ending)),
    }
}

fn set(injector: &Injector, number: u32) {
    let slowest = injector
        .lock()
        .slow
        .get(&number)
        .and_then(|all| all.iter().max().copied());
    let node = injector.cluster.node(number);
    let disk = injector.cluster.world().disk(node);
    disk.set_extra_sync_latency(slowest.unwrap_or_default());
}
