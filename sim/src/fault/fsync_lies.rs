//! A disk that lies: a volatile write cache that acknowledges a flush and does not do it. Outside
//! every promise of every durability setting, and the report says so.

use super::{Begun, Injector};

pub fn begin(injector: &Injector, members: Vec<u32>) -> Begun {
    for number in &members {
        let mut shared = injector.lock();
        *shared.lying.entry(*number).or_insert(0) += 1;
        if !shared.liars.contains(number) {
            shared.liars.push(*number);
        }
        drop(shared);
        set(injector, *number);
    }
    let ending = {
        let (injector, members) = (injector.clone(), members.clone());
        move || {
            for number in members {
                if let Some(count) = injector.lock().lying.get_mut(&number) {
                    *count -= 1;
                }
                set(&injector, number);
            }
        }
    };
    Begun {
        members,
        detail: "syncs are acknowledged and not done".to_owned(),
        ending: Some(Box::new(ending)),
    }
}

fn set(injector: &Injector, number: u32) {
    let lies = injector
        .lock()
        .lying
        .get(&number)
        .is_some_and(|count| *count > 0);
    let node = injector.cluster.node(number);
    injector.cluster.world().disk(node).lie_about_fsync(lies);
}
