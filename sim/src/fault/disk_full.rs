//! Disk full: somebody else on the volume (logs, a core dump, another tenant) takes all space, and
//! gives it back later. What makes a file longer fails with ENOSPC, writing over what is there does
//! not. A little may be left, as the seed draws it, so that the member runs out of it anywhere.

use super::{Begun, Injector};
use crate::rng::Stream;

const KIND: &str = "disk-full";
const LEFT_MAX: u64 = 64 << 10;

pub fn begin(injector: &Injector, members: Vec<u32>, random: &mut Stream) -> Begun {
    let left = match random.chance(0.5) {
        true => 0,
        false => random.range(0..LEFT_MAX),
    };
    for number in &members {
        injector.cluster.tend(*number);
        // The first of several decides how much there is.
        if injector.enter(*number, KIND) == 1 {
            let disk = injector.disk(*number);
            disk.set_capacity(Some(disk.used_bytes() + left));
        }
    }
    let ending = {
        let (injector, members) = (injector.clone(), members.clone());
        move || {
            for number in members {
                if injector.leave(number, KIND) == 0 {
                    injector.disk(number).set_capacity(None);
                }
            }
        }
    };
    Begun {
        members,
        detail: format!("{left} bytes left"),
        ending: Some(Box::new(ending)),
    }
}
