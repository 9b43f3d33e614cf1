//! Unreadable sectors: every read of a file is answered with EIO, until the sectors are remapped or
//! the cable is back in place. A member that runs has its values in memory and hardly reads, so its
//! process is killed and started again into it; it must say so and must not take what it cannot read
//! for something that is not there.

use super::{Begun, Injector};

const KIND: &str = "read-error";

pub fn begin(injector: &Injector, members: Vec<u32>) -> Begun {
    for number in &members {
        injector.cluster.tend(*number);
        injector.enter(*number, KIND);
        injector.disk(*number).fail_reads(true);
        if injector.cluster.crash(*number) {
            injector.cluster.start_soon(*number);
        }
    }
    let ending = {
        let (injector, members) = (injector.clone(), members.clone());
        move || {
            for number in members {
                if injector.leave(number, KIND) == 0 {
                    injector.disk(number).fail_reads(false);
                }
            }
        }
    };
    Begun {
        members,
        detail: "reads fail; killed and started again".to_owned(),
        ending: Some(Box::new(ending)),
    }
}
